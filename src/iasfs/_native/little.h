/* Little-endian integers at any address; the compiler makes one load of each. */

#ifndef IASFS_LITTLE_H
#define IASFS_LITTLE_H

#include <stdint.h>

static inline uint16_t iasfs_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t iasfs_le32(const uint8_t *p)
{
    return (uint32_t)iasfs_le16(p) | (uint32_t)iasfs_le16(p + 2) << 16;
}

static inline uint64_t iasfs_le64(const uint8_t *p)
{
    return (uint64_t)iasfs_le32(p) | (uint64_t)iasfs_le32(p + 4) << 32;
}

#endif
