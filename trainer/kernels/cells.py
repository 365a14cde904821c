"""One step of a recurrent network, forward and backward, on NumPy arrays.

In the formulas h is the previous output, x·W the projected input, U the recurrent weights, σ the logistic
function, φ the activation, and ⊙ the product of elements. All arrays of a step are (examples, blocks ·
units); a block is what belongs to one gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trainer.kernels.products import add_product

Array = NDArray[Any]


def _apply_sigmoid(x: Array) -> None:
    # By tanh: it does not overflow, and NumPy has it vectorised.
    np.multiply(x, 0.5, out=x)
    np.tanh(x, out=x)
    np.multiply(x, 0.5, out=x)
    np.add(x, 0.5, out=x)


def _apply_elu(x: Array) -> None:
    np.copyto(x, np.expm1(np.minimum(x, 0)), where=x <= 0)


# By name: what changes x to φ(x) in place, and the slope of φ as a function of φ(x).
_FUNCTIONS: dict[str, tuple[Callable[[Array], Any], Callable[[Array], Array]]] = {
    "tanh": (lambda x: np.tanh(x, out=x), lambda y: 1 - y * y),
    "sigmoid": (_apply_sigmoid, lambda y: y * (1 - y)),
    "relu": (lambda x: np.maximum(x, 0, out=x), lambda y: (y > 0).astype(y.dtype)),
    "leaky_relu": (
        lambda x: np.maximum(x, x * 0.01, out=x),
        lambda y: np.where(y > 0, 1, 0.01).astype(y.dtype),
    ),
    "linear": (lambda x: x, np.ones_like),
    "softplus": (lambda x: np.logaddexp(x, 0, out=x), lambda y: -np.expm1(-y)),
    "elu": (_apply_elu, lambda y: np.minimum(y, 0) + 1),
}

ACTIVATIONS = tuple(_FUNCTIONS)


@dataclass(frozen=True)
class Cell:
    """The base of all cells: how many blocks it works with, and its two steps.

    Parameters
    ----------
    activation : str, default "tanh"
        φ: one of `ACTIVATIONS`, the activations of `trainer.activations`.

    Attributes
    ----------
    gates : int
        Blocks of the projected input and of the recurrent weights.
    biases : int
        Blocks of the bias; the first ones belong to the gates.
    saved : int
        Blocks that the forward step keeps for the backward step.
    states : int
        1, the output h, or 2, the output and a cell's content c.
    """

    activation: str = "tanh"

    gates: ClassVar[int]
    biases: ClassVar[int]
    saved: ClassVar[int]
    states: ClassVar[int] = 1

    @property
    def _phi(self) -> Callable[[Array], Any]:
        return _FUNCTIONS[self.activation][0]

    @property
    def _slope(self) -> Callable[[Array], Array]:
        return _FUNCTIONS[self.activation][1]

    def forward(
        self,
        projected: Array,
        weights: Array,
        bias: Array,
        before: Sequence[Array],
        after: Sequence[Array],
        saved: Array,
    ) -> None:
        """Compute the states after a step from those before it; each kind has its own.

        Parameters
        ----------
        projected : array, (examples, gates · units)
            x·W.
        weights : array, (units, gates · units)
            U.
        bias : array, (biases · units,)
            b.
        before, after : sequences of arrays, (examples, units)
            The states; those after the step are written.
        saved : array, (examples, saved · units)
            Written.
        """
        raise NotImplementedError

    def backward(
        self,
        d_states: Sequence[Array],
        before: Sequence[Array],
        after: Sequence[Array],
        saved: Array,
        d_projected: Array,
        d_recurrent: Array,
    ) -> None:
        """Compute the gradients of a step's sums from those of the states after it; each kind has its own.

        Parameters
        ----------
        d_states : sequence of arrays, (examples, units)
            The loss's gradients for the states after the step. Written: those for the states before it, but
            for what comes through U.
        before, after, saved : as in `forward`
            Read only.
        d_projected, d_recurrent : arrays, (examples, gates · units)
            Written: the gradients for x·W and for h·U; one array where they are equal (`biases == gates`).
        """
        raise NotImplementedError


@dataclass(frozen=True)
class SimpleCell(Cell):
    """h′ = φ(x·W + h·U + b)."""

    gates: ClassVar[int] = 1
    biases: ClassVar[int] = 1
    saved: ClassVar[int] = 0

    def forward(
        self,
        projected: Array,
        weights: Array,
        bias: Array,
        before: Sequence[Array],
        after: Sequence[Array],
        saved: Array,
    ) -> None:
        """See `Cell`."""
        np.add(projected, bias, out=after[0])
        add_product(before[0], weights, after[0])
        self._phi(after[0])

    def backward(
        self,
        d_states: Sequence[Array],
        before: Sequence[Array],
        after: Sequence[Array],
        saved: Array,
        d_projected: Array,
        d_recurrent: Array,
    ) -> None:
        """See `Cell`."""
        np.multiply(d_states[0], self._slope(after[0]), out=d_projected)
        d_states[0][:] = 0


@dataclass(frozen=True)
class LSTMCell(Cell):
    """Long short-term memory; blocks i, f, o, g.

    i, f, o = σ(x·W + h·U + b), g = φ(x·W + h·U + b), c′ = f ⊙ c + i ⊙ g, h′ = o ⊙ φ(c′).
    """

    gates: ClassVar[int] = 4
    biases: ClassVar[int] = 4
    saved: ClassVar[int] = 4
    states: ClassVar[int] = 2

    def forward(
        self,
        projected: Array,
        weights: Array,
        bias: Array,
        before: Sequence[Array],
        after: Sequence[Array],
        saved: Array,
    ) -> None:
        """See `Cell`."""
        units = weights.shape[0]
        hidden, cell = after
        np.add(projected, bias, out=saved)
        add_product(before[0], weights, saved)
        _apply_sigmoid(saved[:, : 3 * units])
        self._phi(saved[:, 3 * units :])
        i, f, o, g = _blocks(saved, units)
        np.multiply(f, before[1], out=cell)
        np.multiply(i, g, out=hidden)
        cell += hidden
        hidden[:] = cell
        self._phi(hidden)
        hidden *= o

    def backward(
        self,
        d_states: Sequence[Array],
        before: Sequence[Array],
        after: Sequence[Array],
        saved: Array,
        d_projected: Array,
        d_recurrent: Array,
    ) -> None:
        """See `Cell`."""
        d_hidden, d_cell = d_states
        units = d_hidden.shape[1]
        i, f, o, g = _blocks(saved, units)
        d_i, d_f, d_o, d_g = _blocks(d_projected, units)
        sigmoids, d_sigmoids = saved[:, : 3 * units], d_projected[:, : 3 * units]
        np.subtract(1, sigmoids, out=d_sigmoids)
        d_sigmoids *= sigmoids
        active = after[1].copy()
        self._phi(active)
        d_o *= d_hidden * active
        d_cell += d_hidden * o * self._slope(active)
        d_i *= d_cell * g
        d_f *= d_cell * before[1]
        np.multiply(d_cell * i, self._slope(g), out=d_g)
        d_cell *= f
        d_hidden[:] = 0


@dataclass(frozen=True)
class GRUCell(Cell):
    """Gated recurrent unit, its reset gate behind the recurrent product, with the blocks r, z, n.

    r, z = σ(x·W + h·U + b), n = φ(x·W + b + r ⊙ (h·U + b′)), h′ = (1 − z) ⊙ n + z ⊙ h; b′ is the bias's
    fourth block. Kept: r, z, n and h·U + b′ of n.
    """

    gates: ClassVar[int] = 3
    biases: ClassVar[int] = 4
    saved: ClassVar[int] = 4

    def forward(
        self,
        projected: Array,
        weights: Array,
        bias: Array,
        before: Sequence[Array],
        after: Sequence[Array],
        saved: Array,
    ) -> None:
        """See `Cell`."""
        units = weights.shape[0]
        recurrent = np.zeros_like(projected, order="C")
        add_product(before[0], weights, recurrent)
        np.add(projected, bias[: 3 * units], out=saved[:, : 3 * units])
        saved[:, : 2 * units] += recurrent[:, : 2 * units]
        _apply_sigmoid(saved[:, : 2 * units])
        r, z, n, product = _blocks(saved, units)
        np.add(recurrent[:, 2 * units :], bias[3 * units :], out=product)
        n += r * product
        self._phi(n)
        np.subtract(before[0], n, out=after[0])
        after[0][:] *= z
        after[0][:] += n

    def backward(
        self,
        d_states: Sequence[Array],
        before: Sequence[Array],
        after: Sequence[Array],
        saved: Array,
        d_projected: Array,
        d_recurrent: Array,
    ) -> None:
        """See `Cell`."""
        d_hidden = d_states[0]
        units = d_hidden.shape[1]
        r, z, n, product = _blocks(saved, units)
        d_r, d_z, d_n = _blocks(d_projected, units)
        np.multiply(d_hidden * (1 - z), self._slope(n), out=d_n)
        np.multiply(d_hidden * (before[0] - n), z * (1 - z), out=d_z)
        np.multiply(d_n * product, r * (1 - r), out=d_r)
        d_recurrent[:] = d_projected
        d_recurrent[:, 2 * units :] *= r
        d_hidden *= z


def _blocks(array: Array, units: int) -> list[Array]:
    return [array[:, start : start + units] for start in range(0, array.shape[1], units)]
