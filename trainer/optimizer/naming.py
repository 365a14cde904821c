"""Names of an optimizer's states: what a checkpoint finds them by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from trainer.errors import UsageError


class StateNames:
    """Sees to it that each state has a name of its own, the same in each process.

    Parameters
    ----------
    variables : sequence of shared variables
        The parameters and buffers, whose names stay as they are.

    Raises
    ------
    UsageError
        Where two of them have the same name.
    """

    def __init__(self, variables: Sequence[Any]) -> None:
        self._taken: set[str] = set()
        for name in (variable.name for variable in variables if variable.name):
            if name in self._taken:
                raise UsageError(f"two parameters have the name {name}: give each a name of its own")
            self._taken.add(name)

    def settle(self, states: Iterable[Any], label: str = "", parameters: Sequence[Any] = ()) -> None:
        """Give states their names.

        A state that belongs to no parameter (a step count) has the label in front; so has any whose name is
        taken.

        Parameters
        ----------
        states : iterable of shared variables
            New ones.
        label : str
            Where they come from, `groups.biases` or `wrapper.second`; empty where there is but one source.
        parameters : sequence of shared variables
            Those that the states' names may begin with.
        """
        owners = tuple(f"{parameter.name}." for parameter in parameters if parameter.name)
        for state in states:
            name = state.name or "state"
            if label and (name in self._taken or not name.startswith(owners)):
                name = f"{label}.{name}"
            state.name = self._free(name)
            self._taken.add(state.name)

    def _free(self, name: str) -> str:
        number, free = 1, name
        while free in self._taken:
            number += 1
            free = f"{name}_{number}"
        return free
