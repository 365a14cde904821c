"""Theano's flags as the user gave them, and as they are handed to Theano."""

from __future__ import annotations

import configparser
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "THEANO_FLAGS"


def parse(flags: str) -> dict[str, str]:
    r"""Read flags as Theano does: `key=value` pairs between commas, with a shell's quotes and escapes.

    >>> parse(r"device=cpu,blas.ldflags=-lblas -Wl\\,-rpath\\,/opt")
    {'device': 'cpu', 'blas.ldflags': '-lblas -Wl,-rpath,/opt'}
    """
    splitter = shlex.shlex(flags, posix=True)
    splitter.whitespace = ","
    splitter.whitespace_split = True
    pairs = (pair.strip().split("=", 1) for pair in splitter)
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def write(flags: Mapping[str, str]) -> str:
    r"""Write flags so that Theano reads the same values, whatever characters they hold.

    >>> write({"blas.ldflags": "-lblas -Wl,-rpath,/opt"})
    'blas.ldflags=-lblas -Wl\\,-rpath\\,/opt'
    """
    special = str.maketrans({character: f"\\{character}" for character in "\\'\",#"})
    return ",".join(f"{name}={value.translate(special)}" for name, value in flags.items())


class UserFlags:
    """What the user told Theano by the environment and by `.theanorc`, the environment first."""

    def __init__(self) -> None:
        self.text = os.environ.get(VARIABLE, "")
        self.environment = parse(self.text)
        self.file = _configuration_file()

    def get(self, name: str) -> str | None:
        """Return the value of a flag, or None where the user said nothing."""
        return self.environment.get(name, self.file.get(name))


def _configuration_file() -> dict[str, str]:
    places = os.environ.get("THEANORC", "~/.theanorc").split(os.pathsep)
    files = [path for path in (Path(place).expanduser() for place in places if place) if path.is_file()]
    if not files:
        return {}
    names = ("LSCRATCH", "TMPDIR", "TEMP", "TMP")
    defaults = {name: os.environ.get(name, "") for name in names}
    defaults |= {"USER": os.environ.get("USER", Path.home().name), "PID": str(os.getpid())}
    plain = configparser.RawConfigParser()
    plain.read(files)
    resolved = configparser.ConfigParser(defaults)
    resolved.read(files)
    found = {}
    for section in plain.sections():
        for option, text in plain.items(section):
            try:
                value = resolved.get(section, option)
            except configparser.InterpolationError:
                value = text
            found[option if section == "global" else f"{section}.{option}"] = value
    return found
