"""Libraries compiled side by side, each by a process of the compiler."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import random
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trainer.runtime.prelude import Prelude
from trainer.runtime.store import Store
from trainer.runtime.threads import cores

log = logging.getLogger(__name__)

# So many libraries with the same options repay the compilation of their common headers.
_WORTH_A_PRELUDE = 4

# The headers of C++17, GCC's default, are a tenth of the time. Code that needs them is compiled with them.
LIGHT_STANDARD = "-std=gnu++14"

_QUICK_LINKER = "-fuse-ld=gold"


@dataclass(frozen=True)
class Unit:
    """A library to be.

    Attributes
    ----------
    name : str
        What its file is found by: says all that it is made of.
    source : str
        C++ text.
    compiler : str
        The program.
    options : tuple of str
        What the compiler is given before the source: language, processor, headers.
    libraries : tuple of str
        What it is given after the source.
    level : str, default ""
        Another level of optimization than that of the options, which go with the headers.
    """

    name: str
    source: str
    compiler: str
    options: tuple[str, ...]
    libraries: tuple[str, ...]
    level: str = ""


class CompilationError(Exception):
    """The compiler failed; the text is Theano's, so that one place reads both."""


class Workshop:
    """Compiles units in the background, as many at a time as there are cores.

    Nobody holds a lock: each process takes what is missing in an order of its own, and looks before each unit
    whether another process has made it meanwhile, so that processes that start together share the work.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._changes = threading.Lock()
        self._begin()
        atexit.register(self.cancel)
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._changes = threading.Lock()
        self._tasks: list[tuple[Future[Any], Callable[[], Any]]] = []
        self._made: dict[str, Future[Path]] = {}
        self._preludes: dict[tuple[str, ...], Prelude] = {}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._linkers: dict[str, list[str]] = {}
        self._workers = 0

    def order(self, units: Sequence[Unit], soon: Unit | None = None) -> None:
        """Have units compiled that are missing, and have been ordered by nobody yet.

        Parameters
        ----------
        units : sequence of Unit
            They may share names.
        soon : Unit, optional
            One like many that will follow if any is missing, so that their headers are compiled at once.
        """
        new = {unit.name: unit for unit in units if unit.name not in self._made}
        missing = [unit for unit in new.values() if self.store.find(unit.name) is None]
        if not missing:
            return
        # What takes longest comes first, so that no core waits for it at the end; but not where another
        # process would begin with the same.
        missing.sort(key=lambda unit: len(unit.source), reverse=True)
        if self.store.is_shared():
            random.Random(os.getpid()).shuffle(missing)
        alike = Counter((unit.compiler, unit.options) for unit in missing if Prelude.serves(unit.source))
        for unit in missing:
            if alike[unit.compiler, unit.options] >= _WORTH_A_PRELUDE:
                self._order_prelude(unit)
        for unit in missing:
            self._made[unit.name] = self._submit(partial(self._make, unit))
        if soon is not None:
            self._order_prelude(soon)

    def get(self, unit: Unit) -> Path:
        """Return the file of a unit's library, as soon as there is one.

        Raises
        ------
        CompilationError
            Where the compiler fails.
        OSError
            Where the cache cannot be written.
        """
        if unit.name not in self._made:
            found = self.store.find(unit.name)
            if found is not None:
                return found
            self.order([unit])
        try:
            return self._made[unit.name].result() if unit.name in self._made else self.get(unit)
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Give up what is being compiled."""
        with self._changes:
            tasks, self._tasks = self._tasks, []
            running = list(self._running)
            self._made = {name: task for name, task in self._made.items() if task.done() and _succeeded(task)}
            self._preludes = {key: each for key, each in self._preludes.items() if each.is_settled}
        for task, _ in tasks:
            task.cancel()
        for process in running:
            # The compiler is a driver of other programs, which would go on without it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _order_prelude(self, unit: Unit) -> None:
        key = (unit.compiler, *unit.options)
        if key in self._preludes or not Prelude.serves(unit.source):
            return
        prelude = self._preludes[key] = Prelude(self.store, unit.compiler, unit.options)
        if not prelude.find():
            self._submit(partial(prelude.build, self._run))

    def _submit(self, action: Callable[[], Any]) -> Future[Any]:
        task: Future[Any] = Future()
        with self._changes:
            self._tasks.append((task, action))
            if self._workers < cores():
                self._workers += 1
                # A daemon, so that a process that ends does not wait for its compiler.
                threading.Thread(target=self._work, name="compiling", daemon=True).start()
        return task

    def _work(self) -> None:
        while True:
            with self._changes:
                if not self._tasks:
                    self._workers -= 1
                    return
                task, action = self._tasks.pop(0)
            if not task.set_running_or_notify_cancel():
                continue
            try:
                task.set_result(action())
            except BaseException as error:
                task.set_exception(error)

    def _make(self, unit: Unit) -> Path:
        found = self.store.find(unit.name)
        if found is not None:
            return found
        prelude = self._preludes.get((unit.compiler, *unit.options))
        header = prelude.header if prelude is not None and Prelude.serves(unit.source) else None
        with self.store.building() as folder:
            source, target = folder / "mod.cpp", folder / "made.so"
            source.write_text(unit.source + "\n")
            own = [*([unit.level] if unit.level else []), *self._linker(unit.compiler)]
            for options in _attempts(unit.options, header):
                command = [unit.compiler, *options, *own, "-o", str(target), str(source), *unit.libraries]
                status, complaint = self._run(command)
                if status == 0:
                    return self.store.keep(unit.name, target)
        raise _failure(unit, status, complaint)

    def _linker(self, compiler: str) -> list[str]:
        """Return the option for a linker that takes a third of the usual one's time, where there is one."""
        if compiler not in self._linkers:
            with self.store.building() as folder:
                nothing = ["-x", "c++", os.devnull, "-o", str(folder / "trial")]
                status, _ = self._run([compiler, "-shared", _QUICK_LINKER, *nothing])
            self._linkers[compiler] = [_QUICK_LINKER] if status == 0 else []
        return self._linkers[compiler]

    def _run(self, command: Sequence[str]) -> tuple[int, str]:
        """Run the compiler; return its exit status and what it said."""
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Ctrl-C is for us, and we decide what becomes of the compiler.
            start_new_session=True,
        ) as process:
            with self._changes:
                self._running.add(process)
            try:
                _, said = process.communicate()
            finally:
                with self._changes:
                    self._running.discard(process)
        return process.returncode, said.decode(errors="replace")


def _attempts(options: Sequence[str], header: Path | None) -> Iterator[Sequence[str]]:
    """Give the options to try one after the other: those of Theano alone come last."""
    if header is not None:
        yield ["-include", str(header), *options]
    yield options
    if LIGHT_STANDARD in options:
        yield [option for option in options if option != LIGHT_STANDARD]


def _succeeded(task: Future[Any]) -> bool:
    return not task.cancelled() and task.exception() is None


def _failure(unit: Unit, status: int, complaint: str) -> CompilationError:
    with tempfile.NamedTemporaryFile(
        "w", prefix="theano_compilation_error_", suffix=".cpp", delete=False
    ) as file:
        file.write(unit.source)
    log.info("the C++ code that did not compile is in %s", file.name)
    return CompilationError(
        f"Compilation failed (return status={status}): {complaint.replace(chr(10), '. ')}"
    )
