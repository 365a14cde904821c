"""Layers: what networks are made of.

A layer is described by its arguments alone and gets to know its input when a network builds it. A user's own
layer derives from `Layer` and stands beside those here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import theano
from theano import tensor

from trainer.activations import activation_named
from trainer.errors import UsageError
from trainer.initialization import initialization_named
from trainer.kernels.random import RandomMasks

Shape = tuple[int, ...]


class Builder:
    """What a network gives a layer to build itself with.

    Parameters
    ----------
    name : str
        The layer's, `dense_1` for one; its parameters are called `dense_1.W`.
    place : int
        Where the layer stands in the network's list, from 1, for messages.
    seed : int
        The run's seed. What a layer draws depends on it and on the layer's name alone, so that a layer more
        elsewhere leaves it as it was.

    Attributes
    ----------
    parameters : list of shared variables
        What the update rule trains, in the order in which the layer asked for them.
    buffers : list of shared variables
        What belongs to the weights and is not trained by gradients, a running mean for one.
    masks : list of RandomMasks
        The layer's random streams.
    """

    def __init__(self, name: str, place: int, seed: int) -> None:
        self.name = name
        self.place = place
        self.seed = seed
        self.parameters: list[Any] = []
        self.buffers: list[Any] = []
        self.masks: list[RandomMasks] = []

    def parameter(
        self,
        name: str,
        shape: Shape,
        initialization: str | float,
        fans: tuple[int, int] = (1, 1),
        *,
        trained: bool = True,
    ) -> Any:
        """Make a shared variable of dtype floatX.

        Parameters
        ----------
        name : str
            Short: `W` becomes `dense_1.W`.
        shape : tuple of int
            Its shape.
        initialization : str or float
            As in `trainer.initialization`.
        fans : pair of int
            fan_in and fan_out, for the initialisations that look at them.
        trained : bool, default True
            Whether gradients train it; otherwise it is a buffer.
        """
        full_name = f"{self.name}.{name}"
        generator = np.random.default_rng(np.random.SeedSequence([self.seed, *full_name.encode()]))
        # Drawn in float64 whatever floatX is: both precisions begin at the same point.
        values = initialization_named(initialization)(generator, shape, *fans)
        variable = theano.shared(values.astype(theano.config.floatX), full_name)
        (self.parameters if trained else self.buffers).append(variable)
        return variable

    def random_masks(self) -> RandomMasks:
        """Make a stream of random masks of the layer's own."""
        masks = RandomMasks(self.seed, self.name)
        self.masks.append(masks)
        return masks

    def mismatch(self, got: Shape, wanted: str, cure: str) -> UsageError:
        """Return the error for an input shape that the layer cannot take."""
        return UsageError(
            f"layer {self.place} ({self.name}) takes {wanted}, but gets the shape {got}: {cure}"
        )


class Layer:
    """The base of all layers.

    Attributes
    ----------
    kind : str
        What layers of the class are called in a network: `dense` makes dense_1, dense_2. The class's name in
        small letters where a class does not say.
    updates : mapping
        New values of buffers, by buffer, which the layer sets in `apply` while training.
    """

    kind: ClassVar[str] = "layer"
    updates: Mapping[Any, Any] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" not in cls.__dict__:
            cls.kind = cls.__name__.lower()

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Make the parameters.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one input, without the batch axis.
        builder : Builder
            Makes parameters and random streams.

        Returns
        -------
        tuple of int
            The shape of one output, without the batch axis.
        """
        return input_shape

    def apply(self, x: Any, training: bool) -> Any:
        """Return the symbolic output for a batch `x` of inputs, in training or else in evaluation."""
        raise NotImplementedError


@dataclass(eq=False)
class Dense(Layer):
    """A layer in which each unit sees each input: activation(x · W + b).

    Takes vectors: (examples, inputs) becomes (examples, units). Parameters: W, (inputs, units), and b,
    (units,), which begins at 0.

    Parameters
    ----------
    units : int
        How many outputs, at least 1.
    activation : str, default "linear"
        One of `trainer.activations`.
    initialization : str or float, default "he_normal"
        Of W: one of `trainer.initialization`, with fan_in = inputs and fan_out = units, or a number for all.

    Raises
    ------
    UsageError
        For an argument that is not allowed, and for inputs that are no vectors.
    """

    units: int
    activation: str = "linear"
    initialization: str | float = "he_normal"

    def __post_init__(self) -> None:
        self.units = count(self.units, "units")
        self._function = activation_named(self.activation)
        initialization_named(self.initialization)

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Make W and b."""
        if len(input_shape) != 1:
            raise builder.mismatch(input_shape, "vectors", "put a Flatten layer before it")
        fans = (input_shape[0], self.units)
        self.weights = builder.parameter("W", fans, self.initialization, fans)
        self.bias = builder.parameter("b", (self.units,), "zeros")
        return (self.units,)

    def apply(self, x: Any, training: bool) -> Any:
        """Return activation(x · W + b)."""
        return self._function(tensor.dot(x, self.weights) + self.bias)


@dataclass(eq=False)
class Dropout(Layer):
    """Sets each element to 0 with probability `rate` while training, and scales the others by 1 / (1 − rate).

    So the expected output is the input, and evaluation leaves the input as it is. A rate of 0 adds nothing to
    the graph.

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
        return x * self._masks.keep(x, self.rate) if training and self._masks else x


@dataclass(eq=False)
class Flatten(Layer):
    """Makes a vector of each input: (examples, a, b, …) becomes (examples, a · b · …)."""

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Multiply the lengths."""
        return (math.prod(input_shape),)

    def apply(self, x: Any, training: bool) -> Any:
        """Return x with all axes but the first made one, in C order."""
        return tensor.flatten(x, 2)


def count(value: Any, key: str) -> int:
    """Return a whole number of at least 1, or say by a UsageError that `key` needs one."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{key}={value}: give a whole number of at least 1")
    return value


def share(value: Any, key: str) -> float:
    """Return a number of at least 0 and below 1, or say by a UsageError that `key` needs one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise UsageError(f"{key}={value}: give a number of at least 0 and below 1")
    return float(value)
