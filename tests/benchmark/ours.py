"""The works by this program, each a run of its configuration, with all that it logs and saves."""

from __future__ import annotations

import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from tests.benchmark.serving import serve
from trainer import config

THREADS, FOLDER = int(sys.argv[1]), Path(sys.argv[2])
_IMAGES = (
    *("data=npz", f"data.file={FOLDER}/images.npz", f"data.scale={1 / 255}"),
    *("data.validation_fraction=0", "data.test_fraction=0"),
)
_TEXT = ("data=text", f"data.file={FOLDER}/text.txt", "data.validation_fraction=0")
WORKS = {
    "small_mlp": (
        *(*_IMAGES, "model.hidden=[256]", "optimizer=adam", "optimizer.learning_rate=0.002"),
        "training.batch_size=128",
    ),
    "mnist_mlp": ("+experiment=mnist_mlp", *_IMAGES),
    "mnist_cnn": ("+experiment=mnist_cnn", *_IMAGES, "training.batch_size=500"),
    "char_lstm": ("+experiment=char_lstm", *_TEXT),
}


def composed(work: str, steps: int) -> tuple[Any, list[str]]:
    """Compose a work's configuration, as the command does."""
    overrides = [*WORKS[work], f"device.threads={THREADS}", "training.monitor=train/loss"]
    config.register()
    overrides += ["training.epochs=1", f"training.steps_per_epoch={steps}"]
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        return compose("config", overrides), overrides


@cache
def workshop() -> Any:
    from trainer.workshop import Workshop

    return Workshop()


def trained(work: str, steps: int) -> float:
    """Train a run of so many steps; give the seconds that it says it trained."""
    configuration, overrides = composed(work, steps)
    from trainer import runtime

    machine = runtime.prepare(**config.device_settings(configuration))
    from trainer import run

    settings = config.interpret(configuration, overrides)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        summary = run.train(settings, Path(folder), machine, workshop=workshop())
    return float(summary["train_seconds"])


@cache
def product() -> Any:
    """Compile a large matrix product; its operations stand beside it."""
    from trainer import runtime

    runtime.prepare(threads=THREADS)
    import numpy as np
    import theano
    from theano import tensor

    matrix = theano.shared(np.random.default_rng(0).normal(size=(2048, 2048)).astype("float32"))
    return theano.function([], theano.Out(tensor.dot(matrix, matrix), borrow=True))


@cache
def copy() -> Any:
    from tests.update_cost import copying

    return copying(13_000_000)


def answer(work: str, form: str, count: int) -> float:
    """Give the seconds of so many steps, products or copies."""
    if work in WORKS:
        return trained(work, count)
    function = {"product": product, "copy": copy}[work]()
    start = time.perf_counter()
    for _ in range(count):
        function()
    return time.perf_counter() - start


if __name__ == "__main__":
    serve(answer)
