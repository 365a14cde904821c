"""Recurrent layers: networks that read a sequence step by step and remember.

The mathematics of a step stands in `trainer.kernels.cells`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import theano
from theano import tensor

from trainer.activations import activation_named
from trainer.errors import UsageError
from trainer.initialization import initialization_named
from trainer.kernels.cells import Cell, GRUCell, LSTMCell, SimpleCell
from trainer.kernels.recurrent import recurrence
from trainer.layers.arguments import count
from trainer.layers.base import Builder, Carried, Layer, Shape


@dataclass(eq=False)
class _Direction:
    """The parameters of one reading of the sequence, forwards or backwards."""

    weights: Any
    recurrent_weights: Any
    bias: Any
    backwards: bool


@dataclass(eq=False)
class Recurrent(Layer):
    """What recurrent layers share; SimpleRNN, LSTM and GRU say what a step does.

    Takes sequences, (examples, time, features). In the formulas x is the input of a step, h the output of
    the step before it, 0 before the first one; σ the logistic function, φ the activation, ⊙ the product of
    elements.

    A step that is masked (`Embedding(padding=…)`, `Masking`) leaves the state as it is, so that the last
    output of a sequence that was filled up is that of its own end; the output of a masked step is the one
    before it.

    Parameters
    ----------
    units : int
        Numbers of the state and of an output, at least 1.
    activation : str, default "tanh"
        φ: one of `trainer.activations`.
    initialization : str or float, default "glorot_uniform"
        Of each gate's part of W, with fan_in = features and fan_out = units: one of
        `trainer.initialization`, or a number for all.
    recurrent_initialization : str or float, default "orthogonal"
        Of each gate's part of U, with fan_in = fan_out = units.
    return_sequences : bool, default False
        Whether the output is that of each step, (examples, time, units), or the last one, (examples, units).
    bidirectional : bool, default False
        Whether a second network, with parameters of its own (W_backward, …), reads the sequence from its
        end. Its outputs stand behind those of the first one: units · 2 numbers. Its last output is that at
        the first step.
    carry : bool, default False
        Whether a batch begins with the states with which the one before it ended, example by example:
        truncated backpropagation through time. The gradient stays within the batch. Batches must continue
        each other, as those of `data=text` do, and the states are 0 at the beginning of an epoch and of an
        evaluation, which has states of its own.

    Raises
    ------
    UsageError
        For an argument that is not allowed, for `carry` with `bidirectional`, and for inputs that are no
        sequences.
    """

    units: int
    activation: str = "tanh"
    initialization: str | float = "glorot_uniform"
    recurrent_initialization: str | float = "orthogonal"
    return_sequences: bool = False
    bidirectional: bool = False
    carry: bool = False

    uses_mask: ClassVar[bool] = True
    cell_type: ClassVar[type[Cell]]

    def __post_init__(self) -> None:
        self.units = count(self.units, "units")
        activation_named(self.activation)
        initialization_named(self.initialization)
        initialization_named(self.recurrent_initialization, "recurrent_initialization")
        if self.carry and self.bidirectional:
            raise UsageError(
                "carry=true with bidirectional=true: a state comes from the past alone; set one of them "
                "to false"
            )
        self._cell = self.cell_type(self.activation)

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Make W, U and b, for both directions where there are two, and the states that are carried."""
        if len(input_shape) != 2:
            raise builder.mismatch(
                input_shape,
                "sequences, (time, features)",
                "put an Embedding or OneHot layer before it for tokens, ImageRows for images",
            )
        steps, features = input_shape
        self._directions = [self._direction(builder, features, "")]
        if self.bidirectional:
            self._directions.append(self._direction(builder, features, "_backward"))
        names = ("hidden", "cell")[: self._cell.states]
        self._carried: list[Carried] = (
            [builder.carry(name, self.units) for name in names] if self.carry else []
        )
        width = self.units * len(self._directions)
        return (steps, width) if self.return_sequences else (width,)

    def apply(self, x: Any, training: bool, mask: Any = None) -> Any:
        """Return the outputs of all steps, (examples, time, units), or the last one, (examples, units)."""
        outputs = [self._read(direction, x, mask, training) for direction in self._directions]
        joined = outputs[0] if len(outputs) == 1 else tensor.concatenate(outputs, axis=-1)
        return joined.dimshuffle(1, 0, 2) if self.return_sequences else joined

    def output_mask(self, x: Any, mask: Any) -> Any:
        """Return the same mask for sequences, none for last outputs."""
        return mask if self.return_sequences else None

    def _direction(self, builder: Builder, features: int, suffix: str) -> _Direction:
        cell, units = self._cell, self.units
        width = cell.gates * units
        weights = builder.parameter(
            f"W{suffix}", (features, width), self.initialization, (features, units), blocks=cell.gates
        )
        recurrent = builder.parameter(
            f"U{suffix}", (units, width), self.recurrent_initialization, (units, units), blocks=cell.gates
        )
        bias = builder.parameter(f"b{suffix}", (cell.biases * units,), "zeros")
        bias.set_value(self._first_bias(bias.get_value()))
        return _Direction(weights, recurrent, bias, backwards=bool(suffix))

    def _first_bias(self, zeros: Any) -> Any:
        return zeros

    def _read(self, direction: _Direction, x: Any, mask: Any, training: bool) -> Any:
        projected, tokens = self._projected(direction, x)
        examples = x.shape[0] if tokens is None else tokens.shape[1]
        states = recurrence(
            self._cell,
            projected,
            direction.recurrent_weights,
            direction.bias,
            self._initial_states(examples, x.dtype, training),
            tokens=tokens,
            mask=None if mask is None else mask.T,
            backwards=direction.backwards,
        )
        last = 0 if direction.backwards else -1
        self._keep([state[last] for state in states], training)
        return states[0] if self.return_sequences else states[0][last]

    def _projected(self, direction: _Direction, x: Any) -> tuple[Any, Any]:
        """Return x·W, time first, and no tokens; or W itself, and which of its rows the inputs are."""
        tokens = getattr(x.tag, "tokens", None)
        if tokens is not None and str(theano.config.device) == "cpu":
            return direction.weights, tokens.T
        steps, examples, width = x.shape[1], x.shape[0], self._cell.gates * self.units
        # The inputs of all steps are multiplied in one product.
        rows = x.dimshuffle(1, 0, 2).reshape((steps * examples, x.shape[2]))
        return tensor.dot(rows, direction.weights).reshape((steps, examples, width)), None

    def _initial_states(self, examples: Any, dtype: str, training: bool) -> list[Any]:
        if not self.carry:
            return [tensor.zeros((examples, self.units), dtype)] * self._cell.states
        shared = [carried.training if training else carried.evaluation for carried in self._carried]
        # The last batch of an evaluation may be short: its rows go on where those rows stood.
        return [state[:examples] for state in shared]

    def _keep(self, last: list[Any], training: bool) -> None:
        if not self.carry:
            return
        kind = "training" if training else "evaluation"
        values = {getattr(carried, kind): state for carried, state in zip(self._carried, last, strict=True)}
        if training:
            self.updates = values
        else:
            self.evaluation_updates = values


