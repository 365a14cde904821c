"""Whatever stands in the files of a run's folder, reading it ends soon, with what it says or a sentence."""

from __future__ import annotations

import json
import logging
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tests.conftest import Finished
from tests.resuming import SMALL
from trainer import config
from trainer.assembly import read_weights
from trainer.commands import evaluate, predict, steer
from trainer.commands.messages import USER_ERRORS, explain
from trainer.commands.saved import given_overrides, read_configuration
from trainer.data.facts import Facts
from trainer.errors import RunError
from trainer.loggers import read_records

Train = Callable[..., Finished]
HUNDREDS_OF_MEGABYTES = 300 * 2**20


def fuzz(examples: int) -> settings:
    """The same examples in each run, and no database of them on disk."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def little_memory() -> Iterator[None]:
    """Let this process take no more than some hundred megabytes besides what it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + HUNDREDS_OF_MEGABYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def told(read: Callable[[], Any]) -> bool:
    """Read; return whether that was refused, which must be with a sentence of reasonable length."""
    try:
        with little_memory():
            read()
    except (*USER_ERRORS, RunError) as error:
        sentence = explain(error)
        assert sentence.strip()
        assert "\n" not in sentence
        assert len(sentence) < 2000
        return True
    return False


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run as `trainer` leaves it, but its checkpoints; each test changes it anew."""
    import shutil
    import sys

    from trainer import cli

    folder: Path = tmp_path_factory.mktemp("made") / "run"
    patch = pytest.MonkeyPatch()
    root = logging.getLogger()
    patch.setattr(root, "handlers", [])
    patch.setattr(root, "level", root.level)
    patch.setattr(sys, "argv", ["trainer", *SMALL, f"hydra.run.dir={folder}"])
    cli.main()
    patch.undo()
    for path in (folder / "checkpoints").glob("step-*"):
        shutil.rmtree(path)
    return folder


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2**31, 2**63, 10**400])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["${training.seed}", "${..x}", "${", "${oc.env:HOME}", "os.system", "trainer.updates.adam"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path of each value within a nest."""
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in members:
        yield (*at, key)
        yield from places(member, (*at, key))


def changed(data: Any, value: Any) -> Any:
    """Draw a nest that differs in one to three places: another value there, a key more, or none."""
    value = json.loads(json.dumps(value))
    for _ in range(data.draw(st.integers(1, 3))):
        found = list(places(value))
        if not found:
            break
        *way, last = data.draw(st.sampled_from(found))
        parent = value
        for key in way:
            parent = parent[key]
        what = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if what == "remove":
            del parent[last]
        elif what == "add" and isinstance(parent, dict):
            parent[data.draw(st.text(max_size=6))] = data.draw(plain)
        else:
            parent[last] = data.draw(plain)
    return value


def mutated(data: Any, content: bytes) -> bytes:
    """Draw bytes that are cut short, or differ in some places."""
    found = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(found)))
        piece = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"[" * 3000, b'{"a":' * 3000, b"9" * 5000])
        )
        length = data.draw(st.sampled_from([0, 1, len(piece), len(found)]))
        found[at : at + length] = piece
    return bytes(found)


