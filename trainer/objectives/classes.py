"""Cross-entropy, for classes that exclude each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from theano import tensor

from trainer.confusion import confusion_picture
from trainer.data import Data
from trainer.errors import UsageError
from trainer.objectives.base import Metric, Objective, Picture, Predict
from trainer.objectives.metrics import among_largest, answers, confusion_matrix, perplexity
from trainer.objectives.shapes import number
from trainer.objectives.targets import are_whole, class_counts, refuse_kinds, refuse_values, target_type
from trainer.ranges import refuse_out_of_range

MOST_CONFUSED = 100  # classes: a larger confusion matrix is no reading, and fills summary.json

ClassWeights = Sequence[float] | Literal["balanced"] | None


class CrossEntropy(Objective):
    """Softmax and the negative log-likelihood of the right class; made by `cross_entropy`."""

    def __init__(
        self, label_smoothing: float = 0.0, class_weights: ClassWeights = None, top_k: int | None = None
    ) -> None:
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.top_k = top_k
        self._target_type: Any = tensor.ivector
        self._classes: int | None = None
        self._weights: NDArray[np.float64] | None = None

    def check(self, data: Data) -> None:
        """Refuse data whose targets are no class numbers, and find the class weights.

        Raises
        ------
        UsageError
            For data without classes, for a target outside them, with its part and place, and for class
            weights or a `top_k` that do not fit the classes.
        """
        classes = data.classes
        if classes is None:
            raise UsageError(
                f"objective=cross_entropy needs classes as targets, but {data.name} has none: "
                "choose objective=squared_error, or another one for values"
            )
        refuse_kinds(
            data,
            "cross_entropy",
            lambda values: are_whole(values) and len(values.shape) in (1, 2),
            "one whole number as the target of an example, or of each step of a sequence",
        )
        refuse_values(
            data,
            lambda values: (values < 0) | (values >= classes),
            f"with {classes} classes, targets go from 0 to {classes - 1}",
        )
        if self.top_k is not None and self.top_k >= classes:
            raise UsageError(
                f"objective.top_k={self.top_k} says nothing of {classes} classes: give less than {classes}"
            )
        self._target_type = target_type(data)
        self._classes = classes
        self._weights = None if self.class_weights is None else _weights(self.class_weights, data)

    def outputs(self, data: Data) -> int:
        """Return the number of classes: a logit for each."""
        return data.outputs if data.classes is None else data.classes

    def output_shape(self, data: Data) -> tuple[int, ...]:
        """Return (classes,), or (time, classes) where each step of a sequence has a target."""
        return (*data.train.targets.shape[1:], self.outputs(data))

    def target_variable(self) -> Any:
        """Make a symbolic batch of class numbers: int32, (examples,) or (examples, time)."""
        return self._target_type("targets")

    def losses(self, output: Any, targets: Any) -> Any:
        """Return log Σₖ exp(zₖ) − z_y, in nats, for logits z (examples, classes) and classes y.

        For sequences, z (examples, time, classes) and y (examples, time), the mean over time.
        """
        logits, classes = _flat(output, targets)
        return _of_examples(_negative_log_likelihood(logits, classes), targets)

    def training_losses(self, output: Any, targets: Any) -> Any:
        """Return the losses with label smoothing and class weights (`cross_entropy`)."""
        logits, classes = _flat(output, targets)
        losses = _negative_log_likelihood(logits, classes)
        weights = self._weights_like(logits)
        if weights is not None:
            losses = losses * weights[classes]
        if self.label_smoothing:
            surprise = -tensor.nnet.logsoftmax(logits)
            smooth = tensor.mean(surprise if weights is None else surprise * weights, axis=1)
            share = number(self.label_smoothing, logits)
            losses = (1 - share) * losses + share * smooth
        return _of_examples(losses, targets)

    def metrics(self, output: Any, targets: Any) -> dict[str, Metric]:
        """Return the metrics that `cross_entropy` names, as far as they fit the targets."""
        logits, classes = _flat(output, targets)
        answered = answers(logits)
        found = {"accuracy": Metric.of_examples(_of_examples(tensor.eq(answered, classes), targets))}
        if self.top_k is not None:
            among = _of_examples(among_largest(logits, classes, self.top_k), targets)
            found[f"top_{self.top_k}_accuracy"] = Metric.of_examples(among)
        if targets.ndim == 2:
            found["perplexity"] = perplexity(self.losses(output, targets))
        elif self._classes is not None and self._classes <= MOST_CONFUSED:
            found["confusion_matrix"] = confusion_matrix(answered, classes, self._classes)
        return found

    def predictions(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return each example's `class`, that of the largest logit, and the `probability` of every class."""
        # Here, because its import takes a tenth of a second, and only predictions need it.
        from scipy.special import softmax

        return {"class": outputs.argmax(axis=-1), "probability": softmax(outputs, axis=-1)}

    def pictures(self, metrics: Mapping[str, Any], data: Data, predict: Predict) -> dict[str, Picture]:
        """Return what draws the confusion matrix, where there is one."""
        if "confusion_matrix" not in metrics:
            return {}
        counts = metrics["confusion_matrix"]
        return {"confusion_matrix": partial(confusion_picture, counts, data.class_names, data.name)}

    def _weights_like(self, logits: Any) -> Any:
        if self.class_weights is None:
            return None
        if self._weights is None:
            raise RuntimeError("class weights are known once `check` has seen the data")
        return tensor.constant(self._weights.astype(logits.dtype))


