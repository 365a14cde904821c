"""What a layer is, and what builds it.

A layer is described by its arguments alone and gets to know its input when a network builds it. A user's own
layer derives from `Layer` and stands beside those here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import theano

from trainer.errors import UsageError
from trainer.initialization import initialization_named
from trainer.kernels.random import RandomMasks

Shape = tuple[int, ...]


class Row(NamedTuple):
    """A layer in a table: its name, the shape of one output, how many numbers it trains or keeps."""

    name: str
    output_shape: Shape
    parameters: int


class RandomStreams(Protocol):
    """What keeps the states of random streams: shared variables."""

    states: list[Any]


class Carried:
    """A state that a recurrent layer carries from one batch to the next: two shared matrices of zeros.

    Training and evaluation each have their own, so that an evaluation between two epochs disturbs nothing.

    Parameters
    ----------
    name : str
        The state's, `lstm_1.cell` for one.
    units : int
        Numbers an example.
    """

    def __init__(self, name: str, units: int) -> None:
        self.units = units
        empty = np.zeros((0, units), theano.config.floatX)
        self.training = theano.shared(empty, f"{name}.training")
        self.evaluation = theano.shared(empty, f"{name}.evaluation")

    def reset(self, batch_size: int, training: bool) -> None:
        """Begin anew with zeros for so many examples a batch."""
        state = self.training if training else self.evaluation
        state.set_value(np.zeros((batch_size, self.units), theano.config.floatX))


class Builder:
    """What a network gives a layer to build itself with, and what the layer left there.

    Parameters
    ----------
    name : str
        The layer's, `dense_1` for one; its parameters are called `dense_1.W`. Empty for the network itself.
    place : str
        Where the layer stands in the network's list, from 1, for messages: `2`, or `2.1` inside another one.
    seed : int
        The run's seed. What a layer draws depends on it and on the layer's name alone, so that a layer more
        elsewhere leaves it as it was.

    Attributes
    ----------
    parameters : list of shared variables
        What the update rule trains, in the order in which the layers asked for them.
    buffers : list of shared variables
        What belongs to the weights and is not trained by gradients, a running mean for one.
    masks : list of RandomMasks
        The random streams, or what else has their `states`.
    carried : list of Carried
        The states that go from one batch to the next.
    penalties : list of symbolic scalars
        What the layers add to the training loss.
    layers : list of Layer
        The layers built here, in order, and those inside them.
    rows : list of Row
        A row for each layer built here; a layer that holds others is one row.
    """

    def __init__(self, name: str = "", place: str = "", seed: int = 0) -> None:
        self.name = name
        self.place = place
        self.seed = seed
        self.parameters: list[Any] = []
        self.buffers: list[Any] = []
        self.masks: list[RandomStreams] = []
        self.carried: list[Carried] = []
        self.penalties: list[Any] = []
        self.layers: list[Layer] = []
        self.rows: list[Row] = []
        self._counts: Counter[str] = Counter()
        self._known: list[Layer] = []

    def build(self, layer: Layer, input_shape: Shape) -> Shape:
        """Build a layer inside this one (or inside the network), named by its kind and count.

        Raises
        ------
        UsageError
            Where the layer's input has a shape that it cannot take.
        """
        self._counts[layer.kind] += 1
        inner = self._inside(f"{layer.kind}_{self._counts[layer.kind]}", str(sum(self._counts.values())))
        if any(layer is other for other in self._known):
            raise UsageError(
                f"layer {inner.place} ({inner.name}) stands in the network twice: make a new one for each "
                "place"
            )
        self._known.append(layer)
        output_shape = tuple(layer.build(input_shape, inner))
        self.layers.append(layer)
        self._adopt(inner)
        size = sum(int(variable.get_value(borrow=True).size) for variable in inner.parameters + inner.buffers)
        self.rows.append(Row(inner.name, output_shape, size))
        return output_shape

    def build_all(self, layers: Sequence[Layer], input_shape: Shape, branch: str = "") -> Shape:
        """Build layers one after another inside this one.

        Parameters
        ----------
        layers : sequence of Layer
            From the input on; none give the input.
        input_shape : tuple of int
            The shape of one input of the first one.
        branch : str, optional
            The name of a second list of layers inside a layer: with `shortcut`, its first dense layer is
            called `residual_1.shortcut.dense_1`.

        Returns
        -------
        tuple of int
            The shape of one output of the last one.
        """
        builder = self._inside(branch, branch) if branch else self
        shape = tuple(input_shape)
        for layer in layers:
            shape = builder.build(layer, shape)
        if branch:
            self._adopt(builder)
        return shape

    def _inside(self, name: str, place: str) -> Builder:
        inner = Builder(
            f"{self.name}.{name}" if self.name else name,
            f"{self.place}.{place}" if self.place else place,
            self.seed,
        )
        inner._known = self._known
        return inner

    def _adopt(self, inner: Builder) -> None:
        for kept in ("parameters", "buffers", "masks", "carried", "penalties", "layers"):
            getattr(self, kept).extend(getattr(inner, kept))

    def parameter(
        self,
        name: str,
        shape: Shape,
        initialization: str | float,
        fans: tuple[int, int] = (1, 1),
        *,
        blocks: int = 1,
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
        blocks : int, default 1
            How many matrices stand beside each other along the last axis, each drawn on its own: the gates of
            a recurrent layer, for one.
        trained : bool, default True
            Whether gradients train it; otherwise it is a buffer.
        """
        full_name = f"{self.name}.{name}"
        generator = np.random.default_rng(np.random.SeedSequence([self.seed, *full_name.encode()]))
        # Drawn in float64 whatever floatX is: both precisions begin at the same point.
        draw = initialization_named(initialization)
        if blocks == 1:
            values = draw(generator, shape, *fans)
        else:
            block = (*shape[:-1], shape[-1] // blocks)
            values = np.concatenate([draw(generator, block, *fans) for _ in range(blocks)], axis=-1)
        variable = theano.shared(values.astype(theano.config.floatX), full_name)
        (self.parameters if trained else self.buffers).append(variable)
        return variable

    def random_masks(self) -> RandomMasks:
        """Make a stream of random masks of the layer's own."""
        masks = RandomMasks(self.seed, self.name)
        self.masks.append(masks)
        return masks

    def carry(self, name: str, units: int) -> Carried:
        """Make a state, (examples of a batch, units), that goes from one batch to the next."""
        carried = Carried(f"{self.name}.{name}", units)
        self.carried.append(carried)
        return carried

    def penalize(self, parameter: Any, l1: float = 0.0, l2: float = 0.0) -> None:
        """Add l1 · Σ|w| + l2 · Σw² of a parameter to the training loss."""
        if l1:
            self.penalties.append(np.asarray(l1, theano.config.floatX) * abs(parameter).sum())
        if l2:
            self.penalties.append(np.asarray(l2, theano.config.floatX) * (parameter**2).sum())

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
    uses_mask : bool
        Whether `apply` takes the mask of a sequence as well.
    updates, evaluation_updates : mapping
        New values of buffers and carried states, by shared variable, which the layer sets in `apply` for a
        training step and for an evaluation.
    """

    kind: str = "layer"
    uses_mask: ClassVar[bool] = False
    updates: Mapping[Any, Any] = {}
    evaluation_updates: Mapping[Any, Any] = {}

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
            Makes parameters, random streams and carried states, and builds layers inside this one.

        Returns
        -------
        tuple of int
            The shape of one output, without the batch axis.
        """
        return input_shape

    def apply(self, x: Any, training: bool) -> Any:
        """Return the output, symbolic, for a batch of inputs `x`; `training` tells training from evaluation.

        Each layer has its own.

        Where `uses_mask` is set, it is called with a third argument `mask`: None, or a symbolic matrix of
        floatX, (examples, time), with 1 where a sequence has a step and 0 behind its end.
        """
        raise NotImplementedError

    def output_mask(self, x: Any, mask: Any) -> Any:
        """Return the output's mask for the input and its mask; the same one where a layer does not say."""
        return mask


def apply_layers(layers: Sequence[Layer], x: Any, training: bool, mask: Any = None) -> tuple[Any, Any]:
    """Return the output of layers one after another, and its mask."""
    for layer in layers:
        output = layer.apply(x, training, mask) if layer.uses_mask else layer.apply(x, training)  # type: ignore[call-arg]
        x, mask = output, layer.output_mask(x, mask)
    return x, mask
