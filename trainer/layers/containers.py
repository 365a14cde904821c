"""Layers that are made of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from trainer.activations import activation_named
from trainer.layers.base import Builder, Layer, Shape, apply_layers


@dataclass(eq=False)
class Sequential(Layer):
    """Layers one after another, as one layer.

    Parameters
    ----------
    layers : list of layers
        From the input on. The parameters of the first dense layer among them are called
        `sequential_1.dense_1.W`.
    """

    uses_mask: ClassVar[bool] = True
    layers: Sequence[Layer]

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Build the layers inside this one."""
        return builder.build_all(self.layers, input_shape)

    def apply(self, x: Any, training: bool, mask: Any = None) -> Any:
        """Return the last layer's output."""
        output, self._mask = apply_layers(self.layers, x, training, mask)
        return output

    def output_mask(self, x: Any, mask: Any) -> Any:
        """Return the mask behind the last layer."""
        return self._mask


@dataclass(eq=False)
class Residual(Layer):
    """Adds what its layers make of the input to the input: activation(layers(x) + shortcut(x)).

    Parameters
    ----------
    layers : list of layers
        What learns the difference. Their parameters are called `residual_1.dense_1.W` and so on.
    shortcut : list of layers, default []
        What the input goes through on the other way; none for the input itself. Where the layers change the
        shape, a convolution of kernel 1 and the same stride (a projection). Their parameters are called
        `residual_1.shortcut.conv2d_1.W` and so on.
    activation : str, default "linear"
        Of the sum: one of `trainer.activations`.

    Raises
    ------
    UsageError
        For an unknown activation, and where the two ways give different shapes.

    Notes
    -----
    He, Zhang, Ren & Sun 2015, arXiv:1512.03385.
    """

    uses_mask: ClassVar[bool] = True
    layers: Sequence[Layer]
    shortcut: Sequence[Layer] = field(default_factory=list)
    activation: str = "linear"

    def __post_init__(self) -> None:
        self._function = activation_named(self.activation)

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Build the layers of both ways."""
        shape = builder.build_all(self.layers, input_shape)
        direct = builder.build_all(self.shortcut, input_shape, branch="shortcut")
        if shape != direct:
            raise builder.mismatch(
                input_shape,
                "layers and a shortcut that give the same shape",
                f"its layers give {shape}, but its shortcut {direct}; "
                "let the shortcut change the shape as the layers do, or neither",
            )
        return shape

    def apply(self, x: Any, training: bool, mask: Any = None) -> Any:
        """Return the activation of the sum of both ways."""
        output, self._mask = apply_layers(self.layers, x, training, mask)
        return self._function(output + apply_layers(self.shortcut, x, training, mask)[0])

    def output_mask(self, x: Any, mask: Any) -> Any:
        """Return the mask behind the layers."""
        return self._mask
