"""The toolbox through the command: one compiled step, accumulation, chains, what helps to find one's way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from safetensors.numpy import load_file

from tests.conftest import Finished

Train = Callable[..., Finished]

uncompiled = pytest.mark.usefixtures("uncompiled")

SMALL = (
    "model.hidden=[4]",
    "training.epochs=3",
    "training.steps_per_epoch=4",
    "logger.curves=null",
    "logger.pictures=null",
)

# Asks for a change at the end of the first epoch, through the run's folder alone.
STEERER = """
from pathlib import Path

from trainer.steering import files
from trainer.training import Callback


class Steerer(Callback):
    def on_epoch_end(self, loop, record):
        if record["epoch"] == 1:
            files.post(Path("run/steering"), {"set": {"epsilon": 0.5}, "release": [], "command": None})
"""


@uncompiled
def test_one_compiled_step_serves_a_run_whatever_changes_in_it(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_steerer.py").write_text(STEERER)
    monkeypatch.syspath_prepend(tmp_path)
    made: list[bool] = []
    make = theano.compile.function_module.FunctionMaker.__init__

    def counting(self: Any, inputs: Any, *arguments: Any, **options: Any) -> None:
        made.append(any(getattr(each, "update", None) is not None for each in inputs))
        make(self, inputs, *arguments, **options)

    monkeypatch.setattr(theano.compile.function_module.FunctionMaker, "__init__", counting)
    finished = train(
        *SMALL,
        "optimizer=rmsprop_centered",
        "optimizer.weight_decay=0.1",
        "schedule=cosine",
        "schedule@schedule.momentum=linear",
        "schedule@schedule.weight_decay=step",
        "+callbacks.steerer._target_=my_steerer.Steerer",
    )
    assert finished.status == 0, finished.err
    for name in ("learning_rate", "momentum", "weight_decay"):
        assert len({record[f"hyperparameter/{name}"] for record in finished.records}) == 3
    epsilons = [record["hyperparameter/epsilon"] for record in finished.records]
    assert epsilons[1:] == [0.5, 0.5] != epsilons[:2]
    assert finished.summary["steering"][0]["step"] == 5
    # One function updates anything; the others evaluate.
    assert made.count(True) == 1


@uncompiled
@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_batches_that_are_accumulated_train_as_a_large_one_also_in_a_short_group(
    train: Train, rule: str
) -> None:
    # 1,257 examples are 40 batches of 32: 13 groups of three, and one of a single batch of 9.
    arguments = (
        "model.hidden=[4]",
        "training.epochs=2",
        "logger.curves=null",
        "logger.pictures=null",
        f"optimizer={rule}",
    )
    large = train(*arguments, "training.batch_size=96", folder="large")
    small = train(*arguments, "training.batch_size=32", "training.accumulation=3", folder="small")
    assert [record["step"] for record in small.records] == [14, 28]
    expected, found = (load_file(run.folder / "checkpoints/last.safetensors") for run in (large, small))
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=2e-6, err_msg=name)
    for one, other in zip(large.records, small.records, strict=True):
        for key in ("train/loss", "train/gradient_norm", "validation/loss"):
            assert other[key] == pytest.approx(one[key], rel=1e-5)


@uncompiled
def test_a_chain_is_a_list_of_choices_or_links_by_name(train: Train) -> None:
    short = train(*SMALL, "wrapper=[momentum,lookahead]", "wrapper.momentum.momentum=0.5", folder="short")
    named = train(
        *SMALL,
        "wrapper@wrapper.first=momentum",
        "wrapper@wrapper.second=lookahead",
        "wrapper.first.momentum=0.5",
        folder="named",
    )
    written = train(
        *SMALL,
        "+wrapper.first={_target_: momentum, momentum: 0.5}",
        "+wrapper.last={_target_: lookahead}",
        "+wrapper.empty={_target_: none}",
        folder="written",
    )
    for finished, names in (
        (short, {"momentum.momentum", "lookahead.k", "lookahead.alpha"}),
        (named, {"first.momentum", "second.k", "second.alpha"}),
        (written, {"first.momentum", "last.k", "last.alpha"}),
    ):
        assert finished.status == 0, finished.err
        prefix = "hyperparameter/wrapper."
        assert {key[len(prefix) :] for key in finished.records[0] if key.startswith(prefix)} == names
    last = [(run.folder / "checkpoints" / "last.safetensors").read_bytes() for run in (short, named, written)]
    assert last[0] == last[1] == last[2]


@uncompiled
def test_the_links_of_a_chain_are_applied_in_their_order(train: Train) -> None:
    one = ("model.hidden=[4]", "training.epochs=1", "training.steps_per_epoch=1", "logger.pictures=null")
    sgd = (*one, "logger.curves=null", "optimizer=sgd", "optimizer.learning_rate=1")
    start = train(*sgd, "optimizer.learning_rate=0", folder="start")
    plain = train(*sgd, folder="plain")
    clipped = train(
        *sgd,
        "clipping=[value,total_norm]",
        "clipping.value.max_value=0.01",
        "clipping.total_norm.max_norm=0.02",
        folder="clipped",
    )
    begun, moved, left = (
        load_file(run.folder / "checkpoints/last.safetensors") for run in (start, plain, clipped)
    )
    gradients = {name: np.clip(begun[name] - moved[name], -0.01, 0.01) for name in begun}
    norm = np.sqrt(sum(np.sum(np.square(gradient, dtype=np.float64)) for gradient in gradients.values()))
    assert norm > 0.02
    for name, gradient in gradients.items():
        np.testing.assert_allclose(left[name], begun[name] - gradient * 0.02 / norm, rtol=1e-4, atol=1e-6)
    # What is logged is the norm of the gradients as they were.
    assert clipped.records[0]["train/gradient_norm"] == plain.records[0]["train/gradient_norm"]


@uncompiled
def test_constraints_hold_for_the_parameters_of_their_pattern(train: Train) -> None:
    finished = train(
        *SMALL,
        "optimizer.learning_rate=0.1",
        "constraint@constraint.short=max_norm",
        "constraint.short.match=dense_1.*",
        "constraint.short.max_norm=0.5",
        "constraint@constraint.positive=non_negative",
        "constraint.positive.match=[dense_2.W]",
    )
    assert finished.status == 0, finished.err
    last = load_file(finished.folder / "checkpoints" / "last.safetensors")
    assert np.linalg.norm(last["dense_1.W"], axis=0).max() <= 0.5 * (1 + 1e-6)
    assert last["dense_2.W"].min() >= 0
    assert last["dense_2.b"].min() < 0


@uncompiled
def test_gradients_are_taken_and_changed_in_one_chain(train: Train) -> None:
    finished = train(
        *SMALL, "gradient=[noise,centralization,sharpness_aware]", "gradient.sharpness_aware.radius=0.01"
    )
    assert finished.status == 0, finished.err
    names = {key for key in finished.records[0] if key.startswith("hyperparameter/gradient.")}
    assert names == {
        f"hyperparameter/gradient.{name}"
        for name in ("noise.eta", "noise.gamma", "sharpness_aware.radius", "sharpness_aware.eta")
    }
    assert finished.records[-1]["train/loss"] < finished.records[0]["train/loss"]


@uncompiled
def test_an_experiments_clipping_is_put_aside_by_none(train: Train, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "clipped.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /clipping: total_norm\nclipping:\n  max_norm: 0.5\n"
    )
    arguments = ("--config-dir", "mine", "experiment=clipped", *SMALL, "training.epochs=1")
    for folder, override, names in (
        ("as_it_is", (), {"max_norm", "epsilon"}),
        ("none", ("clipping=null",), set()),
        ("chain", ("clipping=[value]",), {"value.max_value"}),
    ):
        finished = train(*arguments, *override, folder=folder)
        assert finished.status == 0, finished.err
        prefix = "hyperparameter/clipping."
        assert {key[len(prefix) :] for key in finished.records[0] if key.startswith(prefix)} == names


@uncompiled
def test_the_finder_leaves_a_suggestion_and_no_training(train: Train) -> None:
    finished = train(
        "task=find_learning_rate", "model.hidden=[16]", "optimizer=sgd", "find_learning_rate.steps=100"
    )
    assert finished.status == 0, finished.err
    found = json.loads((finished.folder / "learning_rate.json").read_text())
    assert 0.005 < found["suggestion"] < 5
    assert f"suggested: {found['suggestion']:g}" in finished.out
    assert (
        "train with it: trainer 'model.hidden=[16]' optimizer=sgd "
        f"optimizer.learning_rate={found['suggestion']:g}" in finished.out
    )
    assert (finished.folder / "learning_rate.png").stat().st_size > 5000
    assert finished.records == []


def test_all_keys_are_shown_and_all_groups_are_helped_with(train: Train) -> None:
    shown = train("--cfg", "job").out
    for key in (
        "accumulation",
        "non_finite",
        "rollback_scale",
        "every_minutes",
        "keep",
        "weight_decay_match",
        "groups",
        "gradient",
        "averaging",
        "find_learning_rate",
        "task",
        "resume",
        "allowed_targets",
    ):
        assert f"{key}:" in shown
    helped = train("--help").out
    assert "\naveraging: exponential, none, polyak, stochastic\n" in helped
    assert "\ngradient: centralization, noise, none, sharpness_aware\n" in helped
    assert "cosine_restarts" in helped
    assert "schedule_free_adamw" in helped


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("trainer averaging=", ["averaging=exponential", "averaging=polyak"]),
        ("trainer wrapper=look", ["wrapper=lookahead"]),
        ("trainer training.non_fi", ["training.non_finite=", "training.non_finite_limit="]),
        ("trainer schedule=cosine_", ["schedule=cosine_restarts"]),
    ],
)
def test_the_tabulator_completes(
    train: Train, monkeypatch: pytest.MonkeyPatch, typed: str, offered: list[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", typed)
    monkeypatch.setenv("COMP_POINT", str(len(typed)))
    out = train("-sc", "query=bash").out.split()
    assert set(offered) <= set(out)
