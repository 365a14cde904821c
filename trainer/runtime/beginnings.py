"""The two C modules that Theano needs before any graph, from our store and without a lock."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.runtime.linking import Modules, load, make_unit
from trainer.runtime.prelude import HEADERS
from trainer.runtime.workshop import Unit

_PACKAGES = {"theano.gof.lazylinker_c": "lazylinker_ext", "theano.gof.cutils": "cutils_ext"}


def before_imports(ready: Callable[[], Modules]) -> dict[str, Callable[[types.ModuleType], None]]:
    """Return what is to be done before each of Theano's modules is imported that would compile one of these.

    Parameters
    ----------
    ready : callable
        Returns the modules' cache; called once Theano's flags are known.
    """

    def provide(package: str) -> Callable[[types.ModuleType], None]:
        def before(_: types.ModuleType) -> None:
            modules = ready()
            units = {"lazylinker_ext": _interpreter(), "cutils_ext": _caller()}
            # Where one of these is missing, all is: what a run compiles will follow soon.
            modules.workshop.order([units["lazylinker_ext"]], soon=_usual())
            modules.workshop.order([units["cutils_ext"]])
            _place(package, load(modules.workshop.get(units[package]), package))

        return before

    return {module: provide(package) for module, package in _PACKAGES.items()}


def _place(name: str, module: types.ModuleType) -> None:
    """Let an import of `name.name` find this module."""
    package: Any = types.ModuleType(name)
    package.__path__ = []
    if hasattr(module, "get_version"):
        package._version = module.get_version()
    setattr(package, name, module)
    sys.modules[name] = package
    sys.modules[f"{name}.{name}"] = module


def _interpreter() -> Unit:
    """Return the unit of what calls a function's modules in turn; it computes nothing itself."""
    import theano
    from theano.gof.cmodule import GCC_compiler

    source = Path(theano.__path__[0], "gof", "c_code", "lazylinker_c.c").read_text()
    return make_unit(source, ["-O1", *GCC_compiler.compile_args()])


def _usual() -> Unit:
    """Return a unit with the options that most modules have."""
    from theano.gof.cc import CLinker

    linker = CLinker()
    linker.variables, linker.node_order = [], []
    return make_unit("".join(f"#include {header}\n" for header in HEADERS), linker.compile_args())


def _caller() -> Unit:
    from theano.gof.cmodule import GCC_compiler

    return make_unit(_CALLER, GCC_compiler.compile_args(march_flags=False))


# What `theano.gof.cutils` would compile: it calls a module's function by its address.
_CALLER = r"""
#include <Python.h>

extern "C" {

static PyObject *run_cthunk(PyObject *self, PyObject *args) {
    PyObject *thunk = NULL;
    if (!PyArg_ParseTuple(args, "O", &thunk)) return NULL;
    if (!PyCapsule_CheckExact(thunk)) {
        PyErr_SetString(PyExc_ValueError, "run_cthunk needs a capsule");
        return NULL;
    }
    int (*run)(void *) = (int (*)(void *)) PyCapsule_GetPointer(thunk, NULL);
    return run == NULL ? NULL : PyLong_FromLong(run(PyCapsule_GetContext(thunk)));
}

static PyMethodDef methods[] = {
    {"run_cthunk", run_cthunk, METH_VARARGS, "Call a compiled thunk."},
    {NULL, NULL, 0, NULL}
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "cutils_ext", NULL, -1, methods};

PyMODINIT_FUNC PyInit_cutils_ext(void) { return PyModule_Create(&definition); }

}
"""
