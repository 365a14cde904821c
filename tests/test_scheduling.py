"""The schedules of a configuration: every file of the group, and how they are bound to what they set."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.conftest import ROOT
from trainer import config, schedules
from trainer.commands.overrides import rewrite
from trainer.components import Component
from trainer.errors import UsageError
from trainer.hyperparameters import Hyperparameters
from trainer.ranges import RANGES
from trainer.scheduling import bind_schedules
from trainer.settings import ScheduleSettings

FILES = sorted(path.stem for path in (ROOT / "conf" / "schedule").glob("*.yaml"))
INITIAL = {"learning_rate": 0.1, "momentum": 0.9, "beta1": 0.9, "wrapper.momentum": 0.5}
STEPS = 200


def hyperparameters(*names: str) -> Hyperparameters:
    made = Hyperparameters()
    for name in names or INITIAL:
        made.add(name, INITIAL[name])
    return made


def configured(*overrides: str) -> dict[str, ScheduleSettings]:
    config.register()
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        composed = compose("config", overrides=[rewrite(override) for override in overrides])
    config.device_settings(composed)
    return dict(config.interpret(composed, overrides).schedules)


def courses(made: Hyperparameters) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {name: [] for name in made.scheduled}
    for step in range(STEPS):
        made.advance(step, STEPS / 8, STEPS)
        for name, line in values.items():
            line.append(made.values()[name])
    return values


def test_each_schedule_has_a_file_and_each_file_a_schedule() -> None:
    functions = set(schedules.__all__) - {"Schedule", "UNITS", "with_warmup"}
    assert set(FILES) == functions


@pytest.mark.parametrize("name", FILES)
def test_a_file_lists_what_goes_with_any_schedule(name: str) -> None:
    node: Any = OmegaConf.load(ROOT / "conf" / "schedule" / f"{name}.yaml")
    node = node.learning_rate if name == "one_cycle" else node
    assert node["_target_"] == f"trainer.schedules.{name}"
    assert node.unit in schedules.UNITS
    assert (node.warmup, node.warmup_start) == (0.0, 0.0)


@pytest.mark.parametrize("name", FILES)
def test_a_file_makes_a_schedule_that_stays_in_range(name: str, tmp_path: Path) -> None:
    table = tmp_path / "rates.csv"
    table.write_text("time,value\n0,0.1\n1,0.01\n")
    made = hyperparameters()
    given = [f"schedule.learning_rate.file={table}"] * (name == "table")
    bind_schedules(made, configured(f"schedule={name}", *given))
    for scheduled, values in courses(made).items():
        assert all(value in RANGES[scheduled.rpartition(".")[2]] for value in values)
        assert (len(set(values)) > 1) == (name not in ("constant", "plateau"))


def test_one_cycle_moves_the_momentum_against_the_learning_rate() -> None:
    values = {}
    for names in (("learning_rate", "momentum"), ("learning_rate", "beta1", "wrapper.momentum")):
        made = hyperparameters(*names)
        bind_schedules(made, configured("schedule=one_cycle", "schedule.learning_rate.rise=0.25"))
        assert set(made.scheduled) == set(names)
        values.update(courses(made))
    peak = STEPS // 4
    assert values["learning_rate"][0] == pytest.approx(0.1 / 25)
    assert values["learning_rate"][peak] == max(values["learning_rate"]) == pytest.approx(0.1)
    for name in ("momentum", "beta1", "wrapper.momentum"):
        assert values[name][0] == max(values[name]) == pytest.approx(INITIAL[name])
        assert values[name][peak] == min(values[name]) == pytest.approx(0.9 * INITIAL[name])


def test_a_warm_up_goes_before_any_schedule() -> None:
    made = hyperparameters()
    overrides = ["schedule=step", "schedule.learning_rate.every=2", "schedule.learning_rate.unit=epoch"]
    overrides += ["schedule.learning_rate.warmup=1", "schedule.learning_rate.warmup_start=0.2"]
    bind_schedules(made, configured(*overrides))
    values = courses(made)["learning_rate"]
    assert values[:25] == pytest.approx([0.02 + 0.08 * step / 25 for step in range(25)], rel=1e-6)
    assert [values[step] for step in (25, 74, 75, 124, 125)] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])


def test_the_parts_of_a_joined_schedule_are_files_of_the_group() -> None:
    made = hyperparameters()
    first = "{schedule: {_target_: linear, final: 0.2}, until: 0.25, fraction: true}"
    second = "{schedule: {_target_: exponential}, scale: 0.5}"
    bind_schedules(made, configured("schedule=joined", f"schedule.learning_rate.parts=[{first}, {second}]"))
    values = courses(made)["learning_rate"]
    assert [values[step] for step in (0, 25, 50, 150)] == pytest.approx([0.1, 0.15, 0.05, 0.05 * 0.01**0.5])


def test_a_schedule_of_what_there_is_not_is_refused_unless_it_is_optional() -> None:
    constant = Component(schedules.constant, {}, "schedule.rho")
    made = hyperparameters("learning_rate")
    bind_schedules(made, {"rho": ScheduleSettings(constant, "run", optional=True)})
    assert made.scheduled == ()
    with pytest.raises(UsageError, match=r"schedule\.rho: there is no hyperparameter rho; .*learning_rate"):
        bind_schedules(made, {"rho": ScheduleSettings(constant, "run")})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ScheduleSettings(Component(schedules.constant), "run", warmup=1.0),
            "warmup must be below 1 with the",
        ),
        (ScheduleSettings(Component(schedules.constant), "hours"), "unit=hours: there is no such unit"),
        (ScheduleSettings(Component(schedules.constant), "hours", warmup=0.5), "unit must be one of step,"),
        (
            ScheduleSettings(Component(schedules.constant), "run", 0.5, -1.0),
            "warmup_start must be at least 0",
        ),
        (
            ScheduleSettings(Component(schedules.cosine, {"duration": math.nan}), "run"),
            "duration must be above",
        ),
    ],
)
def test_a_mistake_names_its_key(settings: ScheduleSettings, message: str) -> None:
    keyed = Component(settings.component.function, settings.component.arguments, "schedule.learning_rate")
    with pytest.raises(UsageError, match=rf"^schedule\.learning_rate.*{message}"):
        bind_schedules(
            hyperparameters(),
            {
                "learning_rate": ScheduleSettings(
                    keyed, settings.unit, settings.warmup, settings.warmup_start, settings.optional
                )
            },
        )
