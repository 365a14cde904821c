"""A function with the arguments that a configuration gives it: what a `_target_` node becomes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.errors import UsageError, nearest


@dataclass(frozen=True)
class Component:
    """A function or class, the arguments that the configuration gives it, and the key it stands under.

    Parameters
    ----------
    function : callable
        What the node's `_target_` names.
    arguments : mapping
        The node's other keys, as plain Python values.
    key : str
        Where the node stands in the configuration, for messages; empty when made by hand.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""

    def __call__(self, *provided: Any, **more: Any) -> Any:
        """Call the function with what the program provides, then the configured arguments.

        Raises
        ------
        UsageError
            Where the function refuses an argument's value (`ValueError`), with the key in front.
        """
        try:
            return self.function(*provided, **{**self.arguments, **more})
        except ValueError as error:
            where = self.key or getattr(self.function, "__name__", str(self.function))
            raise UsageError(f"{where}: {error}") from error


def locate(target: str, key: str) -> Any:
    """Import what a dotted path names.

    Parameters
    ----------
    target : str
        `package.module.function`; modules in the current folder count when the command line started the run.
    key : str
        The key that holds the target, for messages.

    Raises
    ------
    UsageError
        Where no such module or name exists, or it cannot be called.
    """
    module_name, _, name = target.rpartition(".")
    if not module_name:
        raise UsageError(f"{key}={target} names no module: give module.function, as in my_rules.my_rule")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            raise UsageError(
                f"{key}={target}: there is no module {error.name} in the current folder or the environment"
            ) from error
        raise
    if not hasattr(module, name):
        own = [
            known for known, value in vars(module).items() if getattr(value, "__module__", "") == module_name
        ]
        public = getattr(module, "__all__", [known for known in own if known[0] != "_"])
        raise UsageError(f"{key}={target}: {module_name} has no {name}; {nearest(name, public)}")
    found = getattr(module, name)
    if not callable(found):
        raise UsageError(f"{key}={target} cannot be called: name a function or a class")
    return found
