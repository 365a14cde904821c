"""What Hydra composes configurations with: once for a run, and an error says what a group's choices are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal import hydra as commands
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig

_THIS_IS_A_RUN = "hydra.mode=RUN"


class Loader(ConfigLoaderImpl):
    """Hydra's composition of files, which a run needs once.

    Hydra composes everything to learn from `hydra.mode` whether a command is a multirun, and then everything
    again. The first composition is made here as a run's, and handed out as the second one where it is one.

    Parameters
    ----------
    config_search_path : ConfigSearchPath
        Where the files are.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self._ahead: tuple[str | None, list[str], DictConfig] | None = None
        self._files: CachingConfigRepository | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what was composed and read: a worker composes its own."""
        return {**self.__dict__, "_ahead": None, "_files": None}

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Return what the files and the overrides give, as Hydra composes it."""
        ahead, self._ahead = self._ahead, None
        asks_for_mode = run_mode == RunMode.MULTIRUN and not validate_sweep_overrides
        if ahead is not None and run_mode == RunMode.RUN and validate_sweep_overrides:
            name, given, composed = ahead
            if config_name == name and overrides == [*given, _THIS_IS_A_RUN]:
                composed.hydra.mode = RunMode.RUN
                composed.hydra.overrides.hydra.append(_THIS_IS_A_RUN)
                return composed
        if asks_for_mode:
            try:
                composed = self._load(config_name, overrides, RunMode.RUN, from_shell, True)
            except HydraException:
                # It has several values for a key, or a mistake: what is to be told comes with the next call.
                pass
            else:
                if composed.hydra.mode is None:
                    self._ahead = config_name, list(overrides), composed
                return composed
        return self._load(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)

    def _load(
        self, name: str | None, overrides: list[str], mode: RunMode, from_shell: bool, validate: bool
    ) -> DictConfig:
        try:
            return super().load_configuration(name, overrides, mode, from_shell, validate)
        except MissingConfigException as error:
            # Of a list of choices, Hydra forgets which group they are of.
            group, _, _ = (error.missing_cfg_file or "").rpartition("/")
            if group and not error.options and self._files is not None:
                error.options = self._files.get_group_options(group, ObjectType.CONFIG)
            raise

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed, self._files = super()._parse_overrides_and_create_caching_repo(config_name, overrides)
        return parsed, self._files


@contextmanager
def our_loader() -> Iterator[None]:
    """Have Hydra's command compose with a `Loader`."""
    if vars(commands).get("ConfigLoaderImpl") is not ConfigLoaderImpl:
        yield
        return
    vars(commands)["ConfigLoaderImpl"] = Loader
    try:
        yield
    finally:
        vars(commands)["ConfigLoaderImpl"] = ConfigLoaderImpl
