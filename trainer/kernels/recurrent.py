"""A recurrent network over a whole sequence as one operation of the graph.

`theano.scan` runs its loop in Python with a graph's overhead at each step. Here the loop stands inside one
operation, forward and backward: a step is one product with the library that Theano uses, accumulated in
place, and a few passes of NumPy over arrays that stay in the processor's cache; the weights' gradient is one
large product after the loop. Nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from theano import Apply, Op, tensor
from theano.gradient import DisconnectedType

from trainer.kernels.cells import Cell
from trainer.kernels.products import add_product

Array = NDArray[Any]


def recurrence(
    cell: Cell,
    projected: Any,
    weights: Any,
    bias: Any,
    states: Sequence[Any],
    *,
    mask: Any = None,
    backwards: bool = False,
) -> list[Any]:
    """Run a cell over a sequence.

    Parameters
    ----------
    cell : Cell
        What happens at a step.
    projected : symbolic tensor, (time, examples, gates · units)
        The inputs' share of the sums, x·W.
    weights : symbolic matrix, (units, gates · units)
        The recurrent weights U.
    bias : symbolic vector, (biases · units,)
        Added at each step.
    states : sequence of symbolic matrices, (examples, units)
        Before the first step: h, for an LSTM h and c.
    mask : symbolic matrix, (time, examples), optional
        Where it is 0, a step leaves the states as they are.
    backwards : bool, default False
        Whether the last step of the sequence comes first.

    Returns
    -------
    list of symbolic tensors, (time, examples, units)
        Each state after each step, at its own place in time. The gradient goes through all arguments but the
        mask; there is no second derivative.
    """
    masks = () if mask is None else (mask,)
    operation = Recurrence(cell, backwards, bool(masks))
    return list(operation(projected, weights, bias, *masks, *states)[: cell.states])


class _OverTime(Op):  # type: ignore[misc]
    """What forward and backward have in common."""

    cell: Cell
    backwards: bool
    masked: bool

    def _order(self, steps: int) -> Iterator[tuple[int, int | None]]:
        """Yield each step in the network's order, and the one before it."""
        before = None
        for step in range(steps - 1, -1, -1) if self.backwards else range(steps):
            yield step, before
            before = step

    def _split(self, given: Sequence[Array]) -> tuple[Array | None, list[Array]]:
        """Tell where a step is masked, and the initial states."""
        off = given[0] == 0 if self.masked else None
        return off, [np.ascontiguousarray(state) for state in given[int(self.masked) :]]


class Recurrence(_OverTime):
    """The forward operation of `recurrence`; its last output is what the gradient needs of each step."""

    __props__ = ("cell", "backwards", "masked")

    def __init__(self, cell: Cell, backwards: bool, masked: bool) -> None:
        self.cell, self.backwards, self.masked = cell, backwards, masked

    def make_node(self, *inputs: Any) -> Any:
        """Inputs: projected, weights, bias, the mask where there is one, the initial states."""
        inputs = tuple(tensor.as_tensor_variable(value) for value in inputs)
        dtype = inputs[0].dtype
        kinds = [3, 2, 1, *[2] * (self.masked + self.cell.states)]
        if [value.ndim for value in inputs] != kinds or any(value.dtype != dtype for value in inputs):
            raise TypeError(f"recurrence: {[value.type for value in inputs]} instead of {kinds} dimensions")
        return Apply(
            self, inputs, [tensor.TensorType(dtype, (False,) * 3)() for _ in range(self.cell.states + 1)]
        )

    def perform(self, node: Any, inputs: Sequence[Array], storage: Sequence[list[Any]]) -> None:
        """Run forward."""
        projected, weights, bias = inputs[0], np.ascontiguousarray(inputs[1]), inputs[2]
        off, initial = self._split(inputs[3:])
        steps, examples, _ = projected.shape
        if any(len(state) != examples for state in initial):
            raise ValueError(
                f"the carried states are of {len(initial[0])} examples, but the batch has {examples}: call "
                "Network.reset_states(batch_size, training) before the first batch"
            )
        widths = [weights.shape[0]] * self.cell.states + [weights.shape[0] * self.cell.saved]
        outputs = [np.empty((steps, examples, width), projected.dtype) for width in widths]
        *states, saved = outputs
        for step, previous in self._order(steps):
            before = initial if previous is None else [state[previous] for state in states]
            after = [state[step] for state in states]
            self.cell.forward(projected[step], weights, bias, before, after, saved[step])
            if off is not None and off[step].any():
                for old, new in zip(before, after, strict=True):
                    np.copyto(new, old, where=off[step][:, np.newaxis])
        for place, output in zip(storage, outputs, strict=True):
            place[0] = output

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Say the outputs' shapes without running."""
        (steps, examples, _), (units, _) = shapes[0], shapes[1]
        return [(steps, examples, units)] * self.cell.states + [(steps, examples, units * self.cell.saved)]

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """The mask has no gradient, and what is saved is for the gradient alone."""
        states = [True] * self.cell.states + [False]
        nothing = [False] * len(states)
        return [nothing if self.masked and place == 3 else states for place in range(len(node.inputs))]

    def L_op(  # noqa: N802
        self, inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]
    ) -> list[Any]:
        """Return the gradients for all inputs but the mask."""
        given = gradients[: self.cell.states]
        connected = tuple(not isinstance(gradient.type, DisconnectedType) for gradient in given)
        operation = RecurrenceGradient(self.cell, self.backwards, self.masked, connected)
        arriving = [gradient for gradient, there in zip(given, connected, strict=True) if there]
        results = list(operation(inputs[1], *inputs[3:], *outputs, *arriving))
        if self.masked:
            results.insert(3, DisconnectedType()())
        return results


