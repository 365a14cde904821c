"""What a run shows: on a terminal, in a file, in the log."""

from __future__ import annotations

import io
import logging
import logging.config
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from rich.console import Console as RichConsole

from trainer.loggers import Console, Plan, Progress, ScreenHandler, network_table
from trainer.loggers.bars import Bars
from trainer.loggers.screen import screen, shows_bars

CONF = Path(__file__).parent.parent / "conf"
ESCAPE = "\x1b"
CURSOR_SHOWN = "\x1b[?25h"
CURSOR_HIDDEN = "\x1b[?25l"

LOSSES = [1.5, 0.75, 0.875]
RECORDS: list[dict[str, float | int]] = [
    {
        "epoch": epoch,
        "step": 10 * epoch,
        "seconds": 1.25 * epoch,
        "train/loss": loss / 2,
        "validation/loss": loss,
        "validation/accuracy": 1 - loss / 2,
        "hyperparameter/learning_rate": 0.001,
        "hyperparameter/beta1": 0.9,
    }
    for epoch, loss in enumerate(LOSSES, start=1)
]
SUMMARY = {
    "status": "stopped_early",
    "epochs": 3,
    "steps": 1030,
    "best": RECORDS[1],
    "test": {"loss": 0.7, "accuracy": 0.975},
    "compile_seconds": 3.14,
    "train_seconds": 75.0,
    "examples_per_second": 12345.6,
}


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def paper(width: int = 80) -> RichConsole:
    """Return a console that is no terminal."""
    return RichConsole(file=io.StringIO(), width=width, _environ={}, highlight=False)


def terminal(width: int = 80, **environment: str) -> RichConsole:
    """Return a console on a terminal of colours."""
    variables = {"TERM": "xterm-256color", **environment}
    return RichConsole(file=Terminal(), width=width, height=24, _environ=variables, highlight=False)


def written(console: RichConsole) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plan(folder: Path, **changes: object) -> Plan:
    return Plan(folder, "mlp on digits, adam", Progress(3, 10, 640), **changes)  # type: ignore[arg-type]


def run(logger: Console, plan: Plan) -> None:
    logger.start(plan)
    for record in RECORDS:
        logger.record(record)
    logger.finish(SUMMARY)
    logger.close()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, logger="trainer.loggers"):
        yield caplog


def test_where_the_output_is_no_terminal_a_run_is_plain_aligned_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    console = paper(width=20)
    run(Console(console=console), plan(tmp_path / "outputs" / "one"))
    lines = written(console).splitlines()
    wanted = """\
mlp on digits, adam
folder        outputs/one

           train  validation  validation  learning
 epoch      loss        loss    accuracy      rate  seconds
     1    0.7500      1.5000     25.00 %     0.001      1.2 *
     2    0.3750      0.7500     62.50 %     0.001      2.5 *
     3    0.4375      0.8750     56.25 %     0.001      3.8

stopped early 3 epochs, 1,030 steps
time          1:15 training, 3.1 s compiling, 12,346 examples/s
best          epoch 2: validation loss 0.7500, validation accuracy 62.50 %
test          loss 0.7000, accuracy 97.50 %
folder        outputs/one""".splitlines()
    assert lines == wanted
    assert logged.messages == [line for line in wanted if line]


def test_a_terminal_shows_the_same_rows_above_bars_that_are_gone_at_the_end(tmp_path: Path) -> None:
    console = terminal()
    logger = Console(console=console)
    logger.start(plan(tmp_path))
    assert CURSOR_HIDDEN in written(console)
    assert "compiling 0:0" in written(console)
    for record in RECORDS:
        logger.record(record)
    logger.finish(SUMMARY)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written(console))
    assert "     2    0.3750      0.7500     62.50 %     0.001      2.5 *" in re.split("[\r\n]+", plain)
    assert written(console).rindex(CURSOR_SHOWN) > written(console).rindex("compiling 0:0")
    assert "test          loss 0.7000" in plain


