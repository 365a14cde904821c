"""Checkpoints on disk: the same bits come back, and no damage goes unnoticed."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trainer.checkpoints import CheckpointStore, State, read_tensors, save_tensors
from trainer.checkpoints.exact_json import from_exact_json, to_exact_json

GENERATOR = np.random.default_rng(0)
TENSORS: dict[str, Any] = {
    "dense_1.W": GENERATOR.standard_normal((7, 5)).astype("f4"),
    "dense_1.W.velocity": np.asfortranarray(GENERATOR.standard_normal((7, 5))),
    "dropout_1.random_1": GENERATOR.integers(-(2**31), 2**31, (30, 6)).astype("i4"),
    "t": np.array(3.0, "f4"),
    "empty": np.zeros((0, 4), "f2"),
    "mask": np.array([True, False, True]),
    "every second": np.arange(10, dtype="u8")[::2],
    "other end": np.arange(3, dtype=">i2"),
    "not numbers": np.array([math.nan, math.inf, -math.inf, -0.0, 5e-324]),
    "é/\n..": np.arange(2, dtype="i1"),
}
VALUES = {
    "steps": 12,
    "seconds": 0.1 + 0.2,
    "stream": {"state": 2**127 + 1, "inc": -1},
    "best": {"validation/loss": math.inf, "worst": -math.inf, "none": math.nan},
    "history": [{"epoch": 1, "name": "é\u2028"}, {}, []],
    "stopped": None,
    "ok": True,
}


def store_with(folder: Path, *steps: int, keep: int = 9) -> CheckpointStore:
    folder.mkdir(exist_ok=True)
    store = CheckpointStore(folder / "checkpoints", keep=keep)
    for step in steps:
        store.save(State({"W": np.full(300, step, "f4")}, {"at": step}), step)
    return store


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_every_bit_of_a_state_comes_back(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(State(TENSORS, VALUES), 1200, is_best=True)
    assert names(tmp_path) == {"step-000001200"}
    assert names(tmp_path / "step-000001200") == {"tensors.safetensors", "state.json"}
    found = store.newest_sound()
    assert found is not None
    assert (found.step, found.is_best, found.folder) == (1200, True, tmp_path / "step-000001200")
    assert list(found.state.tensors) == list(TENSORS)
    for name, array in found.state.tensors.items():
        assert array.dtype == TENSORS[name].dtype.newbyteorder("<")
        assert array.shape == TENSORS[name].shape
        assert array.tobytes() == TENSORS[name].astype(array.dtype).tobytes()
        assert array.flags.writeable
    assert repr(found.state.values) == repr(VALUES)


def test_the_tensors_are_what_the_safetensors_library_reads_and_writes(tmp_path: Path) -> None:
    save_tensors(tmp_path / "ours.safetensors", TENSORS)
    theirs = load_file(tmp_path / "ours.safetensors")
    assert set(theirs) == set(TENSORS)
    for name, array in theirs.items():
        np.testing.assert_array_equal(array, TENSORS[name])
        assert array.shape == TENSORS[name].shape
    native = {name: np.ascontiguousarray(array) for name, array in theirs.items()}
    save_file(native, tmp_path / "theirs.safetensors", metadata={"by": "the library"})
    with (tmp_path / "theirs.safetensors").open("rb") as file:
        ours = read_tensors(file)
    assert {name: array.tobytes() for name, array in ours.items()} == {
        name: array.tobytes() for name, array in native.items()
    }


def test_the_state_is_strict_json_that_any_program_reads(tmp_path: Path) -> None:
    place = CheckpointStore(tmp_path).save(State(TENSORS, VALUES), 5)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    document = json.loads((place / "state.json").read_bytes(), parse_constant=refuse)
    assert (document["version"], document["step"]) == (1, 5)
    assert document["tensors"]["arrays"]["dropout_1.random_1"] == {"dtype": "I32", "shape": [30, 6]}
    sha256sum = subprocess.run(
        ["sha256sum", str(place / "tensors.safetensors")], capture_output=True, text=True, check=True
    )
    assert sha256sum.stdout.split()[0] == document["tensors"]["sha256"]


@pytest.mark.parametrize(
    ("values", "place"),
    [({"a": [1, object()]}, r"values\.a\[1\]"), ({"a": {1: 2}}, r"values\.a"), ({"$float": 1}, "values")],
)
def test_what_json_cannot_hold_is_refused_by_its_place(values: Any, place: str) -> None:
    with pytest.raises(TypeError, match=place):
        to_exact_json(values)


def test_arrays_that_the_format_does_not_have_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"'z'.*complex128"):
        CheckpointStore(tmp_path).save(State({"z": np.zeros(2, complex)}, {}), 1)
    assert not names(tmp_path)


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in range(1, 8):
        store.save(State({}, {}), step, is_best=step in (2, 4))
    assert store.steps() == [4, 6, 7]
    again = CheckpointStore(tmp_path, keep=1)
    again.save(State({}, {}), 8)
    assert again.steps() == [4, 8]
    again.save(State({}, {}), 9, is_best=True)
    assert again.steps() == [9]
    with pytest.raises(ValueError, match="keep=0"):
        CheckpointStore(tmp_path, keep=0)


def test_a_run_that_went_back_leaves_its_other_future_behind(tmp_path: Path) -> None:
    store = store_with(tmp_path, 10, 20, 30, 40, keep=4)
    store.save(State({}, {"again": True}), 20)
    assert store.steps() == [10, 20]
    newest = store.newest_sound()
    assert newest is not None
    assert newest.state.values == {"again": True}


def test_a_checkpoint_takes_along_the_best_weights_of_its_own_time(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    best = tmp_path / "best.safetensors"
    store.save(State({}, {}), 1)
    for step in (2, 3):
        save_tensors(best, {"W": np.full(3, step, "f4")})
        store.save(State({}, {}), step)
    assert best.stat().st_nlink == 2  # no second copy of it
    checkpoint = store.newest_sound(before=3)
    assert checkpoint is not None
    assert load_file(checkpoint.files["best.safetensors"])["W"].tolist() == [2, 2, 2]
    for _ in range(2):
        store.restore_files(checkpoint)
        assert load_file(best)["W"].tolist() == [2, 2, 2]
    earliest = store.newest_sound(before=2)
    assert earliest is not None
    store.restore_files(earliest)
    assert names(tmp_path) == {"step-000000001", "step-000000002", "step-000000003"}


def test_damaged_weights_beside_a_state_cost_no_more_than_they_must(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    for step in (1, 2, 3):
        if step < 3:
            save_tensors(tmp_path / "best.safetensors", {"W": np.full(3, step, "f4")})
        store.save(State({}, {}), step)
    (tmp_path / "best.safetensors").write_bytes(b"")  # in place: that of 3 and of 2 are the same file
    found = store.newest_sound()
    assert found is not None
    assert (found.step, list(found.files)) == (1, ["best.safetensors"])
    assert "best.safetensors does not have its checksum" in caplog.text
    shutil.rmtree(tmp_path / "step-000000001")
    found = store.newest_sound()
    assert found is not None
    assert (found.step, dict(found.files)) == (3, {})


def test_without_hard_links_the_best_weights_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    save_tensors(tmp_path / "best.safetensors", {"W": np.ones(3)})
    place = CheckpointStore(tmp_path).save(State({}, {}), 1)
    assert (place / "best.safetensors").read_bytes() == (tmp_path / "best.safetensors").read_bytes()
    assert (tmp_path / "best.safetensors").stat().st_nlink == 1


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the state by hand, with a checksum that fits."""
    import hashlib

    document = json.loads((folder / "state.json").read_bytes())
    del document["sha256"]
    change(document)
    body = json.dumps(document, separators=(",", ":"))[:-1].encode()
    seal = hashlib.sha256(body).hexdigest()
    (folder / "state.json").write_bytes(body + f',"sha256":"{seal}"}}\n'.encode())


