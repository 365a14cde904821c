"""Which destinations a run's numbers go to, chosen on the command line."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from typing import Any

import pytest

from trainer.errors import UsageError
from trainer.loggers import MLflow, TensorBoard

DEFAULT = {"console", "json_lines", "curves", "pictures"}


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        (["logger=csv"], {*DEFAULT, "csv"}),
        (["logger=[csv, mlflow]", "logger.mlflow.experiment=digits"], {*DEFAULT, "csv", "mlflow"}),
        (["logger=[default,tensorboard]"], {*DEFAULT, "tensorboard"}),
        (["logger=csv", "logger.curves=null"], {*DEFAULT, "csv"} - {"curves"}),
        (["+logger@logger.second=csv"], {*DEFAULT, "second"}),
        (["logger=default"], DEFAULT),
    ],
)
def test_a_choice_stands_beside_the_default_loggers(
    train: Callable[..., Any], given: list[str], chosen: set[str]
) -> None:
    import yaml

    done = train(*given, "--cfg", "job")
    assert done.status == 0, done.err
    loggers = yaml.safe_load(done.out)["logger"]
    assert {name for name, node in loggers.items() if node is not None} == chosen


def test_a_logger_that_there_is_not_is_refused_with_those_that_there_are(train: Callable[..., Any]) -> None:
    done = train("logger=cvs")
    assert done.status == 2
    assert "did you mean csv? Allowed are csv, default, mlflow, tensorboard" in done.err


@pytest.mark.parametrize(
    ("module", "extra", "make"),
    [
        ("tensorboardX", "tensorboard", TensorBoard),
        ("mlflow", "mlflow", MLflow),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, extra: str, make: Callable[[], Any]
) -> None:
    for name in ("DISABLE_TELEMETRY", "LOGGING_LEVEL", "HTTP_REQUEST_MAX_RETRIES", "HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(f"MLFLOW_{name}", "1")
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"needs {module}.*pip install 'theano-trainer\[{extra}\]'"):
        make()


def test_a_run_and_its_resumption_leave_one_table(train: Callable[..., Any], uncompiled: None) -> None:
    tiny = ("training.steps_per_epoch=1", "model.hidden=[2]", "logger.curves=null", "logger.pictures=null")
    first = train("logger=csv", "training.epochs=2", *tiny)
    assert first.status == 0, first.err
    resumed = train(f"resume={first.folder}", "training.epochs=3")
    assert resumed.status == 0, resumed.err
    with (first.folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{key: float(cell) for key, cell in row.items()} for row in rows] == first.records
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
