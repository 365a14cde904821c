"""Compiled headers serve as long as they are whole and no header has changed; else their text does."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from trainer import runtime
from trainer.runtime.prelude import HEADERS, Prelude
from trainer.runtime.store import Store

SOURCE = "\n".join(f"#include {header}" for header in HEADERS)


def run(command: Sequence[str]) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.fixture
def headers(tmp_path: Path) -> Path:
    """The headers that are not the compiler's own, as short as can be."""
    folder = tmp_path / "include"
    (folder / "numpy").mkdir(parents=True)
    for name in ("Python.h", "theano_mod_helper.h", "numpy/arrayobject.h", "numpy/arrayscalars.h"):
        (folder / name).write_text("#define ANSWER 42\n" if name == "Python.h" else "")
    return folder


def test_headers_serve_until_one_of_them_changes(headers: Path, tmp_path: Path) -> None:
    compiler = runtime.prepare().compiler.path
    if (
        "Free Software Foundation"
        not in subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    ):
        pytest.skip("headers are compiled with GCC alone")
    store = Store(tmp_path / "modules")

    def prelude() -> Prelude:
        return Prelude(store, compiler, ["-O0", f"-I{headers}"])

    assert not prelude().find()
    made = prelude()
    made.build(run)
    assert made.header is not None
    assert prelude().find()

    source = tmp_path / "answer.cpp"
    source.write_text('extern "C" int answer() { return ANSWER; }\n')
    status, _ = run(
        [compiler, "-O0", "-include", str(made.header), "-c", str(source), "-o", str(tmp_path / "a.o")]
    )
    assert status == 0

    compiled = made.header.with_suffix(".h.gch")
    content = compiled.read_bytes()
    compiled.write_bytes(content[:-1])
    assert not prelude().find()
    compiled.write_bytes(content)
    assert prelude().find()

    (headers / "Python.h").write_text("#define ANSWER 4242\n")
    assert not prelude().find()


def test_only_a_source_that_begins_with_them_takes_them() -> None:
    assert Prelude.serves(SOURCE + "\n#include <string.h>\nint one;")
    assert not Prelude.serves("#include <string.h>\n" + SOURCE)
    assert not Prelude.serves("int one;\n")
