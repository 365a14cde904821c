"""Whether the loss and the gradients of a step are finite, found inside the compiled function."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray
from theano import tensor
from theano.gof import Apply, Op

from trainer.errors import RunError
from trainer.kernels.plans import Planned
from trainer.kernels.squares import CHECK, PASS


class NonFinite(RunError):
    """A step was given up because its loss or its gradients are not finite; nothing of it was written.

    Attributes
    ----------
    loss : float
        The loss of the step.
    counts : sequence of int
        Of each gradient, how many elements are not finite; -1 where there are some and nobody counted them.
    names : sequence of str
        What each gradient belongs to; empty until `recovered` found it out.
    """

    def __init__(self, message: str = "", loss: float = math.nan, counts: Sequence[int] = ()) -> None:
        super().__init__(message or f"the step is not finite: its loss is {loss}")
        self.loss = loss
        self.counts = tuple(counts)
        self.names: tuple[str, ...] = ()

    @property
    def elements(self) -> dict[str, int]:
        """How many elements of its gradient are not finite, of each parameter that has such elements."""
        return {name: count for name, count in zip(self.names, self.counts, strict=True) if count}

    def recovered(self) -> NonFinite:
        """Give the error as the check raised it, and the names with it.

        Theano raises another one of the same type in its place, with a long text and nothing else.
        """
        original = self.__context__ if isinstance(self.__context__, NonFinite) else self
        node = getattr(original, "__op_instance__", None)
        if node is not None:
            original.names = node.op.names
        return original


class CheckFinite(Planned):
    """Pass gradients on as they are, unless they or the loss are not finite; see `check_finite`.

    Parameters
    ----------
    names : sequence of str
        What the gradients belong to, for `NonFinite`.
    """

    # Not the names: they change nothing of what is computed.
    __props__ = ("count",)

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.count = len(self.names)
        self.view_map = {place: [place] for place in range(1, self.count + 1)}

    def make_node(self, loss: Any, *gradients: Any) -> Apply:
        """Give the norm and the gradients."""
        return Apply(self, [loss, *gradients], [tensor.dscalar(), *(each.type() for each in gradients)])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shapes of the inputs: nothing needs to be computed for them."""
        return [(), *shapes[1:]]

    def perform(self, node: Any, inputs: Sequence[Any], outputs: Sequence[list[Any]]) -> None:
        """Do in NumPy what the kernel does, in every case the way of its rare one."""
        outputs[0][0] = np.asarray(examine(inputs))
        for gradient, output in zip(inputs[1:], outputs[1:], strict=True):
            output[0] = gradient

    def kernel(self) -> str:
        """Sum the squares of all gradients; look closer only where the sum is not finite."""
        return CHECK


class CheckSums(Op):  # type: ignore[misc]
    """Give the root of the sum of numbers, unless they or the loss are not finite; see `check_finite`.

    Parameters
    ----------
    names : sequence of str
        What each of the numbers belongs to, for `NonFinite`.
    """

    __props__ = ("names",)

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def make_node(self, loss: Any, sums: Any) -> Apply:
        """Give the norm, and the factor 1 by which gradients come to depend on the check."""
        inputs = [tensor.as_tensor_variable(each) for each in (loss, sums)]
        return Apply(self, inputs, [tensor.dscalar(), tensor.bscalar()])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shapes of two scalars."""
        return [(), ()]

    def perform(self, node: Any, inputs: Sequence[Any], outputs: Sequence[list[Any]]) -> None:
        """Check what came from the device."""
        loss, sums = inputs
        if not (np.isfinite(loss) and np.all(np.isfinite(sums))):
            raise NonFinite(loss=float(loss), counts=[-int(not math.isfinite(each)) for each in sums])
        outputs[0][0] = np.asarray(math.sqrt(sums.sum()))
        outputs[1][0] = np.asarray(1, np.int8)


class Hold(Planned):
    """Pass a norm on, and read variables on the way; see `hold`."""

    __props__ = ()
    view_map = {0: [0]}  # noqa: RUF012 (Theano's form)

    def make_node(self, norm: Any, *variables: Any) -> Apply:
        """Give the norm. The variables stay on their device."""
        return Apply(self, [norm, *variables], [norm.type()])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shape of a scalar."""
        return [()]

    def perform(self, node: Any, inputs: Sequence[Any], outputs: Sequence[list[Any]]) -> None:
        """Pass it on."""
        outputs[0][0] = inputs[0]

    def kernel(self) -> str:
        """Pass it on."""
        return PASS


