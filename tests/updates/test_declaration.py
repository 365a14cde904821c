"""What a person meets who calls a rule wrongly, or writes one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from theano import tensor

from trainer import updates

W = theano.shared(np.ones((2, 3)), name="dense_1.W")
B = theano.shared(np.ones(3), name="dense_1.b")
LOSS = (W**2).sum() + (B**2).sum()
COUNT = theano.shared(np.array(3), name="count")

MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "too few gradients": (lambda: updates.sgd([W], [W, B], 0.1), r"1 gradients for 2 .*dense_1\.b"),
    "too many gradients": (lambda: updates.adam([W, B], [W]), r"2 gradients for 1 "),
    "not shared": (lambda: updates.adam(LOSS, [W, tensor.vector("x")]), "shared variables only; x is"),
    "not shared, nameless": (lambda: updates.sgd(LOSS, [W, B + 1], 0.1), r"params\[1\] is"),
    "whole numbers": (lambda: updates.sgd(LOSS, [COUNT], 0.1), "count"),
    "twice": (lambda: updates.sgd(LOSS, [W, B, W], 0.1), r"dense_1\.W stands there twice"),
    "no list": (lambda: updates.sgd(LOSS, W, 0.1), r"must be a list.*dense_1\.W"),
    "a loss of many": (lambda: updates.sgd(W.sum(axis=0), [W], 0.1), "scalar.*vector"),
    "a loss that is a number": (lambda: updates.sgd(3.0, [W], 0.1), "symbolic.*3.0"),
    "a loss without it": (lambda: updates.sgd((W**2).sum(), [W, B], 0.1), r"not depend on dense_1\.b"),
    "a gradient of other shape": (lambda: updates.sgd([B], [W], 0.1), r"dense_1\.W has 1 dim.* has 2"),
    "a gradient that is none": (lambda: updates.sgd([None], [W], 0.1), r"gradient of dense_1\.W is None"),
    "a vector for a scalar": (lambda: updates.sgd(LOSS, [W], B), "learning_rate must be.*1 dimensions"),
    "nothing for a number": (lambda: updates.sgd(LOSS, [W], None), "learning_rate must be.*None"),
    "a text for a number": (lambda: updates.adam(LOSS, [W], beta1="0.9"), "beta1 must be.*'0.9'"),
    "wrapping the unknown": (lambda: updates.apply_momentum({W: W}, [B]), r"nothing for dense_1\.b"),
    "bounding the unknown": (
        lambda: updates.max_norm_constraint({B: B}, [W], 1.0),
        r"nothing for dense_1\.W",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake: str) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        call()


def test_params_are_checked_before_the_loss() -> None:
    with pytest.raises(ValueError, match="shared variables only"):
        updates.sgd("nonsense", [B + 1], 0.1)


def test_a_rule_of_ones_own_is_five_lines() -> None:
    @updates.update_rule
    def lion(parameter: Any, gradient: Any, mean: Any, *, learning_rate: Any = 0.5, beta: Any = 0.75) -> Any:
        """Sign of a running mean."""
        mean = beta * mean + (1 - beta) * gradient
        return parameter - learning_rate * tensor.sgn(mean), mean

    weights = theano.shared(np.array([3.0, -3.0], dtype="float32"), name="weights")
    built = lion((weights**2).sum(), [weights])
    theano.function([], updates=built, mode=theano.Mode(linker="py"))()
    assert str(inspect.signature(lion)) == "(loss_or_grads, params, learning_rate=0.5, beta=0.75)"
    assert lion.__doc__ == "Sign of a running mean."
    assert {variable.name: variable.get_value().tolist() for variable in built} == {
        "weights": [2.5, -2.5],
        "weights.mean": [1.5, -1.5],
    }


def test_a_rule_gets_structural_arguments_as_they_are() -> None:
    received: dict[str, Any] = {}

    @updates.update_rule
    def rule(
        parameter: Any, gradient: Any, *, iterations: int = 3, nesterov: Any = True, axes: Any = None
    ) -> Any:
        received.update(iterations=iterations, nesterov=nesterov, axes=axes)
        return parameter

    rule(LOSS, [W], axes=[0, 1])
    assert received == {"iterations": 3, "nesterov": True, "axes": [0, 1]}
    assert inspect.signature(rule).parameters["iterations"].annotation is int


def test_a_rule_that_forgets_a_state_is_told() -> None:
    @updates.update_rule
    def forgetful(parameter: Any, gradient: Any, mean: Any) -> Any:
        return parameter - gradient

    with pytest.raises(ValueError, match=r"forgetful must return 2 .*\(parameter, mean\); it returned 1"):
        forgetful(LOSS, [W])


@pytest.mark.parametrize(
    "function", [lambda parameter: parameter, lambda *tensors: tensors, lambda p, g, **more: p]
)
def test_a_definition_that_is_none_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="parameter, gradient, state"):
        updates.update_rule(function)


RULES = [
    "sgd",
    "momentum",
    "nesterov_momentum",
    "adagrad",
    "rmsprop",
    "adadelta",
    "adam",
    "adamax",
    "amsgrad",
    "schedule_free_sgd",
    "schedule_free_adamw",
]


@pytest.mark.parametrize("name", RULES)
def test_a_definition_traced_with_scalars_is_a_program_of_scalar_operations(name: str) -> None:
    definition = getattr(updates, name).definition
    inputs = [tensor.fscalar() for _ in ("parameter", "gradient", *definition.states)]
    scalars = {p.name: tensor.fscalar(p.name) for p in definition.hyperparameters}
    scalars.update({name: tensor.fscalar(name) for name in definition.shared})
    outputs = definition(*inputs, **scalars)
    operations = theano.gof.graph.io_toposort([*inputs, *scalars.values()], outputs)
    assert len(outputs) == 1 + len(definition.states)
    assert {type(node.op) for node in operations} == {tensor.Elemwise}
    assert {output.dtype for output in outputs} == {"float32"}


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_a_definition_with_a_norm_is_seen_not_to_be_elementwise(name: str) -> None:
    definition = getattr(updates, name).definition
    inputs = [tensor.fscalar() for _ in ("parameter", "gradient", *definition.states)]
    scalars = {p.name: tensor.fscalar(p.name) for p in definition.hyperparameters}
    scalars.update({name: tensor.fscalar(name) for name in definition.shared})
    outputs = definition(*inputs, **scalars)
    operations = theano.gof.graph.io_toposort([*inputs, *scalars.values()], outputs)
    assert {type(node.op) for node in operations} - {tensor.Elemwise}


def test_a_rule_may_start_its_states_anywhere_and_share_scalars() -> None:
    @updates.update_rule(
        shared={"total": lambda total, step, learning_rate: total + step * learning_rate},
        starts={
            "origin": lambda value: value,
            "largest": lambda value: np.full((1, value.shape[1]), 2.0, dtype=value.dtype),
            "seen": lambda value: np.array(3, dtype="int32"),
        },
        evaluated="origin",
    )
    def rule(
        parameter: Any,
        gradient: Any,
        origin: Any,
        largest: Any,
        seen: Any,
        *,
        step: Any,
        total: Any,
        learning_rate: Any = 0.5,
    ) -> Any:
        largest = tensor.maximum(largest, gradient.max(axis=0, keepdims=True))
        return parameter - total * gradient / largest, origin, largest, seen + 1

    params = [theano.shared(np.ones((2, 2), dtype="float32"), name=name) for name in ("A", "B")]
    given = np.array([[1.0, 4.0], [2.0, 8.0]], dtype="float32")
    built = rule([given, 0 * given], params)
    train = theano.function([], updates=built, mode=theano.Mode(linker="py", optimizer="fast_compile"))
    train()
    train()
    # The steps are 0.5 * 1 and 0.5 * (1 + 2); their sum is 2 times the gradient over (2, 8).
    state = {variable.name: variable.get_value().tolist() for variable in built}
    assert state == {
        "A": [[0.0, 0.0], [-1.0, -1.0]],
        "A.origin": [[1.0, 1.0], [1.0, 1.0]],
        "A.largest": [[2.0, 8.0]],
        "A.seen": 5,
        "B": [[1.0, 1.0], [1.0, 1.0]],
        "B.origin": [[1.0, 1.0], [1.0, 1.0]],
        "B.largest": [[2.0, 2.0]],
        "B.seen": 5,
        "step": 2.0,
        "total": 1.5,
    }
    types = {variable.name: variable.dtype for variable in built}
    assert (types["A.seen"], types["A.origin"], types["total"]) == ("int32", "float32", "float64")
    evaluated = built.evaluated  # type: ignore[attr-defined]
    assert {p.name: state.name for p, state in evaluated.items()} == {"A": "A.origin", "B": "B.origin"}
    assert built.copy().evaluated == evaluated  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"starts": {"men": np.array}}, "no state men"),
        ({"evaluated": "rate"}, "no state rate"),
        ({"shared": {"mean": abs}}, "no keyword-only argument mean"),
    ],
)
def test_a_declaration_that_names_what_is_not_there_is_refused(options: dict[str, Any], message: str) -> None:
    def rule(parameter: Any, gradient: Any, mean: Any, *, rate: Any = 0.1) -> Any:
        return parameter, mean

    with pytest.raises(TypeError, match=message):
        updates.update_rule(**options)(rule)


def test_a_rule_that_changes_a_states_dimensions_is_told() -> None:
    @updates.update_rule
    def rule(parameter: Any, gradient: Any, mean: Any) -> Any:
        return parameter, mean.sum()

    with pytest.raises(ValueError, match=r"dense_1\.W\.mean has 0 dimensions, it has 2"):
        rule(LOSS, [W])


def test_the_package_works_alone_under_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(updates.__file__).parent
    assert not [file.name for file in source.glob("*.py") if "import trainer" in file.read_text()]
    assert not [file.name for file in source.glob("*.py") if "from trainer" in file.read_text()]
    shutil.copytree(source, tmp_path / "lifted_rules", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(str(tmp_path))
    lifted = importlib.import_module("lifted_rules")
    assert len(lifted.adam(LOSS, [W, B])) == 7


EXAMPLES = {"trainer.updates": 7, "trainer.updates._declaration": 7, "trainer.updates._norms": 5}


@pytest.mark.parametrize("module", EXAMPLES)
def test_documented_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted >= EXAMPLES[module]
    assert result.failed == 0