def test_closing_after_an_error_gives_the_cursor_back_and_may_be_repeated(tmp_path: Path) -> None:
    console = terminal()
    logger = Console(console=console)
    logger.close()
    logger.start(plan(tmp_path))
    logger.close()
    logger.close()
    assert written(console).count(CURSOR_SHOWN) == written(console).count(CURSOR_HIDDEN) == 1


@pytest.mark.parametrize("width", [40, 50, 60, 70])
def test_a_narrow_terminal_loses_columns_and_never_the_monitored_one(tmp_path: Path, width: int) -> None:
    console = terminal(width)
    logger = Console(live=True, console=console)
    logger.start(plan(tmp_path, monitor="validation/kappa"))
    before = len(written(console))
    logger.record({**RECORDS[0], "validation/f1": 0.1, "validation/kappa": 12.5})
    logger.close()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written(console)[before:])
    rows = [line for line in plain.replace("\r", "\n").splitlines() if "12.5000 *" in line]
    assert len(rows) == 1
    assert len(rows[0]) < width
    assert all(len(line) < width for line in plain.replace("\r", "\n").splitlines())


def test_columns_follow_the_metrics_and_a_new_one_brings_a_new_heading(tmp_path: Path) -> None:
    console = paper()
    logger = Console(console=console)
    logger.start(plan(tmp_path, monitor="validation/r2", mode="max"))
    before = len(written(console))
    logger.record({"epoch": 1, "step": 5, "train/loss": 123456.0})
    logger.record({"epoch": 2, "step": 9, "train/loss": float("nan"), "validation/r2": -0.5})
    logger.record({"epoch": 3, "step": 13, "train/loss": 2.5e-5, "validation/r2": 0.25})
    assert written(console)[before:].splitlines() == [
        "",
        "           train",
        " epoch      loss",
        "     1    123456",
        "",
        "           train  validation",
        " epoch      loss          R²",
        "     2       nan     -0.5000 *",
        "     3  2.50e-05      0.2500 *",
    ]


@pytest.mark.parametrize(
    ("mode", "losses", "marked"),
    [
        ("min", [float("nan"), 2.0, 2.0, 1.0, float("-inf")], [2, 4]),
        ("max", [float("inf"), 2.0, 1.0, 3.0], [2, 4]),
    ],
)
def test_a_row_is_marked_where_it_is_better_than_all_before_it_and_finite(
    tmp_path: Path, mode: str, losses: list[float], marked: list[int]
) -> None:
    console = paper()
    logger = Console(console=console)
    logger.start(plan(tmp_path, mode=mode))
    for epoch, loss in enumerate(losses, start=1):
        logger.record({"epoch": epoch, "validation/loss": loss})
    stars = [line.split()[0] for line in written(console).splitlines() if line.endswith(" *")]
    assert stars == [str(epoch) for epoch in marked]


@pytest.mark.parametrize(
    ("console", "bars"),
    [
        (terminal(), True),
        (terminal(NO_COLOR="1"), True),
        (terminal(TERM="dumb"), False),
        (paper(), False),
        (RichConsole(file=io.StringIO(), _environ={"FORCE_COLOR": "1"}), False),
    ],
)
def test_bars_are_for_terminals_that_move_their_cursor(
    console: RichConsole, bars: bool, tmp_path: Path
) -> None:
    assert shows_bars(console) is bars
    logger = Console(console=console)
    logger.start(plan(tmp_path))
    logger.close()
    assert (CURSOR_HIDDEN in written(console)) is bars


def test_bars_show_the_run_the_epoch_the_time_left_and_the_speed() -> None:
    progress = Progress(epochs=4, steps_per_epoch=100, examples_per_epoch=6400, step=100, phase="compiling")
    now = 50.0
    console = terminal(NO_COLOR="1")
    bars = Bars(progress, console, clock=lambda: now)
    now = 62.0
    assert bars.draw().plain == "compiling 0:12"
    progress.phase, progress.started = "training", 60.0
    progress.epoch, progress.step, progress.examples, now = 3, 250, 9600, 90.0
    run_line, epoch_line = bars.draw().plain.splitlines()
    # 150 steps of this process in 30 s, 150 steps to go; 9600 examples in 30 s
    assert re.fullmatch(r"epoch 3/4     {1,3}━+─+  0:30 left  320 examples/s", run_line)
    assert re.fullmatch(r"step   50/100  ━+─+  training", epoch_line)
    length = run_line.count("━") + run_line.count("─")
    assert run_line.count("━") == round(250 / 400 * length)
    assert epoch_line.count("━") == round(0.5 * length)


