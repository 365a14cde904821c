"""Losses against PyTorch's numbers, what training changes about them, and what an objective refuses."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
import yaml
from theano import tensor

from tests.conftest import ROOT, Finished
from trainer import objectives
from trainer.data import Data, Part
from trainer.errors import UsageError
from trainer.objectives import (
    Objective,
    absolute_error,
    binary_cross_entropy,
    cross_entropy,
    huber,
    reconstruction,
    squared_error,
)

Computed = dict[tuple[str, str], list[Any]]

CASES: dict[str, Any] = json.loads((Path(__file__).parent / "references" / "losses.json").read_text())


def data_of(targets: Any, classes: int | None = None, **parts: Any) -> Data:
    """Give data with these training targets, and others for the parts that are named."""
    train, validation, test = (
        Part(np.zeros((len(array), 2), "float32"), np.asarray(array))
        for array in (parts.get(label, targets) for label in ("train", "validation", "test"))
    )
    return Data(train, validation, test, input_shape=(2,), outputs=classes or 1, classes=classes, name="mine")


def of_case(case: Any) -> tuple[Objective, Any, Any]:
    """Return a case's objective, which has seen its data, its outputs and its targets."""
    objective: Objective = getattr(objectives, case["objective"])(**case["arguments"])
    outputs, targets = np.array(case["outputs"]), np.array(case["targets"])
    objective.check(data_of(targets, outputs.shape[-1] if case["objective"] == "cross_entropy" else None))
    return objective, outputs, targets


# Compiled as a run compiles them; others are computed by Theano's Python code, since each costs g++ a while.
COMPILED = (
    "cross-entropy",
    "both of sequences",
    "huge logits",
    "labels, both",
    "binary, huge logits",
    "huber, rows",
)
COMPUTED = [("float64", name) for name in CASES] + [("float32", name) for name in COMPILED]


def compute(precision: str, names: Iterable[str], mode: str | None) -> Computed:
    """Return each case's mean training loss, its gradient, and its losses in evaluation; one compilation."""
    variables, results, arrays, keys = [], [], [], [(precision, name) for name in names]
    for _, name in keys:
        objective, outputs, targets = of_case(CASES[name])
        y, t = tensor.TensorType(precision, (False,) * outputs.ndim)(), objective.target_variable()
        loss = objective.training_losses(y, t).mean()
        variables += [y, t]
        results += [loss, theano.grad(loss, y), objective.losses(y, t)]
        arrays += [outputs.astype(y.dtype), targets.astype(t.dtype)]
    values = theano.function(variables, results, mode=mode)(*arrays)
    return {key: values[3 * number : 3 * number + 3] for number, key in enumerate(keys)}


@pytest.fixture(scope="module")
def computed() -> Computed:
    """Return what `compute` does, for each of `COMPUTED`."""
    return {**compute("float64", CASES, "FAST_COMPILE"), **compute("float32", COMPILED, None)}


class TestAgainstPyTorch:
    @pytest.mark.parametrize("key", COMPUTED)
    def test_the_training_loss_and_its_gradient(self, computed: Computed, key: tuple[str, str]) -> None:
        precision, name = key
        loss, gradient, losses = computed[key]
        assert {loss.dtype.name, gradient.dtype.name, losses.dtype.name} == {precision}
        tolerance = 1e-5 if precision == "float32" else 1e-7  # targets are floatX
        assert loss == pytest.approx(CASES[name]["loss"], rel=tolerance)
        wanted = np.array(CASES[name]["gradient"])
        np.testing.assert_allclose(gradient, wanted, rtol=tolerance, atol=tolerance / 10)

    @pytest.mark.parametrize(
        ("changed", "plain"),
        [
            ("both", "cross-entropy"),
            ("both of sequences", "sequences"),
            ("binary, positives weighted", "binary"),
            ("labels, both", "labels"),
        ],
    )
    def test_evaluations_report_the_plain_loss(self, computed: Computed, changed: str, plain: str) -> None:
        losses = computed["float64", changed][2]
        assert losses.shape == (len(CASES[plain]["targets"]),)
        assert losses.mean() == pytest.approx(CASES[plain]["loss"])


@pytest.mark.parametrize("name", [name for name in CASES if "huge" not in name])
def test_each_gradient_is_the_slope_of_its_loss(name: str) -> None:
    objective, outputs, targets = of_case(CASES[name])

    def loss(y: Any) -> Any:
        return objective.training_losses(y, tensor.constant(targets)).mean()

    theano.gradient.verify_grad(loss, [outputs], rng=np.random.RandomState(0), mode="FAST_COMPILE")


