"""How much a configuration's interpolations make of it, reckoned before they are resolved.

`b: ${a}${a}`, `c: ${b}${b}` and so on double with each line: a file of a few hundred bytes could fill any
memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.errors import UsageError

MOST = 2**22
# What a resolver gives, `${oc.env:HOME}` for one, is not known; those that copy values are refused.
_FROM_RESOLVER = 1000
_COPYING = "oc.dict."

_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
_PATH = re.compile(r"\s*(\.*)([\w@\-/]+(?:\.[\w@\-/]+)*)\s*")
_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_Place = tuple[Any, ...]


def check_interpolations(plain: Any, source: str) -> None:
    """Refuse a configuration that is no longer small when its interpolations are resolved.

    Parameters
    ----------
    plain : nest of dicts and lists
        The configuration, unresolved.
    source : str
        Where it comes from, for the message.

    Raises
    ------
    UsageError
        Where it would have more than `MOST` characters and values, where interpolations go in a circle, and
        for one that is neither the path of another value nor a resolver's.
    """
    _Reckoning(plain, source).size(())


class _Reckoning:
    def __init__(self, plain: Any, source: str) -> None:
        self._plain = plain
        self._source = source
        self._sizes: dict[_Place, int | None] = {}

    def size(self, place: _Place) -> int:
        """Return how many characters and values a place holds, resolved."""
        if place in self._sizes:
            known = self._sizes[place]
            if known is None:
                raise self._damaged(f"the interpolations of {_spoken(place)} go in a circle")
            return known
        self._sizes[place] = None
        value = self._value(place)
        if isinstance(value, Mapping):
            found = 1 + sum(self.size((*place, key)) for key in value)
        elif isinstance(value, list):
            found = 1 + sum(self.size((*place, number)) for number in range(len(value)))
        elif isinstance(value, str):
            found = 1 + len(value) + sum(self._referred(text, place) for text in self._references(value))
        else:
            found = 1
        if found > MOST:
            raise self._damaged(
                f"its interpolations make more of {_spoken(place)} than any configuration has"
            )
        self._sizes[place] = found
        return found

    def _references(self, value: str) -> Sequence[str]:
        found = _REFERENCE.findall(value)
        if "${" in _REFERENCE.sub("", value):
            raise self._damaged("it has an interpolation within another, which no run needs")
        return found

    def _referred(self, text: str, place: _Place) -> int:
        if ":" in text and not text.lstrip().startswith(_COPYING):
            return _FROM_RESOLVER
        path = _PATH.fullmatch(_BRACKET.sub(r".\1", text).removeprefix("." if text.startswith("[") else ""))
        if path is None:
            raise self._damaged(f"the interpolation ${{{text[:80]}}} is no path of another value")
        dots, names = path[1], path[2].split(".")
        base: _Place = place[: len(place) - len(dots)] if dots else ()
        target = base
        for name in names:
            target = (*target, self._key(target, name))
        # One that leads nowhere is told by OmegaConf when it is resolved.
        return 1 if self._value(target) is None else self.size(target)

    def _key(self, place: _Place, name: str) -> Any:
        return int(name) if isinstance(self._value(place), list) and name.isdecimal() else name

    def _value(self, place: _Place) -> Any:
        value = self._plain
        for key in place:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def _damaged(self, what: str) -> UsageError:
        return UsageError(f"{self._source} is damaged: {what}")


def _spoken(place: _Place) -> str:
    return ".".join(map(str, place)) or "the whole"
