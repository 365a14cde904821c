"""The headers that every module of Theano begins with, compiled once for all modules of the same options."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from trainer.runtime.remembered import digest, stamp
from trainer.runtime.store import Store

HEADERS = (
    "<Python.h>",
    "<iostream>",
    '"theano_mod_helper.h"',
    "<math.h>",
    "<numpy/arrayobject.h>",
    "<numpy/arrayscalars.h>",
    "<algorithm>",
    "<vector>",
)
_INCLUDE = re.compile(r"#include\s+(\S+)")

Run = Callable[[Sequence[str]], tuple[int, str]]


class Prelude:
    """Compiled headers for one compiler with one list of options.

    GCC takes compiled headers only where the options fit, and otherwise reads the text beside them; but it
    does not see that a header has changed since. That is looked up here.

    Parameters
    ----------
    store : Store
        Where it is kept.
    compiler : str
        The program.
    options : sequence of str
        Those that the libraries are compiled with.

    Attributes
    ----------
    header : Path or None
        What is to be included first; None as long as it is not there.
    is_settled : bool
        Whether it was found, made, or found to be impossible.
    """

    def __init__(self, store: Store, compiler: str, options: Sequence[str]) -> None:
        self.header: Path | None = None
        self.is_settled = False
        self._store, self._compiler = store, compiler
        self._options = [option for option in options if not option.startswith("-L")]
        name = digest([stamp(compiler), self._options, HEADERS])
        self._file = store.folder / f"prelude-{name}.h"
        self._made = self._file.with_suffix(".h.gch")
        self._facts = self._file.with_suffix(".json")

    @staticmethod
    def serves(source: str) -> bool:
        """Tell whether a source includes these headers first, so that it means the same with them."""
        lines = source.split("\n", len(HEADERS))
        included = [found[1] for line in lines if (found := _INCLUDE.match(line))]
        return included[:3] == list(HEADERS[:3])

    def find(self) -> bool:
        """Look whether it is there, whole, and made of the headers that there are today."""
        try:
            facts = json.loads(self._facts.read_text())
            found = bool(facts == self._describe([path for path, *_ in facts["headers"]]))
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if found:
            self.header, self.is_settled = self._file, True
        return found

    def build(self, run: Run) -> None:
        """Make it, where the compiler is GCC."""
        try:
            if self._is_gcc():
                self._build(run)
        except OSError:
            # A disk that is full, for one: the libraries themselves will tell.
            pass
        finally:
            self.is_settled = True

    def _build(self, run: Run) -> None:
        with self._store.building() as folder:
            text, made, list_ = folder / "prelude.h", folder / "prelude.h.gch", folder / "headers"
            text.write_text("".join(f"#include {header}\n" for header in HEADERS))
            command = [self._compiler, *self._options, "-x", "c++-header", "-MD", "-MF", str(list_)]
            status, _ = run([*command, str(text), "-o", str(made)])
            if status != 0:
                return
            _, _, headers = list_.read_text().replace("\\\n", " ").partition(":")
            used = [path.replace("\\ ", " ") for path in re.split(r"(?<!\\)\s+", headers) if path]
            text.replace(self._file)
            made.replace(self._made)
            facts = folder / "facts"
            facts.write_text(json.dumps(self._describe([path for path in used if path != str(text)])))
            facts.replace(self._facts)
        self.header = self._file

    def _describe(self, headers: Sequence[str]) -> dict[str, object]:
        content = hashlib.sha256(self._made.read_bytes()).hexdigest()
        described = [[path, *stamp(path)[0]] for path in headers]
        return {"content": content, "text": self._file.read_text(), "headers": described}

    def _is_gcc(self) -> bool:
        done = subprocess.run([self._compiler, "--version"], capture_output=True, text=True, errors="replace")
        return "Free Software Foundation" in done.stdout
