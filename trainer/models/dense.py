"""Networks of dense layers."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.activations import activation_named
from trainer.errors import UsageError
from trainer.initialization import initialization_named
from trainer.layers import Dense, Dropout, Flatten, Layer
from trainer.layers.arguments import count, share


def softmax(
    input_shape: tuple[int, ...], outputs: int, initialization: str | float = "glorot_uniform"
) -> list[Layer]:
    """Describe multinomial logistic regression: one dense layer, whose outputs are logits.

    Parameters
    ----------
    input_shape : tuple of int
        The shape of one input; given by the data. What is no vector is flattened.
    outputs : int
        Logits, one a class; given by the data.
    initialization : str or float, default "glorot_uniform"
        Of the weights: one of `trainer.initialization`, or a number for all.

    Raises
    ------
    UsageError
        For an unknown initialisation.
    """
    return mlp(input_shape, outputs, hidden=[], initialization=initialization)


def mlp(
    input_shape: tuple[int, ...],
    outputs: int,
    hidden: Sequence[int] | int = (256, 128),
    activation: str = "relu",
    input_dropout: float = 0.0,
    dropout: Sequence[float] | float = 0.0,
    initialization: str | float = "he_normal",
) -> list[Layer]:
    """Describe a multilayer perceptron: hidden dense layers, then a dense layer whose outputs are logits.

    Parameters
    ----------
    input_shape : tuple of int
        The shape of one input; given by the data. What is no vector is flattened.
    outputs : int
        Logits, one a class; given by the data.
    hidden : list of int or int, default [256, 128]
        Units of each hidden layer, from the input on; a number is one layer.
    activation : str, default "relu"
        Of the hidden layers: one of `trainer.activations`.
    input_dropout : float, default 0
        The share of inputs dropped at each training step.
    dropout : float or list of float, default 0
        The share of units dropped after a hidden layer: one for all, or one for each.
    initialization : str or float, default "he_normal"
        Of all weights: one of `trainer.initialization`, or a number for all.

    Raises
    ------
    UsageError
        For an argument that is not allowed; the message names its key.
    """
    sizes = [hidden] if isinstance(hidden, int) else list(hidden)
    rates = list(dropout) if isinstance(dropout, Sequence) else [dropout] * len(sizes)
    if len(rates) != len(sizes):
        raise UsageError(
            f"model.dropout has {len(rates)} rates for {len(sizes)} hidden layers (model.hidden={sizes}): "
            "give one rate, or one for each hidden layer"
        )
    activation_named(activation, "model.activation")
    initialization_named(initialization, "model.initialization")
    layers: list[Layer] = [Flatten()] if len(input_shape) != 1 else []
    layers += _dropout(input_dropout, "model.input_dropout")
    for place, (units, rate) in enumerate(zip(sizes, rates, strict=True)):
        layers.append(Dense(count(units, f"model.hidden[{place}]"), activation, initialization))
        layers += _dropout(
            rate, f"model.dropout[{place}]" if isinstance(dropout, Sequence) else "model.dropout"
        )
    return [*layers, Dense(outputs, "linear", initialization)]


def _dropout(rate: float, key: str) -> list[Layer]:
    return [Dropout(rate)] if share(rate, key) else []
