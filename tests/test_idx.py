"""Sets of IDX files other than MNIST's own, and fetching files that are missing."""

from __future__ import annotations

import gzip
import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data import fashion_mnist, idx, mnist
from trainer.data.download import fetch
from trainer.errors import UsageError

KINDS = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
NAMES = {
    "train_inputs": "train-images-idx3-ubyte",
    "train_targets": "train-labels-idx1-ubyte",
    "test_inputs": "t10k-images-idx3-ubyte",
    "test_targets": "t10k-labels-idx1-ubyte",
}


def idx_bytes(values: Any, kind: str = "u1") -> bytes:
    array = np.asarray(values, f">{kind}")
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, KINDS[kind], array.ndim, *array.shape) + array.tobytes()


def write_set(folder: Path, **replaced: bytes) -> str:
    """Write 10 training and 2 test images of 2 × 3 bytes, of classes 0 to 4."""
    contents = {
        "train_inputs": idx_bytes(np.arange(60).reshape(10, 2, 3)),
        "train_targets": idx_bytes(np.arange(10) % 5),
        "test_inputs": idx_bytes(np.full((2, 2, 3), 255)),
        "test_targets": idx_bytes([4, 0]),
    }
    for key, content in {**contents, **replaced}.items():
        (folder / NAMES[key]).write_bytes(content)
    return str(folder)


class TestIdx:
    def test_reads_the_files_named_as_mnist_names_them(self, tmp_path: Path) -> None:
        data = idx(write_set(tmp_path), validation_fraction=0.5)
        assert (data.input_shape, data.outputs, data.classes) == ((1, 2, 3), 5, 5)
        assert (
            sorted(data.train.targets.tolist()) == sorted(data.validation.targets.tolist()) == [0, 1, 2, 3, 4]
        )
        inputs = np.concatenate([data.train.inputs, data.validation.inputs])
        assert inputs.dtype == np.float32
        assert np.array_equal(np.rint(np.sort(inputs.ravel()) * 255), np.arange(60))
        assert np.all(data.test.inputs == 1)
        assert data.test.targets.tolist() == [4, 0]

    def test_reads_other_names_kinds_and_dimensions(self, tmp_path: Path) -> None:
        values = np.arange(20, dtype=np.float64).reshape(10, 2) - 0.5
        (tmp_path / "x.gz").write_bytes(gzip.compress(idx_bytes(values, "f8")))
        (tmp_path / "y").write_bytes(idx_bytes(np.arange(10) % 2, "i4"))
        data = idx(str(tmp_path), "x", "y", None, None, classes=3, validation_fraction=0, test_fraction=0.2)
        assert (data.input_shape, data.classes) == ((2,), 3)
        inputs = np.concatenate([data.train.inputs, data.test.inputs])
        assert sorted(inputs.ravel().tolist()) == values.ravel().tolist()
        assert sorted(data.test.targets.tolist()) == [0, 1]

    def test_scales_as_it_is_told(self, tmp_path: Path) -> None:
        data = idx(write_set(tmp_path), scale=2.0)
        assert np.all(data.test.inputs == 510)

    @pytest.mark.parametrize(
        ("replaced", "arguments", "named"),
        [
            ({}, {"test_targets": None}, "data.test_inputs and data.test_targets belong together"),
            ({}, {"train_inputs": "x"}, r"lacks x: put the files"),
            ({}, {"classes": 4}, "train-labels-idx1-ubyte: label 5 of 10 is 4; labels go from 0 to 3"),
            (
                {"test_targets": idx_bytes([4, 5])},
                {},
                "t10k-labels.*: label 2 of 2 is 5; labels go from 0 to 4",
            ),
            ({"train_targets": idx_bytes([0, -1] * 5, "i1")}, {}, "label 2 of 10 is -1; labels go from 0"),
            ({"train_targets": idx_bytes(np.zeros(10), "f4")}, {}, "whole numbers in 1 dimension"),
            ({"train_targets": idx_bytes(np.zeros(9))}, {}, "9 labels, but train-images.* has 10"),
            ({"train_inputs": idx_bytes(np.zeros(10))}, {}, "inputs .in 2 dimensions or more. belong here"),
            ({"test_inputs": idx_bytes(np.zeros((2, 3, 3)))}, {}, r"t10k-images.*\(1, 3, 3\).*\(1, 2, 3\)"),
            (
                {"train_inputs": idx_bytes(np.where(np.arange(60) == 9, np.nan, 0).reshape(10, 2, 3), "f4")},
                {},
                r"train-images.*: the number at \[1, 1, 0\] is nan, not a finite number",
            ),
        ],
    )
    def test_names_a_broken_file_and_the_place(
        self, tmp_path: Path, replaced: dict[str, bytes], arguments: dict[str, Any], named: str
    ) -> None:
        with pytest.raises(UsageError, match=named):
            idx(write_set(tmp_path, **replaced), **arguments)


