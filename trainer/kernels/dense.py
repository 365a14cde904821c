"""Matrix products of our own on the CPU, with a dense layer's bias and activation in the same pass."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray
from theano import tensor
from theano.compile import optdb
from theano.gof import Apply
from theano.gof.opt import Optimizer
from theano.gof.toolbox import ReplaceValidate
from theano.tensor.blas import Dot22
from theano.tensor.elemwise import DimShuffle

from trainer import runtime
from trainer.kernels.activation import NUMPY, Activated, ActivatedGradient
from trainer.kernels.activation_rows import FUNCTIONS
from trainer.kernels.dense_code import ACTIVATED, CODE, GRADIENT, PRODUCT
from trainer.kernels.plans import Planned

Array = NDArray[Any]
Turned = tuple[bool, bool]


class Product(Planned):
    """The product of two float32 matrices, each of which may be turned (transposed) first.

    Parameters
    ----------
    turned : pair of bool
        Whether the left and the right factor are.
    """

    __props__: tuple[str, ...] = ("turned",)
    place = PRODUCT
    function = "linear"
    rate = 0.0

    def __init__(self, turned: Turned) -> None:
        self.turned = turned

    def kernel(self) -> str:
        """Give the C of all of them."""
        return CODE

    def numbers(self) -> list[int]:
        """Give the plan's numbers."""
        (scale,) = struct.unpack("<q", struct.pack("<d", 1 / (1 - self.rate)))
        return [self.place, FUNCTIONS.index(self.function), scale, *map(int, self.turned), _library()]

    def make_node(self, *inputs: Any) -> Apply:
        """From two matrices to their product."""
        return Apply(self, list(inputs), [self._type(*inputs)()])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the product's shape."""
        (left, right), (turned_left, turned_right) = shapes[:2], self.turned
        return [(left[1] if turned_left else left[0], right[0] if turned_right else right[1])]

    def perform(self, node: Any, inputs: Sequence[Array], outputs: Sequence[list[Any]]) -> None:
        """Multiply in NumPy."""
        outputs[0][0] = self._multiplied(*inputs[:2])

    def _type(self, left: Any, right: Any) -> Any:
        (turned_left, turned_right) = self.turned
        sides = (left.broadcastable[int(turned_left)], right.broadcastable[int(not turned_right)])
        return tensor.TensorType("float32", sides)

    def _multiplied(self, left: Array, right: Array) -> Array:
        found: Array = np.dot(left.T if self.turned[0] else left, right.T if self.turned[1] else right)
        return found


class ActivatedProduct(Product):
    """φ(left · right + bias): the product, and what `Activated` does without dropout, in one pass.

    Parameters
    ----------
    turned : pair of bool
        As for `Product`.
    function : str
        φ, as for `Activated`.
    """

    __props__ = ("turned", "function")
    place = ACTIVATED

    def __init__(self, turned: Turned, function: str) -> None:
        super().__init__(turned)
        self.function = function

    def make_node(self, *inputs: Any) -> Apply:
        """From two matrices and a vector, the bias, to a matrix."""
        return Apply(self, list(inputs), [self._type(*inputs[:2])()])

    def perform(self, node: Any, inputs: Sequence[Array], outputs: Sequence[list[Any]]) -> None:
        """Do in NumPy what the kernel does."""
        found = NUMPY[self.function][0](self._multiplied(*inputs[:2]) + inputs[2])
        outputs[0][0] = np.asarray(found, np.float32)


class ProductGradient(Product):
    """What `ActivatedGradient` does, in the pass of the product left · right that is its gradient.

    Parameters
    ----------
    turned : pair of bool
        As for `Product`.
    function : str
        As for `ActivatedGradient`; `rate` too.
    """

    __props__ = ("turned", "function", "rate")
    place = GRADIENT

    def __init__(self, turned: Turned, function: str, rate: float) -> None:
        super().__init__(turned)
        self.function, self.rate = function, rate

    def make_node(self, *inputs: Any) -> Apply:
        """From two matrices and the activation's values to the two gradients."""
        matrix = self._type(*inputs[:2])
        vector = tensor.TensorType("float32", matrix.broadcastable[1:])
        return Apply(self, list(inputs), [matrix(), vector()])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shapes of both."""
        (shape,) = super().infer_shape(node, shapes)
        return [shape, shape[1:]]

    def perform(self, node: Any, inputs: Sequence[Array], outputs: Sequence[list[Any]]) -> None:
        """Do in NumPy what the kernel does."""
        slope = NUMPY[self.function][1](inputs[2]) * np.float32(1 / (1 - self.rate))
        found = np.asarray(self._multiplied(*inputs[:2]) * slope, np.float32)
        outputs[0][0] = found
        outputs[1][0] = found.sum(axis=0, dtype=np.float64).astype(np.float32)


@cache
def _library() -> int:
    """Return the address of the library's product, for shapes that it is better at; 0 where there is none."""
    ready = runtime.current()
    if ready is None:
        return 0
    function = getattr(ctypes.CDLL(ready.blas.file), f"{ready.blas.prefix}sgemm_", None)
    return ctypes.cast(function, ctypes.c_void_p).value or 0 if function else 0


