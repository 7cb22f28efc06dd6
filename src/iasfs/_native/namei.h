/* Names to inodes, in metadata that lies in one buffer: see format/lookup.py. */

#ifndef IASFS_NAMEI_H
#define IASFS_NAMEI_H

#include "core.h"

/* The types of directory entries that matter to a walk; FT_* of format/disk.py. */
enum { IASFS_FT_UNKNOWN = 0, IASFS_FT_DIR = 2, IASFS_FT_SYMLINK = 7 };

/* An inode, as format/inode.py has it; times of a compact one are relative to the epoch. */
struct iasfs_inode {
    uint64_t size;
    uint64_t u; /* i_u, with its high bits where it is an address or a count */
    uint64_t body;
    int64_t mtime;
    uint32_t mtime_nsec;
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint32_t ino;
    uint32_t xattr_size;
    uint16_t mode;
    uint8_t layout;
    uint8_t type; /* FT_* of the mode */
    uint8_t extended;
};

/* Reads the inode at offset of data.  0, or -1: it is cut short or nothing that we know. */
int iasfs_inode_read(const uint8_t *data, size_t size, uint64_t offset,
                     struct iasfs_inode *inode);

struct iasfs_name {
    const uint8_t *bytes;
    size_t size;
};

struct iasfs_found {
    uint64_t nid;
    uint8_t type;
};

/* Where a name stands in a directory block. */
enum iasfs_order {
    IASFS_NAME_MALFORMED, /* the block is; nothing can be said */
    IASFS_NAME_HERE,
    IASFS_NAME_BEFORE, /* it sorts before the first name */
    IASFS_NAME_ABSENT  /* it sorts behind that, and is not here */
};

enum iasfs_order iasfs_block_find(const uint8_t *block, size_t size, struct iasfs_name name,
                                  struct iasfs_found *found);

/* The same for all blocks of a directory; BEFORE is ABSENT. */
enum iasfs_order iasfs_dir_find(const uint8_t *data, size_t size, size_t block_size,
                                struct iasfs_name name, struct iasfs_found *found);

/* The image up to some byte, as far as it holds metadata. */
struct iasfs_meta {
    const uint8_t *data;
    size_t size;
    unsigned blkszbits;
    uint64_t meta_blkaddr;
    uint64_t root_nid;
};

/* How a walk ended; the numbers of Status in format/lookup.py. */
enum iasfs_status {
    IASFS_WALK_FOUND,
    IASFS_WALK_ABSENT,
    IASFS_WALK_SYMLINK,
    IASFS_WALK_NOTDIR,
    IASFS_WALK_OUTSIDE
};

/* Walks a path from the root.  found: where the walk ended; consumed: bytes of the path that
 * led there.  Neither means anything if the walk was led outside. */
enum iasfs_status iasfs_resolve(const struct iasfs_meta *meta, struct iasfs_name path,
                                struct iasfs_found *found, size_t *consumed);

#endif
