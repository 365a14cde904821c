"""Named shared scalars, and the configuration, the schedules and the person that set them."""

from __future__ import annotations

import doctest
import importlib
import json
from typing import Any

import numpy as np
import pytest
import theano

from trainer import schedules
from trainer.errors import UsageError
from trainer.hyperparameters import Hyperparameters


def collection() -> Hyperparameters:
    hyperparameters = Hyperparameters()
    hyperparameters.add("learning_rate", 0.1)
    hyperparameters.add("wrapper.momentum", 0.9)
    hyperparameters.add("clipping.max_norm", 5)
    return hyperparameters


def scheduled(schedule: schedules.Schedule, unit: str = "run", initial: float = 0.5) -> Hyperparameters:
    hyperparameters = Hyperparameters()
    hyperparameters.add("learning_rate", initial)
    hyperparameters.schedule("learning_rate", schedule, unit)
    return hyperparameters


def learning_rate(hyperparameters: Hyperparameters, step: int = 0) -> float:
    """Return the learning rate for the update after `step` ones, of 100 in 4 epochs."""
    hyperparameters.advance(step, 25, 100)
    return hyperparameters.values()["learning_rate"]


def saved(hyperparameters: Hyperparameters) -> Any:
    return json.loads(json.dumps(hyperparameters.state(), allow_nan=False))


def epochs(hyperparameters: Hyperparameters, *losses: float) -> None:
    for loss in losses:
        hyperparameters.observe({"validation/loss": loss}, "validation/loss", "min")


def test_values_keep_their_order_and_are_the_numbers_that_were_given() -> None:
    hyperparameters = collection()
    assert list(hyperparameters) == ["learning_rate", "wrapper.momentum", "clipping.max_norm"]
    assert len(hyperparameters) == 3
    assert "wrapper.momentum" in hyperparameters
    values = hyperparameters.values()
    assert list(values.items()) == [
        ("learning_rate", 0.1),
        ("wrapper.momentum", 0.9),
        ("clipping.max_norm", 5.0),
    ]
    assert {type(value) for value in values.values()} == {float}


def test_shared_scalars_carry_their_name_and_floatx() -> None:
    hyperparameters = Hyperparameters()
    shared = hyperparameters.add("beta1", 1)
    assert hyperparameters["beta1"] is shared
    assert (shared.name, shared.dtype, shared.ndim) == ("beta1", theano.config.floatX, 0)


def test_set_reaches_the_shared_scalar() -> None:
    hyperparameters = collection()
    hyperparameters.set("learning_rate", 0.025)
    assert hyperparameters["learning_rate"].get_value() == np.asarray(0.025, dtype=theano.config.floatX)
    assert hyperparameters.values()["learning_rate"] == 0.025


def test_each_unit_measures_time_its_own_way() -> None:
    hyperparameters = Hyperparameters()
    for unit in ("step", "epoch", "run"):
        hyperparameters.add(unit, -1)
        hyperparameters.schedule(unit, lambda time: time, unit)
    hyperparameters.advance(step=0, steps_per_epoch=8, total_steps=64)
    assert hyperparameters.values() == {"step": 0.0, "epoch": 0.0, "run": 0.0}
    hyperparameters.advance(step=12, steps_per_epoch=8, total_steps=64)
    assert hyperparameters.values() == {"step": 12.0, "epoch": 1.5, "run": 0.1875}


def test_a_schedule_of_all_times_is_given_all_three() -> None:
    hyperparameters = scheduled(
        schedules.formula(2.0, "initial + 1000 * step + 10 * epoch + progress"), "step"
    )
    assert learning_rate(hyperparameters, 50) == 50022.5


def test_only_what_has_a_schedule_advances() -> None:
    hyperparameters = collection()
    hyperparameters.schedule("learning_rate", lambda time: 7.0, "run")
    hyperparameters.set("wrapper.momentum", 0.5)
    hyperparameters.advance(step=1, steps_per_epoch=1, total_steps=2)
    assert hyperparameters.values() == {
        "learning_rate": 7.0,
        "wrapper.momentum": 0.5,
        "clipping.max_norm": 5.0,
    }
    assert hyperparameters.scheduled == ("learning_rate",)


