/* Functions of format/codec.py that are short, or may be: they begin with the GIL.
 *
 * A decode keeps it up to a megabyte of output (about a millisecond) and lets it go for more;
 * one LZ4 block keeps it at the quick levels.  Buffers stay exported, and so alive and in
 * place, until all is done. */

#include "fast.h"

#define SHORT_WORK ((uint64_t)1 << 20)
#define QUICK_LEVEL 3
#define FEW 8 /* jobs that need no allocation */
#define JOB_FIELDS 8

/* Jobs, and the buffers that they read, held until release(). */
struct batch {
    struct iasfs_job *jobs;
    Py_buffer *sources;
    size_t count;
    struct iasfs_job few_jobs[FEW];
    Py_buffer few_sources[FEW];
};

static PyObject *crc32c(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "crc32c() takes 2 arguments");
    unsigned long reg = PyLong_AsUnsignedLong(args[1]);
    if (reg == (unsigned long)-1 && PyErr_Occurred() != NULL)
        return NULL;
    Py_buffer data;
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) != 0)
        return NULL;
    uint32_t result = iasfs_crc32c((uint32_t)reg, data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(result);
}

/* --- decode --- */

/* Field `index` of a job, which is a tuple.  -1 with an exception set if it is no such number. */
static int get_number(PyObject *tuple, Py_ssize_t index, uint64_t *number)
{
    PyObject *item = PyTuple_GetItem(tuple, index); /* borrowed */
    if (item == NULL)
        return -1;
    *number = PyLong_AsUnsignedLongLong(item);
    return *number == UINT64_MAX && PyErr_Occurred() != NULL ? -1 : 0;
}

static int get_job(PyObject *tuple, struct iasfs_job *job, Py_buffer *source)
{
    if (!PyTuple_Check(tuple) || PyTuple_Size(tuple) != JOB_FIELDS) {
        PyErr_Format(PyExc_TypeError, "a job is a tuple of %d", JOB_FIELDS);
        return -1;
    }
    if (get_number(tuple, 1, &job->algorithm) != 0 || get_number(tuple, 2, &job->size) != 0
        || get_number(tuple, 3, &job->skip) != 0 || get_number(tuple, 4, &job->length) != 0
        || get_number(tuple, 5, &job->at) != 0 || get_number(tuple, 6, &job->partial) != 0
        || get_number(tuple, 7, &job->phase) != 0)
        return -1;
    if (PyObject_GetBuffer(PyTuple_GetItem(tuple, 0), source, PyBUF_SIMPLE) != 0)
        return -1;
    job->source = source->buf;
    job->source_size = (uint64_t)source->len;
    return 0;
}

static void release(struct batch *batch)
{
    while (batch->count > 0)
        PyBuffer_Release(&batch->sources[--batch->count]);
    if (batch->jobs != batch->few_jobs) {
        PyMem_Free(batch->jobs);
        PyMem_Free(batch->sources);
    }
}

/* Reads a sequence of tuples.  -1 with an exception set, and then nothing is held. */
static int hold(PyObject *sequence, struct batch *batch)
{
    Py_ssize_t size = PySequence_Size(sequence);
    if (size < 0)
        return -1;
    batch->count = 0;
    batch->jobs = batch->few_jobs;
    batch->sources = batch->few_sources;
    if (size > FEW) { /* calloc refuses a product that wraps */
        batch->jobs = PyMem_Calloc((size_t)size, sizeof *batch->jobs);
        batch->sources = PyMem_Calloc((size_t)size, sizeof *batch->sources);
        if (batch->jobs == NULL || batch->sources == NULL) {
            release(batch);
            PyErr_NoMemory();
            return -1;
        }
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *tuple = PySequence_GetItem(sequence, i);
        int got = tuple == NULL ? -1 : get_job(tuple, &batch->jobs[i], &batch->sources[i]);
        Py_XDECREF(tuple);
        if (got != 0) {
            release(batch);
            return -1;
        }
        batch->count++;
    }
    return 0;
}

