"""Hyperparameters: shared scalars that a compiled step reads, by name, and the schedules that set them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import theano

from trainer.errors import UsageError, nearest
from trainer.schedules import Schedule

UNITS = ("step", "epoch", "run")


class Hyperparameters:
    """An ordered collection of shared scalars, each under the name that people know it by.

    A change is seen by the compiled step at its next call; nothing is compiled anew.

    Examples
    --------
    >>> hyperparameters = Hyperparameters()
    >>> learning_rate = hyperparameters.add("learning_rate", 0.1)
    >>> hyperparameters.schedule("learning_rate", lambda time: 0.1 / (1 + time), unit="epoch")
    >>> hyperparameters.advance(step=300, steps_per_epoch=100, total_steps=1000)
    >>> hyperparameters.values()
    {'learning_rate': 0.025}
    """

    def __init__(self) -> None:
        self._shared: dict[str, Any] = {}
        self._schedules: dict[str, tuple[Schedule, str]] = {}
        self._bound: tuple[tuple[Callable[[float], None], Schedule, int], ...] = ()

    def add(self, name: str, value: float) -> Any:
        """Make a shared scalar of type floatX.

        Parameters
        ----------
        name : str
            Its name, ``learning_rate`` or ``wrapper.momentum``.
        value : float
            Its value.

        Returns
        -------
        Theano shared variable
            The scalar, for use in expressions.

        Raises
        ------
        ValueError
            Where the name is taken.
        """
        if name in self._shared:
            raise ValueError(f"there is a hyperparameter {name} already")
        self._shared[name] = theano.shared(_as_scalar(value), name=name)
        return self._shared[name]

    def __getitem__(self, name: str) -> Any:
        """Give the shared scalar of that name.

        Raises
        ------
        UsageError
            Where there is none, with the nearest name.
        """
        if name not in self._shared:
            raise UsageError(f"there is no hyperparameter {name}: {nearest(name, self._shared)}")
        return self._shared[name]

    def __contains__(self, name: object) -> bool:
        return name in self._shared

    def __iter__(self) -> Iterator[str]:
        return iter(self._shared)

    def __len__(self) -> int:
        return len(self._shared)

    def set(self, name: str, value: float) -> None:
        """Set a value, which a schedule of that name replaces at the next `advance`.

        Raises
        ------
        UsageError
            Where there is no such name, with the nearest one.
        """
        self[name].set_value(_as_scalar(value))

    def values(self) -> dict[str, float]:
        """Give all values in their order, each as the shortest decimal that is the same floatX."""
        return {name: _as_float(shared) for name, shared in self._shared.items()}

    def schedule(self, name: str, schedule: Schedule, unit: str) -> None:
        """Let a schedule set a value from now on, in place of one that did.

        Parameters
        ----------
        name : str
            The hyperparameter's name.
        schedule : callable
            From time, a float, to the value, a float.
        unit : {'step', 'epoch', 'run'}
            What time is measured in; ``run`` is the fraction of the whole run, from 0 to 1.

        Raises
        ------
        UsageError
            Where there is no such name or unit, with the nearest one.
        """
        if name not in self._shared:
            raise UsageError(
                f"schedule.{name}: there is no hyperparameter {name}; {nearest(name, self._shared)}"
            )
        if unit not in UNITS:
            raise UsageError(f"schedule.{name}.unit={unit}: there is no such unit: {nearest(unit, UNITS)}")
        self._schedules[name] = (schedule, unit)
        self._bound = tuple(
            (_writer(self._shared[scheduled]), function, UNITS.index(measure))
            for scheduled, (function, measure) in self._schedules.items()
        )

    def advance(self, step: int, steps_per_epoch: float, total_steps: int) -> None:
        """Set every scheduled value for the update that comes next.

        Parameters
        ----------
        step : int
            How many updates were made: 0 before the first.
        steps_per_epoch : float
            Updates in one epoch.
        total_steps : int
            Updates in the whole run.
        """
        if not self._bound:
            return
        times = (step, step / steps_per_epoch, step / total_steps)
        for write, schedule, unit in self._bound:
            write(schedule(times[unit]))

    def state(self) -> dict[str, float]:
        """Give what a checkpoint keeps: the values, which `load_state` restores to the same bits."""
        return self.values()

    def load_state(self, state: Mapping[str, float]) -> None:
        """Restore the values that `state` gave.

        Raises
        ------
        UsageError
            Where the names differ from those of this collection; nothing is changed then.
        """
        missing = [name for name in self._shared if name not in state]
        unknown = [name for name in state if name not in self._shared]
        if missing or unknown:
            differences = [f"lacks {', '.join(missing)}"] * bool(missing)
            differences += [f"has {', '.join(unknown)}, which this configuration has not"] * bool(unknown)
            raise UsageError(f"the saved hyperparameters do not fit: the state {' and '.join(differences)}")
        for name, value in state.items():
            self.set(name, value)


def _as_scalar(value: float) -> Any:
    return np.asarray(value, dtype=theano.config.floatX)


def _as_float(shared: Any) -> float:
    return float(str(np.asarray(shared.get_value(borrow=True))[()]))


def _writer(shared: Any) -> Callable[[float], None]:
    """Give the quickest way to set a shared scalar.

    On the CPU that is into its own memory, ten times quicker than `set_value`; other devices only have that.
    """
    if not isinstance(shared.get_value(borrow=True, return_internal_type=True), np.ndarray):
        return lambda value: shared.set_value(_as_scalar(value))
    memory = shared.get_value

    def write(value: float) -> None:
        memory(borrow=True)[()] = value

    return write
