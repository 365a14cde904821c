"""Random masks for dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
from theano import tensor
from theano.sandbox.rng_mrg import MRG_RandomStreams

# The six numbers that start MRG31k3p must lie between 1 and its smaller modulus.
_SMALLER_MODULUS = 2147462579


class RandomMasks:
    """A stream of random masks, determined by a seed and the name of what uses them.

    Streams of different names are independent of each other, so adding a layer leaves the others' masks as
    they were.

    Parameters
    ----------
    seed : int
        The run's seed, at least 0.
    name : str
        Who uses the masks, `dropout_1` for one.

    Attributes
    ----------
    states : list of shared variables
        Where the stream stands: with these restored, it goes on with the same masks. One for each mask made
        so far.

    Notes
    -----
    MRG31k3p, L'Ecuyer & Touzin 2000, "Fast combined multiple recursive generators with multipliers of the
    form a = ±2^q ± 2^r", as Theano has it.
    """

    def __init__(self, seed: int, name: str) -> None:
        start = np.random.SeedSequence([seed, *name.encode()]).generate_state(6, np.uint32)
        self._name = name
        self._generator = MRG_RandomStreams([int(number) % (_SMALLER_MODULUS - 1) + 1 for number in start])
        self.states: list[Any] = []

    def keep(self, like: Any, rate: float) -> Any:
        """Make a mask that is new at each call of the compiled function.

        Parameters
        ----------
        like : symbolic tensor
            Its shape, number of dimensions and dtype are the mask's.
        rate : float
            The probability of 0, at least 0 and below 1.

        Returns
        -------
        symbolic tensor
            0 with probability `rate`, else 1 / (1 − rate); its mean is 1.
        """
        uniform = self._generator.uniform(like.shape, ndim=like.ndim, dtype=like.dtype)
        state = self._generator.state_updates[-1][0]
        state.name = f"{self._name}.random_{len(self.states) + 1}"
        self.states.append(state)
        kept = tensor.lt(uniform, np.asarray(1 - rate, like.dtype))
        return tensor.cast(kept, like.dtype) * np.asarray(1 / (1 - rate), like.dtype)
