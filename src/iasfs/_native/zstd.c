/* zstd through somebody else's libzstd, found at run time.
 *
 * Nothing is linked: Python hands over the addresses of a dozen old, stable functions, all from
 * one library.  They become a table that is proved by a round trip and then published once for
 * the life of the process, by one atomic exchange; so contexts of two libraries never meet.
 * The prototypes below are the library's promise, stable since 1.4.0.
 *
 * A frame's header is read here, before libzstd sees it: window, dictionary and content size
 * are checked against what the image declares, so that nothing is allocated on the word of a
 * frame. */

#include "core.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define OLDEST 10400 /* 1.4.0 */
#define NEWEST 20000

struct in_buffer { /* ZSTD_inBuffer */
    const void *src;
    size_t size, pos;
};

struct out_buffer { /* ZSTD_outBuffer */
    void *dst;
    size_t size, pos;
};

/* Values of ZSTD_cParameter, ZSTD_dParameter and ZSTD_ResetDirective. */
enum { C_LEVEL = 100, C_WINDOW_LOG = 101, C_CONTENT_SIZE = 200, C_CHECKSUM = 201, C_DICT_ID = 202 };
enum { D_WINDOW_LOG_MAX = 100 };
enum { RESET_SESSION = 1 };

struct table {
    unsigned (*version)(void);
    unsigned (*is_error)(size_t);
    struct ZSTD_DCtx_s *(*new_decoder)(void);
    size_t (*free_decoder)(struct ZSTD_DCtx_s *);
    size_t (*decompress)(struct ZSTD_DCtx_s *, void *, size_t, const void *, size_t);
    size_t (*frame_size)(const void *, size_t);
    size_t (*reset_decoder)(struct ZSTD_DCtx_s *, int);
    size_t (*set_decoder)(struct ZSTD_DCtx_s *, int, int);
    size_t (*decompress_stream)(struct ZSTD_DCtx_s *, struct out_buffer *, struct in_buffer *);
    struct ZSTD_CCtx_s *(*new_encoder)(void);
    size_t (*free_encoder)(struct ZSTD_CCtx_s *);
    size_t (*set_encoder)(struct ZSTD_CCtx_s *, int, int);
    size_t (*compress)(struct ZSTD_CCtx_s *, void *, size_t, const void *, size_t);
};

static _Atomic(struct table *) published;

static const struct table *library(void)
{
    return atomic_load_explicit(&published, memory_order_acquire);
}

int iasfs_zstd_loaded(void)
{
    return library() != NULL;
}

uintptr_t iasfs_symbol(const char *name, const char *function)
{
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL); /* never closed: it is to stay */
    return handle == NULL ? 0 : (uintptr_t)dlsym(handle, function);
}

/* --- frames --- */

static uint64_t little_endian(const uint8_t *p, size_t size)
{
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;)
        value = value << 8 | p[i];
    return value;
}

int iasfs_zstd_header(const uint8_t *source, size_t source_size, struct iasfs_frame *frame)
{
    static const uint8_t dictionary_sizes[4] = {0, 1, 2, 4}, content_sizes[4] = {0, 2, 4, 8};
    if (source_size < 6 || little_endian(source, 4) != 0xFD2FB528)
        return IASFS_BAD_FRAME;
    unsigned descriptor = source[4];
    int single = (descriptor >> 5 & 1) != 0;
    size_t dictionary_size = dictionary_sizes[descriptor & 3];
    size_t content_size = content_sizes[descriptor >> 6];
    if (content_size == 0 && single)
        content_size = 1;
    size_t at = 5;
    if ((descriptor & 8) != 0 || source_size - at < !single + dictionary_size + content_size)
        return IASFS_BAD_FRAME;
    unsigned window = single ? 0 : source[at++];
    frame->dictionary = little_endian(source + at, dictionary_size);
    at += dictionary_size;
    frame->content = content_size == 0 ? UINT64_MAX : little_endian(source + at, content_size);
    if (content_size == 2)
        frame->content += 256;
    frame->window = single ? frame->content
                           : ((uint64_t)1 << (10 + (window >> 3))) / 8 * (8 + (window & 7));
    return IASFS_OK;
}

