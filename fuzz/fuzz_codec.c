/* Any input to the codec's core gives bytes or a problem, and nothing else: no access outside the
 * buffers that it was given, no undefined behaviour, no leak, no hang.  What it encodes it also
 * decodes, to the same bytes, and within the room that it was given.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
 *         -Isrc/iasfs/_native -o fuzz_codec fuzz/fuzz_codec.c
 *     ./fuzz_codec -timeout=10 fuzz/corpus/codec
 *
 * The first byte of an input chooses the target; the numbers that a target wants come next, and
 * the rest is its data.  Every buffer is allocated at its exact size, so that one byte too many
 * is seen.  libzstd is the system's; without one its targets are idle. */

#include "crc32c.c"
#include "decode.c"
#include "lz4_batch.c"
#include "lz4_decode.c"
#include "lz4_encode.c"
#include "workspace.c"
#include "zstd.c"

#include "input.h"

static uint8_t *rest(struct input *input, size_t *size)
{
    *size = input->size;
    return piece(input, size);
}

static uint8_t *room(size_t size)
{
    uint8_t *memory = malloc(size);
    must(memory != NULL || size == 0);
    if (size != 0)
        memset(memory, 0xA5, size);
    return memory;
}

static void lz4_decode(struct input *input)
{
    int exact = (int)number(input, 1) & 1;
    size_t size = (size_t)number(input, 2) + 1, source_size;
    uint8_t *source = rest(input, &source_size), *out = room(size);
    iasfs_lz4_decode(source, source_size, out, size, exact);
    free(source);
    free(out);
}

static void lz4_encode(struct input *input)
{
    int level = (int)number(input, 1) % 14;
    size_t capacity = (size_t)number(input, 2), source_size, consumed;
    uint8_t *source = rest(input, &source_size), *out = room(capacity);
    void *tables = room(iasfs_lz4_tables_size);
    size_t made = iasfs_lz4_fill(source, source_size, out, capacity, level, tables, &consumed);
    must(made <= capacity && consumed <= source_size);
    must(made != 0 || capacity == 0);
    must(consumed == source_size || capacity < source_size + source_size / 255 + 16);
    if (consumed != 0) {
        uint8_t *block = room(made), *again = room(consumed);
        memcpy(block, out, made);
        must(iasfs_lz4_decode(block, made, again, consumed, 1) == IASFS_OK);
        must(memcmp(again, source, consumed) == 0);
        must(block[0] != 0);
        free(block);
        free(again);
    }
    free(source);
    free(out);
    free(tables);
}

/* Two chunks become payloads, and these the chunks again, by jobs. */
static void round_trips(struct input *input)
{
    int zstd = (int)number(input, 1) & 1, level = 1 + (int)number(input, 1) % 12;
    size_t sizes[2] = {(size_t)number(input, 2)}, at = 0;
    if (zstd && !iasfs_zstd_loaded())
        return;
    uint8_t *sources[2] = {piece(input, &sizes[0])};
    sources[1] = rest(input, &sizes[1]);
    struct iasfs_chunk chunks[2] = {{sources[0], sizes[0], 9}, {sources[1], sizes[1], 9}};
    size_t capacity = sizes[0] + sizes[1];
    if (zstd)
        capacity = (size_t)(iasfs_zstd_bound(sizes[0]) + iasfs_zstd_bound(sizes[1]));
    uint8_t *out = room(capacity);
    struct ZSTD_CCtx_s *context = zstd ? iasfs_zstd_new() : NULL;
    int problem = zstd ? iasfs_zstd_compress(context, level, 20, chunks, 2, out, capacity)
                       : iasfs_lz4_compress(level, chunks, 2, out, capacity);
    must(problem == IASFS_OK);
    for (size_t i = 0; i < 2; i++) {
        size_t made = (size_t)chunks[i].produced, failed;
        if (made == 0)
            continue;
        must(made < sizes[i] && out[at] != 0);
        struct iasfs_decoder decoder = {12, 20, 1};
        struct iasfs_job job = {.source = out + at, .source_size = made, .size = sizes[i],
                                .length = sizes[i], .algorithm = zstd ? IASFS_ZSTD : IASFS_LZ4};
        uint8_t *again = room(sizes[i]);
        must(iasfs_decode(&decoder, &job, 1, again, sizes[i], &failed) == IASFS_OK);
        must(memcmp(again, sources[i], sizes[i]) == 0);
        free(again);
        at += made;
    }
    if (context != NULL)
        iasfs_zstd_free(context);
    free(sources[0]);
    free(sources[1]);
    free(out);
}

