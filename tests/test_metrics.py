"""Metrics against scikit-learn, however a part is cut into batches, and the pictures drawn of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import theano
from sklearn import metrics as judge
from theano import tensor

from tests.conftest import Finished
from trainer.data import Data, Part
from trainer.loggers.strict_json import to_json
from trainer.loggers.wording import spoken
from trainer.objectives import (
    Metric,
    Objective,
    absolute_error,
    binary_cross_entropy,
    cross_entropy,
    reconstruction,
    squared_error,
)
from trainer.training import compile_evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = 60
Evaluated = dict[str, Any]


def data_of(targets: Any, classes: int | None = None, inputs: Any = None, **more: Any) -> Data:
    shape = (2,) if inputs is None else inputs.shape[1:]
    part = Part(np.zeros((len(targets), *shape), "float32") if inputs is None else inputs, targets)
    return Data(part, part, part, input_shape=shape, outputs=1, classes=classes, name="mine", **more)


def evaluated(objective: Objective, outputs: Any, targets: Any, classes: int | None = None) -> Evaluated:
    """Evaluate a network that gives these outputs, as one batch; uneven batches must give the same."""
    objective.check(data_of(targets, classes))
    y, t = tensor.TensorType("float32", (False,) * outputs.ndim)(), objective.target_variable()
    evaluation = compile_evaluation(y, t, objective.metrics(y, t))
    outputs, targets = outputs.astype("float32"), targets.astype(t.dtype)
    found = evaluation([(outputs, targets)])
    cuts = [0, 1, 8, 39, len(outputs)]
    cut = evaluation((outputs[a:b], targets[a:b]) for a, b in itertools.pairwise(cuts))
    assert list(cut) == list(found)
    for name, value in found.items():
        np.testing.assert_allclose(cut[name], value, rtol=1e-6, err_msg=name)
    return found


@pytest.fixture(scope="module")
def judged_classes() -> tuple[Evaluated, Any, Any]:
    """Return the metrics of random logits and classes, and these."""
    generator = np.random.default_rng(0)
    logits, classes = generator.normal(size=(EXAMPLES, 7)), generator.integers(7, size=EXAMPLES)
    return evaluated(cross_entropy(top_k=3), logits, classes, 7), logits, classes


@pytest.fixture(scope="module")
def judged_sequences() -> tuple[Evaluated, Any, Any]:
    """Return the metrics of random logits and classes of the steps of sequences, and these, step by step."""
    generator = np.random.default_rng(0)
    logits, classes = generator.normal(size=(EXAMPLES, 4, 5)), generator.integers(5, size=(EXAMPLES, 4))
    return evaluated(cross_entropy(top_k=2), logits, classes, 5), logits.reshape(-1, 5), classes.ravel()


class TestClasses:
    def test_accuracy_and_top_k_accuracy(self, judged_classes: tuple[Evaluated, Any, Any]) -> None:
        found, logits, classes = judged_classes
        assert found["accuracy"] == pytest.approx(judge.accuracy_score(classes, logits.argmax(axis=1)))
        assert found["top_3_accuracy"] == pytest.approx(judge.top_k_accuracy_score(classes, logits, k=3))

    def test_confusion_matrix(self, judged_classes: tuple[Evaluated, Any, Any]) -> None:
        found, logits, classes = judged_classes
        wanted = judge.confusion_matrix(classes, logits.argmax(axis=1))
        np.testing.assert_array_equal(found["confusion_matrix"], wanted)
        assert to_json(found["confusion_matrix"][0]) == str(wanted[0].tolist())

    def test_many_classes_have_no_confusion_matrix(self) -> None:
        objective = cross_entropy()
        objective.check(data_of(np.array([0, 100]), 101))
        assert list(objective.metrics(tensor.matrix(), tensor.ivector())) == ["accuracy"]


def test_top_k_prefers_the_first_of_equals_and_gives_nothing_for_nan() -> None:
    logits = np.array([[0, 0, 0, 0]] * 4 + [[1, 2, np.nan, 0], [np.nan] * 4])
    objective = cross_entropy(top_k=2)
    objective.check(data_of(np.arange(4), 4))
    y, t = tensor.fmatrix(), tensor.ivector()
    evaluation = compile_evaluation(y, t, {"top": objective.metrics(y, t)["top_2_accuracy"]})
    examples = zip(logits.astype("float32"), np.array([0, 1, 2, 3, 2, 0], "int32"), strict=True)
    right = [evaluation([(row[None], np.array([answer]))])["top"] for row, answer in examples]
    assert right == [1, 1, 0, 0, 0, 0]


class TestSequences:
    def test_each_step_counts(self, judged_sequences: tuple[Evaluated, Any, Any]) -> None:
        found, logits, classes = judged_sequences
        assert found["accuracy"] == pytest.approx(judge.accuracy_score(classes, logits.argmax(axis=1)))
        assert found["top_2_accuracy"] == pytest.approx(judge.top_k_accuracy_score(classes, logits, k=2))

    def test_perplexity_is_the_exponential_of_the_mean_loss_in_nats(
        self, judged_sequences: tuple[Evaluated, Any, Any]
    ) -> None:
        found, logits, classes = judged_sequences
        probable = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        loss = judge.log_loss(classes, probable, labels=range(5))
        assert found["perplexity"] == pytest.approx(np.exp(loss), rel=1e-6)
        assert "confusion_matrix" not in found


def test_a_perplexity_beyond_all_numbers_is_infinite_without_a_warning() -> None:
    metric = cross_entropy().metrics(tensor.tensor3(), tensor.imatrix())["perplexity"]
    with np.errstate(over="raise"):
        assert metric.finish(np.asarray(1e6), 10) == np.inf


class TestBinary:
    def test_one_label(self) -> None:
        generator = np.random.default_rng(0)
        logits, labels = generator.normal(size=(EXAMPLES, 1)), generator.integers(2, size=EXAMPLES)
        found = evaluated(binary_cross_entropy(), logits, labels, 2)
        answers = logits[:, 0] > 0
        assert found["accuracy"] == pytest.approx(judge.accuracy_score(labels, answers))
        np.testing.assert_array_equal(found["confusion_matrix"], judge.confusion_matrix(labels, answers))

    def test_several_labels(self) -> None:
        generator = np.random.default_rng(0)
        labels = generator.integers(2, size=(EXAMPLES, 3))
        logits = labels - 0.5 + 0.5 * generator.normal(size=labels.shape)
        found = evaluated(binary_cross_entropy(), logits, labels)
        assert found["accuracy"] == pytest.approx(1 - judge.hamming_loss(labels, logits > 0))
        assert found["exact_accuracy"] == pytest.approx(judge.accuracy_score(labels, logits > 0))
        assert 0 < found["exact_accuracy"] < found["accuracy"] < 1


class TestRegression:
    def test_one_value_far_from_zero(self) -> None:
        generator = np.random.default_rng(0)
        true = (5000 + generator.normal(size=EXAMPLES)).astype("float32")
        predicted = true + 0.5 * generator.normal(size=EXAMPLES).astype("float32")
        found = evaluated(squared_error(), predicted[:, None], true)
        assert found["mae"] == pytest.approx(judge.mean_absolute_error(true, predicted), rel=1e-5)
        assert found["rmse"] == pytest.approx(judge.root_mean_squared_error(true, predicted), rel=1e-5)
        assert found["r2"] == pytest.approx(judge.r2_score(true, predicted), rel=1e-5)
        assert 0 < found["r2"] < 1

    def test_several_values_one_of_them_constant(self) -> None:
        generator = np.random.default_rng(0)
        true = generator.normal(size=(EXAMPLES, 3)).astype("float32") * [1, 10, 0] + [0, 5, 7.7]
        predicted = true + generator.normal(size=true.shape) * [0.1, 20, 1]
        true, predicted = true.astype("float32"), predicted.astype("float32")
        found = evaluated(absolute_error(), predicted, true)
        assert found["mae"] == pytest.approx(judge.mean_absolute_error(true, predicted), rel=1e-5)
        assert found["rmse"] == pytest.approx(judge.root_mean_squared_error(true, predicted), rel=1e-5)
        wanted = [judge.r2_score(true[:, place], predicted[:, place]) for place in range(2)]
        assert found["r2"] == pytest.approx((wanted[0] + wanted[1] + 0) / 3, rel=1e-5)

    @pytest.mark.parametrize("loss", ["squared", "binary_cross_entropy"])
    def test_a_reconstruction(self, loss: Any) -> None:
        generator = np.random.default_rng(0)
        images = generator.random((EXAMPLES, 1, 2, 2)).astype("float32")
        outputs = generator.normal(size=(EXAMPLES, 4)).astype("float32")
        x, y = tensor.TensorType("float32", (False,) * 4)(), tensor.fmatrix()
        metrics = reconstruction(loss).metrics(y, x)
        found = compile_evaluation(y, x, metrics)([(outputs, images)])
        values = outputs if loss == "squared" else 1 / (1 + np.exp(-outputs))
        flat = images.reshape(EXAMPLES, 4)
        assert list(found) == ["mae", "rmse"]
        assert found["mae"] == pytest.approx(judge.mean_absolute_error(flat, values), rel=1e-5)
        assert found["rmse"] == pytest.approx(judge.mean_squared_error(flat, values) ** 0.5, rel=1e-5)


def test_metrics_are_spoken_of_by_their_common_names() -> None:
    assert [spoken(f"test/{name}") for name in ("mae", "rmse", "r2", "top_5_accuracy")] == [
        "test MAE",
        "test RMSE",
        "test R²",
        "test top 5 accuracy",
    ]


class TestPictures:
    def cells(self, figure: Figure) -> list[str]:
        return [text.get_text() for text in figure.axes[0].texts]

    def test_a_confusion_matrix_names_classes_and_counts(self) -> None:
        counts = np.array([[8, 2, 0], [0, 5, 0], [1, 0, 0]])
        data = data_of(np.array([0, 1, 2]), 3, class_names=("cat", "dog", "an owl of great age and size"))
        picture = cross_entropy().pictures({"confusion_matrix": counts}, data, lambda x: x)[
            "confusion_matrix"
        ]
        figure = picture() if callable(picture) else picture
        axes = figure.axes[0]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
        assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "an owl of great a…"]
        assert self.cells(figure) == ["8\n80.0 %", "2\n20.0 %", "5\n100.0 %", "1\n100.0 %"]
        places = [text.get_position() for text in axes.texts]
        assert places == [(0, 0), (1, 0), (1, 1), (0, 2)]  # (column, row): (predicted, true)
        assert figure.get_suptitle() == "mine: 13 of 16 right"

    def test_predictions_are_drawn_over_true_values(self) -> None:
        targets = np.array([[1.0, 10], [2, 20], [3, 30]], "float32")
        data = data_of(targets, inputs=targets)
        figure = squared_error().pictures({}, data, lambda inputs: 2 * inputs)["predictions"]
        for axes, true in zip(figure.axes, targets.T, strict=True):
            points = next(line for line in axes.get_lines() if line.get_gid() == "predictions")
            np.testing.assert_array_equal(points.get_xydata(), np.column_stack([true, 2 * true]))
            assert axes.get_xlim() == axes.get_ylim()

    @pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 4), (4, 4)])
    def test_reconstructed_images_stand_below_the_originals(self, shape: tuple[int, ...]) -> None:
        images = np.random.default_rng(0).random((12, *shape)).astype("float32")
        data = data_of(np.zeros(12), inputs=images)
        figure = reconstruction().pictures({}, data, lambda x: 1 - x.reshape(len(x), -1))["reconstructions"]
        drawn = [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes]
        assert len(drawn) == 20
        if shape[0] != 3:
            np.testing.assert_allclose(drawn[3], images[3].reshape(4, 4))
            np.testing.assert_allclose(drawn[13], 1 - images[3].reshape(4, 4))

    def test_reconstructions_of_what_is_no_image_are_lines(self) -> None:
        inputs = np.random.default_rng(0).random((3, 5)).astype("float32")
        figure = reconstruction("binary_cross_entropy").pictures(
            {}, data_of(np.zeros(3), inputs=inputs), lambda x: np.zeros_like(x)
        )["reconstructions"]
        drawn = [np.asarray(axes.get_lines()[0].get_ydata(), float) for axes in figure.axes]
        np.testing.assert_allclose(drawn[1], inputs[1])
        np.testing.assert_allclose(drawn[4], 0.5)  # the logit 0


def test_a_run_reports_what_was_asked_for(train: Callable[..., Finished]) -> None:
    finished = train(
        "model.hidden=[]",
        "training.epochs=2",
        "objective.top_k=2",
        "objective.class_weights=balanced",
        "objective.label_smoothing=0.1",
        "logger.curves=null",
    )
    assert finished.status == 0
    test = finished.summary["test"]
    assert list(test) == ["loss", "accuracy", "top_2_accuracy", "confusion_matrix"]
    matrix = np.array(test["confusion_matrix"])
    assert matrix.shape == (10, 10)
    assert matrix.trace() / matrix.sum() == pytest.approx(test["accuracy"])
    assert test["top_2_accuracy"] > test["accuracy"]
    assert "confusion_matrix" not in " ".join(finished.records[0])


def test_theano_optimizes_the_metrics_of_sequences_without_a_complaint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its own rewriting of a sum of quotients fails, with a trace, where the sum widens its type."""
    logits, classes = tensor.ftensor3(), tensor.imatrix()
    objective = cross_entropy()
    loss = Metric.of_examples(objective.losses(logits, classes))
    totals = [loss.total, *(one.total for one in objective.metrics(logits, classes).values())]
    theano.function([logits, classes], totals, mode=theano.Mode(linker="py", optimizer="fast_run"))
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
