"""`metrics.csv`: read back by Python's own csv module."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from tests.test_loggers import files_no_larger_than, plan
from trainer.loggers import Csv, JsonLines


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def written(folder: Path, *records: dict[str, Any]) -> Csv:
    logger = Csv()
    logger.start(plan(folder))
    for record in records:
        logger.record(record)
    return logger


def test_each_record_is_a_row_with_all_its_digits_as_soon_as_it_is_known(tmp_path: Path) -> None:
    logger = written(tmp_path, {"epoch": 1, "step": 10, "train/loss": 0.1 + 0.2})
    assert rows(tmp_path) == [{"epoch": "1", "step": "10", "train/loss": "0.30000000000000004"}]
    logger.record({"epoch": 2, "step": 20, "train/loss": 1 / 3})
    assert float(rows(tmp_path)[1]["train/loss"]) == 1 / 3
    logger.close()
    logger.close()


def test_columns_stay_as_the_first_record_has_them_and_new_ones_stand_behind(tmp_path: Path) -> None:
    first = {"step": 10, "train/loss": 1.5}
    written(
        tmp_path, first, {"train/loss": 0.5, "step": 20}, {"step": 30, 'odd,"name"': 2, "train/loss": 1.0}
    ).close()
    assert list(rows(tmp_path)[0]) == ["step", "train/loss", 'odd,"name"']
    assert [row["step"] for row in rows(tmp_path)] == ["10", "20", "30"]
    assert [row['odd,"name"'] for row in rows(tmp_path)] == ["", "", "2"]


def test_numbers_that_are_not_finite_read_back_as_such(tmp_path: Path) -> None:
    written(tmp_path, {"a": math.nan, "b": math.inf, "c": -math.inf}).close()
    (row,) = rows(tmp_path)
    assert math.isnan(float(row["a"]))
    assert (float(row["b"]), float(row["c"])) == (math.inf, -math.inf)


def test_a_run_that_goes_back_forgets_later_rows_and_their_columns(tmp_path: Path) -> None:
    logger = written(tmp_path, {"step": 10, "a": 1}, {"step": 20, "a": 2, "late": 3})
    logger.rewind(10)
    logger.record({"step": 15, "a": 4})
    logger.close()
    assert rows(tmp_path) == [{"step": "10", "a": "1"}, {"step": "15", "a": "4"}]


def test_a_resumed_run_has_the_rows_of_its_earlier_life_though_they_were_never_in_the_table(
    tmp_path: Path,
) -> None:
    lines = JsonLines()
    lines.start(plan(tmp_path))
    for step in (10, 20, 30):
        lines.record({"step": step, "a": step / 100})
    lines.close()
    (tmp_path / "metrics.csv").write_text("step,a\r\n10,0.1\r\n20,0.")
    logger = Csv()
    logger.start(plan(tmp_path, step=20))
    logger.record({"step": 30, "a": 7.5})
    logger.close()
    assert [(row["step"], row["a"]) for row in rows(tmp_path)] == [
        ("10", "0.1"),
        ("20", "0.2"),
        ("30", "7.5"),
    ]


def test_a_run_that_begins_anew_begins_its_table_anew(tmp_path: Path) -> None:
    written(tmp_path, {"step": 10, "old": 1}, {"step": 20, "old": 1}).close()
    written(tmp_path, {"step": 10, "new": 2}).close()
    assert rows(tmp_path) == [{"step": "10", "new": "2"}]


def test_a_full_disk_costs_a_warning_and_the_table_is_whole_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = written(tmp_path, {"step": 10, "a": 0.125})
    with files_no_larger_than(22):
        for step in (20, 30):
            logger.record({"step": step, "a": 0.125})
        logger.record({"step": 40, "a": 0.125, "late": 1})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    logger.record({"step": 50, "a": 0.125, "late": 2})
    logger.close()
    assert [(row["step"], row["late"]) for row in rows(tmp_path)] == [
        ("10", ""),
        ("20", ""),
        ("30", ""),
        ("40", "1"),
        ("50", "2"),
    ]


def test_rows_that_never_reach_the_disk_are_counted_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = written(tmp_path, {"step": 10, "a": 0.125})
    with files_no_larger_than(22):
        logger.record({"step": 20, "a": 0.125})
        logger.record({"step": 30, "a": 0.125})
        logger.close()
    assert caplog.messages[-1] == "metrics.csv lacks its last 2 rows"


def test_a_deleted_table_is_written_anew_with_all_its_rows(tmp_path: Path) -> None:
    logger = written(tmp_path, {"step": 10, "a": 1})
    (tmp_path / "metrics.csv").unlink()
    logger.record({"step": 20, "a": 2})
    logger.close()
    assert [row["step"] for row in rows(tmp_path)] == ["10", "20"]
