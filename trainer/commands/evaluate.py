"""`trainer-evaluate`: loss and metrics of a trained network on any part of its data, or on other data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from trainer.commands.messages import reported
from trainer.commands.saved import WEIGHTS, SavedRun
from trainer.errors import UsageError
from trainer.loggers.base import Plan, Progress
from trainer.loggers.curves import Curves
from trainer.loggers.pictures import Pictures
from trainer.loggers.screen import screen
from trainer.loggers.strict_json import to_json
from trainer.loggers.wording import show, spoken
from trainer.settings import Settings

PARTS = ("test", "validation", "train")


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate a run, print the metrics, and return the exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The command line without the program's name; default: the process's own.

    Returns
    -------
    int
        0 where the metrics were printed, 1 where the evaluation failed, 2 for a mistake of the user's.
    """
    options = _parser().parse_intermixed_args(argv)

    def command() -> None:
        metrics = evaluate(
            options.run, options.part, options.weights, options.overrides, pictures=options.pictures
        )
        _print(metrics, options)

    return reported(command)


def evaluate(
    folder: Path,
    part: str = "test",
    weights: str = "best",
    overrides: Sequence[str] = (),
    *,
    pictures: bool = False,
) -> dict[str, Any]:
    """Return loss and metrics of a trained network, compiling the forward graph alone.

    Parameters
    ----------
    folder : Path
        The run's folder.
    part : str
        `test`, `validation` or `train`.
    weights : str
        `best` or `last`.
    overrides : sequence of str
        Changes of the run's configuration, such as `data.file=other.csv`.
    pictures : bool, default False
        Whether to draw into the run's folder what a run draws at its end: its curves, and the test part's
        pictures.

    Raises
    ------
    UsageError
        Where the run, the data or an override do not fit.
    """
    if pictures and (part != "test" or overrides):
        raise UsageError("--pictures are those of the run itself: leave out --part and overrides")
    saved = SavedRun.read(folder, overrides)
    from trainer.data.facts import Facts
    from trainer.graph import compile_network_evaluation, compile_prediction

    data, objective = saved.settings.data(), saved.settings.objective()
    objective.check(data)
    trained, found = Facts.read(folder), Facts.of(data, objective.outputs(data))
    if (trained.input_shape, trained.outputs) != (found.input_shape, found.outputs):
        raise UsageError(
            f"{data.name} has inputs of the shape {found.input_shape} and {found.outputs} outputs, but the "
            f"network was trained on {trained.input_shape} and {trained.outputs}: choose data that fit"
        )
    examples = getattr(data, part)
    if not len(examples):
        raise UsageError(f"--part={part} of {data.name} is empty: choose another part")
    network = saved.network(weights)
    batch_size = saved.settings.training.evaluation_batch_size
    network.reset_states(batch_size, training=False)
    batches = examples.batches(batch_size, dtype=saved.machine.precision)
    metrics = compile_network_evaluation(network, objective)(batches.epoch(0))
    if pictures:
        predict = compile_prediction(network)
        _draw(folder, saved.settings, metrics, lambda test: objective.pictures(test, data, predict))
    return metrics


def _draw(
    folder: Path,
    settings: Settings,
    metrics: Mapping[str, Any],
    pictures: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> None:
    training = settings.training
    ended = Progress(training.epochs, 0, 0, step=sys.maxsize)
    plan = Plan(folder, settings.title, ended, training.monitor, training.mode, pictures=pictures)
    for logger in (Curves(), Pictures()):
        logger.start(plan)
        logger.finish({"test": metrics})


def _print(metrics: Mapping[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        print(to_json(metrics, indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for name, value in metrics.items():
        if isinstance(value, float):
            table.add_row(spoken(name), show(name, value))
    screen().print(f"{options.run}, {options.weights} weights, {options.part} part")
    screen().print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trainer-evaluate", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes, as data.file=other.csv")
    parser.add_argument("--part", choices=PARTS, default="test", help="of the data (default: test)")
    parser.add_argument("--weights", choices=WEIGHTS, default="best", help="which (default: best)")
    parser.add_argument(
        "--pictures", action="store_true", help="draw the run's pictures too, as a run does at its end"
    )
    parser.add_argument("--json", action="store_true", help="print all metrics, arrays too, as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
