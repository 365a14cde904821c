"""Schedules, against values worked by hand and a table of what PyTorch and Optax give."""

from __future__ import annotations

import csv
import doctest
import importlib
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from trainer import schedules

HALF_ROOT = math.sqrt(0.5)
WRONG: Any = "square"
PEERS = json.loads((Path(__file__).parent / "references" / "schedules.json").read_text(encoding="utf-8"))
LOSSES = PEERS.pop("losses")
PURE = sorted(
    name for name, case in PEERS.items() if case["schedule"] not in ("plateau", "joined", "with_warmup")
)

VALUES: dict[str, tuple[schedules.Schedule, dict[float, float]]] = {
    "constant": (schedules.constant(0.3), {0: 0.3, 0.5: 0.3, 1e9: 0.3}),
    "linear": (schedules.linear(1.0, 3.0, 10), {0: 1.0, 2.5: 1.5, 10: 3.0, 11: 3.0}),
    "linear, down": (schedules.linear(0.1, final=0.0, duration=0.5), {0: 0.1, 0.25: 0.05, 0.5: 0.0, 1: 0.0}),
    "polynomial": (schedules.polynomial(2.0, 1.0, 4, power=3), {0: 2.0, 2: 1.125, 4: 1.0, 9: 1.0}),
    "step": (schedules.step(5.0, every=30), {0: 5.0, 29.99: 5.0, 30: 0.5, 59.99: 0.5, 60: 0.05}),
    "step, other factor": (schedules.step(1.0, every=0.25, factor=0.5), {0.24: 1.0, 0.25: 0.5, 1.0: 0.0625}),
    "exponential": (schedules.exponential(2.0, factor=0.01), {0: 2.0, 0.5: 0.2, 1: 0.02, 2: 0.0002}),
    "exponential, wide": (schedules.exponential(1.0, factor=0.5, every=10), {5: HALF_ROOT, 10: 0.5}),
    "natural": (schedules.natural_exponential(3.0, math.log(4), every=2), {0: 3.0, 1: 1.5, 2: 0.75}),
    "natural, stairs": (
        schedules.natural_exponential(3.0, math.log(4), every=2, staircase=True),
        {1.99: 3.0, 2: 0.75, 3.99: 0.75},
    ),
    "inverse time": (schedules.inverse_time(6.0, 0.5, every=2), {0: 6.0, 4: 3.0, 8: 2.0, 9: 6 / 3.25}),
    "inverse time, stairs": (
        schedules.inverse_time(6.0, 0.5, every=4, staircase=True),
        {3: 6.0, 4: 4.0, 7: 4.0},
    ),
    "cosine": (
        schedules.cosine(1.0),
        {0: 1.0, 0.25: 0.5 + HALF_ROOT / 2, 0.5: 0.5, 0.75: 0.5 - HALF_ROOT / 2, 1: 0.0, 2: 0.0},
    ),
    "cosine, to a value": (
        schedules.cosine(0.9, final=0.1, duration=40),
        {0: 0.9, 20: 0.5, 40: 0.1, 99: 0.1},
    ),
    # Cycles of 2, 6 and 18, and of the heights 4, 2 and 1 above the final value.
    "restarts": (
        schedules.cosine_restarts(5.0, period=2, growth=3, final=1.0, factor=0.5),
        {0: 5.0, 1: 3.0, 1.9999999: 1.0, 2: 3.0, 5: 2.0, 8: 2.0, 17: 1.5, 26: 1.5},
    ),
    "a momentum that dips": (
        schedules.one_cycle(0.8, 1.0, 0.5, 1.0, rise=0.25, duration=8, shape="linear"),
        {0: 0.8, 1: 0.6, 2: 0.4, 5: 0.6, 8: 0.8, 9: 0.8},
    ),
    "piecewise from 0": (
        schedules.piecewise(7.0, times=[0, 5], values=[1.0, 2.0], relative=False),
        {0: 1.0, 4.9: 1.0, 5: 2.0, 99: 2.0},
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    schedule, values = VALUES[name]
    for time, value in values.items():
        assert schedule(time) == pytest.approx(value, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", PURE)
def test_a_peer_gives_the_same(name: str) -> None:
    case = PEERS[name]
    schedule = getattr(schedules, case["schedule"])(case["initial"], **case["arguments"])
    values = [schedule(step) for step in range(len(case["values"]))]
    assert values == pytest.approx(case["values"], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", [name for name, case in PEERS.items() if case["schedule"] == "plateau"])
def test_a_plateau_reduces_when_pytorchs_does(name: str) -> None:
    case = PEERS[name]
    schedule: Any = schedules.plateau(case["initial"], **case["arguments"])
    values = []
    for loss in LOSSES:
        schedule.observe({"validation/loss": loss}, "validation/loss", "min")
        values.append(schedule(0))
    assert values == pytest.approx(case["values"], rel=1e-12)
    assert len(set(values)) > 2


@pytest.mark.parametrize(("kind", "reduced"), [("relative", True), ("absolute", False)])
def test_a_threshold_is_a_part_of_the_best_or_stands_for_itself(kind: Any, reduced: bool) -> None:
    """From 100 to 95 is more than 0.1 and less than a tenth."""
    schedule: Any = schedules.plateau(1.0, factor=0.5, patience=1, threshold=0.1, threshold_mode=kind)
    for loss in (100.0, 95.0):
        schedule.observe({"validation/loss": loss}, "validation/loss", "min")
    assert schedule(0) == (0.5 if reduced else 1.0)


@pytest.mark.parametrize("broken", [math.nan, math.inf, None])
def test_a_metric_that_is_no_number_is_no_improvement(broken: float | None) -> None:
    schedule: Any = schedules.plateau(1.0, factor=0.5, patience=2)
    for loss in (broken, broken, 3.0, broken, 2.0, broken, broken):
        schedule.observe({"train/loss": loss}, "train/loss", "min")
    assert schedule(0) == 0.25


def test_parts_are_joined_as_pytorch_joins_them() -> None:
    case = PEERS["joined"]
    parts: list[dict[str, Any]] = [
        {"schedule": schedules.constant, "until": 7, "scale": 0.5},
        {"schedule": partial(schedules.exponential, factor=0.9)},
    ]
    schedule = schedules.joined(case["initial"], parts)
    assert [schedule(step) for step in range(40)] == pytest.approx(case["values"], rel=1e-9)


def test_a_warm_up_is_that_of_pytorch() -> None:
    case = PEERS["warm-up"]
    cosine = schedules.cosine(case["initial"], final=0.05, duration=35)
    schedule = schedules.with_warmup(cosine, case["initial"], 5, 0.1, "step")
    assert [schedule(step) for step in range(40)] == pytest.approx(case["values"], rel=1e-9)


def test_a_warm_up_of_a_run_leaves_the_schedule_what_is_left() -> None:
    schedule = schedules.with_warmup(schedules.linear(1.0, 0.0, 1.0), 1.0, 0.2, 0.5, "run")
    assert [schedule(tenth / 10) for tenth in range(0, 11, 2)] == pytest.approx([0.5, 1, 0.75, 0.5, 0.25, 0])
    assert schedules.with_warmup(schedule, 1.0, 0.0, 0.5, "run") is schedule


def test_with_a_warm_up_the_inverse_square_root_is_the_transformers() -> None:
    warm = 400
    root = schedules.inverse_square_root(2.0, timescale=warm)
    schedule = schedules.with_warmup(root, 2.0, warm, 0.0, "step")
    for step in (0, 1, 100, 399, 400, 401, 1600, 40000):
        noam = 2.0 * math.sqrt(warm) * min(step**-0.5, step * warm**-1.5) if step else 0.0
        assert schedule(step) == pytest.approx(noam, rel=1e-12)


def test_a_part_may_count_how_much_of_it_is_done() -> None:
    fall = partial(schedules.linear, final=0.0, duration=1.0)
    parts = [
        {"schedule": fall, "until": 0.2, "fraction": True},
        {"schedule": fall, "until": 1.0, "fraction": True},
    ]
    schedule = schedules.joined(4.0, parts)
    times = (0, 0.1, 0.1999999, 0.2, 0.4, 0.6, 1.0, 1.1)
    assert [schedule(time) for time in times] == pytest.approx([4, 2, 0, 4, 3, 2, 0, 0], abs=1e-5)


@pytest.mark.parametrize("tenths", range(1, 100))
def test_a_change_comes_when_it_is_due_though_time_is_a_quotient(tenths: int) -> None:
    """22 of these quotients lie a hair below the time that the configuration says."""
    due, before = tenths / 3 / 10 * 3, (tenths - 0.01) / 10
    for schedule in (
        schedules.step(1.0, every=tenths / 10, factor=0.5),
        schedules.multistep(1.0, [tenths / 10], factor=0.5),
        schedules.piecewise(1.0, [tenths / 10], [0.5]),
        schedules.joined(
            1.0,
            [
                {"schedule": schedules.constant, "until": tenths / 10},
                {"schedule": schedules.constant, "scale": 0.5},
            ],
        ),
    ):
        assert (schedule(before), schedule(due)) == (1.0, 0.5)


def written(folder: Path, *rows: str) -> Path:
    file = folder / "values.csv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def test_a_table_is_read_with_and_without_a_heading(tmp_path: Path) -> None:
    rows = ("0.5,2", "", " 1.0 , 4e0")
    for file in (written(tmp_path, "time,value", *rows), written(tmp_path, *rows)):
        linear = schedules.table(10.0, file)
        assert [linear(time) for time in (0, 0.5, 0.75, 1, 2)] == [2.0, 2.0, 3.0, 4.0, 4.0]
        held = schedules.table(10.0, file, relative=True, interpolation="held")
        assert [held(time) for time in (0, 0.5, 0.75, 1, 2)] == [20.0, 20.0, 20.0, 40.0, 40.0]


def test_a_table_follows_what_was_written_exactly(tmp_path: Path) -> None:
    file = tmp_path / "values.csv"
    wanted = [(step, 1 / (3 + step)) for step in range(50)]
    with file.open("w", newline="") as lines:
        csv.writer(lines).writerows(wanted)
    schedule = schedules.table(1.0, file)
    assert [(step, schedule(step)) for step in range(50)] == wanted


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (("time,value",), "has no rows"),
        (("0,1", "1,x"), "line 2: 1,x is not two numbers"),
        (("0,1,2", "1,2"), "line 1: 0,1,2 is not two numbers"),
        (("a,b", "c,d"), "line 2: c,d is not two numbers"),
        (("0,1", "1,nan"), "line 2: 1,nan is not two numbers"),
        (("0,1", "2,1", "2,3"), "line 3: 2 is not later than the time before"),
    ],
)
def test_a_broken_table_is_refused_by_its_line(tmp_path: Path, rows: tuple[str, ...], reason: str) -> None:
    file = written(tmp_path, *rows)
    with pytest.raises(ValueError, match=reason):
        schedules.table(1.0, file)


def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.csv: there is no such file"):
        schedules.table(1.0, tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match=r"binary\.csv cannot be read as a CSV file"):
        schedules.table(1.0, tmp_path / "binary.csv")


POSITIVE: list[tuple[Callable[[float], Any], str]] = [
    (lambda bad: schedules.linear(1.0, 0.0, duration=bad), "duration"),
    (lambda bad: schedules.cosine(1.0, duration=bad), "duration"),
    (lambda bad: schedules.polynomial(1.0, power=bad), "power"),
    (lambda bad: schedules.step(1.0, every=bad), "every"),
    (lambda bad: schedules.step(1.0, every=1, factor=bad), "factor"),
    (lambda bad: schedules.multistep(1.0, [1], factor=bad), "factor"),
    (lambda bad: schedules.exponential(1.0, factor=bad), "factor"),
    (lambda bad: schedules.exponential(1.0, factor=0.5, every=bad), "every"),
    (lambda bad: schedules.natural_exponential(1.0, 1.0, every=bad), "every"),
    (lambda bad: schedules.inverse_time(1.0, 1.0, every=bad), "every"),
    (lambda bad: schedules.inverse_square_root(1.0, timescale=bad), "timescale"),
    (lambda bad: schedules.cosine_restarts(1.0, period=bad), "period"),
    (lambda bad: schedules.cyclic(1.0, 2.0, up=bad), "up"),
    (lambda bad: schedules.cyclic(1.0, 2.0, up=1, down=bad), "down"),
    (lambda bad: schedules.one_cycle(1.0, duration=bad), "duration"),
    (lambda bad: schedules.plateau(1.0, factor=bad), "factor"),
]


@pytest.mark.parametrize(("make", "name"), POSITIVE)
@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf])
def test_impossible_arguments_are_refused(make: Callable[[float], Any], name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be above 0 and finite; it is {bad}$"):
        make(bad)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: schedules.cosine_restarts(1.0, 1.0, growth=0.5), "growth must be at least 1"),
        (
            lambda: schedules.cyclic(1.0, 2.0, 1.0, mode=WRONG),
            "mode must be one of triangular, .* it is square",
        ),
        (lambda: schedules.one_cycle(1.0, rise=1.0), "rise must be above 0 and below 1; it is 1.0"),
        (lambda: schedules.one_cycle(1.0, rise=0.5, three_phase=True), "rise must be above 0 and below 0.5"),
        (lambda: schedules.multistep(1.0, [3, 3]), "milestones must grow .* there is 3"),
        (
            lambda: schedules.piecewise(1.0, [1, 2], [1.0]),
            "times and values must be as many; there are 2 and 1",
        ),
        (lambda: schedules.piecewise(1.0, [], []), "there are 0 and 0"),
        (lambda: schedules.piecewise(1.0, [1], [math.nan]), "values must be finite; it is nan"),
        (lambda: schedules.plateau(1.0, factor=1.0), "factor must be below 1"),
        (lambda: schedules.plateau(1.0, metric="train/loss"), "mode is missing for metric=train/loss"),
        (
            lambda: schedules.with_warmup(schedules.constant(1.0), 1.0, 1.0),
            "warmup must be below 1 with the unit run",
        ),
        (
            lambda: schedules.with_warmup(schedules.constant(1.0), 1.0, -1, unit="step"),
            "warmup must be at least 0",
        ),
        (lambda: schedules.joined(1.0, []), "parts is empty"),
        (lambda: schedules.joined(1.0, [{"until": 1}]), r"parts\[0\] has no schedule"),
        (
            lambda: schedules.joined(1.0, [{"schedule": schedules.constant, "untill": 1}]),
            r"parts\[0\]\.untill is not a key: did you mean until\?",
        ),
        (
            lambda: schedules.joined(1.0, [{"schedule": schedules.constant}] * 2),
            r"parts\[0\]\.until is missing: only the last",
        ),
        (
            lambda: schedules.joined(1.0, [{"schedule": schedules.constant, "until": 1}] * 2),
            "until must grow",
        ),
        (
            lambda: schedules.joined(1.0, [{"schedule": schedules.constant, "fraction": True}]),
            "whose time is a fraction must end",
        ),
        (
            lambda: schedules.joined(1.0, [{"schedule": lambda initial: schedules.formula(initial, "step")}]),
            "cannot be a part",
        ),
    ],
)
def test_a_mistake_is_refused_with_what_is_allowed(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()


@pytest.mark.parametrize(
    "module", ["", "._composition", "._cycles", "._decays", "._formula", "._plateau", "._points"]
)
def test_documented_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"trainer.schedules{module}"))
    assert result.attempted >= 2
    assert result.failed == 0


def test_every_schedule_shows_an_example() -> None:
    for name in schedules.__all__:
        documented = getattr(schedules, name).__doc__ or ""
        assert name in ("Schedule", "UNITS") or ">>> " in documented, name
