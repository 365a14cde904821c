"""Other values in the place of shared variables, for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def standing_in(replacements: Mapping[Any, Any]) -> Iterator[None]:
    """Let shared variables have the values of others for a while, and those have theirs.

    The values change places without being copied, so that an evaluation of averaged weights needs no other
    compiled function.
    """
    _exchange(replacements)
    try:
        yield
    finally:
        _exchange(replacements)


def _exchange(replacements: Mapping[Any, Any]) -> None:
    for variable, other in replacements.items():
        value, stand_in = (
            shared.get_value(borrow=True, return_internal_type=True) for shared in (variable, other)
        )
        variable.set_value(stand_in, borrow=True)
        other.set_value(value, borrow=True)
