"""The gradient of several batches, as that of one large batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import theano
from theano import tensor


@dataclass(frozen=True)
class Accumulation:
    """What `accumulate` gives.

    Attributes
    ----------
    loss : symbolic scalar
        The mean loss of the examples of all batches.
    gradients : list of symbolic tensors
        The mean gradients, one for each parameter.
    updates : OrderedDict
        The sums, each to its value after a batch that is not the last one.
    begun : shared scalar
        Whether the sums count: 0 while an update has no batch yet, 1 after its first.
    """

    loss: Any
    gradients: list[Any]
    updates: OrderedDict[Any, Any]
    begun: Any


def accumulate(loss: Any, gradients: Sequence[Any], parameters: Sequence[Any], examples: Any) -> Accumulation:
    """Give mean loss and mean gradients over several batches, with the arithmetic of one large batch.

    With nᵢ examples in batch i, whose mean loss is Lᵢ with the gradient gᵢ, the large batch has

        N = Σ nᵢ,  L = Σ nᵢ·Lᵢ / N,  g = Σ nᵢ·gᵢ / N

    so that a short last batch counts as what it is. All batches but the last go into the sums; the update
    then takes the sums and the last batch together. Terms of the loss that do not depend on the examples,
    such as a weight penalty, keep their size. What a layer computes over a batch (batch normalization) stays
    a matter of the small batch.

    Parameters
    ----------
    loss : symbolic scalar
        The mean loss of a batch.
    gradients : sequence of symbolic tensors
        Of that loss.
    parameters : sequence of shared variables
        What the gradients belong to; they say the shapes and types of the sums.
    examples : symbolic integer scalar
        How many examples the batch has, up to 2²⁴ in all batches of an update together.

    Returns
    -------
    Accumulation
        Its loss and gradients take the place of those given; its updates are for the batches before the last
        (`trainer.training.compile_training_step`).
    """
    begun = theano.shared(np.zeros((), "int8"), "accumulation.begun")
    updates: OrderedDict[Any, Any] = OrderedDict()

    def summed(value: Any, like: Any, name: str) -> Any:
        sums = theano.shared(np.zeros_like(like), f"accumulation.{name}", broadcastable=value.broadcastable)
        share = examples.astype(value.dtype) * value
        # A choice and not a product with 0, which what is not a number would survive.
        total = tensor.switch(begun, sums + share, share)
        updates[sums] = total
        return total

    one = tensor.ones((), "float64")
    count = summed(one, 0.0, "examples")
    total_loss = summed(loss.astype("float64"), 0.0, "loss")
    means = [
        summed(gradient, parameter.get_value(borrow=True), str(parameter.name)) / count.astype(gradient.dtype)
        for gradient, parameter in zip(gradients, parameters, strict=True)
    ]
    return Accumulation((total_loss / count).astype(loss.dtype), means, updates, begun)
