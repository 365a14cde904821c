"""Pooling of images, forward and backward, in C."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import theano
from numpy.typing import NDArray
from theano import tensor
from theano.gof import Apply
from theano.gradient import DisconnectedType

from trainer.kernels.plans import Planned
from trainer.kernels.pooling_windows import AVERAGE, MAX, WINDOWS

Array = NDArray[Any]
Pair = tuple[int, int]

# A place in a window is kept in a byte.
_MOST_PLACES = 256


class Windows(NamedTuple):
    """Where the windows of an image lie; each pair is (rows, columns), in pixels.

    Attributes
    ----------
    lengths : pair of int
        The image's.
    size : pair of int
        A window's.
    stride : pair of int
        From one window to the next.
    padding : pair of int
        What windows may reach over each border: less than the size.
    """

    lengths: Pair
    size: Pair
    stride: Pair
    padding: Pair = (0, 0)

    @property
    def counts(self) -> Pair:
        """How many windows there are: ⌊(length + 2 · padding − size) / stride⌋ + 1."""
        rows, columns = (
            (length + 2 * border - size) // step + 1 for length, size, step, border in zip(*self, strict=True)
        )
        return rows, columns

    @property
    def numbers(self) -> list[int]:
        """The numbers of both axes, as the kernel reads them."""
        return [number for axis in zip(*self, self.counts, strict=True) for number in axis]

    def spans(self, axis: int) -> Iterator[tuple[int, slice]]:
        """Give for each window along an axis where it would begin, and what it sees of the image."""
        length, size, step, border = (pair[axis] for pair in self)
        for start in range(-border, self.counts[axis] * step - border, step):
            yield start, slice(max(start, 0), min(start + size, length))


class Pooling(Planned):
    """The base of the operations.

    Parameters
    ----------
    windows : Windows
        What is pooled.
    """

    __props__ = ("windows",)

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def kernel(self) -> str:
        """Give the C of all of them."""
        return WINDOWS

    def _windows(self, x: Array) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...], Pair]]:
        # Where a window's value lies, where the window lies, and where it begins.
        for row, (top, rows) in enumerate(self.windows.spans(0)):
            for column, (left, columns) in enumerate(self.windows.spans(1)):
                yield (..., row, column), (..., rows, columns), (top, left)


class LargestOfWindows(Pooling):
    """The largest elements of windows and their places in them, counted row by row; see `largest`."""

    def make_node(self, x: Any) -> Apply:
        """From images to images, and places as bytes."""
        kind = (*x.broadcastable[:2], *(count == 1 for count in self.windows.counts))
        return Apply(self, [x], [tensor.TensorType(dtype, kind)() for dtype in (x.dtype, "uint8")])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shapes of both."""
        return [(*shapes[0][:2], *self.windows.counts)] * 2

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """Say that places have no slope."""
        return [[True, False]]

    def L_op(  # noqa: N802 (Theano's name)
        self, inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]
    ) -> list[Any]:
        """Give each value's gradient to the element that it came from."""
        if isinstance(gradients[0].type, DisconnectedType):
            return [gradients[0]]
        return [LargestOfWindowsGradient(self.windows)(gradients[0], outputs[1])]

    def numbers(self) -> Sequence[int]:
        """Give the plan's numbers."""
        return [MAX, 0, *self.windows.numbers]

    def perform(self, node: Any, inputs: Sequence[Array], outputs: Sequence[list[Any]]) -> None:
        """Do in NumPy what the kernel does."""
        (x,) = inputs
        shape = (*x.shape[:2], *self.windows.counts)
        values, places = np.empty(shape, x.dtype), np.empty(shape, np.uint8)
        for to, window, (top, left) in self._windows(x):
            seen = x[window]
            flat = seen.reshape(*seen.shape[:2], -1)
            # For NumPy too, what is not a number is larger than all others.
            at = flat.argmax(axis=-1)
            values[to] = np.take_along_axis(flat, at[..., None], -1)[..., 0]
            row, column = at // seen.shape[3], at % seen.shape[3]
            first = (window[1].start - top) * self.windows.size[1] + window[2].start - left
            places[to] = first + row * self.windows.size[1] + column
        outputs[0][0], outputs[1][0] = values, places