def test_a_later_schedule_takes_the_place_of_an_earlier_one() -> None:
    hyperparameters = collection()
    hyperparameters.schedule("learning_rate", lambda time: 1.0, "run")
    hyperparameters.schedule("learning_rate", lambda time: 2.0, "step")
    hyperparameters.advance(step=1, steps_per_epoch=1, total_steps=2)
    assert hyperparameters.values()["learning_rate"] == 2.0


def test_schedules_reach_a_value_that_was_set_from_outside() -> None:
    hyperparameters = collection()
    hyperparameters.schedule("learning_rate", lambda time: 1.0 - time, "run")
    hyperparameters["learning_rate"].set_value(np.asarray(9.0, dtype=theano.config.floatX))
    hyperparameters.advance(step=1, steps_per_epoch=1, total_steps=2)
    assert hyperparameters["learning_rate"].get_value() == 0.5


def test_a_schedule_without_a_value_is_an_error_with_its_key_and_time() -> None:
    hyperparameters = scheduled(lambda time: 1 / (5 - time), "step")
    assert learning_rate(hyperparameters, 4) == 1.0
    with pytest.raises(UsageError, match=r"schedule\.learning_rate has no value after 5 updates: .*zero"):
        hyperparameters.advance(5, 25, 100)


def test_what_a_person_pins_stays_until_it_is_released() -> None:
    hyperparameters = scheduled(lambda time: 1.0 - time)
    hyperparameters.add("momentum", 0.9)
    hyperparameters.pin("learning_rate", 0.75)
    hyperparameters.pin("momentum", 0.5)
    assert list(hyperparameters.pinned) == ["learning_rate", "momentum"]
    assert hyperparameters.values() == {"learning_rate": 0.75, "momentum": 0.5}
    assert learning_rate(hyperparameters, 50) == 0.75
    hyperparameters.release("learning_rate")
    hyperparameters.release("momentum")
    assert list(hyperparameters.pinned) == []
    assert learning_rate(hyperparameters, 50) == 0.5
    assert hyperparameters.values()["momentum"] == 0.9


def test_a_schedule_bound_to_what_is_pinned_waits() -> None:
    hyperparameters = collection()
    hyperparameters.pin("learning_rate", 3.0)
    hyperparameters.schedule("learning_rate", lambda time: 7.0, "run")
    assert learning_rate(hyperparameters) == 3.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300, 10**400, True, "0.1", None])
def test_what_no_scalar_can_hold_is_not_pinned(bad: Any) -> None:
    hyperparameters = collection()
    with pytest.raises(UsageError, match="is not a number that float32 holds"):
        hyperparameters.pin("learning_rate", bad)
    assert hyperparameters.pinned == ()
    assert hyperparameters.values() == collection().values()


def test_a_factor_holds_for_configured_scheduled_and_pinned_values() -> None:
    hyperparameters = scheduled(lambda time: 1.0 - time)
    for name in ("configured", "pinned"):
        hyperparameters.add(name, 8.0)
    hyperparameters.pin("pinned", 2.0)
    for name in hyperparameters:
        hyperparameters.rescale(name, 0.5)
        hyperparameters.rescale(name, 0.25)
    assert hyperparameters.values() == {"learning_rate": 0.0625, "configured": 1.0, "pinned": 0.25}
    assert learning_rate(hyperparameters, 50) == 0.0625
    hyperparameters.release("pinned")
    assert hyperparameters.values()["pinned"] == 1.0
    with pytest.raises(ValueError, match="factor must be above 0"):
        hyperparameters.rescale("pinned", 0.0)


def test_the_clock_counts_the_coming_update_and_only_where_it_is_read() -> None:
    hyperparameters = collection()
    progress, epoch = hyperparameters.clock.progress, hyperparameters.clock.epoch
    assert (progress.dtype, progress.ndim, hyperparameters.clock.progress is progress) == ("float64", 0, True)
    hyperparameters.advance(step=24, steps_per_epoch=25, total_steps=100)
    assert (float(epoch.get_value()), float(progress.get_value())) == (1.0, 0.25)
    step = hyperparameters.clock.step
    hyperparameters.advance(step=99, steps_per_epoch=25, total_steps=100)
    assert [float(time.get_value()) for time in (step, epoch, progress)] == [100.0, 4.0, 1.0]
    assert list(hyperparameters) == list(collection())


