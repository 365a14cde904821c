"""What a sweep came to: the leaderboard, `sweep.csv`, seeds together, importance."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from tests.run_folders import losses, write_run, write_sweep
from trainer import forest
from trainer.errors import UsageError
from trainer.loggers import drawing
from trainer.loggers.drawing import drawn_beside
from trainer.sweep.importance import importance, prepare
from trainer.sweep.leaderboard import differences, leaderboard, settings, show_sweep
from trainer.sweep.results import Results
from trainer.sweep.table import write_table


def lines(table: Table, width: int = 200) -> list[list[str]]:
    paper = Console(file=io.StringIO(), width=width, color_system=None)
    paper.print(table)
    assert isinstance(paper.file, io.StringIO)
    return [
        line.replace("\u00a0", " ").split() for line in paper.file.getvalue().splitlines() if line.strip()
    ]


def rows(folder: Path, results: Results) -> list[dict[str, str]]:
    write_table(results, folder / "sweep.csv")
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_best_job_stands_first_and_those_without_a_value_last(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep")
    write_run(sweep / "12_broken", ["optimizer=sgd"], (), "failed", error="out of range")
    results = Results.of_sweep(sweep)
    assert (results.metric, results.mode, results.varied) == (
        "validation/loss",
        "min",
        ["optimizer", "optimizer.learning_rate", "training.seed"],
    )
    # The loss of a job is its rate + 0.002 of its seed, and 1 more with sgd.
    assert [job.number for job in results.ranked] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    by_accuracy = Results.of_sweep(sweep, "validation/accuracy")
    assert (by_accuracy.mode, by_accuracy.ranked[0].number) == ("max", 0)
    assert Results.of_sweep(sweep, "validation/accuracy", "min").ranked[0].number == 11
    table = lines(leaderboard(results))
    assert table[4][:6] == ["0", "adam", "0.001", "1", "completed", "5"]
    assert table[-1][:2] == ["12", "sgd"]


def test_no_number_is_broken_on_a_narrow_screen(tmp_path: Path) -> None:
    results = Results.of_sweep(write_sweep(tmp_path / "sweep"))
    wide, narrow = lines(leaderboard(results)), lines(leaderboard(results, 60), 60)
    assert {"99.97", "50.00"} <= set(wide[4])  # both accuracies
    assert not any("…" in word for line in narrow for word in line)
    best = next(line for line in narrow if line[:1] == ["0"])
    assert best == ["0", "adam", "0.001", "1", "5", "0.0030", "0.0130"]


def test_the_csv_holds_every_job_with_all_digits_and_its_times_last(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", loss=lambda rule, rate, seed: rate + seed / 3)
    write_run(sweep / "12_broken", ["optimizer=sgd"], (), "failed")
    table = rows(sweep, Results.of_sweep(sweep))
    assert list(table[0]) == [
        *("number", "name", "status", "optimizer", "optimizer.learning_rate", "training.seed"),
        *(
            "epochs",
            "steps",
            "best_epoch",
            "best/validation/loss",
            "best/validation/accuracy",
            "best/train/loss",
        ),
        *("test/loss", "test/accuracy", "train_seconds", "compile_seconds"),
    ]
    assert [row["number"] for row in table] == [str(number) for number in range(13)]
    assert float(table[3]["best/validation/loss"]) == 0.01 + 2 / 3
    assert (table[3]["optimizer"], table[3]["training.seed"], table[3]["train_seconds"]) == (
        "adam",
        "2",
        "2.5",
    )
    assert table[12]["best/validation/loss"] == table[12]["test/loss"] == ""


def test_the_same_jobs_give_the_same_csv(tmp_path: Path) -> None:
    one, other = (write_sweep(tmp_path / name) for name in ("one", "other"))
    for sweep in (one, other):
        write_table(Results.of_sweep(sweep), sweep / "sweep.csv")
    assert (one / "sweep.csv").read_bytes() == (other / "sweep.csv").read_bytes()


def test_seeds_are_put_together(tmp_path: Path) -> None:
    noise = {("adam", 0.01): [0.3, 0.1, 0.2], ("sgd", 0.01): [0.15, 0.16, 0.14]}
    sweep = write_sweep(
        tmp_path / "sweep",
        rates=["0.01"],
        seeds=[1, 2, 3],
        loss=lambda rule, rate, seed: noise[rule, rate][seed - 1],
    )
    results = Results.of_sweep(sweep)
    first, second = results.groups
    assert [first.mean, second.mean] == pytest.approx([0.15, 0.2])
    assert [first.spread, second.spread] == pytest.approx(
        [np.std(values, ddof=1) for values in (noise["sgd", 0.01], noise["adam", 0.01])]
    )
    assert (second.least, second.greatest) == (0.1, 0.3)
    assert lines(settings(results))[3] == ["sgd", "3", "0.1500", "0.0100", "0.1400", "0.1600"]
    alone = Results.of_sweep(write_sweep(tmp_path / "alone", seeds=[1]))
    assert (alone.groups, alone.seeds) == ([], [])


def test_importance_finds_what_matters_and_says_nothing_of_few_jobs(tmp_path: Path) -> None:
    rates = [f"1e-{power}" for power in range(1, 6)]
    sweep = write_sweep(
        tmp_path / "sweep", rates=rates, loss=lambda rule, rate, seed: abs(np.log10(rate) + 3)
    )
    found = importance(Results.of_sweep(sweep))
    assert found is not None
    assert found.means["optimizer.learning_rate"] > 1 > 0.05 > abs(found.means["optimizer"])
    assert (found.jobs, found.r2 > 0.9, "training.seed" in found.means) == (20, True, False)
    assert importance(Results.of_sweep(sweep)) == found
    assert importance(Results.of_sweep(write_sweep(tmp_path / "few", rates=["1e-1"]))) is None


def test_importance_is_learnt_beside_and_is_the_same(tmp_path: Path) -> None:
    rates = [f"1e-{power}" for power in range(1, 6)]
    sweep = write_sweep(
        tmp_path / "sweep", rates=rates, loss=lambda rule, rate, seed: abs(np.log10(rate) + 3)
    )
    here = importance(Results.of_sweep(sweep))
    asked: list[Any] = []
    call = drawing.Beside.call

    def noted(beside: drawing.Beside, function: Any, arguments: Any) -> Any:
        asked.append(function)
        return call(beside, function, arguments)

    with drawn_beside(lambda: False), pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing.Beside, "call", noted)
        prepare()
        assert importance(Results.of_sweep(sweep)) == here
    assert asked == [forest.prepare, forest.learn]


def test_runs_are_compared_by_their_configurations(tmp_path: Path) -> None:
    one = write_run(tmp_path / "day" / "one", ["optimizer.learning_rate=0.1"], losses(0.5))
    other = write_run(tmp_path / "night" / "two", ["+optimizer.rho=0.9"], losses(0.4))
    results = Results.of_runs([one, other])
    assert [results.name(job) for job in results.ranked] == ["night/two", "day/one"]
    table = lines(differences(results))
    assert ["optimizer.learning_rate", "0.1", "0.002"] in table
    assert ["optimizer.rho", "0.9"] in table


def test_a_full_disk_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_sweep(tmp_path / "sweep", rates=["0.1"], seeds=[1])
    assert not show_sweep(Results.of_sweep(sweep), tmp_path / "nowhere" / "sweep.html")
    assert (sweep / "sweep.csv").exists()
    assert "sweep.html cannot be written (No such file or directory)" in caplog.text
    assert "2 jobs by validation loss" in capsys.readouterr().out


def test_a_sweep_of_failures_has_a_leaderboard_too(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    write_run(sweep / "0", (), (), "failed")
    (sweep / "multirun.yaml").write_text("")
    results = Results.of_sweep(sweep)
    assert results.best is None
    assert lines(leaderboard(results))[-1] == ["0", "failed"]
    with pytest.raises(UsageError, match="no job has measured anything yet"):
        Results.of_sweep(sweep, "validation/loss")
