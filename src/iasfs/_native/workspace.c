/* Memory that is kept from one call to the next: decoding contexts and scratch buffers.
 *
 * To make a context anew costs more than many a read, and memory touched for the first time
 * costs more than decoding into it.  A few workspaces lie idle in an array of atomic pointers:
 * to take one is to exchange it for NULL, to give it back is to exchange a NULL for it.  So
 * there is no lock that a fork could copy while it is held, and nothing to do when a thread
 * ends; a workspace that another thread held during a fork is lost to the child, no more.
 *
 * Invariant: a workspace is either in one slot or held by one caller. */

#include "core.h"

#include <stdatomic.h>
#include <stdlib.h>

#define SLOTS 16
#define KEPT ((size_t)1 << 20) /* a larger scratch is not kept */

static _Atomic(struct iasfs_workspace *) idle[SLOTS];

struct iasfs_workspace *iasfs_workspace_take(void)
{
    for (size_t i = 0; i < SLOTS; i++) {
        struct iasfs_workspace *space = atomic_exchange(&idle[i], NULL);
        if (space != NULL)
            return space;
    }
    return calloc(1, sizeof(struct iasfs_workspace));
}

void *iasfs_workspace_scratch(struct iasfs_workspace *space, size_t size)
{
    if (size > space->scratch_size) {
        free(space->scratch);
        space->scratch = malloc(size);
        space->scratch_size = space->scratch == NULL ? 0 : size;
    }
    return space->scratch;
}

void iasfs_workspace_give(struct iasfs_workspace *space)
{
    if (space == NULL)
        return;
    if (space->scratch_size > KEPT) {
        free(space->scratch);
        space->scratch = NULL;
        space->scratch_size = 0;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        struct iasfs_workspace *none = NULL;
        if (atomic_compare_exchange_strong(&idle[i], &none, space))
            return;
    }
    free(space->scratch);
    if (space->zstd != NULL)
        iasfs_zstd_decoder_free(space->zstd);
    free(space);
}
