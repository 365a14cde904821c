"""Recurrence on devices: a sequence is read where it lies, with a product and one kernel a step.

`theano.scan` would launch each operation of a step apart, and copy each state to its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pygpu
from pygpu import blas
from theano import tensor
from theano.gof import Apply, Op
from theano.gpuarray.basic_ops import as_gpuarray_variable, gpu_contiguous, infer_context_name
from theano.gpuarray.opt import op_lifter, register_opt, register_opt2
from theano.gpuarray.type import GpuArrayType

from trainer.kernels.cells import Cell
from trainer.kernels.device.launching import DeviceKernel, launch
from trainer.kernels.device.recurrent_code import backward_kernel, forward_kernel
from trainer.kernels.recurrent import Recurrence, RecurrenceGradient
from trainer.kernels.recurrent_numpy import check_examples

Given = Sequence[Any]  # arrays, or arrays and places in them


class _OverTime(Op):  # type: ignore[misc]
    """What forward and backward have in common."""

    __props__: tuple[str, ...] = ("cell", "backwards", "masked", "dtype")

    def __init__(self, cell: Cell, backwards: bool, masked: bool, dtype: str) -> None:
        self.cell, self.backwards, self.masked, self.dtype = cell, backwards, masked, dtype

    def kernel(self) -> DeviceKernel:
        """Give the kernel of a step; each operation has its own."""
        raise NotImplementedError

    def prepare_node(self, node: Any, storage_map: Any, compute_map: Any, impl: Any) -> None:
        """Compile the kernel before the first call."""
        self.kernel().compiled(node.outputs[0].type.context)

    def _node(self, inputs: Sequence[Any], ranks: Sequence[int]) -> Any:
        context = infer_context_name(*inputs)
        given = [gpu_contiguous(as_gpuarray_variable(each, context)) for each in inputs]
        outputs = [GpuArrayType(self.dtype, (False,) * rank, context_name=context)() for rank in ranks]
        return Apply(self, given, outputs)

    def _order(self, steps: int) -> list[tuple[int, int]]:
        """Give each step in the network's order, and the one before it, -1 before the first."""
        if self.backwards:
            return [(step, step + 1 if step + 1 < steps else -1) for step in range(steps - 1, -1, -1)]
        return [(step, step - 1) for step in range(steps)]


class GpuRecurrence(_OverTime):
    """`trainer.kernels.recurrent.Recurrence` on a device, for inputs that are no tokens."""

    def kernel(self) -> DeviceKernel:
        """Give the kernel of a step forward."""
        return forward_kernel(self.cell, self.masked, self.dtype)

    def make_node(self, *inputs: Any) -> Any:
        """Give the node."""
        return self._node(inputs, [3] * (1 + self.cell.states))

    def perform(self, node: Any, inputs: Sequence[Any], storage: Sequence[list[Any]]) -> None:
        """Run forward."""
        projected, weights, bias, *rest = inputs
        mask = rest.pop(0) if self.masked else None
        steps, examples, _ = projected.shape
        units = len(weights)
        check_examples(rest, examples)
        context = projected.context
        shape = (steps, examples, units)
        states = [pygpu.empty(shape, self.dtype, context=context) for _ in rest]
        # Where the sums of a step become the gates, or the state, the products are added to them there.
        apart = self.cell.biases != self.cell.gates
        in_states = self.cell.saved == 0
        sums = projected if apart else projected.copy()
        product = pygpu.empty(projected.shape[1:], self.dtype, context=context) if apart else None
        if in_states:
            states[0] = sums
        saved = sums if not apart and not in_states else None
        if saved is None:
            saved = pygpu.empty((steps, examples, units * self.cell.saved), self.dtype, context=context)
        step_forward = self.kernel().compiled(context)
        for step, previous in self._order(steps):
            before = rest if previous < 0 else _at(previous, states)
            hidden = rest[0] if previous < 0 else states[0][previous]
            if product is None:
                blas.gemm(1.0, hidden, weights, 1.0, sums[step], overwrite_c=True)
            else:
                blas.gemm(1.0, hidden, weights, 0.0, product, overwrite_c=True)
            arrays = [] if in_states else _at(step, [saved])
            arrays += [*_at(step, states), bias, *before]
            arrays += [] if product is None else [*_at(step, [sums]), product]
            arrays += [] if mask is None else _at(step, [mask])
            launch(step_forward, examples * units, (examples, units), arrays)
        for place, result in zip(storage, [saved, *states], strict=True):
            place[0] = result


