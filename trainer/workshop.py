"""What the runs of one process share: compiled functions, and data that were read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from trainer.assembly import Scales
from trainer.bench import Bench
from trainer.canonical import canonical
from trainer.components import Component
from trainer.data import Data
from trainer.likeness import Likeness
from trainer.settings import Settings
from trainer.sharing import GraphKey, differences

# So many structures take turns in a sweep over a choice or two; each holds a network with its optimizer's
# state, and what Theano keeps between the calls of its functions.
MOST_STEPS = 8
MOST_STATE_BYTES = 2**30
MOST_DATA_BYTES = 2**29
MOST_FILES = 1000


@dataclass(eq=False)
class Read:
    """Data that were read, and what was found in them.

    Attributes
    ----------
    data : Data
        The parts.
    """

    data: Data
    _scales: dict[tuple[str, str], Scales] = field(default_factory=dict)

    def scales(self, settings: Settings) -> Scales:
        """Return the normalization that settings want of these data."""
        kinds = (settings.normalization, settings.target_normalization)
        if kinds not in self._scales:
            self._scales[kinds] = Scales.fitted(settings, self.data)
        return self._scales[kinds]

    @property
    def size(self) -> int:
        """The bytes of its arrays in memory."""
        parts = (self.data.train, self.data.validation, self.data.test)
        arrays = (array for part in parts for array in (part.inputs, part.targets))
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


class Workshop:
    """What the runs of one process share, where they are given the same workshop.

    A run takes a bench that fits and puts it back at its end, so that runs on several threads never work at
    the same one. The benches that were used last are kept, up to 8 and 1 GiB of state. Of data, the set that
    was read last is kept, and those before it up to 512 MiB; their arrays in memory can only be read. A set
    whose files have changed since is read anew.
    """

    def __init__(self) -> None:
        self._benches: list[Bench] = []
        self._read: OrderedDict[Hashable, Read] = OrderedDict()

    def take(self, key: GraphKey, likeness: Likeness | None = None) -> Bench | None:
        """Return the bench that fits, which is the caller's now; None where there is none."""
        for bench in self._benches:
            if bench.key == key and bench.likeness == likeness:
                self._benches.remove(bench)
                return bench
        return None

    def put(self, bench: Bench) -> None:
        """Keep a bench for another run, where it can be used again."""
        bench.seam.release()
        if not bench.can_be_used_again:
            return
        self._benches.insert(0, bench)
        size = 0
        for place, each in enumerate(self._benches):
            size += each.state_bytes
            if place >= MOST_STEPS or (place and size > MOST_STATE_BYTES):
                del self._benches[place:]
                break

    def why_compiled(self, key: GraphKey) -> str:
        """Say by what a key differs from the nearest bench, for the log; empty where there is none."""
        if not self._benches:
            return ""
        apart, maker = min(
            ((differences(key, bench.key), bench.maker) for bench in self._benches),
            key=lambda pair: len(pair[0]),
        )
        return f": differs from {maker} in {', '.join(apart) or 'what functions of yours compute'}"

    def read(self, source: Component) -> Read:
        """Return what a source gives; where it was read with the same arguments before, what it gave then."""
        stamps = _stamps(source.arguments.values())
        if stamps is None:
            return Read(source())
        key = (canonical(source), stamps)
        if key not in self._read:
            self._make_room()
            self._read[key] = Read(_read_only(source()))
        self._read.move_to_end(key)
        return self._read[key]

    def _make_room(self) -> None:
        while self._read and sum(entry.size for entry in self._read.values()) > MOST_DATA_BYTES:
            self._read.popitem(last=False)


@cache
def of_process() -> Workshop:
    """Return the workshop of all runs of a multirun that this process does; `cache_clear` gives it up."""
    return Workshop()


def _read_only(data: Data) -> Data:
    """Let nobody write to arrays that other runs are going to read."""
    for part in (data.train, data.validation, data.test):
        for name in ("inputs", "targets"):
            array = getattr(part, name)
            if isinstance(array, np.ndarray) and array.flags.writeable:
                view = array.view()
                view.flags.writeable = False
                object.__setattr__(part, name, view)
    return data


def _stamps(arguments: Iterable[Any]) -> Hashable | None:
    """Return what tells that the files which arguments name are as before; None where they are too many."""
    stamps = []
    for file in _files(arguments):
        stat = file.stat()
        stamps.append((str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        if len(stamps) > MOST_FILES:
            return None
    return tuple(stamps)


def _files(arguments: Iterable[Any]) -> Iterator[Path]:
    for argument in arguments:
        if isinstance(argument, (list, tuple)):
            yield from _files(argument)
        path = Path(argument).expanduser() if isinstance(argument, str) and argument else None
        if path is not None and path.exists():
            yield path
            yield from path.rglob("*")
