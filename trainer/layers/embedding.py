"""Layers that make sequences of vectors, and masks, for recurrent layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import theano
from theano import tensor

from trainer.errors import UsageError
from trainer.initialization import initialization_named
from trainer.layers.arguments import count
from trainer.layers.base import Builder, Layer, Shape


@dataclass(eq=False)
class Embedding(Layer):
    """Gives each token a vector of numbers that is trained: token k becomes row k of W.

    Takes sequences of tokens' numbers, (examples, time) of whole numbers, which become
    (examples, time, units). Parameter: W, (vocabulary, units).

    Parameters
    ----------
    units : int
        Numbers a token, at least 1.
    vocabulary : int
        How many tokens there are; they count from 0. In a list of layers in YAML, the word `vocabulary`
        stands for as many as the data has.
    padding : int, optional
        The token that fills sequences up behind their end. Recurrent layers pass over it (their mask).
    initialization : str or float, default "glorot_uniform"
        Of W, with fan_in = vocabulary and fan_out = units: one of `trainer.initialization`, or a number for
        all.

    Raises
    ------
    UsageError
        For an argument that is not allowed, and for inputs that are no sequences of whole numbers.
    """

    units: int
    vocabulary: int
    padding: int | None = None
    initialization: str | float = "glorot_uniform"

    def __post_init__(self) -> None:
        self.units = count(self.units, "units")
        self.vocabulary = count(self.vocabulary, "vocabulary")
        if self.padding is not None and not 0 <= self.padding < self.vocabulary:
            raise UsageError(
                f"padding={self.padding}: give a token's number, from 0 to {self.vocabulary - 1}, or null"
            )
        initialization_named(self.initialization)

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Make W."""
        steps = _tokens(input_shape, builder)
        shape = (self.vocabulary, self.units)
        self._weights = builder.parameter("W", shape, self.initialization, shape)
        return (steps, self.units)

    def apply(self, x: Any, training: bool) -> Any:
        """Return the tokens' rows of W."""
        rows = self._weights[_whole(x, self).flatten()]
        return rows.reshape((x.shape[0], x.shape[1], self.units))

    def output_mask(self, x: Any, mask: Any) -> Any:
        """Return 1 where the token is not the padding."""
        if self.padding is None:
            return mask
        return tensor.cast(tensor.neq(x, self.padding), theano.config.floatX)


@dataclass(eq=False)
class OneHot(Layer):
    """Gives each token the vector that is 1 at its number and 0 elsewhere.

    Takes sequences of tokens' numbers, (examples, time) of whole numbers, which become
    (examples, time, vocabulary).

    Parameters
    ----------
    vocabulary : int
        How many tokens there are; they count from 0.

    Raises
    ------
    UsageError
        For an argument that is not allowed, and for inputs that are no sequences of whole numbers.
    """

    vocabulary: int

    def __post_init__(self) -> None:
        self.vocabulary = count(self.vocabulary, "vocabulary")

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Say the shape."""
        return (_tokens(input_shape, builder), self.vocabulary)

    def apply(self, x: Any, training: bool) -> Any:
        """Return the vectors, of floatX."""
        numbers = np.arange(self.vocabulary, dtype=np.int32)
        equal = tensor.eq(_whole(x, self).dimshuffle(0, 1, "x"), numbers)
        vectors = tensor.cast(equal, theano.config.floatX)
        # A recurrent layer behind takes rows of its weights instead of a product with these.
        vectors.tag.tokens = x
        return vectors


@dataclass(eq=False)
class Masking(Layer):
    """Has recurrent layers pass over the steps whose features all have one value.

    Takes sequences, (examples, time, features), and leaves them as they are.

    Parameters
    ----------
    value : float, default 0
        What a step that does not count is filled with.

    Raises
    ------
    UsageError
        For inputs that are no sequences.
    """

    value: float = 0.0

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Keep the shape."""
        if len(input_shape) != 2:
            raise builder.mismatch(
                input_shape, "sequences, (time, features)", "put it before a recurrent layer"
            )
        return input_shape

    def apply(self, x: Any, training: bool) -> Any:
        """Return x."""
        return x

    def output_mask(self, x: Any, mask: Any) -> Any:
        """Return 1 where a feature differs from the value, and where the input is not masked already."""
        differs = tensor.neq(x, np.asarray(self.value, x.dtype))
        # Counted: devices have no reduction by "or".
        count = tensor.cast(differs, theano.config.floatX).sum(axis=2)
        found = tensor.cast(tensor.gt(count, 0), theano.config.floatX)
        return found if mask is None else found * mask


@dataclass(eq=False)
class ImageRows(Layer):
    """Reads an image row by row: (channels, rows, columns) becomes (rows, channels · columns).

    So each row is a step in time, from the top to the bottom.

    Raises
    ------
    UsageError
        For inputs that are no images.
    """

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Say the shape."""
        if len(input_shape) != 3:
            raise builder.mismatch(input_shape, "images, (channels, rows, columns)", "leave it out")
        channels, rows, columns = input_shape
        self._output_shape = (rows, channels * columns)
        return self._output_shape

    def apply(self, x: Any, training: bool) -> Any:
        """Return the rows."""
        return x.dimshuffle(0, 2, 1, 3).reshape((x.shape[0], *self._output_shape))


def _tokens(input_shape: Shape, builder: Builder) -> int:
    if len(input_shape) != 1:
        raise builder.mismatch(input_shape, "sequences of tokens, (time,)", "make it the first layer")
    return input_shape[0]


def _whole(x: Any, layer: Layer) -> Any:
    if x.dtype not in tensor.integer_dtypes:
        raise UsageError(
            f"{layer.kind} takes the numbers of tokens, whole numbers, but gets {x.dtype}: choose data=text "
            "or another source of tokens, and make it the first layer"
        )
    return x
