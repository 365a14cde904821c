"""Arrays that stay in their npy files, and the data source that is made of them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.data.npy_files import npy
from trainer.data.stored import StoredArray
from trainer.errors import RunError, UsageError

NUMBERS = np.random.default_rng(0).integers(0, 256, (40, 1, 3, 2))


def npy_bytes(array: NDArray[Any], **arguments: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **arguments)
    return file.getvalue()


class TestStoredArray:
    @pytest.mark.parametrize("dtype", ["uint8", "float32", ">f8", "int16", "bool", "float16"])
    def test_gives_what_numpy_gives(self, tmp_path: Path, dtype: str) -> None:
        array = NUMBERS.astype(dtype)
        np.save(tmp_path / "a.npy", array)
        stored = StoredArray(tmp_path / "a.npy")
        assert (stored.shape, stored.dtype, len(stored), stored.ndim) == (array.shape, array.dtype, 40, 4)
        shuffled = np.random.default_rng(1).permutation(40)
        keys: list[Any] = [0, -1, slice(None), slice(3, 9), slice(38, 99), slice(9, 3), slice(1, 30, 4)]
        for key in [*keys, shuffled, shuffled[:0], np.array([-1, 0, 0]), np.arange(40) % 3 == 0]:
            assert np.array_equal(stored[key], array[key])
        assert np.array_equal(np.asarray(stored), array)
        stored.prefetch(shuffled)

    def test_scales_to_float32(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", NUMBERS.astype(np.uint8))
        stored = StoredArray(tmp_path / "a.npy", scale=1 / 255)
        assert stored.dtype == stored[:3].dtype == stored[0].dtype == np.float32
        np.testing.assert_allclose(stored[5:9], NUMBERS[5:9] / 255, rtol=1e-6)

    def test_refuses_a_place_outside(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", NUMBERS)
        with pytest.raises(IndexError):
            StoredArray(tmp_path / "a.npy")[np.array([3, 40])]

    @pytest.mark.parametrize("key", [slice(0, 40), np.array([39])])
    def test_a_file_that_is_cut_short_meanwhile_ends_the_run_with_its_name(
        self, tmp_path: Path, key: Any
    ) -> None:
        np.save(tmp_path / "a.npy", NUMBERS)
        stored = StoredArray(tmp_path / "a.npy")
        os.truncate(tmp_path / "a.npy", 1000)
        with pytest.raises(RunError, match=r"a\.npy: has 1,000 bytes now"):
            stored[key]

    def test_a_file_that_is_deleted_meanwhile_is_still_read(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", NUMBERS)
        stored = StoredArray(tmp_path / "a.npy")
        (tmp_path / "a.npy").unlink()
        assert np.array_equal(stored[:], NUMBERS)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is no sound npy file"),
            (b"PK\x03\x04" + bytes(100), "is no sound npy file.*magic"),
            (npy_bytes(NUMBERS)[:40], "is no sound npy file"),
            (npy_bytes(NUMBERS).replace(b"'descr'", b"'descx'"), "is no sound npy file"),
            (npy_bytes(NUMBERS).replace(b"(40, 1", b"(-4, 1"), r"shape \(-4, 1, 3, 2\)"),
            (npy_bytes(NUMBERS).replace(b"{'descr'", b"{{descr("), "is no sound npy file"),
            (npy_bytes(NUMBERS)[:-1], r"is cut short: 40 rows need 2,048 bytes, but it ends after 2,047"),
            (npy_bytes(np.array([{}, {}]), allow_pickle=True), "Python objects, which are not read"),
            (npy_bytes(np.array(["a", "b"])), "holds <U1; whole numbers, floats or booleans"),
            (npy_bytes(np.zeros(3, [("a", "f4")])), "whole numbers, floats or booleans"),
            (npy_bytes(np.zeros((3, 2), complex)), "holds complex128"),
            (npy_bytes(np.zeros((0, 2))), r"shape \(0, 2\)"),
            (npy_bytes(np.array(3.0)), r"shape \(\)"),
            (npy_bytes(np.asfortranarray(np.zeros((3, 2)))), "Fortran order"),
        ],
    )
    def test_names_a_file_that_it_cannot_take(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "broken.npy"
        path.write_bytes(content)
        with pytest.raises(UsageError, match=message) as error:
            StoredArray(path)
        assert str(path) in str(error.value)

    def test_names_a_missing_file_and_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"none\.npy: cannot be read \(No such file"):
            StoredArray(tmp_path / "none.npy")
        with pytest.raises(UsageError, match="cannot be read"):
            StoredArray(tmp_path)


class Files:
    """Writes the files of a set into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, targets: Any, inputs: NDArray[Any] = NUMBERS) -> tuple[str, str]:
        np.save(self.folder / "inputs.npy", inputs)
        np.save(self.folder / "targets.npy", targets)
        return str(self.folder / "inputs.npy"), str(self.folder / "targets.npy")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