class GpuRecurrenceGradient(_OverTime):
    """`trainer.kernels.recurrent.RecurrenceGradient` on a device, but for the bias.

    Its inputs are what was saved, the weights, the mask, the initial states, all states, and the gradients
    that arrive; its outputs the gradients of x·W, of h·U where that is another one, and of the initial
    states.
    """

    __props__ = (*_OverTime.__props__, "connected")

    def __init__(
        self, cell: Cell, backwards: bool, masked: bool, dtype: str, connected: tuple[bool, ...]
    ) -> None:
        super().__init__(cell, backwards, masked, dtype)
        self.connected = connected

    def kernel(self) -> DeviceKernel:
        """Give the kernel of a step backward."""
        return backward_kernel(self.cell, self.masked, self.dtype, self.connected)

    def make_node(self, *inputs: Any) -> Any:
        """Give the node."""
        apart = self.cell.biases != self.cell.gates
        return self._node(inputs, [3, *[3] * apart, *[2] * self.cell.states])

    def perform(self, node: Any, inputs: Sequence[Any], storage: Sequence[list[Any]]) -> None:
        """Run backward through time."""
        count = self.cell.states
        saved, weights, *rest = inputs
        mask = rest.pop(0) if self.masked else None
        initial, states, arriving = rest[:count], rest[count : 2 * count], rest[2 * count :]
        steps, examples, units = states[0].shape
        context = saved.context
        wide = (steps, examples, weights.shape[1])
        sums = [pygpu.empty(wide, self.dtype, context=context) for _ in node.outputs[count:]]
        d_states = [pygpu.empty((examples, units), self.dtype, context=context) for _ in initial]
        step_backward = self.kernel().compiled(context)
        first = 1
        for step, previous in reversed(self._order(steps)):
            before = initial if previous < 0 else _at(previous, states)
            arrays = [*_at(step, sums), *d_states]
            arrays += self._read(_at(step, [saved]), _at(step, states), before)
            arrays += _at(step, arriving)
            arrays += [] if mask is None else _at(step, [mask])
            launch(step_backward, examples * units, (examples, units, first), arrays)
            blas.gemm(1.0, sums[-1][step], weights, 1.0, d_states[0], trans_b=True, overwrite_c=True)
            first = 0
        for place, result in zip(storage, [*sums, *d_states], strict=True):
            place[0] = result

    def _read(self, saved: Given, after: Given, before: Given) -> Given:
        """Give what the kernel reads of a step, in its order."""
        if self.cell.saved == 0:
            return after
        return [*saved, after[1], before[1]] if self.cell.states == 2 else [*saved, before[0]]


def _at(step: int, arrays: Sequence[Any]) -> list[tuple[Any, int]]:
    return [(array, step * array.strides[0]) for array in arrays]


def _on_device(op: Recurrence, context_name: Any, inputs: Any, outputs: Any) -> Any:
    """Have a sequence read where its numbers are."""
    if op.by_tokens:
        return None
    given = [as_gpuarray_variable(each, context_name) for each in inputs]
    return GpuRecurrence(op.cell, op.backwards, op.masked, op.dtype)(*given, return_list=True)


def _gradient_on_device(op: RecurrenceGradient, context_name: Any, inputs: Any, outputs: Any) -> Any:
    """Have the gradients of a sequence computed where it was read."""
    if op.by_tokens:
        return None
    given = [as_gpuarray_variable(each, context_name) for each in inputs]
    operation = GpuRecurrenceGradient(op.cell, op.backwards, op.masked, op.dtype, op.connected)
    results = operation(*given, return_list=True)
    sums, initial = results[: -op.cell.states], results[-op.cell.states :]
    totals = [each.sum(axis=(0, 1)) for each in sums]
    if len(totals) > 1:
        # The blocks of the two products are the same but for the last one, whose second bias stands behind.
        totals[1] = totals[1][-given[1].shape[0] :]
    bias = totals[0] if len(totals) == 1 else tensor.concatenate(totals)
    return [*sums, as_gpuarray_variable(bias, context_name), *initial]


for _operation, _maker in ((Recurrence, _on_device), (RecurrenceGradient, _gradient_on_device)):
    _maker.__name__ = f"local_gpua_{_operation.__name__.lower()}"
    register_opt2([_operation], "fast_compile")(_maker)
    register_opt("fast_compile")(op_lifter([_operation])(_maker))
