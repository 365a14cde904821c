"""Bias, activation and dropout on devices: a kernel forward, which leaves the result alone, and one backward.

Theano's elementwise operations have one result each. Of a layer they keep the biased sums beside the
activated ones, for the gradient, and with dropout write the mask down as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pygpu
from pygpu import gpuarray
from theano.gof import Apply
from theano.gpuarray.basic_ops import as_gpuarray_variable, infer_context_name
from theano.gpuarray.opt import op_lifter, register_opt, register_opt2

from trainer.kernels.activation import Activated, ActivatedGradient, Dropped
from trainer.kernels.device.activation_code import (
    backward_kernel,
    forward_kernel,
    sum_of_rows,
)
from trainer.kernels.device.launching import DeviceKernel, check_size, launch, launch_groups, quotient
from trainer.kernels.overwriting import Overwriting
from trainer.kernels.random_words import GROUP, LANES, threshold

_AT_ONCE = 64  # rows that one thread adds up


class _Elementwise(Overwriting):
    """What the operations have in common: their first result has the shape of one of the inputs.

    Parameters
    ----------
    function : str
        The activation's name.
    rate : float, default 0
        The probability that an element is dropped.
    in_place : bool, default False
        Whether the result is written over that input.
    """

    __props__ = ("function", "rate", "in_place")

    def __init__(self, function: str, rate: float = 0.0, in_place: bool = False) -> None:
        self.function, self.rate = function, rate
        super().__init__(in_place)

    def overwriting(self) -> Overwriting:
        """Give the operation that overwrites."""
        return type(self)(self.function, self.rate, True)

    def kernel(self, node: Any) -> DeviceKernel:
        """Give the kernel for a node's types; each operation has its own."""
        raise NotImplementedError

    def make_node(self, *inputs: Any) -> Any:
        """From arrays of one device to such arrays."""
        context = infer_context_name(*inputs)
        given = [as_gpuarray_variable(each, context) for each in inputs]
        states = [each.type() for each in given if each.dtype == "int64"]
        return Apply(self, given, [given[self.overwritten].type(), *states])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shapes: nothing needs to be computed for them."""
        states = [shape for each, shape in zip(node.inputs, shapes, strict=True) if each.dtype == "int64"]
        return [shapes[self.overwritten], *states]

    def prepare_node(self, node: Any, storage_map: Any, compute_map: Any, impl: Any) -> None:
        """Compile the kernel before the first call."""
        self.kernel(node).compiled(node.outputs[0].type.context)

    def _result(self, array: Any) -> Any:
        """Give the array to write to."""
        check_size(array)
        return array if self.in_place else pygpu.empty(array.shape, array.dtype, context=array.context)


class GpuActivated(_Elementwise):
    """`trainer.kernels.activation.Activated` on a device, and `Dropped`, which has no bias."""

    def kernel(self, node: Any) -> DeviceKernel:
        """Give the kernel forward."""
        values, *rest = node.inputs
        kinds = [each.dtype for each in rest]
        axes = values.ndim if values.dtype in kinds else 0
        return forward_kernel(self.function, values.dtype, axes, "int64" in kinds)

    def perform(self, node: Any, inputs: Sequence[Any], storage: Sequence[list[Any]]) -> None:
        """Launch it."""
        values, *rest = (gpuarray.ascontiguousarray(each) for each in inputs)
        state = rest.pop() if len(storage) > 1 else None
        numbers: list[Any] = [values.size]
        if rest:
            units = rest[0].size
            if values.shape[1] != units:
                raise ValueError(f"activation: {units} biases for values of the shape {values.shape}")
            numbers += quotient(units)
            numbers += quotient(values.size // max(values.shape[0] * units, 1)) * (values.ndim > 2)
        kernel = self.kernel(node).compiled(values.context)
        result = self._result(values)
        if state is None:
            launch(kernel, values.size, numbers, [result, values, *rest])
        else:
            following = pygpu.empty((2,), "int64", context=values.context)
            numbers += [threshold(self.rate), 1 / (1 - self.rate)]
            groups = max(-(-values.size // GROUP), 1)
            launch_groups(kernel, LANES, groups, numbers, [result, following, values, *rest, state])
            storage[1][0] = following
        storage[0][0] = result


class GpuActivatedGradient(_Elementwise):
    """`trainer.kernels.activation.ActivatedGradient` on a device."""

    overwritten: ClassVar[int] = 1

    def kernel(self, node: Any) -> DeviceKernel:
        """Give the kernel backward."""
        values = node.inputs[0]
        return backward_kernel(self.function, values.dtype, values.ndim)

    def make_node(self, *inputs: Any) -> Any:
        """From the values and their gradient to those of what was activated, and of the bias."""
        node = super().make_node(*inputs)
        of_values = node.outputs[0].type
        of_bias = of_values.clone(broadcastable=of_values.broadcastable[1:2])
        return Apply(self, node.inputs, [of_values(), of_bias()])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shapes: nothing needs to be computed for them."""
        return [shapes[0], shapes[0][1:2]]

    def perform(self, node: Any, inputs: Sequence[Any], storage: Sequence[list[Any]]) -> None:
        """Launch it, and add up its parts."""
        values, gradient = (gpuarray.ascontiguousarray(each) for each in inputs)
        if values.shape != gradient.shape:
            raise ValueError(f"activation: a gradient of the shape {gradient.shape} for {values.shape}")
        examples, units, *maps = values.shape
        result = self._result(gradient)
        each = 1 if maps else math.isqrt(max(examples - 1, 0)) + 1
        parts = examples * LANES if maps else -(-examples // each)
        sums = pygpu.empty((parts, units), values.dtype, context=values.context)
        numbers = [parts * units, units, math.prod(maps), examples, each, 1 / (1 - self.rate)]
        kernel = self.kernel(node).compiled(values.context)
        launch(kernel, parts * units, numbers, [result, sums, values, gradient])
        storage[0][0], storage[1][0] = result, _total(sums)


def _total(matrix: Any) -> Any:
    """Add up the rows of a matrix, of many in two steps."""
    rows, columns = matrix.shape
    kernel = sum_of_rows(str(matrix.dtype)).compiled(matrix.context)
    while True:
        each = rows if rows <= _AT_ONCE else math.isqrt(rows - 1) + 1
        after = max(-(-rows // max(each, 1)), 1)
        sums = pygpu.empty((after, columns), matrix.dtype, context=matrix.context)
        launch(kernel, after * columns, [after * columns, columns, rows, each], [sums, matrix])
        if after == 1:
            return sums[0]
        matrix, rows = sums, after


def _forward(op: Any, context_name: Any, inputs: Any, outputs: Any) -> Any:
    """Have values activated, or dropped, where they are."""
    operation = GpuActivated(getattr(op, "function", "linear"), op.rate)
    return operation(*(as_gpuarray_variable(each, context_name) for each in inputs), return_list=True)


def _backward(op: Any, context_name: Any, inputs: Any, outputs: Any) -> Any:
    """Have gradients computed where the values are."""
    given = [as_gpuarray_variable(each, context_name) for each in inputs]
    return GpuActivatedGradient(op.function, op.rate)(*given, return_list=True)


for _operations, _maker in (((Activated, Dropped), _forward), ((ActivatedGradient,), _backward)):
    _maker.__name__ = f"local_gpua_{_operations[0].__name__.lower()}"
    register_opt2(list(_operations), "fast_compile")(_maker)
    register_opt("fast_compile")(op_lifter(list(_operations))(_maker))
