"""Changes of gradients before they are clipped: noise, centralization."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import theano
from theano import tensor
from theano.sandbox.rng_mrg import MRG_RandomStreams, guess_n_streams

from ._definition import Expression
from ._norms import default_axes
from ._parameters import Updates, arithmetic_dtype, as_scalar, get_gradients
from ._patterns import matching

Source = Callable[[Expression, Expression, int], tuple[Expression, Any, Expression]]
"""From a tensor, a deviation and the tensor's number: the noisy tensor, a state, and its next value."""

# The six numbers that start MRG31k3p must lie between 1 and its smaller modulus.
_SMALLER_MODULUS = 2147462579


def gradient_noise(
    gradients: Sequence[Expression],
    params: Sequence[Any],
    eta: Expression = 0.01,
    gamma: Expression = 0.55,
    seed: int = 0,
    source: Source | None = None,
) -> tuple[list[Expression], Updates]:
    """Add normal noise to gradients, the less the more steps were made.

    With t the number of updates made before, 0 at the first, and z independent standard normal numbers, one
    for each element at each step::

        g <- g + sqrt(eta / (1 + t)**gamma) * z

    Parameters
    ----------
    gradients : list of symbolic expressions
        The gradients.
    params : list of shared variables
        Their parameters.
    eta : float or symbolic scalar, default 0.01
        The variance at the first step, at least 0. The paper tries 0.01, 0.3 and 1.
    gamma : float or symbolic scalar, default 0.55
        How fast the variance falls, at least 0; 0 keeps it.
    seed : int, default 0
        Determines the noise; at least 0.
    source : callable, optional
        What adds noise to one gradient, where that is not Theano's own generator: from the gradient, the
        deviation and the gradient's number, which begins at 0, to the noisy gradient, the shared variable
        where its stream stands, and that one's update. `seed` is then its own affair.

    Returns
    -------
    gradients : list of symbolic expressions
        The noisy gradients, each of its own type.
    updates : OrderedDict
        The states with their updates: ``noise.step`` (t), and for each parameter ``<parameter>.noise``, where
        its random stream stands. With these restored, the noise goes on with the same numbers.

    Raises
    ------
    ValueError
        As `get_gradients` does, and for an `eta` or a `gamma` that is no scalar.

    References
    ----------
    Neelakantan et al. (2015), Adding gradient noise improves learning for very deep networks.
    arXiv:1511.06807. The random numbers: L'Ecuyer and Touzin (2000), Fast combined multiple recursive
    generators with multipliers of the form a = ±2^q ± 2^r (MRG31k3p), as Theano has it.
    """
    parameters = list(params)
    given = get_gradients(list(gradients), parameters)
    step = theano.shared(np.zeros(()), name="noise.step")
    variance = as_scalar("eta", eta, "float64") / (1 + step) ** as_scalar("gamma", gamma, "float64")
    add = _theanos(seed, parameters) if source is None else source
    noisy: list[Expression] = []
    updates: Updates = OrderedDict()
    for number, (gradient, parameter) in enumerate(zip(given, parameters, strict=True)):
        wide = tensor.cast(gradient, arithmetic_dtype(gradient.dtype))
        added, state, following = add(wide, tensor.sqrt(variance), number)
        state.name = f"{parameter.name}.noise" if parameter.name else None
        updates[state] = following
        noisy.append(tensor.cast(added, gradient.dtype))
    updates[step] = step + 1
    return noisy, updates


def _theanos(seed: int, parameters: Sequence[Any]) -> Source:
    """Give what adds noise from Theano's generator."""
    start = np.random.SeedSequence([seed, *b"gradient_noise"]).generate_state(6, np.uint32)
    generator = MRG_RandomStreams([int(number) % (_SMALLER_MODULUS - 1) + 1 for number in start])

    def add(x: Expression, deviation: Expression, number: int) -> tuple[Expression, Any, Expression]:
        shape = parameters[number].get_value(borrow=True, return_internal_type=True).shape
        streams = guess_n_streams((int(np.prod(shape)),))
        noise = generator.normal(shape, ndim=len(shape), dtype=x.dtype, nstreams=streams)
        state, following = generator.state_updates[-1][:2]
        return x + tensor.cast(deviation, x.dtype) * noise, state, following

    return add


def gradient_centralization(
    gradients: Sequence[Expression], params: Sequence[Any], match: str | Sequence[str] = "*"
) -> list[Expression]:
    """Take the mean from the gradient of the weights that enter each unit.

    For each gradient g of two or more dimensions::

        g <- g - mean(g)

    the mean taken over what enters one unit: axis 0 for matrices of inputs by units; all but axis 0 for 3-D,
    4-D and 5-D tensors of convolution filters. Those of vectors and scalars, such as biases, stay as they
    are.

    Parameters
    ----------
    gradients : list of symbolic expressions
        The gradients.
    params : list of shared variables
        Their parameters.
    match : str or sequence of str, default "*"
        Patterns of the names of those parameters whose gradients are centralized.

    Returns
    -------
    list of symbolic expressions
        The gradients, each of its own type.

    Raises
    ------
    ValueError
        As `get_gradients` does; for a pattern that fits no name, and for a gradient of more than five
        dimensions.

    References
    ----------
    Yong, Huang, Hua and Zhang (2020), Gradient centralization: a new optimization technique for deep neural
    networks. ECCV. arXiv:2004.01461.
    """
    parameters = list(params)
    chosen = set(matching(match, parameters))
    return [
        _centralized(gradient) if parameter in chosen and gradient.ndim >= 2 else gradient
        for gradient, parameter in zip(get_gradients(list(gradients), parameters), parameters, strict=True)
    ]


def _centralized(gradient: Expression) -> Expression:
    wide = tensor.cast(gradient, arithmetic_dtype(gradient.dtype))
    mean = wide.mean(axis=default_axes(gradient), keepdims=True)
    return tensor.cast(wide - mean, gradient.dtype)