/* Up to three jobs with numbers as wild as the input wants them; an extent decodes to the same
 * bytes whole and in part. */
static void jobs(struct input *input)
{
    struct iasfs_decoder decoder = {9 + (unsigned)number(input, 1) % 8,
                                    10 + (unsigned)number(input, 1) % 11,
                                    (int)number(input, 1) & 1};
    struct iasfs_job list[3];
    uint8_t *sources[3];
    size_t count = 1 + (size_t)number(input, 1) % 3, failed = 99;
    for (size_t i = 0; i < count; i++) {
        size_t wide = (number(input, 1) & 7) == 7 ? 8 : 2;
        list[i] = (struct iasfs_job){.algorithm = number(input, 1) % 7};
        list[i].size = number(input, wide);
        list[i].skip = number(input, wide);
        list[i].length = number(input, wide);
        list[i].at = number(input, wide);
        list[i].partial = number(input, 1) & 1;
        list[i].phase = number(input, 2);
        size_t size = i + 1 == count ? input->size : (size_t)number(input, 2);
        list[i].source = sources[i] = piece(input, &size);
        list[i].source_size = size;
    }
    size_t size = 40000;
    uint8_t *out = room(size);
    int problem = iasfs_decode(&decoder, list, count, out, size, &failed);
    must(problem == IASFS_OK || failed < count);
    struct iasfs_job whole = list[0], part = list[0];
    if (problem == IASFS_OK && whole.size <= size && whole.length != 0) {
        uint8_t *again = room(size);
        whole.skip = whole.at = part.at = 0;
        whole.length = whole.size;
        must(iasfs_decode(&decoder, &part, 1, out, size, &failed) == IASFS_OK);
        if (iasfs_decode(&decoder, &whole, 1, again, size, &failed) == IASFS_OK)
            must(memcmp(out, again + part.skip, (size_t)part.length) == 0);
        free(again);
    }
    for (size_t i = 0; i < count; i++)
        free(sources[i]);
    free(out);
}

static void checksum(struct input *input)
{
    size_t first = (size_t)number(input, 2), second;
    const uint8_t *data = input->data;
    size_t all = input->size;
    uint8_t *a = piece(input, &first), *b = rest(input, &second);
    uint32_t reg = iasfs_crc32c(iasfs_crc32c(0xFFFFFFFF, a, first), b, second);
    must(reg == iasfs_crc32c(0xFFFFFFFF, data, all));
    free(a);
    free(b);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    static const char *const names[] = {
        "ZSTD_versionNumber", "ZSTD_isError", "ZSTD_createDCtx", "ZSTD_freeDCtx",
        "ZSTD_decompressDCtx", "ZSTD_findFrameCompressedSize", "ZSTD_DCtx_reset",
        "ZSTD_DCtx_setParameter", "ZSTD_decompressStream", "ZSTD_createCCtx", "ZSTD_freeCCtx",
        "ZSTD_CCtx_setParameter", "ZSTD_compress2",
    };
    uintptr_t addresses[sizeof names / sizeof *names];
    struct iasfs_zstd_addresses table;
    _Static_assert(sizeof table == sizeof addresses, "a name for each address");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        addresses[i] = iasfs_symbol("libzstd.so.1", names[i]);
    memcpy(&table, addresses, sizeof table);
    iasfs_zstd_install(&table);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const targets[])(struct input *) = {lz4_decode, lz4_encode, round_trips, jobs,
                                                      checksum};
    struct input input = {data, size};
    targets[number(&input, 1) % (sizeof targets / sizeof *targets)](&input);
    return 0;
}