@pytest.mark.parametrize("width", [10, 30, 50, 80, 200])
def test_bars_are_narrower_than_the_terminal_whatever_its_width(width: int) -> None:
    progress = Progress(
        epochs=1000, steps_per_epoch=123456, examples_per_epoch=10**8, epoch=999, step=123330000
    )
    progress.examples, progress.phase, progress.started = 10**11, "evaluating", 1.0
    progress.step -= 5
    bars = Bars(progress, terminal(width), clock=lambda: 1e6)
    progress.step += 5
    lines = bars.draw().plain.splitlines()
    assert len(lines) == 2
    assert all(len(line) < width for line in lines)


def test_the_table_of_layers_lists_each_and_the_sum(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    rows = [("input", (None, 64), 0), ("dense_1", (None, 128), 8320), ("[odd]", (None, 10), 1290)]
    console = paper()
    console.print(network_table(rows))
    lines = [line.rstrip() for line in written(console).splitlines()]
    assert lines == [
        "layer    output       parameters",
        "input    batch x 64",
        "dense_1  batch x 128       8,320",
        "[odd]    batch x 10        1,290",
        "total                      9,610",
    ]
    Console(console=paper()).start(plan(tmp_path, network=rows))
    assert logged.messages[-5:] == lines


def test_a_letter_that_the_output_has_no_code_for_ends_nothing() -> None:
    code = (
        "from trainer.loggers.screen import screen; screen().print('mod\u00e8le'); screen().print('goes on')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, ["mod?le", "goes on"], "")


def test_log_records_are_shown_bare_unless_they_warn_and_never_twice() -> None:
    console = paper(width=20)
    handler = ScreenHandler(console=console)
    log = logging.Logger("somewhere")
    log.addHandler(handler)
    log.info("compiled in %.1f s, [bold]as it is[/]", 3.14)
    log.warning("the disk is full")
    log.error("it failed")
    log.debug("detail")
    log.info("a row", extra={"shown": True})
    assert written(console).splitlines() == [
        "compiled in 3.1 s, [bold]as it is[/]",
        "warning: the disk is full",
        "error: it failed",
        "debug: detail",
    ]


@pytest.fixture
def job_logging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Configure logging as a job does, and return the path of its file."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    screen.cache_clear()
    path = tmp_path / "train.log"
    configured: Any = OmegaConf.to_container(OmegaConf.load(CONF / "hydra" / "job_logging" / "trainer.yaml"))
    assert configured["handlers"]["file"]["filename"] == "${hydra.runtime.output_dir}/${hydra.job.name}.log"
    configured["handlers"]["file"]["filename"] = str(path)
    root, before = logging.getLogger(), (logging.getLogger().handlers[:], logging.getLogger().level)
    root.handlers[:] = []
    logging.config.dictConfig(configured)
    yield path
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = before


def test_what_is_shown_is_in_the_log_with_its_time_and_stands_on_the_screen_once(
    tmp_path: Path, job_logging: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = Console()
    logger.start(plan(tmp_path))
    logging.getLogger("anywhere").warning("the disk is nearly full")
    logging.getLogger("matplotlib.font_manager").warning("building the font cache")
    logger.record(RECORDS[0])
    logger.close()
    out, log = capsys.readouterr().out, job_logging.read_text()
    row = "     1    0.7500      1.5000     25.00 %     0.001      1.2 *"
    assert out.splitlines().count(row) == 1
    assert out.splitlines().count("warning: the disk is nearly full") == 1
    assert ESCAPE not in out
    assert len(re.findall(rf"(?m)^\d{{4}}-\d\d-\d\d [\d:,]+ INFO    .*: {re.escape(row)}$", log)) == 1
    assert len(re.findall(r"(?m)^[\d:, -]+ WARNING anywhere: the disk is nearly full$", log)) == 1
    assert "font cache" not in out + log