def test_a_plateau_is_shown_each_epoch_and_sets_the_value_from_then_on() -> None:
    hyperparameters = scheduled(schedules.plateau(0.5, factor=0.5, patience=2), "epoch")
    epochs(hyperparameters, 1.0, 0.9, 0.95)
    assert learning_rate(hyperparameters) == 0.5
    epochs(hyperparameters, 0.92)
    assert learning_rate(hyperparameters) == 0.25


def test_a_metric_that_is_not_measured_is_refused_with_the_nearest() -> None:
    plateau = schedules.plateau(0.5, metric="validation/acuracy", mode="max")
    warm = schedules.with_warmup(plateau, 0.5, 3, unit="epoch")
    joined = schedules.joined(0.5, [{"schedule": lambda initial: plateau}])
    for schedule in (plateau, warm, joined):
        hyperparameters = scheduled(schedule, "epoch")
        with pytest.raises(
            UsageError, match=r"schedule\.learning_rate: .*did you mean validation/accuracy\?"
        ):
            hyperparameters.observe({"epoch": 1, "validation/accuracy": 0.5}, "validation/accuracy", "max")
        with pytest.raises(
            UsageError, match=r"schedule\.learning_rate\.metric=validation/acuracy is not .*accuracy\?"
        ):
            hyperparameters.check_metrics(["train/loss", "validation/accuracy"])
        hyperparameters.check_metrics(["validation/acuracy"])


def test_state_survives_json_to_the_same_bits() -> None:
    hyperparameters, restored = Hyperparameters(), Hyperparameters()
    for index, value in enumerate([1 / 3, 1e-8, 0.999, 1e-30, 12345.678]):
        for each in (hyperparameters, restored):
            each.add(f"number_{index}", 0.7)
        hyperparameters.set(f"number_{index}", value)
    restored.load_state(saved(hyperparameters))
    for name in hyperparameters:
        assert restored[name].get_value().tobytes() == hyperparameters[name].get_value().tobytes()
    assert restored.state() == hyperparameters.state()


def test_a_state_brings_back_what_is_pinned_and_the_factors() -> None:
    def fresh() -> Hyperparameters:
        hyperparameters = scheduled(lambda time: 1.0 - time)
        hyperparameters.add("momentum", 0.9)
        hyperparameters.add("rho", 0.8)
        return hyperparameters

    before, after = fresh(), fresh()
    before.pin("momentum", 0.625)
    before.rescale("learning_rate", 0.5)
    before.rescale("rho", 0.5)
    after.load_state(saved(before))
    assert after.values() == before.values()
    assert (after.pinned, learning_rate(after, 50)) == (("momentum",), 0.25)
    after.pin("rho", 0.1)
    after.release("rho")
    after.release("momentum")
    assert after.values() == {"learning_rate": 0.25, "momentum": 0.9, "rho": 0.4}


def test_where_the_configuration_says_another_value_now_that_counts() -> None:
    before = collection()
    before.pin("learning_rate", 0.025)
    before.rescale("wrapper.momentum", 0.5)
    after = Hyperparameters()
    after.add("learning_rate", 0.2)
    after.add("wrapper.momentum", 0.9)
    after.add("clipping.max_norm", 5)
    after.load_state(saved(before))
    assert after.values() == {"learning_rate": 0.2, "wrapper.momentum": 0.45, "clipping.max_norm": 5.0}
    assert after.pinned == ()


