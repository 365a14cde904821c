"""A function's signature against the arguments that a configuration gives."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, get_type_hints

from trainer.annotations import describe, fits
from trainer.errors import UsageError, nearest

# What the program gives a model function that has an argument of the name.
GIVEN_TO_MODELS = ("input_shape", "outputs", "vocabulary", "inputs", "training", "seed")


def provided_count(function: Callable[..., Any], provided: Sequence[str], also: str | None = None) -> int:
    """Return how many of its first arguments the program gives a function.

    Those of `provided`, whatever the function calls them, and one more where it calls that `also`.
    """
    names = list(inspect.signature(function).parameters)
    count = len(provided)
    return count + 1 if also is not None and names[count : count + 1] == [also] else count


def accepted(
    function: Callable[..., Any], provided: int = 0, named: Collection[str] = ()
) -> dict[str, inspect.Parameter] | None:
    """Return the parameters that a configuration may give, by name.

    Parameters
    ----------
    function : callable
        A function or a class.
    provided : int, default 0
        How many arguments the program gives itself, the first ones.
    named : collection of str, default ()
        The names of those that the program gives by name.

    Returns
    -------
    dict or None
        None where the function takes any name.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {
        parameter.name: parameter
        for parameter in parameters[provided:]
        if parameter.name not in named and parameter.kind is not parameter.VAR_POSITIONAL
    }


def annotation(function: Callable[..., Any], name: str) -> Any:
    """Return how a function or a class annotates an argument; `Any` where it does not."""
    owner = function.__init__ if inspect.isclass(function) else function
    return get_type_hints(owner).get(name, Any)


def check_type(function: Callable[..., Any], name: str, value: Any, key: str) -> None:
    """Refuse a value that does not fit its argument's annotation.

    Raises
    ------
    UsageError
        With the key below `key`, the value and what is allowed.
    """
    allowed = annotation(function, name)
    if not fits(value, allowed):
        raise UsageError(f"{key}.{name}={value!r} has the wrong type: give {describe(allowed)}")


def check_arguments(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    key: str,
    *,
    provided: int = 0,
    named: Collection[str] = (),
    called: str = "",
) -> None:
    """Refuse arguments that a function does not take, lacks, or wants of another type.

    Parameters
    ----------
    function : callable
        A function or a class.
    arguments : mapping
        What a configuration gives it.
    key : str
        Where the arguments stand.
    provided, named
        As for `accepted`.
    called : str, optional
        What the function is called in the configuration; its own name where omitted.

    Raises
    ------
    UsageError
        With the argument's key below `key`.
    """
    allowed = accepted(function, provided, named)
    if allowed is None:
        return
    called = called or getattr(function, "__name__", str(function))
    for name in arguments:
        if name not in allowed:
            raise UsageError(f"{key}.{name} is not an argument of {called}: {nearest(name, allowed)}")
    for name, parameter in allowed.items():
        if name in arguments:
            check_type(function, name, arguments[name], key)
        elif parameter.default is parameter.empty:
            raise UsageError(
                f"{key}.{name} is missing: {called} needs it; {_how_to_add(function, name, key)}"
            )


def _how_to_add(function: Callable[..., Any], name: str, key: str) -> str:
    wanted = annotation(function, name)
    kind = "" if wanted is Any else f", {describe(wanted)}"
    # What stands in a list cannot be added by an override.
    return f"add +{key}.{name}=...{kind}" if key.replace(".", "_").isidentifier() else f"add it{kind}"
