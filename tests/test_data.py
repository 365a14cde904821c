"""Data sources: what is in the parts, and what is refused."""

from __future__ import annotations

import doctest
import gzip
import inspect
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from numpy.typing import NDArray
from omegaconf import OmegaConf
from sklearn.datasets import load_digits

from tests.conftest import MNIST, needs_mnist
from trainer import data
from trainer.data import Data, Part, digits, mnist
from trainer.errors import UsageError

CHECKOUT = Path(__file__).parents[1]
KINDS = {np.dtype("u1"): 0x08, np.dtype("i1"): 0x09, np.dtype("i2"): 0x0B}


def idx_bytes(values: NDArray[Any]) -> bytes:
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, KINDS[values.dtype], values.ndim, *values.shape)
    return head + values.astype(values.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder: Path, **replaced: bytes) -> Path:
    """Write 5 training and 2 test images of 2 × 3 pixels; `replaced` are other contents for its files."""
    contents = {
        "train_images": idx_bytes(np.arange(30, dtype=np.uint8).reshape(5, 2, 3) * 8),
        "train_labels": idx_bytes(np.array([3, 1, 4, 1, 5], np.uint8)),
        "t10k_images": idx_bytes(np.full((2, 2, 3), 255, np.uint8)),
        "t10k_labels": idx_bytes(np.array([9, 0], np.uint8)),
    }
    names = {
        "train_images": "train-images-idx3-ubyte",
        "train_labels": "train-labels.idx1-ubyte.gz",
        "t10k_images": "t10k-images.idx3-ubyte",
        "t10k_labels": "t10k-labels-idx1-ubyte.gz",
    }
    for key, name in names.items():
        content = contents[key]
        packed = gzip.compress(content) if name.endswith(".gz") else content
        (folder / name).write_bytes(replaced.get(key, packed))
    return folder


def examples(number: int) -> Part:
    """Give examples whose inputs tell their place."""
    return Part(np.arange(2 * number, dtype=np.float32).reshape(number, 2), np.arange(number))


def sorted_rows(whole: Data) -> list[tuple[float, ...]]:
    """Give all examples of all parts, each with its target."""
    parts = (whole.train, whole.validation, whole.test)
    rows = np.concatenate([np.column_stack([part.inputs, part.targets]) for part in parts])
    return sorted(map(tuple, rows.tolist()))


class TestDigits:
    def test_has_every_image_of_scikit_learn_once_with_its_label(self) -> None:
        parts = digits()
        inputs = np.concatenate([parts.train.inputs, parts.validation.inputs, parts.test.inputs])
        targets = np.concatenate([parts.train.targets, parts.validation.targets, parts.test.targets])
        original = load_digits()
        got = np.column_stack([inputs.reshape(-1, 64) * 16, targets])
        wanted = np.column_stack([original.data, original.target])
        assert np.array_equal(got[np.lexsort(got.T)], wanted[np.lexsort(wanted.T)])

    def test_gives_images_of_float32_from_0_to_1_and_whole_number_targets(self) -> None:
        parts = digits()
        assert parts.train.inputs.dtype == np.float32
        assert parts.train.inputs.shape == (1797 - 270 - 270, 1, 8, 8)
        assert parts.train.inputs.min() == 0
        assert parts.train.inputs.max() == 1
        assert parts.train.targets.dtype == np.int32
        assert (parts.input_shape, parts.outputs, parts.classes) == ((1, 8, 8), 10, 10)

    def test_says_what_it_is(self) -> None:
        assert digits().description == (
            "digits: 1,257 to train, 270 to validate, 270 to test; inputs 1 × 8 × 8, 10 classes"
        )

    @pytest.mark.parametrize(("validation", "test"), [(0.15, 0.15), (0.2, 0.1), (0.5, 0.3)])
    def test_each_class_has_its_share_of_each_part(self, validation: float, test: float) -> None:
        parts = digits(validation, test, seed=3)
        counts = np.bincount(load_digits().target)
        assert np.all(abs(np.bincount(parts.validation.targets) - counts * validation) < 1)
        assert np.all(abs(np.bincount(parts.test.targets) - counts * test) < 1)
        assert len(parts.validation) == round(1797 * validation)
        assert len(parts.test) == round(1797 * test)

    def test_the_split_is_a_function_of_its_seed(self) -> None:
        assert np.array_equal(digits(seed=5).test.inputs, digits(seed=5).test.inputs)
        assert not np.array_equal(digits(seed=5).test.inputs, digits(seed=6).test.inputs)

    def test_a_fraction_of_zero_gives_an_empty_part(self) -> None:
        parts = digits(validation_fraction=0, test_fraction=0)
        assert (len(parts.train), len(parts.validation), len(parts.test)) == (1797, 0, 0)
        assert parts.validation.inputs.shape == (0, 1, 8, 8)

    @pytest.mark.parametrize(
        ("validation", "test", "named"),
        [(-0.1, 0.1, "validation_fraction"), (0.1, 1.0, "test_fraction"), (0.5, 0.5, "nothing to train on")],
    )
    def test_refuses_fractions_out_of_range(self, validation: float, test: float, named: str) -> None:
        with pytest.raises(UsageError, match=named):
            digits(validation, test)

    def test_loads_neither_theano_nor_scikit_learn(self) -> None:
        code = "import sys, trainer.data as d; d.digits(); print(*{'theano', 'sklearn'} & set(sys.modules))"
        result = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
        assert (result.stdout.strip(), result.stderr, result.returncode) == ("", "", 0)


