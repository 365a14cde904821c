"""Recurrent networks: for classes or values of sequences, and language models of characters."""

from __future__ import annotations

from trainer.errors import UsageError, nearest
from trainer.layers import (
    GRU,
    LSTM,
    Dense,
    Dropout,
    Embedding,
    ImageRows,
    Layer,
    Masking,
    OneHot,
    SimpleRNN,
)
from trainer.layers.arguments import count, share

CELLS = {layer.kind: layer for layer in (LSTM, GRU, SimpleRNN)}


def lstm(
    input_shape: tuple[int, ...],
    outputs: int,
    vocabulary: int | None = None,
    units: int = 128,
    layers: int = 1,
    cell: str = "lstm",
    bidirectional: bool = False,
    dropout: float = 0.0,
    embedding: int = 64,
    padding: float | None = None,
) -> list[Layer]:
    """Describe a recurrent network for whole sequences: recurrent layers, and a dense one on the last state.

    Takes sequences of vectors, (time, features); images, (channels, rows, columns), read row by row; and
    tokens, (time,), through an embedding.

    Parameters
    ----------
    input_shape : tuple of int
        The shape of one input; given by the data.
    outputs : int
        Logits or values; given by the data.
    vocabulary : int, optional
        How many tokens there are; given by data of tokens.
    units : int, default 128
        Of each recurrent layer.
    layers : int, default 1
        Recurrent layers, at least 1.
    cell : str, default "lstm"
        Their kind: `lstm`, `gru` or `simplernn`.
    bidirectional : bool, default False
        Whether each layer also reads from the end, with as many units again.
    dropout : float, default 0
        The share of units dropped behind each recurrent layer.
    embedding : int, default 64
        Numbers a token, where inputs are tokens.
    padding : float, optional
        What fills short sequences up behind their end: the number of a token, or the value of all features
        of a step. Such steps are passed over; none where omitted.

    Raises
    ------
    UsageError
        For an argument that is not allowed, and for inputs that are no sequences; the message names the key.
    """
    if cell not in CELLS:
        raise UsageError(f"model.cell={cell} is not a recurrent layer: {nearest(cell, CELLS)}")
    count(units, "model.units")
    network = _sequence(input_shape, vocabulary, embedding, padding)
    depth = count(layers, "model.layers")
    for number in range(1, depth + 1):
        network.append(CELLS[cell](units, return_sequences=number < depth, bidirectional=bidirectional))
        network += [Dropout(dropout)] if share(dropout, "model.dropout") else []
    return [*network, Dense(outputs, "linear", "glorot_uniform")]


def char_lstm(
    input_shape: tuple[int, ...],
    outputs: int,
    vocabulary: int | None = None,
    units: int = 256,
    layers: int = 1,
    embedding: int | None = None,
    dropout: float = 0.0,
    carry: bool = True,
) -> list[Layer]:
    """Describe a language model of characters: LSTM layers, and logits of the next character at each step.

    Takes tokens, (time,); gives (time, outputs).

    Parameters
    ----------
    input_shape : tuple of int
        The shape of one input; given by the data.
    outputs : int
        Logits a step; given by the data.
    vocabulary : int, optional
        How many characters there are; given by the data.
    units : int, default 256
        Of each LSTM layer.
    layers : int, default 1
        LSTM layers, at least 1.
    embedding : int, optional
        Numbers a character, trained; where omitted, a character is a vector with a 1 at its place.
    dropout : float, default 0
        The share of units dropped behind each LSTM layer.
    carry : bool, default True
        Whether the states go on from batch to batch, for batches that continue each other
        (`data.continuous`).

    Raises
    ------
    UsageError
        For an argument that is not allowed, and for data without a vocabulary; the message names the key.
    """
    if vocabulary is None or len(input_shape) != 1:
        raise UsageError(
            f"model=char_lstm takes text, but the inputs have the shape {input_shape}: choose data=text"
        )
    count(units, "model.units")
    network: list[Layer] = [
        OneHot(vocabulary)
        if embedding is None
        else Embedding(count(embedding, "model.embedding"), vocabulary)
    ]
    for _ in range(count(layers, "model.layers")):
        network.append(LSTM(units, return_sequences=True, carry=carry))
        network += [Dropout(dropout)] if share(dropout, "model.dropout") else []
    return [*network, Dense(outputs, "linear", "glorot_uniform")]


def _sequence(
    input_shape: tuple[int, ...], vocabulary: int | None, embedding: int, padding: float | None
) -> list[Layer]:
    """Return the layers that make a sequence of vectors of the input."""
    if vocabulary is not None and len(input_shape) == 1:
        if padding is not None and padding != int(padding):
            raise UsageError(
                f"model.padding={padding}: give the number of a token, from 0 to {vocabulary - 1}"
            )
        token = None if padding is None else int(padding)
        return [Embedding(count(embedding, "model.embedding"), vocabulary, token)]
    if len(input_shape) not in (2, 3):
        raise UsageError(
            f"model=lstm takes sequences (time, features), images or tokens, but the inputs have the shape "
            f"{input_shape}: choose model=mlp"
        )
    images: list[Layer] = [ImageRows()] if len(input_shape) == 3 else []
    return images if padding is None else [*images, Masking(padding)]
