"""`trainer-steer`: see and change the hyperparameters of a running job, pause it, stop it, have it saved."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from trainer.commands.messages import reported
from trainer.errors import RunError, UsageError, nearest
from trainer.folder_lock import holder
from trainer.loggers.screen import screen
from trainer.ranges import ANY, range_of
from trainer.steering import COMMANDS, Answer, Malformed, Request, State, check_request, files

ENDS = {
    "completed": "it is completed",
    "stopped_early": "it stopped early",
    "interrupted": "it was interrupted",
    "diverged": "it diverged",
    "failed": "it failed",
}
WAIT_SECONDS = 0.02
LIFE_SECONDS = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Send what is wanted to a run, print its answer, and return the exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The command line without the program's name; default: the process's own.

    Returns
    -------
    int
        0 where the run obeyed, or will; 1 where it ended before it could; 2 where it cannot or will not.
    """
    options = _parser().parse_intermixed_args(argv)

    def command() -> None:
        request = read_request(options.wanted, options.release)
        answer = steer(options.run, request, options.timeout)
        if request == Request():
            _show(options.run, read_state(options.run), is_present=answer is not None)
        elif answer is None:
            _print(
                f"no answer within {options.timeout:g} s: the run is in a long step or an evaluation; "
                "the request stands and will be obeyed after it"
            )
        else:
            _print(str(answer))

    return reported(command)


def read_request(wanted: Sequence[str], release: Sequence[str] = ()) -> Request:
    """Make a request of `NAME=VALUE` words and at most one of `COMMANDS`.

    Raises
    ------
    UsageError
        For a word that is neither, a value that is no number, and a name that is there twice.
    """
    values: dict[str, float] = {}
    commands = [word for word in wanted if "=" not in word]
    for word in wanted:
        name, is_value, text = word.partition("=")
        if is_value:
            if name in values:
                raise UsageError(f"{name} is given twice: give it once")
            values[name] = _number(name, text)
    for word in commands:
        if word not in COMMANDS:
            raise UsageError(f"{word} is neither NAME=VALUE nor a command: {nearest(word, COMMANDS)}")
    if len(commands) > 1:
        raise UsageError(f"{' and '.join(commands)} are two commands: give one after the other")
    return Request(values, tuple(dict.fromkeys(release)), commands[0] if commands else None)


def steer(run: Path, request: Request, timeout: float = 10.0) -> Answer | None:
    """Send a request to a run, and wait for its answer.

    Parameters
    ----------
    run : Path
        The run's folder.
    request : Request
        What is wanted; an empty one has the run write its present state.
    timeout : float, default 10
        Seconds to wait.

    Returns
    -------
    Answer or None
        None where there was none in time; the request stands.

    Raises
    ------
    UsageError
        Where the run does not run, or refuses.
    RunError
        Where the run ended before it answered, or its folder cannot be written.
    """
    process = _running_process(run)
    state = read_state(run)
    if process and state.pid != process:
        raise UsageError(f"{run} cannot be steered yet: it has only begun again; try again in a moment")
    if state.phase == "done":
        raise UsageError(f"{run} is at its end and takes no more requests")
    check_request(request, state.hyperparameters, state.precision)
    folder = run / files.FOLDER
    try:
        token = files.post(folder, request.as_json())
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror}): steer as the run's user") from error
    answer = _wait(run, files.answer_of(folder, token), timeout)
    if answer is not None and answer.refused is not None:
        raise UsageError(answer.refused)
    return answer


def read_state(run: Path) -> State:
    """Read what a run wrote of itself last.

    Raises
    ------
    UsageError
        Where it wrote nothing yet.
    RunError
        Where it cannot be read.
    """
    path = run / files.FOLDER / files.STATE
    try:
        return State.parse(files.read_json(path))
    except FileNotFoundError:
        raise UsageError(f"{run} cannot be steered yet: it has only begun; try again in a moment") from None
    except (Malformed, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"{path} cannot be read: {reason}; the run writes it again at its next epoch"
        ) from error


def _wait(run: Path, path: Path, timeout: float) -> Answer | None:
    now = time.monotonic()
    end, next_look = now + timeout, now + LIFE_SECONDS
    while True:
        lives = True
        if time.monotonic() >= next_look:
            lives, next_look = holder(run) is not None, time.monotonic() + LIFE_SECONDS
        # Read after the look at the lock: a run that ends has answered before it lets go of that.
        answer = _read_answer(path)
        if answer is not None or time.monotonic() >= end:
            return answer
        if not lives:
            raise RunError(f"{run} ended before it answered: see its train.log")
        time.sleep(WAIT_SECONDS)


def _read_answer(path: Path) -> Answer | None:
    try:
        answer = Answer.parse(files.read_json(path))
    except FileNotFoundError:
        return None
    except (Malformed, OSError) as error:
        raise RunError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    path.unlink(missing_ok=True)
    return answer


def _running_process(run: Path) -> int:
    """Return the number of the run's process, 0 where it is not known; refuse a run that does not run."""
    if not run.is_dir():
        raise UsageError(f"{run} is no folder: name the folder of a run")
    holding = holder(run)
    if holding is not None:
        return holding.pid
    summary, status = run / "summary.json", None
    if not (summary.exists() or (run / ".hydra").is_dir() or (run / files.FOLDER).is_dir()):
        raise UsageError(f"{run} is not the folder of a run: it has neither .hydra/ nor steering/")
    try:
        content = files.read_json(summary)
        status = content.get("status") if isinstance(content, Mapping) else None
    except (Malformed, OSError):
        pass
    how = f": {ENDS[status]}" if isinstance(status, str) and status in ENDS else ""
    raise UsageError(f"{run} is not running{how}; trainer resume={run} goes on with it")


def _number(name: str, text: str) -> float:
    allowed = range_of(name.rpartition(".")[2]) or ANY
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{name}={text} is not a number: give {allowed}") from None


def _show(run: Path, state: State, *, is_present: bool) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("hyperparameter", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("set by", no_wrap=True)
    for name, held in state.hyperparameters.items():
        table.add_row(Text(name), f"{held.value:.6g}", held.set_by)
    position = (
        f"{state.phase}, epoch {state.epoch:,} of {state.epochs:,}, step {state.step:,} of {state.steps:,}"
    )
    age = "" if is_present else ", as it was last written: the run is in a long step or an evaluation"
    _print(f"{run}: {position}, process {state.pid}{age}")
    screen().print(table)


def _print(line: str) -> None:
    screen().print(Text(line), soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trainer-steer",
        description=__doc__,
        epilog="Without anything after RUN: show the run's state. Exit status: 0 obeyed, or will be; 1 the "
        "run ended before it could; 2 a mistake, or the run does not run.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument(
        "wanted",
        nargs="*",
        metavar="NAME=VALUE|COMMAND",
        help="from the next step on, as learning_rate=3e-4; or one of stop (the run ends, its state saved), "
        "checkpoint (saves its state now), pause (saves, and waits), continue",
    )
    parser.add_argument(
        "--release", action="append", default=[], metavar="NAME", help="hand a value back to its schedule"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=10.0, metavar="S", help="seconds to wait (default: 10)"
    )
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no time: give seconds, 0 or more")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
