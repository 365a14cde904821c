"""From a definition to the function that people call: the bookkeeping of all rules and wrappers."""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import theano

from ._definition import STEP, Definition, Expression
from ._parameters import (
    Updates,
    arithmetic_dtype,
    as_scalar,
    check_parameters,
    fit,
    get_gradients,
    is_number,
    name_of,
    zeros_like,
)


class UpdateRule(Protocol):
    """An update rule: gradients in, an ordered dictionary of updates out."""

    __name__: str
    definition: Definition

    def __call__(
        self, loss_or_grads: Expression, params: Sequence[Any], *values: Any, **hyperparameters: Any
    ) -> Updates:
        """Give the update of each parameter and of each state that the rule keeps."""


class UpdateWrapper(Protocol):
    """A wrapper: a finished dictionary of updates in, a changed copy out."""

    __name__: str
    definition: Definition

    def __call__(
        self,
        updates: Mapping[Any, Expression],
        params: Sequence[Any] | None = None,
        *values: Any,
        **hyperparameters: Any,
    ) -> Updates:
        """Give a copy of `updates` in which those of `params` are changed."""


def update_rule(function: Callable[..., Any]) -> UpdateRule:
    """Make an update rule from its mathematics for one parameter.

    The decorated function states how one parameter and its states change; everything else (gradients,
    state variables, types, checks, order) is added here. The result is called as
    ``rule(loss_or_grads, params, *hyperparameters)``, keeps the docstring, and holds the mathematics as
    ``rule.definition``.

    Parameters
    ----------
    function : callable
        ``function(parameter, gradient, state, ..., *, hyperparameter, ...)``. Each further positional
        argument is a state, which starts as zeros of the parameter's shape and is called
        ``<parameter>.<state>``. Each keyword-only argument is a hyperparameter, given to the function as a
        scalar of the parameter's type; ``step`` among them is the number of the update, counted from 1;
        one annotated as ``int``, and any value that is no number, is given as it is. Returns the new
        parameter, followed by the new states.

    Returns
    -------
    UpdateRule
        The rule.

    Raises
    ------
    TypeError
        Where the function's arguments are not as above.

    Examples
    --------
    >>> import numpy as np, theano
    >>> from theano import tensor
    >>> @update_rule
    ... def signed(parameter, gradient, *, learning_rate=0.01):
    ...     return parameter - learning_rate * tensor.sgn(gradient)
    >>> weights = theano.shared(np.array([1.0, -2.0]))
    >>> train = theano.function([], updates=signed((weights**2).sum(), [weights]))
    >>> _ = train()
    >>> weights.get_value()
    array([ 0.99, -1.99])
    """

    def build(
        definition: Definition, loss_or_grads: Expression, params: Sequence[Any], **values: Any
    ) -> Updates:
        parameters = check_parameters(params)
        gradients = get_gradients(loss_or_grads, parameters)
        updates: Updates = OrderedDict()
        _extend(updates, definition, parameters, gradients, values)
        return updates

    leading = [inspect.Parameter(name, _POSITIONAL) for name in ("loss_or_grads", "params")]
    return cast(UpdateRule, _declare(function, leading, build))


def update_wrapper(function: Callable[..., Any]) -> UpdateWrapper:
    """Make a wrapper around any update rule from its mathematics for one parameter.

    As `update_rule`, but the function's second argument is the change that the finished updates propose,
    ``updates[parameter] - parameter``, the result is called as ``wrapper(updates, params=None,
    *hyperparameters)``, and a state is called ``<parameter>.wrapper.<state>``, apart from the rule's own.

    Parameters
    ----------
    function : callable
        ``function(parameter, change, state, ..., *, hyperparameter, ...)``.

    Returns
    -------
    UpdateWrapper
        The wrapper.

    Raises
    ------
    TypeError
        Where the function's arguments are not as above.
    """

    def build(
        definition: Definition,
        updates: Mapping[Any, Expression],
        params: Sequence[Any] | None = None,
        **values: Any,
    ) -> Updates:
        parameters = check_parameters(list(updates) if params is None else params)
        for index, parameter in enumerate(parameters):
            if parameter not in updates:
                raise ValueError(f"updates has nothing for {name_of(parameter, index)}, which params names")
        changes = [updates[parameter] - parameter for parameter in parameters]
        wrapped: Updates = OrderedDict(updates)
        _extend(wrapped, definition, parameters, changes, values, prefix="wrapper.")
        return wrapped

    leading = [
        inspect.Parameter("updates", _POSITIONAL),
        inspect.Parameter("params", _POSITIONAL, default=None),
    ]
    return cast(UpdateWrapper, _declare(function, leading, build))


