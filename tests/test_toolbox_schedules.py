"""Schedules as they are typed: each file's values by hand, warm-ups and parts, what is set."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Finished
from trainer.commands import courses, report

Train = Callable[..., Finished]

# Four updates, each an epoch of its own: the times of a run are 0, 1/4, 1/2 and 3/4.
FOUR = (
    "model.hidden=[4]",
    "training.epochs=4",
    "training.steps_per_epoch=1",
    "logger.curves=null",
    "logger.pictures=null",
)
TENTH = ("optimizer=sgd", "optimizer.learning_rate=0.1")
KEY = "schedule.learning_rate"

# What is typed after the file's name, and the values of a learning rate of 0.1, by hand.
FILES: dict[str, tuple[tuple[str, ...], tuple[float, float, float, float]]] = {
    "constant": ((), (0.1, 0.1, 0.1, 0.1)),
    "linear": ((), (0.1, 0.075, 0.05, 0.025)),
    "polynomial": ((), (0.1, 0.05625, 0.025, 0.00625)),
    "exponential": ((), (0.1, 0.1 / math.sqrt(10), 0.01, 0.01 / math.sqrt(10))),
    "natural_exponential": ((), (0.1, 0.1 / math.e, 0.1 / math.e**2, 0.1 / math.e**3)),
    "inverse_time": ((), (0.1, 0.1 / 3.5, 0.1 / 6, 0.1 / 8.5)),
    "inverse_square_root": ((), (0.1, 0.1 / math.sqrt(6), 0.1 / math.sqrt(11), 0.025)),
    "step": ((), (0.1, 0.1, 0.01, 0.001)),
    "multistep": ((), (0.1, 0.1, 0.01, 0.001)),
    "cosine": ((), (0.1, 0.05 + 0.05 * math.sqrt(0.5), 0.05, 0.05 - 0.05 * math.sqrt(0.5))),
    "cosine_restarts": ((f"{KEY}.period=0.5", f"{KEY}.growth=1"), (0.1, 0.05, 0.1, 0.05)),
    "cyclic": ((f"{KEY}.up=0.5",), (0.1, 0.25, 0.4, 0.25)),
    "one_cycle": (
        (f"{KEY}.shape=linear", f"{KEY}.rise=0.5", f"{KEY}.final_ratio=0"),
        (0.004, 0.052, 0.1, 0.05),
    ),
    "piecewise": ((), (0.1, 0.1, 0.01, 0.001)),
    "table": ((f"{KEY}.file=rates.csv",), (0.2, 0.3, 0.4, 0.2)),
    "formula": ((f"{KEY}.formula=initial / (1 + max(step, epoch))",), (0.1, 0.05, 0.1 / 3, 0.025)),
    "plateau": ((), (0.1, 0.1, 0.1, 0.1)),
    # Constant to 0.3, then a cosine over the 0.7 that are left.
    "joined": (
        (),
        (0.1, 0.1, 0.05 * (1 + math.cos(math.pi * 2 / 7)), 0.05 * (1 + math.cos(math.pi * 4.5 / 7))),
    ),
}


def rates(finished: Finished, name: str = "learning_rate") -> list[float]:
    """Return what metrics.jsonl has of a hyperparameter."""
    assert finished.status == 0, finished.err
    return [record[f"hyperparameter/{name}"] for record in finished.records]


def course(*overrides: str, of: str = "learning_rate") -> list[float]:
    """Return the values that a configuration gives at each update, without training."""
    return courses.schedules([*FOUR, *overrides]).values[of]


def test_each_file_is_among_them() -> None:
    assert set(FILES) == {path.stem for path in (ROOT / "conf" / "schedule").glob("*.yaml")}


@pytest.mark.parametrize("name", FILES)
def test_each_file_gives_the_values_of_its_formula_and_is_drawn(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rates.csv").write_text("time,value\n0,0.2\n0.5,0.4\n1,0\n")
    overrides, expected = FILES[name]
    typed = [f"schedule={name}", *TENTH, *overrides]
    assert course(*typed) == pytest.approx(expected, rel=1e-5)
    assert report.main([*FOUR, *typed]) == 0
    assert (tmp_path / "schedules.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    table = capsys.readouterr().out.splitlines()
    assert table[2].split()[0].rstrip("*") == "learning_rate"
    assert [float(cell) for cell in table[2].split()[1:3]] == pytest.approx(expected[:2], rel=1e-3)


@pytest.mark.usefixtures("uncompiled")
def test_a_run_has_the_values_that_the_report_draws(train: Train) -> None:
    typed = ("schedule=cosine", f"{KEY}.warmup=0.5", f"{KEY}.warmup_start=0.2", *TENTH)
    # Up on a line from 0.02 in half of the run, and down on a cosine in the other half.
    expected = pytest.approx([0.02, 0.06, 0.1, 0.05], rel=1e-5)
    assert course(*typed) == expected
    assert rates(train(*FOUR, *typed)) == expected


@pytest.mark.parametrize(
    ("unit", "overrides", "expected"),
    [
        ("step", ("warmup=2", "duration=4"), (0.0, 0.05, 0.1, 0.075)),
        ("epoch", ("warmup=1", "duration=4"), (0.0, 0.1, 0.075, 0.05)),
        ("run", ("warmup=0.25",), (0.0, 0.1, 0.1 * 2 / 3, 0.1 / 3)),
    ],
)
def test_a_warm_up_is_counted_in_the_schedules_unit(
    unit: str, overrides: tuple[str, ...], expected: tuple[float, ...]
) -> None:
    typed = [f"{KEY}.{override}" for override in overrides]
    assert course("schedule=linear", f"{KEY}.unit={unit}", *typed, *TENTH) == pytest.approx(expected)


def test_parts_are_joined_from_files_and_functions() -> None:
    parts = (
        "{schedule: linear, until: 2, fraction: true}",
        "{schedule: {_target_: trainer.schedules.constant}, until: 3, scale: 0.5}",
        "{schedule: {_target_: exponential, factor: 0.1, every: 1}}",
    )
    typed = f"{KEY}.parts=[{', '.join(parts)}]"
    # The line falls over its part of two steps, the decay by the units since its part began.
    expected = pytest.approx([0.1, 0.05, 0.05, 0.1], rel=1e-5)
    assert course("schedule=joined", f"{KEY}.unit=step", typed, *TENTH) == expected


def test_a_formula_needs_no_second_quotes() -> None:
    for formula in ("initial*(1-progress)", '"initial * (1 - progress)"', "'initial*(1 - progress)'"):
        assert course("schedule=formula", f"{KEY}.formula={formula}", *TENTH) == pytest.approx(
            [0.1, 0.075, 0.05, 0.025]
        )


@pytest.mark.usefixtures("uncompiled")
def test_a_plateau_lowers_the_rate_each_time_its_metric_stops_improving(train: Train) -> None:
    # With a learning rate of 0 nothing improves after the first epoch.
    finished = train(
        *FOUR,
        "training.epochs=8",
        "optimizer=momentum",
        "optimizer.learning_rate=0",
        "schedule@schedule.momentum=plateau",
        "schedule.momentum.factor=0.5",
        "schedule.momentum.patience=2",
        "schedule.momentum.minimum=0.3",
    )
    assert rates(finished, "momentum") == pytest.approx([0.9, 0.9, 0.9, 0.45, 0.45, 0.3, 0.3, 0.3])


@pytest.mark.usefixtures("uncompiled")
def test_a_plateau_follows_the_metric_that_is_named(train: Train) -> None:
    # The smallest share of right answers counts as the best here, and an untrained network keeps its own.
    finished = train(
        *FOUR,
        "schedule=plateau",
        f"{KEY}.metric=validation/accuracy",
        f"{KEY}.mode=min",
        f"{KEY}.patience=2",
        "optimizer.learning_rate=1e-9",
    )
    assert rates(finished) == pytest.approx([1e-9, 1e-9, 1e-9, 1e-10])


@pytest.mark.parametrize(
    ("optimizer", "momentum"),
    [
        (("optimizer=momentum",), "momentum"),
        (("optimizer=adam",), "beta1"),
        (("optimizer=sgd", "wrapper=momentum"), "wrapper.momentum"),
        (("optimizer=rmsprop",), None),
    ],
)
def test_one_cycle_moves_a_momentum_where_there_is_one(
    optimizer: tuple[str, ...], momentum: str | None
) -> None:
    found = courses.schedules(
        [*FOUR, *optimizer, "schedule=one_cycle", f"{KEY}.rise=0.5", f"{KEY}.shape=linear"]
    )
    peak = found.values["learning_rate"][2]
    assert [value / peak for value in found.values["learning_rate"]] == pytest.approx(
        [0.04, 0.52, 1.0, 0.500002], rel=1e-5
    )
    assert set(found.values) == {"learning_rate", *([momentum] if momentum else [])}
    if momentum:
        assert found.values[momentum] == pytest.approx([0.9, 0.855, 0.81, 0.855], rel=1e-5)


@pytest.mark.usefixtures("uncompiled")
def test_any_number_is_scheduled_by_its_name(train: Train) -> None:
    finished = train(
        *FOUR,
        "optimizer=sgd",
        "optimizer.weight_decay=0.4",
        "wrapper=[momentum,lookahead]",
        "clipping=[value,total_norm]",
        "averaging=exponential",
        "schedule@schedule.weight_decay=linear",
        "schedule@schedule.wrapper.momentum.momentum=linear",
        "schedule@schedule.wrapper.lookahead.alpha=step",
        "schedule@schedule.clipping.total_norm.max_norm=linear",
        "schedule.clipping.total_norm.max_norm.final=1",
        "schedule@schedule.averaging.decay=linear",
        "schedule.averaging.decay.final=0.599",
    )
    assert rates(finished, "weight_decay") == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert rates(finished, "wrapper.momentum.momentum") == pytest.approx([0.9, 0.675, 0.45, 0.225])
    assert rates(finished, "wrapper.lookahead.alpha") == pytest.approx([0.5, 0.5, 0.05, 0.005])
    assert rates(finished, "clipping.total_norm.max_norm") == pytest.approx([5, 4, 3, 2])
    assert rates(finished, "averaging.decay") == pytest.approx([0.999, 0.899, 0.799, 0.699])


@pytest.mark.usefixtures("uncompiled")
def test_a_resumed_run_takes_another_schedule_of_one_number(train: Train) -> None:
    two = (*FOUR, "optimizer=momentum", "schedule=linear", "schedule.learning_rate.unit=step")
    train(*two, "training.epochs=2", "schedule.learning_rate.duration=4")
    finished = train(
        "resume=run", "training.epochs=4", "schedule@schedule.momentum=step", "schedule.momentum.every=0.5"
    )
    assert rates(finished) == pytest.approx([0.05, 0.0375, 0.025, 0.0125])
    assert rates(finished, "momentum") == pytest.approx([0.9, 0.9, 0.09, 0.09])
