"""What a run leaves in its folder, taken apart so that two runs can be compared bit for bit.

The files are read by the standard library and by safetensors, not by the program's own readers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

# What no two runs share, whatever their bits: durations, memory, and sums over what holds durations.
OF_THE_CLOCK = ("seconds", "compile_seconds", "train_seconds", "examples_per_second", "peak_memory_bytes")


def left_by(folder: Path, ignored: Collection[str] = ()) -> dict[str, Any]:
    """Return all that a run left but times: weights, state, records, summary, each piece by a name.

    Parameters
    ----------
    folder : Path
        The run's folder.
    ignored : collection of str
        Keys that are left out wherever they stand in state and summary.
    """
    checkpoints = folder / "checkpoints"
    pieces: dict[str, Any] = {}
    for path in sorted(checkpoints.glob("*.safetensors")):
        pieces |= tensors(path, path.name)
    newest = max(checkpoints.glob("step-*"))
    pieces["newest checkpoint"] = newest.name
    pieces |= tensors(newest / "tensors.safetensors", "state")
    dropped = {*OF_THE_CLOCK, *ignored, "sha256"}
    pieces |= leaves(json.loads((newest / "state.json").read_bytes()), "state.json", dropped)
    if (folder / "summary.json").exists():
        pieces |= leaves(json.loads((folder / "summary.json").read_bytes()), "summary.json", dropped)
    pieces["metrics.jsonl"] = records(folder)
    return pieces


def records(folder: Path) -> list[str]:
    """Return the lines of metrics.jsonl, all their digits, without the seconds."""
    text = (folder / "metrics.jsonl").read_text()
    assert text.endswith("\n") or not text
    return [re.sub(r'"seconds":\s*[\d.e+-]+,?\s*', "", line) for line in text.splitlines()]


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the names of the pieces that are not the same, bit for bit."""
    missing = object()
    return [name for name in {**one, **other} if one.get(name, missing) != other.get(name, missing)]


def tensors(path: Path, name: str) -> dict[str, Any]:
    """Return the arrays of a safetensors file: dtype, shape and bytes of each."""
    return {
        f"{name}: {key}": (str(array.dtype), array.shape, array.tobytes())
        for key, array in load_file(path).items()
    }


def leaves(value: Any, name: str, dropped: Collection[str]) -> dict[str, Any]:
    """Return the numbers and texts in a nest of JSON by their paths, floats as they are written."""
    children: Any = ()
    if isinstance(value, dict):
        children = [(key, child) for key, child in value.items() if key not in dropped]
    elif isinstance(value, list):
        children = enumerate(value)
    if not children:
        return {name: repr(value) if not isinstance(value, dict) else "{}"}
    return {
        path: leaf
        for key, child in children
        for path, leaf in leaves(child, f"{name}/{key}", dropped).items()
    }
