"""Theano's code for devices, mended where a compiler refuses it; and what a device refuses all the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

# What Theano puts before an error that it meets while it makes a function's operations ready.
_COMPILING = "The following error happened while compiling the node"
_NOT_OF_A_KERNEL = "Compilation failed (return status="
_ERROR = re.compile(r"error: *(?:\S+:\d+:\d+: *)?(.+)")
_LONGEST = 120  # characters of an operation's name, which holds its whole formula
_LOCAL = re.compile(r"^ +LOCAL_MEM [\w ,]+;\n", re.MULTILINE)
_BODY = re.compile(r"^ *KERNEL void [^{]*\{\n", re.MULTILINE)


def mend() -> None:
    """Have it mended in this process, once Theano is imported with a device."""
    from theano.gpuarray.elemwise import GpuElemwise
    from theano.gpuarray.nnet import GpuCrossentropySoftmaxArgmax1HotWithBias

    _change(GpuCrossentropySoftmaxArgmax1HotWithBias, "gpu_kernels", _with_local_variables_first)
    _change(GpuElemwise, "_generate_op_string", lambda texts: tuple(map(spoken_by_both, texts)))
    # Where a kernel is refused, Theano frees the kernel that there is not, and the process dies.
    _change(GpuElemwise, "c_support_code_struct", lambda code: code.replace("*ge;", "*ge = NULL;"))
    _change(GpuElemwise, "c_cleanup_code_struct", lambda code: f"if (ge != NULL) {{ {code} }}")


def _change(operation: type, method: str, change: Callable[[Any], Any]) -> None:
    """Have what a method returns changed on its way."""
    original: Callable[..., Any] = getattr(operation, method)

    def changed(self: Any, *arguments: Any) -> Any:
        return change(original(self, *arguments))

    setattr(operation, method, changed)


def _with_local_variables_first(kernels: list[Any]) -> list[Any]:
    for kernel in kernels:
        kernel.code = local_variables_first(kernel.code)
    return kernels


def local_variables_first(code: str) -> str:
    r"""Move the declarations of a work group's common variables to the kernel's first lines.

    OpenCL C (6.5.2) has them in the outermost scope of a kernel alone; for CUDA both are the same.

    >>> print(local_variables_first("KERNEL void k(int n)\n{\n  if (n) {\n    LOCAL_MEM int sum;\n  }\n}"))
    KERNEL void k(int n)
    {
        LOCAL_MEM int sum;
      if (n) {
      }
    }
    """
    body = _BODY.search(code)
    if body is None:
        return code
    rest = code[body.end() :]
    return code[: body.end()] + "".join(_LOCAL.findall(rest)) + _LOCAL.sub("", rest)


def spoken_by_both(code: str) -> str:
    """Write "not a number" so that OpenCL's compilers know it too: their `nan` takes a number, not a text.

    >>> spoken_by_both('x >= y ? x : nan("")')
    'x >= y ? x : (0.0f / 0.0f)'
    """
    return code.replace('nan("")', "(0.0f / 0.0f)")


def refusal_of(error: BaseException) -> str | None:
    """Return what a device refused and why, where an error of Theano's is of a kernel; else None.

    >>> refusal_of(ValueError("another"))
    """
    said = [str(each) for each in error.args]
    if len(said) < 4 or said[0] != _COMPILING or _NOT_OF_A_KERNEL in said[3]:
        return None
    operation = str(getattr(error.args[1], "op", ""))
    if not operation.startswith("Gpu"):
        return None
    found = _ERROR.search(said[3])
    why = found[1].strip() if found else said[3].strip().splitlines()[0]
    cut = operation if len(operation) <= _LONGEST else f"{operation[:_LONGEST]}…"
    return f"{cut} ({why})"


def is_without_reason(refused: str) -> bool:
    """Tell whether OpenCL refused a kernel and gave no reason for it.

    >>> is_without_reason("GpuElemwise{add} (GpuKernel_init error 3: clBuildProgram: Unknown error)")
    True
    """
    return "clBuildProgram: Unknown error" in refused
