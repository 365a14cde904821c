"""What a run leaves in files: its numbers and its summary."""

from __future__ import annotations

import importlib
import json
import math
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from trainer.errors import RunError, UsageError
from trainer.loggers import (
    Curves,
    JsonLines,
    Logger,
    Plan,
    Progress,
    read_records,
)
from trainer.summary import write_summary

CONF = Path(__file__).parent.parent / "conf"


def plan(folder: Path, step: int = 0) -> Plan:
    return Plan(folder, "mlp on digits, adam", Progress(3, 10, 640, step=step))


def strict_json(text: str) -> Any:
    """Parse as a parser of strict JSON does, which knows no NaN and no Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let every write beyond `size` bytes of a file fail, as on a full disk, a line's first part written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


RECORDS: list[dict[str, float | int]] = [
    {"epoch": 1, "step": 10, "seconds": 0.25, "train/loss": 0.1 + 0.2, "validation/loss": 1 / 3},
    {"epoch": 2, "step": 20, "seconds": 0.5, "train/loss": 1e-300, "validation/loss": 5e-324},
]


def test_metrics_hold_each_record_exactly_on_a_line_in_the_order_of_its_keys(
    tmp_path: Path,
) -> None:
    logger = JsonLines()
    logger.start(plan(tmp_path))
    for number, record in enumerate(RECORDS, start=1):
        logger.record(record)
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()  # before the file is closed
        assert [json.loads(line) for line in lines] == RECORDS[:number]
        assert list(json.loads(lines[-1])) == list(record)
    logger.close()
    logger.close()
    first = (tmp_path / "metrics.jsonl").read_text().splitlines()[0]
    assert first == (
        '{"epoch": 1, "step": 10, "seconds": 0.25, '
        '"train/loss": 0.30000000000000004, "validation/loss": 0.3333333333333333}'
    )
    assert read_records(tmp_path / "metrics.jsonl") == RECORDS


def test_numbers_that_are_not_finite_become_null_and_those_of_numpy_numbers(tmp_path: Path) -> None:
    logger = JsonLines()
    logger.start(plan(tmp_path))
    record: Any = {"epoch": np.int64(1), "a": math.nan, "b": -math.inf, "c": np.float32("nan")}
    record["d"] = np.float32(0.5)
    logger.record(record)
    logger.close()
    line = (tmp_path / "metrics.jsonl").read_text()
    assert strict_json(line) == {"epoch": 1, "a": None, "b": None, "c": None, "d": 0.5}


def test_a_fresh_run_begins_its_metrics_anew_and_a_resumed_one_appends(tmp_path: Path) -> None:
    for step, record in ((0, RECORDS[1]), (0, RECORDS[0]), (10, RECORDS[1])):
        logger = JsonLines()
        logger.start(plan(tmp_path, step))
        logger.record(record)
        logger.close()
    assert read_records(tmp_path / "metrics.jsonl") == RECORDS


def test_a_resumed_run_cuts_off_what_it_takes_again_and_a_half_written_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    kept = '{"epoch":1,"step":10,"train/loss":0.1000000000000000055}\n'
    path.write_text(kept + '{"epoch":2,"step":20}\n{"epoch":3,"step":30}\n{"epoch":4,"st')
    logger = JsonLines()
    logger.start(plan(tmp_path, 15))
    logger.record({"epoch": 2, "step": 20, "again": 1})
    logger.close()
    assert path.read_text() == kept + '{"epoch": 2, "step": 20, "again": 1}\n'


def test_a_run_that_goes_back_forgets_the_later_records(tmp_path: Path) -> None:
    lines, curves = JsonLines(), Curves()
    for logger in (lines, curves):
        logger.start(plan(tmp_path))
        for step in (10, 20, 30):
            logger.record({"step": step})
        logger.rewind(20)
        logger.record({"step": 25})
        logger.close()
    assert [record["step"] for record in read_records(tmp_path / "metrics.jsonl")] == [10, 20, 25]
    assert [record["step"] for record in curves.records] == [10, 20, 25]


def test_going_back_holds_for_lines_that_a_full_disk_keeps_waiting(tmp_path: Path) -> None:
    logger = JsonLines()
    logger.start(plan(tmp_path))
    with files_no_larger_than(25):
        for step in (10, 20, 30):
            logger.record({"step": step})
    assert (tmp_path / "metrics.jsonl").stat().st_size == 25
    logger.rewind(20)
    logger.record({"step": 21})
    logger.close()
    assert [record["step"] for record in read_records(tmp_path / "metrics.jsonl")] == [10, 20, 21]


def test_metrics_survive_a_full_disk_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = JsonLines()
    logger.start(plan(tmp_path))
    with files_no_larger_than(150):
        for record in RECORDS:
            logger.record(record)
        logger.record({"epoch": 3})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert (tmp_path / "metrics.jsonl").stat().st_size == 150
    assert read_records(tmp_path / "metrics.jsonl") == RECORDS[:1]
    logger.record({"epoch": 4})
    assert read_records(tmp_path / "metrics.jsonl") == [*RECORDS, {"epoch": 3}, {"epoch": 4}]
    logger.close()


def test_metrics_that_never_reach_the_disk_are_counted_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = JsonLines()
    logger.start(plan(tmp_path))
    with files_no_larger_than(150):
        logger.record(RECORDS[0])
        logger.record(RECORDS[1])
        logger.record({"epoch": 3})
        logger.close()
    assert caplog.messages[-1] == "metrics.jsonl lacks its last 2 records"


def test_metrics_that_cannot_be_begun_are_an_error_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(RunError, match=r"metrics\.jsonl cannot be written .* hydra\.run\.dir"):
        JsonLines().start(plan(tmp_path))


def test_reading_metrics_passes_over_a_half_written_last_line_and_names_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch": 2, "trai')
    assert read_records(path) == [{"epoch": 1}]
    path.write_text('{"epoch": 1}\n{"epoch"\n{"epoch": 3}\n')
    with pytest.raises(UsageError, match=r"metrics\.jsonl, line 2 is damaged"):
        read_records(path)
    path.write_text("[1]\n")
    with pytest.raises(UsageError, match=r"line 1 is no JSON object"):
        read_records(path)


def test_the_summary_is_strict_json_a_key_a_line_and_keeps_its_order(tmp_path: Path) -> None:
    summary: Mapping[str, Any] = {
        "status": "diverged",
        "best": {"epoch": 1, "validation/loss": np.float64(0.5)},
        "test": {"loss": math.nan, "confusion": np.array([[1, 0], [0, 2]])},
        "folder": tmp_path,
        "versions": {"theano": "1.0.5"},
    }
    path = write_summary(tmp_path, summary)
    read = strict_json(path.read_text())
    assert path.read_text().startswith('{\n  "status": "diverged",\n')
    assert path == tmp_path / "summary.json"
    assert list(read) == list(summary)
    assert read["best"] == {"epoch": 1, "validation/loss": 0.5}
    assert read["test"] == {"loss": None, "confusion": [[1, 0], [0, 2]]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_a_summary_that_cannot_be_written_leaves_the_older_one(tmp_path: Path) -> None:
    older = write_summary(tmp_path, {"status": "interrupted"}).read_bytes()
    with files_no_larger_than(100), pytest.raises(OSError, match="too large"):
        write_summary(tmp_path, {"status": "completed", "filling": "x" * 500})
    with pytest.raises(TypeError):
        write_summary(tmp_path, {"status": object()})
    assert (tmp_path / "summary.json").read_bytes() == older
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_the_default_configuration_names_loggers_that_can_be_built() -> None:
    configured: Any = OmegaConf.to_container(OmegaConf.load(CONF / "logger" / "default.yaml"))
    assert set(configured) == {"console", "json_lines", "curves", "pictures"}
    for settings in configured.values():
        module, _, name = settings.pop("_target_").rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), name)(**settings), Logger)


def test_importing_the_loggers_does_not_import_what_only_some_runs_need() -> None:
    heavy = "{'matplotlib', 'numpy', 'theano', 'hydra', 'mlflow', 'tensorboardX'}"
    code = f"import sys, trainer.loggers; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_logger_that_overrides_nothing_takes_a_whole_run(tmp_path: Path) -> None:
    logger = Logger()
    logger.start(plan(tmp_path))
    logger.record(RECORDS[0])
    logger.finish({})
    logger.close()
    assert not list(tmp_path.iterdir())
