"""Theano's compiled modules, kept from one start to the next."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.runtime.compiler import Compiler
from trainer.runtime.remembered import digest, remember, stamp


class _NoProperties(tuple[()]):
    """An empty tuple that counts as true, and that another process reads as a plain one."""

    def __bool__(self) -> bool:
        return True

    def __reduce__(self) -> tuple[type[tuple[()]], tuple[()]]:
        return (tuple, ())


def keep_modules() -> None:
    """Let the compile cache find again what an earlier process compiled."""
    _count_operations_without_properties()
    _name_sources_alike()


def _count_operations_without_properties() -> None:
    """Let operations that have no properties, `Dot22` and `Softmax` among them, be kept.

    Theano takes an empty `__props__` for a missing version number, compiles such an operation anew in each
    process, and throws the module away at its end.
    """
    from theano.gof.cc import CLinker

    original: Callable[..., Any] = CLinker.cmodule_key_
    empty = _NoProperties()

    def cmodule_key_(self: Any, fgraph: Any, *arguments: Any, **options: Any) -> Any:
        for node in fgraph.toposort():
            operation = type(node.op)
            if getattr(operation, "__props__", None) == ():
                operation.__props__ = empty
        return original(self, fgraph, *arguments, **options)

    CLinker.cmodule_key_ = cmodule_key_


def _name_sources_alike() -> None:
    """Give operations that read their C from a file, `DimShuffle` for one, the same version in each process.

    Theano makes it of Python's hash of the text, which is another in each process.
    """
    from theano.gof.op import COp

    original: Callable[..., tuple[Any, ...]] = COp.c_code_cache_version

    def c_code_cache_version(self: Any) -> tuple[Any, ...]:
        return (digest(list(self.func_codes)), *original(self)[1:])

    COp.c_code_cache_version = c_code_cache_version


def remember_processor_options(compiler: Compiler, cache: Path) -> None:
    """Spare each start the four processes by which Theano finds the compiler's options for this processor."""
    from theano.gof.cmodule import GCC_compiler

    if GCC_compiler.march_flags is not None:
        return

    def probe() -> list[str]:
        GCC_compiler.compile_args()
        return list(GCC_compiler.march_flags or [])

    GCC_compiler.march_flags = remember(cache, "processor", [stamp(compiler.path), _processor()], probe)


def _processor() -> str:
    try:
        # The first processor's lines say model and features; a cache may be shared with another machine.
        with Path("/proc/cpuinfo").open() as lines:
            text = lines.read(8192).split("\n\n", 1)[0]
    except OSError:
        return f"{platform.node()} {platform.machine()}"
    volatile = ("cpu MHz", "bogomips", "processor", "core id", "apicid", "initial apicid", "physical id")
    return "\n".join(line for line in text.splitlines() if not line.startswith(volatile))


def keep_scan_working() -> None:
    """Let `theano.scan` loop in Python where its C cannot be compiled; the steps themselves stay compiled.

    The C of the loop was generated for Pythons before 3.11, and Theano goes on only if it is missing.
    """
    if sys.version_info >= (3, 11):
        sys.modules["theano.scan_module.scan_perform_ext"] = None  # type: ignore[assignment]


def use_compiled_code() -> None:
    """Let Theano run compiled code also where there is no g++, but another compiler.

    Theano looks for g++ whatever compiler it is given, and without it goes on in Python alone.
    """
    import theano

    parameter = vars(type(theano.config))["linker"]
    if parameter.is_default and "cvm" not in parameter.all:
        parameter.all = ("cvm", "c|py", "py", "c", "c|py_nogc", "vm", "vm_nogc", "cvm_nogc")
        theano.config.linker = "cvm"
