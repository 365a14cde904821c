"""Gradients, clipping, rule, wrappers, constraints and averages in one dictionary of updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from omegaconf import OmegaConf
from theano import tensor
from theano.compile.function_module import FunctionMaker

from trainer import updates
from trainer.components import Component, locate
from trainer.errors import UsageError
from trainer.optimizer import build_optimizer
from trainer.schedules import cosine
from trainer.updates import matching

CONF = Path(__file__).parent.parent / "conf"
UNCOMPILED = theano.Mode(linker="py", optimizer="fast_compile")
SGD = Component(updates.sgd, {"learning_rate": 1.0})


def configured(group: str, name: str) -> list[Component]:
    run = OmegaConf.create({"training": {"seed": 0}})
    file = OmegaConf.merge(run, OmegaConf.load(CONF / group / f"{name}.yaml"))
    node = OmegaConf.to_container(file, resolve=True)
    assert isinstance(node, dict)
    target = node.pop("_target_")
    arguments = {str(key): value for key, value in node.items() if key != "training"}
    return [] if target is None else [Component(locate(target, group), arguments, group)]


def names(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def column(values: list[float], name: str = "W") -> Any:
    return theano.shared(np.array(values, dtype=theano.config.floatX).reshape(-1, 1), name=name)


AROUND = ("gradient", "clipping", "wrapper", "constraint", "averaging")


@pytest.mark.parametrize("rule", names("optimizer"))
def test_every_configured_component_goes_with_every_rule(rule: str) -> None:
    params = [column([1.0, 2.0]), theano.shared(np.ones(3, dtype=theano.config.floatX), name="b")]
    loss = sum((parameter**2).sum() for parameter in params)
    choices = {group: names(group) for group in AROUND}
    for number in range(max(map(len, choices.values()))):
        chosen = {group: files[number % len(files)] for group, files in choices.items()}
        if rule.startswith("schedule_free"):
            chosen.update(wrapper="none", constraint="none")
        components: dict[str, Any] = {group: configured(group, name) for group, name in chosen.items()}
        averaging = next(iter(components.pop("averaging")), None)
        optimizer = build_optimizer(
            loss, params, rule=configured("optimizer", rule)[0], averaging=averaging, **components
        )
        assert optimizer.parameters == params
        assert set(optimizer.updates) == {*params, *optimizer.state}
        state_names = [variable.name for variable in optimizer.state]
        assert len(set(state_names)) == len(state_names)
        assert set(optimizer.averages) == (set(params) if averaging else set())
        prefixes = {name.split(".")[0] for name in optimizer.hyperparameters if "." in name}
        numberless = {"none", "centralization", "non_negative"}
        assert prefixes == {group for group, choice in chosen.items() if choice not in numberless}
        assert "learning_rate" in optimizer.hyperparameters


def test_clipping_comes_first_then_rule_then_wrapper_then_constraint() -> None:
    weights, gradient = column([0.0, 0.0]), tensor.matrix(dtype=theano.config.floatX)
    optimizer = build_optimizer(
        [gradient],
        [weights],
        rule=SGD,
        clipping=[Component(updates.total_norm_constraint, {"max_norm": 5.0})],
        wrapper=[Component(updates.apply_momentum, {"momentum": 0.5})],
        constraint=[Component(updates.max_norm_constraint, {"max_norm": 2.5})],
    )
    train = theano.function([gradient], updates=optimizer.updates, mode=UNCOMPILED)
    [velocity] = optimizer.state
    # The gradient (30, 40) is clipped to (3, 4). The first velocity is -(3, 4), and -(3, 4) is bounded to
    # -(1.5, 2). The second velocity is -(1.5, 2) - (3, 4) = -(4.5, 6), and -(6, 8) is bounded to -(1.5, 2).
    # Were the constraint before the wrapper, the velocities would be -(1.5, 2) and -(0.75, 1).
    for expected in ([-3.0, -4.0], [-4.5, -6.0]):
        train(np.array([[30.0], [40.0]], dtype=theano.config.floatX))
        np.testing.assert_allclose(velocity.get_value()[:, 0], expected, rtol=1e-5)
        np.testing.assert_allclose(weights.get_value()[:, 0], [-1.5, -2.0], rtol=1e-5)


def test_the_rules_state_sees_clipped_gradients_and_no_wrapper_or_constraint() -> None:
    weights = column([0.0, 0.0])
    optimizer = build_optimizer(
        [np.array([[30.0], [-0.5]], dtype=theano.config.floatX)],
        [weights],
        rule=Component(updates.adagrad, {"learning_rate": 0.1}),
        clipping=[Component(updates.clip_by_value, {"max_value": 2.0})],
        wrapper=[Component(updates.apply_nesterov_momentum, {"momentum": 0.5})],
        constraint=[Component(updates.max_norm_constraint, {"max_norm": 0.01})],
    )
    theano.function([], updates=optimizer.updates, mode=UNCOMPILED)()
    state = {variable.name: variable.get_value()[:, 0] for variable in optimizer.state}
    np.testing.assert_allclose(state["W.accumulator"], [4.0, 0.25], rtol=1e-5)
    np.testing.assert_allclose(state["W.wrapper.velocity"], [-0.1, 0.1], rtol=1e-5)
    # -0.1 and 0.1 by the rule, 1.5 times that by the wrapper, then scaled to norm 0.01.
    np.testing.assert_allclose(weights.get_value()[:, 0], [-0.0070711, 0.0070711], rtol=1e-4)


def test_every_number_is_a_hyperparameter_by_name_also_where_only_the_function_gives_it() -> None:
    optimizer = build_optimizer(
        [column([1.0])],
        [column([1.0])],
        rule=Component(updates.adam, {"learning_rate": 1}),
        clipping=[Component(updates.clip_by_norm, {"max_norm": 3})],
        wrapper=[Component(updates.apply_momentum)],
        constraint=[Component(updates.max_norm_constraint, {"max_norm": 2.0, "epsilon": 1e-5})],
    )
    assert optimizer.hyperparameters.values() == {
        "clipping.epsilon": 1e-7,
        "clipping.max_norm": 3.0,
        "learning_rate": 1.0,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "wrapper.momentum": 0.9,
        "constraint.epsilon": 1e-5,
        "constraint.max_norm": 2.0,
    }


def test_changing_hyperparameters_changes_the_step_and_compiles_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compilations = []
    make = FunctionMaker.__init__

    def counted(*arguments: Any, **named: Any) -> None:
        compilations.append(1)
        make(*arguments, **named)

    monkeypatch.setattr(FunctionMaker, "__init__", counted)
    weights = column([0.0])
    optimizer = build_optimizer(
        [np.full((1, 1), 4.0, dtype=theano.config.floatX)],
        [weights],
        rule=SGD,
        clipping=[Component(updates.clip_by_value, {"max_value": 1.0})],
        wrapper=[Component(updates.apply_momentum, {"momentum": 0.0})],
        constraint=[Component(updates.max_norm_constraint, {"max_norm": 100.0})],
    )
    hyperparameters = optimizer.hyperparameters
    train = theano.function([], updates=optimizer.updates)
    assert len(compilations) == 1

    def step_from_zero() -> float:
        weights.set_value(np.zeros((1, 1), dtype=theano.config.floatX))
        optimizer.state[0].set_value(np.full((1, 1), -1.0, dtype=theano.config.floatX))
        train()
        return float(weights.get_value()[0, 0])

    found = [step_from_zero()]
    hyperparameters.schedule("learning_rate", cosine(1.0), "run")
    hyperparameters.advance(step=50, steps_per_epoch=10, total_steps=100)
    found.append(step_from_zero())
    for name, value in {
        "clipping.max_value": 2.0,
        "wrapper.momentum": 0.5,
        "constraint.max_norm": 0.25,
    }.items():
        hyperparameters.set(name, value)
        found.append(step_from_zero())
    np.testing.assert_allclose(found, [-1.0, -0.5, -1.0, -1.5, -0.25], rtol=1e-5)
    assert len(compilations) == 1


def test_a_plain_function_of_ones_own_is_a_rule() -> None:
    received: dict[str, Any] = {}

    def plain(
        loss_or_grads: Any, params: Any, learning_rate: Any, power: int = 2, **more: Any
    ) -> dict[Any, Any]:
        received.update(more, power=power)
        return {p: p - learning_rate * g**power for p, g in zip(params, loss_or_grads, strict=True)}

    weights = column([3.0])
    arguments = {"learning_rate": 0.5, "axes": [0, 1], "label": "mine", "quick": True}
    optimizer = build_optimizer((weights**2).sum() / 3, [weights], rule=Component(plain, arguments))
    theano.function([], updates=optimizer.updates, mode=UNCOMPILED)()
    assert received == {"power": 2, "axes": [0, 1], "label": "mine", "quick": True}
    assert list(optimizer.hyperparameters) == ["learning_rate"]
    np.testing.assert_allclose(weights.get_value(), [[3.0 - 0.5 * 4.0]], rtol=1e-5)
    assert optimizer.state == []


def broken_rule(result: Any) -> Any:
    def broken(loss_or_grads: Any, params: Any) -> Any:
        return result(params)

    return broken


@pytest.mark.parametrize(
    ("components", "message"),
    [
        (
            {"rule": Component(broken_rule(lambda params: []))},
            "optimizer: broken must return a dict.* list of 0",
        ),
        ({"rule": Component(broken_rule(lambda params: None))}, "optimizer: broken must return .* NoneType"),
        ({"rule": Component(broken_rule(lambda params: {}))}, "optimizer: broken returned no update for W"),
        (
            {"rule": Component(broken_rule(lambda params: {p: p.astype("float64") for p in params}))},
            "optimizer: broken makes float64 of W, which is float32",
        ),
        ({"rule": SGD, "wrapper": [Component(lambda updates, params: {})]}, "wrapper: .* no update for W"),
        (
            {"rule": SGD, "clipping": [Component(lambda gradients: gradients[:0])]},
            "clipping: .* list of 1 gradients",
        ),
        ({"rule": Component(updates.sgd)}, "optimizer.learning_rate is missing: sgd needs"),
        (
            {"rule": Component(updates.adam, {"bta1": 0.9})},
            r"optimizer.bta1 is not an argument of adam: did you mean beta1\?",
        ),
        (
            {"rule": SGD, "clipping": [Component(updates.clip_by_value, {"maximum": 1.0})]},
            "clipping.maximum is not an argument of clip_by_value: did you mean max_value",
        ),
        (
            {"rule": Component(updates.sgd, {"learning_rate": None})},
            "optimizer: learning_rate must be a number",
        ),
    ],
)
def test_mistakes_name_the_part_and_what_is_wanted(components: dict[str, Any], message: str) -> None:
    weights = theano.shared(np.ones((2, 1), dtype="float32"), name="W")
    with pytest.raises(UsageError, match=message):
        build_optimizer((weights**2).sum(), [weights], **components)


def test_the_parts_of_a_chain_are_applied_in_order_each_with_its_own_numbers_and_states() -> None:
    weights = column([0.0, 0.0])
    optimizer = build_optimizer(
        [np.array([[30.0], [-0.5]], dtype=theano.config.floatX)],
        [weights],
        rule=SGD,
        clipping=[
            Component(updates.clip_by_value, {"max_value": 4.0}, "clipping.each"),
            Component(updates.total_norm_constraint, {"max_norm": 1.0}, "clipping.all"),
        ],
        wrapper=[
            Component(updates.apply_momentum, {"momentum": 0.5}, "wrapper.first"),
            Component(updates.apply_momentum, {"momentum": 0.25}, "wrapper.second"),
        ],
    )
    train = theano.function([], updates=optimizer.updates, mode=UNCOMPILED)
    assert list(optimizer.hyperparameters) == [
        "clipping.each.max_value",
        "clipping.all.epsilon",
        "clipping.all.max_norm",
        "learning_rate",
        "wrapper.first.momentum",
        "wrapper.second.momentum",
    ]
    assert [state.name for state in optimizer.state] == [
        "W.wrapper.velocity",
        "wrapper.second.W.wrapper.velocity",
    ]
    # (4, -0.5) scaled to norm 1; were the order another, the value 30 would first be scaled to norm 1.
    step = -np.array([4.0, -0.5]) / np.hypot(4.0, 0.5)
    first = second = weight = np.zeros(2)
    for _ in range(3):
        first = 0.5 * first + step
        second = 0.25 * second + first
        weight = weight + second
        train()
        np.testing.assert_allclose(weights.get_value()[:, 0], weight, rtol=1e-5)


def test_gradients_come_from_their_source_go_through_what_is_between_and_are_then_changed() -> None:
    weights = column([1.0, 3.0])

    def doubled(loss: Any, params: Any, factor: float = 2.0) -> Any:
        return [factor * gradient for gradient in tensor.grad(loss, params)]

    def shifted(gradients: Any, params: Any, shift: float = 1.0) -> Any:
        count = theano.shared(np.zeros(()), name="count")
        return [g + shift * p for g, p in zip(gradients, params, strict=True)], {count: count + 1}

    optimizer = build_optimizer(
        (weights**2).sum(),
        [weights],
        rule=SGD,
        gradient=[Component(shifted, key="gradient.shift"), Component(doubled, key="gradient.source")],
        between=lambda gradients: [gradient * 10 for gradient in gradients],
    )
    theano.function([], updates=optimizer.updates, mode=UNCOMPILED)()
    np.testing.assert_allclose(weights.get_value()[:, 0], [1 - (40 + 1), 3 - (120 + 3)], rtol=1e-6)
    assert [state.name for state in optimizer.state] == ["gradient.shift.count"]
    assert optimizer.state[0].get_value() == 1
    assert {"gradient.shift.shift", "gradient.source.factor"} <= set(optimizer.hyperparameters)


def test_averages_are_of_what_the_step_leaves_and_of_buffers() -> None:
    weights, mean = column([2.0]), theano.shared(np.zeros(3, dtype="float32"), name="mean")
    seen = theano.shared(0, name="seen")
    optimizer = build_optimizer(
        [np.array([[1.0]], dtype=theano.config.floatX)],
        [weights],
        rule=SGD,
        constraint=[Component(updates.non_negative_constraint)],
        averaging=Component(updates.exponential_average, {"decay": 0.75}),
        buffers={mean: mean + 1, seen: seen + 1},
    )
    assert set(optimizer.averages) == {weights, mean}
    assert mean not in optimizer.updates
    assert {state.name for state in optimizer.state} == {"W.average", "mean.average", "averaging.count"}
    train = theano.function([], updates=[*optimizer.updates.items(), (mean, mean + 1)], mode=UNCOMPILED)
    # W is 1, 0 and, bounded, 0; the mean is 1, 2 and 3.
    expected = np.array([2.0, 0.0])
    for iterate in ((1.0, 1.0), (0.0, 2.0), (0.0, 3.0)):
        train()
        expected = 0.75 * expected + 0.25 * np.array(iterate)
        averages = [optimizer.averages[variable].get_value().ravel()[0] for variable in (weights, mean)]
        np.testing.assert_allclose(averages, expected, rtol=1e-6)


def test_an_average_follows_the_clock_of_the_run() -> None:
    weights = column([0.0])
    optimizer = build_optimizer(
        [np.array([[-1.0]], dtype=theano.config.floatX)],
        [weights],
        rule=SGD,
        averaging=Component(updates.polyak_average, {"start": 0.5}),
    )
    train = theano.function([], updates=optimizer.updates, mode=UNCOMPILED)
    found = []
    for step in range(6):
        optimizer.hyperparameters.advance(step, steps_per_epoch=2, total_steps=6)
        train()
        found.append(float(optimizer.averages[weights].get_value()[0, 0]))
    assert found == [1.0, 2.0, 3.0, 4.0, 4.5, 5.0]
    assert list(optimizer.hyperparameters) == ["learning_rate", "averaging.start"]


def test_what_is_evaluated_in_a_parameters_place_is_averaged_in_its_place() -> None:
    weights = column([1.0])
    optimizer = build_optimizer(
        (weights**2).sum(),
        [weights],
        rule=Component(updates.schedule_free_sgd, {"learning_rate": 0.1}),
        averaging=Component(updates.polyak_average),
    )
    evaluated = optimizer.evaluated[weights]
    train = theano.function([], updates=optimizer.updates, mode=UNCOMPILED)
    seen = []
    for step in range(4):
        optimizer.hyperparameters.advance(step, steps_per_epoch=2, total_steps=4)
        train()
        seen.append(float(evaluated.get_value()[0, 0]))
        found = float(optimizer.averages[weights].get_value()[0, 0])
        np.testing.assert_allclose(found, np.mean(seen), rtol=1e-6)
    assert seen[-1] != float(weights.get_value()[0, 0])


def test_noise_is_among_the_states_and_updated_with_them() -> None:
    weights = column([0.0, 0.0])
    optimizer = build_optimizer(
        [weights * 0],
        [weights],
        rule=SGD,
        gradient=[Component(updates.gradient_noise, {"eta": 0.5, "seed": 2}, "gradient")],
    )
    assert [state.name for state in optimizer.state] == ["W.noise", "noise.step"]
    assert set(optimizer.hyperparameters) == {"gradient.eta", "gradient.gamma", "learning_rate"}
    before = [state.get_value() for state in optimizer.state]
    train = theano.function([], updates=optimizer.updates, mode=UNCOMPILED)
    train()
    for state, value in zip(optimizer.state, before, strict=True):
        assert not np.array_equal(state.get_value(), value)


SCHEDULE_FREE = Component(updates.schedule_free_sgd, {"learning_rate": 1.0})


@pytest.mark.parametrize(
    ("components", "message"),
    [
        (
            {"rule": SCHEDULE_FREE, "constraint": [Component(updates.non_negative_constraint)]},
            "constraint: non_negative_constraint does not go with schedule_free_sgd, .* constraint=none",
        ),
        (
            {"rule": SCHEDULE_FREE, "wrapper": [Component(updates.lookahead)]},
            "wrapper: lookahead does not go with schedule_free_sgd",
        ),
        (
            {"rule": SGD, "gradient": [Component(updates.sharpness_aware)] * 2},
            r"gradient\.1 and gradient\.2 both give gradients of the loss",
        ),
        (
            {"rule": SGD, "between": lambda gradients: None},
            "gradient: <lambda> must return a list of 1 gradients, one for each parameter; .* NoneType",
        ),
        (
            {"rule": SGD, "averaging": Component(lambda updates, variables, clock: updates, key="averaging")},
            "averaging: <lambda> must return two dictionaries",
        ),
        (
            {"rule": SGD, "constraint": [Component(updates.unit_norm_constraint, {"match": "conv*"})]},
            r"constraint: match=conv\* fits no parameter; there are W",
        ),
        (
            {"rule": SGD, "weight_decay_match": "V"},
            "optimizer.weight_decay_match=V fits no parameter; there are W",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(components: dict[str, Any], message: str) -> None:
    weights = column([1.0])
    with pytest.raises(UsageError, match=message):
        build_optimizer((weights**2).sum(), [weights], **components)


def test_parameters_need_names_of_their_own() -> None:
    pair = [column([1.0]), column([2.0])]
    with pytest.raises(UsageError, match="two parameters have the name W"):
        build_optimizer(pair, pair, rule=SGD)


def test_patterns_choose_by_the_whole_name_and_case() -> None:
    params = [column([1.0], name) for name in ("conv2d_1.W", "Conv.W", "dense_1.W")]
    assert matching("conv*", params) == params[:1]
    assert matching(["dense_?.W", "*.W"], params) == params
