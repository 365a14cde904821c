"""Folders of images: classes, pixels, parts, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from trainer.data import image_folder
from trainer.data.images import read_image
from trainer.errors import UsageError


def save(path: Path, pixels: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **options)
    return path


def grey(*levels: int, size: tuple[int, ...] = (2, 3)) -> NDArray[np.uint8]:
    return np.full(size, levels[0] if len(levels) == 1 else levels, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give two classes: 4 bright images and 8 dark ones, each of a level of its own."""
    root = tmp_path / "pictures"
    for number in range(4):
        save(root / "bright" / f"{number}.png", grey(200 + number))
    for number in range(8):
        save(root / "dark" / "deeper" / f"{number}.bmp", grey(number))
    return root


class TestImageFolder:
    def test_makes_a_class_of_each_subfolder(self, folder: Path) -> None:
        data = image_folder(str(folder), [2, 3], 1)
        assert data.class_names == ("bright", "dark")
        assert (data.input_shape, data.outputs, data.classes) == ((1, 2, 3), 2, 2)
        parts = (data.train, data.validation, data.test)
        inputs = np.concatenate([part.inputs for part in parts])
        targets = np.concatenate([part.targets for part in parts])
        assert inputs.dtype == np.float32
        assert targets.dtype == np.int32
        levels = np.rint(inputs * 255).astype(int)
        assert np.all(levels == levels[:, :, :1, :1])
        assert sorted(zip(levels[:, 0, 0, 0].tolist(), targets.tolist(), strict=True)) == [
            *((number, 1) for number in range(8)),
            *((number, 0) for number in range(200, 204)),
        ]

    def test_gives_each_class_its_share_of_each_part(self, folder: Path) -> None:
        data = image_folder(str(folder), 2, 1, validation_fraction=0.25, test_fraction=0.5)
        counts = [np.bincount(part.targets).tolist() for part in (data.train, data.validation, data.test)]
        assert counts == [[1, 2], [1, 2], [2, 4]]

    def test_takes_parts_from_folders_of_their_own(self, folder: Path, tmp_path: Path) -> None:
        save(tmp_path / "test" / "dark" / "a.png", grey(255))
        data = image_folder(str(folder), 4, 1, test_folder=str(tmp_path / "test"), validation_fraction=0.25)
        assert data.test.targets.tolist() == [1]
        assert np.all(data.test.inputs == 1)
        assert (len(data.train), len(data.validation)) == (9, 3)

    def test_passes_over_files_that_begin_with_a_dot(self, folder: Path) -> None:
        (folder / "dark" / ".DS_Store").write_bytes(b"no image")
        (folder / ".git").mkdir()
        data = image_folder(str(folder), 2, 1)
        assert data.classes == 2

    @pytest.mark.parametrize(
        ("name", "content", "named"),
        [
            ("dark/a.png", b"", "is no image"),
            ("dark/notes.txt", b"no image", "notes.txt: is no image that can be read"),
            ("dark/a.png", "cut", r"a\.png: is no image that can be read"),
            ("dark/a.jpeg", "cut", r"a\.jpeg: is no image that can be read .*truncated"),
        ],
    )
    def test_refuses_what_is_no_image_by_its_name(
        self, folder: Path, name: str, content: Any, named: str
    ) -> None:
        path = folder / name
        if content == "cut":
            noise = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
            content = save(path, noise).read_bytes()[:-40]
        path.write_bytes(content)
        with pytest.raises(UsageError, match=named) as error:
            image_folder(str(folder), 2)
        assert str(path) in str(error.value)

    def test_refuses_folders_that_make_no_classes(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"none: there is no such folder"):
            image_folder(str(folder / "none"), 2)
        with pytest.raises(UsageError, match=r"dark has 1 subfolders; each is a class"):
            image_folder(str(folder / "dark"), 2)
        (folder / "empty").mkdir()
        with pytest.raises(UsageError, match=r"empty: has no images"):
            image_folder(str(folder), 2)
        (folder / "empty").rmdir()
        save(tmp_path / "test" / "drak" / "a.png", grey(1))
        with pytest.raises(UsageError, match=r"test.drak: is none of the classes .* did you mean dark"):
            image_folder(str(folder), 2, test_folder=str(tmp_path / "test"))

    @pytest.mark.parametrize("size", [0, [2], [2, 0], [1, 2, 3]])
    def test_refuses_what_is_no_size(self, folder: Path, size: Any) -> None:
        with pytest.raises(UsageError, match=r"data\.size="):
            image_folder(str(folder), size)


class TestReadImage:
    def test_puts_channels_first(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", grey(10, 20, 30, size=(2, 4, 3)))
        assert read_image(path, (2, 4), 3).tolist() == [[[level] * 4] * 2 for level in (10, 20, 30)]

    def test_resizes_to_rows_and_columns(self, tmp_path: Path) -> None:
        halves = np.repeat(np.array([[0, 100]], np.uint8), 8, axis=0).repeat(4, axis=1)
        path = save(tmp_path / "a.png", halves)
        small = read_image(path, (4, 2), 1)
        assert small.shape == (1, 4, 2)
        # A reduction averages with weights that fall off over the border, by symmetry the same on both sides.
        assert np.all(small[0, :, 0] < 20)
        assert np.all(small[0, :, 0] + small[0, :, 1] == 100)

    def test_makes_grey_of_colours_by_their_brightness(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", grey(200, 100, 50, size=(1, 1, 3)))
        # ITU-R 601: 0.299 · 200 + 0.587 · 100 + 0.114 · 50 = 124.2.
        assert read_image(path, (1, 1), 1).tolist() == [[[124]]]

    def test_makes_colours_of_grey(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", grey(7))
        assert np.all(read_image(path, (2, 3), 3) == 7)

    def test_brings_16_bits_to_8(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", np.array([[0, 257 * 40, 65535]], np.uint16))
        assert read_image(path, (1, 3), 1).tolist() == [[[0, 40, 255]]]

    def test_lays_transparent_parts_on_white(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", np.array([[[9, 9, 9, 0], [9, 9, 9, 255]]], np.uint8))
        assert read_image(path, (1, 2), 1).tolist() == [[[255, 9]]]

    def test_turns_a_photograph_as_its_camera_was_held(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 3  # the tag "orientation": turned by half
        path = save(tmp_path / "a.png", np.array([[1, 2], [3, 4]], np.uint8), exif=exif)
        assert read_image(path, (2, 2), 1).tolist() == [[[4, 3], [2, 1]]]
