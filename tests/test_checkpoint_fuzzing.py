"""Whatever stands in a checkpoint's files, reading it ends soon, with a sound state or a sentence."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as load_by_library

from trainer.checkpoints import CheckpointStore, Damaged, State, read_tensors
from trainer.checkpoints.exact_json import from_exact_json, to_exact_json
from trainer.checkpoints.files import read_checkpoint
from trainer.checkpoints.tensors import DTYPES, write_tensors

# The same examples in each run, and no database of them on disk.
fuzz = settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

numbers = st.integers(-5, 40) | st.sampled_from([2**31, 2**63, 2**64, 10**30, -(2**63)])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*DTYPES, "BF16", "F8_E4M3", "", 3]),
        "shape": st.lists(numbers, max_size=4) | json_values,
        "data_offsets": st.lists(numbers, min_size=2, max_size=2) | json_values,
    },
    optional={"more": st.none()},
)
headers = st.dictionaries(st.text(max_size=4) | st.just("__metadata__"), entries | json_values, max_size=4)


def read(content: bytes) -> dict[str, Any] | None:
    """Read tensors; None where they are refused with a sentence."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            return read_tensors(file)
        except ValueError as error:
            told(error)
            return None


def told(error: Exception) -> None:
    """See that an error says something."""
    assert str(error)


def with_header(header: bytes, data: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + data


@fuzz
@given(st.binary(max_size=200))
def test_bytes_that_are_no_tensors_are_refused(content: bytes) -> None:
    read(content)


@fuzz
@given(headers, st.binary(max_size=64))
def test_headers_of_any_kind_are_refused_or_describe_the_bytes_exactly(
    header: dict[str, Any], data: bytes
) -> None:
    content = with_header(json.dumps(header).encode(), data)
    tensors = read(content)
    if tensors is not None:
        assert sum(array.nbytes for array in tensors.values()) == len(data)


@fuzz
@given(st.data())
def test_what_is_read_of_sound_looking_headers_is_what_the_safetensors_library_reads(data: Any) -> None:
    dtypes = data.draw(st.lists(st.sampled_from(list(DTYPES)), max_size=4))
    shapes = [data.draw(st.lists(st.integers(0, 3), max_size=3)) for _ in dtypes]
    header, end = {}, 0
    for number, (dtype, shape) in enumerate(zip(dtypes, shapes, strict=True)):
        begin, end = end, end + int(np.prod(shape)) * DTYPES[dtype].itemsize
        header[str(number)] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    content = with_header(json.dumps(header).encode(), bytes(number % 2 for number in range(end)))
    ours, theirs = read(content), load_by_library(content)
    assert ours is not None
    assert {name: (array.dtype, array.shape, array.tobytes()) for name, array in ours.items()} == {
        name: (array.dtype, array.shape, array.tobytes()) for name, array in theirs.items()
    }


def entry(dtype: str, shape: str, offsets: str, name: str = "W") -> bytes:
    return f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'.encode()


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (entry("F32", "[2]", "[0,8]") + b"," + entry("F32", "[2]", "[4,12]", "b"), "overlap"),
        (entry("F32", "[1]", "[8,12]"), "overlap or leave a gap"),
        (entry("F32", "[1]", "[0,4]"), "12 bytes of numbers, and its header describes 4"),
        (entry("F32", f"[{2**62}]", "[0,12]"), "another number of bytes"),
        (entry("F32", "[-3]", "[12,0]"), "malformed entry for 'W'"),
        (entry("F32", "[3.0]", "[0,12]"), "malformed entry for 'W'"),
        (entry("F32", f"[0,{2**62},{2**62}]", "[0,0]"), "describes 0"),
        (entry("BF16", "[6]", "[0,12]"), "'BF16'"),
        (entry("BOOL", "[12]", "[0,12]"), "neither 0 nor 1"),
        (b'"W":1,"W":1', "names a key twice"),
        (b'"W":' + b"[" * 100_000, "malformed header"),
        (b"\xff\xfe", "malformed header"),
    ],
)
def test_a_malformed_header_is_told(tmp_path: Path, header: bytes, problem: str) -> None:
    path = tmp_path / "W.safetensors"
    path.write_bytes(with_header(b"{" + header + b"}", b"\x02" * 12))
    with path.open("rb") as file, pytest.raises(ValueError, match=problem):
        read_tensors(file)


@pytest.mark.parametrize("length", [0, 3, 2**31, 2**62, 2**64 - 1])
def test_a_header_longer_than_the_file_takes_no_memory(tmp_path: Path, length: int) -> None:
    path = tmp_path / "W.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{")
    with path.open("rb") as file, pytest.raises(ValueError, match=r"truncated|malformed"):
        read_tensors(file)


@fuzz
@given(json_values)
def test_json_values_come_back_as_they_were(value: Any) -> None:
    try:
        text = to_exact_json(value)
    except TypeError as error:
        told(error)
        return
    try:
        again = from_exact_json(text.encode())
    except ValueError:
        assert any(0xD800 <= ord(letter) < 0xE000 for letter in repr(value)) or len(text) > 1000
        return
    assert repr(again) == repr(value)


@fuzz
@given(st.binary(max_size=100) | st.text(alphabet='[]{}":,$float0123456789.-+eE \\uNaIty', max_size=60))
def test_text_that_is_no_json_is_refused(text: Any) -> None:
    try:
        value = from_exact_json(text if isinstance(text, bytes) else text.encode())
    except ValueError as error:
        told(error)
        return
    assert repr(from_exact_json(to_exact_json(value).encode())) == repr(value)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A sound checkpoint, and what its files hold."""
    store = CheckpointStore(tmp_path_factory.mktemp("run"))
    place = store.save(State({"W": np.arange(4.0)}, {"at": 3}), 3)
    return place, {path.name: path.read_bytes() for path in place.iterdir()}


@fuzz
@given(st.data())
def test_a_mutated_checkpoint_is_refused_or_the_one_that_was_written(
    written: tuple[Path, dict[str, bytes]], data: Any
) -> None:
    place, contents = written
    name = data.draw(st.sampled_from(sorted(contents)))
    content = contents[name]
    begin = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(begin, len(content)))
    changed = content[:begin] + data.draw(st.binary(max_size=8)) + content[end:]
    (place / name).write_bytes(changed)
    try:
        found = read_checkpoint(place)
    except Damaged as damage:
        told(damage)
    else:
        assert changed == content
        assert found.state.tensors["W"].tolist() == [0, 1, 2, 3]
    finally:
        (place / name).write_bytes(content)


def test_the_fuzzer_would_see_a_change(tmp_path: Path) -> None:
    """What is written passes the readers that refuse all else."""
    file = io.BytesIO()
    write_tensors(file, {"W": np.arange(3.0)})
    tensors = read(file.getvalue())
    assert tensors is not None
    assert tensors["W"].tolist() == [0, 1, 2]
