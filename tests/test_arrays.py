"""Arrays in npz files: inputs, targets, parts, and what is refused, at which place."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data import npz
from trainer.errors import UsageError

INPUTS = np.arange(60, dtype=np.float64).reshape(20, 3)
TARGETS = np.arange(20) % 2

WHOLE: dict[str, Any] = {"validation_fraction": 0.0, "test_fraction": 0.0}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(**arrays: Any) -> str:
        path = tmp_path / "arrays.npz"
        np.savez(path, **{"inputs": INPUTS, "targets": TARGETS, **arrays})
        return str(path)

    return write


class TestNpz:
    def test_gives_the_arrays_in_parts(self, write: Callable[..., str]) -> None:
        data = npz(write(), validation_fraction=0.1, test_fraction=0.2)
        assert [len(part) for part in (data.train, data.validation, data.test)] == [14, 2, 4]
        assert (data.input_shape, data.outputs, data.classes, data.class_names) == ((3,), 2, 2, ("0", "1"))
        inputs = np.concatenate([data.train.inputs, data.validation.inputs, data.test.inputs])
        targets = np.concatenate([data.train.targets, data.validation.targets, data.test.targets])
        assert inputs.dtype == np.float32
        assert np.array_equal(inputs[np.argsort(inputs[:, 0])], INPUTS)
        assert np.array_equal(targets, inputs[:, 0] / 3 % 2)
        assert data.validation.targets.tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("targets", "wanted", "names"),
        [
            (["b", "a"] * 10, [1, 0] * 10, ("a", "b")),
            (np.array([b"b", b"a"] * 10), [1, 0] * 10, ("a", "b")),
            ([True, False] * 10, [1, 0] * 10, ("0", "1")),
            ([7, -3] * 10, [1, 0] * 10, ("-3", "7")),
            ([2.0, 1.0] * 10, [1, 0] * 10, ("1", "2")),
            ([0.5, 1.0] * 10, [0.5, 1.0] * 10, None),
            (np.eye(20), np.eye(20).tolist(), None),
        ],
    )
    def test_tells_classes_from_values(
        self, write: Callable[..., str], targets: Any, wanted: list[Any], names: tuple[str, ...] | None
    ) -> None:
        data = npz(write(targets=np.asarray(targets)), **WHOLE)
        assert data.train.targets.tolist() == wanted
        assert data.train.targets.dtype == (np.float32 if names is None else np.int32)
        assert data.class_names == names
        assert data.outputs == (2 if names else 20 if np.ndim(targets) == 2 else 1)

    def test_takes_the_parts_that_the_file_has(self, write: Callable[..., str]) -> None:
        file = write(x=np.ones((2, 3), np.uint8), y=[1, 1])
        data = npz(file, test_inputs="x", test_targets="y", validation_fraction=0.25)
        assert (len(data.train), len(data.validation)) == (15, 5)
        assert data.test.inputs.tolist() == [[1, 1, 1]] * 2
        assert data.test.targets.tolist() == [1, 1]

    def test_scales_and_shapes_inputs(self, write: Callable[..., str]) -> None:
        data = npz(write(inputs=np.full((20, 6), 255, np.uint8)), shape=[1, 2, 3], scale=1 / 255)
        assert data.input_shape == (1, 2, 3)
        assert np.all(data.train.inputs == 1)

    def test_knows_nothing_of_arrays_that_are_not_asked_for(self, write: Callable[..., str]) -> None:
        assert len(npz(write(other=np.array([{}], object)), **WHOLE).train) == 20

    @pytest.mark.parametrize(
        ("arrays", "arguments", "named"),
        [
            ({}, {"inputs": "input"}, "has no array 'input': did you mean inputs?"),
            ({"targets": TARGETS[:-1]}, {}, r"targets has the shape \(19,\), but inputs has 20 examples"),
            ({"inputs": INPUTS[:0]}, {}, "inputs is empty"),
            ({"inputs": np.float32(1)}, {}, r"inputs holds float32 of the shape \(\)"),
            ({"inputs": np.array(["a"] * 20)}, {}, "inputs holds <U1"),
            ({"inputs": INPUTS + 1j}, {}, "inputs holds complex128"),
            ({"inputs": np.array([{}] * 20)}, {}, "inputs cannot be read .*allow_pickle"),
            ({"targets": TARGETS + 1j}, {}, "targets holds complex128"),
            ({"inputs": np.where(INPUTS == 10, np.nan, INPUTS)}, {}, r"inputs\[3, 1\] is nan"),
            ({"inputs": np.where(INPUTS == 10, 1e39, INPUTS)}, {}, r"inputs\[3, 1\] is 1e\+39"),
            ({"targets": np.where(INPUTS == 10, np.inf, INPUTS)}, {}, r"targets\[3, 1\] is inf"),
            ({"targets": np.where(INPUTS == 9, np.nan, INPUTS)[:, 0]}, {}, r"targets\[3\]: nan is not"),
            ({"targets": [3] * 20}, {}, r"targets\[0\]: all targets are 3"),
            ({"targets": np.array(["a", ""] * 10)}, {}, r"targets\[1\]: the value is missing"),
            ({"targets": INPUTS}, {"task": "classes"}, r"targets holds float64 of the shape \(20, 3\)"),
            ({}, {"shape": [1, 2, 2]}, r"data.shape=\[1, 2, 2\] does not fit"),
            ({}, {"test_inputs": "inputs"}, "data.test_inputs and data.test_targets belong together"),
            (
                {"y": TARGETS + 1},
                {"test_inputs": "inputs", "test_targets": "y"},
                r"y\[1\]: '2' is none of the 2 classes .*: 0, 1",
            ),
            (
                {"y": INPUTS},
                {"test_inputs": "inputs", "test_targets": "y"},
                r"y has the shape \(20, 3\), but an example of the training part .* of the shape \(\)",
            ),
            (
                {"x": INPUTS[:, :2]},
                {"test_inputs": "x", "test_targets": "targets"},
                r"test inputs of .* have the shape \(2,\), but the set says \(3,\)",
            ),
        ],
    )
    def test_names_what_does_not_serve_and_its_place(
        self, write: Callable[..., str], arrays: dict[str, Any], arguments: dict[str, Any], named: str
    ) -> None:
        with pytest.raises(UsageError, match=named):
            npz(write(**arrays), **arguments)

    def test_refuses_files_that_are_broken(self, write: Callable[..., str], tmp_path: Path) -> None:
        path = Path(write())
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 4] ^= 1
        array = io.BytesIO()
        np.save(array, INPUTS)
        foreign = io.BytesIO()
        with zipfile.ZipFile(foreign, "w") as archive:
            archive.writestr("inputs.npy", b"no array")
        for content, named in (
            (b"", "is no npz file, or is cut short"),
            (whole[:-30], "is no npz file, or is cut short"),
            (array.getvalue(), "a single array, npy, is read by data=npy"),
            (bytes(flipped), "inputs cannot be read"),
            (foreign.getvalue(), "inputs is no array"),
        ):
            path.write_bytes(content)
            with pytest.raises(UsageError, match=rf"arrays\.npz: .*{named}"):
                npz(str(path))
        with pytest.raises(UsageError, match=r"none\.npz: cannot be read \(No such file"):
            npz(str(tmp_path / "none.npz"))
