"""Networks for images."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.activations import activation_named
from trainer.errors import UsageError
from trainer.initialization import initialization_named
from trainer.layers import (
    Activation,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    Layer,
    MaxPool2D,
    Reshape,
    Residual,
)
from trainer.layers.arguments import count, share


def cnn(
    input_shape: tuple[int, ...],
    outputs: int,
    filters: Sequence[int] | int = (32, 32),
    kernel: int = 5,
    padding: str | int = "valid",
    pool: int = 2,
    hidden: Sequence[int] | int = (256,),
    activation: str = "relu",
    dropout: float = 0.5,
    initialization: str | float = "he_normal",
) -> list[Layer]:
    """Describe a convolutional network: convolutions with max pooling, dense layers, and one of logits.

    Each convolution is followed by pooling and then by the activation: since none of the activations ever
    falls, the largest one of a window is that of the largest element, at a fraction of the work.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, rows, columns), or (rows, columns) for one channel; given by the data.
    outputs : int
        Logits, one a class; given by the data.
    filters : list of int or int, default [32, 32]
        Of each convolution, from the input on.
    kernel : int, default 5
        Rows and columns of each filter.
    padding : str or int, default "valid"
        Around each convolution's input: `valid` (none), `same` (the size stays) or pixels.
    pool : int, default 2
        Rows and columns of a pooling window; 1 for no pooling.
    hidden : list of int or int, default [256]
        Units of each dense layer.
    activation : str, default "relu"
        Of all layers but the last: one of `trainer.activations`.
    dropout : float, default 0.5
        The share of units dropped after each dense layer.
    initialization : str or float, default "he_normal"
        Of all weights: one of `trainer.initialization`, or a number for all.

    Raises
    ------
    UsageError
        For an argument that is not allowed; the message names its key.
    """
    activation_named(activation, "model.activation")
    initialization_named(initialization, "model.initialization")
    count(kernel, "model.kernel")
    is_pooled = count(pool, "model.pool") > 1
    layers = _channels(input_shape, "cnn")
    for number in _counts(filters, "model.filters"):
        layers.append(Conv2D(number, kernel, padding=padding, initialization=initialization))
        layers += [MaxPool2D(pool)] if is_pooled else []
        layers.append(Activation(activation))
    layers.append(Flatten())
    for units in _counts(hidden, "model.hidden"):
        layers.append(Dense(units, activation, initialization))
        layers += [Dropout(dropout)] if share(dropout, "model.dropout") else []
    return [*layers, Dense(outputs, "linear", initialization)]


def resnet(
    input_shape: tuple[int, ...],
    outputs: int,
    filters: Sequence[int] | int = (16, 32, 64),
    blocks: int = 2,
    dropout: float = 0.0,
    initialization: str | float = "he_normal",
) -> list[Layer]:
    """Describe a small residual network with batch normalisation, made for images of 28 × 28 or 32 × 32.

    A convolution of 3 × 3; stages of residual blocks, of which each later one halves rows and columns in its
    first block; the mean over the image; a dense layer of logits. A block is two convolutions of 3 × 3, each
    with batch normalisation, beside the input itself, or a convolution of 1 × 1 where the shape changes. The
    defaults have 2 · 3 · blocks + 2 = 14 layers with weights.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, rows, columns), or (rows, columns) for one channel; given by the data.
    outputs : int
        Logits, one a class; given by the data.
    filters : list of int or int, default [16, 32, 64]
        Of each stage.
    blocks : int, default 2
        Of each stage, at least 1.
    dropout : float, default 0
        The share of channels' means dropped before the logits.
    initialization : str or float, default "he_normal"
        Of all weights: one of `trainer.initialization`, or a number for all.

    Raises
    ------
    UsageError
        For an argument that is not allowed; the message names its key.

    Notes
    -----
    He, Zhang, Ren & Sun 2015, arXiv:1512.03385, section 4.2, with projections in place of padded shortcuts.
    """
    initialization_named(initialization, "model.initialization")
    stages = _counts(filters, "model.filters")
    if not stages:
        raise UsageError("model.filters is empty: give a number of filters for each stage")
    layers = [
        *_channels(input_shape, "resnet"),
        *_convolution(stages[0], 3, 1, initialization),
        Activation("relu"),
    ]
    channels = stages[0]
    for stage, width in enumerate(stages):
        for block in range(count(blocks, "model.blocks")):
            stride = 2 if stage and not block else 1
            layers.append(_block(channels, width, stride, initialization))
            channels = width
    layers.append(GlobalPool("average"))
    layers += [Dropout(dropout)] if share(dropout, "model.dropout") else []
    return [*layers, Dense(outputs, "linear", initialization)]


def _block(channels: int, filters: int, stride: int, initialization: str | float) -> Residual:
    changes = stride != 1 or channels != filters
    return Residual(
        [
            *_convolution(filters, 3, stride, initialization),
            Activation("relu"),
            *_convolution(filters, 3, 1, initialization),
        ],
        _convolution(filters, 1, stride, initialization) if changes else [],
        "relu",
    )


def _convolution(filters: int, kernel: int, stride: int, initialization: str | float) -> list[Layer]:
    convolution = Conv2D(filters, kernel, stride, kernel // 2, initialization=initialization, bias=False)
    return [convolution, BatchNorm()]


def _channels(input_shape: tuple[int, ...], model: str) -> list[Layer]:
    """Return what makes images of the inputs."""
    if len(input_shape) == 2:
        return [Reshape([1, *input_shape])]
    if len(input_shape) != 3:
        raise UsageError(
            f"model={model} takes images (channels, rows, columns), but the data's inputs have the shape "
            f"{tuple(input_shape)}: choose model=mlp, or begin model=layers with a reshape"
        )
    return []


def _counts(value: Sequence[int] | int, key: str) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return [count(number, f"{key}[{place}]") for place, number in enumerate(values)]
