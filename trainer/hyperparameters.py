"""Hyperparameters: shared scalars that a compiled step reads, by name, and what sets them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import theano

from trainer.clock import Clock, writer
from trainer.errors import UsageError, nearest
from trainer.schedules import UNITS, Schedule
from trainer.schedules.stateful import metrics_of, observe, restore, sees_all_times, state_of

ALL_TIMES = len(UNITS)


@dataclass
class _Entry:
    """A hyperparameter: its scalar, what its configuration says, and what changed that since."""

    shared: Any
    configured: float
    schedule: Schedule | None = None
    unit: str = "run"
    scale: float = 1.0
    pinned: bool = False


class Hyperparameters:
    """An ordered collection of shared scalars, each under the name that people know it by.

    A change is seen by the compiled step at its next call; nothing is compiled anew. A value is set by its
    configuration, by a schedule, or by a person (`pin`), whom the schedule leaves alone until `release`.

    Attributes
    ----------
    clock : Clock
        The time of the coming update, for expressions; see `trainer.clock`.

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
        self._entries: dict[str, _Entry] = {}
        self._bound: tuple[tuple[str, Callable[[float], None], Schedule, int, float], ...] = ()
        self.clock = Clock()

    def add(self, name: str, value: float) -> Any:
        """Make a shared scalar of type floatX.

        Parameters
        ----------
        name : str
            Its name, ``learning_rate`` or ``wrapper.momentum``.
        value : float
            Its configured value.

        Returns
        -------
        Theano shared variable
            The scalar, for use in expressions.

        Raises
        ------
        ValueError
            Where the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"there is a hyperparameter {name} already")
        self._entries[name] = _Entry(theano.shared(_as_scalar(value), name=name), float(value))
        return self._entries[name].shared

    def __getitem__(self, name: str) -> Any:
        """Give the shared scalar of that name.

        Raises
        ------
        UsageError
            Where there is none, with the nearest name.
        """
        return self._entry(name).shared

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def shared(self) -> list[Any]:
        """The scalars, and those of the clock that were asked for."""
        return [*(entry.shared for entry in self._entries.values()), *self.clock.shared]

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
        return {name: _as_float(entry.shared) for name, entry in self._entries.items()}

    def configured(self, name: str) -> float:
        """Give the value that the configuration says, which schedules begin with.

        Raises
        ------
        UsageError
            Where there is no such name, with the nearest one; it is told as a schedule's, which asks for it.
        """
        if name not in self._entries:
            raise UsageError(
                f"schedule.{name}: there is no hyperparameter {name}; {nearest(name, self._entries)}"
            )
        return self._entries[name].configured

    @property
    def scheduled(self) -> tuple[str, ...]:
        """The names of those that have a schedule, pinned ones too."""
        return tuple(name for name, entry in self._entries.items() if entry.schedule is not None)

    @property
    def follow_metrics(self) -> tuple[str, ...]:
        """The names of those whose schedule is driven by a metric."""
        return tuple(
            name
            for name, entry in self._entries.items()
            if entry.schedule is not None and state_of(entry.schedule)
        )

    @property
    def pinned(self) -> tuple[str, ...]:
        """The names of those whose value a person gave."""
        return tuple(name for name, entry in self._entries.items() if entry.pinned)

    def schedule(self, name: str, schedule: Schedule, unit: str) -> None:
        """Let a schedule set a value from now on, in place of one that did.

        Parameters
        ----------
        name : str
            The hyperparameter's name.
        schedule : callable
            From time, a float, to the value, a float; see `trainer.schedules` for what else it may be.
        unit : {'step', 'epoch', 'run'}
            What time is measured in; ``run`` is the fraction of the whole run, from 0 to 1.

        Raises
        ------
        UsageError
            Where there is no such name or unit, with the nearest one.
        """
        self.configured(name)
        if unit not in UNITS:
            raise UsageError(f"schedule.{name}.unit={unit}: there is no such unit: {nearest(unit, UNITS)}")
        self._entries[name].schedule, self._entries[name].unit = schedule, unit
        self._bind()

    def pin(self, name: str, value: float) -> None:
        """Hold a value that a person gave, whatever the schedule says, until `release`.

        Raises
        ------
        UsageError
            Where there is no such name, with the nearest one, or the value is not a finite number.
        """
        entry = self._entry(name)
        if not _is_number(value):
            raise UsageError(f"{name}={value} is not a number that {theano.config.floatX} holds")
        entry.pinned = True
        entry.shared.set_value(_as_scalar(value))
        self._bind()

    def release(self, name: str) -> None:
        """Hand a value back to its schedule, which sets it at the next `advance`, or to its configuration.

        Raises
        ------
        UsageError
            Where there is no such name, with the nearest one.
        """
        entry = self._entry(name)
        if entry.pinned and entry.schedule is None:
            entry.shared.set_value(_as_scalar(entry.configured * entry.scale))
        entry.pinned = False
        self._bind()

    def rescale(self, name: str, factor: float) -> None:
        """Multiply a value by a factor from now on, whether it is scheduled, configured or a person's.

        What a schedule gives is multiplied too, and a value that a person gave is once; factors add up by
        multiplication.

        Raises
        ------
        UsageError
            Where there is no such name, with the nearest one.
        ValueError
            Where the factor is not above 0 and finite.
        """
        entry = self._entry(name)
        if not 0 < factor < math.inf:
            raise ValueError(f"factor must be above 0 and finite; it is {factor}")
        entry.scale *= factor
        entry.shared.set_value(_as_scalar(_as_float(entry.shared) * factor))
        self._bind()

    def advance(self, step: int, steps_per_epoch: float, total_steps: int) -> None:
        """Set every scheduled value, and the clock where it is read, for the update that comes next.

        Parameters
        ----------
        step : int
            How many updates were made: 0 before the first.
        steps_per_epoch : float
            Updates in one epoch.
        total_steps : int
            Updates in the whole run.

        Raises
        ------
        UsageError
            Where a schedule has no value at this time.
        """
        if self._bound:
            times = (step, step / steps_per_epoch, step / total_steps)
            name = ""
            try:
                for name, write, schedule, unit, scale in self._bound:  # noqa: B007 (the error names it)
                    write(scale * (schedule(times[unit]) if unit < ALL_TIMES else schedule(*times)))
            except (ArithmeticError, ValueError) as error:
                raise UsageError(f"schedule.{name} has no value after {step} updates: {error}") from error
        if self.clock.is_read:
            self.clock.advance(step, steps_per_epoch, total_steps)

    def take_over(self, used: Hyperparameters) -> None:
        """Go on with the scalars of others, which a compiled function reads, and give them these values.

        Schedules and configured values stay those of this collection.

        Parameters
        ----------
        used : Hyperparameters
            Of the same names; its own values, schedules and clock are not to be used any more.

        Raises
        ------
        ValueError
            Where the names are others; nothing is changed then.
        """
        if list(used) != list(self):
            raise ValueError(f"the hyperparameters are {list(self)}, and not {list(used)}")
        for name, entry in self._entries.items():
            shared = used[name]
            shared.set_value(entry.shared.get_value(borrow=True))
            entry.shared = shared
        self.clock = used.clock
        self._bind()

    def observe(self, record: Mapping[str, Any], monitor: str, mode: str) -> None:
        """Show the schedules that follow a metric the record of an epoch that has ended.

        Parameters
        ----------
        record : mapping
            Each metric to its value, as ``validation/loss``.
        monitor : str
            The metric whose best epoch counts.
        mode : {'min', 'max'}
            Whether the best is the smallest or the largest.

        Raises
        ------
        UsageError
            Where a schedule follows a metric that the record has not.
        """
        for name, entry in self._entries.items():
            if entry.schedule is not None:
                try:
                    observe(entry.schedule, record, monitor, mode)
                except UsageError as error:
                    raise UsageError(f"schedule.{name}: {error}") from error

    def check_metrics(self, measured: Collection[str]) -> None:
        """Refuse schedules that follow a metric which the run does not measure.

        Raises
        ------
        UsageError
            With the schedule's key and the nearest metric.
        """
        for name, entry in self._entries.items():
            for metric in metrics_of(entry.schedule) if entry.schedule is not None else ():
                if metric not in measured:
                    raise UsageError(
                        f"schedule.{name}.metric={metric} is not measured: {nearest(metric, measured)}"
                    )

    def state(self) -> dict[str, dict[str, Any]]:
        """Give what a checkpoint keeps, of numbers, texts, lists and dictionaries; all numbers are finite."""
        return {
            name: {
                "configured": entry.configured,
                "value": _as_float(entry.shared),
                "scale": entry.scale,
                "pinned": entry.pinned,
                "scheduled": entry.schedule is not None,
                "schedule": state_of(entry.schedule) if entry.schedule is not None else {},
            }
            for name, entry in self._entries.items()
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` gave.

        What was saved for a hyperparameter counts where its configured value is still the one that it was
        saved with; where the configuration says something else now, that counts. Then a value that a person
        gave stays, with the factors of `rescale`; a schedule goes on with its state, if it is of the same
        kind, and sets the value at the next `advance`. Hyperparameters that only one of the two has keep
        their configured value, or are left out.

        Raises
        ------
        UsageError
            Where the state is not one that `state` gave; nothing is changed then.
        """
        for name, saved in state.items():
            _check_saved(name, saved)
        for name, entry in self._entries.items():
            saved = state.get(name)
            if saved is None or float(saved["configured"]) != entry.configured:
                continue
            entry.scale, entry.pinned = float(saved["scale"]), saved["pinned"]
            if entry.schedule is not None:
                restore(entry.schedule, saved["schedule"])
            # A value of a schedule that there is no longer would be a mere leftover of it.
            leftover = saved["scheduled"] and entry.schedule is None and not entry.pinned
            value = entry.configured * entry.scale if leftover else saved["value"]
            entry.shared.set_value(_as_scalar(value))
        self._bind()

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise UsageError(f"there is no hyperparameter {name}: {nearest(name, self._entries)}")
        return self._entries[name]

    def _bind(self) -> None:
        self._bound = tuple(
            (
                name,
                writer(entry.shared),
                entry.schedule,
                ALL_TIMES if sees_all_times(entry.schedule) else UNITS.index(entry.unit),
                entry.scale,
            )
            for name, entry in self._entries.items()
            if entry.schedule is not None and not entry.pinned
        )


def _check_saved(name: str, saved: Any) -> None:
    fits = (
        isinstance(saved, Mapping)
        and all(_is_number(saved.get(key)) for key in ("configured", "value", "scale"))
        and all(isinstance(saved.get(key), bool) for key in ("pinned", "scheduled"))
        and isinstance(saved.get("schedule"), Mapping)
    )
    if not fits:
        raise UsageError(f"the saved state of the hyperparameter {name} is damaged: it is {str(saved)[:80]}")


def _is_number(value: Any) -> bool:
    """Return whether floatX holds a value that came from outside."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= float(np.finfo(theano.config.floatX).max)


def _as_scalar(value: float) -> Any:
    return np.asarray(value, dtype=theano.config.floatX)


def _as_float(shared: Any) -> float:
    return float(str(np.asarray(shared.get_value(borrow=True))[()]))
