"""Augmentation: what each function does to images, how often, and what it refuses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.data import augmentation
from trainer.data.augmentation import crop, flip, noise, shift


def images(examples: int, channels: int = 2, rows: int = 5, columns: int = 4) -> NDArray[Any]:
    numbers = np.arange(1, 1 + channels * rows * columns, dtype=np.float32)
    return np.repeat(numbers.reshape(1, channels, rows, columns), examples, axis=0)


def moved(image: NDArray[Any], down: int, right: int, fill: float) -> NDArray[Any]:
    """Move an image pixel by pixel."""
    _, rows, columns = image.shape
    result = np.full_like(image, fill)
    for row in range(rows):
        for column in range(columns):
            if 0 <= row - down < rows and 0 <= column - right < columns:
                result[:, row, column] = image[:, row - down, column - right]
    return result


@pytest.mark.parametrize(("function", "key"), [(shift, "pixels"), (crop, "padding")])
@pytest.mark.parametrize("fill", [0.0, -1.5])
def test_shift_and_crop_move_images_whole_each_way_equally_often(
    function: Any, key: str, fill: float
) -> None:
    batch = images(4500)
    possible = {
        moved(batch[0], down, right, fill).tobytes(): (down, right)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    }
    result = function(batch, np.random.default_rng(3), fill=fill, **{key: 1})
    assert result.shape == batch.shape
    assert result.dtype == np.float32
    counts = Counter(possible[image.tobytes()] for image in result)
    assert len(counts) == 9
    # 500 each with a deviation of 21.
    assert all(400 < count < 600 for count in counts.values())


def test_shift_by_none_changes_nothing() -> None:
    assert np.array_equal(shift(images(3), np.random.default_rng(0), pixels=0), images(3))


def test_flip_mirrors_whole_images_as_often_as_asked() -> None:
    batch = images(4000)
    one = batch[0]
    possible = {
        one.tobytes(): "as it was",
        one[:, :, ::-1].tobytes(): "left-right",
        one[:, ::-1].tobytes(): "upside down",
        one[:, ::-1, ::-1].tobytes(): "both",
    }
    result = flip(batch, np.random.default_rng(3), horizontal=0.5, vertical=0.2)
    counts = Counter(possible[image.tobytes()] for image in result)
    expected = {"as it was": 1600, "left-right": 1600, "upside down": 400, "both": 400}
    assert all(abs(counts[kind] - number) < 120 for kind, number in expected.items())


@pytest.mark.parametrize(
    ("arguments", "axis"),
    [({"horizontal": 1.0}, 3), ({"horizontal": 0.0, "vertical": 1.0}, 2), ({"horizontal": 0.0}, None)],
)
def test_flip_with_certainty(arguments: dict[str, float], axis: int | None) -> None:
    batch = images(20)
    wanted = batch if axis is None else np.flip(batch, axis)
    assert np.array_equal(flip(batch, np.random.default_rng(0), **arguments), wanted)


@pytest.mark.parametrize("shape", [(2000, 30), (100, 1, 20, 30)])
def test_noise_is_normal_and_of_the_asked_deviation(shape: tuple[int, ...]) -> None:
    added = noise(np.full(shape, 3, np.float32), np.random.default_rng(1), deviation=0.5) - 3
    assert added.dtype == np.float32
    assert added.mean() == pytest.approx(0, abs=0.01)
    assert added.std() == pytest.approx(0.5, rel=0.01)
    # Of a normal distribution, 68.27 % lie within a deviation and 95.45 % within two.
    assert np.mean(abs(added) < 0.5) == pytest.approx(0.6827, abs=0.01)
    assert np.mean(abs(added) < 1) == pytest.approx(0.9545, abs=0.005)


def test_noise_of_both_precisions_is_the_same_noise() -> None:
    single = noise(np.zeros((4, 3), np.float32), np.random.default_rng(1))
    double = noise(np.zeros((4, 3), np.float64), np.random.default_rng(1))
    assert double.dtype == np.float64
    assert np.array_equal(single, double)


@pytest.mark.parametrize("name", ["shift", "crop", "flip", "noise"])
def test_depends_on_the_generator_alone_and_leaves_the_batch_as_it_was(name: str) -> None:
    function = getattr(augmentation, name)
    batch = images(50)
    first = function(batch, np.random.default_rng(7))
    assert np.array_equal(batch, images(50))
    assert np.array_equal(function(batch, np.random.default_rng(7)), first)
    assert not np.array_equal(function(batch, np.random.default_rng(8)), first)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("shift", {"pixels": -1}, "pixels=-1: give a whole number of at least 0"),
        ("crop", {"padding": -1}, "padding=-1: give a whole number of at least 0"),
        ("flip", {"horizontal": 1.5}, "horizontal=1.5: give a probability from 0 to 1"),
        ("flip", {"vertical": -0.1}, "vertical=-0.1: give a probability from 0 to 1"),
        ("noise", {"deviation": -1.0}, "deviation=-1.0: give a number of at least 0"),
    ],
)
def test_refuses_numbers_out_of_their_range(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(augmentation, name)(images(2), np.random.default_rng(0), **arguments)


@pytest.mark.parametrize("name", ["shift", "crop", "flip"])
def test_is_for_images(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is for images.*\(13,\)"):
        getattr(augmentation, name)(np.zeros((4, 13), np.float32), np.random.default_rng(0))


def test_noise_is_for_floats() -> None:
    with pytest.raises(ValueError, match="floats, but these are int32"):
        noise(np.zeros((4, 13), np.int32), np.random.default_rng(0))