def _replace_by_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("x")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tensors": (lambda at: (at / "tensors.safetensors").unlink(), "tensors.safetensors is missing"),
    "no state": (lambda at: (at / "state.json").unlink(), "state.json is missing"),
    "a file": (_replace_by_file, "is no folder"),
    "a link": (_replace_by_link, "is no folder"),
    "linked tensors": (lambda at: _replace_by_link(at / "tensors.safetensors"), "is a symbolic link"),
    "linked state": (lambda at: _replace_by_link(at / "state.json"), "is a symbolic link"),
    "a pipe": (lambda at: _replace_by_pipe(at / "tensors.safetensors"), "is no ordinary file"),
    "a folder": (lambda at: _replace_by_folder(at / "state.json"), "is no ordinary file"),
    "empty state": (lambda at: (at / "state.json").write_text(""), "state.json is not sound"),
    "a list": (lambda at: (at / "state.json").write_text("[1]"), "state.json has no version"),
    "deep": (lambda at: (at / "state.json").write_text("[" * 10**6), "nested too deep"),
    "a constant": (lambda at: (at / "state.json").write_text('{"version": NaN}'), "which is not JSON"),
    "a twice-named key": (lambda at: (at / "state.json").write_text('{"a":1,"a":1}'), "names a key twice"),
    "a huge number": (lambda at: (at / "state.json").write_text("9" * 2000), "a whole number of 2000 digits"),
    "a nest": (lambda at: (at / "state.json").write_text("[" * 150 + "]" * 150), "nested deeper than 100"),
    "a newer version": (lambda at: _edit(at, lambda state: state.update(version=2)), "is of version 2"),
    "a true version": (lambda at: _edit(at, lambda state: state.update(version=True)), "has no version"),
    "without values": (lambda at: _edit(at, lambda state: state.pop("values")), "lacks what version 1 has"),
    "listed values": (lambda at: _edit(at, lambda state: state.update(values=[])), "no JSON object"),
    "another step": (lambda at: _edit(at, lambda state: state.update(step=21)), "is of step 21"),
    "outside": (
        lambda at: _edit(at, lambda state: state["files"].update({"../x": "0"})),
        "names a file outside",
    ),
    "other arrays": (lambda at: _edit(at, lambda state: state["tensors"]["arrays"].clear()), "does not hold"),
    "changed by hand": (
        lambda at: (at / "state.json").write_bytes(
            (at / "state.json").read_bytes().replace(b'"at":20', b'"at":2')
        ),
        "state.json does not have its checksum",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_newest_sound_one_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    store = store_with(tmp_path, 10, 20)
    harm, told = DAMAGES[damage]
    harm(store.folder / "step-000000020")
    found = store.newest_sound()
    assert found is not None
    assert (found.step, found.state.values) == (10, {"at": 10})
    (warning,) = caplog.messages
    assert str(store.folder / "step-000000020") in warning
    assert told in warning


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
def test_a_truncated_or_changed_file_is_never_taken_for_a_sound_one(tmp_path: Path, file: str) -> None:
    """At every 1000th byte (every 50th of a small file), and at the ends."""
    store = CheckpointStore(tmp_path)
    tensors = {"W": GENERATOR.standard_normal((100, 100)).astype("f4"), "t": np.array(1, "i4")}
    place = store.save(State(tensors, {"history": list(range(300))}), 7)
    content = (place / file).read_bytes()
    spots = {*range(0, len(content), 1000 if len(content) > 20_000 else 50), 1, 7, 8, 9, len(content) - 1}
    for spot in sorted(spots):
        (place / file).write_bytes(content[:spot])
        assert store.newest_sound() is None, spot
        changed = bytearray(content)
        changed[spot] ^= 1 << (spot % 8)
        (place / file).write_bytes(changed)
        assert store.newest_sound() is None, spot
    (place / file).write_bytes(content + b" ")
    assert store.newest_sound() is None
    (place / file).write_bytes(content)
    assert store.newest_sound() is not None


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "none").newest_sound() is None
    assert CheckpointStore(tmp_path / "none").steps() == []
    CheckpointStore(tmp_path / "none").prepare()
    store = store_with(tmp_path, 10, 20)
    for name in ("step-1", "step-00000003x", "other"):
        (store.folder / name).mkdir()
    assert store.steps() == [10, 20]


