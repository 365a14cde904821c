"""Gradients, clipping, rule, wrapper and constraint in one dictionary of updates."""

from __future__ import annotations

import itertools
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

CONF = Path(__file__).parent.parent / "conf"
UNCOMPILED = theano.Mode(linker="py", optimizer="fast_compile")
SGD = Component(updates.sgd, {"learning_rate": 1.0})


def configured(group: str, name: str) -> Component | None:
    node = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
    assert isinstance(node, dict)
    target = node.pop("_target_")
    arguments = {str(key): value for key, value in node.items()}
    return None if target is None else Component(locate(target, group), arguments, group)


def names(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def column(values: list[float], name: str = "W") -> Any:
    return theano.shared(np.array(values, dtype=theano.config.floatX).reshape(-1, 1), name=name)


@pytest.mark.parametrize("rule", names("optimizer"))
def test_every_combination_of_configured_components_builds(rule: str) -> None:
    params = [column([1.0, 2.0]), theano.shared(np.ones(3, dtype=theano.config.floatX), name="b")]
    gradients = [parameter * 2 for parameter in params]
    component = configured("optimizer", rule)
    assert component is not None
    for wrapper, clipping, constraint in itertools.product(
        names("wrapper"), names("clipping"), names("constraint")
    ):
        optimizer = build_optimizer(
            gradients,
            params,
            rule=component,
            wrapper=configured("wrapper", wrapper),
            clipping=configured("clipping", clipping),
            constraint=configured("constraint", constraint),
        )
        assert optimizer.parameters == params
        assert set(optimizer.updates) == {*params, *optimizer.state}
        state_names = [variable.name for variable in optimizer.state]
        assert len(set(state_names)) == len(state_names)
        prefixes = {name.split(".")[0] for name in optimizer.hyperparameters if "." in name}
        chosen = {"wrapper": wrapper, "clipping": clipping, "constraint": constraint}
        assert prefixes == {group for group, choice in chosen.items() if choice != "none"}
        assert "learning_rate" in optimizer.hyperparameters


def test_clipping_comes_first_then_rule_then_wrapper_then_constraint() -> None:
    weights, gradient = column([0.0, 0.0]), tensor.matrix(dtype=theano.config.floatX)
    optimizer = build_optimizer(
        [gradient],
        [weights],
        rule=SGD,
        clipping=Component(updates.total_norm_constraint, {"max_norm": 5.0}),
        wrapper=Component(updates.apply_momentum, {"momentum": 0.5}),
        constraint=Component(updates.max_norm_constraint, {"max_norm": 2.5}),
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
        clipping=Component(updates.clip_by_value, {"max_value": 2.0}),
        wrapper=Component(updates.apply_nesterov_momentum, {"momentum": 0.5}),
        constraint=Component(updates.max_norm_constraint, {"max_norm": 0.01}),
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
        clipping=Component(updates.clip_by_norm, {"max_norm": 3}),
        wrapper=Component(updates.apply_momentum),
        constraint=Component(updates.max_norm_constraint, {"max_norm": 2.0, "epsilon": 1e-5}),
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
        clipping=Component(updates.clip_by_value, {"max_value": 1.0}),
        wrapper=Component(updates.apply_momentum, {"momentum": 0.0}),
        constraint=Component(updates.max_norm_constraint, {"max_norm": 100.0}),
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
        ({"rule": SGD, "wrapper": Component(lambda updates, params: {})}, "wrapper: .* no update for W"),
        (
            {"rule": SGD, "clipping": Component(lambda gradients: gradients[:0])},
            "clipping: .* list of 1 gradients",
        ),
        ({"rule": Component(updates.sgd)}, "optimizer.learning_rate is missing: sgd needs"),
        (
            {"rule": Component(updates.adam, {"bta1": 0.9})},
            r"optimizer.bta1 is not an argument of adam: did you mean beta1\?",
        ),
        (
            {"rule": SGD, "clipping": Component(updates.clip_by_value, {"maximum": 1.0})},
            "clipping.maximum is not an argument of clip_by_value: did you mean max_value",
        ),
        (
            {"rule": Component(updates.sgd, {"learning_rate": None})},
            "optimizer: learning_rate must be a number",
        ),
    ],
)
def test_mistakes_name_the_part_and_what_is_wanted(components: dict[str, Component], message: str) -> None:
    weights = theano.shared(np.ones((2, 1), dtype="float32"), name="W")
    with pytest.raises(UsageError, match=message):
        build_optimizer((weights**2).sum(), [weights], **components)
