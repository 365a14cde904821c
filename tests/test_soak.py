"""Killed at random moments, a run ends as one that was left alone; and a difference would show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests import soak
from tests.left_by import differences, left_by
from tests.resuming import SMALL, Train


def test_five_kills_leave_the_same_bits(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a kill hits depends on the machine; what the run leaves does not."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    status = soak.main(["--kills", "5", "--seed", "7"])
    told = capsys.readouterr().out
    assert status == 0, told
    assert "are the same, bit for bit" in told


@pytest.mark.usefixtures("uncompiled")
def test_a_single_bit_of_difference_shows(train: Train, tmp_path: Path) -> None:
    run = train(*SMALL, "training.epochs=1")
    before = left_by(run.folder)

    def changed() -> list[str]:
        found = differences(before, left_by(tmp_path / "copy"))
        shutil.rmtree(tmp_path / "copy")
        shutil.copytree(run.folder, tmp_path / "copy")
        return found

    copy = Path(shutil.copytree(run.folder, tmp_path / "copy"))
    newest = copy / "checkpoints" / "step-000000005"
    assert changed() == []
    tensors = load_file(newest / "tensors.safetensors")
    tensors["weights.dense_1.b"].view(np.uint8)[0] ^= 1
    save_file(tensors, newest / "tensors.safetensors")
    assert changed() == ["state: weights.dense_1.b"]
    state = json.loads((newest / "state.json").read_bytes())
    state["values"]["hyperparameters"]["learning_rate"]["scale"] = np.nextafter(1.0, 2.0)
    (newest / "state.json").write_text(json.dumps(state))
    assert changed() == ["state.json/values/hyperparameters/learning_rate/scale"]
    metrics = copy / "metrics.jsonl"
    metrics.write_text(2 * metrics.read_text())
    assert changed() == ["metrics.jsonl"]
    (copy / "summary.json").unlink()
    assert "summary.json/status" in changed()
    (copy / "checkpoints" / "best.safetensors").unlink()
    assert "best.safetensors: dense_1.W" in changed()
