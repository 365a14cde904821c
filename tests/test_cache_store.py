"""The compile cache's libraries are found while they are whole, by any number of processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from trainer.runtime import workshop
from trainer.runtime.store import Store
from trainer.runtime.workshop import CompilationError, Unit, Workshop


def keep(store: Store, name: str, content: bytes = b"library") -> Path:
    with store.building() as folder:
        (folder / "made").write_bytes(content)
        return store.keep(name, folder / "made")


def test_a_library_is_found_by_its_name_and_by_another_process_too(tmp_path: Path) -> None:
    ours, theirs = Store(tmp_path / "modules"), Store(tmp_path / "modules")
    assert ours.find("one") is None
    path = keep(theirs, "one")
    assert ours.find("one") == theirs.find("one") == path
    assert ours.find("on") is None
    assert path.read_bytes() == b"library"


@pytest.mark.parametrize("place", [0, 1000, -1])
def test_a_single_changed_bit_is_noticed(tmp_path: Path, place: int) -> None:
    store = Store(tmp_path)
    path = keep(store, "one", bytes(2000))
    content = bytearray(bytes(2000))
    content[place] ^= 1
    path.write_bytes(content)
    assert store.find("one") is None
    assert not path.exists()


def test_of_a_whole_library_and_a_damaged_one_the_whole_is_taken(tmp_path: Path) -> None:
    store = Store(tmp_path)
    paths = [keep(store, "one", content) for content in (b"first", b"second")]
    paths[0].write_bytes(b"fist")
    assert store.find("one") == paths[1]


def test_what_nobody_uses_goes_after_a_month(tmp_path: Path) -> None:
    store = Store(tmp_path)
    used, unused = keep(store, "used", b"used"), keep(store, "unused", b"unused")
    left = tmp_path / "building-left-by-a-killed-process"
    left.mkdir()
    month = time.time() - 32 * 86400
    for path in (used, unused, left):
        os.utime(path, (month, month))
    assert store.find("used") == used
    store.tidy()
    assert (used.exists(), unused.exists(), left.exists()) == (True, False, False)
    os.utime(used, (month, month))
    store.tidy()
    assert used.exists(), "tidied twice within a day"


def test_another_process_that_builds_is_seen(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.building():
        assert not store.is_shared()
    (tmp_path / "building-1-of-another").mkdir()
    assert store.is_shared()


def compiler(folder: Path, action: str) -> str:
    """Make a compiler that notes that it was called, and does this; `$made` is what it is to make."""
    path = folder / "compiler"
    other = 'case "$*" in *-fuse-ld=*) exit 1;; esac\n'  # it has one linker, and is not asked for more
    note = f'all="$*"\necho called >> "{folder}/calls"\nwhile [ "$1" != -o ]; do shift; done\nmade=$2\n'
    path.write_text(f"#!/bin/sh\n{other}{note}{action}\n")
    path.chmod(0o755)
    return str(path)


def calls(folder: Path) -> int:
    path = folder / "calls"
    return len(path.read_text().split()) if path.exists() else 0


def units(program: str, number: int) -> list[Unit]:
    return [Unit(f"unit{index}", f"// {index}", program, (), ()) for index in range(number)]


def test_each_unit_is_compiled_once(tmp_path: Path) -> None:
    program = compiler(tmp_path, 'echo library > "$made"')
    shop = Workshop(Store(tmp_path / "modules"))
    ordered = units(program, 3)
    shop.order([*ordered, *ordered])
    paths = [shop.get(unit) for unit in (*ordered, *ordered)]
    assert {path.read_text() for path in paths} == {"library\n"}
    again = Workshop(Store(tmp_path / "modules"))
    assert [again.get(unit) for unit in ordered] == paths[:3]
    assert calls(tmp_path) == 3


def test_what_another_process_has_made_meanwhile_is_not_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler of the first unit makes the second one too, as another process would."""
    monkeypatch.setattr(workshop, "cores", lambda: 1)
    store = Store(tmp_path / "modules")
    made = keep(store, "unit1", b"theirs")
    elsewhere = tmp_path / made.name
    made.rename(elsewhere)
    program = compiler(tmp_path, f'mv "{elsewhere}" "{made}"; echo ours > "$made"')
    first, second = units(program, 2)
    shop = Workshop(store)
    shop.order([first, second])
    assert shop.get(first).read_text() == "ours\n"
    assert shop.get(second) == made
    assert calls(tmp_path) == 1


