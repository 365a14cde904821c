"""Batch normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from theano import tensor

from trainer.errors import UsageError
from trainer.layers.arguments import positive, share
from trainer.layers.base import Builder, Layer, Shape

# The smallest that Theano's batch normalisation takes, whichever device it runs on.
LEAST_EPSILON = 1e-5


@dataclass(eq=False)
class BatchNorm(Layer):
    """Gives each feature the mean beta and the deviation gamma: gamma · (x − m) / √(v + epsilon) + beta.

    While training, m and v are the mean and the variance (that of the population, divided by n) of the batch;
    in evaluation they are the running mean and variance, which each training step moves:

        mean     ← momentum · mean     + (1 − momentum) · m
        variance ← momentum · variance + (1 − momentum) · v · n / (n − 1)

    A feature is a channel of images, (examples, channels, rows, columns), with n = examples · rows · columns;
    an element of vectors, (examples, features), with n = examples; or of sequences, (examples, time,
    features), with n = examples · time, masked steps included. Parameters: gamma, which begins at 1, and
    beta, at 0; buffers: mean, at 0, and variance, at 1.

    Parameters
    ----------
    momentum : float, default 0.9
        The share of the old running values that a step keeps, from 0 to below 1. (PyTorch calls the share of
        the new ones momentum: its 0.1 is 0.9 here.)
    epsilon : float, default 1e-5
        Added to the variance, against division by zero; at least 1e-5.

    Raises
    ------
    UsageError
        For an argument out of its range.

    Notes
    -----
    Ioffe & Szegedy 2015, arXiv:1502.03167. A Dense or Conv2D before it needs no bias: beta is one.
    """

    momentum: float = 0.9
    epsilon: float = LEAST_EPSILON

    def __post_init__(self) -> None:
        self.momentum, self.epsilon = share(self.momentum, "momentum"), positive(self.epsilon, "epsilon")
        if self.epsilon < LEAST_EPSILON:
            raise UsageError(f"epsilon={self.epsilon}: give a number of at least {LEAST_EPSILON}")

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Make gamma, beta and the running statistics."""
        self._feature = 1 if len(input_shape) == 3 else len(input_shape)
        features = input_shape[self._feature - 1 : self._feature]
        self._gamma = builder.parameter("gamma", features, 1.0)
        self._beta = builder.parameter("beta", features, "zeros")
        self._mean = builder.parameter("mean", features, "zeros", trained=False)
        self._variance = builder.parameter("variance", features, 1.0, trained=False)
        return input_shape

    def apply(self, x: Any, training: bool) -> Any:
        """Return x normalised by its own statistics while training, else by the running ones."""
        axes = tuple(axis for axis in range(x.ndim) if axis != self._feature)
        # Rounded up in floatX: Theano refuses a float32 that lies below its bound.
        epsilon = max(self.epsilon, float(np.nextafter(np.float32(LEAST_EPSILON), np.float32(1))))
        if not training:
            return tensor.nnet.bn.batch_normalization_test(
                x, self._gamma, self._beta, self._mean, self._variance, axes, epsilon
            )
        output = tensor.nnet.bn.batch_normalization_train(x, self._gamma, self._beta, axes, epsilon)[0]
        size = tensor.cast(x.size // self._gamma.size, x.dtype)
        # A batch of one says nothing about the variance; the maximum keeps 0 / 0 from the running one.
        unbiased = x.var(axis=axes) * size / tensor.maximum(size - 1, np.asarray(1, x.dtype))
        self.updates = {
            self._mean: self._moved(self._mean, x.mean(axis=axes)),
            self._variance: self._moved(self._variance, unbiased),
        }
        return output

    def _moved(self, running: Any, batch: Any) -> Any:
        kept, new = (np.asarray(part, running.dtype) for part in (self.momentum, 1 - self.momentum))
        return kept * running + new * batch
