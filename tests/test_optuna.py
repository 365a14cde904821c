"""Sweeps by Optuna: what is proposed, pruned, told and gone on with."""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'theano-trainer[optuna]'")

from tests.conftest import Finished  # noqa: E402
from trainer.checked_yaml import read_plain  # noqa: E402

Train = Callable[..., Finished]

SMALL = (
    "hydra/sweeper=optuna",
    "training.steps_per_epoch=2",
    "logger.curves=null",
    "logger.pictures=null",
    "hydra.sweep.dir=sweep",
)
RATE = "optimizer.learning_rate=tag(log,interval(1e-4,1e-1))"
GRID = "hydra/sweeper/sampler=grid"
HIDDEN = "model.hidden=[4]"
SPOILING = '''
from pathlib import Path
from trainer.training import Callback

class Spoil(Callback):
    """Spoils the study before the first report."""

    def on_train_start(self, loop):
        Path("sweep/study.db").write_bytes(b"no database" * 1000)
'''

FAILING = '''
from pathlib import Path
from trainer.training import Callback

class Cable(Callback):
    """Ends a run before its first step, until the cable is plugged in."""

    def on_train_start(self, loop):
        if not Path("plugged_in").exists():
            raise RuntimeError("the cable was pulled")
'''


def trials(folder: Path) -> list[tuple[str, dict[str, Any], Any, dict[int, float]]]:
    """Return what a study holds: states, values proposed, values reached, and what was reported when."""
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder}/study.db")
    return [
        (trial.state.name, trial.params, trial.values, trial.intermediate_values) for trial in study.trials
    ]


def job(folder: Path, number: int) -> Path:
    (found,) = folder.glob(f"{number}_*")
    return found


def summary(folder: Path, number: int) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((job(folder, number) / "summary.json").read_text())
    return content


def losses(folder: Path, number: int) -> dict[int, float]:
    lines = (job(folder, number) / "metrics.jsonl").read_text().splitlines()
    return {record["epoch"]: record["validation/loss"] for record in map(json.loads, lines)}


def kill_in_last_trial(folder: Path, number: int) -> None:
    """Leave a sweep as a kill does: the trial is begun and its values are drawn, the job has no end."""
    with closing(sqlite3.connect(folder / "study.db")) as connection, connection:
        (trial,) = connection.execute("select trial_id from trials where number = ?", [number]).fetchone()
        connection.execute(
            "update trials set state='RUNNING', datetime_complete=null where trial_id=?", [trial]
        )
        for table in ("trial_values", "trial_intermediate_values", "trial_user_attributes"):
            connection.execute(f"delete from {table} where trial_id=?", [trial])
    shutil.rmtree(job(folder, number))


