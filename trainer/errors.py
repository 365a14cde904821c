"""The errors that a person can act on, and the words that help them to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """A mistake in the configuration, the data or the usage, told in a sentence with its cure (status 2)."""


class RunError(Exception):
    """A run that began rightly and failed, told in one sentence (exit status 1)."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Say what is allowed in place of `name`, the nearest match first; initials match too.

    >>> nearest("adm", ["sgd", "adam"]), nearest("lr", ["learning_rate"])
    ('did you mean adam? Allowed are adam, sgd', 'did you mean learning_rate? Allowed is learning_rate')
    """
    choices = sorted(allowed)
    if not choices:
        return "nothing is allowed here"
    of_initials = [choice for choice in choices if "".join(word[:1] for word in choice.split("_")) == name]
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5) or of_initials
    verb = "are" if len(choices) > 1 else "is"
    listed = f"llowed {verb} {', '.join(choices)}"
    return f"did you mean {close[0]}? A{listed}" if close else f"a{listed}"
