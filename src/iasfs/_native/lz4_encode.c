/* LZ4 blocks, encoded: as much input as fits into a room of fixed size.
 *
 * The bytes made are part of what an image is, so they depend on the input, the room and the
 * level and on nothing else: no machine's byte order, no timing, no memory left from before.
 * format/purecodec.py makes the same bytes; a change here is a change there.
 *
 * Matches are sought among earlier positions that share the hash of their first four bytes:
 * `head` knows the last such position of each hash (plus one; 0 is none), `previous` the one
 * before each position, for the last 64 Ki positions.  Level 1 looks at one candidate, enters
 * only the positions it looks at, and strides ever wider through data without matches.  Level n
 * above looks at 2^(n-1) candidates, enters every position, and puts a match off by a byte when
 * the next position has a longer one.
 *
 * The format wants the last five bytes of a block to be literals, and the last match to begin
 * twelve bytes before the end or earlier.  A block may have to end anywhere, because the room
 * does; so a sequence is written only if behind it there is room for the literals that it would
 * need to be the last: `tail`.
 *
 * Invariants: the bytes before anchor <= size are encoded, in used < capacity bytes; behind them
 * there is room for one more token and its tail.  Whatever compares two positions stays in front
 * of the last literals. */

#include "core.h"

#include <string.h>

#define MIN_MATCH 4
#define LAST_LITERALS 5
#define LAST_MATCH 12
#define WINDOW 65535
#define ENOUGH 256 /* a match of this length ends every search */
#define FEW_BITS 13 /* of the hash at level 1 */
#define MANY_BITS 15

struct tables {
    uint32_t head[1 << MANY_BITS];
    uint32_t previous[WINDOW + 1];
};

const size_t iasfs_lz4_tables_size = sizeof(struct tables);

struct encoder {
    const uint8_t *in;
    size_t size;
    uint8_t *out;
    size_t capacity, used;
    size_t anchor;
    size_t entered; /* positions below are in the tables (levels above 1) */
    unsigned depth;
    struct tables *tables;
};

struct match {
    size_t start, from, length;
};

static uint32_t word_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t hash(uint32_t word, unsigned bits)
{
    return (word * 2654435761U) >> (32 - bits);
}

/* How many bytes at `from` and at `at` agree, looking no further than the last literals. */
static size_t agreement(const struct encoder *e, size_t from, size_t at)
{
    const uint8_t *p = e->in + from, *q = e->in + at;
    size_t limit = e->size - LAST_LITERALS - at, n = 0;
    while (limit - n >= 4) {
        uint32_t difference = word_at(p + n) ^ word_at(q + n);
        if (difference != 0)
            return n + (size_t)__builtin_ctz(difference) / 8;
        n += 4;
    }
    while (n < limit && p[n] == q[n])
        n++;
    return n;
}

/* Level 1: the first position up to `last` whose only candidate is a match. */
static int find_one(const struct encoder *e, size_t last, struct match *m)
{
    const uint8_t *in = e->in;
    uint32_t *head = e->tables->head;
    size_t at = e->anchor;
    for (size_t misses = 0; at <= last; at += 1 + (misses++ >> 6)) {
        uint32_t word = word_at(in + at), slot = hash(word, FEW_BITS), before = head[slot];
        head[slot] = (uint32_t)at + 1;
        if (before == 0)
            continue;
        size_t from = before - 1;
        if (at - from > WINDOW || word_at(in + from) != word)
            continue;
        *m = (struct match){at, from, agreement(e, from, at)};
        return 1;
    }
    return 0;
}

/* Enters a position and answers with the last one of the same hash, plus one. */
static uint32_t enter(struct encoder *e, size_t at)
{
    uint32_t *head = &e->tables->head[hash(word_at(e->in + at), MANY_BITS)];
    uint32_t before = *head;
    e->tables->previous[at & WINDOW] = before;
    *head = (uint32_t)at + 1;
    return before;
}

/* The longest match for a position among `depth` candidates, the nearest of equals, if it is
 * longer than m->length; then it is put into *m. */
static int search(struct encoder *e, size_t at, struct match *m)
{
    for (; e->entered < at; e->entered++)
        enter(e, e->entered);
    uint32_t candidate = enter(e, at);
    e->entered = at + 1;
    size_t limit = e->size - LAST_LITERALS - at, best = m->length;
    for (unsigned tries = e->depth; tries != 0 && candidate != 0; tries--) {
        size_t from = candidate - 1;
        if (at - from > WINDOW || best >= limit || best >= ENOUGH)
            break;
        const uint8_t *p = e->in + from, *q = e->in + at;
        if (word_at(p + best - 3) == word_at(q + best - 3)) { /* else it is not longer */
            size_t length = agreement(e, from, at);
            if (length > best) {
                best = length;
                *m = (struct match){at, from, length};
            }
        }
        candidate = e->tables->previous[from & WINDOW];
    }
    return m->start == at && best >= MIN_MATCH;
}