def product(left: Any, right: Any) -> Any:
    """Multiply two matrices, of which each may be a transpose.

    Symbolically this is Theano's `dot`, with its derivatives. In a function that is compiled for the CPU,
    float32 products become `Product`, and a bias and an activation beside them join it: `OwnProducts`. The
    terms of a sum are added in their order, by fused multiply-adds in float32, in blocks of 1024: the same
    bits for any number of threads. Matrices of fewer than 8 rows, and products of processors without AVX-512,
    are left to the library.

    Where most of `left` is zero, as dark places of pictures, rectified units and dropout make it, its zeros
    are passed over. That changes no bit of a finite result; but such a zero adds nothing either where it
    would meet an infinity or what is not a number.

    Parameters
    ----------
    left : symbolic matrix, (m, k)
        Of any dtype.
    right : symbolic matrix, (k, n)
        Likewise.

    Returns
    -------
    symbolic matrix, (m, n)
        left · right.
    """
    return tensor.dot(left, right)


class OwnProducts(Optimizer):  # type: ignore[misc]
    """Let the matrix products of a graph, and dense layers around them, be done by the operations above.

    The graph keeps Theano's own `Dot22` for other dtypes and devices, and where there is no compiler;
    everywhere with the Theano flag `optimizer_excluding=own_products`.
    """

    def add_requirements(self, fgraph: Any) -> None:
        """Let the graph check what is replaced."""
        fgraph.attach_feature(ReplaceValidate())

    def apply(self, fgraph: Any) -> None:
        """Replace products, then what stands beside a product that nothing else needs."""
        if str(theano.config.device) != "cpu" or not (theano.config.cxx and theano.config.blas.ldflags):
            return
        for node in list(fgraph.toposort()):
            if isinstance(node.op, Dot22) and node.outputs[0].dtype == "float32":
                _replace(fgraph, node, _product(node))
        for node in list(fgraph.toposort()):
            made = _joined(fgraph, node)
            if made is not None:
                _replace(fgraph, node, made)


def _product(node: Any) -> list[Any]:
    factors, turned = zip(*(_straight(factor) for factor in node.inputs), strict=True)
    return [Product(turned)(*factors)]


def _straight(factor: Any) -> tuple[Any, bool]:
    """Return a matrix, or that which it is the transpose of, and whether it is."""
    made = factor.owner
    if made and isinstance(made.op, DimShuffle) and tuple(made.op.new_order) == (1, 0):
        return made.inputs[0], True
    return factor, False


def _joined(fgraph: Any, node: Any) -> list[Any] | None:
    if isinstance(node.op, Activated) and not node.op.rate:
        made = _alone(fgraph, node.inputs[0])
        if made:
            return [ActivatedProduct(made.op.turned, node.op.function)(*made.inputs, node.inputs[1])]
    if isinstance(node.op, ActivatedGradient):
        value, gradient = node.inputs
        made = _alone(fgraph, gradient)
        if made:
            operation = ProductGradient(made.op.turned, node.op.function, node.op.rate)
            return list(operation(*made.inputs, value))
    return None


def _alone(fgraph: Any, variable: Any) -> Any:
    """Return the product that a variable is, if nothing but one operation needs it."""
    made = variable.owner
    single = type(made.op) is Product and len(fgraph.clients(variable)) == 1 if made else False
    return made if single else None


def _replace(fgraph: Any, node: Any, made: list[Any]) -> None:
    pairs = list(zip(node.outputs, made, strict=True))
    fgraph.replace_all_validate(pairs, reason="own_products")


# After the matrix products' own (1.7), before the fusion of elementwise operations (49).
if "own_products" not in optdb.__db__:
    optdb.register("own_products", OwnProducts(), 48.9, "fast_run")
