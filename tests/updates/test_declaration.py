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
]


@pytest.mark.parametrize("name", RULES)
def test_a_definition_traced_with_scalars_is_a_program_of_scalar_operations(name: str) -> None:
    definition = getattr(updates, name).definition
    inputs = [tensor.fscalar() for _ in ("parameter", "gradient", *definition.states)]
    scalars = {p.name: tensor.fscalar(p.name) for p in definition.hyperparameters}
    if definition.counts_steps:
        scalars["step"] = tensor.fscalar("step")
    outputs = definition(*inputs, **scalars)
    operations = theano.gof.graph.io_toposort([*inputs, *scalars.values()], outputs)
    assert len(outputs) == 1 + len(definition.states)
    assert {type(node.op) for node in operations} == {tensor.Elemwise}
    assert {output.dtype for output in outputs} == {"float32"}


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
