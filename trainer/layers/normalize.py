"""Normalisation that was found on the training data and is kept with the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import theano
from numpy.typing import ArrayLike
from theano import tensor

from trainer.errors import UsageError
from trainer.layers.base import Builder, Layer, Shape


class _Affine(Layer):
    """Holds an offset and a scale, as buffers, and broadcasts them over a batch."""

    def __init__(self, offset: ArrayLike = 0.0, scale: ArrayLike = 1.0) -> None:
        self._offset = np.asarray(offset, np.float64)
        self._scale = np.asarray(scale, np.float64)
        if self._offset.ndim > 1 or self._offset.shape != self._scale.shape:
            raise UsageError(
                f"{self.kind}: offset has the shape {self._offset.shape} and scale {self._scale.shape}; "
                "give one number each, or one list each of the same length"
            )
        if not (np.isfinite(self._offset).all() and np.isfinite(self._scale).all() and self._scale.all()):
            raise UsageError(f"{self.kind}: offset and scale must be finite, and scale not 0")

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Make the buffers offset and scale; the shape stays."""
        if self._offset.ndim and input_shape[:1] != self._offset.shape:
            raise builder.mismatch(
                input_shape,
                f"inputs with {len(self._offset)} features or channels",
                "give one number for each",
            )
        self._buffers = [
            builder.parameter(name, values.shape, "zeros", trained=False)
            for name, values in (("offset", self._offset), ("scale", self._scale))
        ]
        for buffer, values in zip(self._buffers, (self._offset, self._scale), strict=True):
            buffer.set_value(values.astype(theano.config.floatX))
        return input_shape

    def _constants(self, x: Any) -> tuple[Any, Any]:
        """Return offset and scale with the axes of a batch; theirs is the first one behind the examples."""
        if not self._offset.ndim:
            offset, scale = self._buffers
            return offset, scale
        pattern = ["x", 0, *["x"] * (x.ndim - 2)]
        offset, scale = (buffer.dimshuffle(*pattern) for buffer in self._buffers)
        return offset, scale


class Normalize(_Affine):
    """Normalises its inputs: (x − offset) / scale.

    The numbers are buffers: they are saved and loaded with the weights, and not trained.

    Parameters
    ----------
    offset, scale : number, or array of (features,) or (channels,), default 0 and 1
        What is subtracted, and what is divided by, for each feature of vectors or channel of images.

    Raises
    ------
    UsageError
        Where they are not finite, a scale is 0, or their shapes differ from each other or from the input.
    """

    def apply(self, x: Any, training: bool) -> Any:
        """Return (x − offset) / scale."""
        offset, scale = self._constants(x)
        return (tensor.cast(x, theano.config.floatX) - offset) / scale


class Denormalize(_Affine):
    """Turns normalised outputs back into the targets' own units: x · scale + offset.

    Parameters and errors are those of `Normalize`.
    """

    def apply(self, x: Any, training: bool) -> Any:
        """Return x · scale + offset."""
        offset, scale = self._constants(x)
        return x * scale + offset
