"""The works by PyTorch, as its own users write them; started by a Python that has PyTorch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from serving import serve  # type: ignore[import-not-found]  # it lies beside this file
from torch import nn
from torch.nn import functional

Pass = Callable[[Iterator[Any]], None]
THREADS, FOLDER = int(sys.argv[1]), Path(sys.argv[2])


@cache
def images() -> tuple[Any, Any]:
    with np.load(FOLDER / "images.npz") as file:
        inputs = torch.from_numpy(file["inputs"].astype("float32") / 255)
        return inputs, torch.from_numpy(file["targets"].astype("int64"))


def image_batches(size: int, flat: bool) -> Iterator[Any]:
    inputs, targets = images()
    inputs = inputs.flatten(1) if flat else inputs
    while True:
        order = torch.randperm(len(inputs))
        for at in range(0, len(order), size):
            places = order[at : at + size]
            yield inputs[places], targets[places]


def classifier(network: Any, optimizer: Any, compiled: bool) -> Pass:
    forward = torch.compile(network) if compiled else network
    criterion = nn.CrossEntropyLoss()

    def train(batches: Iterator[Any]) -> None:
        for inputs, targets in batches:
            optimizer.zero_grad()
            loss = criterion(forward(inputs), targets)
            loss.backward()
            optimizer.step()

    return train


def small_mlp(compiled: bool) -> tuple[Pass, Iterator[Any]]:
    network = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, fused=True)
    return classifier(network, optimizer, compiled), image_batches(128, flat=True)


def mnist_mlp(compiled: bool) -> tuple[Pass, Iterator[Any]]:
    network = nn.Sequential(
        *(nn.Dropout(0.2), nn.Linear(784, 800), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(800, 800), nn.ReLU(), nn.Dropout(0.5), nn.Linear(800, 10)),
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True)
    return classifier(network, optimizer, compiled), image_batches(500, flat=True)


def mnist_cnn(compiled: bool) -> tuple[Pass, Iterator[Any]]:
    network = nn.Sequential(
        *(nn.Conv2d(1, 32, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(32, 32, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10)),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    return classifier(network, optimizer, compiled), image_batches(500, flat=False)


class Characters(nn.Module):  # type: ignore[misc]
    """An LSTM over vectors with a 1 at the character's place, and the logits of the next one."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.lstm = nn.LSTM(vocabulary, 256, batch_first=True)
        self.logits = nn.Linear(256, vocabulary)

    def forward(self, tokens: Any, states: Any) -> Any:
        values, states = self.lstm(functional.one_hot(tokens, self.vocabulary).float(), states)
        return self.logits(values), states


def char_lstm(compiled: bool) -> tuple[Pass, Iterator[Any]]:
    tokens = torch.from_numpy(np.load(FOLDER / "tokens.npy").astype("int64"))
    vocabulary = int(tokens.max()) + 1
    network = Characters(vocabulary)
    forward = torch.compile(network) if compiled else network
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, fused=True)
    streams = tokens[: len(tokens) // 64 * 64].reshape(64, -1)

    def batches() -> Iterator[Any]:
        while True:
            for at in range(0, streams.shape[1] - 64, 64):
                yield streams[:, at : at + 64], streams[:, at + 1 : at + 65]

    states: Any = (torch.zeros(1, 64, 256), torch.zeros(1, 64, 256))

    def train(given: Iterator[Any]) -> None:
        nonlocal states
        for inputs, targets in given:
            optimizer.zero_grad()
            logits, states = forward(inputs, states)
            states = tuple(state.detach() for state in states)
            functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5)
            optimizer.step()

    return train, batches()


WORKS = {"small_mlp": small_mlp, "mnist_mlp": mnist_mlp, "mnist_cnn": mnist_cnn, "char_lstm": char_lstm}


@cache
def made(work: str, form: str) -> tuple[Pass, Iterator[Any]]:
    torch.manual_seed(0)
    return WORKS[work](form == "compiled")


def answer(work: str, form: str, count: int) -> float:
    """Give the seconds of so many steps."""
    train, batches = made(work, form)
    start = time.perf_counter()
    train(batch for _, batch in zip(range(count), batches, strict=False))
    return time.perf_counter() - start


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    serve(answer)
