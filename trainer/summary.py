"""`summary.json`: how a run went, in one object."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainer import __version__
from trainer.loggers.atomic import write_atomically
from trainer.loggers.strict_json import to_json
from trainer.models import Network
from trainer.runtime import Runtime
from trainer.training import Outcome

VERSIONS = ("theano", "numpy", "hydra-core", "omegaconf")


def summarize(
    outcome: Outcome,
    *,
    test: Mapping[str, Any],
    network: Network,
    machine: Runtime,
    compile_seconds: float,
    seed: int,
    steering: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the contract's summary of a run.

    `train` and `validation` are those of the best epoch, and `test` was measured with its weights. Seconds
    are those of the wall clock; `train_seconds` hold the evaluations after each epoch too.
    """
    return {
        "status": outcome.status,
        "epochs": outcome.epochs,
        "steps": outcome.steps,
        "best": outcome.best,
        "train": _of_part(outcome.best, "train/"),
        "validation": _of_part(outcome.best, "validation/"),
        "test": dict(test),
        "parameters": sum(count for _, _, count in network.rows()),
        "device": machine.device,
        "device_name": machine.device_name,
        "compile_seconds": round(compile_seconds, 3),
        "train_seconds": round(outcome.seconds, 3),
        "examples_per_second": round(outcome.examples / outcome.seconds, 1) if outcome.seconds else None,
        "peak_memory_bytes": peak_memory_bytes(),
        "seed": seed,
        "steering": list(steering),
        "versions": {
            "python": platform.python_version(),
            "theano-trainer": __version__,
            **{name: version(name) for name in VERSIONS},
        },
    }


def _of_part(record: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in record.items() if name.startswith(prefix)}


def write_summary(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Write `summary.json` into a run's folder, whole or not at all, and return its path.

    Parameters
    ----------
    folder : Path
        The run's folder.
    summary : mapping
        `status`, `epochs`, `best`, `test`, ...; keys keep their order, a number that is not finite becomes
        null.

    Raises
    ------
    OSError
        The file cannot be written; an older summary is left as it was.
    """
    path = folder / "summary.json"
    write_atomically(path, (to_json(summary, indent=2) + "\n").encode())
    return path


def peak_memory_bytes() -> int:
    """Return the largest resident size that this process had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
