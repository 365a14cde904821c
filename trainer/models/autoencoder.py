"""Networks that give back their input."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainer.activations import activation_named
from trainer.errors import UsageError
from trainer.initialization import initialization_named
from trainer.layers import Dense, Flatten, Layer
from trainer.layers.arguments import count


def autoencoder(
    input_shape: tuple[int, ...],
    outputs: int,
    hidden: Sequence[int] | int = (256, 128),
    code: int = 32,
    activation: str = "relu",
    output_activation: str = "sigmoid",
    initialization: str | float = "he_normal",
) -> list[Layer]:
    """Describe an autoencoder: dense layers down to a short code, and the same sizes up to the input's again.

    Parameters
    ----------
    input_shape : tuple of int
        The shape of one input; given by the data. What is no vector is flattened.
    outputs : int
        The number of values of an input; given by the objective `reconstruction`.
    hidden : list of int or int, default [256, 128]
        Units of the layers from the input to the code; from the code to the output they stand in reverse.
    code : int, default 32
        Units of the code, whose activation is linear.
    activation : str, default "relu"
        Of the hidden layers: one of `trainer.activations`.
    output_activation : str, default "sigmoid"
        Of the output: `sigmoid` for inputs from 0 to 1; `linear` for others, and for an objective that takes
        logits.
    initialization : str or float, default "he_normal"
        Of all weights: one of `trainer.initialization`, or a number for all.

    Raises
    ------
    UsageError
        For an argument that is not allowed, and for an objective that wants something else than the input.
    """
    size = math.prod(input_shape)
    if outputs != size:
        raise UsageError(
            f"model=autoencoder gives back the {size} values of an input, but the objective needs {outputs} "
            "numbers: choose objective=reconstruction"
        )
    activation_named(activation, "model.activation")
    activation_named(output_activation, "model.output_activation")
    initialization_named(initialization, "model.initialization")
    sizes = [hidden] if isinstance(hidden, int) else list(hidden)
    units = [count(number, f"model.hidden[{place}]") for place, number in enumerate(sizes)]
    return [
        *([Flatten()] if len(input_shape) != 1 else []),
        *[Dense(number, activation, initialization) for number in units],
        Dense(count(code, "model.code"), "linear", initialization),
        *[Dense(number, activation, initialization) for number in reversed(units)],
        Dense(outputs, output_activation, initialization),
    ]
