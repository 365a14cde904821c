"""The learning-rate finder: what it sweeps, what it suggests, and that it leaves everything as it was."""

from __future__ import annotations

import doctest
import importlib
import json
import logging
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from theano import tensor
from theano.sandbox.rng_mrg import MRG_RandomStreams

from trainer.errors import RunError, UsageError
from trainer.finder import Finding, command, find_learning_rate, rates_figure, run_finder, smooth, suggest
from trainer.hyperparameters import Hyperparameters
from trainer.kernels.finite import NonFinite
from trainer.settings import FindLearningRate
from trainer.updates import momentum

WITHOUT_C = theano.Mode(linker="py", optimizer="fast_compile")


class Numbered:
    """Batches that say their epoch and their place in it."""

    def __init__(self, length: int = 7) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[int, int]]:
        return ((number, place) for place in range(start, self.length))


class Quadratic:
    """Gradient descent on ``curvature / 2 * p**2 + floor`` from 1; stable for rates below 2 / curvature."""

    def __init__(self, curvature: float = 1.0, floor: float = 0.05, noise: float = 0.0) -> None:
        self.curvature, self.floor, self.noise = curvature, floor, noise
        self.hyperparameters = Hyperparameters()
        self.rate = self.hyperparameters.add("learning_rate", 0.1)
        self.generator = np.random.default_rng(0)
        self.rates: list[float] = []
        self.batches: list[tuple[int, int]] = []
        self.restore()

    def restore(self) -> None:
        self.place = 1.0

    def step(self, inputs: Any, targets: Any) -> tuple[float, float]:
        self.batches.append((inputs, targets))
        self.rates.append(float(self.rate.get_value()))
        gradient = self.curvature * self.place
        loss = self.curvature / 2 * self.place**2 + self.floor + self.noise * self.generator.normal()
        self.place -= self.rates[-1] * gradient
        return loss, abs(gradient)

    def find(self, **settings: Any) -> Finding:
        return find_learning_rate(self.step, Numbered(), self.hyperparameters, self.restore, **settings)


