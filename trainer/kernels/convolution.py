"""Convolutions of images on the CPU, with bias and relu in the same pass, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from theano import Apply, tensor

from trainer.kernels.convolution_code import text_for
from trainer.kernels.convolution_numpy import Geometry, forward, to_inputs, to_weights
from trainer.kernels.plans import Planned

Array = NDArray[Any]

_FORWARD, _WEIGHTS, _INPUTS = range(3)


def convolution(x: Any, weights: Any, bias: Any, geometry: Geometry, *, relu: bool = False) -> Any:
    """Slide filters over images: y = b + Σ over channels and kernel of W · x, a cross-correlation.

        y[n, f, r, c] = b[f] + Σ_{k,i,j} W[f, k, i, j] · x[n, k, r·stride + i·dilation, c·stride + j·dilation]

    with zeros around x. Computed by one C module for all shapes, on `device.threads` threads, with the same
    bits whatever their number; without a compiler by NumPy.

    Parameters
    ----------
    x : symbolic tensor, (examples, channels, rows, columns)
        float32 or float64.
    weights : symbolic tensor, (filters, channels / groups, kernel rows, kernel columns)
        Of the same type, as the bias.
    bias : symbolic vector, (filters,), or None
        b.
    geometry : Geometry
        Strides, dilations, padding, groups.
    relu : bool, default False
        Whether max(y, 0) is given; its slope at 0 is 0, and what is not a number stays so.

    Returns
    -------
    symbolic tensor, (examples, filters, rows', columns')
        y. Its gradient goes to x, the weights and the bias; there is no second derivative.
    """
    x, weights = tensor.as_tensor_variable(x), tensor.as_tensor_variable(weights)
    given = (x, weights) if bias is None else (x, weights, bias)
    return Convolution(geometry, relu, x.dtype, bias is not None)(*given)


class _Pass(Planned):
    """What the three passes have in common."""

    __props__: tuple[str, ...] = ("geometry", "relu", "dtype")
    place: int

    def __init__(self, geometry: Geometry, relu: bool, dtype: str) -> None:
        self.geometry, self.relu, self.dtype = geometry, relu, dtype

    def kernel(self) -> str:
        """Give the C, the same for all passes."""
        return text_for(self.dtype)

    def numbers(self) -> list[int]:
        """Give what the C needs to know."""
        return [self.place, *self.geometry.numbers(), int(self.relu)]

    def _checked(self, inputs: Sequence[Any], ranks: Sequence[int]) -> list[Any]:
        variables = [tensor.as_tensor_variable(value) for value in inputs]
        if [each.ndim for each in variables] != list(ranks) or any(
            each.dtype != self.dtype for each in variables
        ):
            raise TypeError(
                f"convolution: {[each.type for each in variables]} instead of {self.dtype} "
                f"with {list(ranks)} axes"
            )
        return variables

    def _type(self, rank: int) -> Any:
        return tensor.TensorType(self.dtype, (False,) * rank)


class Convolution(_Pass):
    """Forward: its inputs are x, the weights, and, where there is one, the bias."""

    __props__ = ("geometry", "relu", "dtype", "biased")
    place = _FORWARD

    def __init__(self, geometry: Geometry, relu: bool, dtype: str, biased: bool) -> None:
        super().__init__(geometry, relu, dtype)
        self.biased = biased

    def numbers(self) -> list[int]:
        """Give what the C needs to know."""
        return [*super().numbers(), int(self.biased)]

    def make_node(self, *inputs: Any) -> Any:
        """Give the node."""
        return Apply(self, self._checked(inputs, [4, 4, *[1] * self.biased]), [self._type(4)()])

    def perform(self, node: Any, inputs: Sequence[Array], storage: Sequence[list[Any]]) -> None:
        """Run forward in NumPy."""
        y = forward(self.geometry, *inputs[:2])
        if self.biased:
            y += inputs[2].reshape(-1, 1, 1)
        storage[0][0] = np.where(y <= 0, y.dtype.type(0), y) if self.relu else y

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Say the output's shape without running."""
        (examples, _, *lengths), (filters, _, *sizes) = shapes[:2]
        return [(examples, filters, *(self.geometry.places(lengths[k], sizes[k], k) for k in (0, 1)))]

    def L_op(  # noqa: N802
        self, inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]
    ) -> list[Any]:
        """Return the gradients for all inputs."""
        x, weights = inputs[:2]
        given = (x, weights, gradients[0], *(outputs if self.relu else ()))
        to_weights, to_bias = WeightsGradient(self.geometry, self.relu, self.dtype)(*given)
        to_x = InputsGradient(self.geometry, self.relu, self.dtype)(*given)
        return [to_x, to_weights, *([to_bias] if self.biased else [])]


class _Gradient(_Pass):
    """A backward operation: its inputs are x, the weights, the gradient that arrives and, with relu, y."""

    def _arriving(self, inputs: Sequence[Array]) -> Array:
        return np.where(inputs[3] > 0, inputs[2], inputs[2].dtype.type(0)) if self.relu else inputs[2]

    def _inputs(self, inputs: Sequence[Any]) -> list[Any]:
        return self._checked(inputs, [4, 4, 4, *[4] * self.relu])


class WeightsGradient(_Gradient):
    """The gradients of `convolution` for the weights and for the bias."""

    place = _WEIGHTS

    def make_node(self, *inputs: Any) -> Any:
        """Give the node."""
        return Apply(self, self._inputs(inputs), [self._type(4)(), self._type(1)()])

    def perform(self, node: Any, inputs: Sequence[Array], storage: Sequence[list[Any]]) -> None:
        """Run backward in NumPy."""
        slopes = self._arriving(inputs)
        storage[0][0] = to_weights(self.geometry, inputs[0], inputs[1].shape[2:], slopes)
        storage[1][0] = slopes.sum(axis=(0, 2, 3))

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Say the outputs' shapes without running."""
        return [shapes[1], shapes[1][:1]]


class InputsGradient(_Gradient):
    """The gradient of `convolution` for the images."""

    place = _INPUTS

    def make_node(self, *inputs: Any) -> Any:
        """Give the node."""
        return Apply(self, self._inputs(inputs), [self._type(4)()])

    def perform(self, node: Any, inputs: Sequence[Array], storage: Sequence[list[Any]]) -> None:
        """Run backward in NumPy."""
        storage[0][0] = to_inputs(self.geometry, inputs[0].shape, inputs[1], self._arriving(inputs))

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Say the output's shape without running."""
        return [shapes[0]]
