/* The classic index of a compressed file, decoded; the twin of decode_py in format/zindex.py.
 *
 * Up to 16 entries at a time are read into one form, whatever they look like on disk, and go
 * by a walker that keeps the extent that is open.  Each entry is looked at once.  Nothing is
 * allocated: the caller counts the records first, and then has them written. */

#include <string.h>

#include "little.h"
#include "zindex.h"

enum { FULL = 1, COMPACT = 3 };
enum { PLAIN, HEAD1, NONHEAD, HEAD2 };
enum {
    COMPACTED_2B = 0x01,
    BIG_PCLUSTER_1 = 0x02,
    BIG_PCLUSTER_2 = 0x04,
    INLINE_PCLUSTER = 0x08,
    INTERLACED_PCLUSTER = 0x10,
    FRAGMENT_PCLUSTER = 0x20,
};
enum { CBLKCNT = 0x800, D0_MAX = CBLKCNT - 1, LI_HOLE = 0x4000, LI_PARTIAL_REF = 0x8000 };
enum { HEADER_SIZE = 8, FULL_START = 16, BATCH = 16, PARTIAL = 1 };

#define NO_DISTANCE UINT32_MAX /* d0 where the entry does not hold it */
#define NO_REGION SIZE_MAX     /* of inline data, which joins with nothing */

/* How a compact index is cut: packs of 2 entries, then of 16, then of 2 again. */
struct packs {
    uint64_t total;
    uint64_t first;  /* entries before the packs of 16 */
    uint64_t packed; /* entries in them */
};

struct entry {
    unsigned kind;
    uint32_t low;   /* clusterofs or d0 */
    uint64_t value; /* block address or d1 */
    unsigned flags;
};

struct walk {
    const struct iasfs_zindex *index;
    uint8_t *records; /* NULL: only count */
    size_t count;
    struct iasfs_record last; /* the one that the next may be joined to */
    size_t last_region;
    uint64_t index_end; /* in the image */

    int open;           /* whether an extent has begun and not ended: */
    uint64_t lcn;       /* its head, */
    struct entry head;
    uint64_t logical;   /* where it begins, */
    uint32_t blocks;    /* its CBLKCNT, or NO_DISTANCE */
    uint64_t reach;     /* the farthest lcluster that a d1 says to be the next head */
    uint64_t fault_lcn;
};

static uint64_t entry_count(const struct iasfs_zindex *index)
{
    return (index->size + (((uint64_t)1 << index->lclusterbits) - 1)) >> index->lclusterbits;
}

static struct packs cut(const struct iasfs_zindex *index)
{
    struct packs packs = {entry_count(index), 0, 0};
    uint64_t first = (32 - (index->header_offset + HEADER_SIZE) % 32) / 4 % 8;
    if ((index->advise & COMPACTED_2B) != 0 && first < packs.total) {
        packs.first = first;
        packs.packed = (packs.total - first) / 16 * 16;
    }
    return packs;
}

static uint64_t index_size(const struct iasfs_zindex *index)
{
    if (index->form == FULL)
        return FULL_START + 8 * entry_count(index);
    struct packs packs = cut(index);
    return HEADER_SIZE + 2 * packs.packed + (packs.total - packs.packed + 1) / 2 * 8;
}

int iasfs_zindex_valid(const struct iasfs_zindex *index)
{
    if (index->blkszbits < 9 || index->blkszbits > 16 || index->lclusterbits < index->blkszbits ||
        index->lclusterbits > 31 || index->size >> 63 != 0 || index->header_offset % 8 != 0 ||
        index->header_offset >> 63 != 0)
        return 0;
    if ((index->algorithmtype & 15) > IASFS_ZSTD || index->algorithmtype >> 4 > IASFS_ZSTD)
        return 0;
    if ((index->advise & FRAGMENT_PCLUSTER) == 0 && index->tail > UINT16_MAX)
        return 0; /* the size of an inline tail has 16 bits */
    if (index->form == COMPACT) {
        if (index->lclusterbits > ((index->advise & COMPACTED_2B) != 0 ? 12 : 14))
            return 0;
    } else if (index->form != FULL) {
        return 0;
    }
    return index_size(index) <= index->data_size;
}

