/* Many chunks of input, each to an LZ4 block of its own.
 *
 * A block is wanted only if it is smaller than its chunk; so that is the room it gets, and one
 * that leaves input over did not fit. */

#include "core.h"

int iasfs_lz4_compress(int level, struct iasfs_chunk *chunks, size_t count, uint8_t *out,
                       uint64_t capacity)
{
    struct iasfs_workspace *space = iasfs_workspace_take();
    void *tables = space == NULL ? NULL : iasfs_workspace_scratch(space, iasfs_lz4_tables_size);
    int problem = tables == NULL ? IASFS_NO_MEMORY : IASFS_OK;
    for (size_t i = 0; i < count && problem == IASFS_OK; i++) {
        struct iasfs_chunk *chunk = &chunks[i];
        chunk->produced = 0;
        if (chunk->size > IASFS_MAX_DECODED) {
            problem = IASFS_TOO_LARGE;
        } else if (chunk->size > capacity) {
            problem = IASFS_BAD_JOB;
        } else if (chunk->size > 1) {
            size_t size = (size_t)chunk->size, consumed;
            size_t made = iasfs_lz4_fill(chunk->source, size, out, size - 1, level, tables,
                                         &consumed);
            if (consumed == size) {
                chunk->produced = made;
                out += made;
                capacity -= made;
            }
        }
    }
    iasfs_workspace_give(space);
    return problem;
}
