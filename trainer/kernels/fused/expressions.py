"""Which expressions a fused kernel computes, seen from one tensor: streams, rows, columns and scalars."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import theano
from theano import tensor
from theano.gof.utils import MethodNotDefined
from theano.tensor.elemwise import DimShuffle, Elemwise

Pattern = tuple[bool, ...]

# Half precision has no arithmetic in C, and complex numbers none in these kernels.
_DTYPES = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64"),
}
_FAIL = "TRAINER_FAIL"


def is_scalar(variable: Any) -> bool:
    """Tell whether a variable has one element by its type."""
    return isinstance(variable.type, tensor.TensorType) and all(variable.broadcastable)


def plain(variable: Any) -> Any:
    """Give the variable that a scalar is made of by a change of its number of dimensions alone."""
    while is_scalar(variable) and variable.owner is not None:
        node = variable.owner
        shuffled = isinstance(node.op, DimShuffle) and is_scalar(node.inputs[0])
        filled = isinstance(node.op, tensor.Alloc) and len(node.inputs) == 1 and is_scalar(node.inputs[0])
        if not (shuffled or filled):
            break
        variable = node.inputs[0]
    return variable


def literal(variable: Any) -> str | None:
    """Give a constant of one element as a number of C, or None for anything else."""
    if not isinstance(variable, theano.gof.Constant) or not is_scalar(variable):
        return None
    if variable.dtype not in _DTYPES:
        return None
    value = np.asarray(variable.data).reshape(-1)[0].item()
    if isinstance(value, (bool, int)):
        return f"((npy_{variable.dtype}){int(value)}{'LL' if abs(int(value)) > 2**31 - 1 else ''})"
    if np.isfinite(value):
        return f"((npy_{variable.dtype}){float(value)!r})"
    if np.isnan(value):
        return f"((npy_{variable.dtype})NAN)"
    return f"((npy_{variable.dtype}){'-' if value < 0 else ''}INFINITY)"


def is_elementwise(node: Any) -> bool:
    """Tell whether a node is one that C computes for each element by itself."""
    return (
        node is not None
        and isinstance(node.op, Elemwise)
        and len(node.outputs) == 1
        and all(isinstance(each.type, tensor.TensorType) for each in node.inputs)
        and statement(node, [f"x{place}" for place in range(len(node.inputs))], "z") is not None
    )


def statement(node: Any, inputs: list[str], output: str) -> str | None:
    """Give the C by which an elementwise node computes one element, or None where there is none to be had."""
    dtypes = tuple(each.dtype for each in node.inputs)
    if not {*dtypes, node.outputs[0].dtype} <= _DTYPES:
        return None
    template = _template(node.op.scalar_op, dtypes, node.outputs[0].dtype)
    if template is None:
        return None
    for place, name in enumerate(inputs):
        template = template.replace(f"@{place}@", name)
    return template.replace("@z@", output)


@lru_cache(maxsize=1024)
def _template(operation: Any, dtypes: tuple[str, ...], dtype: str) -> str | None:
    own = _OWN.get(type(operation).__name__)
    if own is not None and len(dtypes) == 2:
        return own
    try:
        node = operation.make_node(*(theano.scalar.Scalar(each)() for each in dtypes))
        if node.outputs[0].type.dtype != dtype or _support(operation, node):
            return None
        names = [f"@{place}@" for place in range(len(dtypes))]
        code = operation.c_code(node, "fused", names, ["@z@"], {"fail": _FAIL, "params": ""})
    except (MethodNotDefined, NotImplementedError, TypeError):
        return None
    if _FAIL in code or "{" in code:
        return None
    return str(code)


# As Theano's, without the call that makes its NaN, and with one choice, which stays a loop for vectors.
_OWN = {
    "Maximum": "@z@ = ((@1@ > @0@) | (@1@ != @1@)) ? @1@ : @0@;",
    "Minimum": "@z@ = ((@1@ < @0@) | (@1@ != @1@)) ? @1@ : @0@;",
}


def _support(operation: Any, node: Any) -> bool:
    """Tell whether the C of a scalar operation wants more than itself."""
    for method, arguments in (
        ("c_support_code", ()),
        ("c_support_code_apply", (node, "fused")),
        ("c_libraries", ()),
    ):
        try:
            if getattr(operation, method)(*arguments):
                return True
        except (MethodNotDefined, AttributeError):
            pass
    return False


def is_total(node: Any) -> bool:
    """Tell whether a node sums all elements of a tensor, in double precision."""
    if node is None or not isinstance(node.op, tensor.Sum):
        return False
    (given,), (result,) = node.inputs, node.outputs
    axes = node.op.axis
    over = range(given.ndim) if axes is None else axes
    return (
        not is_scalar(given)
        and given.dtype in ("float32", "float64")
        and result.dtype in ("float32", "float64")
        and (node.op.acc_dtype or "float64") == "float64"
        and all(axis in over for axis, one in enumerate(given.broadcastable) if not one)
        and is_scalar(result)
    )


def split_of(pattern: Pattern, partial: Pattern) -> tuple[str, int] | None:
    """Tell how a tensor of one pattern lies along another: as rows or columns, from which axis on.

    ``("row", k)``: its elements vary along the axes from k on alone; ``("column", k)``: along those before k.
    None where neither is so.
    """
    if len(pattern) != len(partial):
        return None
    varies = [not one for one in partial]
    matters = [not one for one in pattern]
    if any(v and not m for v, m in zip(varies, matters, strict=True)):
        return None
    for split in range(1, len(pattern)):
        if not any(varies[:split]) and varies[split:] == matters[split:]:
            return "row", split
        if not any(varies[split:]) and varies[:split] == matters[:split]:
            return "column", split
    return None
