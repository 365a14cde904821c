"""Pictures that another process draws: all there in the end, whatever becomes of that process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import matplotlib.figure
import pytest

from trainer.errors import RunError
from trainer.loggers import drawing
from trainer.loggers.drawing import called_beside, draw, drawn_beside, is_beside, settle, write_figure


def figure() -> matplotlib.figure.Figure:
    return matplotlib.figure.Figure(figsize=(1, 1))


def write_process(path: Path) -> None:
    """Write who draws."""
    path.write_text(str(os.getpid()))


def end_of_process(path: Path, drawer: int) -> None:
    """End another process than the one that drew first, and write where there is none."""
    if os.getpid() != drawer:
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_text("drawn")


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


def test_pictures_are_drawn_at_once_or_by_one_other_process(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(4)]
    draw(paths[0], write_process, paths[0])
    assert paths[0].read_text() == str(os.getpid())
    with drawn_beside():
        for path in paths[1:3]:
            draw(path, write_process, path)
        settle()
        others = {path.read_text() for path in paths[1:3]}
        assert len(others) == 1
        assert str(os.getpid()) not in others
        draw(tmp_path / "a.png", write_figure, figure(), tmp_path / "a.png")
        draw(tmp_path / "b.png", write_figure, matplotlib.figure.Figure, tmp_path / "b.png")
    assert is_png(tmp_path / "a.png")
    assert is_png(tmp_path / "b.png")
    with drawn_beside(lambda: False):
        draw(paths[3], write_process, paths[3])
    assert paths[3].read_text() == str(os.getpid())


def test_what_the_other_process_cannot_do_is_done_here(tmp_path: Path) -> None:
    odd = figure()
    odd.held = lambda: None  # type: ignore[attr-defined]  # which cannot be pickled
    with drawn_beside():
        draw(tmp_path / "odd.png", write_figure, odd, tmp_path / "odd.png")
        draw(tmp_path / "killed", end_of_process, tmp_path / "killed", os.getpid())
        draw(tmp_path / "after", write_process, tmp_path / "after")
    assert is_png(tmp_path / "odd.png")
    assert (tmp_path / "killed").read_text() == "drawn"
    assert (tmp_path / "after").exists()


@pytest.mark.parametrize("beside", [False, True])
def test_a_picture_that_cannot_be_written_costs_a_warning(
    beside: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "is_no_folder.png" / "picture.png"
    with drawn_beside(lambda: beside):
        draw(path, write_figure, figure(), path)
    assert caplog.messages == ["picture.png cannot be written (No such file or directory)"]


def test_more_pictures_than_may_wait_are_all_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MOST_WAITING", 2)
    with drawn_beside():
        for number in range(9):
            draw(tmp_path / str(number), write_process, tmp_path / str(number))
    assert len(list(tmp_path.iterdir())) == 9


def quotient(over: int, under: int) -> tuple[int, float]:
    """Return who divides, and what comes of it."""
    return os.getpid(), over / under


def quotient_elsewhere(drawer: int) -> float:
    """End another process than the one that asks, and divide where there is none."""
    if os.getpid() != drawer:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.5


def test_the_other_process_returns_what_it_was_asked_for() -> None:
    assert not is_beside()
    assert called_beside(quotient, 1, 2).result() == (os.getpid(), 0.5)
    with pytest.raises(ZeroDivisionError):
        called_beside(quotient, 1, 0).result()
    with drawn_beside(lambda: False):
        assert is_beside()
        process, half = called_beside(quotient, 1, 2).result()
        assert (process != os.getpid(), half) == (True, 0.5)
        with pytest.raises(RunError, match="ZeroDivisionError: division by zero"):
            called_beside(quotient, 1, 0).result()
        assert called_beside(quotient, 1, 4).result() == (process, 0.25)
        assert called_beside(quotient_elsewhere, os.getpid()).result() == 0.5
