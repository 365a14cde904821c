"""Compiled kernels that any number of arrays go through: one module of C for networks of all sizes.

Theano writes the number and the types of an operation's inputs into the C that it compiles for it. A kernel
here is compiled for one input alone, the plan: the cells in which Theano keeps the arrays that go in and come
out, and numbers. The operation that the graph shows hands it over when the function is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import theano
from theano.gof import Apply, Op
from theano.gof.type import generic

from trainer.kernels.parallel import LIBRARIES, PARALLEL

COMMON = """
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

namespace {

// Below so many bytes, waking another thread takes longer than its help saves.
const npy_intp WORTH_SHARING = (npy_intp)1 << 20;

// An array to write to: the last call's, where nobody else has it.
inline PyArrayObject* array_out(PyObject* cell, int axes, npy_intp* shape, int type, bool fortran) {
    PyObject* const old = PyList_GET_ITEM(cell, 0);
    if (PyArray_CheckExact(old) && Py_REFCNT(old) == 1) {
        PyArrayObject* const array = (PyArrayObject*)old;
        if (PyArray_TYPE(array) == type && PyArray_NDIM(array) == axes && PyArray_ISBEHAVED(array)
                && PyArray_CompareLists(PyArray_DIMS(array), shape, axes)
                && (fortran ? PyArray_IS_F_CONTIGUOUS(array) : PyArray_IS_C_CONTIGUOUS(array)))
            return array;
    }
    PyObject* const made = PyArray_EMPTY(axes, shape, type, fortran);
    if (made) PyList_SetItem(cell, 0, made);
    return (PyArrayObject*)made;
}

// Hand on what one cell has to another.
inline void pass(PyObject* from, PyObject* to) {
    PyObject* const value = PyList_GET_ITEM(from, 0);
    Py_INCREF(value);
    PyList_SetItem(to, 0, value);
}

}  // namespace
"""


class Kernel(Op):  # type: ignore[misc]
    """C with a function ``int run_plan(PyObject* in, PyObject* out, const npy_int64* numbers)``.

    `in` and `out` are tuples of cells, each a list of one array; the result is 0, or -1 with an exception.
    The function is called with Python's lock, and may use what `COMMON` and `trainer.kernels.parallel` give.

    Parameters
    ----------
    text : str
        The C.
    """

    __props__ = ("digest",)

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha256(text.encode()).hexdigest()[:32]

    def make_node(self, plan: Any) -> Apply:
        """Give a value that nobody reads."""
        return Apply(self, [plan], [generic()])

    def c_headers(self) -> list[str]:
        """Give what the C includes."""
        return ["<math.h>", "<numpy/arrayobject.h>", "<numpy/arrayscalars.h>"]

    def c_init_code(self) -> list[str]:
        """Let the module use NumPy's arrays."""
        return ["import_array();"]

    # No options of its own: modules of the same options share compiled headers.
    def c_libraries(self) -> list[str]:
        """Give what the module is linked with."""
        return list(LIBRARIES)

    def c_support_code(self) -> str:
        """Give the C."""
        return PARALLEL + COMMON + self.text

    def c_code(self, node: Any, name: str, inputs: Sequence[str], outputs: Sequence[str], sub: Any) -> str:
        """Run the plan."""
        (plan,), (done,) = inputs, outputs
        return f"""
        if (trainer::ready() || run_plan(
                PyTuple_GET_ITEM({plan}, 0), PyTuple_GET_ITEM({plan}, 1),
                (const npy_int64*)PyArray_DATA((PyArrayObject*)PyTuple_GET_ITEM({plan}, 2))))
            {{ {sub["fail"]} }}
        Py_INCREF(Py_None); Py_XDECREF({done}); {done} = Py_None;
        """

    def c_code_cache_version(self) -> tuple[Any, ...]:
        """Give the version of the C around the text, whose digest says the rest."""
        return (1, hashlib.sha256((PARALLEL + COMMON).encode()).hexdigest()[:16])

    def perform(self, node: Any, inputs: Sequence[Any], outputs: Sequence[list[Any]]) -> None:
        """Refuse: the operation that has the plan does it without C."""
        raise NotImplementedError


class Planned(Op):  # type: ignore[misc]
    """An operation that is done by a kernel, and by its own `perform` where there is no compiler."""

    def kernel(self) -> str:
        """Give the C of the kernel; each operation has its own."""
        raise NotImplementedError

    def numbers(self) -> Sequence[int]:
        """Give the numbers of the plan."""
        return ()

    def compiled_ahead(self) -> Apply:
        """Give the node whose C linking will need, so that it is compiled beside what else is missing."""
        return Kernel(self.kernel()).make_node(generic())

    def make_thunk(
        self, node: Any, storage_map: Any, compute_map: Any, no_recycling: Any, impl: Any = None
    ) -> Any:
        """Hand the kernel the cells of all inputs and outputs."""
        if impl == "py" or not theano.config.cxx:
            return super().make_thunk(node, storage_map, compute_map, no_recycling, impl="py")
        plan = (
            tuple(storage_map[variable] for variable in node.inputs),
            tuple(storage_map[variable] for variable in node.outputs),
            np.array([*self.numbers(), 0], np.int64),
        )
        given = generic()
        inner = Kernel(self.kernel()).make_node(given)
        cells = {given: [plan], inner.outputs[0]: [None]}
        thunk = inner.op.make_thunk(inner, cells, {variable: [True] for variable in cells}, [], impl="c")
        return _marking(thunk, node, compute_map)


def _marking(thunk: Any, node: Any, compute_map: Any) -> Any:
    """Let a thunk say that the node's outputs are computed, where it is called from Python."""
    marks = [compute_map[variable] for variable in node.outputs] if compute_map else []

    def run() -> None:
        thunk()
        for mark in marks:
            mark[0] = True

    vars(run).update(vars(thunk))
    return run
