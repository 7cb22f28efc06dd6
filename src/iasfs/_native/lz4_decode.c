/* LZ4 blocks, decoded.
 *
 * A block is a run of sequences: a token (four bits of literal count, four of match length), a
 * longer count where the bits are all ones, the literals, a 16-bit distance, a longer length.
 * The last sequence ends after its literals.
 *
 * Invariants: [in, in_end) is what is left to read and [out, out_end) what is left to write.
 * Nothing outside them is touched, save that a match reads behind out, never before start.
 * Copies in steps of 16 bytes may write rubbish up to 15 bytes further than asked, but only
 * inside [out, out_end), where later bytes overwrite it. */

#include "core.h"

#include <string.h>

#define STEP 16
#define MIN_MATCH 4

struct block {
    const uint8_t *in, *in_end;
    uint8_t *start, *out, *out_end;
};

/* The bytes that prolong a count of 15: they add up, and one below 255 is the last. */
static int prolong(struct block *b, size_t *count)
{
    uint8_t byte;
    do {
        if (b->in == b->in_end)
            return IASFS_BAD_LZ4;
        byte = *b->in++;
        if (*count > SIZE_MAX / 2)
            return IASFS_BAD_LZ4;
        *count += byte;
    } while (byte == 255);
    return IASFS_OK;
}

/* Copies count literals; both sides have been checked to hold them. */
static void copy_literals(struct block *b, size_t count)
{
    if (count <= STEP && (size_t)(b->in_end - b->in) >= STEP
        && (size_t)(b->out_end - b->out) >= STEP)
        memcpy(b->out, b->in, STEP);
    else
        memcpy(b->out, b->in, count);
    b->in += count;
    b->out += count;
}

/* Copies count bytes from distance bytes back; source and destination may overlap, and then the
 * bytes between them repeat. */
static void copy_match(struct block *b, size_t distance, size_t count)
{
    const uint8_t *from = b->out - distance;
    uint8_t *to = b->out;
    b->out += count;
    if (distance >= STEP && (size_t)(b->out_end - b->out) >= STEP) {
        for (uint8_t *end = b->out; to < end; to += STEP, from += STEP)
            memcpy(to, from, STEP);
        return;
    }
    while (count > distance) { /* each round doubles what can be copied at once */
        memcpy(to, from, distance);
        to += distance;
        count -= distance;
        distance *= 2;
    }
    memcpy(to, from, count);
}

/* Short sequences, which most are, as long as there is so much room on both sides that 14
 * literals, 18 bytes of match and what the copies write too much need no further checks.  Stops
 * before the first sequence that is not of the kind. */
static void short_sequences(struct block *b)
{
    const uint8_t *in = b->in;
    uint8_t *out = b->out;
    while (b->in_end - in >= 1 + STEP + 2 && b->out_end - out >= STEP + 18) {
        size_t literals = in[0] >> 4, length = in[0] & 15;
        if (literals == 15 || length == 15)
            break;
        const uint8_t *behind = in + 1 + literals;
        uint8_t *to = out + literals;
        size_t distance = (size_t)behind[0] | (size_t)behind[1] << 8;
        if (distance < 8 || distance > (size_t)(to - b->start))
            break;
        memcpy(out, in + 1, STEP);
        const uint8_t *from = to - distance;
        memcpy(to, from, 8);
        memcpy(to + 8, from + 8, 8);
        memcpy(to + 16, from + 16, 2);
        in = behind + 2;
        out = to + length + MIN_MATCH;
    }
    b->in = in;
    b->out = out;
}

/* One sequence.  *done is set when the block (or what is wanted of it) is complete. */
static int sequence(struct block *b, int exact, int *done)
{
    if (b->in == b->in_end)
        return IASFS_BAD_LZ4;
    unsigned token = *b->in++;
    size_t literals = token >> 4, length = token & 15;
    if (literals == 15 && prolong(b, &literals) != IASFS_OK)
        return IASFS_BAD_LZ4;
    size_t room = (size_t)(b->out_end - b->out);
    if (!exact && literals >= room) {
        literals = room;
        *done = 1;
    }
    if (literals > room || literals > (size_t)(b->in_end - b->in))
        return IASFS_BAD_LZ4;
    copy_literals(b, literals);
    room -= literals;
    if (exact && b->in == b->in_end)
        *done = 1;
    if (*done)
        return room == 0 ? IASFS_OK : IASFS_BAD_LZ4;

    if (b->in_end - b->in < 2)
        return IASFS_BAD_LZ4;
    size_t distance = (size_t)b->in[0] | (size_t)b->in[1] << 8;
    b->in += 2;
    if (length == 15 && prolong(b, &length) != IASFS_OK)
        return IASFS_BAD_LZ4;
    length += MIN_MATCH;
    if (distance == 0 || distance > (size_t)(b->out - b->start))
        return IASFS_BAD_LZ4;
    if (!exact && length >= room) {
        length = room;
        *done = 1;
    }
    if (length > room)
        return IASFS_BAD_LZ4;
    copy_match(b, distance, length);
    return IASFS_OK;
}

int iasfs_lz4_decode(const uint8_t *source, size_t source_size, uint8_t *out, size_t size,
                     int exact)
{
    struct block b = {source, source + source_size, out, out, out + size};
    int done = 0, problem = IASFS_OK;
    while (!done && problem == IASFS_OK) {
        short_sequences(&b);
        problem = sequence(&b, exact, &done);
    }
    return problem;
}