/* Piece by piece, for frames that hold more than is wanted or do not say how much they hold. */
static int decode_stream(const struct table *z, struct ZSTD_DCtx_s *context, unsigned window_log,
                         const uint8_t *source, size_t source_size, uint8_t *out, size_t size)
{
    struct in_buffer from = {source, source_size, 0};
    struct out_buffer to = {out, size, 0};
    if (z->is_error(z->reset_decoder(context, RESET_SESSION))
        || z->is_error(z->set_decoder(context, D_WINDOW_LOG_MAX, (int)window_log)))
        return IASFS_BAD_ZSTD;
    while (to.pos < size) {
        size_t in_before = from.pos, out_before = to.pos;
        size_t left = z->decompress_stream(context, &to, &from);
        if (z->is_error(left))
            return IASFS_BAD_ZSTD;
        if (left == 0)
            break; /* the end of the frame: what follows is none of ours */
        if (from.pos == in_before && to.pos == out_before)
            return IASFS_BAD_ZSTD; /* cut off */
    }
    return to.pos == size ? IASFS_OK : IASFS_SHORT;
}

static int decode(const struct table *z, struct ZSTD_DCtx_s *context,
                  const struct iasfs_frame *frame, unsigned window_log, const uint8_t *source,
                  size_t source_size, uint8_t *out, size_t size)
{
    if (frame->dictionary != 0)
        return IASFS_BAD_DICTIONARY;
    if (frame->window > (uint64_t)1 << window_log)
        return IASFS_BAD_WINDOW;
    if (frame->content < size)
        return IASFS_SHORT;
    if (frame->content != size)
        return decode_stream(z, context, window_log, source, source_size, out, size);
    size_t frame_size = z->frame_size(source, source_size);
    if (z->is_error(frame_size) || frame_size > source_size)
        return IASFS_BAD_ZSTD;
    size_t made = z->decompress(context, out, size, source, frame_size);
    return !z->is_error(made) && made == size ? IASFS_OK : IASFS_BAD_ZSTD;
}

struct ZSTD_DCtx_s *iasfs_zstd_decoder_new(void)
{
    const struct table *z = library();
    return z == NULL ? NULL : z->new_decoder();
}

void iasfs_zstd_decoder_free(struct ZSTD_DCtx_s *context)
{
    const struct table *z = library();
    if (z != NULL)
        z->free_decoder(context);
}

int iasfs_zstd_decode(struct ZSTD_DCtx_s *context, const struct iasfs_frame *frame,
                      unsigned window_log, const uint8_t *source, size_t source_size,
                      uint8_t *out, size_t size)
{
    return decode(library(), context, frame, window_log, source, source_size, out, size);
}

/* --- compression --- */

uint64_t iasfs_zstd_bound(uint64_t size)
{
    return size + (size >> 7) + 512; /* above libzstd's own: a 256th and at most 64 */
}

struct ZSTD_CCtx_s *iasfs_zstd_new(void)
{
    const struct table *z = library();
    return z == NULL ? NULL : z->new_encoder();
}

void iasfs_zstd_free(struct ZSTD_CCtx_s *context)
{
    const struct table *z = library();
    if (z != NULL)
        z->free_encoder(context);
}

