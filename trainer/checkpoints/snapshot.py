"""A copy of shared variables as they are between two steps, taken while the loop hardly waits."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from trainer.checkpoints.tensors import Array
from trainer.kernels.copying import copier, copy_arrays, same_layout


class Snapshot:
    """Memory for one copy of shared variables, allocated once and used again and again.

    What is `gated` is copied by another thread while the next step computes its gradients; the step must call
    `settle` before it writes to those variables (`trainer.kernels.copying.gate`), and so must whoever else
    writes to them. All else is copied before `take` returns.

    Parameters
    ----------
    variables : mapping of str to shared variable
        What is copied, by the name in the copy.
    gated : collection of str
        The names of those that nobody writes to before `settle` has returned.
    """

    def __init__(self, variables: Mapping[str, Any], gated: Collection[str] = ()) -> None:
        self._variables = dict(variables)
        self._gated = frozenset(gated)
        self._buffers: dict[str, Array] = {}
        self._copying: threading.Thread | None = None
        copier()
        for name, variable in self._variables.items():
            memory = _memory(variable)
            if memory is not None:
                self._buffer(name, memory)

    @property
    def tensors(self) -> dict[str, Array]:
        """The copies, by name; whole once `settle` has returned, and overwritten by the next `take`."""
        return dict(self._buffers)

    def take(self) -> None:
        """Copy the variables as they are now."""
        self.settle()
        at_once: list[tuple[Array, Array]] = []
        later: list[tuple[Array, Array]] = []
        for name, variable in self._variables.items():
            memory = _memory(variable)
            if memory is None:
                self._buffers[name] = np.asarray(variable.get_value())
                continue
            buffer = self._buffer(name, memory)
            if not same_layout(buffer, memory):
                np.copyto(buffer, memory)
            else:
                (later if name in self._gated else at_once).append((buffer, memory))
        if at_once:
            copy_arrays(at_once)
        if later:
            self._start(later)

    def settle(self) -> None:
        """Wait until the copy is whole."""
        copying = self._copying
        if copying is not None:
            copying.join()
            self._copying = None

    def _start(self, pairs: list[tuple[Array, Array]]) -> None:
        running = threading.Event()

        def copy() -> None:
            running.set()
            copy_arrays(pairs)

        self._copying = threading.Thread(target=copy, name="snapshot", daemon=True)
        self._copying.start()
        # A step holds Python's lock from its first to its last instruction: by then, the copying must run.
        running.wait()

    def _buffer(self, name: str, memory: Array) -> Array:
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape != memory.shape or buffer.dtype != memory.dtype:
            buffer = np.empty_like(memory)
            buffer.fill(0)  # the system gives memory at the first writing, which takes longer than a copy
            self._buffers[name] = buffer
        return buffer


def _memory(variable: Any) -> Array | None:
    """Return a variable's own memory, where that is the host's."""
    value = variable.get_value(borrow=True, return_internal_type=True)
    return value if isinstance(value, np.ndarray) else None
