"""The optimizer: gradients, clipping, update rule, wrapper and constraint in one dictionary of updates."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from trainer.components import Component
from trainer.errors import UsageError
from trainer.hyperparameters import Hyperparameters
from trainer.signatures import check_arguments
from trainer.updates import get_gradients


@dataclass(frozen=True)
class Optimizer:
    """What one training step does to the network.

    Parameters
    ----------
    updates : OrderedDict
        Each parameter and each state with the expression of its next value, for ``theano.function``.
    parameters : list of shared variables
        What is trained.
    state : list of shared variables
        What the update rule and the wrapper keep between steps.
    hyperparameters : Hyperparameters
        Every number of the update, by name.
    """

    updates: OrderedDict[Any, Any]
    parameters: list[Any]
    state: list[Any]
    hyperparameters: Hyperparameters


def build_optimizer(
    loss_or_grads: Any,
    parameters: Sequence[Any],
    *,
    rule: Component,
    clipping: Component | None = None,
    wrapper: Component | None = None,
    constraint: Component | None = None,
) -> Optimizer:
    """Compose one dictionary of updates: gradients, clipping, rule, wrapper, constraint, in this order.

    Every number among the components' arguments and their functions' defaults becomes a hyperparameter: the
    rule's under its own name (``learning_rate``), the others' behind their part's (``clipping.max_norm``).
    An argument that the function annotates as ``int`` shapes the graph and stays a number, and what is no
    number is handed on as it is.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    parameters : list of shared variables
        What is trained.
    rule : Component
        An update rule, ``function(gradients, parameters, **arguments)``, which gives a dictionary.
    clipping : Component, optional
        Bounds the gradients: ``function(gradients, **arguments)`` gives as many.
    wrapper : Component, optional
        Works on the updates of the parameters, and not on the rule's state:
        ``function(updates, parameters, **arguments)`` gives a dictionary.
    constraint : Component, optional
        Bounds the parameters, called as the wrapper is.

    Returns
    -------
    Optimizer
        The updates, with what they read and write.

    Raises
    ------
    UsageError
        Where a component lacks an argument, is given one that it does not know, refuses a value, or gives
        something else than described here.
    ValueError
        Where the loss, the gradients or the parameters are not what `trainer.updates.get_gradients` takes.
    """
    parameters = list(parameters)
    hyperparameters = Hyperparameters()
    signals = get_gradients(loss_or_grads, parameters)
    if clipping is not None:
        signals = _check_gradients(
            _bind(clipping, "clipping", 1, hyperparameters)(signals), signals, clipping
        )
    updates = _bind(rule, "", 2, hyperparameters)(signals, parameters)
    updates = _check_updates(updates, parameters, rule, "optimizer")
    for part, component in (("wrapper", wrapper), ("constraint", constraint)):
        if component is not None:
            updates = _bind(component, part, 2, hyperparameters)(updates, parameters)
            updates = _check_updates(updates, parameters, component, part)
    trained = set(parameters)
    state = [variable for variable in updates if variable not in trained]
    return Optimizer(updates, parameters, state, hyperparameters)


def _bind(component: Component, part: str, provided: int, hyperparameters: Hyperparameters) -> Component:
    """Give the component with a shared scalar in place of each number, its function's defaults included."""
    accepted = list(inspect.signature(component.function).parameters.values())[provided:]
    structural = {p.name for p in accepted if p.annotation in (int, "int")}
    defaults = {p.name: p.default for p in accepted if _is_number(p.default)}
    arguments = {**defaults, **component.arguments}
    key = component.key or part or "optimizer"
    check_arguments(component.function, component.arguments, key, provided=provided)
    for name, value in arguments.items():
        if _is_number(value) and name not in structural:
            arguments[name] = hyperparameters.add(f"{part}.{name}" if part else name, float(value))
    return replace(component, arguments=arguments, key=key)


def _check_gradients(clipped: Any, gradients: list[Any], clipping: Component) -> list[Any]:
    if not isinstance(clipped, (list, tuple)) or len(clipped) != len(gradients):
        raise UsageError(
            f"clipping: {_name(clipping)} must return a list of {len(gradients)} gradients, "
            f"one for each it was given; it returned {_describe(clipped)}"
        )
    return list(clipped)


def _check_updates(
    updates: Any, parameters: Sequence[Any], component: Component, part: str
) -> OrderedDict[Any, Any]:
    name = _name(component)
    if not isinstance(updates, Mapping):
        raise UsageError(
            f"{part}: {name} must return a dictionary of updates, shared variable: new value; "
            f"it returned {_describe(updates)}"
        )
    for index, parameter in enumerate(parameters):
        if parameter not in updates:
            raise UsageError(
                f"{part}: {name} returned no update for {_variable(parameter, index)}; "
                "its dictionary must have one for each parameter"
            )
    for index, (variable, update) in enumerate(updates.items()):
        given, kept = getattr(update, "dtype", None), getattr(variable, "dtype", None)
        if given is not None and given != kept:
            raise UsageError(
                f"{part}: {name} makes {given} of {_variable(variable, index)}, which is {kept}; "
                "end its expression with .astype(variable.dtype)"
            )
    return OrderedDict(updates)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _name(component: Component) -> str:
    return getattr(component.function, "__name__", str(component.function))


def _variable(variable: Any, index: int) -> str:
    return str(getattr(variable, "name", None) or f"variable {index + 1}")


def _describe(value: Any) -> str:
    length = f" of {len(value)}" if isinstance(value, (list, tuple)) else ""
    return f"a {type(value).__name__}{length}"
