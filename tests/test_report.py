"""`trainer-report`: pages of folders, and what a configuration's schedules do, drawn without training."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from theano.compile.function_module import FunctionMaker

from tests.run_folders import losses, write_run, write_sweep
from trainer.commands import courses, report

QUICK = (
    "data.validation_fraction=0.2",
    "data.test_fraction=0.2",
    "training.batch_size=100",
    "training.epochs=4",
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")


def test_a_course_follows_the_schedules_over_every_step() -> None:
    # 1797 digits, of which 60 % in batches of 100 make 11 updates an epoch.
    course = courses.schedules(
        ["optimizer=momentum", "schedule=cosine", "schedule@schedule.momentum=linear", *QUICK]
    )
    assert (course.epochs, course.steps_per_epoch, course.steps) == (4, 11, list(range(44)))
    wanted = [0.05 * (1 + math.cos(math.pi * step / 44)) / 2 for step in range(44)]
    assert list(course.values) == ["learning_rate", "momentum"]
    assert course.values["learning_rate"] == pytest.approx(wanted, rel=1e-5)
    assert course.values["momentum"] == pytest.approx([0.9 * (1 - step / 44) for step in range(44)], rel=1e-5)
    assert course.follow_metrics == ()


def test_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(*arguments: Any, **named: Any) -> None:
        raise AssertionError("something was compiled")

    monkeypatch.setattr(FunctionMaker, "__init__", compiled)
    assert report.main(["schedule=exponential", *QUICK]) == 0


def test_the_length_of_an_epoch_is_the_datas_unless_it_is_given() -> None:
    assert courses.schedules(["training.steps_per_epoch=5", *QUICK]).steps_per_epoch == 5
    assert courses.schedules(["training.accumulation=4", *QUICK]).steps_per_epoch == 3
    long = courses.schedules(["schedule=linear", *QUICK], steps_per_epoch=1_000_000)
    assert (long.steps_per_epoch, long.steps[0], long.steps[-1]) == (1_000_000, 0, 3_999_999)
    assert len(long.steps) <= courses.MOST_POINTS + 5
    assert long.values["learning_rate"][-1] == pytest.approx(0.002 / 4_000_000, rel=1e-4)


def test_it_writes_a_picture_and_prints_a_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = [
        "optimizer=momentum",
        "schedule=one_cycle",
        "--output",
        "cycle.png",
        "--steps-per-epoch",
        "100",
    ]
    assert report.main([*arguments, "training.epochs=5"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][-8:] == ["5", "epochs", "of", "100", "updates,", "drawn", "in", "cycle.png"]
    assert lines[1] == ["first", "25", "%", "50", "%", "75", "%", "last", "min", "max"]
    learning_rate, momentum = (dict(zip(range(8), line, strict=True)) for line in lines[2:4])
    # Half a wave from 0.002 to 0.05 in 150 updates; the table's quarters are those of 499.
    quarter = 0.002 + 0.048 * (1 - math.cos(math.pi * 125 / 150)) / 2
    assert (learning_rate[0], learning_rate[1]) == ("learning_rate", "0.002")
    assert float(learning_rate[2]) == pytest.approx(quarter, rel=1e-3)
    assert (learning_rate[7], momentum[0], momentum[1], momentum[6]) == ("0.05", "momentum", "0.9", "0.81")
    with (tmp_path / "cycle.png").open("rb") as picture:
        head = picture.read(24)
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", head[16:20]) == (1200,)


def test_no_name_and_no_number_is_shortened_on_a_narrow_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    typed = ["clipping=[value]", "schedule@schedule.clipping.value.max_value=cosine"]
    final = "schedule.clipping.value.max_value.final=1.234e-9"
    assert report.main([*typed, final, "schedule=one_cycle", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "clipping.value.max_value" in out
    assert "…" not in out


def test_the_lines_of_the_picture_are_the_values() -> None:
    values = {"learning_rate": [1.0, 0.1, 0.01, 0.001], "wrapper.momentum": [0.9, 0.8, 0.7, 0.6]}
    course = courses.Course("a run", 2, 2, [0, 1, 2, 3], values, ("wrapper.momentum",))
    figure = courses.schedules_figure(course)
    drawn = {str(axes.get_gid()): axes for axes in figure.axes}
    assert list(drawn) == list(values)
    for name, axes in drawn.items():
        [line] = axes.get_lines()
        assert np.asarray(line.get_xdata()).tolist() == [0.0, 0.5, 1.0, 1.5]
        assert np.asarray(line.get_ydata()).tolist() == values[name]
    assert [axes.get_yscale() for axes in drawn.values()] == ["log", "linear"]
    assert drawn["wrapper.momentum"].get_title(loc="right") == "as long as its metric improves"


def test_what_follows_a_metric_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["schedule=plateau", *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "learning_rate*" in printed
    assert "* as long as its metric improves" in printed


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["outputs/run"], 2, "outputs/run is not there: name the folder of a run or of a multirun"),
        (["multirun/3_optimizer.learning_rate=0.1"], 2, "3_optimizer.learning_rate=0.1 is not there"),
        (["--metric", "validation/loss", "schedule=cosine"], 2, "--metric is for folders of runs: name one"),
        (["schedule=cosin"], 2, "schedule=cosin is not known: did you mean cosine?"),
        (["schedule.learning_rate.unit=epochs"], 2, "did you mean epoch?"),
        (["--steps-per-epoch", "0"], 2, "--steps-per-epoch=0 is out of range: give at least 1"),
        (["schedule=table"], 2, "schedule.learning_rate.file has no value"),
        (
            ["schedule=formula", "schedule.learning_rate.formula=1/step"],
            2,
            "schedule.learning_rate has no value after 0 updates",
        ),
        (["--output", "missing/x.png"], 1, "missing/x.png cannot be written (No such file or directory)"),
        (["~schedule.learning_rate"], 2, "no hyperparameter has a schedule"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(arguments) == status
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_a_sweep_gets_its_leaderboard_its_table_and_its_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_sweep(tmp_path / "sweep")
    write_run(sweep / "12_x", ["optimizer=sgd"], (), "failed", error="the disk is full")
    assert report.main(["sweep", "--metric", "validation/accuracy"]) == 0
    printed = capsys.readouterr().out
    assert "13 jobs by validation accuracy" in printed
    assert "validation accuracy over the seeds" in printed
    assert "12_x (failed): the disk is full" in printed
    assert (sweep / "sweep.csv").read_text().count("\n") == 14
    assert "13 jobs: sweep" in (sweep / "sweep.html").read_text()


def test_a_run_gets_its_page_in_its_folder_and_several_one_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As a job's folder is named: it is no override.
    one = write_run(tmp_path / "3_optimizer.learning_rate=0.1", ["optimizer.learning_rate=0.1"], losses(0.5))
    write_run(tmp_path / "other", [], losses(0.4))
    assert report.main([one.name]) == 0
    assert "The page is 3_optimizer.learning_rate=0.1/report.html" in capsys.readouterr().out
    assert (one / "report.html").exists()
    assert report.main(["other", one.name]) == 0
    printed = capsys.readouterr().out
    assert "The page is report.html" in printed
    assert "where their configurations differ" in printed
    assert (tmp_path / "report.html").exists()
    assert report.main(["other", "--output", "elsewhere.html"]) == 0
    assert (tmp_path / "elsewhere.html").exists()
    assert not (tmp_path / "other" / "report.html").exists()


def test_nothing_is_written_into_folders_that_hold_no_jobs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sweep(tmp_path / "day" / "sweep")
    write_run(tmp_path / "far" / "away" / "run")
    mistakes = {
        ".": "has no jobs in it: name the folder of a run or of a multirun",
        "day": "holds sweeps: name one of them, as",
        "day/sweep far/away/run": "is no run's folder: report on it alone",
        "day/sweep schedule=cosine": "day/sweep is a folder and schedule=cosine is a configuration's",
        "day/sweep --metric validation/acuracy": "did you mean validation/accuracy?",
        "day/sweep --mode most": "--mode=most is not known: allowed are max, min",
        "day/sweep/multirun.yaml": "multirun.yaml is a file: name the folder",
        "day/sweep --steps-per-epoch 3": "--steps-per-epoch is for the schedules of a configuration",
    }
    before = sorted(tmp_path.rglob("*"))
    for arguments, message in mistakes.items():
        assert report.main(arguments.split()) == 2, arguments
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_page_that_cannot_be_written_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", [], losses(0.5))
    assert report.main(["run", "--output", "nowhere/page.html"]) == 1
    assert "nowhere/page.html cannot be written (No such file or directory)" in capsys.readouterr().err
