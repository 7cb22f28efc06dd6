/* Extents: from the bytes of a pcluster to the bytes of a file.
 *
 * A job asks for bytes [skip, end) of one extent.  Where the format lets decoding stop early
 * (LZ4), what lies behind `end` is neither decoded nor judged; zstd decodes whole extents.  An
 * extent that is wanted whole is decoded where it is wanted, else into scratch and copied.
 *
 * Nothing is believed: the job is checked against its destination, its sizes against the
 * limits of the format, the payload by its decoder. */

#include "core.h"

#include <string.h>

/* The zeros in front of a payload are padding, as far as the first block goes. */
static int strip_padding(const struct iasfs_decoder *decoder, const uint8_t **source, size_t *size)
{
    size_t block = (size_t)1 << decoder->block_bits;
    size_t limit = *size < block ? *size : block, zeros = 0;
    while (zeros < limit && (*source)[zeros] == 0)
        zeros++;
    if (zeros == limit)
        return IASFS_NO_DATA;
    *source += zeros;
    *size -= zeros;
    return IASFS_OK;
}

/* Bytes as they are.  Interlaced ones are rotated: the extent begins `phase` bytes into the last
 * block of the pcluster and goes on from its start. */
static int copy_plain(const struct iasfs_decoder *decoder, const struct iasfs_job *job,
                      uint8_t *out)
{
    uint64_t from = job->skip, block = (uint64_t)1 << decoder->block_bits;
    if (job->size > job->source_size)
        return IASFS_PLAIN_SHORT;
    uint64_t head = 0; /* bytes of the extent that lie at the end */
    if (job->algorithm == IASFS_INTERLACED && job->phase != 0) {
        if (job->phase >= block || job->source_size < block)
            return IASFS_BAD_JOB;
        head = block - job->phase;
    }
    uint64_t first = from < head ? head - from : 0;
    if (first > job->length)
        first = job->length;
    if (first != 0)
        memcpy(out, job->source + (job->source_size - head + from), (size_t)first);
    if (first != job->length)
        memcpy(out + first, job->source + (from + first - head), (size_t)(job->length - first));
    return IASFS_OK;
}

static int decode_zstd(const struct iasfs_decoder *decoder, struct iasfs_workspace *space,
                       const uint8_t *source, size_t source_size, uint8_t *out, size_t size)
{
    struct iasfs_frame frame;
    if (!iasfs_zstd_loaded())
        return IASFS_FOREIGN;
    if (space->zstd == NULL && (space->zstd = iasfs_zstd_decoder_new()) == NULL)
        return IASFS_NO_MEMORY;
    int problem = iasfs_zstd_header(source, source_size, &frame);
    if (problem != IASFS_OK)
        return problem;
    return iasfs_zstd_decode(space->zstd, &frame, decoder->window_log, source, source_size, out,
                             size);
}

static int decompress(const struct iasfs_decoder *decoder, const struct iasfs_job *job,
                      struct iasfs_workspace **space, uint8_t *out)
{
    const uint8_t *source = job->source;
    size_t source_size = (size_t)job->source_size;
    if (job->size > IASFS_MAX_DECODED || job->source_size > IASFS_MAX_STORED)
        return IASFS_TOO_LARGE;
    int lz4 = job->algorithm == IASFS_LZ4;
    if (!lz4 || decoder->zero_padding) {
        int problem = strip_padding(decoder, &source, &source_size);
        if (problem != IASFS_OK)
            return problem;
    }
    size_t end = (size_t)(job->skip + job->length), size = lz4 ? end : (size_t)job->size;
    if (*space == NULL && (*space = iasfs_workspace_take()) == NULL)
        return IASFS_NO_MEMORY;
    int direct = job->skip == 0 && end == size;
    uint8_t *into = direct ? out : iasfs_workspace_scratch(*space, size);
    if (into == NULL)
        return IASFS_NO_MEMORY;
    int exact = decoder->zero_padding && !job->partial && end == job->size;
    int problem = lz4 ? iasfs_lz4_decode(source, source_size, into, size, exact)
                      : decode_zstd(decoder, *space, source, source_size, into, size);
    if (problem == IASFS_OK && !direct)
        memcpy(out, into + job->skip, (size_t)job->length);
    return problem;
}

static int do_job(const struct iasfs_decoder *decoder, const struct iasfs_job *job,
                  struct iasfs_workspace **space, uint8_t *destination, size_t destination_size)
{
    if (job->skip > job->size || job->length > job->size - job->skip
        || job->at > destination_size || job->length > destination_size - job->at)
        return IASFS_BAD_JOB;
    if (job->length == 0)
        return IASFS_OK;
    switch (job->algorithm) {
    case IASFS_PLAIN:
    case IASFS_INTERLACED:
        return copy_plain(decoder, job, destination + job->at);
    case IASFS_LZ4:
    case IASFS_ZSTD:
        return decompress(decoder, job, space, destination + job->at);
    default:
        return IASFS_FOREIGN;
    }
}

int iasfs_decode(const struct iasfs_decoder *decoder, const struct iasfs_job *jobs, size_t count,
                 uint8_t *destination, size_t destination_size, size_t *failed)
{
    struct iasfs_workspace *space = NULL;
    int problem = IASFS_OK;
    for (size_t i = 0; i < count && problem == IASFS_OK; i++) {
        problem = do_job(decoder, &jobs[i], &space, destination, destination_size);
        *failed = i;
    }
    iasfs_workspace_give(space);
    return problem;
}
