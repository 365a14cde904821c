"""Folders as runs and sweeps leave them, made without training."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def losses(least: float, epochs: int = 5) -> list[dict[str, Any]]:
    """Return the records of a run whose validation loss falls to `least` in its last epoch."""
    return [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "seconds": 0.5 * epoch,
            "train/loss": least + 0.5 * (epochs - epoch),
            "validation/loss": least + (epochs - epoch),
            "validation/accuracy": 1 - least / 10 - 0.1 * (epochs - epoch),
            "hyperparameter/learning_rate": 0.1 / epoch,
        }
        for epoch in range(1, epochs + 1)
    ]


def write_run(
    folder: Path,
    given: Sequence[str] = (),
    records: Sequence[Mapping[str, Any]] = (),
    status: str | None = "completed",
    log: str = "",
    **more: Any,
) -> Path:
    """Write a run's folder: what was given as KEY=VALUE stands in its configuration, too."""
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    configuration: dict[str, Any] = {
        "training": {"monitor": "validation/loss", "mode": "min", "seed": 1, "epochs": 5},
        "optimizer": {"_target_": "trainer.updates.adam", "learning_rate": 0.002},
    }
    for each in given:
        key, _, value = each.lstrip("+").partition("=")
        *path, last = key.split(".")
        node = configuration
        for name in path:
            node = node.setdefault(name, {})
        if path:
            node[last] = yaml.safe_load(value)
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(configuration))
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(given)))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "train.log").write_text(log)
    if status is not None:
        best = min(records, key=lambda record: float(record["validation/loss"]), default={})
        test = {"loss": best["validation/loss"] + 0.01, "accuracy": 0.5} if best else {}
        epochs = len(records)
        summary = {"status": status, "epochs": epochs, "steps": 10 * epochs, "best": best, "test": test}
        timed = {
            "train_seconds": 0.5 * epochs,
            "compile_seconds": 1.25,
            "seed": configuration["training"]["seed"],
        }
        (folder / "summary.json").write_text(json.dumps({**summary, **timed, **more}))
    return folder


def write_sweep(
    folder: Path,
    rules: Sequence[str] = ("adam", "sgd"),
    rates: Sequence[str] = ("0.001", "0.01", "0.1"),
    seeds: Sequence[int] = (1, 2),
    loss: Callable[[str, float, int], float] = lambda rule, rate, seed: rate + 0.002 * seed + (rule == "sgd"),
) -> Path:
    """Write the folder of a multirun over rules, learning rates and seeds, each job's loss by `loss`."""
    folder.mkdir(parents=True)
    (folder / "multirun.yaml").write_text("hydra: {}\n")
    jobs = [(rule, rate, seed) for rule in rules for rate in rates for seed in seeds]
    for number, (rule, rate, seed) in enumerate(jobs):
        given = [f"optimizer={rule}", f"optimizer.learning_rate={rate}", f"training.seed={seed}"]
        name = f"{number}_{','.join(given)}"
        write_run(folder / name, given, losses(loss(rule, float(rate), seed)))
    return folder
