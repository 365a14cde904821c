"""What Hydra composes configurations with: once for a run, and with errors for what it would let pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal import hydra as commands
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from trainer import config
from trainer.errors import UsageError

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

    def _compose_config_from_defaults_list(
        self, defaults: list[ResultDefault], repo: IConfigRepository
    ) -> DictConfig:
        """Merge files, unless two of one list of choices make the same node."""
        listed: dict[tuple[str, str | None], list[ResultDefault]] = {}
        for default in defaults:
            group, parent = _group(default.config_path), _group(default.parent)
            # What stands in a list has no key of its own; a file of the same group builds upon others.
            if group and default.package and default.override_key is None and parent != group:
                listed.setdefault((_key(group, default.package), default.parent), []).append(default)
        for (key, _), several in listed.items():
            # Of the device there is one, though it has no target.
            rivals = [each for each in several if key == "device" or self._makes(each, defaults, repo)]
            if len(rivals) > 1:
                raise _merged(key, [str(each.config_path).rpartition("/")[2] for each in rivals])
        return super()._compose_config_from_defaults_list(defaults, repo)

    def _makes(
        self, default: ResultDefault, defaults: Sequence[ResultDefault], repo: IConfigRepository
    ) -> bool:
        """Tell whether a file, or one that it builds upon, names what its node makes."""
        loaded = self._load_single_config(default=default, repo=repo).config
        below = [each for each in defaults if each.parent == default.config_path and not each.is_self]
        return OmegaConf.select(loaded, f"{default.package}._target_") is not None or any(
            self._makes(each, defaults, repo) for each in below if each.package == default.package
        )

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed, self._files = super()._parse_overrides_and_create_caching_repo(config_name, overrides)
        return parsed, self._files


def _group(path: str | None) -> str:
    return (path or "").rpartition("/")[0]


def _key(group: str, package: str) -> str:
    return group if package == group.replace("/", ".") else f"{group}@{package}"


def _merged(key: str, names: Sequence[str]) -> UsageError:
    """Return what to say of choices of which Hydra would make one node."""
    if key in config.CHAINS:
        return UsageError(
            f"{key} is a list of choices in a sweep or in a file's defaults: name each link, as in "
            f"{key}@{key}.first={names[0]}, or /{key}@{key}.first: {names[0]} in the file"
        )
    cure = f"give one of them, as {key}={names[0]}"
    if not key.startswith("hydra/"):
        cure += f", or --multirun {key}={','.join(names)} to try each"
    return UsageError(f"{key}=[{','.join(names)}] chooses {len(names)}, and there is one: {cure}")


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
