"""Theano's modules from our store: no lock, no pickled keys, and what a function lacks compiled side by side.

A module is found by what it is made of: its C++ text, the versions of its operations, the compiler and the
options. Theano's own cache finds it by a key of operations, and for that unpickles the keys of all modules at
each start; whenever it compiles, a lock keeps all other processes waiting.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import logging
import sys
import types
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

from trainer.runtime.remembered import digest, stamp
from trainer.runtime.store import Store
from trainer.runtime.workshop import LIGHT_STANDARD, Unit, Workshop

log = logging.getLogger(__name__)

_VERSION = "c_code_cache_version_apply"

_THEANOS_LEVEL = "-O3"
# To optimize what does not compute is half of the time that its compilation takes.
LIGHTLY = "-O1"
_ARRANGING = frozenset(
    {
        *("Alloc", "AllocEmpty", "DimShuffle", "MakeVector", "Rebroadcast", "Reshape", "Shape", "Shape_i"),
        *("ScalarFromTensor", "TensorFromScalar", "Dot22", "Dot22Scalar", "Gemm", "Gemv", "Ger"),
    }
)

# Each of Theano's functions that is called or replaced here, with the arguments that it must have.
_EXPECTED = {
    "theano.gof.cc": {
        "get_module_cache": "init_args",
        "CLinker.cmodule_key": "self",
        "CLinker.get_src_code": "self",
        "CLinker.get_dynamic_module": "self",
        "CLinker.accept": "self fgraph no_recycling profile",
        "CLinker.compile_cmodule": "self location",
    },
    "theano.gof.cmodule": {
        "ModuleCache.module_from_key": "self key lnk keep_lock",
        "GCC_compiler.compile_args": "march_flags",
        "get_gcc_shared_library_arg": "",
        "std_include_dirs": "",
        "std_lib_dirs": "",
        "std_libs": "",
    },
    "theano.gof.vm": {"VM_Linker.make_all": "self profiler input_storage output_storage storage_map"},
    "theano.gof.op": {
        "Op.make_thunk": "self node storage_map compute_map no_recycling impl",
        "Op.make_c_thunk": "self node storage_map compute_map no_recycling",
    },
}


# What a run will link after its first function; asked for where something has to be compiled.
_expected: list[Callable[[], Sequence[Any]]] = []


def expect(nodes: Callable[[], Sequence[Any]]) -> None:
    """Have the modules of some nodes compiled beside those of the first function that lacks one.

    Parameters
    ----------
    nodes : callable
        Gives them.
    """
    _expected.append(nodes)


class Modules:
    """What Theano asks for a module, in place of its own cache.

    Parameters
    ----------
    folder : Path
        Where the modules are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.workshop = Workshop(Store(folder))
        self._units: dict[Any, tuple[Unit, str]] = {}
        self._loaded: dict[Any, types.ModuleType] = {}
        self._functions: list[tuple[Any, list[bool]]] = []
        self._alone: Workshop | None = None
        self._until_exit = ExitStack()
        atexit.register(self._until_exit.close)

    def module_from_key(self, key: Any, lnk: Any = None, keep_lock: bool = False) -> types.ModuleType:
        """Return the module of a linker's graph: loaded, from the store, or compiled."""
        module = self._loaded.get(key)
        if module is None:
            unit, name = self._unit(key, lnk)
            path = self.workshop.store.find(unit.name)
            if path is None:
                self._order_ahead()
                path = self.workshop.get(unit)
            module = self._loaded[key] = load(path, name)
        return module

    def compile_alone(self, linker: Any) -> types.ModuleType:
        """Compile a module that is for this process alone."""
        if self._alone is None:
            folder = self._until_exit.enter_context(self.workshop.store.building())
            self._alone = Workshop(Store(folder))
        unit, name = unit_of(linker)
        return load(self._alone.get(unit), name)

    def refresh(self, *_: Any, **__: Any) -> list[str]:
        """Do nothing: whoever looks for a module sees what there is."""
        return []

    def link(self, linker: Any, link: Callable[[], Any]) -> Any:
        """Link a whole function; the first module that it lacks has all others compiled too."""
        self._functions.append((linker, []))
        try:
            return link()
        finally:
            self._functions.pop()

    def _unit(self, key: Any, linker: Any) -> tuple[Unit, str]:
        if key not in self._units:
            self._units[key] = unit_of(linker)
        return self._units[key]

    def _order_ahead(self) -> None:
        if not self._functions or self._functions[-1][1]:
            return
        linker, done = self._functions[-1]
        done.append(True)
        later = [node for nodes in _expected for node in nodes()]
        units = [self._unit_ahead(node) for node in (*linker.schedule(linker.fgraph), *later)]
        self.workshop.order([unit for unit in units if unit is not None])

    def _unit_ahead(self, node: Any) -> Unit | None:
        """Return the unit of a node's module, as linking will ask for it; None where it will not.

        An operation that links another node in its place says which by `compiled_ahead`.
        """
        from theano.gof import Op
        from theano.gof.cc import CLinker
        from theano.gof.fg import FunctionGraph

        if hasattr(node.op, "compiled_ahead"):
            node = node.op.compiled_ahead()
        if type(node.op).make_thunk is not Op.make_thunk:
            return None
        try:
            node.op.prepare_node(node, storage_map=None, compute_map=None, impl="c")
            linker = CLinker().accept(FunctionGraph(node.inputs, node.outputs), no_recycling=[])
            key = linker.cmodule_key()
            return None if key is None or not key[0] else self._unit(key, linker)[0]
        except Exception:
            # It has no C, or needs what only linking knows: its turn will come, with its error if it has one.
            return None


