"""Sums of squares along the leading or the last axes of a tensor: what norms of units are made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import theano
from theano import tensor
from theano.gof import Apply
from theano.tensor.elemwise import Elemwise

from trainer.kernels.fused.expressions import is_scalar
from trainer.kernels.fused.graphs import nodes_between
from trainer.kernels.plans import Planned


class SquaresAlong(Planned):
    """Sum the squares of a tensor's elements over the axes before one, or over those from it on.

    Read once, summed in double precision, in an order that does not depend on the number of threads.

    Parameters
    ----------
    split : int
        The axis, from 1 to the number of axes less 1.
    leading : bool
        Whether the axes before it are summed over.
    dtype : str
        That of the sums: float32 or float64.
    """

    __props__ = ("split", "leading", "dtype")

    def __init__(self, split: int, leading: bool, dtype: str) -> None:
        self.split, self.leading, self.dtype = split, leading, dtype

    def make_node(self, x: Any) -> Apply:
        """From a tensor of float32 or float64 to its sums."""
        kept = x.broadcastable[self.split :] if self.leading else x.broadcastable[: self.split]
        return Apply(self, [x], [tensor.TensorType(self.dtype, kept)()])

    def infer_shape(self, node: Any, shapes: Any) -> list[Any]:
        """Give the part of the shape that is not summed over."""
        return [shapes[0][self.split :] if self.leading else shapes[0][: self.split]]

    def kernel(self) -> str:
        """Give the C."""
        return SQUARES

    def numbers(self) -> list[int]:
        """Give what the C cannot know."""
        return [self.split, int(self.leading), int(self.dtype == "float64")]

    def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
        """Do in NumPy what the kernel does."""
        (x,) = inputs
        over = tuple(range(self.split)) if self.leading else tuple(range(self.split, x.ndim))
        outputs[0][0] = np.asarray(np.square(x, dtype=np.float64).sum(axis=over), self.dtype)


def with_squares(updates: Mapping[Any, Any], starts: Collection[Any]) -> Mapping[Any, Any]:
    """Give the same updates, with `SquaresAlong` in the place of each sum of squares that it can be."""
    nodes = nodes_between(starts, list(updates.values()))
    known: dict[Any, Any] = {}
    for node in nodes:
        operation = _operation(node)
        given = node.inputs[0].owner.inputs if operation is not None else node.inputs
        inputs = [known.get(each, each) for each in given]
        if operation is not None:
            known[node.outputs[0]] = operation(*inputs)
        elif any(new is not old for new, old in zip(inputs, given, strict=True)):
            made = node.clone_with_new_inputs(inputs, strict=False)
            known.update(zip(node.outputs, made.outputs, strict=True))
    return {variable: known.get(each, each) for variable, each in updates.items()}


def is_squares(node: Any) -> bool:
    """Tell whether a node is such an operation."""
    return node is not None and isinstance(node.op, SquaresAlong)


def _operation(node: Any) -> SquaresAlong | None:
    """Give the operation that does what a sum and the squares before it do, or None."""
    (squared, *_), (result, *_) = node.inputs or [None], node.outputs
    if not isinstance(node.op, tensor.Sum) or is_scalar(result) or node.op.axis is None:
        return None
    made = squared.owner
    if made is None or not isinstance(made.op, Elemwise) or made.op.scalar_op != theano.scalar.sqr:
        return None
    floats = {made.inputs[0].dtype, squared.dtype, result.dtype} <= {"float32", "float64"}
    if not floats or made.inputs[0].dtype != squared.dtype or (node.op.acc_dtype or "float64") != "float64":
        return None
    axes, count = sorted(axis % squared.ndim for axis in node.op.axis), squared.ndim
    if axes == list(range(len(axes))) and len(axes) < count:
        return SquaresAlong(len(axes), True, result.dtype)
    if axes and axes == list(range(axes[0], count)):
        return SquaresAlong(axes[0], False, result.dtype)
    return None


SQUARES = """
namespace {

// Of rows that are summed into one another, in so many parts at most; each has sums of its own.
const npy_intp PARTS = 16, LEAST = 16384;

template <typename T>
void sum_leading(const T* x, npy_intp rows, npy_intp inner, double* sums) {
    npy_intp row = 0;
    for (; row + 4 <= rows; row += 4) {
        const T *const a = x + row * inner, *const b = a + inner, *const c = b + inner, *const d = c + inner;
        #pragma GCC ivdep
        for (npy_intp k = 0; k < inner; ++k) {
            const double p = a[k], q = b[k], r = c[k], s = d[k];
            sums[k] += (p * p + q * q) + (r * r + s * s);
        }
    }
    for (; row < rows; ++row) {
        const T* const a = x + row * inner;
        #pragma GCC ivdep
        for (npy_intp k = 0; k < inner; ++k) sums[k] += (double)a[k] * (double)a[k];
    }
}

template <typename T>
double sum_row(const T* x, npy_intp inner) {
    enum { LANES = 16 };
    double lanes[LANES] = {0}, total = 0;
    npy_intp k = 0;
    for (; k + LANES <= inner; k += LANES)
        for (int lane = 0; lane < LANES; ++lane) lanes[lane] += (double)x[k + lane] * (double)x[k + lane];
    for (; k < inner; ++k) total += (double)x[k] * (double)x[k];
    for (int lane = 0; lane < LANES; ++lane) total += lanes[lane];
    return total;
}

template <typename T>
void sum_part(const T* x, bool leading, npy_intp first, npy_intp end, npy_intp inner, double* sums) {
    if (leading) sum_leading(x + first * inner, end - first, inner, sums);
    else for (npy_intp row = first; row < end; ++row) sums[row] = sum_row(x + row * inner, inner);
}

int run_plan(PyObject* in, PyObject* out, const npy_int64* numbers) {
    PyObject* const given = PyList_GET_ITEM(PyTuple_GET_ITEM(in, 0), 0);
    PyArrayObject* const x = (PyArrayObject*)PyArray_FROM_OF(given, NPY_ARRAY_CARRAY_RO);
    if (!x) return -1;
    const int split = (int)numbers[0], axes = PyArray_NDIM(x), single = PyArray_TYPE(x) == NPY_FLOAT;
    const bool leading = numbers[1];
    npy_intp outer = 1, inner = 1;
    for (int axis = 0; axis < axes; ++axis) (axis < split ? outer : inner) *= PyArray_DIMS(x)[axis];
    PyArrayObject* const result = array_out(
        PyTuple_GET_ITEM(out, 0), leading ? axes - split : split, PyArray_DIMS(x) + (leading ? split : 0),
        numbers[2] ? NPY_DOUBLE : NPY_FLOAT, false);
    const npy_intp most = outer * inner / LEAST + 1, step = outer / (most < PARTS ? most : PARTS) + 1;
    const uint32_t parts = (uint32_t)((outer + step - 1) / step);
    const npy_intp wanted = leading ? inner : outer;
    const npy_intp space = (leading ? parts * inner : outer) + 1;
    double* const sums = result ? (double*)calloc(space, sizeof(double)) : NULL;
    if (!sums) {
        if (result) PyErr_NoMemory();
        Py_DECREF(x);
        return -1;
    }
    const void* const data = PyArray_DATA(x);
    const auto body = [=](uint32_t part) {
        const npy_intp first = part * step, end = first + step < outer ? first + step : outer;
        double* const own = sums + (leading ? part * inner : 0);
        if (single) sum_part((const npy_float32*)data, leading, first, end, inner, own);
        else sum_part((const npy_float64*)data, leading, first, end, inner, own);
    };
    if (trainer::worth(PyArray_NBYTES(x), WORTH_SHARING)) trainer::parallel_for(parts, body);
    else for (uint32_t part = 0; part < parts; ++part) body(part);
    for (npy_intp k = 0; k < wanted; ++k) {
        double total = leading ? 0 : sums[k];
        for (uint32_t part = 0; leading && part < parts; ++part) total += sums[part * inner + k];
        if (numbers[2]) ((npy_float64*)PyArray_DATA(result))[k] = total;
        else ((npy_float32*)PyArray_DATA(result))[k] = (npy_float32)total;
    }
    free(sums);
    Py_DECREF(x);
    return 0;
}

}  // namespace
"""