WRITE_FOREVER = """
import sys
import numpy as np
from pathlib import Path
from trainer.checkpoints import CheckpointStore, State
store = CheckpointStore(Path(sys.argv[1]), keep=2)
store.prepare()
found = store.newest_sound()
assert found is None or (found.state.tensors["W"] == found.step).all()
step = found.step if found else 0
print(step, flush=True)
while True:
    step += 1
    store.save(State({"W": np.full(200_000, step, "f4")}, {"at": step}), step)
    if step % 2:
        store.save(State({"W": np.full(200_000, step, "f4")}, {"at": step}), step)
    print(step, flush=True)
"""


def test_a_killed_writer_loses_nothing_and_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed while it writes, renames and deletes; what it reported as saved is there."""
    store = CheckpointStore(tmp_path)
    reported = 0
    for kill in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOREVER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        with process:
            assert process.stdout is not None
            for _ in range(2 + kill % 4):
                reported = int(process.stdout.readline())
            process.kill()
            reported = max([reported, *(int(line) for line in process.stdout if line.endswith("\n"))])
        store.prepare()
        found = store.newest_sound()
        assert found is not None
        assert found.step in (reported, reported + 1)
        assert (found.state.tensors["W"] == found.step).all()
        assert all(name.startswith("step-") for name in names(tmp_path))
    assert not caplog.messages


def test_a_folder_moved_aside_for_a_state_that_never_came_is_moved_back(tmp_path: Path) -> None:
    store = store_with(tmp_path, 10)
    place = store.folder / "step-000000010"
    place.rename(store.folder / ".step-000000010.old")
    (store.folder / ".step-000000020.part").mkdir()
    (store.folder / ".best.safetensors.123.part").write_text("half")
    store.prepare()
    assert names(store.folder) == {"step-000000010"}
    assert store.newest_sound() is not None


def test_values_read_back_equal_json_of_python_where_both_can() -> None:
    text = to_exact_json(VALUES).encode()
    assert repr(from_exact_json(text)) == repr(VALUES)
    plain = {"a": [1, 2.5, "x", None, True, {"b": 1e-300}]}
    assert json.loads(to_exact_json(plain)) == plain
    assert to_exact_json({"n": np.float32(0.5), "k": np.int64(3)}) == '{"n":0.5,"k":3}'


def test_reading_checkpoints_imports_nothing_heavy() -> None:
    code = (
        "import sys, trainer.checkpoints; print(sorted({'theano', 'hydra', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