static int prepare(const struct table *z, struct ZSTD_CCtx_s *context, int level, int window_log)
{
    const int settings[][2] = {{C_LEVEL, level},  {C_WINDOW_LOG, window_log}, {C_CONTENT_SIZE, 1},
                               {C_CHECKSUM, 0}, {C_DICT_ID, 0}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (z->is_error(z->set_encoder(context, settings[i][0], settings[i][1])))
            return IASFS_BAD_ZSTD;
    return IASFS_OK;
}

/* Every chunk gets the room of its own bound, however much there is: the bytes that libzstd
 * makes may depend on it. */
static int compress(const struct table *z, struct ZSTD_CCtx_s *context, struct iasfs_chunk *chunks,
                    size_t count, uint8_t *out, uint64_t capacity)
{
    for (size_t i = 0; i < count; i++) {
        struct iasfs_chunk *chunk = &chunks[i];
        chunk->produced = 0;
        if (chunk->size > IASFS_MAX_DECODED)
            return IASFS_TOO_LARGE;
        uint64_t bound = iasfs_zstd_bound(chunk->size);
        if (bound > capacity)
            return IASFS_BAD_JOB;
        size_t made = z->compress(context, out, (size_t)bound, chunk->source, (size_t)chunk->size);
        if (z->is_error(made))
            return IASFS_BAD_ZSTD;
        if (made >= chunk->size)
            continue;
        chunk->produced = made;
        out += made;
        capacity -= made;
    }
    return IASFS_OK;
}

int iasfs_zstd_compress(struct ZSTD_CCtx_s *context, int level, int window_log,
                        struct iasfs_chunk *chunks, size_t count, uint8_t *out, uint64_t capacity)
{
    const struct table *z = library();
    if (z == NULL || context == NULL)
        return z == NULL ? IASFS_FOREIGN : IASFS_NO_MEMORY;
    int problem = prepare(z, context, level, window_log);
    return problem != IASFS_OK ? problem : compress(z, context, chunks, count, out, capacity);
}

/* --- taking a library into use --- */

/* Compresses and decodes a few bytes, both in one piece and as a stream. */
static int round_trip(const struct table *z, struct ZSTD_CCtx_s *encoder,
                      struct ZSTD_DCtx_s *decoder)
{
    uint8_t text[1000], packed[2000], again[sizeof text];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i % 7 * (i / 100));
    struct iasfs_chunk chunk = {text, sizeof text, 0};
    struct iasfs_frame frame;
    if (prepare(z, encoder, 3, 10) != IASFS_OK
        || compress(z, encoder, &chunk, 1, packed, sizeof packed) != IASFS_OK
        || chunk.produced == 0
        || iasfs_zstd_header(packed, (size_t)chunk.produced, &frame) != IASFS_OK)
        return 0;
    for (size_t size = sizeof text; size >= sizeof text - 1; size--) {
        memset(again, 0xFF, sizeof again);
        if (decode(z, decoder, &frame, 10, packed, (size_t)chunk.produced, again, size) != IASFS_OK
            || memcmp(again, text, size) != 0)
            return 0;
    }
    return 1;
}

static int works(const struct table *z)
{
    unsigned version = z->version();
    if (version < OLDEST || version >= NEWEST)
        return 0;
    struct ZSTD_CCtx_s *encoder = z->new_encoder();
    struct ZSTD_DCtx_s *decoder = z->new_decoder();
    int good = encoder != NULL && decoder != NULL && round_trip(z, encoder, decoder);
    z->free_encoder(encoder);
    z->free_decoder(decoder);
    return good;
}

/* One table of addresses seen as the other: both hold as many words in the same order. */
static int fill_table(struct table *z, const struct iasfs_zstd_addresses *addresses)
{
    _Static_assert(sizeof *z == sizeof *addresses, "one function for each address");
    _Static_assert(sizeof(void (*)(void)) == sizeof(uintptr_t), "an address is a word");
    uintptr_t words[sizeof *addresses / sizeof(uintptr_t)];
    memcpy(words, addresses, sizeof words);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i] == 0)
            return 0;
    memcpy(z, words, sizeof words);
    return 1;
}

unsigned iasfs_zstd_install(const struct iasfs_zstd_addresses *addresses)
{
    if (library() == NULL) {
        struct table *z = malloc(sizeof *z), *none = NULL;
        if (z == NULL)
            return 0;
        if (!fill_table(z, addresses) || !works(z)
            || !atomic_compare_exchange_strong(&published, &none, z))
            free(z); /* unfit, or another thread was first */
    }
    const struct table *z = library();
    return z == NULL ? 0 : z->version();
}
