"""The picture of a run: every line in it is the record's."""

from __future__ import annotations

import io
import json
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainer.loggers import Curves, Plan, Progress, curves_figure, draw_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def plan(folder: Path, step: int = 0) -> Plan:
    return Plan(folder, "mlp on digits, adam", Progress(6, 10, 640, step=step))


def history(epochs: int) -> list[dict[str, float | int]]:
    """Return records whose validation loss is least at epoch 4, of a learning rate that spans decades."""
    return [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "seconds": 0.5 * epoch,
            "train/loss": 2.0 / epoch,
            "validation/loss": 1.0 + abs(epoch - 4) / 10,
            "validation/accuracy": 0.5 + epoch / 100,
            "hyperparameter/learning_rate": 0.1**epoch,
            "hyperparameter/momentum": 0.9,
        }
        for epoch in range(1, epochs + 1)
    ]


def panels(figure: Figure) -> dict[str, Axes]:
    return {str(axes.get_gid()): axes for axes in figure.axes}


def lines(axes: Axes) -> dict[str, Line2D]:
    return {str(line.get_gid()): line for line in axes.get_lines()}


def legend(axes: Axes) -> list[str]:
    drawn = axes.get_legend()
    return [] if drawn is None else [text.get_text() for text in drawn.get_texts()]


def test_curves_draw_every_record_in_a_panel_of_its_metric() -> None:
    records = history(6)
    figure = curves_figure(records, "mlp on digits, adam")
    drawn = panels(figure)
    assert list(drawn) == ["loss", "accuracy", "learning_rate"]
    for name, key in (
        ("loss", "train/loss"),
        ("loss", "validation/loss"),
        ("accuracy", "validation/accuracy"),
        ("learning_rate", "hyperparameter/learning_rate"),
    ):
        line = lines(drawn[name])[key]
        assert list(line.get_xdata()) == [1, 2, 3, 4, 5, 6]  # type: ignore[arg-type]
        assert list(line.get_ydata()) == [record[key] for record in records]  # type: ignore[arg-type]
    assert figure.get_suptitle() == "mlp on digits, adam"
    assert figure.get_supxlabel() == "constant: momentum 0.9"
    assert [axes.get_yscale() for axes in drawn.values()] == ["linear", "linear", "log"]
    assert drawn["learning_rate"].get_xlabel() == "epoch"


def test_hyperparameters_stand_by_their_names_the_learning_rate_first() -> None:
    own = {"hyperparameter/groups.head.weight_decay": 0.1, "hyperparameter/averaging.decay": 0.99}
    records = [
        {"hyperparameter/clipping.value.max_value": epoch / 10, **record, **own}
        for epoch, record in enumerate(history(3), 1)
    ]
    figure = curves_figure(records)
    drawn = panels(figure)
    assert list(drawn) == ["loss", "accuracy", "learning_rate", "clipping.value.max_value"]
    assert drawn["clipping.value.max_value"].get_title(loc="left") == "clipping value max value"
    assert figure.get_supxlabel() == (
        "constant: momentum 0.9, groups.head.weight_decay 0.1, averaging.decay 0.99"
    )


@pytest.mark.parametrize(
    ("monitor", "mode", "epoch"), [("validation/loss", "min", 4), ("validation/accuracy", "max", 6)]
)
def test_curves_mark_the_best_epoch_in_every_panel(monitor: str, mode: str, epoch: int) -> None:
    drawn = panels(curves_figure(history(6), monitor=monitor, mode=mode))
    for axes in drawn.values():
        assert list(lines(axes)["best"].get_xdata()) == [epoch, epoch]  # type: ignore[arg-type]
    marked = drawn[monitor.partition("/")[2]]
    assert list(lines(marked)[f"best/{monitor}"].get_xdata()) == [epoch]  # type: ignore[arg-type]
    assert legend(marked)[-1].startswith(f"best: epoch {epoch}, ")