/* --- records ----------------------------------------------------------------------------- */

static void flush(struct walk *walk)
{
    if (walk->last.size == 0)
        return;
    if (walk->records != NULL)
        memcpy(walk->records + walk->count * sizeof walk->last, &walk->last, sizeof walk->last);
    walk->count++;
}

/* Appends a record, or joins it to the one before: holes, and plain bytes that follow plain
 * bytes of which all are used. */
static void add(struct walk *walk, const struct iasfs_record *record, size_t region)
{
    struct iasfs_record *last = &walk->last;
    int joins = last->size != 0 && last->kind == record->kind &&
                (record->kind == IASFS_HOLE ||
                 (record->kind == IASFS_PLAIN && last->size == last->stored &&
                  last->address + last->stored == record->address &&
                  walk->last_region == region));
    if (joins) {
        last->size += record->size;
        last->stored += record->stored;
        return;
    }
    flush(walk);
    *last = *record;
    walk->last_region = region;
}

static enum iasfs_fault find_region(const struct iasfs_zindex *index,
                                    const struct iasfs_record *record, size_t *found)
{
    for (size_t i = 0; i < index->region_count; i++) {
        struct iasfs_region region;
        memcpy(&region, (const uint8_t *)index->regions + i * sizeof region, sizeof region);
        if (region.start <= record->address && record->address < region.end) {
            *found = i;
            return record->stored <= region.end - record->address ? IASFS_FAULT_NONE
                                                                  : IASFS_FAULT_ADDRESS;
        }
    }
    return IASFS_FAULT_ADDRESS;
}

/* --- extents ----------------------------------------------------------------------------- */

static int is_big(const struct walk *walk)
{
    unsigned bit = walk->head.kind == HEAD1 ? BIG_PCLUSTER_1 : BIG_PCLUSTER_2;
    return (walk->index->advise & bit) != 0;
}

static enum iasfs_fault count_blocks(const struct walk *walk, uint64_t next_lcn, uint64_t *blocks)
{
    *blocks = 1;
    if (!is_big(walk) || next_lcn == walk->lcn + 1)
        return IASFS_FAULT_NONE;
    if (walk->blocks == NO_DISTANCE)
        return IASFS_FAULT_BLOCKS_MISSING;
    if (walk->blocks == 0)
        return IASFS_FAULT_BLOCKS_ZERO;
    if ((uint64_t)walk->blocks << walk->index->blkszbits > IASFS_MAX_STORED)
        return IASFS_FAULT_BLOCKS_MANY;
    *blocks = walk->blocks;
    return IASFS_FAULT_NONE;
}

/* Sets kind and flags of the open extent, of which all else is known. */
static enum iasfs_fault set_kind(const struct walk *walk, int is_inline, int at_end,
                                 struct iasfs_record *record)
{
    const struct iasfs_zindex *index = walk->index;
    if (walk->head.kind == PLAIN) {
        uint64_t block_size = (uint64_t)1 << index->blkszbits;
        if (record->size > record->stored)
            return IASFS_FAULT_PLAIN_LONG;
        /* Inline data is never rotated, and within one block rotating by nothing is nothing. */
        int rotated = !is_inline && (index->advise & INTERLACED_PCLUSTER) != 0 &&
                      (record->logical % block_size != 0 || record->stored > block_size);
        record->kind = rotated ? IASFS_INTERLACED : IASFS_PLAIN;
        return IASFS_FAULT_NONE;
    }
    unsigned algorithm = index->algorithmtype >> (walk->head.kind == HEAD1 ? 0 : 4) & 15;
    int partial = (walk->head.flags & LI_PARTIAL_REF) != 0;
    if ((index->algorithms >> algorithm & 1) == 0)
        return IASFS_FAULT_ALGORITHM;
    if (record->size > IASFS_MAX_DECODED)
        return IASFS_FAULT_EXTENT_LONG;
    if (record->size < record->stored && !at_end && !partial)
        return IASFS_FAULT_EXTENT_SHORT;
    record->kind = (uint8_t)algorithm;
    record->flags = partial ? PARTIAL : 0;
    return IASFS_FAULT_NONE;
}

