"""A recurrent network over a whole sequence as one operation of the graph.

`theano.scan` runs its loop in Python with a graph's overhead at each step. Here the loop stands inside one
operation, forward and backward, in one module of C for networks of all shapes, and in NumPy where there is no
compiler. The gradient of the recurrent weights is one large product after the loop, which Theano's library
computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray
from theano import Apply, tensor
from theano.gradient import DisconnectedType

from trainer.kernels.cells import ACTIVATIONS, Cell, GRUCell, LSTMCell, SimpleCell
from trainer.kernels.overwriting import Overwriting
from trainer.kernels.plans import Planned
from trainer.kernels.recurrent_code import text_for
from trainer.kernels.recurrent_numpy import Reading

Array = NDArray[Any]

# In the order of the C.
_CELLS = (SimpleCell, LSTMCell, GRUCell)
_FORWARD, _BACKWARD = range(2)


def recurrence(
    cell: Cell,
    projected: Any,
    weights: Any,
    bias: Any,
    states: Sequence[Any],
    *,
    tokens: Any = None,
    mask: Any = None,
    backwards: bool = False,
) -> list[Any]:
    """Run a cell over a sequence.

    On `device.threads` threads, each of which takes some examples through all steps; with the same bits
    whatever their number.

    Parameters
    ----------
    cell : Cell
        What happens at a step.
    projected : symbolic tensor, (time, examples, gates · units)
        The inputs' share of the sums, x·W. With tokens a matrix, (vocabulary, gates · units), of each
        token's share.
    weights : symbolic matrix, (units, gates · units)
        The recurrent weights U.
    bias : symbolic vector, (biases · units,)
        Added at each step.
    states : sequence of symbolic matrices, (examples, units)
        Before the first step: h, for an LSTM h and c.
    tokens : symbolic matrix of whole numbers, (time, examples), optional
        Which row of `projected` each input is; nothing is added for a number that is none.
    mask : symbolic matrix, (time, examples), optional
        Where it is 0, a step leaves the states as they are.
    backwards : bool, default False
        Whether the last step of the sequence comes first.

    Returns
    -------
    list of symbolic tensors, (time, examples, units)
        Each state after each step, at its own place in time. The gradient goes through all arguments but the
        tokens and the mask; there is no second derivative.

    Raises
    ------
    TypeError
        For arguments of other dimensions, or that are not all float32 or all float64.
    """
    if str(theano.config.device) != "cpu":
        from trainer.kernels.device import recurrent as _recurrent  # noqa: F401 (Theano learns to use it)
    given = [tensor.as_tensor_variable(each) for each in (projected, weights, bias)]
    if tokens is not None:
        given.append(tensor.cast(tokens, "int64"))
    given += [] if mask is None else [mask]
    dtype = str(given[0].dtype)
    operation = Recurrence(cell, backwards, mask is not None, tokens is not None, dtype)
    return list(operation(*given, *states)[1:])


class _OverTime(Overwriting, Planned):
    """What forward and backward have in common."""

    __props__: tuple[str, ...] = ("cell", "backwards", "masked", "by_tokens", "dtype", "in_place")
    place: int

    def __init__(
        self, cell: Cell, backwards: bool, masked: bool, by_tokens: bool, dtype: str, in_place: bool = False
    ) -> None:
        self.cell, self.backwards, self.masked = cell, backwards, masked
        self.by_tokens, self.dtype = by_tokens, dtype
        super().__init__(in_place)

    def kernel(self) -> str:
        """Give the C of both passes."""
        return text_for(self.dtype)

    def numbers(self) -> list[int]:
        """Give what the C needs to know."""
        cell = self.cell
        return [
            self.place,
            _CELLS.index(type(cell)),
            ACTIVATIONS.index(cell.activation),
            *(cell.gates, cell.states, cell.saved, cell.biases),
            *(int(self.backwards), int(self.by_tokens), int(self.masked), int(self.in_place)),
        ]

    def _checked(self, inputs: Sequence[Any], ranks: Sequence[int], tokens: int) -> list[Any]:
        """Give the inputs as variables of the right kinds; `tokens` is the place where they would stand."""
        variables = [tensor.as_tensor_variable(value) for value in inputs]
        dtypes = [self.dtype] * len(ranks)
        if self.by_tokens:
            dtypes[tokens] = "int64"
        if [each.ndim for each in variables] != list(ranks) or [each.dtype for each in variables] != dtypes:
            raise TypeError(
                f"recurrence: {[each.type for each in variables]} instead of {dtypes} with {list(ranks)} axes"
            )
        if self.dtype not in ("float32", "float64"):
            raise TypeError(f"recurrence: {self.dtype} instead of float32 or float64")
        return variables

    def _types(self, ranks: Sequence[int]) -> list[Any]:
        return [tensor.TensorType(self.dtype, (False,) * rank)() for rank in ranks]

    def _reading(self, weights: Array, rest: Sequence[Array]) -> Reading:
        """Give what does it in NumPy, from the weights, and the tokens, the mask and the initial states."""
        following = list(rest)
        tokens = following.pop(0) if self.by_tokens else None
        off = following.pop(0) == 0 if self.masked else None
        initial = [np.ascontiguousarray(state) for state in following]
        return Reading(self.cell, self.backwards, np.ascontiguousarray(weights), tokens, off, initial)


class Recurrence(_OverTime):
    """The forward operation of `recurrence`; its first output is what the gradient needs of each step.

    Its inputs are the projected inputs or the table, the weights, the bias, the tokens and the mask where
    there are any, and the initial states.
    """

    place = _FORWARD

    def overwriting(self) -> Recurrence:
        """Give the operation that keeps the gates where the projected inputs were; an LSTM's are as many."""
        fits = self.cell.saved == self.cell.gates and not self.by_tokens
        return Recurrence(self.cell, self.backwards, self.masked, self.by_tokens, self.dtype, fits)

    def make_node(self, *inputs: Any) -> Any:
        """Give the node."""
        two = self.by_tokens + self.masked + self.cell.states
        ranks = [2 if self.by_tokens else 3, 2, 1, *[2] * two]
        return Apply(self, self._checked(inputs, ranks, 3), self._types([3] * (1 + self.cell.states)))

    def perform(self, node: Any, inputs: Sequence[Array], storage: Sequence[list[Any]]) -> None:
        """Run forward in NumPy."""
        projected, weights, bias = inputs[:3]
        results = self._reading(weights, inputs[3:]).forward(projected, bias)
        for place, result in zip(storage, results, strict=True):
            place[0] = result

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Say the outputs' shapes without running."""
        steps, examples = shapes[3] if self.by_tokens else shapes[0][:2]
        units = shapes[1][0]
        return [(steps, examples, units * blocks) for blocks in (self.cell.saved, *[1] * self.cell.states)]

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """Tokens and mask have no gradient, and what is saved is for the gradient alone."""
        last = 3 + self.by_tokens + self.masked
        return [[False] + [not 3 <= place < last] * self.cell.states for place in range(len(node.inputs))]

    def L_op(  # noqa: N802
        self, inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]
    ) -> list[Any]:
        """Return the gradients for all inputs but the tokens and the mask."""
        given = gradients[1:]
        connected = tuple(not isinstance(gradient.type, DisconnectedType) for gradient in given)
        operation = RecurrenceGradient(
            self.cell, self.backwards, self.masked, self.by_tokens, self.dtype, connected
        )
        arriving = [gradient for gradient, there in zip(given, connected, strict=True) if there]
        table = inputs[:1] if self.by_tokens else []
        results = list(operation(outputs[0], inputs[1], *table, *inputs[3:], *outputs[1:], *arriving))
        to_sums = results.pop(0)
        to_recurrent = to_sums if self.cell.biases == self.cell.gates else results.pop(0)
        to_given = results.pop(0) if self.by_tokens else to_sums
        no_gradient = [DisconnectedType()() for _ in range(self.by_tokens + self.masked)]
        initial = inputs[3 + len(no_gradient)]
        to_weights = self._weights_gradient(outputs[1], initial, to_recurrent)
        return [to_given, to_weights, results[0], *no_gradient, *results[1:]]

    def _weights_gradient(self, hidden: Any, initial: Any, to_recurrent: Any) -> Any:
        """Sum hᵀ · d(h·U) over all steps in one product, h being the state before the step."""
        later, earlier = slice(1, None), slice(None, -1)
        states, sums = (later, earlier) if self.backwards else (earlier, later)
        rows = hidden[states].reshape((-1, hidden.shape[2]))
        product = tensor.dot(rows.T, to_recurrent[sums].reshape((-1, to_recurrent.shape[2])))
        return product + tensor.dot(initial.T, to_recurrent[-1 if self.backwards else 0])


