"""TensorBoard's event files: framed and read back by the documented format of TensorFlow's records."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_loggers import files_no_larger_than, plan
from trainer.loggers import TensorBoard

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2", reason="tensorboardX is not installed")

CONFIG = "optimizer:\n  _target_: trainer.updates.adam\n  learning_rate: 0.01\nlogger:\n  a: 1\n"


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, bit by bit (RFC 3720, appendix B.4), masked as TensorFlow does."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(folder: Path) -> Iterator[Any]:
    """Yield the events of a folder's files, in the order in which TensorBoard reads them."""
    for path in sorted(folder.glob("*tfevents*")):
        content = path.read_bytes()
        while content:
            (length,), (check,) = struct.unpack("<Q", content[:8]), struct.unpack("<I", content[8:12])
            data, (data_check,) = content[12 : 12 + length], struct.unpack("<I", content[12 + length :][:4])
            assert (check, data_check) == (crc32c(content[:8]), crc32c(data))
            content = content[16 + length :]
            yield event_pb2.Event.FromString(data)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard shows: where a run starts over at a step, what it had of later ones is gone."""
    shown: dict[str, list[tuple[int, float]]] = {}
    for event in events(folder):
        if event.HasField("session_log") and event.session_log.status == event.session_log.START:
            shown = {tag: [point for point in line if point[0] < event.step] for tag, line in shown.items()}
        for value in event.summary.value:
            if value.HasField("simple_value"):
                shown.setdefault(value.tag, []).append((event.step, value.simple_value))
    return shown


def test_records_are_scalars_by_step_that_can_be_read_while_the_run_goes_on(tmp_path: Path) -> None:
    logger = TensorBoard()
    logger.start(plan(tmp_path))
    logger.record({"epoch": 1, "step": 10, "seconds": 0.5, "train/loss": 0.25})
    assert scalars(tmp_path) == {"epoch": [(10, 1.0)], "train/loss": [(10, 0.25)]}
    logger.record({"epoch": 2, "step": 20, "seconds": 1.0, "train/loss": math.nan})
    assert math.isnan(scalars(tmp_path)["train/loss"][1][1])
    logger.finish({"status": "completed", "test": {"loss": 0.5, "confusion": [[1, 0], [0, 1]]}})
    logger.close()
    logger.close()
    assert scalars(tmp_path)["test/loss"] == [(0, 0.5)]
    assert next(events(tmp_path)).file_version == "brain.Event:2"


def test_a_run_that_goes_back_and_one_that_goes_on_show_each_step_once(tmp_path: Path) -> None:
    logger = TensorBoard()
    logger.start(plan(tmp_path))
    for step in (10, 20, 30):
        logger.record({"step": step, "loss": float(step)})
    logger.rewind(20)
    logger.record({"step": 30, "loss": 1.0})
    logger.record({"step": 40, "loss": 2.0})
    logger.close()
    resumed = TensorBoard()
    resumed.start(plan(tmp_path, step=30))
    resumed.record({"step": 40, "loss": 3.0})
    resumed.close()
    assert scalars(tmp_path)["loss"] == [(10, 10.0), (20, 20.0), (30, 1.0), (40, 3.0)]
    assert len(list(tmp_path.glob("*tfevents*"))) == 2
    anew = TensorBoard()
    anew.start(plan(tmp_path))
    anew.record({"step": 10, "loss": 4.0})
    anew.close()
    assert scalars(tmp_path)["loss"] == [(10, 4.0)]


def test_a_run_that_goes_on_without_earlier_files_shows_the_records_that_it_has(tmp_path: Path) -> None:
    lines = [f'{{"epoch": {epoch}, "step": {10 * epoch}, "loss": {epoch}.5}}\n' for epoch in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    resumed = TensorBoard()
    resumed.start(plan(tmp_path, step=20))
    resumed.record({"epoch": 3, "step": 30, "loss": 4.0})
    resumed.close()
    assert scalars(tmp_path)["loss"] == [(10, 1.5), (20, 2.5), (30, 4.0)]


def test_the_configuration_stands_among_the_hyperparameters(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(CONFIG)
    logger = TensorBoard()
    logger.start(plan(tmp_path))
    logger.finish({"status": "completed"})
    logger.close()
    plugin = pytest.importorskip("tensorboardX.proto.plugin_hparams_pb2")
    found = {
        value.tag: plugin.HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for event in events(tmp_path)
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "hparams"
    }
    given = found["_hparams_/session_start_info"].session_start_info.hparams
    assert {key: value.string_value or value.number_value for key, value in given.items()} == {
        "optimizer": "adam",
        "optimizer.learning_rate": 0.01,
    }
    metrics = found["_hparams_/experiment"].experiment.metric_infos
    assert [info.name.tag for info in metrics] == ["validation/loss"]
    assert "_hparams_/session_end_info" in found


def test_a_full_disk_costs_a_warning_and_no_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = TensorBoard()
    logger.start(plan(tmp_path))
    with files_no_larger_than(100):
        for step in (10, 20, 30):
            logger.record({"step": step, "loss": 0.5})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    logger.record({"step": 40, "loss": 0.5})
    logger.close()
    assert [step for step, _ in scalars(tmp_path)["loss"]] == [10, 20, 30, 40]
