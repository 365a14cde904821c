"""Runs in MLflow's store, read back by MLflow's own client."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.test_loggers import plan
from trainer.errors import RunError, UsageError
from trainer.loggers import MLflow

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
pytest.importorskip("sqlalchemy", reason="MLflow's local store needs SQLAlchemy")
pytest.importorskip("alembic", reason="MLflow's local store needs Alembic")

CONFIG = "optimizer:\n  _target_: my_rules.rule\n  learning_rate: {rate}\nclipping: null\n"


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with MLflow's tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")
        mlflow.MlflowClient(f"sqlite:///{path}")
    return path


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what the logger would, so that it does not outlive the test; no request takes long."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def job(folder: Path, rate: float = 0.1) -> Path:
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    (folder / ".hydra" / "config.yaml").write_text(CONFIG.format(rate=rate))
    return folder


def logged(
    store: str, folder: Path, *losses: float, first: int = 0, status: str | None = "completed"
) -> None:
    logger = MLflow(store)
    logger.start(plan(folder, step=10 * first))
    for epoch, loss in enumerate(losses, start=first + 1):
        logger.record({"epoch": epoch, "step": 10 * epoch, "seconds": 1.0, "validation/loss": loss})
    if status is not None:
        logger.finish({"status": status, "best": {"validation/loss": min(losses)}, "test": {"loss": 0.5}})
        (folder / "summary.json").write_text("{}")
    logger.close()
    logger.close()


def runs(store: str) -> list[Any]:
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("trainer")
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.run_name"]))


def history(store: str, run: Any, key: str) -> list[tuple[int, float]]:
    points = mlflow.MlflowClient(store).get_metric_history(run.info.run_id, key)
    return [(point.step, point.value) for point in points]


def test_a_run_has_its_name_parameters_numbers_by_step_and_artifacts(store: str, tmp_path: Path) -> None:
    folder = job(tmp_path / "2026-11-22" / "10-00-00")
    logged(store, folder, 0.5, 0.25)
    (run,) = runs(store)
    assert (run.info.run_name, run.info.status) == ("2026-11-22/10-00-00", "FINISHED")
    assert run.data.params == {"optimizer": "my_rules.rule", "optimizer.learning_rate": "0.1"}
    assert history(store, run, "validation/loss") == [(10, 0.5), (20, 0.25)]
    assert (run.data.metrics["test/loss"], run.data.metrics["best/validation/loss"]) == (0.5, 0.25)
    stored = [file.path for file in mlflow.MlflowClient(store).list_artifacts(run.info.run_id)]
    assert stored == ["config.yaml", "summary.json"]


def test_the_jobs_of_a_sweep_stand_below_one_run(store: str, tmp_path: Path) -> None:
    sweep = tmp_path / "2026-11-22" / "11-00-00"
    sweep.mkdir(parents=True)
    (sweep / "multirun.yaml").touch()
    jobs = [job(sweep / name) for name in ("0_seed=0", "1_seed=1")]
    threads = [threading.Thread(target=logged, args=(store, each, 0.5)) for each in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second, above = runs(store)
    assert [run.info.run_name for run in (first, second, above)] == [
        "0_seed=0",
        "1_seed=1",
        "2026-11-22/11-00-00",
    ]
    assert {run.data.tags["mlflow.parentRunId"] for run in (first, second)} == {above.info.run_id}


def test_a_resumed_run_goes_on_with_the_same_one_and_says_what_it_changed(store: str, tmp_path: Path) -> None:
    folder = job(tmp_path / "a" / "run")
    logged(store, folder, 0.5, 0.25, 0.2, status="interrupted")
    assert runs(store)[0].info.status == "KILLED"
    job(folder, rate=0.05)
    # It takes the third epoch again, with the same result, and the fourth for the first time.
    logged(store, folder, 0.2, 0.1, first=2)
    (run,) = runs(store)
    assert run.info.status == "FINISHED"
    assert history(store, run, "validation/loss") == [(10, 0.5), (20, 0.25), (30, 0.2), (40, 0.1)]
    assert run.data.params["optimizer.learning_rate"] == "0.1"
    assert run.data.tags["changed.optimizer.learning_rate"] == "0.05"


def test_a_run_that_begins_anew_replaces_the_one_that_its_folder_had(store: str, tmp_path: Path) -> None:
    folder = job(tmp_path / "a" / "run")
    logged(store, folder, 0.5, status=None)
    assert runs(store)[0].info.status == "FAILED"
    logged(store, folder, 0.25)
    (run,) = runs(store)
    assert history(store, run, "validation/loss") == [(10, 0.25)]


def test_a_number_that_differs_after_going_back_stands_beside_the_first(store: str, tmp_path: Path) -> None:
    logger = MLflow(store)
    logger.start(plan(job(tmp_path / "a" / "run")))
    for loss in (0.5, 0.5, math.nan, math.nan, 0.25):
        logger.rewind(0)
        logger.record({"step": 10, "loss": loss})
    logger.close()
    points = history(store, runs(store)[0], "loss")
    assert [step for step, _ in points] == [10, 10, 10]
    assert sorted(value for _, value in points if not math.isnan(value)) == [0.25, 0.5]


def test_a_server_that_is_away_costs_a_warning_and_a_little_patience(
    store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = job(tmp_path / "a" / "run")
    logger = MLflow("http://127.0.0.1:9", patience=0.2)
    with caplog.at_level(logging.WARNING, "trainer"):
        logger.start(plan(folder))
        began = time.monotonic()
        for step in range(100):
            logger.record({"step": step, "loss": 0.5})
        assert time.monotonic() - began < 20
        while not caplog.messages:
            assert time.monotonic() - began < 120
            time.sleep(0.01)
        logger.close()
    assert [message.partition(" (")[0] for message in caplog.messages] == [
        "MLflow does not take the run",
        "MLflow lacks the last 101 of what was sent to it",
    ]
    assert not (folder / "mlflow.json").exists()


def test_a_store_that_comes_back_gets_everything(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, failures = type(mlflow.MlflowClient(store)), iter([OSError("away")] * 2)
    working = client.log_batch

    def log_batch(*given: Any, **named: Any) -> Any:
        for failure in failures:
            raise failure
        return working(*given, **named)

    monkeypatch.setattr(client, "log_batch", log_batch)
    monkeypatch.setattr("trainer.loggers.mlflow.FIRST_PAUSE", 0.01)
    logged(store, job(tmp_path / "a" / "run"), 0.5, 0.25)
    assert history(store, runs(store)[0], "validation/loss") == [(10, 0.5), (20, 0.25)]
    assert json.loads((tmp_path / "a" / "run" / "mlflow.json").read_text())["run_id"]


def test_a_database_that_another_process_makes_is_opened_a_little_later(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working, failures = mlflow.MlflowClient, iter([RuntimeError("table runs already exists")] * 2)

    def client(**given: Any) -> Any:
        for failure in failures:
            raise failure
        return working(**given)

    monkeypatch.setattr(mlflow, "MlflowClient", client)
    monkeypatch.setattr("trainer.loggers.mlflow_store._PAUSES", (0.0, 0.0, None))
    logged(store, job(tmp_path / "a" / "run"), 0.5)
    failures = iter([RuntimeError("no such\ntable")] * 3)
    with pytest.raises(RunError, match=r"store cannot be opened \(no such table\): mend it"):
        MLflow(store).start(plan(tmp_path))


def test_a_store_of_no_known_kind_is_a_mistake_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"logger\.mlflow\.tracking_uri=foo://x: .*sqlite:///mlflow\.db"):
        MLflow("foo://x").start(plan(tmp_path))