class TestNpy:
    def test_divides_all_examples_among_the_parts_by_class(self, files: Files) -> None:
        data = npy(*files(np.arange(40) % 2), validation_fraction=0.2, test_fraction=0.1, scale=0.5)
        parts = (data.train, data.validation, data.test)
        assert [len(part) for part in parts] == [28, 8, 4]
        assert (data.input_shape, data.outputs, data.classes, data.name) == ((1, 3, 2), 2, 2, "inputs")
        assert [np.bincount(part.targets).tolist() for part in parts] == [[14, 14], [4, 4], [2, 2]]
        found = np.concatenate([np.asarray(part.inputs) for part in parts])
        assert sorted(found.tolist()) == sorted((NUMBERS / 2).tolist())

    def test_each_input_keeps_its_target_through_the_batches(self, files: Files) -> None:
        numbers = np.arange(40)
        data = npy(*files(numbers.astype(np.float32), np.repeat(numbers[:, np.newaxis], 3, axis=1)))
        assert data.classes is None
        assert data.outputs == 1
        batches = data.train.batches(7, seed=1)
        assert batches.ahead == 0
        assert "read from the file" in batches.describe()
        for inputs, targets in batches.epoch(1):
            assert inputs.dtype == targets.dtype == np.float32
            assert inputs.tolist() == [[target] * 3 for target in targets]

    def test_the_split_depends_on_its_seed_alone(self, files: Files) -> None:
        names = files(np.arange(40) % 2)

        def test_part(seed: int) -> Any:
            return np.asarray(npy(*names, seed=seed).test.inputs).tolist()

        assert test_part(3) == test_part(3)
        assert test_part(3) != test_part(4)

    def test_takes_the_number_of_classes_and_truth_values(self, files: Files) -> None:
        assert npy(*files(np.arange(40) % 2), classes=5).outputs == 5
        assert npy(*files(np.arange(40) % 2 == 0)).classes == 2

    def test_works_without_targets(self, files: Files) -> None:
        name, _ = files(np.zeros(40))
        data = npy(name)
        assert data.classes is None
        assert len(data.train.targets) == len(data.train) == 32

    def test_takes_several_values_an_example(self, files: Files) -> None:
        data = npy(*files(np.ones((40, 3))))
        assert (data.outputs, data.classes) == (3, None)

    @pytest.mark.parametrize(
        ("targets", "arguments", "message"),
        [
            (np.zeros(39), {}, r"targets\.npy: has 39 targets, but .*inputs\.npy has 40 inputs"),
            (np.arange(40) - 2, {}, r"targets\.npy: target \[0\] is -2; the classes go from 0 to 37"),
            (np.arange(40), {"classes": 10}, r"targets\.npy: target \[10\] is 10; .* from 0 to 9"),
            (np.zeros(40), {"classes": 10}, r"data\.classes=10 needs whole numbers .* holds float64"),
            (np.where(np.arange(40) == 7, np.nan, 1), {}, r"targets\.npy: target \[7\] is nan"),
            (np.zeros(40), {"test_fraction": 1.0}, r"data\.test_fraction is 1"),
        ],
    )
    def test_names_what_does_not_fit(
        self, files: Files, targets: Any, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            npy(*files(targets), **arguments)

    def test_refuses_inputs_without_an_axis(self, files: Files) -> None:
        with pytest.raises(UsageError, match=r"shape \(40,\); inputs need"):
            npy(*files(np.zeros(40), np.zeros(40)))

    @pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell")
    def test_reading_all_rows_keeps_nothing_in_memory(self, tmp_path: Path) -> None:
        def resident() -> int:
            lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
            return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))

        array = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (1024, 64 * 1024))  # type: ignore[no-untyped-call]
        array[::16] = 1
        del array
        data = npy(str(tmp_path / "a.npy"))
        batches = data.train.batches(8, seed=1, dtype="uint8")
        sum(1 for _ in batches.epoch(1))
        before = resident()
        assert sum(len(inputs) for inputs, _ in batches.epoch(2)) == len(data.train)
        assert resident() - before < 8 * 1024**2
