/* Functions of format/lookup.py that keep the GIL. */

#include "args.h"
#include "namei.h"

static int get_blkszbits(PyObject *object, unsigned *bits)
{
    uint64_t value;
    if (iasfs_get_unsigned(object, 16, &value) != 0)
        return -1;
    if (value < 9) {
        PyErr_SetString(PyExc_ValueError, "lookup: blocks of less than 512 bytes");
        return -1;
    }
    *bits = (unsigned)value;
    return 0;
}

/* Two buffers, which are released together. */
struct buffers {
    Py_buffer data;
    Py_buffer name;
};

static int get_buffers(PyObject *data, PyObject *name, struct buffers *buffers)
{
    if (PyObject_GetBuffer(data, &buffers->data, PyBUF_SIMPLE) != 0)
        return -1;
    if (PyObject_GetBuffer(name, &buffers->name, PyBUF_SIMPLE) != 0) {
        PyBuffer_Release(&buffers->data);
        return -1;
    }
    return 0;
}

static void release(struct buffers *buffers)
{
    PyBuffer_Release(&buffers->name);
    PyBuffer_Release(&buffers->data);
}

static struct iasfs_name name_of(const struct buffers *buffers)
{
    return (struct iasfs_name){buffers->name.buf, (size_t)buffers->name.len};
}

/* (nid, file_type); or -1 before, 0 malformed, 1 absent */
static PyObject *answer(enum iasfs_order order, const struct iasfs_found *found)
{
    switch (order) {
    case IASFS_NAME_HERE:
        return Py_BuildValue("(Ki)", (unsigned long long)found->nid, (int)found->type);
    case IASFS_NAME_BEFORE: return PyLong_FromLong(-1);
    case IASFS_NAME_ABSENT: return PyLong_FromLong(1);
    default: return PyLong_FromLong(0);
    }
}

static PyObject *lookup_find(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "find(block, name)");
    struct buffers buffers;
    if (get_buffers(args[0], args[1], &buffers) != 0)
        return NULL;
    struct iasfs_found found;
    enum iasfs_order order = iasfs_block_find(buffers.data.buf, (size_t)buffers.data.len,
                                              name_of(&buffers), &found);
    release(&buffers);
    return answer(order, &found);
}

static PyObject *lookup_dir_find(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "dir_find(data, blkszbits, name)");
    unsigned blkszbits;
    struct buffers buffers;
    if (get_blkszbits(args[1], &blkszbits) != 0 || get_buffers(args[0], args[2], &buffers) != 0)
        return NULL;
    struct iasfs_found found;
    enum iasfs_order order = iasfs_dir_find(buffers.data.buf, (size_t)buffers.data.len,
                                            (size_t)1 << blkszbits, name_of(&buffers), &found);
    release(&buffers);
    return answer(order, &found);
}

static PyObject *lookup_resolve(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 5)
        return PyErr_Format(PyExc_TypeError,
                            "resolve(meta, blkszbits, meta_blkaddr, root_nid, path)");
    struct iasfs_meta meta;
    if (get_blkszbits(args[1], &meta.blkszbits) != 0 ||
        iasfs_get_unsigned(args[2], UINT32_MAX, &meta.meta_blkaddr) != 0 ||
        iasfs_get_unsigned(args[3], UINT64_MAX, &meta.root_nid) != 0)
        return NULL;
    struct buffers buffers;
    if (get_buffers(args[0], args[4], &buffers) != 0)
        return NULL;
    meta.data = buffers.data.buf;
    meta.size = (size_t)buffers.data.len;
    struct iasfs_found found;
    size_t consumed;
    enum iasfs_status status = iasfs_resolve(&meta, name_of(&buffers), &found, &consumed);
    release(&buffers);
    if (status == IASFS_WALK_OUTSIDE) {
        found = (struct iasfs_found){0, IASFS_FT_UNKNOWN};
        consumed = 0;
    }
    return Py_BuildValue("(iKin)", (int)status, (unsigned long long)found.nid, (int)found.type,
                         (Py_ssize_t)consumed);
}

/* The fields of Inode in format/inode.py, in their order. */
static PyObject *inode_tuple(const struct iasfs_inode *inode, uint64_t nid, uint64_t offset,
                             uint64_t body)
{
    return Py_BuildValue("(KKiIIKIILIKIKIO)", (unsigned long long)nid,
                         (unsigned long long)offset, (int)inode->layout,
                         (unsigned)inode->mode, (unsigned)inode->nlink,
                         (unsigned long long)inode->size, (unsigned)inode->uid,
                         (unsigned)inode->gid, (long long)inode->mtime,
                         (unsigned)inode->mtime_nsec, (unsigned long long)inode->u,
                         (unsigned)inode->ino, (unsigned long long)body,
                         (unsigned)inode->xattr_size, inode->extended ? Py_True : Py_False);
}

static PyObject *lookup_inode(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 6)
        return PyErr_Format(PyExc_TypeError, "inode(data, at, nid, offset, epoch, fixed_nsec)");
    uint64_t at, nid, offset, fixed_nsec;
    if (iasfs_get_unsigned(args[1], INT64_MAX, &at) != 0 ||
        iasfs_get_unsigned(args[2], UINT64_MAX, &nid) != 0 ||
        iasfs_get_unsigned(args[3], INT64_MAX, &offset) != 0 ||
        iasfs_get_unsigned(args[5], UINT32_MAX, &fixed_nsec) != 0)
        return NULL;
    long long epoch = PyLong_AsLongLong(args[4]);
    if (epoch == -1 && PyErr_Occurred() != NULL)
        return NULL;
    Py_buffer data;
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) != 0)
        return NULL;
    struct iasfs_inode inode;
    int result = iasfs_inode_read(data.buf, (size_t)data.len, at, &inode);
    PyBuffer_Release(&data);
    if (result == 0 && !inode.extended) {
        /* Only a hostile epoch comes near the end of time; such an inode goes the long way. */
        if (epoch > INT64_MAX - inode.mtime)
            result = -1;
        else
            inode.mtime += epoch;
        inode.mtime_nsec = (uint32_t)fixed_nsec;
    }
    if (result != 0)
        return Py_NewRef(Py_None);
    return inode_tuple(&inode, nid, offset, offset + (inode.body - at));
}

PyMethodDef lookup_methods[] = {
    IASFS_METHOD("find", lookup_find,
                 "find(block, name) -> (nid, file_type), or -1 before, 1 absent, 0 malformed"),
    IASFS_METHOD("dir_find", lookup_dir_find,
                 "dir_find(data, blkszbits, name) -> (nid, file_type), or 1 absent, 0 malformed"),
    IASFS_METHOD("resolve", lookup_resolve,
                 "resolve(meta, blkszbits, meta_blkaddr, root_nid, path)"
                 " -> (status, nid, file_type, consumed)"),
    IASFS_METHOD("inode", lookup_inode,
                 "inode(data, at, nid, offset, epoch, fixed_nsec) -> fields of Inode, or None"),
    {NULL, NULL, 0, NULL},
};