static enum iasfs_fault close_extent(struct walk *walk, uint64_t end, uint64_t next_lcn)
{
    const struct iasfs_zindex *index = walk->index;
    struct iasfs_record record = {.logical = walk->logical, .size = end - walk->logical};
    int at_end = end == index->size;
    size_t region = NO_REGION;
    walk->fault_lcn = walk->lcn;
    if (at_end && (index->advise & FRAGMENT_PCLUSTER) != 0) {
        record.kind = IASFS_FRAGMENT;
        record.stored = record.size;
        record.address = index->tail;
        if (index->form == FULL)
            record.address |= walk->head.value << 32;
        add(walk, &record, region);
        return IASFS_FAULT_NONE;
    }
    int is_inline = at_end && (index->advise & INLINE_PCLUSTER) != 0 && index->tail != 0;
    if (!is_inline && (walk->head.flags & LI_HOLE) != 0) {
        record.kind = IASFS_HOLE;
        add(walk, &record, region);
        return IASFS_FAULT_NONE;
    }
    if (is_inline) {
        record.stored = index->tail;
        record.address = walk->index_end;
    } else {
        uint64_t blocks;
        enum iasfs_fault fault = count_blocks(walk, next_lcn, &blocks);
        if (fault != IASFS_FAULT_NONE)
            return fault;
        record.stored = blocks << index->blkszbits;
        record.address = walk->head.value << index->blkszbits;
    }
    enum iasfs_fault fault = set_kind(walk, is_inline, at_end, &record);
    if (fault == IASFS_FAULT_NONE && !is_inline)
        fault = find_region(index, &record, &region);
    if (fault == IASFS_FAULT_NONE)
        add(walk, &record, region);
    return fault;
}

/* --- entries ----------------------------------------------------------------------------- */

static enum iasfs_fault take_nonhead(struct walk *walk, uint64_t lcn, const struct entry *entry)
{
    if (!walk->open)
        return IASFS_FAULT_FIRST;
    uint64_t distance = lcn - walk->lcn;
    if (entry->low != NO_DISTANCE) {
        if ((entry->low & CBLKCNT) != 0) {
            if (distance != 1 || !is_big(walk))
                return IASFS_FAULT_BLOCKS_STRAY;
            walk->blocks = entry->low & D0_MAX;
        } else if (entry->low != (distance < D0_MAX ? distance : D0_MAX)) {
            return IASFS_FAULT_D0;
        }
    }
    uint64_t next = lcn + (entry->value > 1 ? entry->value : 1);
    if (walk->reach < next)
        walk->reach = next;
    return IASFS_FAULT_NONE;
}

static enum iasfs_fault take_head(struct walk *walk, uint64_t lcn, const struct entry *entry)
{
    const struct iasfs_zindex *index = walk->index;
    if (entry->low >> index->lclusterbits != 0)
        return IASFS_FAULT_CLUSTEROFS;
    if (lcn == 0 && entry->low != 0)
        return IASFS_FAULT_FIRST;
    if (walk->reach > lcn)
        return IASFS_FAULT_D1;
    uint64_t logical = (lcn << index->lclusterbits) + entry->low;
    if (walk->open) {
        uint64_t end = logical < index->size ? logical : index->size;
        enum iasfs_fault fault = close_extent(walk, end, lcn);
        if (fault != IASFS_FAULT_NONE)
            return fault;
    }
    /* A head at the end of the file only ends the extent before it. */
    walk->open = logical < index->size;
    walk->lcn = lcn;
    walk->head = *entry;
    walk->logical = logical;
    walk->blocks = NO_DISTANCE;
    return IASFS_FAULT_NONE;
}

static void read_full(const struct iasfs_zindex *index, uint64_t lcn, size_t count,
                      struct entry *entries)
{
    const uint8_t *p = index->data + FULL_START + 8 * (size_t)lcn;
    for (size_t i = 0; i < count; i++, p += 8) {
        unsigned flags = iasfs_le16(p);
        struct entry *entry = &entries[i];
        entry->kind = flags & 3;
        if (entry->kind == NONHEAD) {
            *entry = (struct entry){NONHEAD, iasfs_le16(p + 4), iasfs_le16(p + 6), 0};
        } else {
            *entry = (struct entry){entry->kind, iasfs_le16(p + 2), iasfs_le32(p + 4), flags};
        }
    }
}