class LargestOfWindowsGradient(Pooling):
    """The gradient of `LargestOfWindows`, by that of its values, and its places."""

    def make_node(self, gradient: Any, places: Any) -> Apply:
        """From images to images."""
        kind = (*gradient.broadcastable[:2], *(length == 1 for length in self.windows.lengths))
        return Apply(self, [gradient, places], [tensor.TensorType(gradient.dtype, kind)()])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shape of the images that were pooled."""
        return [(*shapes[0][:2], *self.windows.lengths)]

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """Say that places have no slope."""
        return [[True], [False]]

    def numbers(self) -> Sequence[int]:
        """Give the plan's numbers."""
        return [MAX, 1, *self.windows.numbers]

    def perform(self, node: Any, inputs: Sequence[Array], outputs: Sequence[list[Any]]) -> None:
        """Do in NumPy what the kernel does."""
        gradient, places = inputs
        found = np.zeros((*gradient.shape[:2], *self.windows.lengths), gradient.dtype)
        image, channel = np.indices(gradient.shape[:2])
        for to, _, (top, left) in self._windows(gradient):
            row, column = np.divmod(places[to].astype(int), self.windows.size[1])
            found[image, channel, top + row, left + column] += gradient[to]
        outputs[0][0] = found


class MeanOfWindows(Pooling):
    """The means of windows, of what they see of the image; see `mean`."""

    def make_node(self, x: Any) -> Apply:
        """From images to images."""
        kind = (*x.broadcastable[:2], *(count == 1 for count in self.windows.counts))
        return Apply(self, [x], [tensor.TensorType(x.dtype, kind)()])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shape."""
        return [(*shapes[0][:2], *self.windows.counts)]

    def L_op(  # noqa: N802 (Theano's name)
        self, inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]
    ) -> list[Any]:
        """Give each element its share."""
        return [MeanOfWindowsGradient(self.windows)(gradients[0])]

    def numbers(self) -> Sequence[int]:
        """Give the plan's numbers."""
        return [AVERAGE, 0, *self.windows.numbers]

    def perform(self, node: Any, inputs: Sequence[Array], outputs: Sequence[list[Any]]) -> None:
        """Do in NumPy what the kernel does."""
        (x,) = inputs
        means = np.empty((*x.shape[:2], *self.windows.counts), x.dtype)
        for to, window, _ in self._windows(x):
            means[to] = x[window].mean(axis=(2, 3), dtype=np.float64)
        outputs[0][0] = means


class MeanOfWindowsGradient(Pooling):
    """The gradient of `MeanOfWindows`."""

    def make_node(self, gradient: Any) -> Apply:
        """From images to images."""
        kind = (*gradient.broadcastable[:2], *(length == 1 for length in self.windows.lengths))
        return Apply(self, [gradient], [tensor.TensorType(gradient.dtype, kind)()])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shape of the images that were pooled."""
        return [(*shapes[0][:2], *self.windows.lengths)]

    def L_op(  # noqa: N802 (Theano's name)
        self, inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]
    ) -> list[Any]:
        """Give the means: the operation is linear, and this its transpose."""
        return [MeanOfWindows(self.windows)(gradients[0])]

    def numbers(self) -> Sequence[int]:
        """Give the plan's numbers."""
        return [AVERAGE, 1, *self.windows.numbers]

    def perform(self, node: Any, inputs: Sequence[Array], outputs: Sequence[list[Any]]) -> None:
        """Do in NumPy what the kernel does."""
        (gradient,) = inputs
        found = np.zeros((*gradient.shape[:2], *self.windows.lengths), gradient.dtype)
        for to, window, _ in self._windows(gradient):
            seen = found[window]
            seen += (gradient[to] / np.asarray(seen.shape[2] * seen.shape[3], found.dtype))[..., None, None]
        outputs[0][0] = found


def served(x: Any, windows: Windows) -> bool:
    """Tell whether the kernel pools these images: floats on the CPU, in windows of at most 256 pixels."""
    known = str(theano.config.device) == "cpu" and x.ndim == 4 and x.dtype in ("float32", "float64")
    return known and windows.size[0] * windows.size[1] <= _MOST_PLACES


def largest(x: Any, windows: Windows) -> Any:
    """Give the largest element of each window.

    Of equal ones, the first in reading order gets the gradient; what is not a number is larger than all else.
    The element's place in its window is kept, a byte for each, so that the gradient needs nothing of x.

    Parameters
    ----------
    x : symbolic tensor, (examples, channels, rows, columns)
        The images.
    windows : Windows
        Where the windows lie.

    Returns
    -------
    symbolic tensor, (examples, channels, *windows.counts)
    """
    return LargestOfWindows(windows)(x)[0]


def mean(x: Any, windows: Windows) -> Any:
    """Give the mean of what each window sees of its image.

    Parameters
    ----------
    x : symbolic tensor, (examples, channels, rows, columns)
        The images.
    windows : Windows
        Where the windows lie.

    Returns
    -------
    symbolic tensor, (examples, channels, *windows.counts)
    """
    return MeanOfWindows(windows)(x)
