"""`trainer-report`: the page of a sweep, of a run, of runs beside each other; or what schedules will do."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from trainer.commands.messages import reported
from trainer.errors import RunError, UsageError
from trainer.loggers.screen import screen
from trainer.loggers.wording import near
from trainer.sweep.jobs import is_run, is_sweep, read_jobs
from trainer.sweep.leaderboard import differences, show_failures, show_leaderboard, show_sweep
from trainer.sweep.page import write_page
from trainer.sweep.results import MODES, Results

DESCRIPTION = """\
Say what came of training, or what schedules will do.

  trainer-report SWEEP             the leaderboard; sweep.csv and sweep.html in the sweep's folder
  trainer-report RUN               report.html in the run's folder: curves, summary, configuration
  trainer-report RUN RUN ...       runs beside each other, in ./report.html
  trainer-report KEY=VALUE ...     the schedules of a configuration, in ./schedules.png, without training

A page is one file that needs nothing else: it can be mailed, and opened without a network. All can be made
at any time, while jobs run too.
"""
NOT_FOR_SCHEDULES = ("metric", "mode")


def main(argv: Sequence[str] | None = None) -> int:
    """Report on folders or on a configuration's schedules, and return the exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The command line without the program's name; default: the process's own.

    Returns
    -------
    int
        0 where all was written, 1 where it could not be, 2 for a mistake of the user's.
    """
    options = _parser().parse_intermixed_args(argv)
    return reported(lambda: _report(options))


def _report(options: argparse.Namespace) -> None:
    folders = [argument for argument in options.what if _names_folder(argument)]
    if not folders:
        _report_schedules(options)
        return
    settings = [argument for argument in options.what if argument not in folders]
    if settings:
        raise UsageError(
            f"{folders[0]} is a folder and {settings[0]} is a configuration's: report on folders, or on the "
            "schedules of a configuration"
        )
    if options.steps_per_epoch is not None:
        raise UsageError("--steps-per-epoch is for the schedules of a configuration, not for folders")
    _report_folders([_existing(argument) for argument in folders], options)


def _report_schedules(options: argparse.Namespace) -> None:
    for name in NOT_FOR_SCHEDULES:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is for folders of runs: name one")
    # It makes Theano ready, which takes seconds.
    from trainer.commands.courses import show_course

    output = options.output or Path("schedules.png")
    show_course(options.what, output, options.steps_per_epoch)
    _open(output, options)


def _report_folders(folders: Sequence[Path], options: argparse.Namespace) -> None:
    sweeps = [folder for folder in folders if not is_run(folder)]
    if sweeps and len(folders) > 1:
        other = next(folder for folder in folders if folder != sweeps[0])
        raise UsageError(f"{sweeps[0]} is no run's folder: report on it alone, without {other}")
    if sweeps:
        _report_sweep(sweeps[0], options)
        return
    results = Results.of_runs(folders, options.metric, options.mode)
    page = options.output or (folders[0] / "report.html" if len(folders) == 1 else Path("report.html"))
    if len(folders) > 1:
        show_leaderboard(results)
        screen().print(differences(results) if results.varied else "Their configurations are the same.")
        show_failures(results)
    try:
        write_page(results, page)
    except OSError as error:
        raise RunError(
            f"{page} cannot be written ({error.strerror or error}): choose another by --output"
        ) from error
    screen().print(f"The page is {near(page)}", soft_wrap=True)
    _open(page, options)


def _report_sweep(folder: Path, options: argparse.Namespace) -> None:
    if not is_sweep(folder) and not read_jobs(folder):
        below = sorted(child for child in folder.iterdir() if child.is_dir() and is_sweep(child))
        if below:
            raise UsageError(f"{folder} holds sweeps: name one of them, as {below[-1]}")
    results = Results.of_sweep(folder, options.metric, options.mode)
    page = options.output or folder / "sweep.html"
    is_whole = show_sweep(results, page)
    show_failures(results)
    if not is_whole:
        raise RunError(
            f"the report on {folder} is not complete: choose another place for the page by --output"
        )
    _open(page, options)


def _names_folder(argument: str) -> bool:
    """Tell a folder from KEY=VALUE: a job's folder has equals signs in its name, too."""
    if Path(argument).exists():
        return True
    key, sign, _ = argument.partition("=")
    return "/" in key and "@" not in key if sign else not argument.startswith("~")


def _existing(argument: str) -> Path:
    path = Path(argument)
    if path.is_dir():
        return path.resolve()
    what = "is a file" if path.exists() else "is not there"
    raise UsageError(
        f"{argument} {what}: name the folder of a run or of a multirun, or a configuration, as in "
        "trainer-report schedule=cosine"
    )


def _open(path: Path, options: argparse.Namespace) -> None:
    if options.open and not webbrowser.open(path.resolve().as_uri()):
        screen().print("there is no browser to open it with")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trainer-report", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", nargs="*", metavar="FOLDER | KEY=VALUE", help="folders of runs or of a multirun; or overrides"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where the page, or the picture of schedules, is written"
    )
    parser.add_argument(
        "--metric", help="what jobs are compared by (default: what they monitored), as validation/accuracy"
    )
    parser.add_argument(
        "--mode",
        metavar="|".join(MODES),
        help="whether less of it is better or more (default: as monitored, else by its name)",
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument(
        "--steps-per-epoch",
        type=int,
        metavar="N",
        help="for schedules: updates an epoch (default: the data's)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
