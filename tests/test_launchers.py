"""Launchers on this machine: every job runs, with the same results, whatever becomes of the others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from tests.conftest import Finished
from tests.sweeping import NOTE, notes, results, summary, sweep, write_noting
from trainer.runtime.threads import cores

Train = Callable[..., Finished]

RATES = "optimizer.learning_rate=0.1,-1,0.01"


class TestJoblib:
    def test_it_gives_what_the_basic_launcher_gives(self, tmp_path: Path) -> None:
        for name, words in {"one": (), "all": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")}.items():
            (tmp_path / name).mkdir()
            finished = sweep(tmp_path / name, RATES, *words)
            assert finished.status == 2, finished.err
            assert "optimizer.learning_rate=-1 is out of range" in finished.err
            assert [summary(tmp_path / name, number)["status"] for number in range(3)] == [
                "completed",
                "failed",
                "completed",
            ]
        assert results(tmp_path / "one") == results(tmp_path / "all")

    def test_its_processes_work_through_the_jobs_with_their_share_of_the_cores(self, tmp_path: Path) -> None:
        write_noting(tmp_path)
        unset = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "")
        words = ("training.seed=1,2,3,4", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", NOTE)
        finished = sweep(tmp_path, *words, env=unset)
        assert finished.status == 0, finished.err
        found = notes(tmp_path)
        assert len(found) == 4
        assert len({note["process"] for note in found}) <= 2
        assert {note["threads"] for note in found} == {str(max(1, cores() // 2))}

    def test_a_process_that_dies_takes_no_other_job_along(self, tmp_path: Path) -> None:
        write_noting(tmp_path)
        finished = sweep(
            tmp_path,
            "optimizer.learning_rate=0.1,0.02,0.01,0.03",
            "hydra/launcher=joblib",
            "hydra.launcher.n_jobs=2",
            NOTE,
            "+callbacks.note.dies_at=0.02",
        )
        assert finished.status == 1, finished.err
        assert "the job's process died" in finished.err
        statuses = [summary(tmp_path, number)["status"] for number in (0, 2, 3)]
        assert statuses == ["completed"] * 3
        assert "died" in summary(tmp_path, 1)["error"]

    def test_a_job_whose_process_died_once_goes_on(self, tmp_path: Path) -> None:
        write_noting(tmp_path)
        finished = sweep(
            tmp_path,
            "optimizer.learning_rate=0.1,0.02",
            "hydra/launcher=joblib",
            "hydra.launcher.n_jobs=2",
            NOTE,
            "+callbacks.note.dies_at=0.02",
            "+callbacks.note.once=died",
        )
        assert finished.status == 0, finished.err
        assert [summary(tmp_path, number)["epochs"] for number in range(2)] == [2, 2]
        assert (tmp_path / "died").exists()
        # The other one was begun once more too, where it was still at work when the process died.
        assert len(notes(tmp_path)) in (3, 4)

    def test_more_workers_than_make_sense_are_refused(self, train: Train) -> None:
        refused = train("-m", "optimizer=sgd,adam", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0")
        assert refused.status == 2
        assert "hydra.launcher.n_jobs=0: give a whole number from 1" in refused.err


def test_submitit_runs_jobs_in_processes_here(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'theano-trainer[slurm]'")
    finished = sweep(tmp_path, RATES, "hydra/launcher=submitit", "hydra.launcher.cluster=local")
    assert finished.status == 2, finished.err
    assert [summary(tmp_path, number)["status"] for number in range(3)] == [
        "completed",
        "failed",
        "completed",
    ]
    assert (tmp_path / "sweep" / ".submitit").is_dir()


@pytest.mark.parametrize(
    ("choice", "module", "extra"),
    [
        ("hydra/launcher=joblib", "joblib.externals.loky", "joblib"),
        ("hydra/launcher=slurm", "submitit", "slurm"),
        ("hydra/launcher=submitit", "submitit", "slurm"),
        ("hydra/launcher=ray", "ray", "ray"),
        ("hydra/sweeper=optuna", "optuna", "optuna"),
    ],
)
def test_a_package_that_is_missing_is_named_by_its_extra(
    train: Train, monkeypatch: pytest.MonkeyPatch, choice: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    refused = train("-m", "optimizer=sgd,adam", choice)
    assert refused.status == 2
    assert f"pip install 'theano-trainer[{extra}]'" in refused.err


def test_slurm_is_refused_where_there_is_none(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'theano-trainer[slurm]'")
    monkeypatch.setenv("PATH", "")
    refused = train("-m", "optimizer=sgd,adam", "hydra/launcher=slurm")
    assert refused.status == 2
    assert "sbatch, srun and squeue are not on the PATH" in refused.err


def test_another_plugin_of_the_same_name_changes_nothing(train: Train) -> None:
    Plugins.instance()  # which fills the store
    # As hydra-joblib-launcher and hydra-optuna-sweeper leave them, with keys that are not ours.
    store = ConfigStore.instance()
    before = {group: dict(store.repo["hydra"][group]) for group in ("launcher", "sweeper")}
    try:
        store.store(group="hydra/launcher", name="joblib", node={"_target_": "other.Launcher", "prefer": "x"})
        store.store(
            group="hydra/sweeper", name="optuna", node={"defaults": [{"sampler": "tpe"}], "_target_": "other"}
        )
        shown = train("--cfg", "hydra", "hydra/launcher=joblib", "hydra/sweeper=optuna")
    finally:
        for group, content in before.items():
            store.repo["hydra"][group] = content
    assert shown.status == 0, shown.err
    assert shown.err == ""
    assert "hydra_plugins.theano_trainer.JoblibLauncher" in shown.out
    assert "hydra_plugins.theano_trainer.OptunaSweeper" in shown.out
    assert "prefer" not in shown.out
