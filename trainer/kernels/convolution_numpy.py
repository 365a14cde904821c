"""Convolutions in NumPy, where there is no compiler, and what the kernel is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """How filters lie over an image.

    Attributes
    ----------
    stride, dilation : pair of int
        Pixels, rows first, from one place to the next, and from one element of a filter to the next.
    before, after : pair of int
        Rows and columns of zeros before and behind the image.
    groups : int
        Channels and filters are cut into so many groups.
    """

    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    before: Pair = (0, 0)
    after: Pair = (0, 0)
    groups: int = 1

    def numbers(self) -> list[int]:
        """Give them in the order in which the kernel reads them."""
        return [*self.stride, *self.dilation, *self.before, *self.after, self.groups]

    def places(self, length: Any, size: Any, axis: int) -> Any:
        """Say in how many places a filter of a size fits on an axis of a length."""
        span = (size - 1) * self.dilation[axis] + 1
        return (length + self.before[axis] + self.after[axis] - span) // self.stride[axis] + 1

    def seen(self, images: Array, kernel: Sequence[int]) -> Array:
        """Give what each element of a filter sees: (examples, channels, *kernel, *places)."""
        padded = np.pad(images, ((0, 0), (0, 0), *zip(self.before, self.after, strict=True)))
        places = [self.places(images.shape[2 + axis], kernel[axis], axis) for axis in (0, 1)]
        *first, rows, columns = padded.strides
        strides = [rows * self.dilation[0], columns * self.dilation[1]]
        strides += [rows * self.stride[0], columns * self.stride[1]]
        shape = (*padded.shape[:2], *kernel, *places)
        return np.lib.stride_tricks.as_strided(padded, shape, (*first, *strides), writeable=False)


def forward(geometry: Geometry, x: Array, weights: Array) -> Array:
    """Give y without bias; see `trainer.kernels.convolution.convolution`."""
    seen = geometry.seen(x, weights.shape[2:])
    parts = [
        np.tensordot(seen[:, of_x], weights[of_y], ((1, 2, 3), (1, 2, 3))).transpose(0, 3, 1, 2)
        for of_x, of_y in _groups(geometry, x.shape[1], len(weights))
    ]
    return np.concatenate(parts, axis=1)


def to_weights(geometry: Geometry, x: Array, kernel: Sequence[int], slopes: Array) -> Array:
    """Give the gradient for the weights of the one that arrives at y."""
    seen = geometry.seen(x, kernel)
    parts = [
        np.tensordot(slopes[:, of_y], seen[:, of_x], ((0, 2, 3), (0, 4, 5)))
        for of_x, of_y in _groups(geometry, x.shape[1], slopes.shape[1])
    ]
    return np.concatenate(parts)


def to_inputs(geometry: Geometry, shape: Sequence[int], weights: Array, slopes: Array) -> Array:
    """Give the gradient for images of a shape."""
    (top, left), (bottom, right) = geometry.before, geometry.after
    padded = np.zeros((*shape[:2], shape[2] + top + bottom, shape[3] + left + right), slopes.dtype)
    rows, columns = (geometry.stride[axis] * (slopes.shape[2 + axis] - 1) + 1 for axis in (0, 1))
    for of_x, of_y in _groups(geometry, shape[1], len(weights)):
        for i in range(weights.shape[2]):
            for j in range(weights.shape[3]):
                first, start = i * geometry.dilation[0], j * geometry.dilation[1]
                target = padded[:, of_x, first : first + rows, start : start + columns]
                target[:, :, :: geometry.stride[0], :: geometry.stride[1]] += np.tensordot(
                    slopes[:, of_y], weights[of_y, :, i, j], ((1,), (0,))
                ).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(padded[:, :, top : top + shape[2], left : left + shape[3]])


def _groups(geometry: Geometry, channels: int, filters: int) -> Iterator[tuple[slice, slice]]:
    """Give the channels and the filters of each group."""
    wide, high = channels // geometry.groups, filters // geometry.groups
    for group in range(geometry.groups):
        yield slice(group * wide, (group + 1) * wide), slice(group * high, (group + 1) * high)
