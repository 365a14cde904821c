"""Runs that share compiled functions give the same bits as runs of their own, and compile nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf
from safetensors.numpy import load_file
from theano import tensor

from trainer import config, parts, run, runtime, workshop
from trainer.commands.overrides import rewritten
from trainer.components import Component
from trainer.data import Data, Part, digits
from trainer.errors import UsageError
from trainer.layers import Dense, Flatten, Layer
from trainer.settings import Settings
from trainer.sweep.composing import Composer
from trainer.workshop import Workshop

pytestmark = pytest.mark.usefixtures("uncompiled")

TINY = (
    "model.hidden=[3]",
    "training.epochs=2",
    "training.steps_per_epoch=3",
    "logger.console=null",
    "logger.curves=null",
    "logger.pictures=null",
)

# What leaves something behind in a network or an optimizer that the next run must not find.
STATEFUL = (
    ("optimizer=adam", "schedule=cosine"),
    ("model.dropout=0.5",),
    ("model=layers", "model.layers=[flatten, {dense: 3}, batchnorm, {dense: outputs}]"),
    ("optimizer=momentum", "wrapper=[momentum,lookahead]", "clipping=total_norm", "constraint=max_norm"),
    ("averaging=stochastic", "training.monitor=validation/averaged/loss"),
    ("optimizer=schedule_free_adamw", "averaging=exponential"),
    ("optimizer=prodigy", "gradient=noise"),
    ("training.accumulation=3", "training.batch_size=200"),
    ("data.normalization=standard", "optimizer.weight_decay=0.1", "data.seed=3"),
    ("optimizer.groups=[{match: '*.b', learning_rate: 0.1}, {match: '*.W', _target_: sgd}]",),
    ("training.feeding=resident", "data.seed=5"),
)
OTHER = (
    "training.seed=9",
    "optimizer.learning_rate=0.5",
    "training.epochs=3",
    "data.validation_fraction=0.3",
)


def without_hydra(composed: Any) -> Any:
    return OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])


class Command:
    """Trains configurations of overrides, each in a folder of its own."""

    def __init__(self, loader: Any, folder: Path) -> None:
        self._composer = Composer(loader)
        self._master = loader.load_configuration("config", [], RunMode.MULTIRUN)
        self._folder = folder

    def settings(self, *overrides: str) -> Settings:
        composed = self._composer.load_sweep_config(self._master, rewritten(list(overrides)))
        return config.interpret(without_hydra(composed), overrides)

    def __call__(self, name: str, shop: Workshop | None, *overrides: str, **options: Any) -> Path:
        return self.train(name, shop, self.settings(*overrides), **options)

    def train(self, name: str, shop: Workshop | None, settings: Settings, **options: Any) -> Path:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        run.train(settings, folder, runtime.prepare(), workshop=shop, **options)
        return folder


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    config.register()
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        yield Command(GlobalHydra.instance().config_loader(), tmp_path)


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note each call of `theano.function`."""
    made: list[Any] = []
    original = theano.function

    def counted(*arguments: Any, **options: Any) -> Any:
        made.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(theano, "function", counted)
    return made


