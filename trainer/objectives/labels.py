"""Binary cross-entropy, for one yes or no, or several that do not exclude each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from theano import tensor

from trainer.confusion import confusion_picture
from trainer.data import Data
from trainer.errors import UsageError
from trainer.objectives import elementwise
from trainer.objectives.base import Metric, Objective, Picture, Predict
from trainer.objectives.metrics import confusion_matrix
from trainer.objectives.shapes import like, mean_of_examples, number, rows
from trainer.objectives.targets import refuse_kinds, refuse_values, target_type
from trainer.ranges import refuse_out_of_range


class BinaryCrossEntropy(Objective):
    """The logistic function and the negative log-likelihood of each label; made by `binary_cross_entropy`."""

    def __init__(self, label_smoothing: float = 0.0, positive_weight: float = 1.0) -> None:
        self.label_smoothing = label_smoothing
        self.positive_weight = positive_weight
        self._target_type: Any = tensor.ivector

    def check(self, data: Data) -> None:
        """Refuse data whose targets are not 0 or 1.

        Raises
        ------
        UsageError
            For more than two classes, targets of another shape than (examples,) or (examples, labels), and a
            value that is neither, with its part and place.
        """
        if data.classes not in (None, 2):
            raise UsageError(
                f"objective=binary_cross_entropy needs two classes or labels of 0 and 1, but {data.name} has "
                f"{data.classes} classes: choose objective=cross_entropy"
            )
        refuse_kinds(
            data,
            "binary_cross_entropy",
            lambda values: values.dtype.kind in "iubf" and len(values.shape) in (1, 2),
            "0 or 1 as the target of an example, or of each of its labels",
        )
        refuse_values(data, lambda values: (values != 0) & (values != 1), "a target is 0 or 1")
        self._target_type = target_type(data)

    def outputs(self, data: Data) -> int:
        """Return the number of labels: a logit for each."""
        return math.prod(data.train.targets.shape[1:])

    def target_variable(self) -> Any:
        """Make a symbolic batch of zeros and ones: (examples,) or (examples, labels)."""
        return self._target_type("targets")

    def losses(self, output: Any, targets: Any) -> Any:
        """Return the mean over the labels of −t log σ(z) − (1 − t) log(1 − σ(z)), in nats."""
        return mean_of_examples(elementwise.binary_cross_entropy(output, like(targets, output)))

    def training_losses(self, output: Any, targets: Any) -> Any:
        """Return the losses with label smoothing and the weight of positives (`binary_cross_entropy`)."""
        share = number(self.label_smoothing, output)
        smoothed = like(targets, output) * (1 - share) + share / 2
        weight = None if self.positive_weight == 1 else number(self.positive_weight, output)
        return mean_of_examples(elementwise.binary_cross_entropy(output, smoothed, weight))

    def metrics(self, output: Any, targets: Any) -> dict[str, Metric]:
        """Return the metrics that `binary_cross_entropy` names, as far as they fit the targets."""
        answered = output > 0
        right = tensor.eq(answered, rows(targets))
        found = {"accuracy": Metric.of_examples(tensor.mean(right, axis=1))}
        if targets.ndim == 1:
            found["confusion_matrix"] = confusion_matrix(answered[:, 0], targets, 2)
        else:
            found["exact_accuracy"] = Metric.of_examples(tensor.all(right, axis=1))
        return found

    def predictions(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return each label's `probability` to be 1, and its `class`, 1 where that is above 1/2."""
        # Here, because its import takes a tenth of a second, and only predictions need it.
        from scipy.special import expit

        return {"class": (outputs > 0).astype(np.int64), "probability": expit(outputs)}

    def pictures(self, metrics: Mapping[str, Any], data: Data, predict: Predict) -> dict[str, Picture]:
        """Return what draws the confusion matrix, where there is one."""
        if "confusion_matrix" not in metrics:
            return {}
        counts = metrics["confusion_matrix"]
        return {"confusion_matrix": partial(confusion_picture, counts, data.class_names, data.name)}


def binary_cross_entropy(label_smoothing: float = 0.0, positive_weight: float = 1.0) -> BinaryCrossEntropy:
    """Give the objective for yes or no, once or for several labels: binary cross-entropy from logits.

    For a logit z, the target t, 0 or 1, and the logistic function σ

        loss = −t log σ(z) − (1 − t) log(1 − σ(z))

    in nats, computed as t · softplus(−z) + (1 − t) · softplus(z), so that nothing overflows. With several
    labels, targets (examples, labels), the loss of an example is the mean over its labels. Losses keep the
    logits' dtype. Data of two classes needs one logit, that of class 1.

    Training makes this small instead, with the label smoothing s and the weight w of positives:

        u = (1 − s) · t + s / 2        loss = −w · u · log σ(z) − (1 − u) · log(1 − σ(z))

    Evaluations always report the loss without smoothing and weight.

    Parameters
    ----------
    label_smoothing : float, default 0
        The share s of a target that goes to 0 and 1 alike, at least 0 and below 1.
    positive_weight : float, default 1
        How much more a positive counts in training than a negative, above 0; the negatives' number divided by
        the positives' gives both the same weight.

    Returns
    -------
    BinaryCrossEntropy
        Metrics: `accuracy`, the share of labels whose logit has the right sign (a logit of 0 says no); for
        several labels `exact_accuracy`, the share of examples with all labels right; for one
        `confusion_matrix`, counts with a row for the true and a column for the answered 0 and 1.

    Raises
    ------
    UsageError
        For an argument that is not allowed.
    """
    refuse_out_of_range({"label_smoothing": label_smoothing, "positive_weight": positive_weight}, "objective")
    return BinaryCrossEntropy(label_smoothing, positive_weight)
