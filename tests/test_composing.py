"""Jobs of a multirun are composed as Hydra composes them itself, from files that are read once."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from trainer import config
from trainer.sweep.composing import Composer

JOBS = (
    ["training.seed=1", "optimizer.learning_rate=0.1"],
    ["optimizer=sgd", "training.seed=3"],
    ["+optimizer.more=true", "optimizer=sgd", "++a.b=3"],
    ["model.hidden=[3,4]", "~callbacks"],
    ["schedule=cosine", "schedule@schedule.momentum=linear", "optimizer=momentum"],
    ["hydra.job.name=mine", "training={epochs: 3}", "~optimizer.beta1"],
    ["data={_target_: mine.load}"],
    ["+experiment=mnist_mlp", "optimizer=adam"],
)
MISTAKES = (
    ["optimizer=adm"],
    ["training.seeds=1"],
    ["training.seed=a"],
    ["+optimizer=sgd"],
    ["training.seed="],
    ["training.seed=[1"],
)


@pytest.fixture(scope="module")
def hydra_loader() -> Iterator[Any]:
    config.register()
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@pytest.fixture(scope="module")
def master(hydra_loader: Any) -> Any:
    words = ["hydra/launcher=basic", "hydra.sweep.dir=there", "training.epochs=3"]
    return hydra_loader.load_configuration("config", words, RunMode.MULTIRUN)


@pytest.mark.parametrize("words", JOBS, ids=" ".join)
def test_a_job_is_composed_as_by_hydra_the_second_time_too(
    words: list[str], hydra_loader: Any, master: Any
) -> None:
    composer = Composer(hydra_loader)
    wanted = OmegaConf.to_yaml(hydra_loader.load_sweep_config(master, list(words)))
    composed = [composer.load_sweep_config(master, list(words)) for _ in range(2)]
    assert [OmegaConf.to_yaml(each) for each in composed] == [wanted] * 2
    composed[0].training.epochs = 77
    assert OmegaConf.to_yaml(composer.load_sweep_config(master, list(words))) == wanted


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_mistake_is_told_as_by_hydra(words: list[str], hydra_loader: Any, master: Any) -> None:
    with pytest.raises(HydraException) as wanted:
        hydra_loader.load_sweep_config(master, list(words))
    with pytest.raises(type(wanted.value)) as told:
        Composer(hydra_loader).load_sweep_config(master, list(words))
    assert str(told.value) == str(wanted.value)


def test_files_are_read_once_for_jobs_that_choose_the_same(
    hydra_loader: Any, master: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load = ConfigRepository.load_config

    def noted(self: Any, config_path: str) -> Any:
        read.append(config_path)
        return load(self, config_path)

    monkeypatch.setattr(ConfigRepository, "load_config", noted)
    composer = Composer(hydra_loader)
    composer.load_sweep_config(master, ["optimizer=sgd", "training.seed=1"])
    assert "optimizer/sgd" in read
    read.clear()
    composer.load_sweep_config(master, ["training.seed=2", "optimizer=sgd"])
    assert not read


def test_a_worker_can_be_given_it(hydra_loader: Any, master: Any) -> None:
    composer = Composer(hydra_loader)
    composer.load_sweep_config(master, ["training.seed=1"])
    given = pickle.loads(pickle.dumps(composer))
    assert isinstance(given, ConfigLoaderImpl)
    assert given.load_sweep_config(master, ["training.seed=2"]).training.seed == 2