def left_by(folder: Path) -> tuple[list[dict[str, float]], dict[str, bytes]]:
    """Return all that a run has computed: its records without their times, its weights and states."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    records = [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]
    files = sorted((folder / "checkpoints").rglob("*.safetensors"))
    arrays = {
        f"{file.relative_to(folder)}: {name}": array.tobytes()
        for file in files
        for name, array in load_file(file).items()
    }
    test = json.loads((folder / "summary.json").read_text())["test"]
    return [*records, test], arrays


@pytest.mark.parametrize("overrides", STATEFUL, ids=" ".join)
def test_a_run_that_shares_gives_the_same_bits_as_one_of_its_own(
    overrides: tuple[str, ...], command: Command, compilations: list[Any]
) -> None:
    shop = Workshop()
    usual = (*(TINY[1:] if "model=layers" in overrides else TINY), *overrides)
    command("first", shop, *usual, *OTHER)
    command("second", shop, *usual)
    before = len(compilations)
    third = command("third", shop, *usual, "training.seed=4", "optimizer.learning_rate=0.03")
    assert len(compilations) == before
    own = command("own", None, *usual, "training.seed=4", "optimizer.learning_rate=0.03")
    assert left_by(third) == left_by(own)


def test_weights_to_start_from_need_no_other_functions(command: Command, compilations: list[Any]) -> None:
    shop = Workshop()
    first = command("first", shop, *TINY, "training.seed=8")
    start = f"model.weights={first}/checkpoints/best.safetensors"
    before = len(compilations)
    second = command("second", shop, *TINY, start)
    assert len(compilations) == before
    assert left_by(second) == left_by(command("own", None, *TINY, start))
    assert left_by(second) != left_by(command("without", shop, *TINY))


def test_the_log_says_whose_step_is_used_and_by_what_one_differs(
    command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Workshop()
    caplog.set_level(logging.INFO, "trainer.run")
    command("0_first", shop, *TINY)
    command("1_second", shop, *TINY, "training.seed=3")
    command("2_third", shop, *TINY, "model.activation=tanh", "optimizer=sgd")
    told = [message for message in caplog.messages if "compiled" in message]
    assert told[1] == "uses the compiled step of 0_first"
    assert told[0].endswith("for cpu")
    assert told[2].partition(": ")[2] == (
        "differs from 0_first in model.activation, optimizer._target_, optimizer.beta1, optimizer.beta2, "
        "optimizer.epsilon"
    )


def test_a_run_that_is_interrupted_or_refused_leaves_nothing_to_the_next(
    command: Command, compilations: list[Any]
) -> None:
    shop = Workshop()
    gathering = ("training.accumulation=3", "training.batch_size=100", "training.steps_per_epoch=null")
    command("first", shop, *TINY, *gathering)
    before = len(compilations)
    with pytest.raises(UsageError, match=r"schedule\.learning_rate gives"):
        command("refused", shop, *TINY, *gathering, "schedule=formula", "schedule.learning_rate.formula=-1.0")
    with pytest.raises(Exception, match="not finite"):
        command(
            "diverged", shop, *TINY, *gathering, "optimizer.learning_rate=1e30", "optimizer.epsilon=1e-30"
        )
    again = command("again", shop, *TINY, *gathering)
    assert len(compilations) == before
    assert left_by(again) == left_by(command("own", None, *TINY, *gathering))


def breaking(inputs: Any, generator: Any) -> Any:
    """Augment the first batch, and no other."""
    BROKEN.append(1)
    if len(BROKEN) > 1:
        raise UsageError("the second batch is broken")
    return inputs


BROKEN: list[int] = []


def test_batches_that_were_gathered_before_an_error_are_forgotten(command: Command) -> None:
    shop = Workshop()
    gathering = command.settings(*TINY, "training.accumulation=3", "training.batch_size=100")
    command.train("first", shop, gathering)
    BROKEN.clear()
    with pytest.raises(UsageError, match="second batch"):
        command.train("broken", shop, replace(gathering, augmentation=[Component(breaking)]))
    again = command.train("again", shop, gathering)
    assert left_by(again) == left_by(command.train("own", None, gathering))


def test_a_run_may_be_left_open_and_goes_on_to_the_same_bits(command: Command) -> None:
    shop = Workshop()
    whole = command("whole", shop, *TINY, "training.epochs=4", "schedule=cosine")
    for until in (1, 3, 4):
        folder = command(
            "slices", shop, *TINY, "training.epochs=4", "schedule=cosine", until=until, resume=until > 1
        )
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["epochs"] == until
        assert summary["status"] == ("completed" if until == 4 else "interrupted")
    assert left_by(folder)[0] == left_by(whole)[0]


class Noisy(Layer):
    """A layer of a user's that builds a constant of the seed into its expression."""

    def build(self, input_shape: Any, builder: Any) -> Any:
        self._shift = float(np.random.default_rng(builder.seed).normal())
        return input_shape

    def apply(self, x: Any, training: bool) -> Any:
        return x + np.asarray(self._shift, x.dtype)