@pytest.mark.parametrize("around", ["plain", "warm-up", "joined"])
def test_a_plateau_goes_on_where_it_stood(around: str) -> None:
    def fresh() -> Hyperparameters:
        plateau: Any = schedules.plateau(0.5, factor=0.5, patience=3, cooldown=1)
        if around == "warm-up":
            plateau = schedules.with_warmup(plateau, 0.5, 0.01)
        if around == "joined":
            first = {"schedule": schedules.constant, "until": 0.01}
            plateau = schedules.joined(0.5, [first, {"schedule": lambda initial, made=plateau: made}])
        hyperparameters = scheduled(plateau)
        learning_rate(hyperparameters, 10)
        return hyperparameters

    losses = [1.0, 0.5, 0.6, 0.6, 0.6, 0.4, 0.6, 0.7, 0.8, 0.3, 0.9, 0.9, 0.9, 0.9]
    whole = fresh()
    wanted = []
    for loss in losses:
        epochs(whole, loss)
        wanted.append(learning_rate(whole, 10))
    assert sorted(set(wanted)) == [0.0625, 0.125, 0.25, 0.5]
    for stop in range(len(losses)):
        before, after = fresh(), fresh()
        epochs(before, *losses[:stop])
        after.load_state(saved(before))
        found = []
        for loss in losses[stop:]:
            epochs(after, loss)
            found.append(learning_rate(after, 10))
        assert found == wanted[stop:]
        assert after.state() == whole.state()


def test_a_state_of_another_schedule_is_left_aside() -> None:
    before = scheduled(schedules.plateau(0.5, factor=0.5, patience=1), "epoch")
    epochs(before, 1.0, 1.0, 1.0)
    assert learning_rate(before) == 0.125
    for schedule in (
        schedules.constant(0.5),
        schedules.joined(0.5, [{"schedule": lambda initial: schedules.plateau(initial)}]),
    ):
        after = scheduled(schedule)
        after.load_state(saved(before))
        assert learning_rate(after) == 0.5
    without = Hyperparameters()
    without.add("learning_rate", 0.5)
    without.load_state(saved(before))
    assert without.values() == {"learning_rate": 0.5}


def test_what_only_one_of_the_two_has_keeps_its_configured_value() -> None:
    before, after = collection(), Hyperparameters()
    before.set("learning_rate", 0.05)
    after.add("learning_rate", 0.1)
    after.add("rho", 0.9)
    after.load_state(saved(before))
    assert after.values() == {"learning_rate": 0.05, "rho": 0.9}


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("value", "0.1"),
        ("value", None),
        ("value", 10**400),
        ("configured", True),
        ("scale", float("inf")),
        ("pinned", 1),
        ("scheduled", "yes"),
        ("schedule", [1]),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(key: str, bad: Any) -> None:
    before, after = collection(), collection()
    before.set("learning_rate", 0.05)
    state = saved(before)
    state["clipping.max_norm"][key] = bad
    with pytest.raises(
        UsageError, match=r"the saved state of the hyperparameter clipping\.max_norm is damaged"
    ):
        after.load_state(state)
    with pytest.raises(UsageError, match="of the hyperparameter learning_rate is damaged"):
        after.load_state({"learning_rate": 0.05})
    assert after.state() == collection().state()


@pytest.mark.parametrize("bad", ["x", True, [], {"best": 1}])
def test_a_damaged_state_of_a_schedule_is_left_aside(bad: Any) -> None:
    hyperparameters = scheduled(schedules.plateau(0.5), "epoch")
    state = saved(hyperparameters)
    state["learning_rate"]["schedule"]["reductions"] = bad
    hyperparameters.load_state(state)
    assert learning_rate(hyperparameters) == 0.5


def test_mistakes_name_the_nearest_match() -> None:
    hyperparameters = collection()
    for call in (hyperparameters.set, hyperparameters.pin, hyperparameters.rescale):
        with pytest.raises(UsageError, match=r"no hyperparameter learnin_rate: did you mean learning_rate\?"):
            call("learnin_rate", 1.0)
    with pytest.raises(
        UsageError, match=r"no hyperparameter wraper\.momentum: did you mean wrapper\.momentum\?"
    ):
        hyperparameters.release("wraper.momentum")
    with pytest.raises(UsageError, match=r"schedule\.wraper\.momentum: .* did you mean wrapper\.momentum\?"):
        hyperparameters.schedule("wraper.momentum", lambda time: time, "run")
    with pytest.raises(UsageError, match=r"schedule\.learning_rate\.unit=epochs: .* did you mean epoch\?"):
        hyperparameters.schedule("learning_rate", lambda time: time, "epochs")
    with pytest.raises(ValueError, match="learning_rate already"):
        hyperparameters.add("learning_rate", 1.0)


@pytest.mark.parametrize("module", ["hyperparameters", "clock"])
def test_documented_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"trainer.{module}"))
    assert result.attempted >= 4
    assert result.failed == 0
