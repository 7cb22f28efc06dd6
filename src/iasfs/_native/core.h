/* The core in C: no Python in it, so that the fuzz targets can build it alone.
 *
 * Rules of all its files: a pointer comes with its size; what is read from outside is checked
 * before it is used; sizes are unsigned and compared by subtraction from the larger side, so
 * that no sum can wrap; the result is a problem of api.h, and 0 is success. */

#ifndef IASFS_CORE_H
#define IASFS_CORE_H

#include <stddef.h>
#include <stdint.h>

#include "api.h"

#define IASFS_MAX_STORED ((size_t)1 << 20)   /* bytes of a compressed pcluster */
#define IASFS_MAX_DECODED ((size_t)12 << 20) /* bytes of the extent that it decodes to */

uint32_t iasfs_crc32c(uint32_t reg, const uint8_t *data, size_t size);

/* --- LZ4 blocks: lz4_decode.c, lz4_encode.c --- */

/* Decodes size bytes.  exact: that must be all of the block, else the rest is not looked at. */
int iasfs_lz4_decode(const uint8_t *source, size_t source_size, uint8_t *out, size_t size,
                     int exact);

/* Encodes as much of source as fits into capacity bytes; how much is left in *consumed.
 * tables: iasfs_lz4_tables_size bytes of any content.  The size of the block; 0 only if
 * capacity is 0 (even no input at all makes one byte). */
size_t iasfs_lz4_fill(const uint8_t *source, size_t source_size, uint8_t *out, size_t capacity,
                      int level, void *tables, size_t *consumed);
extern const size_t iasfs_lz4_tables_size;

/* --- zstd frames: zstd.c --- */

struct ZSTD_DCtx_s;
struct ZSTD_DCtx_s *iasfs_zstd_decoder_new(void);
void iasfs_zstd_decoder_free(struct ZSTD_DCtx_s *context);
int iasfs_zstd_loaded(void);

struct iasfs_frame {
    uint64_t window;
    uint64_t content; /* UINT64_MAX: the frame does not say */
    uint64_t dictionary;
};

int iasfs_zstd_header(const uint8_t *source, size_t source_size, struct iasfs_frame *frame);

/* Decodes the first size bytes of the one frame at source, whose header was read. */
int iasfs_zstd_decode(struct ZSTD_DCtx_s *context, const struct iasfs_frame *frame,
                      unsigned window_log, const uint8_t *source, size_t source_size,
                      uint8_t *out, size_t size);

/* --- memory kept from call to call: workspace.c --- */

struct iasfs_workspace {
    struct ZSTD_DCtx_s *zstd; /* NULL until wanted */
    void *scratch;
    size_t scratch_size;
};

struct iasfs_workspace *iasfs_workspace_take(void);              /* NULL: no memory */
void *iasfs_workspace_scratch(struct iasfs_workspace *space, size_t size); /* NULL: no memory */
void iasfs_workspace_give(struct iasfs_workspace *space);        /* NULL is fine */

/* --- extents: decode.c --- */

enum iasfs_algorithm {
    IASFS_LZ4,
    IASFS_LZMA,
    IASFS_DEFLATE,
    IASFS_ZSTD,
    IASFS_PLAIN,
    IASFS_INTERLACED
};

/* What an image says about all of its pclusters. */
struct iasfs_decoder {
    unsigned block_bits;
    unsigned window_log; /* of the largest zstd window */
    int zero_padding;    /* LZ4 has its padding in front */
};

/* Bytes [skip, skip + length) of the extent stored at source go to destination + at. */
struct iasfs_job {
    const uint8_t *source;
    uint64_t source_size;
    uint64_t algorithm; /* enum iasfs_algorithm, unchecked */
    uint64_t size;      /* of the whole extent, decoded */
    uint64_t skip;
    uint64_t length;
    uint64_t at;
    uint64_t partial;   /* nonzero: the pcluster decodes to more than the extent has */
    uint64_t phase;     /* logical address of the extent in its block, for INTERLACED */
};

/* Does the jobs in order and stops at the first that fails, whose index is then in *failed. */
int iasfs_decode(const struct iasfs_decoder *decoder, const struct iasfs_job *jobs, size_t count,
                 uint8_t *destination, size_t destination_size, size_t *failed);

#endif