/* Reads the first count entries of a pack of capacity entries in size bytes.
 *
 * The pclusters of a pack lie back to back.  With big ones its base is the block of the first
 * that has its head or its block count here; otherwise the block before the first head. */
static void read_pack(const struct iasfs_zindex *index, const uint8_t *pack, size_t size,
                      size_t capacity, size_t count, struct entry *entries)
{
    unsigned low_bits = index->lclusterbits > 12 ? index->lclusterbits : 12;
    size_t width = (size - 4) * 8 / capacity;
    int big = (index->advise & (BIG_PCLUSTER_1 | BIG_PCLUSTER_2)) != 0;
    uint64_t block = (uint64_t)iasfs_le32(pack + size - 4) + (big ? 0 : 1);
    int head_before = 0;
    for (size_t slot = 0; slot < count; slot++) {
        size_t bit = slot * width;
        /* Four bytes from here on are in the pack: its base stands behind the entries. */
        uint32_t word = iasfs_le32(pack + bit / 8) >> bit % 8;
        uint32_t low = word & (((uint32_t)1 << low_bits) - 1);
        unsigned kind = word >> low_bits & 3;
        if (kind != NONHEAD) {
            block += big && head_before;
            entries[slot] = (struct entry){kind, low, block, 0};
            block += !big;
            head_before = 1;
            continue;
        }
        head_before = 0;
        entries[slot] = (struct entry){NONHEAD, low, 1, 0};
        if ((low & CBLKCNT) != 0)
            block += low & D0_MAX;
        else if (slot + 1 == capacity)
            entries[slot] = (struct entry){NONHEAD, NO_DISTANCE, low, 0};
    }
}

/* Reads the next entries, at most BATCH; *offset is where in data they begin, and moves on. */
static size_t read_batch(const struct iasfs_zindex *index, const struct packs *packs, uint64_t lcn,
                         size_t *offset, struct entry *entries)
{
    uint64_t left = packs->total - lcn;
    if (index->form == FULL) {
        size_t count = left < BATCH ? (size_t)left : BATCH;
        read_full(index, lcn, count, entries);
        return count;
    }
    int wide = lcn >= packs->first && lcn - packs->first < packs->packed;
    size_t capacity = wide ? 16 : 2;
    size_t size = wide ? 32 : 8;
    size_t count = left < capacity ? (size_t)left : capacity;
    read_pack(index, index->data + *offset, size, capacity, count, entries);
    *offset += size;
    return count;
}

static enum iasfs_fault run(struct walk *walk)
{
    const struct iasfs_zindex *index = walk->index;
    struct packs packs = cut(index);
    struct entry entries[BATCH];
    size_t offset = HEADER_SIZE;
    for (uint64_t lcn = 0; lcn < packs.total;) {
        size_t count = read_batch(index, &packs, lcn, &offset, entries);
        for (size_t i = 0; i < count; i++, lcn++) {
            walk->fault_lcn = lcn;
            enum iasfs_fault fault = entries[i].kind == NONHEAD
                                         ? take_nonhead(walk, lcn, &entries[i])
                                         : take_head(walk, lcn, &entries[i]);
            if (fault != IASFS_FAULT_NONE)
                return fault;
        }
    }
    if (walk->reach > packs.total) {
        walk->fault_lcn = packs.total - 1;
        return IASFS_FAULT_D1;
    }
    return walk->open ? close_extent(walk, index->size, packs.total) : IASFS_FAULT_NONE;
}

enum iasfs_fault iasfs_zindex_decode(const struct iasfs_zindex *index, void *records,
                                     size_t *count, uint64_t *lcn)
{
    struct walk walk;
    memset(&walk, 0, sizeof walk);
    walk.index = index;
    walk.records = records;
    walk.index_end = index->header_offset + index_size(index);
    enum iasfs_fault fault = run(&walk);
    if (fault == IASFS_FAULT_NONE)
        flush(&walk);
    *count = walk.count;
    *lcn = walk.fault_lcn;
    return fault;
}
