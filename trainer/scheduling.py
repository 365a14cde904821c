"""The schedules of a configuration, bound to the hyperparameters that they set."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.components import Component
from trainer.hyperparameters import Hyperparameters
from trainer.schedules import with_warmup
from trainer.settings import ScheduleSettings


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
        initial = hyperparameters.configured(name)
        key = settings.component.key or f"schedule.{name}"
        ramp = Component(with_warmup, {"warmup": settings.warmup, "warmup_start": settings.warmup_start}, key)
        schedule = settings.component(initial)
        if settings.warmup:
            schedule = ramp(schedule, initial, unit=settings.unit)
        hyperparameters.schedule(name, schedule, settings.unit)