def cross_entropy(
    label_smoothing: float = 0.0, class_weights: ClassWeights = None, top_k: int | None = None
) -> CrossEntropy:
    """Give the objective for classes that exclude each other: cross-entropy from logits.

    For an example with the logits z and the class y

        loss = −log softmax(z)_y = log Σₖ exp(zₖ) − z_y

    in nats, computed with the largest logit taken off first, so that no logit overflows; its gradient is
    softmax(z) − onehot(y). For a sequence with a target for each of its steps (a language model), the loss of
    an example is the mean over its steps. Losses keep the logits' dtype.

    Training makes this small instead, with the label smoothing s, the class weights w and K classes:

        loss = (1 − s) · w_y · (−log softmax(z)_y) + s / K · Σₖ wₖ · (−log softmax(z)ₖ)

    Evaluations always report the loss without smoothing and weights.

    Parameters
    ----------
    label_smoothing : float, default 0
        The share s of a target that goes to all classes alike, at least 0 and below 1.
    class_weights : list of float, "balanced" or None, default None
        A weight for each class, by number, at least 0; `balanced` gives each class with n_c of the N training
        examples N / (K · n_c). They are scaled so that their mean over the training examples is 1: for the
        training part as a whole the mean loss is then Σ losses / Σ w_y, as in PyTorch, and that of a batch is
        an estimate of it without bias, where PyTorch divides by the sum of the batch's own weights.
    top_k : int, optional
        Also report `top_k_accuracy` for this k, at least 1 and below the number of classes.

    Returns
    -------
    CrossEntropy
        Metrics: `accuracy`, the share of examples (of steps) whose largest logit, the first of equals, is the
        right class's; `top_5_accuracy` for `top_k=5`, the share whose right class is among the five largest;
        `perplexity`, exp(mean loss), for sequences, whose loss is in nats a step; else, up to 100 classes,
        `confusion_matrix`, counts with a row for each true and a column for each answered class.

    Raises
    ------
    UsageError
        For an argument that is not allowed.

    Notes
    -----
    Label smoothing: Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision",
    arXiv:1512.00567, section 7.
    """
    refuse_out_of_range({"label_smoothing": label_smoothing, "top_k": top_k}, "objective")
    if class_weights is not None and class_weights != "balanced":
        for number, weight in enumerate(class_weights):
            if isinstance(weight, (bool, str)) or not 0 <= weight < np.inf:
                raise UsageError(
                    f"objective.class_weights[{number}]={weight} is out of range: "
                    "give a number of at least 0 for each class, or balanced"
                )
    return CrossEntropy(label_smoothing, class_weights, top_k)


def _weights(given: Sequence[float] | Literal["balanced"], data: Data) -> NDArray[np.float64]:
    """Return the weights of the classes, their mean over the training examples 1."""
    counts = class_counts(data)
    if given == "balanced":
        if not counts.all():
            raise UsageError(
                f"objective.class_weights=balanced needs examples of each class, but the training part of "
                f"{data.name} has none of class {np.flatnonzero(counts == 0)[0]}: give a list of weights"
            )
        return np.asarray(counts.sum() / (len(counts) * counts))
    weights = np.array(given, np.float64)
    if len(weights) != len(counts):
        raise UsageError(
            f"objective.class_weights has {len(weights)} weights, but {data.name} has {len(counts)} classes: "
            "give one for each"
        )
    total = float(weights @ counts)
    if not total > 0:
        raise UsageError(
            "objective.class_weights gives every training example the weight 0: give one class more"
        )
    return np.asarray(weights * counts.sum() / total)


def _negative_log_likelihood(logits: Any, classes: Any) -> Any:
    return tensor.nnet.crossentropy_softmax_1hot(logits, classes)[0]


def _flat(output: Any, targets: Any) -> tuple[Any, Any]:
    """Return logits as a matrix and classes as a vector: the steps of all sequences one below another."""
    if targets.ndim == 1:
        return output, targets
    return output.reshape((-1, output.shape[-1]), ndim=2), targets.flatten()


def _of_examples(values: Any, targets: Any) -> Any:
    """Return the mean over the steps of each sequence; values of examples as they are."""
    return values if targets.ndim == 1 else tensor.mean(values.reshape(targets.shape, ndim=2), axis=1)
