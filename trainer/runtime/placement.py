"""Where the operations of a compiled step run: what is copied between a device and the CPU at each call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainer.errors import UsageError

# Ours, which read a few sums of the device's; and Theano's bookkeeping of shapes and places.
_ALLOWED = ("CheckSums", "Hold", "Gate", "DeepCopyOp", "ViewOp", "Shape", "Shape_i", "MakeVector", "Assert")

_MEASURED = 10  # steps


@dataclass(frozen=True)
class Placement:
    """What one call of a compiled function does beside computing on its device.

    Attributes
    ----------
    to_device, to_host : tuple of int
        Copies to the device and from it: how many arrays, and how many single numbers.
    on_cpu : mapping of str to int
        Operations that compute with the device's arrays on the CPU, because the device lacks them: how often
        each stands in the function.
    nodes : frozenset
        These operations in the function's graph, and the copies to and fro that they need.
    """

    to_device: tuple[int, int]
    to_host: tuple[int, int]
    on_cpu: Counter[str]
    nodes: frozenset[Any] = frozenset()

    def describe(self) -> str:
        """Say it in a line, for the log."""
        coming, going = map(_counted, (self.to_device, self.to_host))
        line = f"each step copies {coming} to the device, and {going} from it"
        if self.on_cpu:
            line += f"; on the CPU, because the device lacks them: {_listed(self.on_cpu)}"
        return line

    def refuse_cpu(self, device: str) -> None:
        """Refuse operations on the CPU.

        Raises
        ------
        UsageError
            With their names.
        """
        if self.on_cpu:
            raise UsageError(
                f"device.name={device} lacks operations of this step: {_listed(self.on_cpu)}. Give "
                "device.allow_cpu_ops=true to have them run on the CPU, which copies their arrays to and fro "
                "at each step, or choose another layer, rule or device"
            )


def place(function: Any) -> Placement:
    """Look at where a compiled function's operations run.

    Parameters
    ----------
    function : theano.compile.function_module.Function
        Compiled for any device.

    Notes
    -----
    Numbers without dimensions, such as the loss, do not count as arrays of the device.
    """
    nodes = function.maker.fgraph.toposort()
    copied: set[Any] = set()
    on_cpu: Counter[str] = Counter()
    lacking: list[Any] = []
    copies: dict[str, list[int]] = {"GpuFromHost": [], "HostFromGpu": []}
    for node in nodes:
        name = type(node.op).__name__
        if name in copies:
            copies[name].append(node.inputs[0].ndim)
        if name == "HostFromGpu":
            copied.update(each for each in node.outputs if each.ndim)
        elif (
            not name.startswith("Gpu")
            and name not in _ALLOWED
            and any(each in copied for each in node.inputs)
        ):
            on_cpu[str(getattr(node.op, "scalar_op", None) or name)] += 1
            lacking.append(node)
            copied.update(each for each in node.outputs if each.ndim)
    coming, going = (
        (sum(map(bool, dimensions)), dimensions.count(0))
        for dimensions in (copies["GpuFromHost"], copies["HostFromGpu"])
    )
    read = {each for node in lacking for each in node.inputs}
    written = {each for node in lacking for each in node.outputs}
    needed = [
        node
        for node in nodes
        if (type(node.op).__name__ == "HostFromGpu" and read.intersection(node.outputs))
        or (type(node.op).__name__ == "GpuFromHost" and written.intersection(node.inputs))
    ]
    return Placement(coming, going, on_cpu, frozenset([*lacking, *needed]))


class CostOnCpu:
    """Measures what the operations that the device lacks cost of a step; called after each step.

    Parameters
    ----------
    function : theano.compile.function_module.Function
        The compiled step; while it is measured, Theano's virtual machine reads the clock around each
        operation.
    placement : Placement
        What it does on the CPU.
    tell : callable
        Given the line for the log, once enough steps were measured.
    """

    def __init__(self, function: Any, placement: Placement, tell: Callable[[str], None]) -> None:
        self._machine, self._placement, self._tell = function.fn, placement, tell
        self._counted = [node in placement.nodes for node in function.maker.fgraph.toposort()]
        self._steps = -1  # the first one is not like the others

    def __call__(self, *_: object) -> None:
        """Take note of a step."""
        if self._steps == _MEASURED:
            return
        self._steps += 1
        if not self._steps:
            self._before = list(self._machine.call_times)
            self._machine.time_thunks = 1
        elif self._steps == _MEASURED:
            self._machine.time_thunks = 0
            self._tell(self._told())

    def _told(self) -> str:
        spent = zip(self._machine.call_times, self._before, strict=True)
        times = [(after - before) / _MEASURED * 1e3 for after, before in spent]
        whole = sum(times)
        cost = sum(time for time, counts in zip(times, self._counted, strict=True) if counts)
        return (
            f"what runs on the CPU because the device lacks it ({_listed(self._placement.on_cpu)}) takes "
            f"{cost:.3g} of a step's {whole:.3g} ms, copies and the wait for the device with it"
        )


def _counted(copies: tuple[int, int]) -> str:
    return " and ".join(
        f"{count} {what}{'s' * (count != 1)}" for count, what in zip(copies, ("array", "number"), strict=True)
    )


def _listed(names: Counter[str]) -> str:
    return ", ".join(
        name if count == 1 else f"{name} ({count} times)" for name, count in sorted(names.items())
    )
