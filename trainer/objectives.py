"""What training makes small, and what it reports: losses and metrics, for each example of a batch.

An objective is what a file of `conf/objective/` names by `_target_` returns. The loop averages its vectors
over the examples, each counted once.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from theano import tensor

from trainer.data import Data
from trainer.errors import UsageError


class Objective(Protocol):
    """What the program asks of an objective."""

    def check(self, data: Data) -> None:
        """Refuse, by a UsageError, data that the objective cannot judge."""

    def target_variable(self) -> Any:
        """Make a symbolic batch of targets."""

    def losses(self, output: Any, targets: Any) -> Any:
        """Return the loss of each example, a symbolic vector."""

    def metrics(self, output: Any, targets: Any) -> dict[str, Any]:
        """Return the metrics by name, each a symbolic vector with a value for each example."""


class CrossEntropy:
    """Softmax and the negative log-likelihood of the right class; made by `cross_entropy`."""

    def check(self, data: Data) -> None:
        """Refuse data whose targets are no class numbers.

        Raises
        ------
        UsageError
            For data without classes and for a target outside them, with its part and place.
        """
        if data.classes is None:
            raise UsageError(f"objective=cross_entropy needs classes as targets, but {data.name} has none")
        for label in ("train", "validation", "test"):
            targets = getattr(data, label).targets
            if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
                raise UsageError(
                    f"objective=cross_entropy needs one whole number as the target of an example, but the "
                    f"{label} targets of {data.name} are {targets.dtype} of the shape {targets.shape}"
                )
            outside = np.flatnonzero((targets < 0) | (targets >= data.classes))
            if outside.size:
                raise UsageError(
                    f"{data.name}: target {outside[0] + 1} of the {label} part is {targets[outside[0]]}; "
                    f"with {data.classes} classes, targets go from 0 to {data.classes - 1}"
                )

    def target_variable(self) -> Any:
        """Make a symbolic batch of class numbers: int32, (examples,)."""
        return tensor.ivector("targets")

    def losses(self, output: Any, targets: Any) -> Any:
        """Return log Σₖ exp(zₖ) − z_y, in nats, for logits z (examples, classes) and classes y."""
        return tensor.nnet.crossentropy_softmax_1hot(output, targets)[0]

    def metrics(self, output: Any, targets: Any) -> dict[str, Any]:
        """Return `accuracy`: 1 where the largest logit is the right class's (the first of equals), else 0."""
        return {"accuracy": tensor.cast(tensor.eq(tensor.argmax(output, axis=1), targets), output.dtype)}


def cross_entropy() -> CrossEntropy:
    """Give the objective for classes that exclude each other: cross-entropy from logits.

    For an example with the logits z and the class y

        loss = −log softmax(z)_y = log Σₖ exp(zₖ) − z_y

    in nats, computed with the largest logit taken off first, so that no logit overflows; its gradient is
    softmax(z) − onehot(y). Metric: `accuracy`. Both keep the logits' dtype.
    """
    return CrossEntropy()
