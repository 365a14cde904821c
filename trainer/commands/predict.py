"""`trainer-predict`: what a trained network says of new inputs; a language model goes on with a text."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from trainer.commands.messages import reported
from trainer.commands.saved import WEIGHTS, SavedRun
from trainer.data.facts import Facts
from trainer.data.prediction_inputs import read_inputs
from trainer.errors import UsageError

STANDARD_INPUT = "-"


def main(argv: Sequence[str] | None = None) -> int:
    """Predict, write what was predicted, and return the exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The command line without the program's name; default: the process's own.

    Returns
    -------
    int
        0 where all was written, 1 where something failed, 2 for a mistake of the user's.
    """
    options = _parser().parse_args(argv)

    def command() -> None:
        facts = Facts.read(options.run)
        if facts.vocabulary is not None:
            _continue_text(options, facts)
            return
        names, predictions = predict(options.run, Path(options.input), options.weights)
        _write(options.output, names, predictions, facts)

    return reported(command)


def predict(folder: Path, path: Path, weights: str = "best") -> tuple[list[str], dict[str, NDArray[Any]]]:
    """Return what a trained network says of the inputs of a file, compiling the forward graph alone.

    Parameters
    ----------
    folder : Path
        The run's folder.
    path : Path
        `.npz`, `.npy`, `.csv`, `.parquet`, an image or a folder of images.
    weights : str
        `best` or `last`.

    Returns
    -------
    names : list of str
        What each example is called.
    predictions : dict of arrays
        By name, an example a row, as the run's objective says: `class` and `probability`, or `output`.

    Raises
    ------
    UsageError
        Where the run is none, or the inputs do not fit.
    """
    saved = SavedRun.read(folder)
    from trainer.graph import compile_prediction

    facts = Facts.read(folder)
    inputs, names = read_inputs(path, facts, saved.settings.data.arguments)
    outputs = compile_prediction(saved.network(weights))(inputs)
    return names, dict(saved.settings.objective().predictions(outputs))


def _continue_text(options: argparse.Namespace, facts: Facts) -> None:
    saved = SavedRun.read(options.run)
    from trainer.sampling import Sampler

    given = sys.stdin.read() if options.input == STANDARD_INPUT else _text(Path(options.input))
    assert facts.vocabulary is not None
    sampler = Sampler(saved.network(options.weights), facts.vocabulary)
    text = given + sampler(given, options.length, options.temperature, options.seed)
    if options.output is None:
        print(text)
    else:
        options.output.write_text(text, encoding="utf-8")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is no text that can be read ({error}): give a UTF-8 file, or -") from error


def _write(
    path: Path | None, names: Sequence[str], predictions: Mapping[str, NDArray[Any]], facts: Facts
) -> None:
    if path is None:
        _write_csv(sys.stdout, names, predictions, facts)
    elif path.suffix == ".npz":
        np.savez(path, **predictions)
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            _write_csv(file, names, predictions, facts)
    else:
        raise UsageError(f"--output={path}: give a file that ends with .npz or .csv")


def _write_csv(
    file: IO[str], names: Sequence[str], predictions: Mapping[str, NDArray[Any]], facts: Facts
) -> None:
    columns: dict[str, Sequence[Any]] = {"example": names}
    for name, values in predictions.items():
        flat = values.reshape(len(values), -1)
        if name == "class" and facts.class_names is not None and flat.shape[1] == 1:
            columns[name] = [facts.class_names[number] for number in flat[:, 0]]
        elif flat.shape[1] == 1:
            columns[name] = flat[:, 0].tolist()
        else:
            of_classes = facts.class_names if len(facts.class_names or ()) == flat.shape[1] else None
            labels = of_classes or range(flat.shape[1])
            columns.update({f"{name}_{label}": flat[:, at].tolist() for at, label in enumerate(labels)})
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trainer-predict", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument(
        "input",
        metavar="INPUT",
        help=".npz, .npy, .csv, .parquet, image, folder of images; text, - for stdin",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help=".npz or .csv (default: CSV to stdout)")
    parser.add_argument("--weights", choices=WEIGHTS, default="best", help="which (default: best)")
    text = parser.add_argument_group("for a language model")
    text.add_argument("--length", type=int, default=500, help="characters to write (default: 500)")
    text.add_argument("--temperature", type=float, default=1.0, help="below 1 more usual (default: 1)")
    text.add_argument("--seed", type=int, default=0, help="of what is drawn (default: 0)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
