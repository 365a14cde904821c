"""What all launchers share: a job that travels to another process, runs there, and comes back."""

from __future__ import annotations

import os
import pickle
import signal
import site
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.experimental.callback import Callback
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

import trainer
from trainer.errors import RunError, UsageError
from trainer.sweep import naming
from trainer.sweep.begun import SUMMARY, note_failure
from trainer.sweep.stopping import is_marked

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Launching(Protocol):
    """What Hydra handed to a launcher or a sweeper, and the settings of its node."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The node, without its target."""

    @property
    def hydra_context(self) -> HydraContext | None:
        """What composes a job's configuration, and the callbacks."""

    @property
    def task_function(self) -> TaskFunction:
        """What a job calls."""

    @property
    def config(self) -> DictConfig | None:
        """The sweep's configuration, with Hydra's own node."""


@dataclass(frozen=True)
class Work:
    """What a process needs to run the jobs of a sweep; called there with a job's number and overrides.

    It imports nothing that needs Theano: the job itself makes Theano ready first.
    """

    context: HydraContext
    task: TaskFunction
    config: DictConfig
    singletons: Mapping[Any, Any]
    folder: str
    paths: Sequence[str]

    @classmethod
    def of(cls, launcher: Launching) -> Work:
        """Pack what a launcher was given. Of Hydra's callbacks, those go along that act on jobs."""
        given, config = launcher.hydra_context, launcher.config
        assert given is not None
        assert config is not None
        callbacks = type(given.callbacks)()
        callbacks.callbacks = [each for each in given.callbacks.callbacks if _acts_on_jobs(each)]
        context = HydraContext(config_loader=given.config_loader, callbacks=callbacks)
        state = Singleton.get_state()
        return cls(context, launcher.task_function, config, state, str(Path.cwd()), list(sys.path))

    def __call__(self, number: int, overrides: Sequence[str]) -> JobReturn:
        """Run a job, unless its sweep was stopped, and return what became of it in a form that travels."""
        sys.path.extend(path for path in self.paths if path not in sys.path)
        os.chdir(self.folder)
        if is_marked(Path(str(self.config.hydra.sweep.dir))):
            return _without_value(overrides)
        try:
            return self._run(number, overrides)
        except Exception as error:  # of whatever kind: it is told as this job's, and the others go on
            return _failed(overrides, _portable(error))

    def _run(self, number: int, overrides: Sequence[str]) -> JobReturn:
        Singleton.set_state(dict(self.singletons))
        setup_globals()
        naming.register()
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{number}"
            config.hydra.job.num = number
        HydraConfig.instance().set_config(config)
        returned = run_job(
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=self.context,
        )
        if returned.status == JobStatus.FAILED:
            returned.return_value = _portable(returned._return_value)
        return returned


def run_packed(packed: bytes, number: int, overrides: Sequence[str]) -> JobReturn:
    """Run a job in a process that works through many: it unpacks their work once."""
    work = _unpacked.get(packed)
    if work is None:
        _unpacked.clear()
        work = _unpacked[packed] = pickle.loads(packed)
    return work(number, overrides)


_unpacked: dict[bytes, Work] = {}


def folder_of(config: DictConfig, number: int) -> Path | None:
    """Return the folder that a sweep has for the job of a number, where there is one."""
    sweep = Path(str(config.hydra.sweep.dir))
    found = [sweep / str(number), *sorted(sweep.glob(f"{number}_*"))]
    return next((folder for folder in found if folder.is_dir()), None)


def has_begun(config: DictConfig, number: int) -> bool:
    """Return whether a job has begun and not ended: it has a folder, and no summary in it."""
    folder = folder_of(config, number)
    return folder is not None and not (folder / SUMMARY).exists()


def lost(config: DictConfig, number: int, overrides: Sequence[str], reason: str) -> JobReturn:
    """Note in a job's folder that its process came to an end which the job could not tell of.

    To the sweeper it is a job that has no value, as one that told of its failure itself.
    """
    folder = folder_of(config, number)
    if folder is not None and not (folder / SUMMARY).exists():
        note_failure(folder, reason, 1)
    return _without_value(overrides)


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a launcher's settings as Python's own types."""
    content = OmegaConf.to_container(OmegaConf.create(dict(settings)), resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def whole(value: Any, key: str, lowest: int = 1) -> int:
    """Return a setting that is a whole number.

    Raises
    ------
    UsageError
        For anything else, and for a number below the lowest.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise UsageError(f"{key}={value}: give a whole number from {lowest}")
    return value


@contextmanager
def deaf() -> Iterator[None]:
    """Start processes that Ctrl-C, which reaches all of a terminal's, does not reach: the sweep's mark does.

    A process inherits what is blocked, from its first instruction on.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def importable() -> Iterator[None]:
    """Let processes that are started within import this program where it is not installed."""
    home = str(Path(trainer.__file__).parent.parent)
    before = os.environ.get("PYTHONPATH")
    if home not in site.getsitepackages():
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [home, before]))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = before


def _acts_on_jobs(callback: Any) -> bool:
    return any(
        getattr(type(callback), name, None) is not getattr(Callback, name)
        for name in ("on_job_start", "on_job_end")
    )


def _without_value(overrides: Sequence[str]) -> JobReturn:
    return JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, _return_value=None)


def _failed(overrides: Sequence[str], error: Exception) -> JobReturn:
    return JobReturn(overrides=list(overrides), status=JobStatus.FAILED, _return_value=error)


def _portable(error: Exception) -> Exception:
    """Return an error, or its words where it cannot be packed and unpacked, as many packages' cannot."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # of whatever kind the error's own code raises
        return RunError(f"{type(error).__name__}: {error}")
    return error
