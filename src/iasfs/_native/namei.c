/* Names to inodes, in metadata that lies in one buffer; the twin of format/lookup.py.
 *
 * Nothing is allocated, every offset is checked against the buffer, and a walk makes no more
 * steps than its path has bytes.  Whatever is unusual ends it: the caller then goes the long
 * way, which knows what to say. */

#include <string.h>

#include "little.h"
#include "namei.h"

enum { DIRENT_SIZE = 12, NAME_LIMIT = 255, DEPTH_MAX = 64, SLOT_BITS = 5 };
enum { FLAT_PLAIN, FLAT_INLINE = 2, CHUNK_BASED = 4 };
enum { EXTENDED = 0x01, NLINK_1 = 0x10, FORMAT_KNOWN = 0x1F };
enum { COMPACT_SIZE = 32, EXTENDED_SIZE = 64, XATTR_HEADER_SIZE = 12 };

/* --- inodes ------------------------------------------------------------------------------ */

/* Is [offset, offset + size) inside the buffer? */
static int holds(size_t buffer_size, uint64_t offset, uint64_t size)
{
    return offset <= buffer_size && size <= buffer_size - offset;
}

static uint8_t file_type(uint16_t mode)
{
    switch (mode >> 12) {
    case 010: return 1; /* regular */
    case 004: return IASFS_FT_DIR;
    case 002: return 3; /* character device */
    case 006: return 4; /* block device */
    case 001: return 5; /* fifo */
    case 014: return 6; /* socket */
    case 012: return IASFS_FT_SYMLINK;
    default: return IASFS_FT_UNKNOWN;
    }
}

static void read_extended(const uint8_t *p, struct iasfs_inode *inode, uint64_t *high)
{
    *high = iasfs_le16(p + 6);
    inode->size = iasfs_le64(p + 8);
    inode->ino = iasfs_le32(p + 20);
    inode->uid = iasfs_le32(p + 24);
    inode->gid = iasfs_le32(p + 28);
    inode->mtime = (int64_t)iasfs_le64(p + 32);
    inode->mtime_nsec = iasfs_le32(p + 40);
    inode->nlink = iasfs_le32(p + 44);
}

static void read_compact(const uint8_t *p, unsigned format, struct iasfs_inode *inode,
                         uint64_t *high)
{
    int one_link = (format & NLINK_1) != 0 && inode->type != IASFS_FT_DIR;
    uint16_t nb = iasfs_le16(p + 6);
    *high = one_link ? nb : 0;
    inode->nlink = one_link ? 1 : nb;
    inode->size = iasfs_le32(p + 8);
    inode->mtime = iasfs_le32(p + 12);
    inode->mtime_nsec = 0;
    inode->ino = iasfs_le32(p + 20);
    inode->uid = iasfs_le16(p + 24);
    inode->gid = iasfs_le16(p + 26);
}

int iasfs_inode_read(const uint8_t *data, size_t size, uint64_t offset,
                     struct iasfs_inode *inode)
{
    if (!holds(size, offset, COMPACT_SIZE))
        return -1;
    const uint8_t *p = data + offset;
    unsigned format = iasfs_le16(p);
    unsigned icount = iasfs_le16(p + 2);
    unsigned need = (format & EXTENDED) != 0 ? EXTENDED_SIZE : COMPACT_SIZE;
    inode->extended = (format & EXTENDED) != 0;
    inode->layout = format >> 1 & 7;
    inode->mode = iasfs_le16(p + 4);
    inode->type = file_type(inode->mode);
    if ((format & ~(unsigned)FORMAT_KNOWN) != 0 || inode->layout > CHUNK_BASED || icount == 1 ||
        inode->type == IASFS_FT_UNKNOWN || !holds(size, offset, need))
        return -1;
    uint64_t high;
    if (inode->extended)
        read_extended(p, inode, &high);
    else
        read_compact(p, format, inode, &high);
    if (inode->size >> 63 != 0)
        return -1;
    int is_device = inode->type == 3 || inode->type == 4;
    inode->u = iasfs_le32(p + 16);
    if (inode->layout != CHUNK_BASED && !is_device)
        inode->u |= high << 32;
    inode->xattr_size = icount == 0 ? 0 : XATTR_HEADER_SIZE + 4 * (icount - 1);
    inode->body = offset + need + inode->xattr_size;
    return 0;
}

/* --- directory blocks -------------------------------------------------------------------- */

struct block {
    const uint8_t *data;
    size_t size;
    size_t count; /* of entries */
};

static int open_block(const uint8_t *data, size_t size, struct block *block)
{
    if (size < DIRENT_SIZE)
        return -1;
    size_t nameoff = iasfs_le16(data + 8);
    if (nameoff == 0 || nameoff % DIRENT_SIZE != 0 || nameoff >= size)
        return -1;
    *block = (struct block){data, size, nameoff / DIRENT_SIZE};
    return 0;
}