@pytest.mark.parametrize("broken", [math.nan, math.inf, None])
def test_curves_leave_gaps_where_a_number_is_not_finite_and_say_where(broken: float | None) -> None:
    records: list[dict[str, float | int | None]] = [dict(record) for record in history(5)]
    records[3]["validation/loss"] = records[4]["validation/loss"] = broken
    axes = panels(curves_figure(records))["loss"]
    drawn = np.asarray(lines(axes)["validation/loss"].get_ydata(), dtype=float)
    np.testing.assert_array_equal(drawn, [1.3, 1.2, 1.1, np.nan, np.nan])
    assert legend(axes) == ["train", "validation (not finite at epoch 4)", "best: epoch 3, 1.1000"]


def test_curves_of_one_epoch_without_validation_are_a_picture(tmp_path: Path) -> None:
    records = [{"epoch": 1, "step": 10, "train/loss": 2.0, "hyperparameter/learning_rate": 0.1}]
    draw_curves(records, tmp_path / "curves.png", "costs $5_{ and $6")
    content = (tmp_path / "curves.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", content[16:20]) == (1200,)
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.png"]


def test_curves_of_several_records_an_epoch_are_drawn_over_steps() -> None:
    records = [{"epoch": 1, "step": step, "train/loss": 1.0 / step} for step in (5, 10)]
    axes = panels(curves_figure(records))["loss"]
    assert list(lines(axes)["train/loss"].get_xdata()) == [5, 10]  # type: ignore[arg-type]
    assert axes.get_xlabel() == "step"


def test_the_curves_logger_draws_at_the_end_with_what_a_resumed_run_did_before(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps(history(2)[0]) + "\n")
    logger = Curves()
    logger.start(plan(tmp_path, step=10))
    logger.record(history(2)[1])
    assert logger.records == history(2)
    logger.finish({"status": "completed"})
    logger.close()
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_a_picture_that_cannot_be_written_costs_a_warning_and_a_run_without_records_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = Curves()
    logger.start(plan(tmp_path))
    logger.finish({})
    assert not list(tmp_path.iterdir())
    logger.record(history(1)[0])
    (tmp_path / "curves.png").mkdir()
    logger.finish({})
    assert [record.levelname for record in caplog.records if record.name == "trainer.loggers.drawing"] == [
        "WARNING"
    ]


def test_the_numbers_of_a_panel_lie_within_the_picture_and_clear_of_its_name() -> None:
    records = [
        {
            **record,
            "train/rmse": 1e9 / epoch,
            "train/mae": 1e-7 / epoch,
            "hyperparameter/momentum": 1e-6 * epoch,
        }
        for epoch, record in enumerate(history(6), 1)
    ]
    figure = curves_figure(records, "mlp on digits, adam")
    figure.savefig(io.BytesIO())
    assert len(figure.axes) > 4
    scaled = 0
    for axes in figure.axes:
        (name,) = [
            text
            for text in axes.get_children()
            if getattr(text, "get_text", str)() == axes.get_title("left") != ""
        ]
        power = axes.yaxis.get_offset_text()
        scaled += power.get_text() != ""
        numbers = [power, *axes.get_yticklabels()]
        assert min(number.get_window_extent().x0 for number in numbers if number.get_text()) >= 0
        assert not power.get_text() or power.get_window_extent().x1 <= name.get_window_extent().x0
    assert scaled == 3  # of the root mean square, of the mean, of the momentum


def test_a_picture_drawn_after_others_is_the_one_that_it_is_alone(tmp_path: Path) -> None:
    longer = [{**record, "train/loss": 3.0, "hyperparameter/beta": 0.5} for record in history(9)]
    flat = [{**record, "hyperparameter/learning_rate": 0.1} for record in history(7)]
    runs = [history(6), flat, history(8), longer, history(3), flat]
    used, reused = None, 0
    for number, records in enumerate(runs):
        alone, after = io.BytesIO(), io.BytesIO()
        curves_figure(records, f"run {number}").savefig(alone)
        before, used = used, curves_figure(records, f"run {number}", used=used)
        reused += used is before
        used.savefig(after)
        assert after.getvalue() == alone.getvalue()
    assert reused > 1
