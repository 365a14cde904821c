"""Rows of an array of the device, by their places.

libgpuarray 0.7 takes rows by a kernel that it compiles anew at each call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import pygpu
from pygpu import gpuarray
from theano.gof import Apply, Op
from theano.gpuarray.basic_ops import as_gpuarray_variable, host_from_gpu, infer_context_name
from theano.gpuarray.type import GpuArrayType

from trainer.kernels.device.launching import (
    Argument,
    DeviceKernel,
    check_size,
    counts,
    divided,
    divisor,
    launch,
    quotient,
)


def rows(values: Any, places: Any) -> Any:
    """Take rows of a shared variable of the device.

    Parameters
    ----------
    values : shared variable, (rows, …)
        Of any dtype.
    places : symbolic vector of int32, (n,)
        Each at least 0 and below the number of rows, which nobody checks.

    Returns
    -------
    symbolic tensor, (n, …)
        ``values[places]``, without a gradient.
    """
    return host_from_gpu(GpuRows()(values, places))


@cache
def _kernel(dtype: str) -> DeviceKernel:
    """Give the kernel: a thread takes an element."""
    arrays = (Argument("y", dtype), Argument("x", dtype), Argument("places", "int32"))
    return DeviceKernel(
        "rows",
        (*counts("n", *divisor("width")), *arrays),
        f"""    EACH(k, n) {{
        const ga_uint row = {divided("k", "width")};
        y[k] = x[(ga_size)places[row] * width + (k - row * width)];
    }}
""",
    )


class GpuRows(Op):  # type: ignore[misc]
    """The operation of `rows`."""

    __props__ = ()

    def make_node(self, values: Any, places: Any) -> Any:
        """From an array and places, which go to its device, to an array."""
        context = infer_context_name(values)
        given = [as_gpuarray_variable(each, context) for each in (values, places)]
        pattern = (False, *given[0].broadcastable[1:])
        return Apply(self, given, [GpuArrayType(values.dtype, pattern, context_name=context)()])

    def prepare_node(self, node: Any, storage_map: Any, compute_map: Any, impl: Any) -> None:
        """Compile the kernel before the first call."""
        _kernel(node.outputs[0].dtype).compiled(node.outputs[0].type.context)

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shape: nothing needs to be computed for it."""
        return [(shapes[1][0], *shapes[0][1:])]

    def perform(self, node: Any, inputs: Sequence[Any], storage: Sequence[list[Any]]) -> None:
        """Launch it."""
        values, places = (gpuarray.ascontiguousarray(each) for each in inputs)
        shape = (len(places), *values.shape[1:])
        taken = pygpu.empty(shape, values.dtype, context=values.context)
        check_size(taken)
        numbers = [taken.size, *quotient(math.prod(values.shape[1:]))]
        kernel = _kernel(node.outputs[0].dtype).compiled(values.context)
        launch(kernel, taken.size, numbers, [taken, values, places])
        storage[0][0] = taken
