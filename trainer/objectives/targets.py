"""The targets of a data set: their kind, and where the first wrong one stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray
from theano import tensor

from trainer.data import Data
from trainer.errors import UsageError

EXAMPLES_AT_A_TIME = 100_000  # targets need not be in memory


def labelled(data: Data) -> Iterator[tuple[str, Any]]:
    """Yield the targets of each part that is not empty, with the part's name."""
    for label in ("train", "validation", "test"):
        part = getattr(data, label)
        if len(part):
            yield label, part.targets


def chunks(targets: Any) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield targets some at a time, with the place of the first of them."""
    for start in range(0, len(targets), EXAMPLES_AT_A_TIME):
        yield start, np.asarray(targets[start : start + EXAMPLES_AT_A_TIME])


def are_whole(targets: Any) -> bool:
    """Return whether targets are whole numbers, which batches hold as int32; others they hold as floatX."""
    return bool(np.issubdtype(targets.dtype, np.integer))


def target_type(data: Data) -> Any:
    """Return the symbolic type of a batch of the data's targets."""
    targets = data.train.targets
    dtype = "int32" if are_whole(targets) else theano.config.floatX
    return tensor.TensorType(dtype, (False,) * len(targets.shape))


def refuse_kinds(data: Data, objective: str, fits: Callable[[Any], bool], wanted: str) -> None:
    """Refuse targets whose dtype or number of axes does not fit, and parts whose targets differ in kind.

    Parameters
    ----------
    data : Data
        What is looked at.
    objective : str
        The name of the objective, for the message.
    fits : callable
        Whether the targets of a part, an array's `dtype` and `shape`, fit.
    wanted : str
        What the objective needs, for the message.
    """
    first = data.train.targets
    for label, targets in labelled(data):
        if not fits(targets):
            raise UsageError(
                f"objective={objective} needs {wanted}, but the {label} targets of {data.name} are "
                f"{targets.dtype} of the shape {tuple(targets.shape)}"
            )
        if targets.shape[1:] != first.shape[1:] or are_whole(targets) != are_whole(first):
            raise UsageError(
                f"{data.name}: the {label} targets are {targets.dtype} of the shape {tuple(targets.shape)}, "
                f"but the training targets are {first.dtype} of the shape {tuple(first.shape)}: "
                "give all parts the same kind"
            )


def refuse_values(data: Data, is_wrong: Callable[[NDArray[Any]], NDArray[Any]], allowed: str) -> None:
    """Refuse the first target value that is wrong, naming its place.

    Parameters
    ----------
    data : Data
        What is looked at.
    is_wrong : callable
        From an array of targets to an array of bool.
    allowed : str
        What a target may be, for the message.
    """
    for label, targets in labelled(data):
        for start, values in chunks(targets):
            wrong = is_wrong(values)
            if wrong.any():
                place = tuple(np.argwhere(wrong)[0])
                where = "".join(f", place {number + 1}" for number in place[1:])
                raise UsageError(
                    f"{data.name}: target {start + place[0] + 1}{where} of the {label} part is "
                    f"{values[place]}; {allowed}"
                )


def class_counts(data: Data) -> NDArray[np.int64]:
    """Return how often each class stands in the targets of the training part."""
    classes = data.classes or 0
    counts = np.zeros(classes, np.int64)
    for _, values in chunks(data.train.targets):
        counts += np.bincount(values.ravel(), minlength=classes)
    return counts
