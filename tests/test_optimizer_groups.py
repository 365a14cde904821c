"""Parameter groups and weight decay: which numbers and which rule a parameter is trained with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import theano

from trainer import updates
from trainer.components import Component
from trainer.errors import UsageError
from trainer.optimizer import Optimizer, build_optimizer, trained
from trainer.schedules import linear
from trainer.settings import GroupSettings, ScheduleSettings

UNCOMPILED = theano.Mode(linker="py", optimizer="fast_compile")
SGD = Component(updates.sgd, {"learning_rate": 0.5})
ADAM = Component(updates.adam, {"learning_rate": 0.01})
NAMES = ("conv_1.W", "conv_1.b", "dense_1.W", "dense_1.b")
START = np.array([1.0, -2.0, 3.0])


def network() -> dict[str, Any]:
    return {name: theano.shared(START.astype("float32"), name=name) for name in NAMES}


def build(*groups: GroupSettings, rule: Component = SGD, **others: Any) -> tuple[Optimizer, dict[str, Any]]:
    """Return the optimizer of four parameters whose gradients are 1, and the parameters by name."""
    parameters = network()
    ones = [np.ones(3, dtype="float32")] * len(NAMES)
    return build_optimizer(ones, list(parameters.values()), rule=rule, groups=groups, **others), parameters


def after(optimizer: Optimizer, parameters: dict[str, Any], steps: int = 1) -> dict[str, Any]:
    """Return the parameters after some steps, by name."""
    train = theano.function([], updates=optimizer.updates, mode=UNCOMPILED)
    for step in range(steps):
        optimizer.hyperparameters.advance(step, steps_per_epoch=5, total_steps=10)
        train()
    return {name: parameter.get_value() for name, parameter in parameters.items()}


def group(name: str, match: str, **others: Any) -> GroupSettings:
    return GroupSettings(name, (match,), **others)


def test_biases_without_weight_decay_and_slow_convolutions() -> None:
    optimizer, parameters = build(
        group("biases", "*.b", values={"weight_decay": 0}),
        group("slow", "conv_*", values={"learning_rate_scale": 0.1}),
        weight_decay=0.2,
    )
    new = after(optimizer, parameters)
    np.testing.assert_allclose(new["dense_1.W"], START - 0.5 * (1 + 0.2 * START), rtol=1e-6)
    np.testing.assert_allclose(new["dense_1.b"], START - 0.5, rtol=1e-6)
    np.testing.assert_allclose(new["conv_1.W"], START - 0.05 * (1 + 0.2 * START), rtol=1e-6)
    np.testing.assert_allclose(new["conv_1.b"], START - 0.05, rtol=1e-6)
    assert optimizer.hyperparameters.values() == {
        "learning_rate": 0.5,
        "weight_decay": 0.2,
        "groups.biases.weight_decay": 0.0,
        "groups.slow.learning_rate_scale": 0.1,
    }


def test_later_groups_go_over_earlier_ones_and_factors_multiply() -> None:
    optimizer, parameters = build(
        group("every", "*", values={"learning_rate": 0.25, "learning_rate_scale": 0.5}),
        group("dense", "dense_*", values={"learning_rate": 1.0, "learning_rate_scale": 0.5}),
        GroupSettings("two", ("dense_1.b", "conv_1.b"), {"learning_rate_scale": 2.0}),
    )
    new = after(optimizer, parameters)
    for name, rate in zip(NAMES, (0.125, 0.25, 0.25, 0.5), strict=True):
        np.testing.assert_allclose(new[name], START - rate, rtol=1e-6)


def test_groups_take_what_changes_while_training_and_share_what_they_do_not_change() -> None:
    optimizer, parameters = build(
        group("slow", "conv_*", values={"learning_rate_scale": 0.1}),
        group("own", "*.b", values={"learning_rate": 1.0}),
    )
    hyperparameters = optimizer.hyperparameters
    hyperparameters.schedule("learning_rate", linear(1.0, final=0.0, duration=1.0), "run")
    hyperparameters.schedule("groups.own.learning_rate", linear(1.0, final=2.0, duration=1.0), "run")
    new = after(optimizer, parameters, steps=10)
    falling, growing = sum(1 - step / 10 for step in range(10)), sum(1 + step / 10 for step in range(10))
    expected = (0.1 * falling, 0.1 * growing, falling, growing)
    for name, total in zip(NAMES, expected, strict=True):
        np.testing.assert_allclose(new[name], START - total, rtol=1e-5, atol=1e-5)


def test_a_schedule_alone_gives_a_group_its_own_value_the_configured_one() -> None:
    schedule = ScheduleSettings(Component(linear, {"final": 0.0, "duration": 1.0}), "run")
    optimizer, _ = build(group("heads", "dense_*", schedules={"learning_rate": schedule}), rule=ADAM)
    assert optimizer.hyperparameters.values()["groups.heads.learning_rate"] == 0.01
    assert len([name for name in optimizer.hyperparameters if "groups." in name]) == 1


def test_another_rule_has_its_own_numbers_and_states() -> None:
    momentum = Component(updates.momentum, {"learning_rate": 0.1, "momentum": 0.5}, "optimizer.groups[0]")
    optimizer, parameters = build(
        group("heads", "dense_*", rule=momentum, values={"learning_rate_scale": 2.0}), rule=ADAM
    )
    new = after(optimizer, parameters, steps=3)
    velocities = np.cumsum([1, 0.5, 0.25])
    for name in NAMES[2:]:
        np.testing.assert_allclose(new[name], START - 0.2 * velocities.sum(), rtol=1e-5)
    # With equal gradients, Adam's step is the learning rate.
    for name in NAMES[:2]:
        np.testing.assert_allclose(new[name], START - 3 * 0.01, rtol=1e-5)
    assert set(optimizer.hyperparameters) == {
        "learning_rate",
        "beta1",
        "beta2",
        "epsilon",
        "groups.heads.learning_rate",
        "groups.heads.momentum",
        "groups.heads.learning_rate_scale",
    }


def test_another_rule_does_away_with_the_values_of_earlier_groups_and_keeps_their_factors() -> None:
    optimizer, parameters = build(
        group("every", "*", values={"learning_rate": 2.0, "learning_rate_scale": 0.5}),
        group("heads", "dense_*", rule=Component(updates.sgd, {"learning_rate": 0.1})),
    )
    new = after(optimizer, parameters)
    np.testing.assert_allclose(new["conv_1.W"], START - 1.0, rtol=1e-6)
    np.testing.assert_allclose(new["dense_1.W"], START - 0.05, rtol=1e-6)


def test_states_of_several_calls_of_a_rule_have_names_of_their_own() -> None:
    optimizer, _ = build(
        group("a", "conv_*", values={"beta1": 0.5}), group("b", "*.b", values={"beta2": 0.5}), rule=ADAM
    )
    found = [state.name for state in optimizer.state]
    assert len(set(found)) == len(found) == 2 * len(NAMES) + 4
    assert {name for name in found if name.endswith("step")} == {
        "step",
        "groups.a.step",
        "groups.b.step",
        "groups.a+b.step",
    }


def test_frozen_parameters_keep_their_bytes_and_need_no_gradient() -> None:
    parameters = network()
    before = {name: parameter.get_value().tobytes() for name, parameter in parameters.items()}
    loss = sum((parameter**2).sum() for name, parameter in parameters.items() if name.startswith("dense"))
    groups = [group("frozen", "conv_*", freeze=True), group("slow", "*", values={"learning_rate_scale": 0.1})]
    optimizer = build_optimizer(
        loss,
        list(parameters.values()),
        rule=ADAM,
        groups=groups,
        weight_decay=0.1,
        wrapper=[Component(updates.apply_momentum)],
        constraint=[Component(updates.unit_norm_constraint, {"axes": [0]})],
    )
    dense = [parameters[name] for name in NAMES[2:]]
    assert optimizer.parameters == trained(list(parameters.values()), groups) == dense
    new = after(optimizer, parameters, steps=2)
    changed = [name for name, value in new.items() if value.tobytes() != before[name]]
    assert changed == list(NAMES[2:])
    assert not [state.name for state in optimizer.state if state.name.startswith("conv")]


def test_given_gradients_are_taken_of_those_that_are_trained() -> None:
    parameters = network()
    gradients = [np.full(3, number, dtype="float32") for number in (10, 20, 30, 40)]
    optimizer = build_optimizer(
        gradients, list(parameters.values()), rule=SGD, groups=[group("frozen", "*.W", freeze=True)]
    )
    new = after(optimizer, parameters)
    np.testing.assert_allclose(new["conv_1.b"], START - 10, rtol=1e-6)
    np.testing.assert_allclose(new["dense_1.b"], START - 20, rtol=1e-6)


def adam_with_decay(gradient: float, decay: float, steps: int) -> Any:
    """Reckon Adam and, beside it, the decay of the parameter before the step, as their papers have them."""
    value, mean, mean_square = START.copy(), 0.0, 0.0
    for step in range(1, steps + 1):
        mean = 0.9 * mean + 0.1 * gradient
        mean_square = 0.999 * mean_square + 0.001 * gradient**2
        rate = 0.01 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        value = value - rate * mean / (np.sqrt(mean_square) + 1e-8) - 0.01 * decay * value
    return value


def test_weight_decay_around_a_rule_is_decoupled_and_is_for_those_that_its_pattern_fits() -> None:
    optimizer, parameters = build(
        group("own", "conv_1.b", values={"weight_decay": 0.1}),
        rule=ADAM,
        weight_decay=0.3,
        weight_decay_match="*.W",
    )
    new = after(optimizer, parameters, steps=20)
    for name, decay in zip(NAMES, (0.3, 0.1, 0.3, 0.0), strict=True):
        np.testing.assert_allclose(new[name], adam_with_decay(1.0, decay, 20), rtol=1e-5)
    assert [state.name for state in optimizer.state].count("step") == 1


@pytest.mark.parametrize("given", ["by the optimizer", "by the rule"])
def test_a_rule_that_takes_weight_decay_gets_it_and_none_for_the_others(given: str) -> None:
    within = {"weight_decay": 0.3} if given == "by the rule" else {}
    rule = Component(updates.adamw, {"learning_rate": 0.01, **within})
    around = {} if within else {"weight_decay": 0.3}
    optimizer, parameters = build(
        group("own", "conv_1.b", values={"weight_decay": 0.1}), rule=rule, weight_decay_match="*.W", **around
    )
    new = after(optimizer, parameters, steps=20)
    for name, decay in zip(NAMES, (0.3, 0.1, 0.3, 0.0), strict=True):
        np.testing.assert_allclose(new[name], adam_with_decay(1.0, decay, 20), rtol=1e-5)
    assert optimizer.hyperparameters.values()["weight_decay"] == 0.3


def test_weight_decay_is_scheduled_as_any_hyperparameter_and_holds_for_the_rules_of_groups() -> None:
    optimizer, parameters = build(group("heads", "dense_*", rule=SGD), weight_decay=1.0)
    optimizer.hyperparameters.schedule("weight_decay", lambda time: 0.1 * time, "step")
    new = after(optimizer, parameters, steps=3)
    expected = START
    for step in range(3):
        expected = expected - 0.5 * (1 + 0.1 * step * expected)
    for name in NAMES:
        np.testing.assert_allclose(new[name], expected, rtol=1e-5)


def test_without_a_learning_rate_the_decay_alone_counts() -> None:
    def still(loss_or_grads: Any, params: Any) -> Any:
        return {parameter: parameter for parameter in params}

    optimizer, parameters = build(rule=Component(still), weight_decay=0.25)
    np.testing.assert_allclose(after(optimizer, parameters)["conv_1.W"], 0.75 * START, rtol=1e-6)


def test_a_rules_whole_numbers_may_differ_between_groups() -> None:
    def power(loss_or_grads: Any, params: Any, learning_rate: Any, exponent: int = 1) -> Any:
        pairs = zip(params, loss_or_grads, strict=True)
        return {p: p - learning_rate * (2 * g) ** exponent for p, g in pairs}

    optimizer, parameters = build(
        group("squared", "*.b", values={"exponent": 2}), rule=Component(power, {"learning_rate": 1.0})
    )
    new = after(optimizer, parameters)
    np.testing.assert_allclose(new["conv_1.W"], START - 2, rtol=1e-6)
    np.testing.assert_allclose(new["conv_1.b"], START - 4, rtol=1e-6)
    assert "groups.squared.exponent" not in optimizer.hyperparameters


COUNT = theano.shared(np.zeros((), dtype="float32"), name="count")


def counting(loss_or_grads: Any, params: Any) -> Any:
    return {**{parameter: parameter for parameter in params}, COUNT: COUNT + 1}


@pytest.mark.parametrize(
    ("groups", "others", "message"),
    [
        (
            [group("biases", "*.bias", values={"learning_rate": 0.1})],
            {},
            r"optimizer\.groups \(biases\): match=\*\.bias fits no parameter; there are conv_1\.W, ",
        ),
        (
            [GroupSettings("both", ("*.b", "lstm_*"), freeze=True)],
            {},
            r"optimizer\.groups \(both\): match=lstm_\* fits no parameter",
        ),
        (
            [group("slow", "*.b", values={"learning_rte": 0.1})],
            {},
            r"optimizer\.groups \(slow\): learning_rte is not a hyperparameter of sgd: did you mean",
        ),
        (
            [group("slow", "*.b", values={"momentum_scale": 0.1})],
            {},
            r"momentum_scale is not a hyperparameter of sgd: .*learning_rate_scale",
        ),
        (
            [group("odd", "*.b", schedules={"momentum": ScheduleSettings(Component(linear), "run")})],
            {},
            r"optimizer\.groups \(odd\): schedule\.momentum: there is no hyperparameter momentum",
        ),
        ([group("all", "*", freeze=True)], {}, "freeze all parameters: leave at least one"),
        (
            [group("own", "*.b", rule=Component(updates.adam, {"bta1": 0.5}, "optimizer.groups[0]"))],
            {},
            r"optimizer\.groups\[0\]\.bta1 is not an argument of adam: did you mean beta1",
        ),
        (
            [
                group("twice", "*.b", rule=Component(counting)),
                group("more", "conv_1.b", values={"weight_decay": 1}),
            ],
            {"rule": Component(counting)},
            "counting updates count for several parameter groups",
        ),
    ],
)
def test_mistakes_in_groups_are_named(
    groups: list[GroupSettings], others: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build(*groups, **others)
