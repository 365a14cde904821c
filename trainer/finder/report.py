"""What a sweep leaves: a file, a picture, and the command to train with."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.finder.picture import draw_rates
from trainer.finder.sweep import Batches, Finding, Sweepable, find_learning_rate
from trainer.loggers.atomic import write_atomically
from trainer.loggers.strict_json import to_json
from trainer.settings import FindLearningRate

log = logging.getLogger(__name__)

ENDS = {
    "completed": "the sweep reached its highest rate",
    "rose": "the loss rose too far above its lowest",
    "not_finite": "the loss was no longer finite",
}


def run_finder(
    step: Callable[[Any, Any], Any],
    batches: Batches,
    hyperparameters: Sweepable,
    restore: Callable[[], None],
    settings: FindLearningRate,
    folder: Path,
    *,
    title: str = "",
    overrides: Sequence[str] = (),
    name: str = "learning_rate",
    accumulation: int = 1,
    on_epoch_start: Callable[[], None] = lambda: None,
) -> Finding:
    """Find a learning rate, write `learning_rate.json` and `learning_rate.png`, and log what to do with it.

    Parameters
    ----------
    step, batches, hyperparameters, restore, name, accumulation, on_epoch_start
        As in `find_learning_rate`.
    settings : FindLearningRate
        Range, updates, average and end of the sweep.
    folder : Path
        The run's folder, which exists.
    title : str
        The run in a few words, above the picture.
    overrides : sequence of str
        What the person typed, for the command that the log shows.

    Returns
    -------
    Finding
        The sweep and the suggestion.

    Raises
    ------
    UsageError, RunError
        As `find_learning_rate` does.
    OSError
        The folder cannot be written.
    """
    finding = find_learning_rate(
        step,
        batches,
        hyperparameters,
        restore,
        name=name,
        accumulation=accumulation,
        on_epoch_start=on_epoch_start,
        **asdict(settings),
    )
    content = to_json({"hyperparameter": name, **asdict(finding)}, indent=2)
    write_atomically(folder / "learning_rate.json", f"{content}\n".encode())
    draw_rates(
        finding.rates,
        finding.losses,
        finding.smoothed,
        finding.suggestion,
        folder / "learning_rate.png",
        title,
    )
    done, last = len(finding.rates), finding.rates[-1]
    log.info("%d updates from %s %.2g to %.2g: %s", done, name, finding.rates[0], last, ENDS[finding.ended])
    if finding.suggestion is None:
        log.warning(finding.reason)
    else:
        log.info("suggested: %g; %s", finding.suggestion, finding.reason)
        log.info("train with it: %s", command(overrides, name, finding.suggestion))
    log.info("see learning_rate.png and learning_rate.json")
    return finding


def command(overrides: Sequence[str], name: str, value: float) -> str:
    """Return the command that trains with a value.

    >>> command(["task=find_learning_rate", "optimizer=sgd"], "learning_rate", 0.12)
    'trainer optimizer=sgd optimizer.learning_rate=0.12'
    """
    given = f"optimizer.{name}"
    kept = [
        word
        for word in overrides
        if (key := word.lstrip("+~").partition("=")[0]) not in ("task", given)
        and not key.startswith("find_learning_rate")
    ]
    return shlex.join(["trainer", *kept, f"{given}={value:g}"])
