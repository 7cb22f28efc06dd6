/* Any bytes, taken for a compressed index, give a fault or a table that is sound: its extents
 * follow each other from 0 to the size of the file, each lies inside a region, and their number
 * is the one that was counted.  Any bytes, taken for the metadata of an image, end a walk at an
 * inode that can be read, after no more than the whole path; and a name is found in a directory
 * of one block just as in that block.  Nothing else happens: no access outside the buffers, no
 * undefined behaviour, no hang.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
 *         -Isrc/iasfs/_native -o fuzz_index fuzz/fuzz_index.c
 *     ./fuzz_index -timeout=10 -max_len=16384 fuzz/corpus/index
 *
 * The first byte of an input chooses the target; the numbers that a target wants come next, and
 * the rest is its data.  Every buffer is allocated at its exact size, so that one byte too many
 * is seen. */

#include <stdlib.h>
#include <string.h>

#include "namei.c"
#include "zindex.c"

#include "input.h"

/* --- a compressed index --- */

static const struct iasfs_region regions[] = {
    {(uint64_t)1 << 40, (uint64_t)1 << 41},
    {0, (uint64_t)1 << 32},
};

static int inside_a_region(const struct iasfs_record *record)
{
    for (size_t i = 0; i < sizeof regions / sizeof *regions; i++)
        if (record->address >= regions[i].start && record->address < regions[i].end)
            return record->stored <= regions[i].end - record->address;
    return 0;
}

static void check_records(const struct iasfs_zindex *index, const struct iasfs_record *records,
                          size_t count)
{
    uint64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        const struct iasfs_record *record = &records[i];
        int is_last = i + 1 == count;
        must(record->logical == end && record->size != 0 && record->device == 0);
        end += record->size;
        if (record->kind == IASFS_HOLE) {
            must(record->stored == 0 && record->address == 0);
        } else if (record->kind == IASFS_FRAGMENT) {
            must(is_last && record->stored == record->size);
        } else {
            int is_inline = is_last && record->stored == index->tail;
            must(is_inline || inside_a_region(record));
            if (record->kind >= IASFS_PLAIN)
                must(record->size <= record->stored);
            else
                must(record->size <= IASFS_MAX_DECODED && record->stored <= IASFS_MAX_STORED);
        }
    }
    must(end == index->size);
}

static void fuzz_decode(struct input *input)
{
    struct iasfs_zindex index = {
        .regions = regions,
        .region_count = sizeof regions / sizeof *regions,
    };
    index.form = (unsigned)number(input, 1) & 3;
    index.blkszbits = 9 + (unsigned)number(input, 1) % 8;
    index.advise = (unsigned)number(input, 1);
    index.algorithmtype = (unsigned)number(input, 1);
    index.header_offset = number(input, 1) * 8;
    index.algorithms = (unsigned)number(input, 1);
    index.tail = number(input, 4);
    index.lclusterbits = index.blkszbits + (unsigned)number(input, 1) % 16;
    index.size = number(input, 8);
    index.data_size = input->size;
    uint8_t *data = piece(input, &index.data_size);
    index.data = data;
    if (iasfs_zindex_valid(&index)) {
        size_t count, again;
        uint64_t lcn;
        enum iasfs_fault fault = iasfs_zindex_decode(&index, NULL, &count, &lcn);
        if (fault == IASFS_FAULT_NONE) {
            struct iasfs_record *records = malloc(count != 0 ? count * sizeof *records : 1);
            must(records != NULL);
            fault = iasfs_zindex_decode(&index, records, &again, &lcn);
            must(fault == IASFS_FAULT_NONE && again == count);
            check_records(&index, records, count);
            free(records);
        } else {
            must(fault <= IASFS_FAULT_ADDRESS && lcn <= (index.size - 1) >> index.lclusterbits);
        }
    }
    free(data);
}

/* --- names --- */

static void fuzz_resolve(struct input *input)
{
    struct iasfs_meta meta;
    meta.blkszbits = 9 + (unsigned)number(input, 1) % 8;
    meta.meta_blkaddr = number(input, 4);
    meta.root_nid = number(input, 8);
    struct iasfs_name path = {NULL, (size_t)number(input, 1)};
    uint8_t *bytes = piece(input, &path.size);
    path.bytes = bytes;
    meta.size = input->size;
    uint8_t *data = piece(input, &meta.size);
    meta.data = data;
    struct iasfs_found found;
    size_t consumed;
    enum iasfs_status status = iasfs_resolve(&meta, path, &found, &consumed);
    must(status <= IASFS_WALK_OUTSIDE && consumed <= path.size);
    if (status != IASFS_WALK_OUTSIDE) {
        struct iasfs_inode inode;
        uint64_t offset = (meta.meta_blkaddr << meta.blkszbits) + found.nid * 32;
        must(iasfs_inode_read(data, meta.size, offset, &inode) == 0);
        must(found.type == inode.type && inode.type != IASFS_FT_UNKNOWN);
        must(inode.body - offset >= 32 && inode.size >> 63 == 0);
        must((status == IASFS_WALK_FOUND) == (consumed == path.size));
        must((status == IASFS_WALK_SYMLINK) <= (inode.type == IASFS_FT_SYMLINK));
        must((status == IASFS_WALK_ABSENT) <= (inode.type == IASFS_FT_DIR));
    }
    free(bytes);
    free(data);
}

static void fuzz_find(struct input *input)
{
    size_t block_size = (size_t)512 << number(input, 1) % 8;
    struct iasfs_name name = {NULL, (size_t)number(input, 1)};
    uint8_t *bytes = piece(input, &name.size);
    name.bytes = bytes;
    size_t size = input->size;
    uint8_t *data = piece(input, &size);
    struct iasfs_found one, all;
    enum iasfs_order order = iasfs_block_find(data, size, name, &one);
    enum iasfs_order in_all = iasfs_dir_find(data, size, block_size, name, &all);
    must(order <= IASFS_NAME_ABSENT && in_all != IASFS_NAME_BEFORE);
    if (size != 0 && size <= block_size) {
        must(in_all == (order == IASFS_NAME_BEFORE ? IASFS_NAME_ABSENT : order));
        must(order != IASFS_NAME_HERE || (one.nid == all.nid && one.type == all.type));
    }
    free(bytes);
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    switch (number(&input, 1) % 3) {
    case 0: fuzz_decode(&input); break;
    case 1: fuzz_resolve(&input); break;
    default: fuzz_find(&input); break;
    }
    return 0;
}
