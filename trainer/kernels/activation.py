"""Bias, activation and dropout in one pass forward, and in one backward.

On the CPU a dense layer's, by C; on devices a convolution's too, by `trainer.kernels.device.activation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import theano
from numpy.typing import NDArray
from theano import tensor
from theano.gof import Apply
from theano.gradient import DisconnectedType

from trainer.activations import activation_named
from trainer.kernels.activation_rows import BACKWARD, DROP, FORWARD, FUNCTIONS, numbers, rows_of
from trainer.kernels.overwriting import Overwriting
from trainer.kernels.plans import Planned
from trainer.kernels.random_words import mask

Array = NDArray[Any]

# By name: the function in NumPy, and its slope by its value, which holds for symbolic values as well.
NUMPY: dict[str, tuple[Callable[[Array], Array], Callable[[Any], Any]]] = {
    "linear": (lambda x: x, lambda y: y * 0 + 1),
    "relu": (lambda x: x * (x > 0), lambda y: y > 0),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.01 * x), lambda y: (y > 0) * 0.99 + 0.01),
    "tanh": (np.tanh, lambda y: 1 - y * y),
    "sigmoid": (lambda x: 0.5 * np.tanh(0.5 * x) + 0.5, lambda y: y * (1 - y)),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), lambda y: 1 + y * (y <= 0)),
}


class _Rows(Overwriting, Planned):
    """An operation on whole rows, done by one kernel for each function.

    Attributes
    ----------
    function : str
        One of `FUNCTIONS`.
    """

    function: str = "linear"

    def kernel(self) -> str:
        """Give the C of all of them that have the same function."""
        return rows_of(self.function)

    def make_thunk(
        self, node: Any, storage_map: Any, compute_map: Any, no_recycling: Any, impl: Any = None
    ) -> Any:
        """Leave maps of units, which only devices have such passes for, to NumPy."""
        if node.inputs[0].ndim > 2 and not isinstance(self, Dropped):
            impl = "py"
        return super().make_thunk(node, storage_map, compute_map, no_recycling, impl)


class Dropped(_Rows):
    """Set elements to 0 by a random mask, and scale the others.

    Parameters
    ----------
    rate : float
        The probability of 0.
    in_place : bool, default False
        Whether the result may be written over the input.
    """

    __props__ = ("rate", "in_place")

    def __init__(self, rate: float, in_place: bool = False) -> None:
        self.rate = rate
        super().__init__(in_place)

    def overwriting(self) -> Dropped:
        """Give the operation that overwrites."""
        return Dropped(self.rate, True)

    def make_node(self, x: Any, state: Any) -> Apply:
        """From a tensor of floats and the stream's state, to the result and the following state."""
        return Apply(self, [x, state], [x.type(), tensor.lvector()])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shapes of the inputs."""
        return list(shapes)

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """Say that the result depends smoothly on x alone."""
        return [[True, False], [False, False]]

    def L_op(  # noqa: N802 (Theano's name)
        self, inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]
    ) -> list[Any]:
        """Give the gradient: the same mask applied to that of the result."""
        return [Dropped(self.rate)(gradients[0], inputs[1])[0], DisconnectedType()()]

    def R_op(  # noqa: N802 (Theano's name)
        self, inputs: Sequence[Any], points: Sequence[Any]
    ) -> list[Any]:
        """Give the derivative along a direction, by the same mask."""
        if points[0] is None:
            return [None, None]
        return [Dropped(self.rate)(points[0], inputs[1])[0], None]

    def numbers(self) -> Sequence[int]:
        """Give the plan's numbers."""
        return numbers(DROP, "linear", self.rate, self.in_place)

    def perform(self, node: Any, inputs: Sequence[Array], outputs: Sequence[list[Any]]) -> None:
        """Do in NumPy what the kernel does."""
        x, state = inputs
        outputs[0][0] = np.asarray(x * mask(state, self.rate, x.shape, x.dtype), x.dtype)
        outputs[1][0] = state + np.array([0, 1])


