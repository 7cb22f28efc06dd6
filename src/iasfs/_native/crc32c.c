/* CRC-32C as EROFS uses it: the register comes in and goes out as it is, nothing is inverted.
 *
 * A table for half bytes is enough: one block of each image is summed, when it is opened. */

#include "core.h"

static const uint32_t step[16] = {
    0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1, 0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
    0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9, 0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75,
};

uint32_t iasfs_crc32c(uint32_t reg, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        reg ^= data[i];
        reg = (reg >> 4) ^ step[reg & 15];
        reg = (reg >> 4) ^ step[reg & 15];
    }
    return reg;
}
