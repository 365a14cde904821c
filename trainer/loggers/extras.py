"""Packages that only some destinations need."""

from __future__ import annotations

import importlib
from typing import Any

from trainer.errors import UsageError


def optional(module: str, extra: str) -> Any:
    """Import a module that comes with an extra of this program.

    Raises
    ------
    UsageError
        It is not installed; the message says how to.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UsageError(
            f"logger={extra} needs {error.name.partition('.')[0]}, which is not installed: "
            f"pip install 'theano-trainer[{extra}]'"
        ) from error