def unit_of(linker: Any) -> tuple[Unit, str]:
    """Return what a linker's module is made of, and the name that it is imported by."""
    source = linker.get_src_code()
    arguments = (linker.compile_args(), linker.header_dirs(), linker.lib_dirs(), linker.libraries())
    operations = [(node.op, node) for node in linker.node_order]
    versions = [op.c_code_cache_version_apply(node) for op, node in operations if hasattr(op, _VERSION)]
    level = LIGHTLY if all(_only_arranges(node) for node in linker.node_order) else ""
    unit = make_unit(source, *arguments, versions=versions, level=level)
    return unit, linker.get_dynamic_module().code_hash


def _only_arranges(node: Any) -> bool:
    """Tell whether an operation's time is not in its own C: views, the BLAS's work, a single number."""
    if type(node.op).__name__ in _ARRANGING:
        return True
    one_number = all(getattr(output.type, "ndim", 1) == 0 for output in node.outputs)
    return type(node.op).__name__ == "Elemwise" and one_number


def make_unit(
    source: str,
    arguments: Sequence[str],
    header_folders: Sequence[str] = (),
    library_folders: Sequence[str] = (),
    libraries: Sequence[str] = (),
    versions: Sequence[object] = (),
    level: str = "",
) -> Unit:
    """Return the unit of a source with the options that Theano gives its compiler, without debug symbols."""
    import theano
    from theano.gof import cmodule

    if theano.config.cmodule.remove_gxx_opt:
        arguments = [each for each in arguments if not each.startswith("-O")]
    warned = [] if theano.config.cmodule.compilation_warning else ["-w"]
    standard_given = any(each.startswith("-std=") for each in arguments)
    includes, folders, standard = _standard()
    options = (
        *warned,
        *(() if standard_given else (LIGHT_STANDARD,)),
        *arguments,
        *(f"-I{folder}" for folder in (*filter(None, header_folders), *includes)),
        *(f"-L{folder}" for folder in (*filter(None, library_folders), *folders)),
        "-fvisibility=hidden",
    )
    linked = (cmodule.get_gcc_shared_library_arg(), *(f"-l{name}" for name in (*libraries, *standard)))
    compiler = str(theano.config.cxx)
    if not compiler:
        raise cmodule.MissingGXX("g++ not available! We can't compile c code.")
    # A level of the user's own, in the flag gcc.cxxflags, is for all modules.
    if [option for option in options if option.startswith("-O")] != [_THEANOS_LEVEL]:
        level = ""
    made_of = [source, repr(versions), stamp(compiler), sorted(options), linked, _versions(), level]
    return Unit(digest(made_of, length=40), source, compiler, options, linked, level)


@functools.cache
def _standard() -> tuple[list[str], list[str], list[str]]:
    from theano.gof import cmodule

    return cmodule.std_include_dirs(), cmodule.std_lib_dirs(), cmodule.std_libs()


@functools.cache
def _versions() -> list[str]:
    import theano

    return [sys.version, np.__version__, theano.__version__]


def load(path: Path, name: str) -> types.ModuleType:
    """Import a compiled module from its file."""
    spec = spec_from_file_location(name, path, loader=ExtensionFileLoader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def install(modules: Modules) -> None:
    """Let Theano link with these modules; where it is not the Theano that is known, leave it as it is."""
    from theano.gof import cc, cmodule, vm

    strange = unexpected()
    if strange:
        log.info("this Theano's %s is not as it is known: modules are compiled its own way", strange)
        return
    theirs = cc.get_module_cache

    class Cache:
        """Ours for what GCC compiles and has a version; the rest as Theano has it."""

        refresh = modules.refresh

        def module_from_key(self, key: Any, lnk: Any = None, keep_lock: bool = False) -> Any:
            if lnk.c_compiler() is not cmodule.GCC_compiler:
                return theirs().module_from_key(key=key, lnk=lnk, keep_lock=keep_lock)
            if not key[0]:
                return modules.compile_alone(lnk)
            return modules.module_from_key(key, lnk)

    cache = Cache()
    cc.get_module_cache = lambda init_args=None: cache
    compile_cmodule = cc.CLinker.compile_cmodule

    def compiled(self: Any, location: str | None = None) -> Any:
        if self.c_compiler() is not cmodule.GCC_compiler:
            return compile_cmodule(self, location)
        return modules.compile_alone(self)

    cc.CLinker.compile_cmodule = compiled
    make_all = vm.VM_Linker.make_all

    @functools.wraps(make_all)
    def linked(self: Any, *arguments: Any, **options: Any) -> Any:
        return modules.link(self, lambda: make_all(self, *arguments, **options))

    vm.VM_Linker.make_all = linked


def unexpected() -> str:
    """Return the first of Theano's functions that is not as it is expected; empty where all are."""
    for module, functions in _EXPECTED.items():
        for place, arguments in functions.items():
            found: Any = sys.modules.get(module)
            for part in place.split("."):
                found = getattr(found, part, None)
            if not callable(found) or list(inspect.signature(found).parameters) != arguments.split():
                return f"{module}.{place}"
    return ""
