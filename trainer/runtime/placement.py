"""Where the operations of a compiled step run: what is copied between a device and the CPU at each call."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from trainer.errors import UsageError

# Ours, which read a few sums of the device's; and Theano's bookkeeping of shapes and places.
_ALLOWED = ("CheckSums", "Hold", "Gate", "DeepCopyOp", "ViewOp", "Shape", "Shape_i", "MakeVector", "Assert")


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
    """

    to_device: tuple[int, int]
    to_host: tuple[int, int]
    on_cpu: Counter[str]

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
            copied.update(each for each in node.outputs if each.ndim)
    coming, going = (
        (sum(map(bool, dimensions)), dimensions.count(0))
        for dimensions in (copies["GpuFromHost"], copies["HostFromGpu"])
    )
    return Placement(coming, going, on_cpu)


def _counted(copies: tuple[int, int]) -> str:
    return " and ".join(
        f"{count} {what}{'s' * (count != 1)}" for count, what in zip(copies, ("array", "number"), strict=True)
    )


def _listed(names: Counter[str]) -> str:
    return ", ".join(
        name if count == 1 else f"{name} ({count} times)" for name, count in sorted(names.items())
    )