class RecurrenceGradient(_OverTime):
    """The backward operation of `recurrence`.

    `connected` says for which states a gradient arrives: that for a cell's content seldom does. Its inputs
    are what was saved, the weights, the table and the tokens, the mask, the initial states, all states, and
    the gradients that arrive; its outputs the gradients of x·W, of h·U where that is another one, of the
    table, of the bias and of the initial states.
    """

    __props__ = (*_OverTime.__props__, "connected")
    place = _BACKWARD

    def __init__(
        self,
        cell: Cell,
        backwards: bool,
        masked: bool,
        by_tokens: bool,
        dtype: str,
        connected: tuple[bool, ...],
        in_place: bool = False,
    ) -> None:
        self.connected = connected
        super().__init__(cell, backwards, masked, by_tokens, dtype, in_place)

    def overwriting(self) -> RecurrenceGradient:
        """Give the operation that writes the gates' gradients over the gates."""
        given = (self.cell, self.backwards, self.masked, self.by_tokens, self.dtype, self.connected)
        return RecurrenceGradient(*given, self.cell.saved == self.cell.gates)

    def numbers(self) -> list[int]:
        """Give what the C needs to know."""
        return [*super().numbers(), *(int(there) for there in self.connected), 0]

    def make_node(self, *inputs: Any) -> Any:
        """Give the node."""
        states = self.cell.states
        ranks = [
            3,
            2,
            *[2] * (2 * self.by_tokens + self.masked + states),
            *[3] * (states + sum(self.connected)),
        ]
        outputs = [3, *[3] * self._two, *[2] * self.by_tokens, 1, *[2] * states]
        return Apply(self, self._checked(inputs, ranks, 3), self._types(outputs))

    @property
    def _two(self) -> bool:
        return self.cell.biases != self.cell.gates

    def perform(self, node: Any, inputs: Sequence[Array], storage: Sequence[list[Any]]) -> None:
        """Run backward through time in NumPy."""
        count = self.cell.states
        first = 2 + 2 * self.by_tokens + self.masked + count
        reading = self._reading(inputs[1], inputs[2 + self.by_tokens : first])
        following = iter(inputs[first + count :])
        arriving = [next(following) if there else None for there in self.connected]
        d_sums, d_recurrent, d_states = reading.backward(inputs[0], inputs[first : first + count], arriving)
        results = [d_sums, *([d_recurrent] if self._two else [])]
        results += [reading.table_gradient(inputs[2], d_sums)] if self.by_tokens else []
        results += [reading.bias_gradient(d_sums, d_recurrent), *d_states]
        for place, result in zip(storage, results, strict=True):
            place[0] = result

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Say the outputs' shapes without running."""
        units, wide = shapes[1]
        sums = (*shapes[0][:2], wide)
        first = 2 + 2 * self.by_tokens + self.masked
        initial = shapes[first : first + self.cell.states]
        table = shapes[2:3] if self.by_tokens else []
        return [sums, *[sums] * self._two, *table, (units * self.cell.biases,), *initial]
