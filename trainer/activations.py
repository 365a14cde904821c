"""The nonlinearities of layers, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from theano import tensor

from trainer.errors import UsageError, nearest

Activation = Callable[[Any], Any]


def linear(x: Any) -> Any:
    """Return x."""
    return x


def relu(x: Any) -> Any:
    """Return max(x, 0); the slope at 0 is 0, and what is not a number stays so."""
    return x * tensor.gt(x, 0)


def leaky_relu(x: Any) -> Any:
    """Return x where it is positive, else 0.01 · x (Maas, Hannun & Ng 2013)."""
    return x * tensor.switch(tensor.gt(x, 0), np.asarray(1, x.dtype), np.asarray(0.01, x.dtype))


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent of x."""
    return tensor.tanh(x)


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(−x))."""
    return tensor.nnet.sigmoid(x)


def softplus(x: Any) -> Any:
    """Return log(1 + exp(x))."""
    return tensor.nnet.softplus(x)


def elu(x: Any) -> Any:
    """Return x where it is positive, else exp(x) − 1 (Clevert et al. 2015, arXiv:1511.07289)."""
    # The exponential is kept from large x: it would overflow there, and its slope is computed where it is not
    # used.
    return tensor.switch(tensor.gt(x, 0), x, tensor.expm1(tensor.minimum(x, np.asarray(0, x.dtype))))


ACTIVATIONS: Mapping[str, Activation] = {
    function.__name__: function for function in (linear, relu, leaky_relu, tanh, sigmoid, softplus, elu)
}


def activation_named(name: str, key: str = "activation") -> Activation:
    """Find an activation.

    Parameters
    ----------
    name : str
        One of `ACTIVATIONS`.
    key : str
        What the message calls the argument.

    Raises
    ------
    UsageError
        For an unknown name, with the nearest one.
    """
    if name not in ACTIVATIONS:
        raise UsageError(f"{key}={name} is not an activation: {nearest(str(name), ACTIVATIONS)}")
    return ACTIVATIONS[name]
