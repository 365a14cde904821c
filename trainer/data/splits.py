"""Which examples go to which part: seeded, and with each class in its due share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.errors import UsageError

Places = NDArray[np.intp]


class Split(NamedTuple):
    """How a source divides its examples where they do not come divided.

    Parameters
    ----------
    validation_fraction, test_fraction : float
        The share of all examples that the part takes: at least 0, together below 1.
    seed : int
        The split is a function of it and of the targets alone.
    """

    validation_fraction: float
    test_fraction: float
    seed: int

    def places(
        self, targets: NDArray[Any], classes: int | None, *, validation: bool = True, test: bool = True
    ) -> tuple[Places, Places, Places]:
        """Choose the places of the training, validation and test part.

        Classes keep their shares in every part (`stratified_split`); other targets are split at random.

        Parameters
        ----------
        targets : array, (examples, ...)
            The targets of all examples.
        classes : int or None
            How many classes they count; None where they are no classes.
        validation, test : bool, default True
            Whether to make the part; False where it has files of its own, and its places are none.
        """
        labels = np.zeros(len(targets), np.int8) if classes is None else targets
        fractions = (self.validation_fraction * validation, self.test_fraction * test)
        return stratified_split(labels, *fractions, self.seed)


def stratified_split(
    labels: NDArray[Any], validation_fraction: float, test_fraction: float, seed: int
) -> tuple[Places, Places, Places]:
    """Split examples at random, keeping the classes' shares the same in every part.

    A part takes round(fraction · n) examples of n in all. Class c gives it floor(fraction · n_c), and the
    classes with the largest remainders give one more until the part is full, so that no class's count is off
    its share by one example or more unless the class has too few to serve both parts.

    Parameters
    ----------
    labels : array, (examples,)
        The class of each example.
    validation_fraction, test_fraction : float
        Each at least 0, together below 1. A fraction of 0 gives an empty part.
    seed : int
        The split is a function of it and of `labels` alone.

    Returns
    -------
    train, validation, test : arrays of int
        Places in `labels`, ascending.

    Raises
    ------
    UsageError
        Where a fraction is out of its range.
    """
    check_fractions(validation_fraction, test_fraction)
    generator = np.random.default_rng(seed)
    members = [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    sizes = np.array([len(places) for places in members])
    test_counts = _shares(sizes, test_fraction)
    validation_counts = np.minimum(_shares(sizes, validation_fraction), sizes - test_counts)
    ends = [np.cumsum(counts) for counts in zip(test_counts, validation_counts, strict=True)]
    pieces = [np.split(places, end) for places, end in zip(members, ends, strict=True)]
    test, validation, train = (np.sort(np.concatenate(piece)) for piece in zip(*pieces, strict=True))
    return train, validation, test


def _shares(sizes: NDArray[Any], fraction: float) -> NDArray[np.intp]:
    exact = sizes * fraction
    counts: NDArray[np.intp] = np.floor(exact).astype(np.intp)
    lacking = round(float(sizes.sum() * fraction)) - int(counts.sum())
    largest_remainders = np.argsort(counts - exact, kind="stable")[:lacking]
    counts[largest_remainders] += 1
    return counts


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Refuse, by a UsageError, shares of parts that are out of range or leave nothing to train on."""
    for name, fraction in (("validation", validation_fraction), ("test", test_fraction)):
        if not 0 <= fraction < 1:
            raise UsageError(
                f"data.{name}_fraction is {fraction}; it must be at least 0 and below 1, "
                "the share of all examples that the part takes"
            )
    if validation_fraction + test_fraction >= 1:
        raise UsageError(
            f"data.validation_fraction ({validation_fraction}) and data.test_fraction ({test_fraction}) "
            "leave nothing to train on; together they must be below 1"
        )
