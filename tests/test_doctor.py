"""`trainer-doctor` diagnoses: a row a finding, with its cure, and the exit status that follows."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.conftest import ROOT
from trainer import runtime
from trainer.commands import device_findings, doctor, findings, prebuilding
from trainer.errors import RunError
from trainer.runtime import device_libraries, drivers


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def verdicts(screen: str) -> dict[str, str]:
    """Read the first and the last column of the printed table."""
    lines = [
        [cell.strip() for cell in line.split("│")] for line in screen.splitlines() if line.startswith("│")
    ]
    return {cells[1]: cells[-2] for cells in lines if cells[1]}


def test_a_machine_that_trains_is_found_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--size", "64"]) == 0
    screen = capsys.readouterr().out
    found = verdicts(screen)
    needed = (
        "Python",
        "Theano",
        "NumPy",
        "Compiler",
        "Compile cache",
        "BLAS",
        "Threads",
        "Device",
        "Matrix product",
    )
    assert {subject for subject in needed if found[subject] not in (findings.OK, findings.WARNING)} == set()
    assert runtime.prepare().blas.file in screen
    assert "GFLOP/s through Theano" in screen
    assert "Ready to train." in screen


@pytest.mark.parametrize(
    ("option", "value", "subject", "cure"),
    [
        ("--compiler", "no-such-compiler", "Compiler", "install"),
        ("--device", "gpu1", "Device", "did you mean cuda1?"),
        ("--blas-ldflags", "-lno_such_library", "BLAS", "leave it out"),
        ("--compile-cache", f"{__file__}/below", "Compile cache", "give a folder"),
        ("--threads", "0", "Threads", "from 1"),
    ],
)
def test_what_is_missing_is_a_row_with_its_cure(
    option: str, value: str, subject: str, cure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main([f"{option}={value}"]) == 1
    screen = capsys.readouterr().out
    found = verdicts(screen)
    assert found[subject] == findings.MISSING
    assert found["Python"] == findings.OK
    assert cure in screen
    assert f"Training cannot start: see {subject}" in screen


def test_a_wrong_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        doctor.main(["--size", "0"])
    assert stopped.value.code == 2
    assert "--size" in capsys.readouterr().err


def test_what_the_default_command_needs_is_compiled_by_running_it_for_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def start(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        started.append(command)
        return subprocess.CompletedProcess(command, 1, "", "Traceback\nError: no room on the disk\n")

    monkeypatch.setattr(subprocess, "run", start)
    choices = runtime.Choices(precision="float64", compile_cache=f"{tmp_path}/it's here")
    with pytest.raises(RunError, match=r"the default command fails \(no room on the disk\)"):
        prebuilding.build(choices)
    ((*_, module, epochs, steps, name, precision, cache, _, _, _, _),) = started
    assert (module, epochs, steps) == ("trainer", "training.epochs=1", "training.steps_per_epoch=1")
    assert (name, precision) == ("device.name='cpu'", "device.precision='float64'")
    parsed = OverridesParser.create().parse_override(cache)
    assert (parsed.key_or_group, parsed.value()) == ("device.compile_cache", f"{tmp_path}/it's here")


# An OpenCL loader with two platforms, the first without a device (-1 says so), and a CUDA driver.
DRIVERS = r"""
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int answer(const char* text, size_t room, void* to) {
    return snprintf((char*)to, room, "%s", text), 0;
}