/* The other levels: the first match up to there, or a longer one at the next positions. */
static int find_best(struct encoder *e, size_t last, struct match *m)
{
    for (size_t at = e->anchor; at <= last; at++) {
        *m = (struct match){at, 0, MIN_MATCH - 1};
        if (!search(e, at, m))
            continue;
        while (m->start < last && search(e, m->start + 1, m))
            ;
        return 1;
    }
    return 0;
}

/* Bytes that prolong a count whose four bits hold up to 15. */
static size_t prolongation(size_t count)
{
    return count < 15 ? 0 : (count - 15) / 255 + 1;
}

static void put_count(struct encoder *e, size_t count)
{
    if (count < 15)
        return;
    for (count -= 15; count >= 255; count -= 255)
        e->out[e->used++] = 255;
    e->out[e->used++] = (uint8_t)count;
}

static void put_literals(struct encoder *e, size_t count, unsigned match_bits)
{
    e->out[e->used++] = (uint8_t)((count < 15 ? (unsigned)count : 15U) << 4 | match_bits);
    put_count(e, count);
    memcpy(e->out + e->used, e->in + e->anchor, count);
    e->used += count;
    e->anchor += count;
}

/* Writes the literals before a match and the match, shortened if need be; 0 if it has no room. */
static int put_sequence(struct encoder *e, struct match m)
{
    size_t literals = m.start - e->anchor;
    size_t tail = m.length >= LAST_MATCH - LAST_LITERALS ? LAST_LITERALS : LAST_MATCH - m.length;
    size_t need = 1 + prolongation(literals) + literals + 2 + 1 + tail;
    size_t room = e->capacity - e->used;
    if (need > room)
        return 0;
    size_t spare = room - need; /* bytes that may prolong the match length */
    size_t longest = MIN_MATCH + (spare == 0 ? 14 : 15 + (spare - 1) * 255 + 254);
    size_t length = (m.length < longest ? m.length : longest) - MIN_MATCH;
    size_t distance = m.start - m.from;
    put_literals(e, literals, length < 15 ? (unsigned)length : 15);
    e->out[e->used++] = (uint8_t)distance;
    e->out[e->used++] = (uint8_t)(distance >> 8);
    put_count(e, length);
    e->anchor += length + MIN_MATCH;
    return 1;
}

/* The last sequence: as many literals as there are and as there is room for. */
static void put_last(struct encoder *e)
{
    size_t room = e->capacity - e->used - 1;
    size_t fits = room - (room + 241) / 256; /* the count takes one byte for 255 from 15 on */
    size_t left = e->size - e->anchor;
    put_literals(e, left < fits ? left : fits, 0);
}

/* Makes a match begin earlier while the bytes before it agree too. */
static void reach_back(const struct encoder *e, struct match *m)
{
    while (m->start > e->anchor && m->from > 0 && e->in[m->start - 1] == e->in[m->from - 1]) {
        m->start--;
        m->from--;
        m->length++;
    }
}

size_t iasfs_lz4_fill(const uint8_t *source, size_t source_size, uint8_t *out, size_t capacity,
                      int level, void *tables, size_t *consumed)
{
    struct encoder e = {.in = source, .size = source_size, .out = out, .capacity = capacity};
    *consumed = 0;
    if (capacity == 0)
        return 0;
    if (e.size > IASFS_MAX_DECODED)
        e.size = IASFS_MAX_DECODED;
    e.depth = 1U << ((level < 1 ? 1 : level > 12 ? 12 : level) - 1);
    e.tables = tables;
    memset(e.tables->head, 0, sizeof *e.tables->head << (e.depth == 1 ? FEW_BITS : MANY_BITS));

    int found = e.size >= LAST_MATCH;
    while (found) {
        struct match m;
        size_t last = e.size - LAST_MATCH, room = e.capacity - e.used;
        if (last > room && e.anchor < last - room)
            last = e.anchor + room; /* the literals before a later match would not fit */
        found = e.depth == 1 ? find_one(&e, last, &m) : find_best(&e, last, &m);
        if (found) {
            reach_back(&e, &m);
            found = put_sequence(&e, m);
        }
    }
    put_last(&e);
    *consumed = e.anchor;
    return e.used;
}
