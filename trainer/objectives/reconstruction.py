"""Reconstruction, for autoencoders: the target of an example is its input."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import theano
from numpy.typing import NDArray
from theano import tensor
from theano.tensor.nnet.sigm import ScalarSigmoid

from trainer.data import Data
from trainer.errors import UsageError, nearest
from trainer.objectives import elementwise
from trainer.objectives.base import Metric, Objective, Predict
from trainer.objectives.metrics import deviations
from trainer.objectives.shapes import like, mean_of_examples, rows
from trainer.objectives.targets import target_type

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSSES: Mapping[str, Callable[[Any, Any], Any]] = {
    "squared": elementwise.squared,
    "absolute": elementwise.absolute,
    "binary_cross_entropy": elementwise.binary_cross_entropy,
}
LOOKED_AT = 1000  # examples of a part: inputs need not be in memory


class Reconstruction(Objective):
    """A loss of the differences between outputs and inputs; made by `reconstruction`."""

    reconstructs = True

    def __init__(self, loss: str = "squared") -> None:
        self.loss = loss
        self._target_type: Any = tensor.vector

    @property
    def _from_logits(self) -> bool:
        return self.loss == "binary_cross_entropy"

    def check(self, data: Data) -> None:
        """Refuse data whose inputs are no values, or for binary cross-entropy not from 0 to 1.

        Raises
        ------
        UsageError
            With the part and the place of the first fault among the first 1,000 examples of each part.
        """
        if data.input_dtype is not None:
            raise UsageError(
                f"objective=reconstruction needs values as inputs, but those of {data.name} are numbers of "
                "tokens: choose objective=cross_entropy"
            )
        self._target_type = target_type(data)
        if not self._from_logits:
            return
        for label in ("train", "validation", "test"):
            part = getattr(data, label)
            if not len(part):
                continue
            inputs, _ = next(iter(part.batches(LOOKED_AT).epoch(0)))
            outside = np.argwhere(~((inputs >= 0) & (inputs <= 1)))
            if len(outside):
                raise UsageError(
                    f"objective.loss=binary_cross_entropy needs inputs from 0 to 1, but input "
                    f"{outside[0][0] + 1} of the {label} part of {data.name} holds "
                    f"{inputs[tuple(outside[0])]:g}: choose objective.loss=squared"
                )

    def outputs(self, data: Data) -> int:
        """Return how many values an input has."""
        return math.prod(data.input_shape)

    def check_output(self, shape: tuple[int, ...], data: Data) -> None:
        """Refuse a network whose output has not as many values as its input; their shapes may differ.

        Raises
        ------
        UsageError
            With both shapes.
        """
        if math.prod(shape) != self.outputs(data):
            raise UsageError(
                f"the network's output for one example of {data.name} has the shape {tuple(shape)}, but a "
                f"reconstruction needs the {self.outputs(data)} values of the input {data.input_shape}: "
                "choose model=autoencoder"
            )

    def target_variable(self) -> Any:
        """Make a symbolic batch of the data's targets, which is not looked at."""
        return self._target_type("targets")

    def losses(self, output: Any, targets: Any) -> Any:
        """Return the mean over the values of an example, its input given as `targets`."""
        if self._from_logits:
            _refuse_probabilities(output)
        return mean_of_examples(LOSSES[self.loss](rows(output), like(targets, output)))

    def metrics(self, output: Any, targets: Any) -> dict[str, Metric]:
        """Return `mae` and `rmse`, of the values themselves (`reconstruction`)."""
        values = tensor.nnet.sigmoid(output) if self._from_logits else output
        return deviations(rows(values), like(targets, output))

    def predictions(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return each example's reconstruction, `output`."""
        # Here, because its import takes a tenth of a second, and only predictions need it.
        from scipy.special import expit

        return {"output": expit(outputs) if self._from_logits else outputs}

    def pictures(self, metrics: Mapping[str, Any], data: Data, predict: Predict) -> dict[str, Figure]:
        """Return `reconstructions`: the first inputs of the test part above what became of them."""
        from trainer.objectives.pictures import HOW_MANY_RECONSTRUCTED, reconstructions_picture

        batches = data.test.batches(HOW_MANY_RECONSTRUCTED, dtype=theano.config.floatX)
        inputs, _ = next(iter(batches.epoch(0)))
        outputs = predict(inputs)
        if self._from_logits:
            outputs = 1 / (1 + np.exp(-np.clip(outputs, -30, 30)))
        return {"reconstructions": reconstructions_picture(inputs, outputs.reshape(inputs.shape))}


def reconstruction(
    loss: Literal["squared", "absolute", "binary_cross_entropy"] = "squared",
) -> Reconstruction:
    """Give the objective of an autoencoder: its output is to be its input.

    For an output y and the input x, both flattened, the loss of an example is the mean over its values of

        squared                  (y − x)²
        absolute                 |y − x|
        binary_cross_entropy     −x log σ(y) − (1 − x) log(1 − σ(y)), for inputs from 0 to 1 and logits y

    The data's own targets are not looked at. Losses keep the outputs' dtype.

    Parameters
    ----------
    loss : str, default "squared"
        One of these. With `binary_cross_entropy` the network's last layer is linear, since its outputs are
        logits.

    Returns
    -------
    Reconstruction
        Metrics, of y (of σ(y) for logits): `mae` = mean |y − x| and `rmse` = √(mean (y − x)²), over the
        values of all examples, in the inputs' unit.

    Raises
    ------
    UsageError
        For an unknown loss.
    """
    if loss not in LOSSES:
        raise UsageError(f"objective.loss={loss} is not known: {nearest(loss, LOSSES)}")
    return Reconstruction(loss)


def _refuse_probabilities(output: Any) -> None:
    """Refuse an output that is that of a logistic function already: it would be squashed twice."""
    while output.owner is not None and isinstance(output.owner.op, tensor.Reshape):
        output = output.owner.inputs[0]
    operation = getattr(output.owner, "op", None)
    if isinstance(getattr(operation, "scalar_op", None), ScalarSigmoid):
        raise UsageError(
            "objective.loss=binary_cross_entropy needs logits, but the network ends with a sigmoid: "
            "end it with a linear layer, or choose objective.loss=squared"
        )
