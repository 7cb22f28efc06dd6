/* The classic index of a compressed file: see format/zindex.py, which is the twin of this. */

#ifndef IASFS_ZINDEX_H
#define IASFS_ZINDEX_H

#include "core.h"

enum { IASFS_HOLE = IASFS_INTERLACED + 1, IASFS_FRAGMENT }; /* the kinds without a decoder */

/* What is wrong with an lcluster; the numbers of FAULTS in format/zindex.py. */
enum iasfs_fault {
    IASFS_FAULT_NONE,
    IASFS_FAULT_FIRST,
    IASFS_FAULT_CLUSTEROFS,
    IASFS_FAULT_D0,
    IASFS_FAULT_D1,
    IASFS_FAULT_BLOCKS_STRAY,
    IASFS_FAULT_BLOCKS_MISSING,
    IASFS_FAULT_BLOCKS_ZERO,
    IASFS_FAULT_BLOCKS_MANY,
    IASFS_FAULT_EXTENT_LONG,
    IASFS_FAULT_PLAIN_LONG,
    IASFS_FAULT_EXTENT_SHORT,
    IASFS_FAULT_ALGORITHM,
    IASFS_FAULT_ADDRESS
};

/* One extent, as format/table.py packs it. */
struct iasfs_record {
    uint64_t logical;
    uint64_t size;
    uint64_t address;
    uint64_t stored;
    uint16_t device;
    uint8_t kind;
    uint8_t flags; /* 1: partial */
    uint32_t unused;
};

/* Where stored bytes may lie. */
struct iasfs_region {
    uint64_t start;
    uint64_t end;
};

struct iasfs_zindex {
    const uint8_t *data; /* from the map header on */
    size_t data_size;
    uint64_t header_offset; /* of it in the image, a multiple of 8 */
    uint64_t size;          /* of the file, below 2^63 */
    unsigned form;          /* 1 full, 3 compact: the data layouts */
    unsigned blkszbits;
    unsigned lclusterbits;
    unsigned advise;
    unsigned algorithmtype;
    uint64_t tail; /* offset of the fragment, or size of the inline tail */
    unsigned algorithms;
    const void *regions; /* struct iasfs_region, of any alignment */
    size_t region_count;
};

/* Whether the parameters are in range and data holds the whole index. */
int iasfs_zindex_valid(const struct iasfs_zindex *index);

/* Decodes a valid index into records (struct iasfs_record, of any alignment), or only counts
 * them if that is NULL.  Answers with a fault, and in which lcluster it is. */
enum iasfs_fault iasfs_zindex_decode(const struct iasfs_zindex *index, void *records,
                                     size_t *count, uint64_t *lcn);

#endif
