"""Layers that change the shape of an input and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from theano import tensor

from trainer.errors import UsageError
from trainer.layers.base import Builder, Layer, Shape


@dataclass(eq=False)
class Flatten(Layer):
    """Makes a vector of each input: (examples, a, b, …) becomes (examples, a · b · …), in C order."""

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Multiply the lengths."""
        return (math.prod(input_shape),)

    def apply(self, x: Any, training: bool) -> Any:
        """Return x with all axes but the first made one."""
        return tensor.flatten(x, 2)

    def output_mask(self, x: Any, mask: Any) -> Any:
        """Return None: what comes out has no steps."""
        return None


@dataclass(eq=False)
class Reshape(Layer):
    """Gives each input another shape with as many elements, in C order.

    Parameters
    ----------
    shape : list of int
        Of one example, without the batch axis. One length may be −1: what is left for it.

    Raises
    ------
    UsageError
        For a shape that is none, and for inputs whose number of elements does not fit it.
    """

    shape: Sequence[int]

    def __post_init__(self) -> None:
        lengths = list(self.shape) if isinstance(self.shape, Sequence) else [self.shape]
        whole = all(isinstance(length, int) and not isinstance(length, bool) for length in lengths)
        if not lengths or not whole or min(lengths) < -1 or 0 in lengths or lengths.count(-1) > 1:
            raise UsageError(
                f"shape={self.shape}: give a list of whole numbers of at least 1; one of them may be -1"
            )
        self.shape = tuple(lengths)

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Find the length that is left open."""
        size = math.prod(input_shape)
        known = math.prod(length for length in self.shape if length != -1)
        if size % known or (-1 not in self.shape and size != known):
            raise builder.mismatch(
                input_shape,
                f"what can become {tuple(self.shape)}",
                f"it has {size} elements, which do not fit",
            )
        self._shape = tuple(size // known if length == -1 else length for length in self.shape)
        return self._shape

    def apply(self, x: Any, training: bool) -> Any:
        """Return x in the other shape."""
        return x.reshape((x.shape[0], *self._shape))

    def output_mask(self, x: Any, mask: Any) -> Any:
        """Return None: what were steps may be so no more."""
        return None
