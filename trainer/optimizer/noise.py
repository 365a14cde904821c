"""Noise on gradients by counting: one pass over each, and a state of two numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import theano

from trainer import updates
from trainer.kernels.normal import noisy


def gradient_noise(
    gradients: Sequence[Any], params: Sequence[Any], eta: Any = 0.01, gamma: Any = 0.55, seed: int = 0
) -> tuple[list[Any], Any]:
    """Add normal noise to gradients, as `trainer.updates.gradient_noise` does, by `NormalNoise`.

    Parameters
    ----------
    gradients, params, eta, gamma, seed
        As for `trainer.updates.gradient_noise`.

    Returns
    -------
    gradients : list of symbolic expressions
        The noisy gradients, each of its own type.
    updates : OrderedDict
        The states with their updates: ``noise.step``, and for each parameter ``<parameter>.noise``, a key and
        the number of draws. With these restored, the noise goes on with the same numbers, by any number of
        threads.

    Raises
    ------
    ValueError
        As `trainer.updates.gradient_noise` does.
    """

    def add(x: Any, deviation: Any, number: int) -> tuple[Any, Any, Any]:
        sequence = np.random.SeedSequence([seed, *b"gradient_noise", number])
        key = int(sequence.generate_state(1, np.uint64)[0].astype(np.int64))
        state = theano.shared(np.array([key, 0]))
        added, following = noisy(x, deviation, state)
        return added, state, following

    return updates.gradient_noise(gradients, params, eta, gamma, seed, source=add)
