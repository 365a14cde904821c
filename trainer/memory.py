"""What a run's memory is taken by, told where it did not suffice."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from trainer.errors import RunError
from trainer.settings import Settings

UNITS = ("bytes", "KB", "MB", "GB", "TB")


# What a device's errors of missing memory say: CUDA's driver, cuBLAS, OpenCL, and operations that got none.
_ON_DEVICE = re.compile(
    r"out of memory|memory object allocation failure|invalid buffer size|out of (host )?resources|"
    r"resource allocation failed|(failed|could not|error|unable to) ?(to )?allocat",
    re.IGNORECASE,
)

_BYTES = re.compile(r"""b(['"])(.*)\1""")


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error is one of missing memory, of the machine or of its device."""
    by_device = type(error).__name__ == "GpuArrayException" or isinstance(error, RuntimeError)
    return isinstance(error, MemoryError) or (by_device and bool(_ON_DEVICE.search(str(error))))


def out_of_memory(error: Exception, settings: Settings, run: Any) -> RunError:
    """Return the error that tells what a run needs, as far as it was built, and what helps.

    Parameters
    ----------
    error : Exception
        What was raised; its own first line often says how much was asked for.
    settings : Settings
        The run's.
    run : object
        With whatever it has by now of `data`, `network` and `graph`.
    """
    first = error.args[0] if error.args else ""
    # libgpuarray's errors are bytes, and Theano makes a text of them.
    whole = first.decode(errors="replace") if isinstance(first, bytes) else str(error)
    told = [_BYTES.sub(r"\2", line) for line in whole.strip().splitlines()[:1]]
    asked = f" ({told[0]})" if told else ""
    sizes = "; ".join(f"{what} {shown(size)}" for what, size in _sizes(settings, run))
    return RunError(
        f"out of memory{asked}{': ' if sizes else ''}{sizes}. Lower training.batch_size="
        f"{settings.training.batch_size} (and raise training.accumulation={settings.training.accumulation} "
        f"for the same updates) or training.evaluation_batch_size="
        f"{settings.training.evaluation_batch_size}, choose a smaller model, or {_cure(run)}"
    )


def _cure(run: Any) -> str:
    machine = getattr(run, "machine", None)
    on_cpu = machine is None or machine.device == "cpu"
    return (
        "read the examples from disk with data=npy"
        if on_cpu
        else "leave the training part outside of the device with training.feeding=arrays"
    )


def shown(size: float) -> str:
    """Write a number of bytes.

    >>> shown(320), shown(2_500_000)
    ('320 bytes', '2.5 MB')
    """
    power = min(int(math.log10(max(size, 1)) // 3), len(UNITS) - 1)
    return f"{size / 1000**power:.3g} {UNITS[power]}"


def _sizes(settings: Settings, run: Any) -> Iterable[tuple[str, float]]:
    network, graph, data, machine = (
        getattr(run, name, None) for name in ("network", "graph", "data", "machine")
    )
    if machine is not None and (room := machine.free_memory()) is not None:
        yield f"an array on {machine.device} may have", room
    if network is not None:
        yield "the parameters take", _of_variables(network.parameters)
    if graph is not None:
        yield "the optimizer's state", _of_variables(graph.optimizer.state)
    if data is not None:
        part = data.train
        in_memory = [array for array in (part.inputs, part.targets) if isinstance(array, np.ndarray)]
        yield "the training part", sum(array.nbytes for array in in_memory)
        example = math.prod(data.input_shape) * np.dtype(data.input_dtype or np.float32).itemsize
        yield "a batch's inputs", settings.training.batch_size * example


def _of_variables(variables: Iterable[Any]) -> int:
    return sum(
        math.prod(value.shape) * np.dtype(variable.dtype).itemsize
        for variable in variables
        for value in [variable.get_value(borrow=True, return_internal_type=True)]
    )