_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


def _declare(
    function: Callable[..., Any], leading: list[inspect.Parameter], build: Callable[..., Updates]
) -> Callable[..., Updates]:
    definition = Definition.of(function)
    signature = inspect.Signature([*leading, *(_public(p) for p in definition.hyperparameters)])

    @functools.wraps(function)
    def declared(*arguments: Any, **named: Any) -> Updates:
        bound = signature.bind(*arguments, **named)
        bound.apply_defaults()
        return build(definition, **bound.arguments)

    declared.__signature__ = signature  # type: ignore[attr-defined]
    declared.__annotations__ = {p.name: int for p in signature.parameters.values() if p.annotation is int}
    declared.definition = definition  # type: ignore[attr-defined]
    return declared


def _public(hyperparameter: inspect.Parameter) -> inspect.Parameter:
    annotation = int if _is_structural(hyperparameter) else inspect.Parameter.empty
    return hyperparameter.replace(kind=_POSITIONAL, annotation=annotation)


def _is_structural(hyperparameter: inspect.Parameter) -> bool:
    # An int shapes the graph (a number of iterations, say), so no symbolic scalar can stand for it.
    return hyperparameter.annotation in (int, "int")


def _extend(
    updates: Updates,
    definition: Definition,
    parameters: list[Any],
    signals: list[Expression],
    values: Mapping[str, Any],
    prefix: str = "",
) -> None:
    count = _StepCount(parameters, prefix) if definition.counts_steps else None
    for parameter, signal in zip(parameters, signals, strict=True):
        dtype = arithmetic_dtype(parameter.dtype)
        states = [zeros_like(parameter, prefix + name) for name in definition.states]
        scalars = {p.name: _argument(p, values[p.name], dtype) for p in definition.hyperparameters}
        if count is not None:
            scalars[STEP] = as_scalar(STEP, count.next, dtype)
        kept = [parameter, *states]
        tensors = [fit(variable, parameter, dtype) for variable in (parameter, signal, *states)]
        for variable, result in zip(kept, definition(*tensors, **scalars), strict=True):
            updates[variable] = fit(result, variable, variable.dtype)
    if count is not None:
        updates[count.variable] = count.next


class _StepCount:
    """The number of updates so far, one for all parameters of a call.

    It has the parameters' floating-point type, so that nothing is promoted to a wider one. A float32
    counts no further than 2**24 steps, where every bias correction has long been 1.
    """

    def __init__(self, parameters: list[Any], prefix: str) -> None:
        dtype = arithmetic_dtype(*(parameter.dtype for parameter in parameters))
        self.variable = theano.shared(np.zeros((), dtype=dtype), name=prefix + STEP)
        self.next = self.variable + np.ones((), dtype=dtype)


def _argument(hyperparameter: inspect.Parameter, value: Any, dtype: str) -> Any:
    """Give numbers and symbolic values as scalars of type `dtype`, and others as they are."""
    if _is_structural(hyperparameter):
        return value
    symbolic = isinstance(value, (np.ndarray, theano.gof.Variable))
    default = hyperparameter.default
    absent = value is None or isinstance(value, str)
    number_wanted = default is hyperparameter.empty or is_number(default)
    if symbolic or is_number(value) or (absent and number_wanted):
        return as_scalar(hyperparameter.name, value, dtype)
    return value
