/* What an input of a fuzz target is cut into: numbers, and buffers of their exact size, so that
 * one byte too many is seen. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct input {
    const uint8_t *data;
    size_t size;
};

static void must(int condition)
{
    if (!condition)
        __builtin_trap();
}

/* The next `bytes` of the input as a number; zeros behind its end. */
static uint64_t number(struct input *input, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes && input->size != 0; i++, input->data++, input->size--)
        value |= (uint64_t)*input->data << 8 * i;
    return value;
}

/* The next `size` bytes, or what is left of them, in a buffer that is just as large. */
static uint8_t *piece(struct input *input, size_t *size)
{
    if (*size > input->size)
        *size = input->size;
    uint8_t *copy = malloc(*size);
    must(copy != NULL || *size == 0);
    if (*size != 0)
        memcpy(copy, input->data, *size);
    input->data += *size;
    input->size -= *size;
    return copy;
}
