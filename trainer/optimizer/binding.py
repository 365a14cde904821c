"""Components of an optimizer: their numbers become shared scalars, and what they return is checked."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

from trainer.components import Component
from trainer.errors import UsageError
from trainer.hyperparameters import Hyperparameters
from trainer.signatures import check_arguments, provided_count

GRADIENTS = ("gradients",)
UPDATES = ("updates", "params")


def bind(component: Component, prefix: str, provided: int, hyperparameters: Hyperparameters) -> Component:
    """Give the component with a shared scalar in place of each number, its function's defaults included.

    An argument that the function annotates as `int` shapes the graph and stays a number.
    """
    accepted = list(inspect.signature(component.function).parameters.values())[provided:]
    structural = structural_arguments(component)
    defaults = {p.name: p.default for p in accepted if is_number(p.default)}
    arguments = {**defaults, **component.arguments}
    key = component.key or prefix or "optimizer"
    check_arguments(component.function, component.arguments, key, provided=provided)
    for name, value in arguments.items():
        if is_number(value) and name not in structural:
            arguments[name] = hyperparameters.add(f"{prefix}.{name}" if prefix else name, float(value))
    return replace(component, arguments=arguments, key=key)


def structural_arguments(component: Component) -> set[str]:
    """Return the names of the arguments that shape the graph."""
    parameters = inspect.signature(component.function).parameters.values()
    return {parameter.name for parameter in parameters if parameter.annotation in (int, "int")}


def takes_loss(component: Component) -> bool:
    """Return whether a component gives gradients of the loss, instead of changing gradients."""
    return next(iter(inspect.signature(component.function).parameters), None) == "loss"


def change_gradients(
    component: Component, prefix: str, gradients: list[Any], parameters: list[Any], bound: Hyperparameters
) -> tuple[list[Any], OrderedDict[Any, Any]]:
    """Apply a component to gradients; return them, and the updates of its states where it has some."""
    provided = provided_count(component.function, GRADIENTS, also="params")
    call = bind(component, prefix, provided, bound)
    result = call(gradients, parameters) if provided > 1 else call(gradients)
    states: Mapping[Any, Any] = {}
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        result, states = result
    return check_gradients(result, parameters, call), OrderedDict(states)


def check_gradients(changed: Any, parameters: Sequence[Any], component: Component) -> list[Any]:
    """Refuse anything but a list with one gradient for each parameter."""
    if not isinstance(changed, (list, tuple)) or len(changed) != len(parameters):
        raise UsageError(
            f"{component.key}: {called(component)} must return a list of {len(parameters)} gradients, "
            f"one for each parameter; it returned {_describe(changed)}"
        )
    return list(changed)


def check_updates(updates: Any, parameters: Sequence[Any], component: Component) -> OrderedDict[Any, Any]:
    """Refuse anything but a dictionary with an update of the right type for each parameter."""
    part, name = component.key, called(component)
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


def check_averages(result: Any, component: Component) -> tuple[OrderedDict[Any, Any], dict[Any, Any]]:
    """Refuse anything but a pair of updates and averages."""
    updates, averages = result if isinstance(result, tuple) and len(result) == 2 else (None, None)
    if not isinstance(updates, Mapping) or not isinstance(averages, Mapping):
        raise UsageError(
            f"{component.key}: {called(component)} must return two dictionaries, of updates and of averages "
            f"by variable; it returned {_describe(result)}"
        )
    return check_updates(updates, [], component), dict(averages)


def is_number(value: Any) -> bool:
    """Return whether a value is a number; a truth value is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def called(component: Component) -> str:
    """Return what a component's function is called."""
    return getattr(component.function, "__name__", str(component.function))


def _variable(variable: Any, index: int) -> str:
    return str(getattr(variable, "name", None) or f"variable {index + 1}")


def _describe(value: Any) -> str:
    length = f" of {len(value)}" if isinstance(value, (list, tuple)) else ""
    return f"a {type(value).__name__}{length}"
