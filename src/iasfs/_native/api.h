/* What Python sees through cffi; both cffi and the compiler read this file, so it holds
 * declarations and nothing for the preprocessor.  Every function here runs without the GIL. */

/* Makes the module iasfs._native._fast: the functions that keep the GIL.  0, or -1. */
int iasfs_fast_init(void);

/* What can be wrong; format/purecodec.py holds the same numbers, each with its sentence. */
enum iasfs_problem {
    IASFS_OK,
    IASFS_BAD_JOB,         /* reaches outside its extent or its destination */
    IASFS_TOO_LARGE,       /* more stored or more decoded bytes than the format allows */
    IASFS_NO_DATA,         /* the first block is all zeros, which are padding */
    IASFS_PLAIN_SHORT,     /* a plain extent is larger than what is stored for it */
    IASFS_BAD_LZ4,
    IASFS_BAD_FRAME,       /* no zstd frame begins here */
    IASFS_BAD_ZSTD,
    IASFS_BAD_WINDOW,      /* a zstd window larger than the image declares */
    IASFS_BAD_DICTIONARY,  /* a zstd frame that wants a dictionary */
    IASFS_SHORT,           /* decodes to fewer bytes than the extent has */
    IASFS_FOREIGN,         /* not an algorithm of this core, or libzstd is not loaded */
    IASFS_NO_MEMORY
};

/* Addresses of libzstd's functions, named as there without "ZSTD_"; all from one library. */
struct iasfs_zstd_addresses {
    uintptr_t versionNumber, isError;
    uintptr_t createDCtx, freeDCtx, decompressDCtx, findFrameCompressedSize;
    uintptr_t DCtx_reset, DCtx_setParameter, decompressStream;
    uintptr_t createCCtx, freeCCtx, CCtx_setParameter, compress2;
};

/* Address of a function in a shared library, which then stays loaded; 0 if there is none. */
uintptr_t iasfs_symbol(const char *library, const char *function);

/* Takes these functions into use if they are of version 1.4.0 or later and pass a round trip;
 * only the first success of a process counts.  The version in use (1.5.7 is 10507), or 0. */
unsigned iasfs_zstd_install(const struct iasfs_zstd_addresses *addresses);

/* A piece of input of its own, and the size of what became of it. */
struct iasfs_chunk {
    const uint8_t *source;
    uint64_t size;
    uint64_t produced;     /* 0: it does not become smaller */
};

/* Room that is enough for the payload of a chunk of that size, whatever is in it. */
uint64_t iasfs_zstd_bound(uint64_t size);

/* A compression context of libzstd for one thread at a time; NULL without memory or library. */
struct ZSTD_CCtx_s *iasfs_zstd_new(void);
void iasfs_zstd_free(struct ZSTD_CCtx_s *context);

/* Compresses each chunk into a payload of its own, and lays the payloads side by side from the
 * start of out, which must hold the sum of their bounds. */
int iasfs_zstd_compress(struct ZSTD_CCtx_s *context, int level, int window_log,
                        struct iasfs_chunk *chunks, size_t count, uint8_t *out, uint64_t capacity);

/* The same with LZ4, level 1 to 12; here the sum of the sizes is enough. */
int iasfs_lz4_compress(int level, struct iasfs_chunk *chunks, size_t count, uint8_t *out,
                       uint64_t capacity);