def test_the_rate_grows_by_the_same_factor_at_each_update_over_as_many_epochs_as_it_takes() -> None:
    problem = Quadratic()
    finding = problem.find(low=1e-3, high=1e-1, steps=61)
    expected = [1e-3 * 10 ** (2 * k / 60) for k in range(61)]
    assert finding.rates == pytest.approx(expected)
    assert problem.rates == pytest.approx(expected, rel=1e-6)
    assert problem.batches == [(1 + k // 7, k % 7) for k in range(61)]
    place, losses = 1.0, []
    for rate in expected:
        losses.append(place**2 / 2 + 0.05)
        place *= 1 - rate
    assert finding.losses == pytest.approx(losses, rel=1e-6)
    assert finding.ended == "completed"


def test_the_smoothed_loss_is_the_weighted_mean_of_those_before() -> None:
    losses = np.random.default_rng(1).normal(size=30).tolist()
    expected = [
        np.average(losses[: last + 1], weights=0.8 ** np.arange(last, -1, -1)) for last in range(len(losses))
    ]
    assert smooth(losses, 0.8) == pytest.approx(expected)
    assert smooth(losses, 0.0) == pytest.approx(losses)


@pytest.mark.parametrize("curvature", [0.1, 1.0, 10.0, 1000.0])
def test_the_suggestion_is_below_the_limit_of_stability_and_scales_with_it(curvature: float) -> None:
    finding = Quadratic(curvature, floor=0.05 * curvature).find(low=1e-7, high=1e3)
    assert finding.suggestion is not None
    limit = 2 / curvature
    assert limit / 40 < finding.suggestion < limit / 2
    assert finding.ended == "rose"
    assert finding.rates[-1] > limit


def test_noise_moves_the_suggestion_little() -> None:
    finding = Quadratic(noise=0.1).find()
    assert finding.suggestion is not None
    assert 0.05 < finding.suggestion < 1.0


def test_losses_of_noise_alone_suggest_nothing() -> None:
    rates = np.geomspace(1e-7, 10, 200).tolist()
    for seed in range(100):
        losses = np.random.default_rng(seed).normal(2.3, 0.3, size=200).tolist()
        assert suggest(rates, losses, smooth(losses, 0.9), 0.9, "completed")[0] is None


def test_a_sweep_that_learns_nothing_says_what_to_try() -> None:
    losses = iter(np.random.default_rng(0).normal(2.3, 0.1, size=200))
    finding = find_learning_rate(
        lambda inputs, targets: next(losses),
        Numbered(),
        Quadratic().hyperparameters,
        lambda: None,
    )
    assert finding.suggestion is None
    assert "so that no rate can be suggested: try a higher find_learning_rate.high" in finding.reason


def test_a_loss_that_only_rises_asks_for_lower_rates() -> None:
    finding = Quadratic().find(low=3.0, high=100.0)
    assert finding.suggestion is None
    assert "try a lower find_learning_rate.low" in finding.reason


def curve(fall_at: float, lowest_at: float) -> tuple[list[float], list[float]]:
    """Return rates, and losses that fall fastest at one rate and are lowest at another."""
    rates = np.geomspace(1e-6, 10, 201)
    decades = np.log10(rates / fall_at)
    losses = 1 + 1 / (1 + np.exp(6 * decades)) + 0.02 * np.log10(rates / lowest_at) ** 2
    losses[rates > lowest_at] += 3 * np.log10(rates / lowest_at)[rates > lowest_at]
    return rates.tolist(), losses.tolist()


@pytest.mark.parametrize(
    ("fall_at", "lowest_at", "expected", "words"),
    [
        (0.01, 0.1, 0.01, "there the loss falls fastest"),
        (0.01, 0.3, 0.01, "a tenth of that agrees"),
        (0.001, 1.0, 0.01, "falls fastest at 0.001, but"),
    ],
)
def test_the_suggestion_is_the_steepest_descent_or_its_mean_with_a_tenth_of_the_lowest(
    fall_at: float, lowest_at: float, expected: float, words: str
) -> None:
    rates, losses = curve(fall_at, lowest_at)
    suggestion, reason = suggest(rates, losses, losses, 0.9, "rose")
    assert suggestion == pytest.approx(expected, rel=0.13)
    assert words in reason


def test_a_loss_that_still_falls_at_the_end_says_to_look_further() -> None:
    assert "a higher find_learning_rate.high may show more" in Quadratic().find(high=0.5).reason


def test_a_loss_below_zero_is_no_reason_to_stop() -> None:
    finding = Quadratic(floor=-3.0).find(high=0.5)
    assert (finding.ended, len(finding.losses)) == ("completed", 200)
    losses = iter([1.0] * 50 + [-0.01] * 100 + [0.1] * 50)
    finding = find_learning_rate(
        lambda inputs, targets: next(losses), Numbered(), Quadratic().hyperparameters, lambda: None
    )
    assert finding.ended == "completed"
    assert Quadratic(floor=-3.0).find(high=100.0).ended == "rose"


@pytest.mark.parametrize("how", ["nan", "raised"])
def test_the_sweep_ends_where_the_loss_is_not_finite(how: str) -> None:
    problem = Quadratic()

    def step(inputs: Any, targets: Any) -> Any:
        loss = problem.step(inputs, targets)
        if len(problem.rates) <= 150:
            return loss
        if how == "nan":
            return math.nan, 1.0
        raise NonFinite(loss=math.nan)

    finding = find_learning_rate(step, Numbered(), problem.hyperparameters, problem.restore)
    assert (finding.ended, len(finding.losses)) == ("not_finite", 150)
    assert len(finding.rates) == len(finding.smoothed) == 150
    assert problem.place == 1.0


def test_a_loss_that_is_never_finite_is_an_error() -> None:
    problem = Quadratic(floor=math.nan)
    with pytest.raises(RunError, match="not finite before the first update: look for numbers in the data"):
        problem.find()


def network() -> tuple[Callable[[Any, Any], Any], Hyperparameters, list[Any]]:
    """Return a step of a network with dropout and momentum, and all that it changes."""
    hyperparameters = Hyperparameters()
    rate = hyperparameters.add("learning_rate", 0.1)
    hyperparameters.add("momentum", 0.9)
    weights = theano.shared(np.full((3, 2), 0.5, "float32"), "W")
    inputs, targets = tensor.fmatrix(), tensor.fmatrix()
    streams = MRG_RandomStreams(3)
    mask = streams.binomial(inputs.shape, p=0.8, dtype="float32")
    loss = tensor.sqr(tensor.dot(inputs * mask, weights) - targets).mean()
    updates = momentum(loss, [weights], rate, hyperparameters["momentum"])
    changes = [*updates.items(), *((state, update) for state, update, *_ in streams.state_updates)]
    step = theano.function([inputs, targets], loss, updates=changes, mode=WITHOUT_C)
    return step, hyperparameters, [variable for variable, _ in changes]


class Fixed:
    """Two batches of numbers."""

    def __len__(self) -> int:
        return 2

    def epoch(self, number: int) -> Iterator[tuple[Any, Any]]:
        generator = np.random.default_rng(number)
        for _ in range(2):
            inputs = generator.normal(size=(8, 3)).astype("float32")
            yield inputs, inputs[:, :2]


@pytest.mark.parametrize("fails_at", [None, 30])
def test_everything_has_the_same_bytes_afterwards_after_an_error_too(fails_at: int | None) -> None:
    step, hyperparameters, changed = network()
    hyperparameters.schedule("momentum", lambda time: 0.5 + time / 2, unit="run")
    hyperparameters.advance(step=3, steps_per_epoch=2, total_steps=10)
    everything = [*changed, *(hyperparameters[name] for name in hyperparameters)]
    before = [variable.get_value() for variable in everything]
    calls = []

    def counted(inputs: Any, targets: Any) -> Any:
        calls.append([variable.get_value() for variable in everything])
        if len(calls) == fails_at:
            raise ValueError("a broken batch")
        return step(inputs, targets)

    def restore() -> None:
        for variable, value in zip(changed, before, strict=False):
            variable.set_value(value)

    try:
        finding = find_learning_rate(counted, Fixed(), hyperparameters, restore, steps=60)
        assert len(finding.losses) > 30
    except ValueError:
        assert fails_at
    # The weights, their velocity, the random stream and the rate did change; momentum's schedule did not.
    differ = [not np.array_equal(first, last) for first, last in zip(calls[0], calls[-1], strict=True)]
    assert differ == [True, True, True, True, False]
    after = [variable.get_value() for variable in everything]
    assert [value.tobytes() for value in after] == [value.tobytes() for value in before]


def test_a_schedule_of_the_rate_rests_during_the_sweep_and_works_again_after_it() -> None:
    problem = Quadratic()
    problem.hyperparameters.schedule("learning_rate", lambda time: 5.0, unit="step")
    finding = problem.find(high=0.1)
    assert problem.rates == pytest.approx(finding.rates, rel=1e-6)
    assert problem.hyperparameters.pinned == ()
    problem.hyperparameters.advance(1, 7, 100)
    assert problem.hyperparameters.values() == {"learning_rate": 5.0}


def test_a_rate_that_a_person_has_set_is_theirs_again_afterwards() -> None:
    problem = Quadratic()
    problem.hyperparameters.pin("learning_rate", 0.25)
    problem.find()
    assert problem.hyperparameters.pinned == ("learning_rate",)
    assert problem.hyperparameters.values() == {"learning_rate": 0.25}


def test_an_update_of_several_batches_gathers_all_but_its_last() -> None:
    problem = Quadratic()
    gathered: list[tuple[int, int]] = []
    epochs: list[int] = []

    class Step:
        def __call__(self, inputs: Any, targets: Any) -> Any:
            return problem.step(inputs, targets)

        def gather(self, inputs: Any, targets: Any) -> None:
            gathered.append((inputs, targets))

    find_learning_rate(
        Step(),
        Numbered(),
        problem.hyperparameters,
        problem.restore,
        steps=50,
        accumulation=3,
        on_epoch_start=lambda: epochs.append(len(problem.batches)),
    )
    assert problem.batches[:4] == [(1, 2), (1, 5), (1, 6), (2, 2)]
    assert gathered[:5] == [(1, 0), (1, 1), (1, 3), (1, 4), (2, 0)]
    assert epochs[:3] == [0, 3, 6]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 1.0, "high": 0.1}, "find_learning_rate.low=1 must lie above 0 and below .*high=0.1: give a"),
        ({"low": 0.0}, "find_learning_rate.low=0 must lie above 0"),
        ({"steps": 5}, "find_learning_rate.steps=5 are too few"),
        ({"smoothing": 1.0}, "find_learning_rate.smoothing=1 is out of range"),
        ({"stop_factor": 1.0}, "find_learning_rate.stop_factor=1 must be above 1"),
        ({"name": "learning_rat"}, "did you mean learning_rate"),
    ],
)
def test_settings_that_make_no_sweep_are_refused(settings: dict[str, Any], message: str) -> None:
    problem = Quadratic()
    with pytest.raises(UsageError, match=message):
        problem.find(**settings)
    assert problem.rates == []