class TestTablesOfScikitLearn:
    @pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
    def test_have_every_example_once_with_its_class(self, name: str) -> None:
        ours = getattr(data, name)()
        original = getattr(sklearn.datasets, f"load_{name}")()
        assert sorted_rows(ours) == sorted(
            map(tuple, np.column_stack([original.data, original.target]).astype(np.float32).tolist())
        )
        assert ours.feature_names == tuple(original.feature_names)
        assert ours.class_names == tuple(original.target_names)
        assert (ours.outputs, ours.classes) == (len(original.target_names),) * 2
        assert ours.input_shape == original.data.shape[1:]
        assert ours.train.targets.dtype == np.int32

    def test_diabetes_has_every_example_once_with_its_value(self) -> None:
        ours = data.diabetes()
        original = sklearn.datasets.load_diabetes(scaled=False)
        assert sorted_rows(ours) == sorted(
            map(tuple, np.column_stack([original.data, original.target]).astype(np.float32).tolist())
        )
        assert ours.feature_names == tuple(original.feature_names)
        assert (ours.outputs, ours.classes, ours.class_names) == (1, None, None)
        assert ours.train.targets.shape == (442 - 66 - 66,)
        assert ours.train.targets.dtype == np.float32

    def test_are_split_by_class_and_seed(self) -> None:
        ours = data.iris(validation_fraction=0.2, test_fraction=0.1, seed=4)
        parts = (ours.train, ours.validation, ours.test)
        assert [np.bincount(part.targets).tolist() for part in parts] == [[35] * 3, [10] * 3, [5] * 3]
        again, other = (data.iris(0.2, 0.1, seed=seed) for seed in (4, 5))
        assert np.array_equal(again.test.inputs, ours.test.inputs)
        assert not np.array_equal(other.test.inputs, ours.test.inputs)


