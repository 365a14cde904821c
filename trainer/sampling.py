"""Text from a language model, one character after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray

from trainer.errors import UsageError
from trainer.models import Network


class Sampler:
    """Draws text from a network that gives logits of the next token at each step.

    One step is compiled, at the first call; the network's evaluation states carry what was read so far. A
    network that carries no states reads its last window of tokens anew for each character.

    Parameters
    ----------
    network : Network
        With its weights; outputs (time, vocabulary).
    vocabulary : sequence of str
        The tokens by number.

    Raises
    ------
    UsageError
        Where the network gives no logits for each step.
    """

    def __init__(self, network: Network, vocabulary: Sequence[str]) -> None:
        if len(network.input_shape) != 1 or network.output_shape[1:] != (len(vocabulary),):
            raise UsageError(
                f"the network gives {network.output_shape} for {network.input_shape}: sampling needs logits "
                f"of {len(vocabulary)} tokens for each step, as model=char_lstm has"
            )
        self.network = network
        self.vocabulary = tuple(vocabulary)
        self._numbers = {token: number for number, token in enumerate(vocabulary)}
        self._function: Any = None

    def __call__(self, prompt: str = "", length: int = 500, temperature: float = 1.0, seed: int = 0) -> str:
        """Return the text that follows the prompt.

        Parameters
        ----------
        prompt : str, default ""
            What comes before. Where it is empty, the text begins as after a line's end.
        length : int, default 500
            Characters to draw, at least 0.
        temperature : float, default 1
            The logits are divided by it: below 1 the text is more usual, above 1 more daring; 0 always takes
            the likeliest.
        seed : int, default 0
            The text is a function of it, of the weights and of the other arguments.

        Raises
        ------
        UsageError
            For an argument out of its range, and a character of the prompt that the vocabulary lacks.
        """
        if not 0 <= temperature < np.inf:
            raise UsageError(f"temperature={temperature}: give a number of at least 0")
        if length < 0:
            raise UsageError(f"length={length}: give a number of characters, at least 0")
        tokens = self._read(prompt)
        generator = np.random.default_rng(seed)
        first = len(tokens)
        self.network.reset_states(1, training=False)
        unread = tokens
        for _ in range(length):
            logits = self._logits(unread if self.network.carries_states else tokens)
            tokens.append(_draw(logits, temperature, generator))
            unread = tokens[-1:]
        return "".join(self.vocabulary[token] for token in tokens[first:])

    def _read(self, prompt: str) -> list[int]:
        if not prompt:
            return [self._numbers.get("\n", 0)]
        for place, character in enumerate(prompt, start=1):
            if character not in self._numbers:
                raise UsageError(
                    f"character {place} of the prompt, {character!r}, is not among the "
                    f"{len(self.vocabulary)} characters that the network was trained on; leave it out"
                )
        return [self._numbers[character] for character in prompt]

    def _logits(self, tokens: list[int]) -> NDArray[Any]:
        """Return the logits behind the last token."""
        if self._function is None:
            inputs = self.network.input_variable()
            output = self.network.output(inputs, training=False)[0, -1]
            updates = list(self.network.updates(training=False).items())
            self._function = theano.function([inputs], output, updates=updates)
        if not self.network.carries_states:
            tokens = tokens[-self.network.input_shape[0] :]
        logits: NDArray[Any] = self._function(np.array([tokens], np.int32))
        return logits


def _draw(logits: NDArray[Any], temperature: float, generator: np.random.Generator) -> int:
    if temperature == 0:
        return int(np.argmax(logits))
    scaled = logits.astype(np.float64)
    scaled = (scaled - scaled.max()) / temperature
    cumulated = np.cumsum(np.exp(scaled))
    place = np.searchsorted(cumulated, generator.random() * cumulated[-1], side="right")
    return min(int(place), len(logits) - 1)