def test_the_run_leaves_a_file_a_picture_and_the_command_to_use_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    problem = Quadratic()
    finding = run_finder(
        problem.step,
        Numbered(),
        problem.hyperparameters,
        problem.restore,
        FindLearningRate(),
        tmp_path,
        title="quadratic, sgd",
        overrides=[
            "task=find_learning_rate",
            "optimizer=sgd",
            "find_learning_rate.high=1",
            "model.hidden=[9]",
        ],
    )
    content = json.loads((tmp_path / "learning_rate.json").read_text())
    assert content == {
        "hyperparameter": "learning_rate",
        **{key: list(value) if isinstance(value, tuple) else value for key, value in vars(finding).items()},
    }
    picture = (tmp_path / "learning_rate.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", picture[16:20]) == (1200,)
    told = [record.message for record in caplog.records if record.name.startswith("trainer.finder")]
    assert told[0].startswith(f"{len(finding.rates)} updates from learning_rate 1e-07 to ")
    assert told[1] == f"suggested: {finding.suggestion:g}; {finding.reason}"
    assert told[2] == (
        "train with it: "
        f"trainer optimizer=sgd 'model.hidden=[9]' optimizer.learning_rate={finding.suggestion:g}"
    )


def test_the_command_replaces_the_rate_that_was_typed() -> None:
    assert command(["optimizer.learning_rate=5", "+task=x", "seed=1"], "learning_rate", 0.0032) == (
        "trainer seed=1 optimizer.learning_rate=0.0032"
    )


def test_the_picture_shows_the_losses_and_the_suggestion_over_logarithmic_rates() -> None:
    finding = Quadratic(noise=0.02).find()
    (axes,) = rates_figure(
        finding.rates, finding.losses, finding.smoothed, finding.suggestion, "digits"
    ).get_axes()
    lines = {str(line.get_gid()): line for line in axes.get_lines()}
    assert tuple(lines["loss"].get_ydata()) == finding.losses  # type: ignore[arg-type]
    assert tuple(lines["smoothed"].get_ydata()) == finding.smoothed  # type: ignore[arg-type]
    assert tuple(lines["smoothed"].get_xdata()) == finding.rates  # type: ignore[arg-type]
    assert lines["suggestion"].get_xdata()[0] == finding.suggestion  # type: ignore[index]
    assert axes.get_xscale() == "log"


@pytest.mark.parametrize("module", ["sweep", "report"])
def test_the_examples_of_the_docstrings_hold(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"trainer.finder.{module}"))
    assert result.attempted
    assert not result.failed
