"""The command composes the configuration of a run once, and as Hydra does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from tests.conftest import Finished
from trainer import config
from trainer.sweep.loading import Loader

RUNS: tuple[list[str], ...] = (
    [],
    ["optimizer=sgd", "optimizer.learning_rate=0.1", "hydra.run.dir=there", "hydra.job.name=mine"],
    ["logger=[default,csv]", "+experiment=mnist_mlp", "~callbacks"],
)
AS_HYDRA_ASKS_FOR_THE_MODE = (RunMode.MULTIRUN, True, False)


@pytest.fixture
def hydra_loader() -> Iterator[Any]:
    config.register()
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_a_run_is_composed_once_and_as_by_hydra(
    words: list[str], hydra_loader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [*words, "hydra.mode=RUN"]
    wanted = OmegaConf.to_yaml(hydra_loader.load_configuration("config", whole, RunMode.RUN))
    compose, times = ConfigLoaderImpl._load_configuration_impl, [0]

    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        times[0] += 1
        return compose(self, *arguments, **options)

    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", counted)
    loader = Loader(hydra_loader.config_search_path)
    assert loader.load_configuration("config", words, *AS_HYDRA_ASKS_FOR_THE_MODE).hydra.mode is None
    assert OmegaConf.to_yaml(loader.load_configuration("config", whole, RunMode.RUN)) == wanted
    assert times == [1]
    # What was composed is handed out once, and to nobody who asks for something else.
    assert OmegaConf.to_yaml(loader.load_configuration("config", whole, RunMode.RUN)) == wanted
    loader.load_configuration("config", words, *AS_HYDRA_ASKS_FOR_THE_MODE)
    other = loader.load_configuration("config", [*whole, "training.epochs=77"], RunMode.RUN)
    assert (other.training.epochs, times) == (77, [4])


def test_a_mode_that_is_configured_holds(hydra_loader: Any) -> None:
    loader = Loader(hydra_loader.config_search_path)
    words = ["hydra.mode=MULTIRUN", "training.seed=1,2"]
    assert (
        loader.load_configuration("config", words, *AS_HYDRA_ASKS_FOR_THE_MODE).hydra.mode == RunMode.MULTIRUN
    )


@pytest.mark.usefixtures("uncompiled")
def test_the_command_composes_a_run_once(
    train: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    compose, asked = Loader._load, []

    def noted(self: Any, name: Any, overrides: list[str], *others: Any) -> Any:
        asked.append(overrides)
        return compose(self, name, overrides, *others)

    monkeypatch.setattr(Loader, "_load", noted)
    finished = train(
        "model.hidden=[4]", "training.epochs=1", "training.steps_per_epoch=1", "logger.curves=null"
    )
    assert (finished.status, len(asked)) == (0, 1)
    assert "- hydra.mode=RUN" in (finished.folder / ".hydra" / "hydra.yaml").read_text()
