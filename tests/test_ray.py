"""Jobs on a real Ray cluster, which the sweep starts on this machine and ends with itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweeping import is_importable, results, summary, sweep

pytestmark = pytest.mark.skipif(
    not is_importable("ray"), reason="Ray is not installed: pip install 'theano-trainer[ray]'"
)

ON_RAY = (
    "hydra/launcher=ray",
    "hydra.launcher.init.num_cpus=2",
    "+hydra.launcher.init.object_store_memory=80000000",
)


def test_jobs_run_on_ray_with_the_results_of_this_process(tmp_path: Path) -> None:
    for name, words in {"here": (), "there": ON_RAY}.items():
        (tmp_path / name).mkdir()
        finished = sweep(tmp_path / name, "optimizer.learning_rate=0.1,-1,0.01", *words)
        assert finished.status == 2, finished.err
        assert "optimizer.learning_rate=-1 is out of range" in finished.err
        assert summary(tmp_path / name, 1)["status"] == "failed"
    assert results(tmp_path / "here") == results(tmp_path / "there")
    assert len(results(tmp_path / "there")) == 2


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("+hydra.launcher.init.cores=3", "hydra.launcher.init: "),
        ("+hydra.launcher.remote.cores=3", "hydra.launcher.remote: "),
    ],
)
def test_an_argument_that_ray_does_not_take_is_told(tmp_path: Path, word: str, said: str) -> None:
    refused = sweep(tmp_path, "optimizer=sgd,adam", *ON_RAY, word)
    assert refused.status == 2
    assert said in refused.err
    assert "cores" in refused.err