class Activated(_Rows):
    """Add a bias to each unit, apply a function, and drop elements by a random mask; see `activated`.

    Parameters
    ----------
    function : str
        One of `FUNCTIONS`.
    rate : float, default 0
        The probability that an element is dropped, for relu alone: whether it was can be seen in the result
        of no other function.
    in_place : bool, default False
        Whether the result may be written over the product.
    """

    __props__ = ("function", "rate", "in_place")

    def __init__(self, function: str, rate: float = 0.0, in_place: bool = False) -> None:
        self.function, self.rate = function, rate
        super().__init__(in_place)

    def overwriting(self) -> Activated:
        """Give the operation that overwrites."""
        return Activated(self.function, self.rate, True)

    def make_node(self, product: Any, bias: Any, *state: Any) -> Apply:
        """From values, a bias and with dropout a state to the values and the following state."""
        return Apply(self, [product, bias, *state], [product.type(), *(tensor.lvector() for _ in state)])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shape of the product, and of the state."""
        return [shapes[0], *shapes[2:]]

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """Say that the result depends smoothly on product and bias."""
        return [[place < 2, False][: len(node.outputs)] for place in range(len(node.inputs))]

    def L_op(  # noqa: N802 (Theano's name)
        self, inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]
    ) -> list[Any]:
        """Give the gradients, for which the result is enough."""
        found = ActivatedGradient(self.function, self.rate)(outputs[0], gradients[0])
        return [*found, *(DisconnectedType()() for _ in inputs[2:])]

    def numbers(self) -> Sequence[int]:
        """Give the plan's numbers."""
        return numbers(FORWARD, self.function, self.rate, self.in_place)

    def perform(self, node: Any, inputs: Sequence[Array], outputs: Sequence[list[Any]]) -> None:
        """Do in NumPy what the kernel does."""
        product, bias, *state = inputs
        value = NUMPY[self.function][0](product + bias.reshape(-1, *[1] * (product.ndim - 2)))
        if state:
            value = value * mask(state[0], self.rate, value.shape, value.dtype)
            outputs[1][0] = state[0] + np.array([0, 1])
        outputs[0][0] = np.asarray(value, product.dtype)


class ActivatedGradient(_Rows):
    """The gradients of `Activated` for its product and its bias, by its result and that one's gradient.

    Parameters
    ----------
    function : str
        As for `Activated`; `rate` and `in_place` too, which is about the gradient here.
    """

    __props__ = ("function", "rate", "in_place")
    overwritten: ClassVar[int] = 1

    def __init__(self, function: str, rate: float = 0.0, in_place: bool = False) -> None:
        self.function, self.rate = function, rate
        super().__init__(in_place)

    def overwriting(self) -> ActivatedGradient:
        """Give the operation that overwrites."""
        return ActivatedGradient(self.function, self.rate, True)

    def make_node(self, value: Any, gradient: Any) -> Apply:
        """From the values and their gradient to that of what was activated, and of the bias."""
        vector = tensor.TensorType(value.dtype, value.broadcastable[1:2])
        return Apply(self, [value, gradient], [gradient.type(), vector()])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shapes of the product and the bias."""
        return [shapes[0], (shapes[0][1],)]

    def L_op(  # noqa: N802 (Theano's name)
        self, inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]
    ) -> list[Any]:
        """Give the gradients of the gradients, by Theano's own operations."""
        value, gradient = inputs
        known = [
            each if not isinstance(each.type, DisconnectedType) else output.zeros_like()
            for each, output in zip(gradients, outputs, strict=True)
        ]
        reaching = known[0] + known[1].dimshuffle("x", 0, *["x"] * (value.ndim - 2))
        slope = self._slope(value)
        curvature = theano.grad(
            (reaching * gradient * slope).sum(),
            value,
            consider_constant=[reaching, gradient],
            disconnected_inputs="ignore",
        )
        return [curvature, reaching * slope]

    def _slope(self, value: Any) -> Any:
        return NUMPY[self.function][1](value) * np.asarray(1 / (1 - self.rate), value.dtype)

    def numbers(self) -> Sequence[int]:
        """Give the plan's numbers."""
        return numbers(BACKWARD, self.function, self.rate, self.in_place)

    def perform(self, node: Any, inputs: Sequence[Array], outputs: Sequence[list[Any]]) -> None:
        """Do in NumPy what the kernel does."""
        value, gradient = inputs
        found = np.asarray(gradient * self._slope(value), gradient.dtype)
        outputs[0][0] = found
        others = (0, *range(2, found.ndim))
        outputs[1][0] = found.sum(axis=others, dtype=np.float64).astype(found.dtype)


def activated(product: Any, bias: Any, function: str) -> Any:
    """Apply a bias and an activation to what a layer's units have summed up, in one pass.

    Forward y = φ(x + b). Backward, with g the gradient of y: ∂x = g ⊙ φ′, found from y, and ∂b = Σ ∂x over
    all but the units. On the CPU ∂b comes from the same pass, with float64 between pieces of 64 rows.
    `trainer.kernels.random` adds dropout to the same passes where φ is relu.

    Parameters
    ----------
    product : symbolic tensor, (examples, units, …)
        x.
    bias : symbolic vector, (units,)
        b.
    function : str
        The activation's name.

    Returns
    -------
    symbolic tensor of x's shape
        y; by Theano's operations where there is no such pass, for other dtypes, functions and shapes.
    """
    product, bias = tensor.as_tensor_variable(product), tensor.as_tensor_variable(bias)
    on_cpu = str(theano.config.device) == "cpu"
    served = (
        function in FUNCTIONS[1:]
        and product.dtype == bias.dtype
        and product.dtype in ("float32", "float64")
        and (product.ndim == 2 or not on_cpu)
        and not any(product.broadcastable + bias.broadcastable)
    )
    if not served:
        biased = product + bias.dimshuffle("x", 0, *["x"] * (product.ndim - 2))
        return activation_named(function)(biased)
    if not on_cpu:
        from trainer.kernels.device import activation as _activation  # noqa: F401 (Theano learns to use it)
    return Activated(function)(product, bias)