@pytest.mark.usefixtures("uncompiled")
class TestSweeps:
    def test_the_same_seed_gives_the_same_trials(self, train: Train, tmp_path: Path) -> None:
        words = (*SMALL, HIDDEN, RATE, "optimizer=sgd,adam", "training.epochs=1", "hydra.sweeper.n_trials=3")
        for seed, name in ((0, "first"), (0, "second"), (1, "other")):
            finished = train("-m", *words, f"hydra.sweeper.seed={seed}", f"hydra.sweep.dir={name}")
            assert finished.status == 0, finished.err
        assert trials(tmp_path / "first") == trials(tmp_path / "second")
        assert trials(tmp_path / "first")[0][1] != trials(tmp_path / "other")[0][1]
        assert (
            len({proposed["optimizer.learning_rate"] for _, proposed, *_ in trials(tmp_path / "first")}) == 3
        )
        for number, (state, proposed, values, _) in enumerate(trials(tmp_path / "first")):
            best = summary(tmp_path / "first", number)["best"]
            assert (state, values) == ("COMPLETE", [best["validation/loss"]])
            assert best["hyperparameter/learning_rate"] == pytest.approx(proposed["optimizer.learning_rate"])

    def test_a_trial_is_pruned_where_it_is_poorer_than_the_median(self, train: Train, tmp_path: Path) -> None:
        finished = train(
            "-m",
            *SMALL,
            HIDDEN,
            GRID,
            "optimizer.learning_rate=0.1,0.03,0.01,1e-3,1e-4,1e-5",
            "training.epochs=3",
            "hydra.sweeper.pruner.n_startup_trials=1",
            "hydra.sweeper.pruner.n_warmup_steps=2",
        )
        assert finished.status == 0, finished.err
        finished_before: list[dict[int, float]] = []
        states = []
        for number, (state, _, _, told) in enumerate(trials(tmp_path / "sweep")):
            states.append(state)
            reached = losses(tmp_path / "sweep", number)
            assert told == pytest.approx(reached)
            is_poor = [
                bool(finished_before)
                and min(value for each, value in reached.items() if each <= epoch)
                > statistics.median(other[epoch] for other in finished_before)
                for epoch in (2, 3)
                if epoch in reached
            ]
            log = (job(tmp_path / "sweep", number) / "train.log").read_text()
            status = summary(tmp_path / "sweep", number)["status"]
            if len(reached) < 3:
                assert (is_poor, state, status) == ([True], "PRUNED", "stopped_early")
                assert f"stopped early: pruned: trial {number} is poorer after epoch 2" in log
            else:
                assert (is_poor[0], status) == (False, "completed")
                finished_before.append(reached)
        assert "PRUNED" in states
        assert "COMPLETE" in states

    def test_without_a_pruner_nothing_is_reported(self, train: Train, tmp_path: Path) -> None:
        words = (HIDDEN, RATE, "training.epochs=1", "hydra/sweeper/pruner=none", "hydra.sweeper.n_trials=2")
        assert train("-m", *SMALL, *words).status == 0
        found = [(state, told) for state, _, _, told in trials(tmp_path / "sweep")]
        assert found == [("COMPLETE", {}), ("COMPLETE", {})]

    def test_a_failed_trial_is_told_as_failed_and_stops_nothing(self, train: Train, tmp_path: Path) -> None:
        words = (HIDDEN, GRID, "optimizer.learning_rate=-1,0.01", "training.epochs=1")
        finished = train("-m", *SMALL, *words)
        assert finished.status == 2
        assert "optimizer.learning_rate=-1 is out of range" in finished.err
        found = {params["optimizer.learning_rate"]: state for state, params, *_ in trials(tmp_path / "sweep")}
        assert found == {"-1": "FAIL", "0.01": "COMPLETE"}
        assert "Best of 2 trials" in finished.out
        # Optuna changes no trial that it was told of.
        assert finished.err.endswith(
            "no resumption runs it again, since with the same values it would end the same\n"
        )
        again = train("-m", "sweep.resume=sweep")
        assert (again.status, again.err) == (finished.status, finished.err)

    def test_a_trial_that_failed_by_no_fault_of_its_values_is_run_by_a_resumption(
        self, train: Train, tmp_path: Path
    ) -> None:
        (tmp_path / "unplugged.py").write_text(FAILING)
        words = (HIDDEN, GRID, "optimizer.learning_rate=0.1,0.01", "training.epochs=1")
        failed = train("-m", *SMALL, *words, "+callbacks.cable._target_=unplugged.Cable")
        assert failed.status == 1
        assert "the cable was pulled" in failed.err
        (tmp_path / "plugged_in").touch()
        resumed = train("-m", "sweep.resume=sweep")
        assert resumed.status == 0, resumed.err
        found = {params["optimizer.learning_rate"]: state for state, params, *_ in trials(tmp_path / "sweep")}
        assert found == {"0.1": "COMPLETE", "0.01": "COMPLETE"}

    def test_several_objectives_give_the_front_that_none_beats(self, train: Train, tmp_path: Path) -> None:
        objectives = "hydra.sweeper.objectives=[validation/loss,parameters]"
        finished = train("-m", *SMALL, GRID, "model.hidden=[2],[8],[32]", "training.epochs=2", objectives)
        assert finished.status == 0, finished.err
        sweep = tmp_path / "sweep"
        runs = [summary(sweep, number) for number in range(3)]
        values = [(run["best"]["validation/loss"], run["parameters"]) for run in runs]
        front = {
            number
            for number, (loss, size) in enumerate(values)
            if not any(a <= loss and b <= size and (a, b) != (loss, size) for a, b in values)
        }
        result = read_plain(sweep / "optimization_results.yaml")
        assert {best["job"] for best in result["best"]} == front
        assert "Pareto front of 3 trials by validation loss and parameters" in finished.out

    def test_a_study_goes_on_toward_the_total_as_if_it_had_not_been_killed(
        self, train: Train, tmp_path: Path
    ) -> None:
        words = (*SMALL, HIDDEN, RATE, "training.epochs=1", "hydra.sweeper.sampler.n_startup_trials=2")
        for name, total in (("whole", 5), ("parts", 4)):
            count = f"hydra.sweeper.n_trials={total}"
            assert train("-m", *words, count, f"hydra.sweep.dir={name}").status == 0
        kill_in_last_trial(tmp_path / "parts", 3)
        finished = train("-m", "sweep.resume=parts", "hydra.sweeper.n_trials=5")
        assert finished.status == 0, finished.err
        assert trials(tmp_path / "parts") == trials(tmp_path / "whole")
        for number in range(5):
            assert job(tmp_path / "parts", number).name == job(tmp_path / "whole", number).name

    def test_another_search_is_refused_with_the_difference(self, train: Train, tmp_path: Path) -> None:
        words = (*SMALL, HIDDEN, "training.epochs=1", "hydra.sweeper.n_trials=1")
        assert train("-m", *words, RATE).status == 0
        for name in ("sweep.json", "multirun.yaml"):
            (tmp_path / "sweep" / name).unlink()
        refused = train("-m", *words, RATE.replace("1e-4", "1e-3"))
        assert refused.status == 2
        assert "is the study of another search: optimizer.learning_rate was" in refused.err

    def test_a_study_that_cannot_be_reached_ends_no_run(self, train: Train, tmp_path: Path) -> None:
        (tmp_path / "spoiling.py").write_text(SPOILING)
        words = (HIDDEN, RATE, "training.epochs=2", "hydra.sweeper.n_trials=1")
        train("-m", *SMALL, *words, "+callbacks.spoil._target_=spoiling.Spoil")
        assert summary(tmp_path / "sweep", 0)["status"] == "completed"
        assert "takes no reports" in (job(tmp_path / "sweep", 0) / "train.log").read_text()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials=0: give a whole number from 1"),
        ("hydra.sweeper.n_jobs=0", "hydra.sweeper.n_jobs=0: give a whole number from 1"),
        ("hydra.sweeper.seed=-1", "hydra.sweeper.seed=-1: give a whole number from 0"),
        ("hydra/sweeper/sampler=grid", "is an interval, which hydra/sweeper/sampler=grid cannot go through"),
        ("hydra/sweeper/sampler=bayes", "hydra/sweeper/sampler=bayes is not known"),
        ("+hydra.sweeper.sampler.colour=red", "hydra.sweeper.sampler: "),
        ("hydra.sweeper.sampler._target_=json.loads", "json.loads is no BaseSampler of Optuna's"),
        ("hydra.sweeper.pruner.n_warmup_steps=-1", "hydra.sweeper.pruner: "),
        ("hydra.sweeper.objectives=[validation/accuracy]", "nothing says whether validation/accuracy"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    train: Train, tmp_path: Path, word: str, said: str
) -> None:
    refused = train("-m", *SMALL, HIDDEN, RATE, word)
    assert refused.status == 2
    assert said in refused.err
    assert not list(tmp_path.glob("sweep/*/.hydra"))


def test_an_interval_without_optuna_names_the_sweeper_that_takes_it(train: Train) -> None:
    refused = train("-m", HIDDEN, RATE)
    assert refused.status == 2
    assert "add hydra/sweeper=optuna" in refused.err
