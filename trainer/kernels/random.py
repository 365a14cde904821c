"""Random masks for dropout, and noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import theano
from theano import tensor

from trainer.kernels.activation import Activated, Dropped


class RandomMasks:
    """A stream of random masks, determined by a seed and the name of what uses them.

    Streams of different names are independent of each other, so adding a layer leaves the others' masks as
    they were. A mask is a function of the stream, of how many were drawn before, and of its shape: neither
    threads nor devices change it.

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
        so far: a vector of two int64, a key and the number of draws.

    Notes
    -----
    Philox4x32-10, Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", with the
    key from NumPy's `SeedSequence`.
    """

    def __init__(self, seed: int, name: str) -> None:
        self._seed, self._name = seed, name
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
            0 with probability `rate`, to within 2⁻³², else 1 / (1 − rate); its mean is 1.
        """
        return self.dropped(tensor.ones_like(like), rate)

    def dropped(self, x: Any, rate: float) -> Any:
        """Multiply a tensor by a mask that is new at each call of the compiled function.

        Parameters
        ----------
        x : symbolic tensor
            Of any shape; what is not float32 or float64 becomes the run's precision.
        rate : float
            The probability of 0, at least 0 and below 1.

        Returns
        -------
        symbolic tensor
            x ⊙ mask. This is one pass, which makes the mask as it goes; the gradient's pass makes it again.
            Where x comes from `trainer.kernels.activation` by relu, that is the same pass, and the gradient's
            needs no mask.
        """
        if x.dtype not in ("float32", "float64"):
            x = tensor.cast(x, theano.config.floatX)
        if str(theano.config.device) != "cpu":
            from trainer.kernels.device import activation as _activation  # noqa: F401 (Theano learns to use it)
        state = self._state()
        made = x.owner and x.owner.op
        if isinstance(made, Activated) and made.function == "relu" and not made.rate and rate:
            outputs = Activated("relu", rate)(*x.owner.inputs, state)
        else:
            outputs = Dropped(rate)(x, state)
        state.default_update = outputs[1]
        return outputs[0]

    def _state(self) -> Any:
        number = len(self.states) + 1
        sequence = np.random.SeedSequence([self._seed, *self._name.encode(), number])
        key = int(sequence.generate_state(1, np.uint64)[0].astype(np.int64))
        state = theano.shared(np.array([key, 0]), f"{self._name}.random_{number}")
        self.states.append(state)
        return state