def check_finite(
    loss: Any, gradients: Sequence[Any], names: Sequence[str], *, on_cpu: bool | None = None
) -> tuple[list[Any], Any]:
    """Let gradients pass where they and the loss are finite; else raise `NonFinite` inside the function.

    The total norm n = √(Σ g²), over all elements of all gradients, is finite where they all are: squares are
    summed in float64, which holds the square of every float32. Where the sum of float64's squares overflows,
    the elements are looked at one by one.

    What is computed of the gradients given back is computed after the check. What is not, such as the running
    statistics of a layer, may be written before it, unless `hold` forbids that.

    Parameters
    ----------
    loss : symbolic scalar
        The loss whose gradients these are.
    gradients : sequence of symbolic tensors
        float32 or float64, of any shape.
    names : sequence of str
        What each gradient belongs to, for the error.
    on_cpu : bool, optional
        Whether they are computed by the CPU; where omitted, whether Theano's device is the CPU. There, one
        pass over their memory finds the norm, and the gradients are views of what they were. Elsewhere the
        device sums the squares, and the gradients are multiplied by 1 after the check.

    Returns
    -------
    gradients : list of symbolic tensors
        The same values and types.
    norm : symbolic scalar of float64
        n.

    Raises
    ------
    ValueError
        Where there is not one name for each gradient.
    """
    if len(names) != len(gradients):
        raise ValueError(f"there are {len(gradients)} gradients and {len(names)} names")
    if on_cpu is None:
        on_cpu = theano.config.device == "cpu"
    if on_cpu:
        norm, *passed = CheckFinite(names).make_node(loss, *gradients).outputs
        return passed, norm
    if not gradients:
        norm, _ = CheckSums(names)(loss, np.zeros(0))
        return [], norm
    squares = [tensor.sqr(gradient.astype("float64")).sum() for gradient in gradients]
    # Joined, and not stacked, so that the device does it, and one array is copied from it.
    sums = tensor.join(0, *(each.dimshuffle("x") for each in squares))
    norm, one = CheckSums(names)(loss, sums)
    return [gradient * one.astype(gradient.dtype) for gradient in gradients], norm


def hold(norm: Any, variables: Iterable[Any]) -> Any:
    """Keep shared variables as they are until their step was checked.

    Theano may compute the new value of a variable in its own memory, at any moment after its last reading;
    where a step is given up after that, the variable is changed. The norm given back reads all the variables
    after the check, so that nothing writes to their memory before it.

    Parameters
    ----------
    norm : symbolic scalar
        The norm that `check_finite` gave.
    variables : iterable of shared variables
        All that the compiled function updates.

    Returns
    -------
    symbolic scalar
        The norm, which must be an output of the compiled function.
    """
    return Hold()(norm, *variables)


def examine(arrays: Sequence[NDArray[Any]]) -> float:
    """Give the total norm of gradients, also of such whose squares overflow.

    Parameters
    ----------
    arrays : sequence of arrays
        The loss, and the gradients.

    Raises
    ------
    NonFinite
        Where one of their elements is not finite, or the loss.
    """
    loss, *gradients = arrays
    counts = [gradient.size - int(np.isfinite(gradient).sum()) for gradient in gradients]
    if any(counts) or not np.isfinite(loss):
        raise NonFinite(loss=float(loss), counts=counts)
    # By the largest one, a power of two, so that nothing is rounded.
    largest = max((float(np.abs(gradient).max(initial=0)) for gradient in gradients), default=0.0)
    scale = 2.0 ** (math.frexp(largest)[1] - 1)
    squares = (np.square(gradient.astype(float) / scale) for gradient in gradients)
    return scale * math.sqrt(sum(float(each.sum()) for each in squares))
