"""What Hydra finds of this program's launchers and sweepers; each hands over to `trainer.sweep` when used.

Hydra imports every plugin at every start, so nothing is imported here that is not needed then.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


def _job_folder(*arguments: Any) -> str:
    from trainer.sweep.naming import job_folder

    return job_folder(*arguments)


# Here, because a worker of any launcher imports this before it asks for a job's folder.
OmegaConf.register_new_resolver("trainer.job_folder", _job_folder, replace=True)


class FilesFirst(SearchPathPlugin):
    """Lets the files of `conf/hydra/` stand alone where another plugin has a choice of that name.

    Hydra would hold them against the other's schema, which has other keys. Another program's Hydra in the
    same environment is left as it is.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Take the others' choices out of Hydra's store."""
        import trainer

        package = Path(trainer.__file__).parent
        ours = [str(place / "conf") for place in (package, package.parent)]
        for element in search_path.get_path():
            folder = element.path.removeprefix("file://")
            if element.provider == "main" and folder in ours:
                for group in (Path(folder) / "hydra").glob("**/"):
                    _forget(["hydra", *group.relative_to(Path(folder) / "hydra").parts], group)


def _forget(group: list[str], folder: Path) -> None:
    node: Any = ConfigStore.instance().repo
    for part in group:
        node = node.get(part, {})
    for path in folder.glob("*.yaml"):
        node.pop(path.name, None)


class _Remembers:
    """Keeps what Hydra hands to a launcher or a sweeper, and the settings of its file in `conf/hydra/`."""

    hydra_context: HydraContext | None
    config: DictConfig | None
    task_function: TaskFunction

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config


class JoblibLauncher(_Remembers, Launcher):
    """Jobs in processes of this machine, some at a time."""

    _batch = 0

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, and return what became of each."""
        from trainer.sweep.joblib_launcher import launch

        self._batch = self._batch or len(job_overrides)
        return launch(self, job_overrides, initial_job_idx, self._batch)

    def at_once(self) -> int:
        """Return how many jobs run at a time."""
        from trainer.sweep.joblib_launcher import count_workers

        return count_workers(self.settings)


class SubmititLauncher(_Remembers, Launcher):
    """Jobs of a Slurm cluster, or processes of this machine where there is none."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, and return what became of each."""
        from trainer.sweep.submitit_launcher import launch

        return launch(self, job_overrides, initial_job_idx)

    def at_once(self) -> int:
        """Return how many jobs run at a time."""
        from trainer.sweep.submitit_launcher import at_once

        return at_once(self.settings)


class RayLauncher(_Remembers, Launcher):
    """Tasks of a Ray cluster, which is started on this machine where none is named."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, and return what became of each."""
        from trainer.sweep.ray_launcher import launch

        return launch(self, job_overrides, initial_job_idx)

    def at_once(self) -> int:
        """Return how many jobs run at a time."""
        from trainer.sweep.ray_launcher import at_once

        return at_once(self.settings)


class OptunaSweeper(_Remembers, Sweeper):
    """Trials whose values Optuna proposes from those before."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run the trials that are still to be run."""
        from trainer.sweep.optuna_sweeper import sweep

        return sweep(self, arguments)


class PopulationSweeper(_Remembers, Sweeper):
    """Members that train in turn for a slice of the run, poor ones going on from better ones."""

    def sweep(self, arguments: list[str]) -> Any:
        """Train the generations that are still to be trained."""
        from trainer.sweep.population_sweeper import sweep

        return sweep(self, arguments)
