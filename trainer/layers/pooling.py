"""Pooling: a summary of each neighbourhood in place of its elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

import numpy as np
from theano import tensor
from theano.tensor.signal.pool import pool_2d

from trainer.errors import UsageError, nearest
from trainer.kernels.pooling import Windows, largest, mean, served
from trainer.layers.arguments import pair
from trainer.layers.base import Builder, Layer, Shape
from trainer.layers.convolution import images


@dataclass(eq=False)
class _Pool2D(Layer):
    """What both kinds of pooling share: windows and their arithmetic."""

    size: int | Sequence[int] = 2
    stride: int | Sequence[int] | None = None
    padding: int | Sequence[int] = 0

    mode: ClassVar[str]

    def __post_init__(self) -> None:
        self._size = pair(self.size, "size")
        self._stride = self._size if self.stride is None else pair(self.stride, "stride")
        self._padding = pair(self.padding, "padding", least=0)
        if any(border >= length for border, length in zip(self._padding, self._size, strict=True)):
            raise UsageError(f"padding={self.padding}: give less than size={self.size}")

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Count the windows."""
        channels, *lengths = images(input_shape, builder)
        self._lengths = lengths
        self._counts = [
            (length + 2 * border - size) // step + 1
            for length, border, size, step in zip(
                lengths, self._padding, self._size, self._stride, strict=True
            )
        ]
        if min(self._counts) < 1:
            least = [size - 2 * border for size, border in zip(self._size, self._padding, strict=True)]
            raise builder.mismatch(
                input_shape, f"images of at least {least[0]} × {least[1]}", "pool less before it, or by less"
            )
        return (channels, self._counts[0], self._counts[1])

    @property
    def _windows(self) -> Windows:
        pairs = (self._lengths, self._size, self._stride, self._padding)
        return Windows(*((first, second) for first, second in pairs))

    def _pooled(self, x: Any) -> Any:
        return pool_2d(
            x, self._size, ignore_border=True, stride=self._stride, pad=self._padding, mode=self.mode
        )

    def _slices(self, x: Any) -> list[Any] | None:
        """Return x's elements by their place in their window, or None where windows overlap or reach outside.

        Elementwise operations on them are much faster than Theano's pooling, which goes through the windows
        one by one; above all its gradient is.
        """
        if self._size != self._stride or any(self._padding):
            return None
        (rows, columns), (row_count, column_count) = self._size, self._counts
        return [
            x[:, :, row : rows * row_count : rows, column : columns * column_count : columns]
            for row in range(rows)
            for column in range(columns)
        ]


@dataclass(eq=False)
class MaxPool2D(_Pool2D):
    """The largest element of each window of each channel.

    Takes images, (examples, channels, rows, columns), which become (examples, channels, rows', columns') with
    rows' = ⌊(rows + 2 · padding − size) / stride⌋ + 1: what is left at the end is left out. Of equal elements
    of windows that do not overlap, the first one gets the gradient.

    Parameters
    ----------
    size : int or pair of int, default 2
        Rows and columns of a window; a number counts for both, here and below.
    stride : int or pair of int, optional
        Pixels from one window to the next; the size where omitted.
    padding : int or pair of int, default 0
        Pixels around the image, which are never the largest; less than the size.

    Raises
    ------
    UsageError
        For an argument that is not allowed, and for inputs that are no images or too small.
    """

    mode: ClassVar[str] = "max"

    def apply(self, x: Any, training: bool) -> Any:
        """Return the largest elements."""
        if served(x, self._windows):
            return largest(x, self._windows)
        slices = self._slices(x)
        return self._pooled(x) if slices is None else reduce(tensor.maximum, slices)


@dataclass(eq=False)
class AveragePool2D(_Pool2D):
    """The mean of each window of each channel.

    Takes images, (examples, channels, rows, columns), which become (examples, channels, rows', columns') with
    rows' = ⌊(rows + 2 · padding − size) / stride⌋ + 1: what is left at the end is left out. A window that
    reaches over the border is the mean of what it sees of the image.

    Parameters
    ----------
    size : int or pair of int, default 2
        Rows and columns of a window; a number counts for both, here and below.
    stride : int or pair of int, optional
        Pixels from one window to the next; the size where omitted.
    padding : int or pair of int, default 0
        Pixels around the image; less than the size.

    Raises
    ------
    UsageError
        For an argument that is not allowed, and for inputs that are no images or too small.
    """

    # Of Theano's two means, the one that leaves the border out has no gradient with padding.
    mode: ClassVar[str] = "sum"

    def apply(self, x: Any, training: bool) -> Any:
        """Return the means."""
        if served(x, self._windows):
            return mean(x, self._windows)
        slices = self._slices(x)
        total = self._pooled(x) if slices is None else reduce(lambda one, other: one + other, slices)
        return total * np.asarray(1 / np.outer(self._seen(0), self._seen(1)), x.dtype)

    def _seen(self, axis: int) -> Any:
        """Return how many pixels of the image each window sees along an axis."""
        starts = np.arange(self._counts[axis]) * self._stride[axis] - self._padding[axis]
        ends = starts + self._size[axis]
        return np.minimum(ends, self._lengths[axis]) - np.maximum(starts, 0)


@dataclass(eq=False)
class GlobalPool(Layer):
    """The mean or the largest element of each channel of an image, or of each feature of a sequence.

    Takes images, (examples, channels, rows, columns), which become (examples, channels), and sequences,
    (examples, time, features), which become (examples, features); the steps that a mask leaves out do not
    count.

    Parameters
    ----------
    mode : str, default "average"
        `average` or `max`.

    Raises
    ------
    UsageError
        For another mode, and for inputs that are neither images nor sequences.
    """

    uses_mask: ClassVar[bool] = True
    mode: str = "average"

    def __post_init__(self) -> None:
        if self.mode not in ("average", "max"):
            raise UsageError(f"mode={self.mode} is not known: {nearest(self.mode, ('average', 'max'))}")

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Keep the channels or features."""
        if len(input_shape) not in (2, 3):
            raise builder.mismatch(
                input_shape, "images (channels, rows, columns) or (time, features)", "leave the layer out"
            )
        self._windows = Windows(input_shape[1:], input_shape[1:], (1, 1)) if len(input_shape) == 3 else None
        return (input_shape[0] if len(input_shape) == 3 else input_shape[1],)

    def apply(self, x: Any, training: bool, mask: Any = None) -> Any:
        """Return one number for each channel or feature."""
        if x.ndim == 4 and self._windows and served(x, self._windows):
            return (mean if self.mode == "average" else largest)(x, self._windows).flatten(2)
        if x.ndim == 4:
            x, mask = x.reshape((x.shape[0], x.shape[1], -1)).dimshuffle(0, 2, 1), None
        if mask is None:
            return x.mean(axis=1) if self.mode == "average" else x.max(axis=1)
        seen = mask.dimshuffle(0, 1, "x")
        if self.mode == "average":
            # A sequence of which nothing is seen has the mean 0 instead of 0 / 0.
            steps = tensor.maximum(mask.sum(axis=1), np.asarray(1, mask.dtype))
            return (x * seen).sum(axis=1) / steps.dimshuffle(0, "x")
        return tensor.switch(tensor.gt(seen, 0), x, np.asarray(-np.inf, x.dtype)).max(axis=1)

    def output_mask(self, x: Any, mask: Any) -> Any:
        """Return None: what comes out has no steps."""
        return None
