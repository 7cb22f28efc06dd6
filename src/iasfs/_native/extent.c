/* Functions of format/zindex.py that keep the GIL. */

#include "args.h"
#include "zindex.h"

static PyObject *decode(const struct iasfs_zindex *index)
{
    if (!iasfs_zindex_valid(index)) {
        PyErr_SetString(PyExc_ValueError, "decode_index: the index does not fit its parameters");
        return NULL;
    }
    size_t count;
    uint64_t lcn;
    enum iasfs_fault fault = iasfs_zindex_decode(index, NULL, &count, &lcn);
    if (fault != IASFS_FAULT_NONE)
        return Py_BuildValue("(iK)", (int)fault, (unsigned long long)lcn);
    if (count > SIZE_MAX / 2 / sizeof(struct iasfs_record))
        return PyErr_NoMemory();
    PyObject *result =
        PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * sizeof(struct iasfs_record)));
    if (result != NULL)
        iasfs_zindex_decode(index, PyBytes_AsString(result), &count, &lcn);
    return result;
}

/* decode_index(data, form, header_offset, size, blkszbits, lclusterbits, advise, algorithmtype,
 *              tail, algorithms, regions): see decode_py. */
static PyObject *extent_decode_index(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    enum { DATA, NUMBERS = 9, REGIONS = NUMBERS + 1, COUNT };
    static const uint64_t maxima[NUMBERS] = {
        3, INT64_MAX, INT64_MAX, 16, 31, UINT16_MAX, UINT8_MAX, UINT32_MAX, UINT16_MAX,
    };
    (void)self;
    if (count != COUNT)
        return PyErr_Format(PyExc_TypeError, "decode_index takes %d arguments", (int)COUNT);
    uint64_t n[NUMBERS];
    for (int i = 0; i < NUMBERS; i++)
        if (iasfs_get_unsigned(args[i + 1], maxima[i], &n[i]) != 0)
            return NULL;
    Py_buffer data, regions;
    if (PyObject_GetBuffer(args[DATA], &data, PyBUF_SIMPLE) != 0)
        return NULL;
    if (PyObject_GetBuffer(args[REGIONS], &regions, PyBUF_SIMPLE) != 0) {
        PyBuffer_Release(&data);
        return NULL;
    }
    const struct iasfs_zindex index = {
        .data = data.buf,
        .data_size = (size_t)data.len,
        .form = (unsigned)n[0],
        .header_offset = n[1],
        .size = n[2],
        .blkszbits = (unsigned)n[3],
        .lclusterbits = (unsigned)n[4],
        .advise = (unsigned)n[5],
        .algorithmtype = (unsigned)n[6],
        .tail = n[7],
        .algorithms = (unsigned)n[8],
        .regions = regions.buf,
        .region_count = (size_t)regions.len / sizeof(struct iasfs_region),
    };
    PyObject *result = decode(&index);
    PyBuffer_Release(&regions);
    PyBuffer_Release(&data);
    return result;
}

PyMethodDef extent_methods[] = {
    IASFS_METHOD("decode_index", extent_decode_index,
                 "decode_index(data, form, ...) -> bytes | (fault, lcn); see format/zindex.py"),
    {NULL, NULL, 0, NULL},
};