class RecurrenceGradient(_OverTime):
    """The backward operation of `recurrence`.

    `connected` says for which states a gradient arrives: that for a cell's content seldom does, and then no
    zeros are added.
    """

    __props__ = ("cell", "backwards", "masked", "connected")

    def __init__(self, cell: Cell, backwards: bool, masked: bool, connected: tuple[bool, ...]) -> None:
        self.cell, self.backwards, self.masked, self.connected = cell, backwards, masked, connected

    def make_node(self, *inputs: Any) -> Any:
        """Inputs: weights, mask, initial states, the outputs of `Recurrence`, the gradients that arrive."""
        inputs = tuple(tensor.as_tensor_variable(value) for value in inputs)
        ranks = [3, 2, 1, *[2] * self.cell.states]
        outputs = [tensor.TensorType(inputs[0].dtype, (False,) * rank)() for rank in ranks]
        return Apply(self, inputs, outputs)

    def perform(self, node: Any, inputs: Sequence[Array], storage: Sequence[list[Any]]) -> None:
        """Run backward through time."""
        cell, count = self.cell, self.cell.states
        weights = np.ascontiguousarray(inputs[0])
        first = 1 + self.masked + count
        off, initial = self._split(inputs[1:first])
        *states, saved = inputs[first : first + count + 1]
        arriving = self._arriving(inputs[first + count + 1 :])
        steps, examples, units = states[0].shape
        d_projected = np.empty((steps, examples, weights.shape[1]), weights.dtype)
        d_recurrent = d_projected if cell.biases == cell.gates else np.empty_like(d_projected)
        d_states = [np.zeros((examples, units), weights.dtype) for _ in range(count)]
        for step, previous in reversed(list(self._order(steps))):
            for d_state, gradient in zip(d_states, arriving, strict=True):
                if gradient is not None:
                    d_state += gradient[step]
            before = initial if previous is None else [state[previous] for state in states]
            after = [state[step] for state in states]
            passed = None if off is None else self._take_masked(d_states, off[step])
            cell.backward(d_states, before, after, saved[step], d_projected[step], d_recurrent[step])
            add_product(d_recurrent[step], weights, d_states[0], transpose_b=True)
            for d_state, masked in zip(d_states, passed or (), strict=False):
                d_state += masked
        d_weights = self._weights_gradient(weights, states[0], initial[0], d_recurrent)
        d_bias = self._bias_gradient(d_projected, d_recurrent, units)
        for place, result in zip(storage, (d_projected, d_weights, d_bias, *d_states), strict=True):
            place[0] = result

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Say the outputs' shapes without running."""
        first = 1 + self.masked
        weights, hidden = shapes[0], shapes[first + self.cell.states]
        bias = weights[0] * self.cell.biases
        return [
            (hidden[0], hidden[1], weights[1]),
            weights,
            (bias,),
            *shapes[first : first + self.cell.states],
        ]

    def _arriving(self, gradients: Sequence[Array]) -> list[Array | None]:
        following = iter(gradients)
        return [next(following) if there else None for there in self.connected]

    @staticmethod
    def _take_masked(d_states: Sequence[Array], off: Array) -> list[Array]:
        """Take out the gradients that a masked step hands on untouched."""
        passed = []
        for d_state in d_states:
            passed.append(np.where(off[:, np.newaxis], d_state, 0))
            d_state[off] = 0
        return passed

    def _weights_gradient(self, weights: Array, hidden: Array, initial: Array, d_recurrent: Array) -> Array:
        """Sum hᵀ · d(h·U) over all steps in one product, h being the state before the step."""
        result = np.zeros_like(weights)
        rows = (-1, hidden.shape[2])
        later, earlier = slice(1, None), slice(None, -1)
        states, sums = (later, earlier) if self.backwards else (earlier, later)
        wide = (-1, weights.shape[1])
        add_product(hidden[states].reshape(rows), d_recurrent[sums].reshape(wide), result, transpose_a=True)
        add_product(initial, d_recurrent[-1 if self.backwards else 0], result, transpose_a=True)
        return result

    def _bias_gradient(self, d_projected: Array, d_recurrent: Array, units: int) -> Array:
        wide = d_projected.shape[2]
        result = np.zeros((1, self.cell.biases * units), d_projected.dtype)
        for target, sums in ((result[:, :wide], d_projected), (result[:, wide:], d_recurrent)):
            if target.size:
                total = np.zeros((1, wide), sums.dtype)
                add_product(
                    np.ones((1, sums.shape[0] * sums.shape[1]), sums.dtype), sums.reshape(-1, wide), total
                )
                target[:] = total[:, wide - target.shape[1] :]
        return result.reshape(-1)
