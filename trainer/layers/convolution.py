"""Convolution over images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import theano
from theano import tensor

from trainer.activations import activation_named
from trainer.errors import UsageError, nearest
from trainer.initialization import initialization_named
from trainer.kernels.activation import activated
from trainer.kernels.convolution import convolution
from trainer.kernels.convolution_numpy import Geometry
from trainer.layers.arguments import Pair, count, not_negative, pair
from trainer.layers.base import Builder, Layer, Shape

PADDINGS = ("valid", "same", "half")


@dataclass(eq=False)
class Conv2D(Layer):
    """Slides filters over an image: activation(b + Σ over channels and kernel of W · x).

        output[f, r, c] = Σ_{k,i,j} W[f, k, i, j] · x[k, r·stride + i·dilation, c·stride + j·dilation] + b[f]

    with x padded by zeros: a cross-correlation, as in PyTorch; the kernel is not flipped. Takes images,
    (examples, channels, rows, columns), which become (examples, filters, rows', columns'), where
    rows' = ⌊(rows + padding − dilation · (kernel − 1) − 1) / stride⌋ + 1, with the padding of both sides.
    Parameters: W, (filters, channels / groups, *kernel), and b, (filters,), which begins at 0.

    Parameters
    ----------
    filters : int
        How many outputs at each place, at least 1.
    kernel : int or pair of int
        Rows and columns of a filter; a number counts for both, here and below.
    stride : int or pair of int, default 1
        Pixels from one place to the next.
    padding : str, int or pair of int, default "valid"
        Zeros around the image: none ("valid"); as many as make ⌈rows / stride⌉ rows, one more at the end
        where their number is odd ("same"); half a kernel on each side ("half"); or so many on each side.
    dilation : int or pair of int, default 1
        Pixels from one element of a filter to the next.
    groups : int, default 1
        Channels and filters are cut into so many groups, and a filter sees the channels of its group alone;
        divides both numbers.
    activation : str, default "linear"
        One of `trainer.activations`.
    initialization : str or float, default "he_normal"
        Of W: one of `trainer.initialization`, with fan_in = channels / groups · kernel rows · kernel columns
        and fan_out = filters / groups · kernel rows · kernel columns, or a number for all.
    bias : bool, default True
        Whether there is a b.
    l1, l2 : float, default 0
        l1 · Σ|W| + l2 · ΣW² is added to the training loss.

    Raises
    ------
    UsageError
        For an argument that is not allowed, and for inputs that are no images or too small.
    """

    filters: int
    kernel: int | Sequence[int]
    stride: int | Sequence[int] = 1
    padding: str | int | Sequence[int] = "valid"
    dilation: int | Sequence[int] = 1
    groups: int = 1
    activation: str = "linear"
    initialization: str | float = "he_normal"
    bias: bool = True
    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        self.filters, self.groups = count(self.filters, "filters"), count(self.groups, "groups")
        self._kernel, self._stride = pair(self.kernel, "kernel"), pair(self.stride, "stride")
        self._dilation = pair(self.dilation, "dilation")
        if isinstance(self.padding, str) and self.padding not in PADDINGS:
            raise UsageError(
                f"padding={self.padding}: give a number of pixels, or a name; "
                f"{nearest(self.padding, PADDINGS)}"
            )
        self._padding = (
            self.padding if isinstance(self.padding, str) else pair(self.padding, "padding", least=0)
        )
        if self.filters % self.groups:
            raise UsageError(f"groups={self.groups} does not divide filters={self.filters}")
        self.l1, self.l2 = not_negative(self.l1, "l1"), not_negative(self.l2, "l2")
        self._function = activation_named(self.activation)
        initialization_named(self.initialization)

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Make W and b."""
        channels, rows, columns = images(input_shape, builder)
        if channels % self.groups:
            raise builder.mismatch(
                input_shape, f"channels that groups={self.groups} divides", "change groups or the channels"
            )
        lengths = (rows, columns)
        spans = [step * (size - 1) + 1 for size, step in zip(self._kernel, self._dilation, strict=True)]
        self._borders = [self._border(axis, lengths[axis], spans[axis]) for axis in (0, 1)]
        output = [
            (lengths[axis] + sum(self._borders[axis]) - spans[axis]) // self._stride[axis] + 1
            for axis in (0, 1)
        ]
        if min(output) < 1:
            raise builder.mismatch(
                input_shape,
                f"images of at least {spans[0] - sum(self._borders[0])} × {spans[1] - sum(self._borders[1])}",
                "give it a smaller kernel or padding=same",
            )
        self._image_shape = (None, channels, rows, columns)
        self._filter_shape = (self.filters, channels // self.groups, *self._kernel)
        area = math.prod(self._kernel)
        fans = (channels // self.groups * area, self.filters // self.groups * area)
        self._weights = builder.parameter("W", self._filter_shape, self.initialization, fans)
        builder.penalize(self._weights, self.l1, self.l2)
        self._bias = builder.parameter("b", (self.filters,), "zeros") if self.bias else None
        return (self.filters, output[0], output[1])

    def apply(self, x: Any, training: bool) -> Any:
        """Return the activation of the convolution."""
        if theano.config.device == "cpu" and x.dtype == self._weights.dtype in ("float32", "float64"):
            is_relu = self.activation == "relu"
            output = convolution(x, self._weights, self._bias, self._geometry(), relu=is_relu)
            return output if is_relu else self._function(output)
        sums = self._symbolic(x)
        return self._function(sums) if self._bias is None else activated(sums, self._bias, self.activation)

    def _geometry(self) -> Geometry:
        rows, columns = self._borders
        before, after = zip(rows, columns, strict=True)
        return Geometry(self._stride, self._dilation, before, after, self.groups)

    def _symbolic(self, x: Any) -> Any:
        """Leave the kernel to Theano, which has one for its other devices."""
        (top, bottom), (left, right) = self._borders
        is_even = top == bottom and left == right
        return tensor.nnet.conv2d(
            x,
            self._weights,
            input_shape=self._image_shape,
            filter_shape=self._filter_shape,
            border_mode=(top, left) if is_even else ((top, bottom), (left, right)),
            subsample=self._stride,
            filter_flip=False,
            filter_dilation=self._dilation,
            num_groups=self.groups,
        )

    def _border(self, axis: int, length: int, span: int) -> Pair:
        """Return the zeros before and after an axis of so many pixels for a filter that spans so many."""
        if self._padding == "same":
            step = self._stride[axis]
            total = max((-(-length // step) - 1) * step + span - length, 0)
            return total // 2, total - total // 2
        if isinstance(self._padding, str):
            half = span // 2 if self._padding == "half" else 0
            return half, half
        return self._padding[axis], self._padding[axis]


def images(input_shape: Shape, builder: Builder) -> tuple[int, int, int]:
    """Return the shape of an image, or raise a mismatch."""
    if len(input_shape) != 3:
        cure = (
            f"put reshape: [1, {input_shape[0]}, {input_shape[1]}] before it"
            if len(input_shape) == 2
            else "put a Reshape layer before it"
        )
        raise builder.mismatch(input_shape, "images (channels, rows, columns)", cure)
    return input_shape[0], input_shape[1], input_shape[2]
