"""What is told of a device that others have, that refuses a kernel, and that has no memory left."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainer import memory
from trainer.commands.faults import explain_fault
from trainer.runtime import devices


def test_a_device_that_another_run_has_taken_is_shared_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "available", lambda: ["cpu", "opencl0:0"])
    monkeypatch.setattr(devices, "_taken", [])
    assert devices.free_one("opencl", tmp_path) == "opencl0:0"
    assert caplog.messages == []
    assert devices.free_one("opencl", tmp_path) == "opencl0:0"
    (said,) = caplog.messages
    assert "other runs on this machine have taken opencl0:0; sharing opencl0:0" in said
    assert "no more workers than devices" in said
    for file in devices._taken:
        file.close()


@pytest.mark.parametrize(
    ("why", "again"), [("clBuildProgram: Unknown error", True), ("error: use of undeclared name x", False)]
)
def test_a_kernel_that_is_refused_without_a_reason_is_to_be_tried_again(why: str, again: bool) -> None:
    class Sum:
        """Stands for an operation."""

        def __str__(self) -> str:
            return "GpuSum"

    begin = "The following error happened while compiling the node"
    said = explain_fault(ValueError(begin, SimpleNamespace(op=Sum()), "\n", f"GpuKernel_init error 3: {why}"))
    assert said is not None
    assert "its compiler refused the kernel of GpuSum" in said
    assert ("run it again where others were building kernels" in said) is again


class GpuArrayException(Exception):
    """Stands for pygpu's, which is known by its name since pygpu may not be installed."""


@pytest.mark.parametrize(
    ("told", "own"),
    [
        ("b'clCreateBuffer: Invalid buffer size'", "clCreateBuffer: Invalid buffer size"),
        ("b'cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory'", "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY"),
        ("b'Memory object allocation failure'\nApply node", "Memory object allocation failure)"),
        ("b'(cublas) GPU resource allocation failed.'", "(cublas) GPU resource allocation failed."),
    ],
)
def test_a_device_without_memory_is_told_as_such_with_what_helps(told: str, own: str) -> None:
    error = GpuArrayException(told)
    assert memory.is_out_of_memory(error)
    training = SimpleNamespace(batch_size=64, accumulation=1, evaluation_batch_size=1000)
    settings: Any = SimpleNamespace(training=training)
    said = str(memory.out_of_memory(error, settings, None))
    assert said.startswith(f"out of memory ({own}")
    for words in ("training.batch_size=64", "training.evaluation_batch_size=1000"):
        assert words in said
    assert "b'" not in said


def test_other_errors_of_a_device_are_not_taken_for_missing_memory() -> None:
    assert not memory.is_out_of_memory(GpuArrayException("b'Invalid kernel arguments'"))