def test_two_are_compiled_at_a_time_where_there_are_two_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshop, "cores", lambda: 2)
    wait = 'for turn in $(seq 500); do [ "$(wc -l < calls)" -ge 2 ] && break; sleep 0.02; done'
    program = compiler(tmp_path, f'cd "{tmp_path}"; {wait}; wc -l < calls > "$made"')
    shop = Workshop(Store(tmp_path / "modules"))
    shop.order(units(program, 2))
    assert {shop.get(unit).read_text().strip() for unit in units(program, 2)} == {"2"}


def test_a_compiler_that_fails_is_told_with_what_it_said_and_may_be_asked_again(tmp_path: Path) -> None:
    program = compiler(tmp_path, "echo 'mod.cpp:1:1: error: no room' >&2; exit 3")
    (unit,) = units(program, 1)
    shop = Workshop(Store(tmp_path / "modules"))
    with pytest.raises(CompilationError, match=r"return status=3\): mod\.cpp:1:1: error: no room"):
        shop.get(unit)
    compiler(tmp_path, 'echo library > "$made"')
    assert shop.get(unit).read_text() == "library\n"


def test_code_for_a_later_standard_is_compiled_by_it(tmp_path: Path) -> None:
    fails = f'case "$all" in *{workshop.LIGHT_STANDARD}*) exit 1;; esac'
    program = compiler(tmp_path, f'{fails}; echo library > "$made"')
    unit = Unit("unit", "", program, (workshop.LIGHT_STANDARD, "-O3"), ())
    assert Workshop(Store(tmp_path / "modules")).get(unit).read_text() == "library\n"
    assert calls(tmp_path) == 2


@pytest.mark.parametrize("has_one", [True, False])
def test_a_quicker_linker_serves_where_the_compiler_has_it(tmp_path: Path, has_one: bool) -> None:
    program = tmp_path / "compiler"
    refused = "" if has_one else 'case "$*" in *-fuse-ld=*) exit 1;; esac\n'
    given = 'all="$*"\nwhile [ "$1" != -o ]; do shift; done\necho "$all" > "$2"\n'
    program.write_text(f"#!/bin/sh\n{refused}{given}")
    program.chmod(0o755)
    shop = Workshop(Store(tmp_path / "modules"))
    for unit in units(str(program), 2):
        assert ("-fuse-ld=gold" in shop.get(unit).read_text().split()) is has_one


def test_a_unit_s_own_level_comes_after_that_of_its_options(tmp_path: Path) -> None:
    program = compiler(tmp_path, 'echo "$all" > "$made"')
    unit = Unit("unit", "", program, ("-O3",), (), "-O1")
    levels = [word for word in Workshop(Store(tmp_path)).get(unit).read_text().split() if word[:2] == "-O"]
    assert levels == ["-O3", "-O1"]


def test_who_is_stopped_while_waiting_leaves_no_compiler_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshop, "cores", lambda: 1)
    program = compiler(tmp_path, f'echo $$ > "{tmp_path}/process"; sleep 100')
    shop = Workshop(Store(tmp_path / "modules"))
    shop.order(units(program, 3))
    number = tmp_path / "process"
    while not (number.exists() and number.read_text().strip()):
        time.sleep(0.01)
    shop.cancel()
    end = time.monotonic() + 30
    while list((tmp_path / "modules").iterdir()):
        assert time.monotonic() < end, "the compiler goes on"
        time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)
    assert calls(tmp_path) == 1
