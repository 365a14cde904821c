"""Which changes of a run's earlier life are to be made again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from trainer.steering.messages import Change, Malformed


def unmade(history: Iterable[Any], made: Sequence[Change], steps: int) -> list[Change]:
    """Return the changes of a history that a resumed run has yet to make, in the order of their steps.

    Parameters
    ----------
    history : iterable
        The lines of `history.jsonl`, in the order in which they were written; what is no change is left out.
    made : sequence of Change
        Those that the resumed state has.
    steps : int
        Updates done in that state.

    Returns
    -------
    list of Change
        Those of later updates. A run that was resumed from before a change and then changed otherwise has
        left the earlier course: a later line cancels those above it of the same name and the same step or a
        later one.

    Examples
    --------
    >>> lines = [
    ...     {"step": 100, "name": "momentum", "old": 0.9, "new": 0.5},
    ...     {"step": 120, "name": "rho", "old": 0.9, "new": 0.8},
    ...     {"step": 95, "name": "momentum", "old": 0.9, "new": 0.7},
    ... ]
    >>> [(change.step, change.name, change.new) for change in unmade(lines, [], steps=90)]
    [(95, 'momentum', 0.7), (120, 'rho', 0.8)]
    """
    valid: list[Change] = []
    for line in history:
        try:
            change = Change.parse(line)
        except Malformed:
            continue
        valid = [told for told in valid if told.name != change.name or told.step < change.step]
        valid.append(change)
    later = [change for change in valid if change.step > steps and change not in made]
    return sorted(later, key=lambda change: change.step)
