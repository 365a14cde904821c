"""Parameters chosen by patterns of their names."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from ._parameters import name_of


def matching(match: str | Sequence[str], params: Sequence[Any], called: str = "match") -> list[Any]:
    """Give the parameters whose names fit a pattern, in their order.

    Parameters
    ----------
    match : str or sequence of str
        Patterns as for file names: ``*`` stands for any letters, ``?`` for one, ``[ab]`` for one of those. A
        parameter is chosen where one of them fits its whole name; case counts.
    params : list of shared variables
        The parameters to choose from.
    called : str, default "match"
        What the patterns are called in the message.

    Returns
    -------
    list of shared variables
        Those that were chosen.

    Raises
    ------
    ValueError
        For a pattern that fits no name; the message lists the names.

    Examples
    --------
    >>> import numpy, theano
    >>> weights, bias = (theano.shared(numpy.zeros(2), name=name) for name in ("dense_1.W", "dense_1.b"))
    >>> matching("*.b", [weights, bias])
    [dense_1.b]
    """
    patterns = (match,) if isinstance(match, str) else tuple(match)
    names = [name_of(parameter, index) for index, parameter in enumerate(params)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"{called}={pattern} fits no parameter; there are {', '.join(names)}")
    return [
        parameter
        for parameter, name in zip(params, names, strict=True)
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
