"""A recurrent network's two passes over a sequence in NumPy, where there is no compiler.

What a step does stands in `trainer.kernels.cells`. The kernel in C computes the same, and is compared with
this in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.kernels.cells import Cell
from trainer.kernels.products import add_product

Array = NDArray[Any]


@dataclass(frozen=True)
class Reading:
    """How a cell reads a sequence.

    Attributes
    ----------
    cell : Cell
        What happens at a step.
    backwards : bool
        Whether the last step comes first.
    weights : array, (units, gates · units)
        U.
    tokens : array, (time, examples), or None
        Which row of the table each input is.
    off : array of bool, (time, examples), or None
        Where a step leaves the states as they are.
    initial : sequence of arrays, (examples, units)
        The states before the first step.
    """

    cell: Cell
    backwards: bool
    weights: Array
    tokens: Array | None
    off: Array | None
    initial: Sequence[Array]

    def forward(self, projected: Array, bias: Array) -> list[Array]:
        """Return what the backward pass needs, and each state after each step."""
        if self.tokens is not None:
            projected = self._rows(projected, self.tokens)
        steps, examples, _ = projected.shape
        check_examples(self.initial, examples)
        units, cell = len(self.weights), self.cell
        widths = [units * cell.saved] + [units] * cell.states
        saved, *states = (np.empty((steps, examples, width), projected.dtype) for width in widths)
        for step, previous in self._order(steps):
            before = self._before(states, previous)
            after = [state[step] for state in states]
            cell.forward(projected[step], self.weights, bias, before, after, saved[step])
            if self.off is not None:
                for old, new in zip(before, after, strict=True):
                    np.copyto(new, old, where=self.off[step][:, np.newaxis])
        return [saved, *states]

    def backward(
        self, saved: Array, states: Sequence[Array], arriving: Sequence[Array | None]
    ) -> tuple[Array, Array, list[Array]]:
        """Return the gradients of x·W, of h·U (one array, where they are equal) and of the first states."""
        cell, weights = self.cell, self.weights
        steps, examples, units = states[0].shape
        d_sums = np.empty((steps, examples, weights.shape[1]), weights.dtype)
        d_recurrent = d_sums if cell.biases == cell.gates else np.empty_like(d_sums)
        d_states = [np.zeros((examples, units), weights.dtype) for _ in states]
        for step, previous in reversed(list(self._order(steps))):
            for d_state, gradient in zip(d_states, arriving, strict=True):
                if gradient is not None:
                    d_state += gradient[step]
            off = np.zeros(examples, bool) if self.off is None else self.off[step]
            # A masked step hands its gradients on untouched.
            passed = [np.where(off[:, np.newaxis], d_state, 0) for d_state in d_states]
            before = self._before(states, previous)
            after = [state[step] for state in states]
            cell.backward(d_states, before, after, saved[step], d_sums[step], d_recurrent[step])
            for changed in (d_sums[step], d_recurrent[step], *d_states):
                changed[off] = 0
            add_product(d_recurrent[step], weights, d_states[0], transpose_b=True)
            for d_state, untouched in zip(d_states, passed, strict=True):
                d_state += untouched
        return d_sums, d_recurrent, d_states

    def table_gradient(self, table: Array, d_sums: Array) -> Array:
        """Add the gradients of the sums up by token."""
        result = np.zeros_like(table)
        tokens = np.zeros(0, int) if self.tokens is None else self.tokens
        for token in np.unique(tokens[(tokens >= 0) & (tokens < len(table))]):
            result[token] = d_sums[tokens == token].sum(axis=0)
        return result

    def bias_gradient(self, d_sums: Array, d_recurrent: Array) -> Array:
        """Add the gradients of the sums up over time and examples."""
        totals = [d_sums.sum(axis=(0, 1), dtype=np.float64)]
        if d_recurrent is not d_sums:
            totals.append(d_recurrent[:, :, -len(self.weights) :].sum(axis=(0, 1), dtype=np.float64))
        result: Array = np.concatenate(totals).astype(d_sums.dtype)
        return result

    def _order(self, steps: int) -> Iterator[tuple[int, int | None]]:
        """Yield each step in the network's order, and the one before it."""
        before = None
        for step in range(steps - 1, -1, -1) if self.backwards else range(steps):
            yield step, before
            before = step

    def _before(self, states: Sequence[Array], previous: int | None) -> Sequence[Array]:
        return self.initial if previous is None else [state[previous] for state in states]

    @staticmethod
    def _rows(table: Array, tokens: Array) -> Array:
        known = (tokens >= 0) & (tokens < len(table))
        rows: Array = table[np.where(known, tokens, 0)]
        rows[~known] = 0
        return rows


def check_examples(states: Sequence[Any], examples: int) -> None:
    """Refuse states that were carried from a batch of another size.

    Raises
    ------
    ValueError
        With the cure.
    """
    if any(len(state) != examples for state in states):
        raise ValueError(
            f"the carried states are of {len(states[0])} examples, but the batch has {examples}: "
            "call Network.reset_states(batch_size, training) before the first batch"
        )
