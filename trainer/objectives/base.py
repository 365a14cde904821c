"""What an objective is: a loss that training makes small, and metrics that are reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from theano import tensor

from trainer.data import Data
from trainer.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Total = NDArray[np.float64]
Predict = Callable[[NDArray[Any]], NDArray[Any]]
Picture: TypeAlias = "Figure | Callable[[], Figure]"


def mean(total: Total, examples: int) -> Any:
    """Return the mean of what was summed over the examples."""
    return total / examples


def total_of(values: Any, axis: int | None = None) -> Any:
    """Return a symbolic sum in float64, over the examples and, where no axis is given, all else.

    Cast before it is summed: one of Theano's optimizations fails on a sum that widens its type.
    """
    return tensor.sum(tensor.cast(values, "float64"), axis=axis)


@dataclass(frozen=True)
class Metric:
    """A number, or an array of them, that is found by summing over the examples.

    Parameters
    ----------
    total : symbolic tensor
        The sum over the examples of a batch, of any shape that does not depend on the batch. Sums of batches
        are added up in float64.
    finish : callable
        From the sum over all examples and their number to the metric; the mean where omitted. A metric that
        is a number stands in every record; one that is an array (a confusion matrix) in the summary, of the
        test part.
    """

    total: Any
    finish: Callable[[Total, int], Any] = mean

    @classmethod
    def of_examples(cls, values: Any) -> Metric:
        """Make the metric that is the mean of a symbolic vector with a value for each example."""
        return cls(total_of(values))


class Objective:
    """The base of all objectives; an own one derives from it.

    Its methods are called in the order in which they stand here.

    Attributes
    ----------
    reconstructs : bool
        Whether the target of an example is its input; the data's targets are not looked at then.
    """

    reconstructs: bool = False

    def check(self, data: Data) -> None:
        """Refuse data that the objective cannot judge, and keep what the losses must know of the others.

        That is the kind of the targets and, for class weights, the counts of the classes.

        Raises
        ------
        UsageError
            With the part and the place of the first fault.
        """

    def outputs(self, data: Data) -> int:
        """Return how many numbers a network must give for one example (for one step of a sequence)."""
        return data.outputs

    def output_shape(self, data: Data) -> tuple[int, ...]:
        """Return the shape that a network's output for one example must have."""
        return (self.outputs(data),)

    def check_output(self, shape: tuple[int, ...], data: Data) -> None:
        """Refuse a network whose output for one example has a shape that the objective cannot judge.

        Raises
        ------
        UsageError
            With both shapes.
        """
        wanted = self.output_shape(data)
        if tuple(shape) != wanted:
            raise UsageError(
                f"the network's output for one example of {data.name} has the shape {tuple(shape)}, but the "
                f"objective needs {wanted}: change the last layers of the model, or choose another objective"
            )

    def target_variable(self) -> Any:
        """Make a symbolic batch of targets; each objective has its own."""
        raise NotImplementedError

    def losses(self, output: Any, targets: Any) -> Any:
        """Return the loss of each example as evaluations report it, a symbolic vector; each has its own."""
        raise NotImplementedError

    def training_losses(self, output: Any, targets: Any) -> Any:
        """Return the loss of each example as training makes it small (label smoothing, class weights)."""
        return self.losses(output, targets)

    def metrics(self, output: Any, targets: Any) -> Mapping[str, Metric]:
        """Return the metrics by name."""
        return {}

    def predictions(self, outputs: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Return what the network's outputs, (examples, ...), say to a person, by name, an example a row."""
        return {"output": outputs}

    def pictures(self, metrics: Mapping[str, Any], data: Data, predict: Predict) -> Mapping[str, Picture]:
        """Return pictures of how the network does on the test part, by the name of their file.

        Parameters
        ----------
        metrics : mapping
            The test part's metrics, finished.
        data : Data
            Its test part is not empty.
        predict : callable
            From an array of inputs, of the dtype of the network's input variable, to the network's outputs in
            evaluation.

        Returns
        -------
        mapping of str to Figure, or to function
            matplotlib figures, or functions without arguments that make them; `confusion_matrix` is written
            as `confusion_matrix.png`. A function that can be pickled is called where nobody waits for it.
        """
        return {}