class TestClassWeights:
    def losses(self, objective: Objective, targets: list[int]) -> Any:
        """Return training losses of logits that are all 0, so that each is its weight times log 3."""
        y, t = tensor.dmatrix(), objective.target_variable()
        function = theano.function([y, t], objective.training_losses(y, t), mode="FAST_COMPILE")
        return function(np.zeros((len(targets), 3)), np.array(targets, "int32")) / np.log(3)

    def test_balanced_gives_each_class_the_same_share(self) -> None:
        objective = cross_entropy(class_weights="balanced")
        objective.check(data_of([0, 0, 0, 1, 1, 2], classes=3))
        # n / (classes × count): 6 / (3 × 3), 6 / (3 × 2), 6 / (3 × 1)
        assert self.losses(objective, [0, 1, 2]) == pytest.approx([2 / 3, 1, 2])

    def test_weights_have_the_mean_1_over_the_training_part(self) -> None:
        objective = cross_entropy(class_weights=[1, 1, 4])
        objective.check(data_of([0, 0, 1, 2], classes=3, validation=[2]))
        # over the training part they are 1, 1, 1, 4, of the mean 7/4; a batch is not normalised by itself
        assert self.losses(objective, [2, 2, 0]) == pytest.approx([16 / 7, 16 / 7, 4 / 7])

    @pytest.mark.parametrize(
        ("weights", "told"),
        [
            ([1.0, 2.0], "objective.class_weights has 2 weights, but mine has 3 classes"),
            ([0.0, 0.0, 1.0], "every training example the weight 0"),
            ("balanced", "the training part of mine has none of class 2"),
        ],
    )
    def test_weights_that_do_not_fit_are_refused(self, weights: Any, told: str) -> None:
        with pytest.raises(UsageError, match=told):
            cross_entropy(class_weights=weights).check(data_of([0, 1], classes=3))

    @pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
    def test_a_weight_below_0_or_not_finite_is_refused(self, weight: float) -> None:
        with pytest.raises(UsageError, match=r"objective.class_weights\[1\]=.* at least 0"):
            cross_entropy(class_weights=[1.0, weight])


class TestReconstruction:
    def test_the_target_is_the_input_whatever_the_shapes(self) -> None:
        generator = np.random.default_rng(0)
        images, outputs = generator.random((4, 1, 2, 3)), generator.normal(size=(4, 6))
        x, y = tensor.dtensor4(), tensor.dmatrix()
        losses = [
            reconstruction(loss).losses(y, x) for loss in ("squared", "absolute", "binary_cross_entropy")
        ]
        found = theano.function([y, x], losses, mode="FAST_COMPILE")(outputs, images)
        flat, probable = images.reshape(4, 6), 1 / (1 + np.exp(-outputs))
        assert reconstruction().reconstructs
        np.testing.assert_allclose(found[0], ((outputs - flat) ** 2).mean(axis=1))
        np.testing.assert_allclose(found[1], abs(outputs - flat).mean(axis=1))
        entropy = -flat * np.log(probable) - (1 - flat) * np.log(1 - probable)
        np.testing.assert_allclose(found[2], entropy.mean(axis=1))

    def test_it_wants_as_many_outputs_as_inputs(self) -> None:
        data = data_of([0, 1], classes=2)
        assert reconstruction().outputs(data) == 2
        reconstruction().check_output((1, 2), data)
        with pytest.raises(UsageError, match=r"shape \(3,\).* needs the 2 values of the input \(2,\)"):
            reconstruction().check_output((3,), data)

    def test_a_network_that_ends_with_a_sigmoid_gives_no_logits(self) -> None:
        x = tensor.matrix()
        objective = reconstruction("binary_cross_entropy")
        with pytest.raises(UsageError, match="the network ends with a sigmoid: end it with a linear layer"):
            objective.losses(tensor.nnet.sigmoid(x).reshape((1, 2, 3)), x)

    def test_binary_cross_entropy_needs_inputs_from_0_to_1(self) -> None:
        fine = Part(np.ones((2, 3), "float32"), np.zeros(2))
        wrong = Part(np.array([[0, 1, 0.5], [0, 1.5, 1]], "float32"), np.zeros(2))
        data = Data(fine, fine, wrong, input_shape=(3,), outputs=1, name="mine")
        reconstruction().check(data)
        with pytest.raises(UsageError, match=r"input 2 of the test part of mine holds 1\.5"):
            reconstruction("binary_cross_entropy").check(data)


