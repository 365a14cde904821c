"""Dense layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.activations import activation_named
from trainer.initialization import initialization_named
from trainer.kernels.activation import activated
from trainer.kernels.dense import product
from trainer.layers.arguments import count, not_negative
from trainer.layers.base import Builder, Layer, Shape


@dataclass(eq=False)
class Dense(Layer):
    """A layer in which each unit sees each input: activation(x · W + b).

    Takes vectors, (examples, inputs), which become (examples, units), and sequences, (examples, time,
    inputs), where each step is treated alike. Parameters: W, (inputs, units), and b, (units,), which begins
    at 0.

    Parameters
    ----------
    units : int
        How many outputs, at least 1.
    activation : str, default "linear"
        One of `trainer.activations`.
    initialization : str or float, default "he_normal"
        Of W: one of `trainer.initialization`, with fan_in = inputs and fan_out = units, or a number for all.
    bias : bool, default True
        Whether there is a b.
    l1, l2 : float, default 0
        l1 · Σ|W| + l2 · ΣW² is added to the training loss.

    Raises
    ------
    UsageError
        For an argument that is not allowed, and for inputs that are neither vectors nor sequences.
    """

    units: int
    activation: str = "linear"
    initialization: str | float = "he_normal"
    bias: bool = True
    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        self.units = count(self.units, "units")
        self.l1, self.l2 = not_negative(self.l1, "l1"), not_negative(self.l2, "l2")
        self._function = activation_named(self.activation)
        initialization_named(self.initialization)

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Make W and b."""
        if len(input_shape) not in (1, 2):
            raise builder.mismatch(
                input_shape, "vectors or (time, features)", "put a Flatten layer before it"
            )
        fans = (input_shape[-1], self.units)
        self._weights = builder.parameter("W", fans, self.initialization, fans)
        builder.penalize(self._weights, self.l1, self.l2)
        self._bias = builder.parameter("b", (self.units,), "zeros") if self.bias else None
        return (*input_shape[:-1], self.units)

    def apply(self, x: Any, training: bool) -> Any:
        """Return activation(x · W + b)."""
        # One product of matrices: of a batch of sequences, Theano's dot would make its own, slower kind.
        rows = x.reshape((-1, x.shape[-1])) if x.ndim == 3 else x
        sums = product(rows, self._weights)
        output = self._function(sums) if self._bias is None else activated(sums, self._bias, self.activation)
        return output.reshape((x.shape[0], x.shape[1], self.units)) if x.ndim == 3 else output