@contextmanager
def instead(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def interpreted(folder: Path) -> None:
    composed = read_configuration(folder)
    config.device_settings(composed)
    config.interpret(composed, given_overrides(folder), trusted=[])


@fuzz(100)
@given(st.data())
def test_a_configuration_with_other_values_is_read_or_refused(made: Path, data: Any) -> None:
    path = made / ".hydra" / "config.yaml"
    content = yaml.safe_dump(changed(data, yaml.safe_load(path.read_text())), allow_unicode=True)
    with instead(path, content.encode("utf-8", "surrogatepass")):
        told(lambda: interpreted(made))


@fuzz(100)
@given(st.data())
def test_a_configuration_with_other_bytes_is_read_or_refused(made: Path, data: Any) -> None:
    path = made / ".hydra" / data.draw(st.sampled_from(["config.yaml", "overrides.yaml"]))
    with instead(path, mutated(data, path.read_bytes())):
        told(lambda: interpreted(made))


@fuzz(200)
@given(st.data())
def test_facts_of_the_data_are_read_as_they_were_written_or_refused(made: Path, data: Any) -> None:
    path = made / "data.json"
    before = json.loads(path.read_text())
    content = (
        json.dumps(changed(data, before)).encode()
        if data.draw(st.booleans())
        else mutated(data, path.read_bytes())
    )
    with instead(path, content):
        found: list[Facts] = []
        if not told(lambda: found.append(Facts.read(made))):
            facts = found[0]
            assert isinstance(facts.name, str)
            assert all(isinstance(size, int) and size > 0 for size in facts.input_shape)
            assert isinstance(facts.outputs, int)
            assert facts.outputs > 0


@fuzz(200)
@given(st.data())
def test_weights_are_read_to_the_same_bits_or_refused(tmp_path_factory: Any, data: Any) -> None:
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    save_file({"W": np.arange(6, dtype="float32").reshape(2, 3), "b": np.zeros(3, "float32")}, path)
    content = mutated(data, path.read_bytes())
    path.write_bytes(content)
    found: list[Any] = []
    if not told(lambda: found.append(read_weights(path))):
        assert sum(array.nbytes for array in found[0].values()) <= len(content)


@fuzz(200)
@given(st.data())
def test_records_are_read_or_refused_with_their_line(made: Path, data: Any) -> None:
    path = made / "metrics.jsonl"
    with instead(path, mutated(data, path.read_bytes())):
        told(lambda: read_records(path))


HOSTILE = {
    "nothing": b"",
    "no JSON": b"\x00\xff",
    "deep": b"[" * 100_000,
    "a deep object": b'{"a":' * 100_000,
    "a number without end": b"9" * 1_000_000,
    "a list": b"[1, 2]",
    "a tensor larger than the file": (10**6).to_bytes(8, "little") + b"{}",
    "a header of 2^60 bytes": (2**60).to_bytes(8, "little"),
    "aliases": b"a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "tags": b"a: !!python/object/apply:os.system ['touch was_here']\n",
    "long": b"a: '" + b"x" * 10_000_000 + b"'\n",
}
FILES = {
    ".hydra/config.yaml": ("evaluate", "predict", "resume"),
    ".hydra/overrides.yaml": ("evaluate", "resume"),
    "data.json": ("evaluate", "predict"),
    "checkpoints/best.safetensors": ("evaluate", "predict"),
    "summary.json": ("steer",),
    "steering/state.json": ("steer",),
    "metrics.jsonl": ("resume",),
}


DOUBLING: dict[str, dict[str, Any]] = {
    "of text": {f"b{number}": f"${{.b{number + 1}}}${{.b{number + 1}}}" for number in range(60)},
    "of lists": {f"b{number}": [f"${{data.b{number + 1}}}"] * 2 for number in range(60)},
    "without end": {"b0": "${data.b1}", "b1": "${data.b0}"},
    "within itself": {"b0": {"b1": "${data.b0}"}},
    "by a resolver": {"b0": {"b1": "${oc.dict.values:data.b0}"}},
}


@pytest.mark.parametrize(
    "typed",
    ["data.augmentation=[crop]", "data=null", f"training.epochs=1{'0' * 400}"],
)
def test_what_was_found_by_such_examples_is_refused_where_a_person_types_it(train: Train, typed: str) -> None:
    finished = train(typed)
    assert finished.status == 2
    assert finished.err.startswith("Error: ")
    assert len(finished.err.splitlines()) == 1


@pytest.mark.parametrize("kind", DOUBLING)
def test_interpolations_that_make_much_of_little_are_refused(
    made: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    path = made / ".hydra" / "config.yaml"
    composed = yaml.safe_load(path.read_text())
    composed["data"] |= {"b60": "xxxxxxxx", **DOUBLING[kind]}
    with instead(path, yaml.safe_dump(composed).encode()), little_memory():
        assert evaluate.main([str(made)]) == 2
    assert "config.yaml is damaged: " in capfd.readouterr().err


def test_interpolations_that_a_person_writes_are_resolved(made: Path) -> None:
    path = made / ".hydra" / "config.yaml"
    composed = yaml.safe_load(path.read_text())
    composed["data"] |= {
        "a": "${.b}/${training.seed}",
        "b": "${oc.env:HOME}",
        "c": ["${data[a]}", "${data.c[0]}"],
    }
    with instead(path, yaml.safe_dump(composed).encode()):
        found = read_configuration(made).data
        assert found.a == f"{os.environ['HOME']}/0"
        assert list(found.c) == [found.a, found.a]


@pytest.mark.parametrize("name", FILES)
def test_no_command_is_ended_by_what_stands_in_a_file(
    made: Path, tmp_path: Path, train: Train, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    np.save(tmp_path / "new.npy", np.zeros((2, 1, 8, 8), "float32"))
    commands: dict[str, Callable[[], int]] = {
        "evaluate": lambda: evaluate.main([str(made)]),
        "predict": lambda: predict.main([str(made), str(tmp_path / "new.npy")]),
        "steer": lambda: steer.main([str(made)]),
        "resume": lambda: train(f"resume={made}").status,
    }
    for content in HOSTILE.values():
        for command in FILES[name]:
            with instead(made / name, content), little_memory():
                status = commands[command]()
            told_of = capfd.readouterr()
            assert status in (0, 1, 2)
            assert "Traceback" not in told_of.err + told_of.out
    assert not list(Path().rglob("was_here"))
