/* Arguments of functions that keep the GIL. */

#ifndef IASFS_ARGS_H
#define IASFS_ARGS_H

#include "fast.h"

/* Reads an unsigned integer of at most maximum; 0, or -1 with an exception set. */
static inline int iasfs_get_unsigned(PyObject *object, uint64_t maximum, uint64_t *value)
{
    *value = PyLong_AsUnsignedLongLong(object);
    if (*value == UINT64_MAX && PyErr_Occurred() != NULL)
        return -1;
    if (*value > maximum) {
        PyErr_Format(PyExc_ValueError, "%R is more than %llu", object,
                     (unsigned long long)maximum);
        return -1;
    }
    return 0;
}

#endif