def noisy(input_shape: tuple[int, ...], outputs: int) -> list[Layer]:
    return [Flatten(), Noisy(), Dense(outputs)]


def plain(input_shape: tuple[int, ...], outputs: int) -> list[Layer]:
    return [Flatten(), Dense(3), Dense(outputs)]


def looking_up(inputs: Any, outputs: int) -> Any:
    """A symbolic model that reads a shared table, which nothing resets."""
    table = theano.shared(np.arange(64, dtype="int32")[::-1].copy(), "table")
    weights = theano.shared(np.zeros((64, outputs), theano.config.floatX), "W")
    return tensor.dot(inputs.flatten(2)[:, table], weights)


@pytest.mark.parametrize(("function", "shared"), [(plain, True), (noisy, False), (looking_up, False)])
def test_a_users_model_shares_where_it_computes_the_same(
    function: Any, shared: bool, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trainer.run")
    shop = Workshop()
    for number, seed in enumerate((1, 2)):
        settings = replace(
            command.settings(*TINY[1:], f"training.seed={seed}"), model=Component(function, {}, "model")
        )
        folder = command.train(str(number), shop, settings)
    assert any("uses the compiled step" in message for message in caplog.messages) is shared
    assert left_by(folder) == left_by(command.train("own", None, settings))


def test_functions_that_read_what_nothing_resets_are_not_used_again(
    command: Command, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "has_foreign_parts", lambda settings, network: False)
    caplog.set_level(logging.INFO, "trainer.run")
    shop = Workshop()
    settings = replace(command.settings(*TINY[1:]), model=Component(looking_up, {}, "model"))
    for name in ("first", "second"):
        command.train(name, shop, settings)
    assert not any("uses the compiled step" in message for message in caplog.messages)


def test_only_the_benches_used_last_are_kept(
    command: Command, compilations: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshop, "MOST_STEPS", 2)
    shop = Workshop()
    calls: list[bool] = []
    for name in ("tanh", "relu", "elu", "relu", "tanh"):
        before = len(compilations)
        command(f"{len(calls)}", shop, *TINY, f"model.activation={name}")
        calls.append(len(compilations) > before)
    assert calls == [True, True, True, False, True]


READ: list[int] = []


def noted(examples: int = 4) -> Data:
    READ.append(examples)
    part = Part(np.ones((examples, 2), "float32"), np.zeros(examples, "int32"))
    return Data(part, part, part, input_shape=(2,), outputs=1, classes=1)


class TestData:
    def test_a_set_is_read_once_for_all_runs_that_want_it_and_nobody_can_change_it(self) -> None:
        READ.clear()
        shop, source = Workshop(), noted
        first = shop.read(Component(source, {"examples": 4})).data
        assert shop.read(Component(source, {"examples": 4})).data is first
        assert shop.read(Component(source, {"examples": 5})).data is not first
        assert READ == [4, 5]
        with pytest.raises(ValueError, match="read-only"):
            first.train.inputs[0] = 3

    def test_a_set_whose_file_has_changed_is_read_anew(self, tmp_path: Path) -> None:
        def source(file: str) -> Data:
            part = Part(np.load(file), np.zeros(2, "int32"))
            return Data(part, part, part, input_shape=(1,), outputs=1, classes=1)

        file = tmp_path / "a.npy"
        shop, component = Workshop(), Component(source, {"file": str(file)})
        for value in (1.0, 2.0):
            file.unlink(missing_ok=True)
            np.save(file, np.full((2, 1), value, "float32"))
            assert shop.read(component).data.train.inputs[0, 0] == value

    def test_large_sets_make_room_before_another_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workshop, "MOST_DATA_BYTES", 1000)
        shop = Workshop()
        first, small = Component(digits, {"seed": 1}), Component(digits, {"seed": 2})
        kept = shop.read(first).data
        assert shop.read(first).data is kept  # the last one stays, whatever its size
        shop.read(small)
        assert shop.read(first).data is not kept