class TestFashionMnist:
    def test_names_its_classes(self, tmp_path: Path) -> None:
        data = fashion_mnist(write_set(tmp_path), validation_size=2)
        assert data.name == "fashion_mnist"
        assert data.class_names is not None
        assert (data.class_names[0], data.class_names[9], data.classes) == ("T-shirt/top", "ankle boot", 10)
        assert (len(data.train), len(data.validation), len(data.test)) == (8, 2, 2)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the folder `served` on this machine, and give its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "served").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


class TestDownload:
    def test_fetches_files_whose_hashes_are_right(self, tmp_path: Path, server: str) -> None:
        (tmp_path / "served" / "a.gz").write_bytes(b"one")
        (tmp_path / "served" / "b").write_bytes(b"two")
        fetch(tmp_path / "new" / "data", {"a.gz": md5(b"one"), "b": md5(b"two")}, f"{server}/")
        found = {path.name: path.read_bytes() for path in (tmp_path / "new" / "data").iterdir()}
        assert found == {"a.gz": b"one", "b": b"two"}

    def test_keeps_nothing_whose_hash_is_wrong(self, tmp_path: Path, server: str) -> None:
        (tmp_path / "served" / "a").write_bytes(b"other")
        with pytest.raises(UsageError, match=r"/a gave is not the file that belongs there .*data\.mirror"):
            fetch(tmp_path / "data", {"a": md5(b"one")}, server)
        assert list((tmp_path / "data").iterdir()) == []

    def test_says_what_a_server_lacks(self, tmp_path: Path, server: str) -> None:
        with pytest.raises(UsageError, match=r"/a cannot be fetched .*File not found"):
            fetch(tmp_path / "data", {"a": md5(b"")}, server)

    def test_says_what_to_do_where_there_is_no_network(self, tmp_path: Path) -> None:
        with socket.socket() as unheard:
            # Bound but not listening: a connection is refused at once.
            unheard.bind(("127.0.0.1", 0))
            mirror = f"http://127.0.0.1:{unheard.getsockname()[1]}"
            with pytest.raises(UsageError) as error:
                mnist(str(tmp_path / "mnist"), download=True, mirror=mirror)
        assert f"data.download: {mirror}/train-images-idx3-ubyte.gz cannot be fetched" in str(error.value)
        assert "Connection refused" in str(error.value)
        assert "name another address by data.mirror, or fetch train-images-idx3-ubyte.gz, " in str(
            error.value
        )

    def test_is_not_tried_unless_it_is_allowed(self, tmp_path: Path, server: str) -> None:
        with pytest.raises(UsageError, match=r"lacks train-images-idx3-ubyte.*data\.download=true"):
            mnist(str(tmp_path / "mnist"), mirror=server)
        assert not (tmp_path / "mnist").exists()

    def test_asks_only_for_files_that_are_missing_and_takes_no_other_for_them(
        self, tmp_path: Path, server: str
    ) -> None:
        (tmp_path / "data").mkdir()
        folder = write_set(tmp_path / "data")
        assert len(fashion_mnist(folder, validation_size=0, download=True, mirror=server).train) == 10
        labels = tmp_path / "data" / NAMES["test_targets"]
        (tmp_path / "served" / f"{labels.name}.gz").write_bytes(gzip.compress(labels.read_bytes()))
        labels.unlink()
        with pytest.raises(
            UsageError, match=rf"what {server}/t10k-labels-idx1-ubyte\.gz gave is not the file"
        ):
            fashion_mnist(folder, download=True, mirror=server)
