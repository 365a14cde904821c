"""MLflow's store as a run sees it: an experiment, a run of it, and one above that for a sweep."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trainer.errors import RunError, UsageError
from trainer.loggers.atomic import write_atomically
from trainer.loggers.extras import optional
from trainer.loggers.identity import Identity

NOTE = "mlflow.json"

# Of one request, as MLflow's servers have it.
_MOST_PARAMETERS, _MOST_METRICS = 100, 1000
_LONGEST_PARAMETER = 500
# Seconds until a database is opened once more.
_PAUSES = (1.0, 5.0, None)
_PARENT = "mlflow.parentRunId"
_REFUSED = re.compile(r"[^\w\-. :/]")


class Point(NamedTuple):
    """A number at a step, and when it was taken, in milliseconds."""

    key: str
    value: float
    milliseconds: int
    step: int


def points_of(values: Mapping[str, float | None], step: int) -> list[Point]:
    """Return a record's numbers, taken now; None stands for one that is not finite."""
    now = int(time.time() * 1000)
    numbers = {key_of(key): math.nan if value is None else float(value) for key, value in values.items()}
    return [Point(key, value, now, step) for key, value in numbers.items()]


def require() -> Any:
    """Import MLflow.

    Raises
    ------
    UsageError
        MLflow is not installed.
    """
    # It would tell its makers of each use, and the screen of each table that it makes.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # A server that is away is asked again later on: no request waits for it for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    return optional("mlflow", "mlflow")


def client_of(tracking_uri: str | None) -> Any:
    """Return a client of MLflow's store; None stands for MLflow's own default.

    Raises
    ------
    UsageError
        MLflow is not installed, or has no such store.
    RunError
        The store cannot be opened.
    """
    mlflow = require()
    for wait in _PAUSES:
        try:
            return mlflow.MlflowClient(tracking_uri=tracking_uri)
        except ModuleNotFoundError as error:
            raise UsageError(
                f"logger.mlflow.tracking_uri={tracking_uri or 'null'} needs {error.name}, which is not "
                "installed: pip install 'theano-trainer[mlflow]'"
            ) from error
        except mlflow.exceptions.MlflowException as error:
            reason = " ".join(str(error).split()).partition(". ")[0]
            raise UsageError(
                f"logger.mlflow.tracking_uri={tracking_uri}: {reason}; give a database or a server, as in "
                "sqlite:///mlflow.db or http://localhost:5000"
            ) from error
        except Exception as error:  # of the database: another process may make its tables just now
            if wait is None:
                reason = " ".join(str(error).split())[:200]
                raise RunError(
                    f"MLflow's store cannot be opened ({reason}): mend it, or name another by "
                    "logger.mlflow.tracking_uri=..."
                ) from error
            time.sleep(wait)
    raise AssertionError