class TestMnist:
    @needs_mnist
    def test_reads_the_real_files(self) -> None:
        parts = mnist(str(MNIST))
        assert (len(parts.train), len(parts.validation), len(parts.test)) == (50_000, 10_000, 10_000)
        assert parts.input_shape == (1, 28, 28)
        assert parts.train.inputs.dtype == np.float32
        # The counts of the classes and the pixels' mean and deviation are known from the literature.
        known_counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        assert np.bincount(parts.test.targets).tolist() == known_counts
        pixels = np.concatenate([parts.train.inputs, parts.validation.inputs])
        assert pixels.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
        assert pixels.std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)
        assert parts.train.targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]

    def test_holds_the_last_training_images_back_and_scales_bytes(self, tmp_path: Path) -> None:
        parts = mnist(str(write_mnist(tmp_path)), validation_size=2)
        assert parts.train.targets.tolist() == [3, 1, 4]
        assert parts.validation.targets.tolist() == [1, 5]
        assert parts.test.targets.tolist() == [9, 0]
        assert np.allclose(parts.train.inputs.ravel(), np.arange(18) * 8 / 255, rtol=1e-6)
        assert np.all(parts.test.inputs == 1)
        assert parts.input_shape == (1, 2, 3)

    def test_recognises_gzip_by_content_whatever_the_name(self, tmp_path: Path) -> None:
        labels = idx_bytes(np.array([2, 2, 2, 2, 2], np.uint8))
        parts = mnist(str(write_mnist(tmp_path, train_labels=labels)), validation_size=0)
        assert parts.train.targets.tolist() == [2] * 5
        assert len(parts.validation) == 0

    def test_names_missing_files_the_folder_and_the_key(self, tmp_path: Path) -> None:
        write_mnist(tmp_path)
        (tmp_path / "train-images-idx3-ubyte").unlink()
        (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
        with pytest.raises(UsageError) as error:
            mnist(str(tmp_path))
        message = str(error.value)
        assert "train-images-idx3-ubyte, t10k-labels-idx1-ubyte:" in message
        assert "data.folder" in message
        assert str(tmp_path) in message

    @pytest.mark.parametrize("size", [-1, 5, 60_000])
    def test_refuses_a_validation_part_that_leaves_nothing(self, tmp_path: Path, size: int) -> None:
        with pytest.raises(UsageError, match=r"data\.validation_size"):
            mnist(str(write_mnist(tmp_path)), validation_size=size)

    @pytest.mark.parametrize(
        ("file", "content", "named"),
        [
            ("train_labels", gzip.compress(bytes(100))[:-10], "train-labels.idx1-ubyte.gz: .*cut short"),
            ("train_labels", b"\x1f\x8b" + bytes(30), "train-labels.idx1-ubyte.gz: .*gzip"),
            ("train_images", b"", "train-images-idx3-ubyte: is no IDX file.*missing"),
            ("train_images", b"PNG\x0d" + bytes(30), "no IDX file: its first four bytes are 50 4e 47 0d"),
            ("train_images", b"\0\0\x08\x03\0\0\0\x05\0\0", "ends at byte 10"),
            ("train_images", idx_bytes(np.zeros((5, 2, 3), np.uint8))[:-1], "30 bytes .*ends after 29"),
            ("train_images", idx_bytes(np.zeros((5, 2, 3), np.uint8)) + b"\0", "30 bytes .*more follow"),
            ("train_images", b"\0\0\x08\x03" + b"\xff" * 12 + bytes(9), "ends after 9"),
            ("train_images", idx_bytes(np.zeros((4, 2, 3), np.uint8)), "5 labels, .* 4 images"),
            ("train_images", idx_bytes(np.zeros(5, np.uint8)), "images .bytes in 3 dimensions. belong here"),
            ("train_images", idx_bytes(np.zeros((5, 2, 3), np.int16)), "holds int16 numbers"),
            ("train_images", idx_bytes(np.zeros((0, 2, 3), np.uint8)), r"shape \(0, 2, 3\)"),
            ("train_labels", idx_bytes(np.array([1, 2, 10, 0, 11], np.uint8)), "label 3 of 5 is 10"),
            ("t10k_images", idx_bytes(np.zeros((2, 3, 3), np.uint8)), "3 × 3 pixels, .* 2 × 3"),
        ],
    )
    def test_names_a_broken_file_and_the_place(
        self, tmp_path: Path, file: str, content: bytes, named: str
    ) -> None:
        folder = write_mnist(tmp_path, **{file: content})
        with pytest.raises(UsageError, match=named) as error:
            mnist(str(folder), validation_size=1)
        assert str(tmp_path) in str(error.value)


class TestData:
    def test_refuses_inputs_and_targets_of_different_number(self) -> None:
        with pytest.raises(UsageError, match=r"3 inputs .* 2 targets"):
            Part(np.zeros((3, 1)), np.zeros(2))

    def test_refuses_an_empty_training_part(self) -> None:
        with pytest.raises(UsageError, match="training part of data is empty"):
            Data(examples(0), examples(1), examples(1), input_shape=(2,), outputs=1)

    def test_refuses_a_part_of_another_shape(self) -> None:
        with pytest.raises(UsageError, match=r"train inputs .* \(2,\), but the set says \(3,\)"):
            Data(examples(1), examples(1), examples(1), input_shape=(3,), outputs=1)


FILES = sorted(path.stem for path in (CHECKOUT / "conf" / "data").glob("*.yaml"))
ABOUT_ANY_SOURCE = {"normalization", "target_normalization", "augmentation"}


@pytest.mark.parametrize("name", FILES)
def test_the_yaml_file_gives_each_argument_its_default(name: str) -> None:
    node = OmegaConf.to_container(OmegaConf.load(CHECKOUT / "conf" / "data" / f"{name}.yaml"))
    assert isinstance(node, dict)
    assert node.pop("_target_") == f"trainer.data.{name}"
    parameters = inspect.signature(getattr(data, name)).parameters
    defaults = {
        key: "???" if parameter.default is parameter.empty else parameter.default
        for key, parameter in parameters.items()
    }
    assert {key: value for key, value in node.items() if key not in ABOUT_ANY_SOURCE} == defaults


def test_sources_load_nothing_that_only_some_of_them_need() -> None:
    code = "import sys, trainer.data; print(*{'sklearn', 'PIL', 'pooch', 'pyarrow'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr, result.returncode) == ("", "", 0)


def test_the_example_of_a_source_of_ones_own_works() -> None:
    assert doctest.testmod(data) == (0, 4)
