"""The faults that tests make: a disk that is full, a folder that cannot be written, another umask."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from trainer.checkpoints import Job, Writer

_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_CAPABILITIES_3 = 0x20080522


def fill_disk(size: int) -> None:
    """Let every write beyond `size` bytes of a file fail from now on, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def make_room() -> None:
    """End what `fill_disk` began."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def full_disk(size: int = 0) -> Iterator[None]:
    """Let every write beyond `size` bytes of a file fail for a while."""
    fill_disk(size)
    try:
        yield
    finally:
        make_room()


@contextmanager
def obeying_permissions() -> Iterator[None]:
    """Let the modes of files hold for this thread, and those that it starts, where root runs the tests."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    before = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    weaker = (ctypes.c_uint32 * 6)(*before)
    weaker[0] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH) & 0xFFFFFFFF
    assert libc.capset(header, weaker) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nothing be made in a folder for a while."""
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    try:
        with obeying_permissions():
            yield
    finally:
        folder.chmod(mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Have the process's umask be another for a while."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def write_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the training wait for what it writes, so that a fault meets the same files each time."""
    submit = Writer.submit

    def submit_and_wait(writer: Writer, job: Job) -> None:
        submit(writer, job)
        writer.wait()

    monkeypatch.setattr(Writer, "submit", submit_and_wait)


def trainer_command(folder: Path) -> Path:
    """Make a folder whose program `trainer` is that of this checkout, for a PATH, and return it."""
    folder.mkdir()
    program = folder / "trainer"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m trainer "$@"\n')
    program.chmod(0o755)
    return folder
