"""`trainer-doctor` diagnoses: a row a finding, with its cure, and the exit status that follows."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from trainer import runtime
from trainer.commands import doctor, findings, prebuilding
from trainer.errors import RunError


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
