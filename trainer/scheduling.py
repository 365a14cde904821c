"""The schedules of a configuration, bound to the hyperparameters that they set."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.components import Component
from trainer.errors import UsageError
from trainer.hyperparameters import Hyperparameters
from trainer.ranges import range_of
from trainer.schedules import with_warmup
from trainer.settings import ScheduleSettings

_MOST_POINTS = 1000


def bind_schedules(hyperparameters: Hyperparameters, schedules: Mapping[str, ScheduleSettings]) -> None:
    """Let each schedule set its hyperparameter, from its configured value on and after its warm-up.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        What the schedules set.
    schedules : mapping
        Each hyperparameter's full name, as ``groups.biases.learning_rate``, to its schedule.

    Raises
    ------
    UsageError
        Where there is no such hyperparameter, unless the schedule is optional, and where a schedule refuses
        an argument, with its key.
    """
    for name, settings in schedules.items():
        if settings.optional and name not in hyperparameters:
            continue
        if name == "weight_decay" and name not in hyperparameters:
            raise UsageError(
                "schedule.weight_decay: there is no weight decay: give it one by optimizer.weight_decay=..."
            )
        initial = hyperparameters.configured(name)
        key = settings.component.key or f"schedule.{name}"
        ramp = Component(with_warmup, {"warmup": settings.warmup, "warmup_start": settings.warmup_start}, key)
        schedule = settings.component(initial)
        if settings.warmup:
            schedule = ramp(schedule, initial, unit=settings.unit)
        hyperparameters.schedule(name, schedule, settings.unit)


def check_schedules(hyperparameters: Hyperparameters, steps_per_epoch: int, total_steps: int) -> None:
    """Refuse schedules that lead out of the range of what they schedule, as far as can be known before.

    Up to a thousand updates of the run are looked at, evenly chosen, the first and the last among them. The
    values are as before then.

    Raises
    ------
    UsageError
        With the schedule's key, its value and its time; also where a schedule has no value.
    """
    allowed = {name: range_of(name.rpartition(".")[2]) for name in hyperparameters.scheduled}
    before = hyperparameters.values()
    points = min(total_steps, _MOST_POINTS)
    for step in sorted({round(point * (total_steps - 1) / max(points - 1, 1)) for point in range(points)}):
        hyperparameters.advance(step, steps_per_epoch, total_steps)
        for name, interval in allowed.items():
            value = float(hyperparameters[name].get_value(borrow=True))
            if interval is not None and value not in interval:
                raise UsageError(
                    f"schedule.{name} gives {value:g} after {step:,} updates, which is out of range: "
                    f"{name} must be {interval}"
                )
    for name in allowed:
        hyperparameters.set(name, before[name])
