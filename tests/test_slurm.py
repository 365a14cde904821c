"""Jobs on a real Slurm, which the fixture starts on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import slurm
from tests.sweeping import NOTE, results, summary, sweep, write_noting

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'theano-trainer[slurm]'")

ON_SLURM = ("hydra/launcher=slurm", "hydra.launcher.poll_seconds=0.2", "hydra.launcher.timeout_min=5")


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    # A socket's path is short by law, and pytest's folders are deep.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        try:
            with slurm.running(Path(folder) / "cluster") as environment:
                yield environment
        except slurm.Unavailable as error:
            pytest.skip(str(error))


def test_jobs_run_on_slurm_with_the_results_of_this_process(tmp_path: Path, cluster: dict[str, str]) -> None:
    for name, words in {"here": (), "there": ON_SLURM}.items():
        (tmp_path / name).mkdir()
        finished = sweep(tmp_path / name, "optimizer.learning_rate=0.1,-1,0.01", *words, env=cluster)
        assert finished.status == 2, finished.err
        assert "optimizer.learning_rate=-1 is out of range" in finished.err
    assert results(tmp_path / "here") == results(tmp_path / "there")
    assert len(results(tmp_path / "there")) == 2


def test_a_job_that_slurm_loses_is_told_and_the_others_go_on(tmp_path: Path, cluster: dict[str, str]) -> None:
    write_noting(tmp_path)
    rates = "optimizer.learning_rate=0.1,0.02"
    finished = sweep(tmp_path, rates, *ON_SLURM, NOTE, "+callbacks.note.dies_at=0.02", env=cluster)
    assert finished.status == 1, finished.err
    assert summary(tmp_path, 0)["status"] == "completed"
    assert "was lost: it left no result" in summary(tmp_path, 1)["error"]
    assert "was lost: it left no result" in finished.err


def test_what_slurm_refuses_is_told(tmp_path: Path, cluster: dict[str, str]) -> None:
    refused = sweep(
        tmp_path, "optimizer=sgd,adam", *ON_SLURM, "hydra.launcher.slurm.partition=none", env=cluster
    )
    assert refused.status == 2
    assert "invalid partition specified: none" in refused.err
    assert "hydra.launcher.slurm" in refused.err