class StoredRun:
    """One run in MLflow's store.

    Parameters
    ----------
    client : mlflow.MlflowClient
        Of the store.
    experiment : str
        Its name; it is made where there is none.
    folder : Path
        The run's folder; `mlflow.json` there says which run of the store is its.
    goes_on : bool
        Whether the run goes on after a checkpoint. One that begins anew gets a new run in the store, and the
        one that it had goes to MLflow's trash.
    """

    def __init__(self, client: Any, experiment: str, folder: Path, goes_on: bool) -> None:
        self._client = client
        self._identity = Identity(folder)
        self._told: dict[str, dict[int, float]] = {}
        self._is_new = True
        with creation(folder):
            self._experiment = self._find_experiment(experiment)
            earlier = self._noted(folder)
            if earlier is not None and goes_on:
                self.id, self._is_new = earlier, False
                client.update_run(self.id, status="RUNNING")
            else:
                if earlier is not None:
                    client.delete_run(earlier)
                self.id = self._create(self._identity.name, self._tags())
                _note(folder, self.id)
        self._configure()

    def metrics(self, points: Sequence[Point]) -> None:
        """Write numbers, but for those that stand there already: a resumed run takes the same ones again."""
        entities = optional("mlflow.entities", "mlflow")
        new: list[Point] = []
        values: dict[tuple[str, int], float] = {}
        for point in points:
            place = point.key, point.step
            there = values.get(place, self._history(point.key).get(point.step))
            if not _same(there, point.value):
                new.append(point)
                values[place] = point.value
        metrics = [entities.Metric(*point) for point in new]
        for first in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self.id, metrics=metrics[first : first + _MOST_METRICS])
        for (key, step), value in values.items():
            self._told[key][step] = value

    def end(self, status: str, files: list[Path]) -> None:
        """Store files, and say how the run ended."""
        for path in files:
            self._client.log_artifact(self.id, str(path))
        self._client.set_tag(self.id, "trainer.status", status)
        known = {"completed": "FINISHED", "stopped_early": "FINISHED", "interrupted": "KILLED"}
        self._client.set_terminated(self.id, known.get(status, "FAILED"))

    def _find_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            with contextlib.suppress(require().exceptions.MlflowException):
                return str(self._client.create_experiment(name))
            # Another process was faster, or the store says why not.
            found = self._client.get_experiment_by_name(name)
            if found is None:
                return str(self._client.create_experiment(name))
        return str(found.experiment_id)

    def _create(self, name: str, tags: Mapping[str, str]) -> str:
        return str(self._client.create_run(self._experiment, run_name=name, tags=dict(tags)).info.run_id)

    def _tags(self) -> dict[str, str]:
        tags = {"trainer.folder": str(self._identity.folder.resolve())}
        sweep = self._identity.sweep
        if sweep is None:
            return tags
        parent = self._noted(sweep)
        if parent is None:
            parent = self._create(self._identity.group, {"trainer.folder": str(sweep)})
            # Nobody is there at the end who would say that all jobs are done.
            self._client.set_terminated(parent, "FINISHED")
            _note(sweep, parent)
        return {**tags, _PARENT: parent, "trainer.sweep": self._identity.group}

    def _noted(self, folder: Path) -> str | None:
        """Return the run that a folder has in this store, where it still is there."""
        try:
            noted = str(json.loads((folder / NOTE).read_bytes())["run_id"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        mlflow = require()
        try:
            found = self._client.get_run(noted)
        except mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return noted if found.info.lifecycle_stage == "active" else None

    def _configure(self) -> None:
        """Write the configuration; what a resumed run has changed is a tag, since a parameter stays."""
        entities = optional("mlflow.entities", "mlflow")
        given = {key_of(key): str(value) for key, value in self._identity.hyperparameters.items()}
        given = {key: value[:_LONGEST_PARAMETER] for key, value in given.items()}
        had = {} if self._is_new else self._client.get_run(self.id).data.params
        new = [entities.Param(key, value) for key, value in given.items() if key not in had]
        for first in range(0, len(new), _MOST_PARAMETERS):
            self._client.log_batch(self.id, params=new[first : first + _MOST_PARAMETERS])
        for key, value in given.items():
            if had.get(key, value) != value:
                self._client.set_tag(self.id, f"changed.{key}", value)

    def _history(self, key: str) -> dict[int, float]:
        if key not in self._told:
            points = [] if self._is_new else self._client.get_metric_history(self.id, key)
            self._told[key] = {point.step: point.value for point in sorted(points, key=_when)}
        return self._told[key]


@contextlib.contextmanager
def creation(folder: Path) -> Iterator[None]:
    """Let a sweep's jobs make what they share one after another: the store's tables, the run above them."""
    sweep = Identity(folder).sweep
    if sweep is None:
        yield
        return
    with (sweep / ".mlflow.lock").open("a") as lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def key_of(name: str) -> str:
    """Return a name as MLflow accepts one.

    >>> key_of("hyperparameter/groups.[0].decay")
    'hyperparameter/groups._0_.decay'
    """
    return _REFUSED.sub("_", name)


def _note(folder: Path, run: str) -> None:
    write_atomically(folder / NOTE, json.dumps({"run_id": run}).encode())


def _same(there: float | None, value: float) -> bool:
    return there is not None and (there == value or (math.isnan(there) and math.isnan(value)))


def _when(point: Any) -> int:
    return int(point.timestamp)
