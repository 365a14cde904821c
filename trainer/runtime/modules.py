"""Theano, mended from outside: its modules kept, its probes remembered, its compiled code used."""

from __future__ import annotations

import importlib
import inspect
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

from trainer.runtime.beginnings import before_imports
from trainer.runtime.compiler import Compiler
from trainer.runtime.importing import Action, quickly
from trainer.runtime.linking import Modules, install
from trainer.runtime.remembered import digest, remember, stamp


class _NoProperties(tuple[()]):
    """An empty tuple that counts as true."""

    def __bool__(self) -> bool:
        return True


class TheanoImport:
    """What is done before, while and after Theano is imported.

    Parameters
    ----------
    compiler : Compiler
        What compiles.
    cache : Path
        The compile cache's folder.
    """

    def __init__(self, compiler: Compiler, cache: Path) -> None:
        self._compiler, self._cache = compiler, cache
        self._modules: Modules | None = None

    def __enter__(self) -> None:
        after: dict[str, Action] = {"theano.misc.windows": lambda _: _remember_answers(self._cache)}
        self._quickly = quickly(before_imports(self._ready), after)
        self._quickly.__enter__()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                # Theano itself imports it with the first graph.
                importlib.import_module("theano.gof.cutils")
                _count_operations_without_properties()
                _name_sources_alike()
                _name_callers_cheaply()
                _fold_views_in_python()
                install(self._ready())
        finally:
            self._quickly.__exit__(None, None, None)

    def _ready(self) -> Modules:
        """Return the cache of modules, once Theano knows its own folder for them."""
        import theano

        if self._modules is None:
            remember_processor_options(self._compiler, self._cache)
            self._modules = Modules(Path(theano.config.compiledir) / "modules")
            self._modules.workshop.store.tidy()
        return self._modules


def _remember_answers(cache: Path) -> None:
    """Spare each start the processes by which Theano finds out whether there is a compiler, and which."""
    from theano.misc import windows

    def remembering(name: str) -> None:
        ask: Callable[..., Any] = getattr(windows, name)

        def answer(command: list[str], **options: Any) -> Any:
            program = shutil.which(command[0])
            if program is None or options or command[1:] not in (["-v"], ["-dumpversion"]):
                return ask(command, **options)

            def probe() -> Any:
                found = ask(command)
                return found if isinstance(found, int) else [found[0].decode(), found[1].decode(), found[2]]

            known = remember(cache, "answer", [name, *command[1:], stamp(program)], probe)
            return known if isinstance(known, int) else (known[0].encode(), known[1].encode(), known[2])

        setattr(windows, name, answer)

    for name in ("call_subprocess_Popen", "output_subprocess_Popen"):
        remembering(name)


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


def _name_callers_cheaply() -> None:
    """Spare a rejected step of the optimizer a search through the files of all modules.

    Theano asks `inspect` for everything about its caller, of which it reads the function's name.
    """
    from theano.gof import toolbox

    def getframeinfo(frame: FrameType) -> SimpleNamespace:
        return SimpleNamespace(function=frame.f_code.co_name)

    toolbox.inspect = SimpleNamespace(currentframe=inspect.currentframe, getframeinfo=getframeinfo)


def _fold_views_in_python() -> None:
    """Have the views of constants that the optimizer computes made without a module of C.

    To compile one takes the better part of a second, in which nothing else is compiled, for one array.
    """
    from theano.compile.ops import Rebroadcast
    from theano.tensor.basic import Reshape, ScalarFromTensor, TensorFromScalar
    from theano.tensor.elemwise import DimShuffle
    from theano.tensor.opt import MakeVector
    from theano.tensor.subtensor import Subtensor

    for kind in (DimShuffle, MakeVector, Rebroadcast, Reshape, ScalarFromTensor, Subtensor, TensorFromScalar):
        if not hasattr(kind, "python_constant_folding"):
            kind.python_constant_folding = lambda self, node: True


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