static int read_name(const struct block *block, size_t index, struct iasfs_name *name)
{
    const uint8_t *entry = block->data + index * DIRENT_SIZE;
    size_t start = iasfs_le16(entry + 8);
    size_t end = block->size;
    if (index + 1 < block->count)
        end = iasfs_le16(entry + DIRENT_SIZE + 8);
    if (start < block->count * DIRENT_SIZE || start >= end || end > block->size)
        return -1;
    *name = (struct iasfs_name){block->data + start, end - start};
    if (index + 1 == block->count) {
        const uint8_t *nul = memchr(name->bytes, 0, name->size);
        if (nul != NULL)
            name->size = (size_t)(nul - name->bytes);
    } else if (name->size <= NAME_LIMIT && memchr(name->bytes, 0, name->size) != NULL) {
        return -1;
    }
    if (name->size == 0 || name->size > NAME_LIMIT || memchr(name->bytes, '/', name->size) != NULL)
        return -1;
    return 0;
}

static int compare(struct iasfs_name a, struct iasfs_name b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = memcmp(a.bytes, b.bytes, common);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static enum iasfs_order here(const struct block *block, size_t index, struct iasfs_found *found)
{
    const uint8_t *entry = block->data + index * DIRENT_SIZE;
    *found = (struct iasfs_found){iasfs_le64(entry), entry[10]};
    return IASFS_NAME_HERE;
}

/* Looks at the first name only; ABSENT: if it is in this block, then behind that. */
static enum iasfs_order find_first(const struct block *block, struct iasfs_name name,
                                   struct iasfs_found *found)
{
    struct iasfs_name first;
    if (read_name(block, 0, &first) != 0)
        return IASFS_NAME_MALFORMED;
    int order = compare(name, first);
    if (order == 0)
        return here(block, 0, found);
    return order < 0 ? IASFS_NAME_BEFORE : IASFS_NAME_ABSENT;
}

static enum iasfs_order find_rest(const struct block *block, struct iasfs_name name,
                                  struct iasfs_found *found)
{
    size_t low = 1, high = block->count;
    while (low < high) {
        size_t middle = low + (high - low - 1) / 2;
        struct iasfs_name candidate;
        if (read_name(block, middle, &candidate) != 0)
            return IASFS_NAME_MALFORMED;
        int order = compare(name, candidate);
        if (order == 0)
            return here(block, middle, found);
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return IASFS_NAME_ABSENT;
}

enum iasfs_order iasfs_block_find(const uint8_t *data, size_t size, struct iasfs_name name,
                                  struct iasfs_found *found)
{
    struct block block;
    if (open_block(data, size, &block) != 0)
        return IASFS_NAME_MALFORMED;
    enum iasfs_order order = find_first(&block, name, found);
    return order == IASFS_NAME_ABSENT ? find_rest(&block, name, found) : order;
}

/* --- directories ------------------------------------------------------------------------- */

/* The content of a directory: whole blocks, and a last one that may be shorter and may lie
 * elsewhere.  Its size and its start are not beyond data_size, so that no sum of them wraps;
 * a block that is not in the buffer is found out when it is wanted. */
struct directory {
    const uint8_t *data;
    size_t data_size;
    size_t block_size;
    uint64_t start;      /* of the whole blocks, in data */
    uint64_t blocks;     /* all of them */
    uint64_t last_start; /* of the last block */
    size_t last_size;
};

static int get_block(const struct directory *dir, uint64_t number, struct block *block)
{
    uint64_t start = dir->last_start;
    size_t size = dir->last_size;
    if (number + 1 < dir->blocks) {
        start = dir->start + number * dir->block_size;
        size = dir->block_size;
    }
    if (!holds(dir->data_size, start, size))
        return -1;
    return open_block(dir->data + start, size, block);
}

static enum iasfs_order search(const struct directory *dir, struct iasfs_name name,
                               struct iasfs_found *found)
{
    uint64_t low = 0, high = dir->blocks;
    struct block block, candidate = {NULL, 0, 0};
    while (low < high) {
        uint64_t middle = low + (high - low - 1) / 2;
        if (get_block(dir, middle, &block) != 0)
            return IASFS_NAME_MALFORMED;
        enum iasfs_order order = find_first(&block, name, found);
        if (order == IASFS_NAME_HERE || order == IASFS_NAME_MALFORMED)
            return order;
        if (order == IASFS_NAME_BEFORE) {
            high = middle;
        } else {
            candidate = block;
            low = middle + 1;
        }
    }
    return candidate.data != NULL ? find_rest(&candidate, name, found) : IASFS_NAME_ABSENT;
}

enum iasfs_order iasfs_dir_find(const uint8_t *data, size_t size, size_t block_size,
                                struct iasfs_name name, struct iasfs_found *found)
{
    if (size == 0)
        return IASFS_NAME_ABSENT;
    uint64_t whole = (size - 1) / block_size;
    const struct directory dir = {
        .data = data,
        .data_size = size,
        .block_size = block_size,
        .start = 0,
        .blocks = whole + 1,
        .last_start = whole * block_size,
        .last_size = size - (size_t)(whole * block_size),
    };
    return search(&dir, name, found);
}

static int open_directory(const struct iasfs_meta *meta, const struct iasfs_inode *inode,
                          struct directory *dir)
{
    uint64_t block_size = (uint64_t)1 << meta->blkszbits;
    if ((inode->layout != FLAT_PLAIN && inode->layout != FLAT_INLINE) || inode->size > meta->size)
        return -1;
    *dir = (struct directory){
        .data = meta->data,
        .data_size = meta->size,
        .block_size = (size_t)block_size,
        .start = inode->u << meta->blkszbits,
    };
    if (inode->size == 0)
        return 0;
    uint64_t whole = (inode->size - 1) >> meta->blkszbits;
    dir->blocks = whole + 1;
    dir->last_size = (size_t)(inode->size - (whole << meta->blkszbits));
    if (inode->layout == FLAT_INLINE) {
        if (inode->body % block_size + dir->last_size > block_size)
            return -1;
        dir->last_start = inode->body;
        if (whole == 0)
            return 0; /* then the start means nothing */
    } else {
        dir->last_start = dir->start + (whole << meta->blkszbits);
    }
    return dir->start <= meta->size ? 0 : -1;
}

/* --- paths ------------------------------------------------------------------------------- */

/* Cuts the next component off, from *at on; 0 if there is none.  Slashes are skipped. */
static int next_component(struct iasfs_name path, size_t *at, struct iasfs_name *component)
{
    while (*at < path.size && path.bytes[*at] == '/')
        ++*at;
    size_t start = *at;
    while (*at < path.size && path.bytes[*at] != '/')
        ++*at;
    *component = (struct iasfs_name){path.bytes + start, *at - start};
    return component->size != 0;
}

static int is_dots(struct iasfs_name name, size_t count)
{
    return name.size == count && memcmp(name.bytes, "..", count) == 0;
}

static int read_nid(const struct iasfs_meta *meta, uint64_t nid, struct iasfs_inode *inode)
{
    uint64_t offset = (meta->meta_blkaddr << meta->blkszbits) + (nid << SLOT_BITS);
    return iasfs_inode_read(meta->data, meta->size, offset, inode);
}

static enum iasfs_status step(const struct iasfs_meta *meta, const struct iasfs_inode *inode,
                              struct iasfs_name name, struct iasfs_found *found)
{
    struct directory dir;
    if (name.size > NAME_LIMIT || open_directory(meta, inode, &dir) != 0)
        return IASFS_WALK_OUTSIDE;
    switch (search(&dir, name, found)) {
    case IASFS_NAME_HERE: return IASFS_WALK_FOUND;
    case IASFS_NAME_ABSENT: return IASFS_WALK_ABSENT;
    default: return IASFS_WALK_OUTSIDE;
    }
}

enum iasfs_status iasfs_resolve(const struct iasfs_meta *meta, struct iasfs_name path,
                                struct iasfs_found *found, size_t *consumed)
{
    uint64_t parents[DEPTH_MAX]; /* the directories above, from the root on */
    size_t depth = 0;
    struct iasfs_inode inode;
    struct iasfs_name name;
    *found = (struct iasfs_found){meta->root_nid, IASFS_FT_DIR};
    *consumed = 0;
    if (read_nid(meta, meta->root_nid, &inode) != 0)
        return IASFS_WALK_OUTSIDE;
    found->type = inode.type;
    for (size_t at = 0; at < path.size; *consumed = at) {
        /* Whatever follows, even if only a slash, must follow a directory. */
        if (inode.type != IASFS_FT_DIR)
            return inode.type == IASFS_FT_SYMLINK ? IASFS_WALK_SYMLINK : IASFS_WALK_NOTDIR;
        if (!next_component(path, &at, &name) || is_dots(name, 1))
            continue;
        uint64_t nid = found->nid;
        if (is_dots(name, 2)) {
            if (depth != 0)
                found->nid = parents[--depth];
        } else {
            enum iasfs_status status = step(meta, &inode, name, found);
            if (status != IASFS_WALK_FOUND)
                return status;
            if (depth == DEPTH_MAX)
                return IASFS_WALK_OUTSIDE;
            parents[depth++] = nid;
        }
        if (read_nid(meta, found->nid, &inode) != 0)
            return IASFS_WALK_OUTSIDE;
        found->type = inode.type;
    }
    return IASFS_WALK_FOUND;
}
