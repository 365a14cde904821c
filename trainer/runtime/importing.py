"""Theano's import without what no run needs: half of SciPy, probes of the compiler, compilations.

Theano imports the whole of `scipy.stats`, `scipy.special`, `scipy.signal` and `scipy.linalg` for operations
that few graphs have. While it is imported, stand-ins take their places; `scipy` itself then brings each of
them in when it is first asked for.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

Action = Callable[[types.ModuleType], None]

_UNUSED = ("scipy.special", "scipy.stats", "scipy.linalg", "scipy.linalg.blas")
# What Theano wants of them has left them long ago; to find that out, it would import `scipy.signal`.
_GONE = ("scipy.signal.signaltools", "scipy.signal.sigtools")


@contextmanager
def quickly(before: Mapping[str, Action], after: Mapping[str, Action]) -> Iterator[None]:
    """Import Theano faster, and act around the imports of some of its modules.

    Parameters
    ----------
    before, after : mapping
        What is called with a module, by its name, just before and after its code is run.
    """
    finder = _Finder(before, after)
    sys.meta_path.insert(0, finder)
    try:
        with _stand_ins(), _python_s_distutils(), _no_collections():
            yield
    finally:
        sys.meta_path.remove(finder)


class _Finder:
    """Finds the modules that something is to be done around, as Python itself would."""

    def __init__(self, before: Mapping[str, Action], after: Mapping[str, Action]) -> None:
        self.before, self.after = before, after

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.before and name not in self.after:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            self.before.get(name, _nothing)(module)
            run(module)
            self.after.get(name, _nothing)(module)

        setattr(spec.loader, "exec_module", exec_module)  # noqa: B010 (one loader, not its class)
        return spec


def _nothing(module: types.ModuleType) -> None:
    pass


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Let what Theano imports for rare operations wait until one of these is computed in Python."""
    if any(name in sys.modules for name in (*_UNUSED, *_GONE)) or not _brings_submodules():
        yield
        return
    placed: dict[str, types.ModuleType | None] = {name: types.ModuleType(name) for name in _UNUSED}
    blas = placed["scipy.linalg.blas"] = _Blas("scipy.linalg.blas")
    vars(placed["scipy.linalg"])["blas"] = blas
    placed.update(dict.fromkeys(_GONE))
    sys.modules.update(placed)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in placed:
            del sys.modules[name]


class _PythonsOwn:
    """Finds the `distutils` that Python itself brings, before setuptools puts its own in that place."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, path, target) if name == "distutils" else None


@contextmanager
def _python_s_distutils() -> Iterator[None]:
    """Give Theano, which asks `distutils` for a folder or two, Python's own.

    Where setuptools is installed it stands in for it, and that brings half a web client along: a twentieth of
    a start. What else asks for `distutils` later in this process is given setuptools' as ever.
    """
    if any(name in sys.modules for name in ("distutils", "setuptools")):
        yield
        return
    finder = _PythonsOwn()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "distutils"]:
            del sys.modules[name]


def _brings_submodules() -> bool:
    """Tell whether this SciPy imports a submodule by itself where it is asked for one."""
    return hasattr(importlib.import_module("scipy"), "__getattr__")


class _Blas(types.ModuleType):
    """Gives, for each routine, a function that calls SciPy's own."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "fblas":
            raise AttributeError(name)

        def routine(*arguments: Any, **options: Any) -> Any:
            return getattr(importlib.import_module("scipy.linalg.blas"), name)(*arguments, **options)

        return routine


@contextmanager
def _no_collections() -> Iterator[None]:
    """Spare the collector the many objects that an import makes, all of which stay."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collected:
            gc.enable()
