"""Whether a compiled function's matrix products really call the linked BLAS."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

from trainer.errors import UsageError
from trainer.runtime.loaded import source

_PRODUCTS = {
    "Gemm": "gemm_",
    "Dot22": "gemm_",
    "Dot22Scalar": "gemm_",
    "BatchedDot": "gemm_",
    "Gemv": "gemv_",
    "CGemv": "gemv_",
    "Ger": "ger_",
    "CGer": "ger_",
    "ScipyGer": "ger_",
    "CorrMM": "gemm_",
    "CorrMM_gradWeights": "gemm_",
    "CorrMM_gradInputs": "gemm_",
    "Corr3dMM": "gemm_",
    "Corr3dMM_gradWeights": "gemm_",
    "Corr3dMM_gradInputs": "gemm_",
}
# Those of our own call no library but for shapes that it is better at.
_OWN = ("Product", "ActivatedProduct", "ProductGradient")
_PRECISIONS = {"float32": "s", "float64": "d"}
_CURE = (
    "look with trainer-doctor, and leave blas.ldflags, mode, linker and optimizer "
    "out of THEANO_FLAGS and .theanorc"
)


def products(function: Any) -> Iterator[tuple[Any, str | None]]:
    """Yield each matrix product of a compiled function, and the file of its compiled module.

    The inner functions of `scan` are included. The file is None where the product runs in Python.
    """
    nodes, thunks = _program(function)
    for node, thunk in zip(nodes, thunks, strict=True):
        if type(node.op).__name__ in (*_PRODUCTS, *_OWN) or _unconverted(node):
            compiled = getattr(getattr(thunk, "thunk", thunk), "module", None)
            yield node, getattr(compiled, "__file__", None)
        inner = getattr(node.op, "fn", None)
        if hasattr(inner, "maker"):
            yield from products(inner)


def check(function: Any, prefix: str, library: str) -> None:
    """Check that each matrix product of a compiled function calls `library`.

    Parameters
    ----------
    function : theano.compile.function_module.Function
        Compiled for the CPU or a GPU; products on a GPU are that library's matter.
    prefix : str
        What stands before each symbol's name in the library.
    library : str
        The file that must hold the function called.

    Raises
    ------
    UsageError
        For a product that runs in Python, in NumPy, or in another library.
    """
    for node, file in products(function):
        name = type(node.op).__name__
        precision = _PRECISIONS.get(node.outputs[0].dtype)
        if precision is None:
            continue
        if file is None:
            raise UsageError(f"The matrix product {name} runs in NumPy, not in the BLAS library: {_CURE}")
        if name in _OWN:
            continue
        used = source(ctypes.CDLL(file), f"{prefix}{precision}{_PRODUCTS[name]}")
        if used is None:
            raise UsageError(
                f"The matrix product {name} was compiled without a BLAS library and is slow: {_CURE}"
            )
        if used != library:
            raise UsageError(
                f"The matrix product {name} calls {used}, not {library} that was chosen: {_CURE}"
            )


def _unconverted(node: Any) -> bool:
    """Tell a product of matrices that Theano's optimiser should have given to BLAS, and did not."""
    types = [variable.type for variable in node.inputs]
    return (
        type(node.op).__name__ == "Dot"
        and all(kind.ndim == 2 for kind in types)
        and types[0].dtype == types[1].dtype
    )


def _program(function: Any) -> tuple[list[Any], list[Any]]:
    machine = function.fn
    if hasattr(machine, "thunks") and hasattr(machine, "nodes"):
        return list(machine.nodes), list(machine.thunks)
    # Linkers that make one module of the whole graph keep that module on the function itself.
    nodes = list(function.maker.fgraph.toposort())
    return nodes, [machine] * len(nodes)
