/* iasfs._native._fast: the module of the functions that keep the GIL.
 *
 * cffi makes the only module that a shared object of its kind can have, and releases the GIL
 * around all of its functions.  So a second module is put into sys.modules by hand, by the one
 * function that is called through cffi for this; it takes the GIL back for that moment. */

#include "fast.h"

#define TABLE(name) name##_methods,
static PyMethodDef *const tables[] = {IASFS_METHOD_TABLES(TABLE)};
#undef TABLE

int iasfs_fast_init(void)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *module = PyImport_AddModule("iasfs._native._fast"); /* borrowed */
    int result = module == NULL ? -1 : 0;
    for (size_t i = 0; result == 0 && i < sizeof tables / sizeof *tables; i++)
        result = PyModule_AddFunctions(module, tables[i]);
    if (result != 0)
        PyErr_Clear();
    PyGILState_Release(state);
    return result;
}