extern "C" {
int clGetPlatformIDs(unsigned, intptr_t* found, unsigned* count) {
    return found[0] = 1, found[1] = 2, *count = 2, 0;
}
int clGetPlatformInfo(intptr_t platform, unsigned, size_t room, void* to, size_t*) {
    return answer(platform == 1 ? "Hollow" : "Working", room, to);
}
int clGetDeviceIDs(intptr_t platform, unsigned long, unsigned, intptr_t* found, unsigned* count) {
    return platform == 1 ? -1 : (found[0] = 7, *count = 1, 0);
}
int clGetDeviceInfo(intptr_t, unsigned what, size_t room, void* to, size_t*) {
    return what == 0x101F ? (*(uint64_t*)to = 3ull << 30, 0) : answer("Card", room, to);
}
int cuInit(unsigned) { return 0; }
int cuDeviceGet(int* device, int number) { return *device = number, number > 1; }
int cuDeviceGetName(char* to, int room, int) { return answer("NVIDIA H100", room, to); }
int cuDeviceTotalMem_v2(size_t* memory, int) { return *memory = 80ull << 30, 0; }
}
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.cpp").write_text(DRIVERS)
    library = folder / "driver.so"
    compiler = runtime.prepare().compiler.path
    flags = ("-shared", "-fPIC", "-w")
    subprocess.run([compiler, *flags, str(folder / "driver.cpp"), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


class Pygpu:
    """Stands for pygpu: a platform without a device, as libgpuarray tells of it, before one that has one."""

    def __init__(self, cards: int = 0) -> None:
        self.cards = cards

    def count_platforms(self, kind: str) -> int:
        """There are two."""
        return 2

    def count_devices(self, kind: str, platform: int) -> int:
        """Count as libgpuarray does, which takes "none" for an error."""
        if kind == "cuda":
            return self.cards
        if platform == 0:
            raise RuntimeError(b"clGetDeviceIDs: Device not found")
        return 1


@pytest.fixture
def machine(driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[findings.Row]]:
    """Have the doctor look at a machine with the stand-ins' devices, of which some fail for a reason."""

    def examine(cards: int = 0, missing: str = "", **complaints: str) -> list[findings.Row]:
        for name in ("pygpu", "pygpu.gpuarray"):
            monkeypatch.setitem(sys.modules, name, Pygpu(cards))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
        monkeypatch.setattr(drivers, "_load", lambda name: driver)
        monkeypatch.setattr(device_libraries, "provide", lambda *_, **__: None)
        monkeypatch.setattr(
            device_libraries, "found", lambda name: None if missing and missing in name else f"/lib/{name}"
        )
        monkeypatch.setattr(
            device_findings, "try_device", lambda name, *_: complaints.get(name.partition(":")[0], "")
        )
        ready = runtime.prepare()
        return device_findings.examine_devices("float32", ready.compiler, ready.compile_cache)

    return examine


def test_a_platform_without_devices_is_told_and_hides_no_other(machine: Any) -> None:
    rows = machine()
    works, cuda, hollow = rows
    assert works.subject == "opencl1:0"
    assert works.found == "Working: Card, 3.0 GiB; Theano compiles for it, and computes rightly"
    assert (cuda.subject, cuda.verdict) == ("cuda", findings.OPTIONAL)
    assert (hollow.subject, hollow.verdict) == ("opencl0", findings.OPTIONAL)
    assert hollow.found == "Hollow: a platform without devices"


def test_a_device_whose_graph_fails_keeps_its_name_and_memory_beside_the_reason(machine: Any) -> None:
    for complaint in ("it computes wrongly", "its process ended with status -11: no word of why"):
        row = machine(opencl1=complaint)[0]
        assert row.found == f"Working: Card, 3.0 GiB; {complaint}"
        assert row.verdict == findings.WARNING
        assert "device=cpu" in row.cure


@pytest.mark.parametrize(
    ("missing", "cure"),
    [("nvrtc", "pip install 'theano-trainer[cuda]'"), ("cublas", "pip install 'theano-trainer[cuda]'")],
)
def test_a_driver_without_the_other_libraries_of_cuda_says_what_brings_them(
    missing: str, cure: str, machine: Any
) -> None:
    first, second, *_ = machine(cards=2, missing=missing, cuda0="no NVRTC", cuda1="no NVRTC")
    assert (first.subject, second.subject) == ("cuda0", "cuda1")
    assert first.found == "CUDA: NVIDIA H100, 80.0 GiB; no NVRTC"
    assert f"lib{missing}.so" in first.cure
    assert cure in first.cure


def test_a_machine_without_any_cuda_says_what_it_would_need(machine: Any) -> None:
    row = machine(missing="libcu")[1]
    assert "libcuda.so: the driver" in row.cure
    assert "libcublas.so" in row.cure
    assert "libnvrtc" not in row.cure


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a pygpu on the path that lacks libgpuarray; return what it says."""
    reason = "libgpuarray.so.3: cannot open shared object file: No such file or directory"
    (tmp_path / "pygpu").mkdir()
    (tmp_path / "pygpu" / "__init__.py").write_text(f"raise ImportError({reason!r})\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    return reason


@pytest.mark.parametrize(("program", "status"), [("trainer.commands.doctor", 0), ("trainer", 2)])
def test_a_pygpu_without_its_library_says_so_with_the_cure(
    program: str, status: int, broken: str, tmp_path: Path
) -> None:
    options = ["--size=16"] if status == 0 else ["device=opencl"]
    done = subprocess.run(
        [sys.executable, "-m", program, *options], cwd=tmp_path, capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    assert "pygpu" in said
    assert broken in re.sub(r"[\s│]+", " ", said)
    assert "scripts/install-gpu" in said
    assert "Traceback" not in said