@dataclass(eq=False)
class SimpleRNN(Recurrent):
    """A recurrent layer without gates.

        h′ = φ(x · W + h · U + b)

    Parameters: W, (features, units), U, (units, units), b, (units,), which begins at 0. Elman 1990, "Finding
    structure in time", Cognitive Science 14, 179–211. Arguments: those of `Recurrent`.
    """

    cell_type: ClassVar[type[Cell]] = SimpleCell


@dataclass(eq=False)
class LSTM(Recurrent):
    """Long short-term memory, with a forget gate and without peepholes.

        i = σ(x · W_i + h · U_i + b_i)        what is let in
        f = σ(x · W_f + h · U_f + b_f)        what is kept
        o = σ(x · W_o + h · U_o + b_o)        what is shown
        g = φ(x · W_g + h · U_g + b_g)        what is new
        c′ = f ⊙ c + i ⊙ g
        h′ = o ⊙ φ(c′)

    Parameters: W, (features, 4 · units), U, (units, 4 · units), b, (4 · units,), each with the gates i, f,
    o, g beside each other. b begins at 0, that of f at `forget_bias`. Hochreiter & Schmidhuber 1997, Neural
    Computation 9, 1735–1780; forget gate: Gers, Schmidhuber & Cummins 2000, Neural Computation 12,
    2451–2471. Arguments: those of `Recurrent`, and

    Parameters
    ----------
    forget_bias : float, default 1
        With what b_f begins: above 0, so that a new network remembers (Jozefowicz et al. 2015, ICML).
    """

    forget_bias: float = 1.0

    cell_type: ClassVar[type[Cell]] = LSTMCell

    def _first_bias(self, zeros: Any) -> Any:
        zeros[self.units : 2 * self.units] = np.asarray(self.forget_bias, zeros.dtype)
        return zeros


@dataclass(eq=False)
class GRU(Recurrent):
    """Gated recurrent unit, with the reset gate behind the recurrent product.

        r = σ(x · W_r + h · U_r + b_r)        what of the past the news depends on
        z = σ(x · W_z + h · U_z + b_z)        what is kept
        n = φ(x · W_n + b_n + r ⊙ (h · U_n + b_m))
        h′ = (1 − z) ⊙ n + z ⊙ h

    Parameters: W, (features, 3 · units), U, (units, 3 · units), with r, z, n beside each other, and b, (4 ·
    units,), with those of r, z, n and m; b begins at 0. Cho et al. 2014, arXiv:1406.1078. There r acts on h
    before the product; behind it, all gates share one product, as cuDNN and PyTorch have it, whose numbers
    these are. Arguments: those of `Recurrent`.
    """

    cell_type: ClassVar[type[Cell]] = GRUCell
