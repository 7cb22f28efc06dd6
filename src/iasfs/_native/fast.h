/* The side of the extension that knows Python: what is shared by its files.
 *
 * To add a file NAME.c of functions that keep the GIL: include this header, write them with
 * the signature of METH_FASTCALL, end with a table
 *
 *     PyMethodDef NAME_methods[] = {IASFS_METHOD("function", function, "docstring"),
 *                                   {NULL, NULL, 0, NULL}};
 *
 * and add X(NAME) to the list below.  ffi_build.py compiles every C file of the folder. */

#ifndef IASFS_FAST_H
#define IASFS_FAST_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core.h"

#define IASFS_METHOD_TABLES(X) \
    X(codec) \
    X(extent) \
    X(lookup)

#define IASFS_METHOD(name, function, doc) \
    {name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL, doc}

#define IASFS_DECLARE(name) extern PyMethodDef name##_methods[];
IASFS_METHOD_TABLES(IASFS_DECLARE)
#undef IASFS_DECLARE

#endif
