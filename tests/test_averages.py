"""Averages of the weights, through the command: measured, chosen by, saved, evaluated, against NumPy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import Finished
from tests.resuming import SMALL, Train
from trainer.commands import evaluate
from trainer.data import digits

pytestmark = pytest.mark.usefixtures("uncompiled")

Captured = pytest.CaptureFixture[str]

LAYERS = "[flatten,{dense:{units:4,activation:relu}},batchnorm,{dense:{units:outputs}}]"
NORMALIZED = (*SMALL[1:], "model=layers", f"model.layers={LAYERS}", "optimizer.learning_rate=0.05")
# The state after each update stays, and none is left out for a slow disk.
ALL_STATES = (
    "training.non_finite=rollback",
    "training.checkpoints.every_steps=1",
    "training.checkpoints.keep=100",
)
STEPS = 15


def saved(folder: Path, name: str) -> dict[str, Any]:
    return {
        key: array.astype("float64")
        for key, array in load_file(folder / "checkpoints" / f"{name}.safetensors").items()
    }


def course(folder: Path) -> list[dict[str, Any]]:
    """Return the raw weights after each update."""
    places = [f"step-{step:09d}/tensors" for step in range(1, STEPS + 1)]
    states = [saved(folder, place) for place in places]
    return [
        {name.removeprefix("weights."): array for name, array in state.items() if name.startswith("weights.")}
        for state in states
    ]


def outputs(weights: Mapping[str, Any], inputs: Any) -> Any:
    """Return the logits of the small networks in evaluation, with or without batch normalization."""
    hidden = inputs.reshape(len(inputs), -1).astype("float64") @ weights["dense_1.W"] + weights["dense_1.b"]
    hidden = np.maximum(hidden, 0)
    if "batchnorm_1.mean" in weights:
        gamma, beta, mean, variance = (
            weights[f"batchnorm_1.{name}"] for name in ("gamma", "beta", "mean", "variance")
        )
        hidden = gamma * (hidden - mean) / np.sqrt(variance + 1e-5) + beta
    return hidden @ weights["dense_2.W"] + weights["dense_2.b"]


def measured(weights: Mapping[str, Any], part: Any) -> tuple[float, float]:
    """Return the mean cross-entropy and the accuracy."""
    logits = outputs(weights, part.inputs)
    chosen = logits[np.arange(len(logits)), part.targets]
    losses = np.log(np.exp(logits).sum(axis=1)) - chosen
    return float(losses.mean()), float((logits.argmax(axis=1) == part.targets).mean())


def exponential(first: Any, weights: list[Any]) -> Any:
    average = first
    for step, new in enumerate(weights, start=1):
        kept = min(0.8, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * new
    return average


AVERAGES: dict[tuple[str, ...], Callable[[Any, list[Any]], Any]] = {
    # With its rise, from the initial weights on.
    ("averaging=exponential", "averaging.decay=0.8"): exponential,
    # Of 15 steps, from behind 0.4 of them on: 7 to 15.
    ("averaging=polyak", "averaging.start=0.4"): lambda first, weights: np.mean(weights[6:], axis=0),
    # At the end of every second step from behind 0.2 of the run on: 4, 6, ..., 14.
    ("averaging=stochastic", "averaging.start=0.2", "averaging.every=0.4"): lambda first, weights: np.mean(
        weights[3:14:2], axis=0
    ),
}


@pytest.mark.parametrize("arguments", AVERAGES, ids=lambda arguments: arguments[0])
def test_averages_are_those_of_the_weights_after_each_update(
    train: Train, arguments: tuple[str, ...]
) -> None:
    """The running statistics of batch normalization are averaged as the weights are."""
    run = train(*NORMALIZED, *ALL_STATES, *arguments)
    assert run.status == 0, run.err
    # Without a step, the last weights are the initial ones; the running statistics begin at 0 and 1.
    start = saved(train(*NORMALIZED, "optimizer.learning_rate=0", folder="start").folder, "last")
    start["batchnorm_1.mean"], start["batchnorm_1.variance"] = np.zeros(4), np.ones(4)
    states, averaged = course(run.folder), saved(run.folder, "last_averaged")
    assert averaged.keys() == states[0].keys()
    for name, found in averaged.items():
        expected = AVERAGES[arguments](start[name], [state[name] for state in states])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=name)
    loss, accuracy = measured(averaged, digits().validation)
    assert run.records[-1]["validation/averaged/loss"] == pytest.approx(loss, rel=1e-5)
    assert run.records[-1]["validation/averaged/accuracy"] == pytest.approx(accuracy)
    raw, _ = measured(saved(run.folder, "last"), digits().validation)
    assert run.records[-1]["validation/loss"] == pytest.approx(raw, rel=1e-5)
    assert raw != pytest.approx(loss, rel=1e-3)


@pytest.fixture
def averaged(train: Train) -> Finished:
    run = train(
        *SMALL,
        "averaging=exponential",
        "averaging.decay=0.9",
        "optimizer.learning_rate=0.05",
        "training.monitor=validation/averaged/loss",
    )
    assert run.status == 0, run.err
    return run


def test_averages_may_choose_the_best_epoch(averaged: Finished) -> None:
    losses = [record["validation/averaged/loss"] for record in averaged.records]
    assert averaged.summary["best"]["epoch"] == 1 + int(np.argmin(losses))
    best = measured(saved(averaged.folder, "best_averaged"), digits().validation)
    assert best[0] == pytest.approx(min(losses), rel=1e-5)


def test_the_test_part_is_measured_with_both(averaged: Finished) -> None:
    test = averaged.summary["test"]
    for name, prefix in (("best", ""), ("best_averaged", "averaged/")):
        loss, accuracy = measured(saved(averaged.folder, name), digits().test)
        assert test[f"{prefix}loss"] == pytest.approx(loss, rel=1e-5)
        assert test[f"{prefix}accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("weights", ["best", "last", "best_averaged", "last_averaged"])
def test_each_of_them_is_evaluated_afterwards(averaged: Finished, capfd: Captured, weights: str) -> None:
    assert evaluate.main([str(averaged.folder), "--weights", weights, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    loss, accuracy = measured(saved(averaged.folder, weights), digits().test)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy)


def test_a_run_without_averages_has_none(train: Train, capfd: Captured) -> None:
    run = train(*SMALL)
    assert evaluate.main([str(run.folder), "--weights", "best_averaged"]) == 2
    assert "best_averaged.safetensors" in capfd.readouterr().err
    refused = train(*SMALL, "training.monitor=validation/averaged/loss", folder="other")
    assert refused.status == 2
    assert "training.monitor=validation/averaged/loss is not measured" in refused.err


@pytest.mark.parametrize("rule", ["schedule_free_sgd", "schedule_free_adamw"])
def test_a_schedule_free_rule_saves_and_evaluates_its_average(train: Train, rule: str) -> None:
    """Which is x, where gradients are taken at y = 0.1 z + 0.9 x."""
    run = train(*SMALL, f"optimizer={rule}", "optimizer.warmup_steps=0")
    assert run.status == 0, run.err
    state = saved(run.folder, f"step-{STEPS:09d}/tensors")
    last = saved(run.folder, "last")
    for name, x in last.items():
        y, z = state[f"weights.{name}"], state[f"optimizer.{name}.base"]
        np.testing.assert_allclose(y, 0.1 * z + 0.9 * x, rtol=1e-5, atol=1e-6)
    assert (last["dense_2.b"] != state["weights.dense_2.b"]).all()
    loss, _ = measured(last, digits().validation)
    assert run.records[-1]["validation/loss"] == pytest.approx(loss, rel=1e-5)
    loss, _ = measured(saved(run.folder, "best"), digits().test)
    assert run.summary["test"]["loss"] == pytest.approx(loss, rel=1e-5)
