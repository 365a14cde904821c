"""Constraints of parameters: what their updates may not exceed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from theano import tensor

from ._definition import Expression
from ._norms import default_axes, norm_constraint
from ._parameters import Updates, arithmetic_dtype, as_scalar, check_parameters, name_of
from ._patterns import matching


def max_norm_constraint(
    updates: Mapping[Any, Expression],
    params: Sequence[Any],
    max_norm: Expression,
    epsilon: Expression = 1e-7,
    axes: Sequence[int] | None = None,
    match: str | Sequence[str] = "*",
) -> Updates:
    """Bound what enters each unit of a network: `norm_constraint` on the updates of weights.

    Parameters
    ----------
    updates : mapping
        Shared variables with their updates, from any rule. It is left as it was.
    params : list of shared variables
        The parameters.
    max_norm : float or symbolic scalar
        The largest L2 norm of the weights that enter a unit, above 0.
    epsilon : float or symbolic scalar, default 1e-7
        Added to the norm, against division by zero.
    axes : sequence of int, optional
        The axes that one norm is taken over. By default those of `norm_constraint`; vectors and scalars, such
        as biases, are then left as they are.
    match : str or sequence of str, default "*"
        Patterns of the names of those parameters that are bounded.

    Returns
    -------
    OrderedDict
        A copy of `updates` in which those parameters are bounded.

    Raises
    ------
    ValueError
        For a parameter that `updates` lacks, that is no shared floating-point tensor or is given twice; for
        one of more than five dimensions without `axes`, and one that has not all of `axes`; for a pattern
        that fits no name.
    """
    return _constrained(
        updates,
        _weights(params, match, axes),
        lambda update, over: norm_constraint(update, max_norm, over, epsilon),
    )


def unit_norm_constraint(
    updates: Mapping[Any, Expression],
    params: Sequence[Any],
    epsilon: Expression = 1e-7,
    axes: Sequence[int] | None = None,
    match: str | Sequence[str] = "*",
) -> Updates:
    """Keep the L2 norm of what enters each unit of a network at 1.

    With n the norm over some axes of a parameter's update x, kept as dimensions of length 1::

        x / (epsilon + n)

    Parameters
    ----------
    updates : mapping
        Shared variables with their updates, from any rule. It is left as it was.
    params : list of shared variables
        The parameters.
    epsilon : float or symbolic scalar, default 1e-7
        Added to the norm, against division by zero.
    axes, match : optional
        As for `max_norm_constraint`.

    Returns
    -------
    OrderedDict
        A copy of `updates` in which those parameters are scaled.

    Raises
    ------
    ValueError
        As `max_norm_constraint` does.
    """

    def scaled(update: Expression, over: tuple[int, ...]) -> Expression:
        dtype = arithmetic_dtype(update.dtype)
        wide = tensor.cast(update, dtype)
        norm = tensor.sqrt(tensor.sum(tensor.sqr(wide), axis=over, keepdims=True))
        return tensor.cast(wide / (as_scalar("epsilon", epsilon, dtype) + norm), update.dtype)

    return _constrained(updates, _weights(params, match, axes), scaled)


def non_negative_constraint(
    updates: Mapping[Any, Expression], params: Sequence[Any], match: str | Sequence[str] = "*"
) -> Updates:
    """Put 0 in place of each element of a parameter that would be negative.

    Parameters
    ----------
    updates : mapping
        Shared variables with their updates, from any rule. It is left as it was.
    params : list of shared variables
        The parameters, those of one dimension too.
    match : str or sequence of str, default "*"
        Patterns of the names of those parameters that are bounded.

    Returns
    -------
    OrderedDict
        A copy of `updates` in which those parameters are bounded.

    Raises
    ------
    ValueError
        For a parameter that `updates` lacks, that is no shared floating-point tensor or is given twice; for
        a pattern that fits no name.
    """
    chosen = [(parameter, ()) for parameter in matching(match, check_parameters(params))]
    return _constrained(
        updates, chosen, lambda update, _: tensor.maximum(update, as_scalar("zero", 0, update.dtype))
    )


def _weights(
    params: Sequence[Any], match: str | Sequence[str], axes: Sequence[int] | None
) -> list[tuple[Any, tuple[int, ...]]]:
    """Give the parameters to bound, each with the axes that a norm of it is taken over."""
    chosen = matching(match, check_parameters(params))
    if axes is None:
        return [(parameter, default_axes(parameter)) for parameter in chosen if parameter.ndim >= 2]
    for parameter in chosen:
        for axis in axes:
            if not -parameter.ndim <= axis < parameter.ndim:
                raise ValueError(
                    f"axes={list(axes)}: {name_of(parameter)} has {parameter.ndim} dimensions and no axis "
                    f"{axis}; choose by match which parameters are bounded"
                )
    return [(parameter, tuple(axes)) for parameter in chosen]


def _constrained(
    updates: Mapping[Any, Expression],
    chosen: Sequence[tuple[Any, tuple[int, ...]]],
    bound: Callable[[Expression, tuple[int, ...]], Expression],
) -> Updates:
    constrained: Updates = OrderedDict(updates)
    for parameter, axes in chosen:
        if parameter not in updates:
            raise ValueError(f"updates has nothing for {name_of(parameter)}, which params names")
        constrained[parameter] = bound(updates[parameter], axes)
    return constrained
