"""Averages of the parameters over the steps, kept beside them: exponential, Polyak's, stochastic."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import theano
from theano import tensor

from ._definition import Expression
from ._parameters import Updates, arithmetic_dtype, as_scalar, name_of

# A moment that rounding puts just before a whole number of spans counts as that number.
_ROUNDING = 1e-6


def exponential_average(
    updates: Mapping[Any, Expression],
    variables: Sequence[Any],
    clock: Any,
    decay: Expression = 0.999,
    rising: bool = False,
) -> tuple[Updates, dict[Any, Any]]:
    """Keep an exponential moving average of variables.

    For each variable p with update U[p], with the average a starting at the first value of p, and t the
    number of the update, counted from 1::

        a <- d * a + (1 - d) * U[p],  d = decay, or with `rising` d = min(decay, (1 + t) / (10 + t))

    Parameters
    ----------
    updates : mapping
        Shared variables with their updates, as a step leaves them. It is left as it was.
    variables : list of shared variables
        What is averaged: floating-point parameters, and what belongs to them (running statistics).
    clock : object
        The time of the coming update; not used by this average.
    decay : float or symbolic scalar, default 0.999
        The part of the average that each step keeps, at least 0 and below 1: it reaches about
        ``1 / (1 - decay)`` steps back.
    rising : bool, default False
        Whether the decay rises to its value, so that the first steps are soon forgotten.

    Returns
    -------
    updates : OrderedDict
        A copy of `updates` with the states ``<variable>.average`` (a) and one ``averaging.count`` (t).
    averages : dict
        Each variable to its average.

    Raises
    ------
    ValueError
        For a variable that `updates` lacks, and for a `decay` that is no scalar.

    References
    ----------
    Szegedy, Vanhoucke, Ioffe, Shlens and Wojna (2016), Rethinking the Inception architecture for computer
    vision. CVPR. arXiv:1512.00567. The rising decay is that of TensorFlow's ExponentialMovingAverage.
    """
    count = _count()
    following = count + 1
    kept = as_scalar("decay", decay, "float64")
    if rising:
        kept = tensor.minimum(kept, (1 + following) / (10 + following))
    extended, averages = _extended(
        updates, variables, lambda average, new: average + _like(1 - kept, new) * (new - average)
    )
    extended[count] = following
    return extended, averages


def polyak_average(
    updates: Mapping[Any, Expression], variables: Sequence[Any], clock: Any, start: Expression = 0.0
) -> tuple[Updates, dict[Any, Any]]:
    """Keep the mean of all values that variables have had since a moment of the run.

    For each variable p with update U[p], with n the number of updates since the start, this one included::

        a <- a + (U[p] - a) / n

    and before the start a <- U[p].

    Parameters
    ----------
    updates, variables
        As for `exponential_average`.
    clock : object
        The time of the coming update: its symbolic scalar ``progress`` is the part of the run that is done
        with it, up to 1.
    start : float or symbolic scalar, default 0
        How much of the run is done before the first value counts, at least 0 and below 1.

    Returns
    -------
    updates, averages
        As of `exponential_average`; ``averaging.count`` is n.

    Raises
    ------
    ValueError
        For a variable that `updates` lacks, and for a `start` that is no scalar.

    References
    ----------
    Polyak and Juditsky (1992), Acceleration of stochastic approximation by averaging. SIAM Journal on Control
    and Optimization 30(4), 838-855.
    """
    count = _count()
    following = count + tensor.cast(_is_past(clock.progress, start), "float64")
    extended, averages = _extended(
        updates, variables, lambda average, new: _mean_with(average, new, following)
    )
    extended[count] = following
    return extended, averages


def stochastic_average(
    updates: Mapping[Any, Expression],
    variables: Sequence[Any],
    clock: Any,
    start: Expression = 0.75,
    every: Expression = 1.0,
) -> tuple[Updates, dict[Any, Any]]:
    """Keep the mean of samples of variables, one at the end of each span of epochs (SWA).

    For each variable p with update U[p], at each step that ends a span of `every` epochs after the start,
    with n the number of such steps so far, this one included::

        a <- a + (U[p] - a) / n

    At other steps a stays; until the first sample a <- U[p].

    Parameters
    ----------
    updates, variables
        As for `exponential_average`. The paper computes the statistics of batch normalization anew for the
        averaged weights; here their running values are averaged as the weights are.
    clock : object
        The time of the coming update: its symbolic scalars ``epoch``, the epochs that are done with it, and
        ``progress``, the part of the run that is.
    start : float or symbolic scalar, default 0.75
        How much of the run is done before a sample is taken, at least 0 and below 1.
    every : float or symbolic scalar, default 1
        Epochs from one sample to the next, above 0.

    Returns
    -------
    updates, averages
        As of `exponential_average`; ``averaging.count`` is n, and ``averaging.span`` the number of spans that
        are done.

    Raises
    ------
    ValueError
        For a variable that `updates` lacks, and for a `start` or an `every` that is no scalar.

    References
    ----------
    Izmailov, Podoprikhin, Garipov, Vetrov and Wilson (2018), Averaging weights leads to wider optima and
    better generalization. UAI. arXiv:1803.05407.
    """
    count, span = _count(), theano.shared(np.zeros(()), name="averaging.span")
    done = tensor.floor(clock.epoch / as_scalar("every", every, "float64") + _ROUNDING)
    sampled = tensor.gt(done, span) * _is_past(clock.progress, start)
    following = count + tensor.cast(sampled, "float64")

    def average_of(average: Expression, new: Expression) -> Expression:
        follows = tensor.or_(sampled, tensor.eq(following, 0))
        return tensor.switch(follows, _mean_with(average, new, following), average)

    extended, averages = _extended(updates, variables, average_of)
    extended[count], extended[span] = following, done
    return extended, averages


def _count() -> Any:
    return theano.shared(np.zeros(()), name="averaging.count")


def _is_past(progress: Expression, start: Expression) -> Expression:
    """Whether the start is over, in float32: a float32 of 0.9 is less than 0.9."""
    return tensor.gt(tensor.cast(progress, "float32"), as_scalar("start", start, "float32"))


def _mean_with(average: Expression, new: Expression, count: Expression) -> Expression:
    share = _like(1 / tensor.maximum(count, 1), new)
    return tensor.switch(tensor.le(count, 1), new, average + share * (new - average))


def _like(scalar: Expression, new: Expression) -> Expression:
    return tensor.cast(scalar, new.dtype)


def _extended(
    updates: Mapping[Any, Expression],
    variables: Sequence[Any],
    average_of: Callable[[Expression, Expression], Expression],
) -> tuple[Updates, dict[Any, Any]]:
    extended: Updates = OrderedDict(updates)
    averages: dict[Any, Any] = {}
    for index, variable in enumerate(variables):
        if variable not in updates:
            raise ValueError(f"updates has nothing for {name_of(variable, index)}, which is to be averaged")
        average = theano.shared(
            np.array(variable.get_value()),
            name=f"{variable.name}.average" if variable.name else None,
            broadcastable=variable.broadcastable,
        )
        dtype = arithmetic_dtype(variable.dtype)
        new = average_of(tensor.cast(average, dtype), tensor.cast(updates[variable], dtype))
        extended[average] = tensor.cast(new, variable.dtype)
        averages[variable] = average
    return extended, averages
