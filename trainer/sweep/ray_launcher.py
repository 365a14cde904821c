"""Jobs as tasks of a Ray cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import DictConfig

import trainer
from trainer.errors import UsageError
from trainer.runtime.threads import cores
from trainer.sweep.launching import THREADS, Launching, Work, lost, plain, run_packed


def launch(launcher: Launching, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Run jobs as tasks, and return what became of each, in their order.

    A task whose process or machine dies is run again by Ray, and goes on from its checkpoint; one that dies
    again and again is told as failed. The cluster, where this process started it, ends with the process.

    Raises
    ------
    UsageError
        Where Ray is not installed, no cluster answers, or an argument of `ray.init` or `ray.remote` is wrong.
    """
    ray = _ray()
    settings = plain(launcher.settings)
    _connect(ray, settings["init"])
    work, remote = Work.of(launcher), _remote(ray, settings["remote"])
    packed = ray.put(ray.cloudpickle.dumps(work))
    tasks = {
        remote.remote(packed, number, list(overrides)): (number, overrides)
        for number, overrides in enumerate(job_overrides, first)
    }
    try:
        return [_result(ray, work.config, task, *tasks[task]) for task in tasks]
    except BaseException:  # the person stops the sweep, or a job was stopped by a signal: all of them stop
        for task in tasks:
            ray.cancel(task, force=False)
        raise


def at_once(settings: Mapping[str, Any]) -> int:
    """Return how many jobs the cluster has cores for."""
    ray, content = _ray(), plain(settings)
    _connect(ray, content["init"])
    return max(1, int(ray.cluster_resources().get("CPU", 1) // (content["remote"].get("num_cpus") or 1)))


def _ray() -> Any:
    # It tells of its metrics, which concern nobody here.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise UsageError("hydra/launcher=ray needs Ray: pip install 'theano-trainer[ray]'") from None
    return ray


def _connect(ray: Any, arguments: Mapping[str, Any]) -> None:
    if ray.is_initialized():
        return
    given = {key: value for key, value in arguments.items() if value is not None}
    if not given.get("address") and not os.environ.get("RAY_ADDRESS"):
        given = {"num_cpus": cores(), "address": "local", **given}
    path = [str(Path(trainer.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, path))}}
    ours = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**{"runtime_env": environment, "logging_level": "error", **given})
    except (TypeError, ValueError, RuntimeError, ConnectionError) as error:
        raise UsageError(f"hydra.launcher.init: no cluster answers with {given} ({error})") from error
    finally:
        # Ray would leave the process at once, and the jobs' states unsaved.
        signal.signal(signal.SIGTERM, ours)


def _remote(ray: Any, arguments: Mapping[str, Any]) -> Any:
    try:
        return ray.remote(**arguments)(_task)
    except (TypeError, ValueError) as error:
        raise UsageError(f"hydra.launcher.remote: {error}") from error


def _task(packed: bytes, number: int, overrides: Sequence[str]) -> JobReturn:
    # Ray says the cores of a job by the first name alone.
    share = os.environ.get(THREADS[0])
    for name in THREADS[1:]:
        if share:
            os.environ.setdefault(name, share)
    return run_packed(packed, number, overrides)


def _result(ray: Any, config: DictConfig, task: Any, number: int, overrides: Sequence[str]) -> JobReturn:
    try:
        returned: JobReturn = ray.get(task)
    except ray.exceptions.RayError as error:
        words = str(error).strip().splitlines()
        return lost(config, number, overrides, f"Ray lost the job: {words[0] if words else error!r}")
    return returned
