"""What a trained network is for: evaluation, prediction, and a start for another training."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import Finished
from trainer.commands import evaluate, predict
from trainer.data import digits

Train = Callable[..., Finished]
Captured = pytest.CaptureFixture[str]

SMALL = ("model.hidden=[16]", "training.epochs=2", "logger.curves=null", "logger.pictures=null")


@pytest.fixture
def trained(train: Train) -> Finished:
    return train(*SMALL)


def by_hand(folder: Path, inputs: Any, weights: str = "best") -> Any:
    """Return the logits of the small network by NumPy alone, in float64."""
    saved = load_file(folder / "checkpoints" / f"{weights}.safetensors")
    w1, b1, w2, b2 = (
        saved[name].astype("float64") for name in ("dense_1.W", "dense_1.b", "dense_2.W", "dense_2.b")
    )
    hidden = np.maximum(inputs.reshape(len(inputs), -1).astype("float64") @ w1 + b1, 0)
    return hidden @ w2 + b2


def test_evaluation_repeats_what_the_summary_says(trained: Finished, capfd: Captured) -> None:
    assert evaluate.main([str(trained.folder), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found == trained.summary["test"]


def test_an_evaluation_draws_what_the_run_draws_at_its_end(train: Train, capfd: Captured) -> None:
    ended = train("model.hidden=[16]", "training.epochs=2")
    pictures = sorted(ended.folder.glob("*.png"))
    drawn = {picture.name: picture.read_bytes() for picture in pictures}
    assert sorted(drawn) == ["confusion_matrix.png", "curves.png"]
    for picture in pictures:
        picture.unlink()
    assert evaluate.main([str(ended.folder), "--pictures"]) == 0
    assert {name: (ended.folder / name).read_bytes() for name in drawn} == drawn


@pytest.mark.parametrize("weights", ["best", "last"])
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_evaluation_of_any_part_agrees_with_numpy(
    trained: Finished, capfd: Captured, part: str, weights: str
) -> None:
    assert evaluate.main([str(trained.folder), "--part", part, "--weights", weights, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    examples = getattr(digits(), part)
    right = by_hand(trained.folder, examples.inputs, weights).argmax(axis=1) == examples.targets
    assert found["accuracy"] == pytest.approx(right.mean())


def test_evaluation_takes_overrides(trained: Finished, capfd: Captured) -> None:
    evaluate.main([str(trained.folder), "--json", "data.test_fraction=0.3"])
    found = json.loads(capfd.readouterr().out)
    assert np.sum(found["confusion_matrix"]) == len(digits(test_fraction=0.3).test)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "nowhere is not the folder of a run"),
        (["RUN", "--pictures", "--part", "train"], "--pictures are those of the run itself"),
        (["RUN", "data.test_friction=0.3"], "did you mean test_fraction?"),
        (["RUN", "data=iris"], "trained on (1, 8, 8)"),
        (
            ["RUN", "data.validation_fraction=0", "--part", "validation"],
            "--part=validation of digits is empty",
        ),
    ],
)
def test_a_mistake_in_an_evaluation_is_told(
    trained: Finished, capfd: Captured, arguments: list[str], told: str
) -> None:
    assert evaluate.main([word.replace("RUN", str(trained.folder)) for word in arguments]) == 2
    message = capfd.readouterr().err
    assert told in message
    assert len(message.strip().splitlines()) == 1


def test_predictions_for_an_npz_file_agree_with_numpy(
    trained: Finished, tmp_path: Path, capfd: Captured
) -> None:
    inputs = digits().test.inputs[:7]
    np.savez(tmp_path / "new.npz", inputs=inputs)
    assert predict.main([str(trained.folder), str(tmp_path / "new.npz")]) == 0
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    logits = by_hand(trained.folder, inputs)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert [int(row["class"]) for row in rows] == logits.argmax(axis=1).tolist()
    found = [[float(row[f"probability_{number}"]) for number in range(10)] for row in rows]
    assert np.allclose(found, shares, atol=1e-5)


def test_predictions_are_written_as_npz(trained: Finished, tmp_path: Path) -> None:
    np.save(tmp_path / "new.npy", digits().test.inputs[:3])
    assert (
        predict.main([str(trained.folder), str(tmp_path / "new.npy"), "--output", str(tmp_path / "out.npz")])
        == 0
    )
    with np.load(tmp_path / "out.npz") as written:
        assert written["probability"].shape == (3, 10)
        assert np.allclose(written["probability"].sum(axis=1), 1, atol=1e-5)


def test_a_table_is_read_as_the_training_table_was(train: Train, tmp_path: Path, capfd: Captured) -> None:
    generator = np.random.default_rng(0)
    size, colour = generator.normal(50, 20, 200), generator.choice(["blue", "red"], 200)
    price = size * 2 + (colour == "red") * 100
    lines = [f"{a:.3f},{b},{c:.3f}" for a, b, c in zip(size, colour, price, strict=True)]
    (tmp_path / "houses.csv").write_text("\n".join(["size,colour,price", *lines]) + "\n")
    finished = train(
        "data=csv",
        "data.file=houses.csv",
        "data.target=price",
        "data.categorical=[colour]",
        "data.normalization=standard",
        "data.target_normalization=standard",
        "objective=squared_error",
        "model=mlp",
        "model.hidden=[16]",
        "optimizer.learning_rate=0.02",
        "training.epochs=60",
        "training.batch_size=16",
        "logger.curves=null",
        "logger.pictures=null",
    )
    assert finished.status == 0, finished.err
    (tmp_path / "new.csv").write_text("colour,size\nred,40\nblue,60\n")
    assert predict.main([str(finished.folder), str(tmp_path / "new.csv")]) == 0
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert [float(row["output"]) for row in rows] == pytest.approx([180, 120], abs=8)


def test_training_starts_from_the_weights_of_a_file(trained: Finished, train: Train) -> None:
    weights = trained.folder / "checkpoints" / "last.safetensors"
    finished = train(*SMALL, f"model.weights={weights}", "optimizer.learning_rate=0", folder="second")
    assert load_file(finished.folder / "checkpoints/last.safetensors")["dense_1.W"].tobytes() == (
        load_file(weights)["dense_1.W"].tobytes()
    )


def test_a_pattern_takes_some_weights_and_the_log_names_which(trained: Finished, train: Train) -> None:
    weights = trained.folder / "checkpoints" / "last.safetensors"
    finished = train(
        *SMALL,
        f"model.weights={weights}",
        "model.weights_match=dense_1.*",
        "optimizer.learning_rate=0",
        "training.seed=5",
        folder="second",
    )
    before, after = load_file(weights), load_file(finished.folder / "checkpoints/last.safetensors")
    assert {name for name in after if (after[name] == before[name]).all()} >= {"dense_1.W", "dense_1.b"}
    assert (after["dense_2.W"] != before["dense_2.W"]).any()
    log = (finished.folder / "train.log").read_text()
    assert "dense_1.W, dense_1.b" in log
    assert "not from the file: dense_2.W, dense_2.b" in log


@pytest.mark.parametrize(
    ("content", "override", "told"),
    [
        (b"no tensors", "model.weights=w.safetensors", "w.safetensors is no sound safetensors file"),
        (None, "model.weights=missing.safetensors", "missing.safetensors does not exist"),
        ({"other.W": (2, 2)}, "model.weights=w.safetensors", "none of the network's weights"),
        ({"dense_1.W": (2, 2)}, "model.weights=w.safetensors", "dense_1.W has the shape (2, 2)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    train: Train, tmp_path: Path, content: Any, override: str, told: str
) -> None:
    if isinstance(content, bytes):
        (tmp_path / "w.safetensors").write_bytes(content)
    elif content is not None:
        save_file(
            {name: np.zeros(shape, "float32") for name, shape in content.items()}, tmp_path / "w.safetensors"
        )
    finished = train(*SMALL, override)
    assert finished.status == 2
    assert told in finished.err


def test_weights_load_in_three_lines_without_the_package(trained: Finished) -> None:
    from safetensors.numpy import load_file

    weights = load_file(trained.folder / "checkpoints" / "best.safetensors")
    assert weights["dense_1.W"].shape == (64, 16)
