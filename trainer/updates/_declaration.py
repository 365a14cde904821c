"""From a definition to the function that people call: rules and wrappers, declared by a decorator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast, overload

from ._assembly import RuleUpdates, assemble, extend, is_structural
from ._definition import Definition, Expression, Start
from ._parameters import Updates, check_parameters, name_of


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


@overload
def update_rule(function: Callable[..., Any]) -> UpdateRule: ...


@overload
def update_rule(
    *,
    shared: Mapping[str, Callable[..., Expression]] | None = None,
    starts: Mapping[str, Start] | None = None,
    evaluated: str | None = None,
) -> Callable[[Callable[..., Any]], UpdateRule]: ...


def update_rule(
    function: Callable[..., Any] | None = None,
    *,
    shared: Mapping[str, Callable[..., Expression]] | None = None,
    starts: Mapping[str, Start] | None = None,
    evaluated: str | None = None,
) -> UpdateRule | Callable[[Callable[..., Any]], UpdateRule]:
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
        parameter, followed by the new states. It may reduce over its parameter, for a norm.
    shared : mapping of str to callable, optional
        Keyword-only arguments that are no hyperparameters but scalars which all parameters share, as
        ``step`` is. Each is a float64 state of its name that starts at 0, with a function of its old value
        that gives the new one, and that may take hyperparameters and ``step`` by their names.
    starts : mapping of str to callable, optional
        States with another first value: each with a function of the parameter's value, an array, that gives
        it. Its shape and type may be others than the parameter's; an axis that it keeps with length 1 is
        broadcast.
    evaluated : str, optional
        The state that must stand for the parameter wherever the network is evaluated or saved. The updates
        then say so by their attribute ``evaluated``, a dictionary of parameters.

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

    def declare(function: Callable[..., Any]) -> UpdateRule:
        definition = Definition.of(function, shared=shared, starts=starts, evaluated=evaluated)
        leading = [inspect.Parameter(name, _POSITIONAL) for name in ("loss_or_grads", "params")]
        return cast(UpdateRule, _declare(function, definition, leading, build))

    def build(
        definition: Definition, loss_or_grads: Expression, params: Sequence[Any], **values: Any
    ) -> Updates:
        return assemble(loss_or_grads, params, lambda _: definition, values)

    return declare if function is None else declare(function)


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
        wrapped = RuleUpdates(updates)
        extend(wrapped, lambda _: definition, parameters, changes, values, prefix="wrapper.")
        return wrapped

    leading = [
        inspect.Parameter("updates", _POSITIONAL),
        inspect.Parameter("params", _POSITIONAL, default=None),
    ]
    return cast(UpdateWrapper, _declare(function, Definition.of(function), leading, build))


_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


def _declare(
    function: Callable[..., Any],
    definition: Definition,
    leading: list[inspect.Parameter],
    build: Callable[..., Updates],
) -> Callable[..., Updates]:
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
    annotation = int if is_structural(hyperparameter) else inspect.Parameter.empty
    return hyperparameter.replace(kind=_POSITIONAL, annotation=annotation)
