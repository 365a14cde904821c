"""Lookahead: slow weights that follow those of any rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from theano import tensor

from ._assembly import RuleUpdates, extend
from ._definition import Definition, Expression
from ._parameters import Updates, check_parameters, name_of


def lookahead(
    updates: Mapping[Any, Expression],
    params: Sequence[Any],
    k: Expression = 5,
    alpha: Expression = 0.5,
) -> Updates:
    """Let slow weights follow the fast ones of any rule, a part of the way at every k-th step.

    For each parameter p with update U[p], with the slow weights s starting at the first value of p::

        p <- U[p]

    and at every k-th step instead::

        s <- s + alpha * (U[p] - s)
        p <- s

    The rule's own state goes on through that, as in the paper's experiments by default.

    Parameters
    ----------
    updates : mapping
        Shared variables with their updates, from any rule. It is left as it was.
    params : list of shared variables
        The variables that look ahead.
    k : float or symbolic scalar, default 5
        How many steps the fast weights go before the slow ones follow, at least 1. Where it changes during
        training, the slow ones follow as soon as that many steps were made since they did.
    alpha : float or symbolic scalar, default 0.5
        Which part of the way the slow weights go, above 0 and at most 1.

    Returns
    -------
    OrderedDict
        A copy of `updates` in which `params` look ahead, with the state ``<parameter>.wrapper.slow`` (s), and
        one ``wrapper.since`` for all, the steps since the slow weights followed.

    Raises
    ------
    ValueError
        For a parameter that `updates` lacks, that is no shared floating-point tensor or is given twice, and
        for a `k` or an `alpha` that is no scalar.

    References
    ----------
    Zhang, Lucas, Hinton and Ba (2019), Lookahead optimizer: k steps forward, 1 step back. NeurIPS 32.
    arXiv:1907.08610.
    """
    parameters = check_parameters(params)
    for index, parameter in enumerate(parameters):
        if parameter not in updates:
            raise ValueError(f"updates has nothing for {name_of(parameter, index)}, which params names")
    wrapped = RuleUpdates(updates)
    fast = [updates[parameter] for parameter in parameters]
    values = {"k": k, "alpha": alpha}
    extend(wrapped, lambda _: _DEFINITION, parameters, fast, values, prefix="wrapper.")
    return wrapped


def _follow(
    parameter: Expression, fast: Expression, slow: Expression, *, since: Expression, alpha: Expression
) -> tuple[Expression, ...]:
    follows = tensor.eq(since, 0)
    followed = slow + alpha * (fast - slow)
    return tensor.switch(follows, followed, fast), tensor.switch(follows, followed, slow)


def _count(since: Expression, k: Expression) -> Expression:
    return tensor.switch(tensor.ge(since + 1, k), 0, since + 1)


_DEFINITION = Definition.of(_follow, shared={"since": _count}, starts={"slow": np.array})