/* The decoder's arguments: block bits, window log, zero padding. */
static int get_decoder(PyObject *const *args, struct iasfs_decoder *decoder)
{
    long bits = PyLong_AsLong(args[0]), window_log = PyLong_AsLong(args[1]);
    int padding = PyObject_IsTrue(args[2]);
    if (PyErr_Occurred() != NULL)
        return -1;
    if (bits < 9 || bits > 16 || window_log < 10 || window_log > 20) {
        PyErr_SetString(PyExc_ValueError, "block bits or window log out of range");
        return -1;
    }
    *decoder = (struct iasfs_decoder){(unsigned)bits, (unsigned)window_log, padding};
    return 0;
}

/* Whether the jobs make the core write more than is short. */
static int is_long(const struct batch *batch)
{
    uint64_t left = SHORT_WORK;
    for (size_t i = 0; i < batch->count; i++) {
        const struct iasfs_job *job = &batch->jobs[i];
        uint64_t work = job->algorithm == IASFS_ZSTD ? job->size : job->length;
        if (work > left)
            return 1;
        left -= work;
    }
    return 0;
}

static PyObject *decode(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    struct iasfs_decoder decoder;
    struct batch batch;
    Py_buffer out;
    if (count != 5)
        return PyErr_Format(PyExc_TypeError, "decode() takes 5 arguments");
    if (get_decoder(args + 2, &decoder) != 0
        || PyObject_GetBuffer(args[1], &out, PyBUF_WRITABLE) != 0)
        return NULL;
    if (hold(args[0], &batch) != 0) {
        PyBuffer_Release(&out);
        return NULL;
    }
    size_t failed = 0;
    PyThreadState *state = is_long(&batch) ? PyEval_SaveThread() : NULL;
    int problem = iasfs_decode(&decoder, batch.jobs, batch.count, out.buf, (size_t)out.len,
                               &failed);
    if (state != NULL)
        PyEval_RestoreThread(state);
    release(&batch);
    PyBuffer_Release(&out);
    if (problem == IASFS_OK)
        return Py_NewRef(Py_None);
    if (problem == IASFS_NO_MEMORY)
        return PyErr_NoMemory();
    return Py_BuildValue("ni", (Py_ssize_t)failed, problem);
}

/* --- encode --- */

static PyObject *lz4_fill(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "lz4_fill() takes 3 arguments");
    size_t capacity = PyLong_AsSize_t(args[1]), consumed = 0, made = 0;
    long level = PyLong_AsLong(args[2]);
    Py_buffer data;
    if (PyErr_Occurred() != NULL || PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) != 0)
        return NULL;
    struct iasfs_workspace *space = iasfs_workspace_take();
    uint8_t *scratch = NULL;
    if (space != NULL && capacity <= IASFS_MAX_STORED)
        scratch = iasfs_workspace_scratch(space, iasfs_lz4_tables_size + capacity);
    if (scratch != NULL) {
        uint8_t *out = scratch + iasfs_lz4_tables_size;
        PyThreadState *state = level > QUICK_LEVEL ? PyEval_SaveThread() : NULL;
        made = iasfs_lz4_fill(data.buf, (size_t)data.len, out, capacity, (int)level, scratch,
                              &consumed);
        if (state != NULL)
            PyEval_RestoreThread(state);
    }
    PyBuffer_Release(&data);
    PyObject *result = scratch == NULL ? PyErr_NoMemory()
                                       : Py_BuildValue("ny#", (Py_ssize_t)consumed,
                                                       (const char *)scratch
                                                           + iasfs_lz4_tables_size,
                                                       (Py_ssize_t)made);
    iasfs_workspace_give(space);
    return result;
}

PyMethodDef codec_methods[] = {
    IASFS_METHOD("crc32c", crc32c, "crc32c(data, register) -> int"),
    IASFS_METHOD("decode", decode,
                 "decode(jobs, destination, block_bits, window_log, zero_padding)\n"
                 "-> None, or (index of the job at fault, problem)"),
    IASFS_METHOD("lz4_fill", lz4_fill, "lz4_fill(data, capacity, level) -> (consumed, block)"),
    {NULL, NULL, 0, NULL},
};
