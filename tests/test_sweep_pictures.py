"""Which jobs of a sweep draw pictures: the best so far, or all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.resuming import Train
from tests.test_sweep_resume import jobs, summary

SMALL = ("model.hidden=[4]", "training.epochs=1", "training.steps_per_epoch=5", "hydra.sweep.dir=sweep")
RATES = ("optimizer=sgd", "optimizer.learning_rate=1e-6,0.1,1e-5,0.3")


def drawn(folder: Path) -> list[bool]:
    found = [(job / "curves.png").exists() for job in jobs(folder)]
    assert found == [(job / "confusion_matrix.png").exists() for job in jobs(folder)]
    return found


@pytest.mark.usefixtures("uncompiled")
class TestPictures:
    @pytest.mark.parametrize(
        ("monitor", "better"),
        [("validation/loss", lambda a, b: a < b), ("validation/accuracy", lambda a, b: a > b)],
    )
    def test_a_job_draws_them_that_is_the_best_so_far(
        self, train: Train, tmp_path: Path, monitor: str, better: object
    ) -> None:
        mode = "min" if monitor.endswith("loss") else "max"
        words = (f"training.monitor={monitor}", f"training.mode={mode}")
        assert train("-m", *SMALL, *RATES, *words).status == 0
        values = [summary(job)["best"][monitor] for job in jobs(tmp_path / "sweep")]
        assert callable(better)
        wanted = [
            not any(better(former, value) for former in values[:place]) for place, value in enumerate(values)
        ]
        assert False in wanted
        assert drawn(tmp_path / "sweep") == wanted

    def test_a_resumption_draws_the_curves_of_the_best_job_where_it_was_killed_before_it_did(
        self, train: Train, tmp_path: Path
    ) -> None:
        assert train("-m", *SMALL, *RATES).status == 0
        folders = jobs(tmp_path / "sweep")
        values = [summary(job)["best"]["validation/loss"] for job in folders]
        best = folders[values.index(min(values))]
        as_drawn = (best / "curves.png").read_bytes()
        for job in folders:
            (job / "curves.png").unlink(missing_ok=True)
        assert train("-m", "sweep.resume=sweep").status == 0
        assert [job for job in folders if (job / "curves.png").exists()] == [best]
        assert (best / "curves.png").read_bytes() == as_drawn

    def test_all_do_where_all_are_asked_for(self, train: Train, tmp_path: Path) -> None:
        words = ("logger.curves.in_sweeps=all", "logger.pictures.in_sweeps=all")
        assert train("-m", *SMALL, *RATES, *words).status == 0
        assert drawn(tmp_path / "sweep") == [True] * 4

    def test_another_word_is_refused(self, train: Train) -> None:
        refused = train(*SMALL[:3], "logger.curves.in_sweeps=some")
        assert refused.status == 2
        assert "logger.curves.in_sweeps=some is no choice: give best or all" in refused.err
