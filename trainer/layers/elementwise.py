"""Layers that treat each element alone and have nothing to train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.activations import activation_named
from trainer.layers.arguments import share
from trainer.layers.base import Builder, Layer, Shape


@dataclass(eq=False)
class Activation(Layer):
    """Applies a nonlinearity; takes any shape.

    Parameters
    ----------
    name : str
        One of `trainer.activations`.

    Raises
    ------
    UsageError
        For an unknown name.
    """

    name: str

    def __post_init__(self) -> None:
        self._function = activation_named(self.name, "name")

    def apply(self, x: Any, training: bool) -> Any:
        """Return the activation of x."""
        return self._function(x)


@dataclass(eq=False)
class Dropout(Layer):
    """Sets each element to 0 with probability `rate` while training, and scales the others by 1 / (1 − rate).

    So the expected output is the input, and evaluation leaves the input as it is. A rate of 0 adds nothing to
    the graph. Takes any shape.

    Parameters
    ----------
    rate : float, default 0.5
        The share to drop: at least 0, below 1.

    Raises
    ------
    UsageError
        Where the rate is out of its range.

    Notes
    -----
    Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov 2014, JMLR 15, 1929–1958; scaled while training
    instead of while evaluating.
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        self.rate = share(self.rate, "rate")

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Make the random stream; the shape stays."""
        self._masks = builder.random_masks() if self.rate else None
        return input_shape

    def apply(self, x: Any, training: bool) -> Any:
        """Return x with elements dropped while training, else x itself."""
        return self._masks.dropped(x, self.rate) if training and self._masks else x
