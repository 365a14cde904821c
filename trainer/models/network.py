"""A list of layers, built: parameters, outputs, weights in files."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray
from theano import tensor

from trainer.errors import UsageError, nearest
from trainer.layers import Builder, Layer, Row, Shape, apply_layers


class Network:
    """Layers, one after another, with their parameters.

    Layers are named by kind and count, dense_1, dense_2, dropout_1, and parameters after them, dense_1.W.

    Parameters
    ----------
    layers : sequence of Layer
        From the input on; they belong to this network from now on.
    input_shape : tuple of int
        The shape of one input, without the batch axis.
    seed : int, default 0
        Determines the initial weights and the dropout masks; at least 0.
    input_dtype : str, optional
        Of the inputs: floatX where omitted, `int32` for the numbers of tokens.

    Attributes
    ----------
    parameters : list of shared variables
        What the update rule trains, in the order of the layers, floatX.
    buffers : list of shared variables
        What belongs to the weights and is not trained by gradients.
    output_shape : tuple of int
        The shape of one output, without the batch axis.

    Raises
    ------
    UsageError
        Where there is no layer, where a layer is used twice, and where a layer's input has a shape that it
        cannot take: the message names the layer, its place, and both shapes.
    """

    def __init__(
        self, layers: Sequence[Layer], input_shape: Shape, seed: int = 0, input_dtype: str | None = None
    ) -> None:
        if not layers:
            raise UsageError("model: the network has no layers; give it at least one")
        self.layers = tuple(layers)
        self.input_shape = tuple(input_shape)
        self.input_dtype = input_dtype
        self._builder = Builder(seed=seed)
        self.output_shape = self._builder.build_all(self.layers, self.input_shape)
        self.parameters = self._builder.parameters
        self.buffers = self._builder.buffers

    def input_variable(self) -> Any:
        """Make a symbolic batch of inputs, (examples, *input_shape)."""
        batch = tensor.TensorType(
            self.input_dtype or theano.config.floatX, (False,) * (1 + len(self.input_shape))
        )
        return batch("inputs")

    def output(self, x: Any, training: bool) -> Any:
        """Return the network's output for a batch.

        Parameters
        ----------
        x : symbolic tensor, (examples, *input_shape)
            The batch.
        training : bool
            Whether the output is for training (dropout drops) or for evaluation.

        Returns
        -------
        symbolic tensor, (examples, *output_shape)
        """
        return apply_layers(self.layers, x, training)[0]

    def updates(self, training: bool) -> dict[Any, Any]:
        """Return the new values of buffers and carried states of a training step or an evaluation.

        They are known once `output` was called for it.
        """
        kind = "updates" if training else "evaluation_updates"
        return {
            state: value for layer in self._builder.layers for state, value in getattr(layer, kind).items()
        }

    @property
    def penalty(self) -> Any:
        """What the layers add to the training loss: a symbolic scalar, or None where they add nothing."""
        return sum(self._builder.penalties) if self._builder.penalties else None

    @property
    def random_states(self) -> list[Any]:
        """Return the shared variables that say where the random streams stand; known once `output` was called
        for training."""
        return [state for masks in self._builder.masks for state in masks.states]

    @property
    def all_layers(self) -> list[Layer]:
        """Return the layers, and those inside them."""
        return self._builder.layers

    @property
    def has_masks(self) -> bool:
        """Whether a layer draws random numbers."""
        return bool(self._builder.masks)

    @property
    def evaluation_states(self) -> list[Any]:
        """Return the shared variables that are carried from one batch of an evaluation to the next."""
        return [carried.evaluation for carried in self._builder.carried]

    @property
    def carried_states(self) -> list[Any]:
        """Return the shared variables that are carried from one training batch to the next."""
        return [carried.training for carried in self._builder.carried]

    @property
    def carries_states(self) -> bool:
        """Whether a layer carries a state from one batch to the next."""
        return bool(self._builder.carried)

    def reset_states(self, batch_size: int, training: bool) -> None:
        """Begin anew with carried states of zeros, for so many examples a batch."""
        for carried in self._builder.carried:
            carried.reset(batch_size, training)

    def rows(self) -> list[Row]:
        """Return a row for each layer, for a table."""
        return self._builder.rows

    @property
    def largest_product(self) -> int:
        """At most how many multiplications the matrix product of one layer takes for one example."""
        positions, largest = 1, 0
        for row in self.rows():
            before, positions = positions, math.prod(row.output_shape[:-1])
            largest = max(largest, row.parameters * max(before, positions))
        return largest

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return copies of all parameters and buffers, by name."""
        return {variable.name: np.array(variable.get_value(), order="C") for variable in self._variables()}

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set all parameters and buffers, or none where something does not fit.

        Parameters
        ----------
        weights : mapping of str to array
            As `weights` gives them; numbers of another precision are converted.

        Raises
        ------
        UsageError
            For a name that is missing or unknown and for a shape that differs; the message names it.
        """
        variables = {variable.name: variable for variable in self._variables()}
        for name in weights:
            if name not in variables:
                raise UsageError(f"weights: the network has no {name}: {nearest(name, variables)}")
        for name, variable in variables.items():
            if name not in weights:
                raise UsageError(f"weights: {name} is missing; the network needs {', '.join(variables)}")
            wanted, got = variable.get_value(borrow=True).shape, np.shape(weights[name])
            if wanted != got:
                raise UsageError(f"weights: {name} has the shape {got}, but the network's has {wanted}")
        for name, variable in variables.items():
            variable.set_value(np.array(weights[name], dtype=variable.dtype, order="C"))

    def save(self, path: Path) -> None:
        """Write the weights to a safetensors file, replacing one that is there whole or not at all."""
        from safetensors.numpy import save

        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            beside.write_bytes(save(self.weights()))
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def load(self, path: Path) -> None:
        """Set the weights from a safetensors file.

        Raises
        ------
        UsageError
            Where the file cannot be read, is no safetensors file, or does not fit the network
            (`load_weights`).
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            weights = load(path.read_bytes())
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
        except SafetensorError as error:
            raise UsageError(f"{path}: is no sound safetensors file ({error})") from error
        try:
            self.load_weights(weights)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error

    def _variables(self) -> list[Any]:
        return self.parameters + self.buffers