@pytest.mark.parametrize(
    ("objective", "targets", "classes", "outputs", "shape", "variable"),
    [
        (cross_entropy(), [0, 2, 1], 3, 3, (3,), ("int32", 1)),
        (cross_entropy(), [[0, 2], [1, 1]], 3, 3, (2, 3), ("int32", 2)),
        (binary_cross_entropy(), [0, 1], 2, 1, (1,), ("int32", 1)),
        (binary_cross_entropy(), [[0.0, 1.0, 1.0]], None, 3, (3,), (theano.config.floatX, 2)),
        (squared_error(), [0.5, -1.0], None, 1, (1,), (theano.config.floatX, 1)),
        (absolute_error(), [[0.5, -1.0, 3.0]], None, 3, (3,), (theano.config.floatX, 2)),
        (huber(), [[4, 5]], None, 2, (2,), ("int32", 2)),
        (reconstruction(), [3, 1], 4, 2, (2,), ("int32", 1)),
    ],
)
def test_data_it_can_judge_decides_what_the_network_gives(
    objective: Objective,
    targets: Any,
    classes: int | None,
    outputs: int,
    shape: tuple[int, ...],
    variable: tuple[str, int],
) -> None:
    data = data_of(targets, classes, validation=np.asarray(targets)[:0].astype(float))
    objective.check(data)
    assert objective.outputs(data) == outputs
    objective.check_output(shape, data)
    with pytest.raises(UsageError, match=r"the network's output for one example of mine has the shape"):
        objective.check_output((*shape, 7), data)
    assert (objective.target_variable().dtype, objective.target_variable().ndim) == variable


@pytest.mark.parametrize(
    ("objective", "targets", "classes", "told"),
    [
        (cross_entropy(), [0, 1], None, "needs classes as targets, but mine has none"),
        (cross_entropy(), [0, 1, 3], 3, "target 3 of the validation part is 3; with 3 classes"),
        (cross_entropy(), [0, -1], 3, "mine: target 2 of the validation part is -1"),
        (cross_entropy(), [0.5], 3, "validation targets of mine are float64"),
        (cross_entropy(), [[[0]]], 3, r"shape \(1, 1, 1\)"),
        (cross_entropy(), [[0, 1], [0, 4]], 3, "training targets are int64 of the shape"),
        (cross_entropy(top_k=3), [0], 3, "objective.top_k=3 says nothing of 3 classes: give less than 3"),
        (binary_cross_entropy(), [0, 2], None, "target 2 of the validation part is 2; a target is 0 or 1"),
        (binary_cross_entropy(), [0], 3, "mine has 3 classes: choose objective=cross_entropy"),
        (squared_error(), [1], 3, "needs values as targets, but mine has 3 classes"),
        (squared_error(), [0.0, np.nan], None, "validation targets are float64"),
        (huber(), ["a"], None, "the validation targets of mine are <U1"),
    ],
)
def test_data_it_cannot_judge_is_refused(
    objective: Objective, targets: Any, classes: int | None, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        objective.check(data_of([0], classes, validation=targets))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_target_that_is_not_finite_is_refused_with_its_place(wrong: float) -> None:
    with pytest.raises(
        UsageError, match=f"target 2, place 3 of the test part is {wrong}; a target is a finite"
    ):
        squared_error().check(data_of([[0.0, 0, 0]], test=[[0, 0, 0.5], [0, 0, wrong]]))


def test_a_whole_number_beyond_int32_is_refused() -> None:
    with pytest.raises(UsageError, match=r"target 1 of the train part is 3000000000; .* as floats"):
        squared_error().check(data_of([3_000_000_000]))


def test_tokens_are_not_reconstructed() -> None:
    part = Part(np.zeros((1, 2), "int32"), np.zeros(1))
    data = Data(part, part, part, input_shape=(2,), outputs=1, name="mine", input_dtype="int32")
    with pytest.raises(UsageError, match="those of mine are numbers of tokens"):
        reconstruction().check(data)


@pytest.mark.parametrize(
    "file", sorted((ROOT / "conf" / "objective").glob("*.yaml")), ids=lambda file: file.stem
)
def test_a_file_of_the_group_holds_its_functions_defaults(file: Path) -> None:
    node = yaml.safe_load(file.read_text())
    assert node.pop("_target_") == f"trainer.objectives.{file.stem}"
    parameters = inspect.signature(getattr(objectives, file.stem)).parameters
    assert node == {name: parameter.default for name, parameter in parameters.items()}
    assert file.read_text().startswith("# ")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("objective.label_smoothing=1", "objective.label_smoothing=1 is out of range"),
        ("objective.top_k=0", "objective.top_k=0 is out of range: give a number of at least 1"),
        ("objective.class_weights=balance", "give a list (each a number) or one of balanced or null"),
        ("objective=squared_error", "objective=squared_error needs values as targets, but digits has 10"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(train: Callable[..., Finished], typed: str, told: str) -> None:
    finished = train(typed)
    assert finished.status == 2
    assert told in finished.err
