"""TensorBoard's event files, written through tensorboardX, which needs no TensorFlow."""

from __future__ import annotations

import logging
import math
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from trainer.loggers.appended import AppendedFile
from trainer.loggers.base import Logger, Plan
from trainer.loggers.extras import optional
from trainer.loggers.identity import Identity
from trainer.loggers.json_lines import earlier_records
from trainer.loggers.wording import CLOCKWORK

log = logging.getLogger(__name__)

SUCCEEDED = ("completed", "stopped_early")


class TensorBoard(Logger):
    """Write the records as scalars into the run's folder, by the number of the step.

    `tensorboard --logdir outputs` shows all runs, `tensorboard --logdir multirun/DATE/TIME` a sweep: a job is
    a run of the name of its folder. The configuration stands in the HParams tab, which compares the jobs by
    it; the test part's metrics are scalars `test/...` at the last step.

    Events are only ever appended. A run that goes on, or that goes back to a checkpoint, writes the mark by
    which TensorBoard drops the later steps that it had read; a resumed run writes a file of its own, which
    TensorBoard reads after the earlier ones. Where there are none, it begins with the records that
    `metrics.jsonl` has.

    Raises
    ------
    UsageError
        tensorboardX is not installed (`pip install 'theano-trainer[tensorboard]'`).
    """

    def __init__(self) -> None:
        self._proto = optional("tensorboardX.proto.event_pb2", "tensorboard")
        self._summary = optional("tensorboardX.summary", "tensorboard")
        self._crc = optional("tensorboardX.record_writer", "tensorboard").masked_crc32c
        self._file: AppendedFile | None = None
        self._plan: Plan | None = None
        self._hyperparameters: tuple[Any, ...] = ()

    def start(self, plan: Plan) -> None:
        """Begin a file, and write the configuration.

        Raises
        ------
        RunError
            The run's folder cannot be written.
        """
        self._plan = plan
        earlier = len(list(plan.folder.glob("events.out.tfevents.*")))
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{int(time.time()):010d}.{earlier:04d}.{socket.gethostname()}"
        self._file = AppendedFile(plan.folder / name)
        self._add(0, file_version="brain.Event:2")
        if earlier:
            self.rewind(plan.progress.step)
        configured = Identity(plan.folder).hyperparameters
        if configured:
            self._hyperparameters = self._summary.hparams(configured, {plan.monitor: 0.0})
            for part in self._hyperparameters[:2]:
                self._add(plan.progress.step, summary=part)
        for record in [] if earlier else earlier_records(plan):
            self.record(record)

    def record(self, record: Mapping[str, float | int]) -> None:
        """Write a record's numbers, but for its step and its time, which every event has."""
        kept = {key: value for key, value in record.items() if key not in CLOCKWORK or key == "epoch"}
        self._scalars(int(record.get("step") or 0), kept)

    def rewind(self, step: int) -> None:
        """Write the mark by which the events of later steps are dropped."""
        start = self._proto.SessionLog(status=self._proto.SessionLog.START)
        self._add(step + 1, session_log=start)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the test part's metrics, and that the run has ended."""
        if self._plan is None:
            return
        step = self._plan.progress.step
        test = summary.get("test") or {}
        numbers = {f"test/{key}": value for key, value in test.items() if isinstance(value, (int, float))}
        self._scalars(step, numbers)
        if self._hyperparameters and summary.get("status") in SUCCEEDED:
            self._add(step, summary=self._hyperparameters[2])

    def close(self) -> None:
        """Write what still waits, and close the file."""
        if self._file is not None and self._file.close():
            log.warning("%s lacks its last events", self._file.path.name)

    def _scalars(self, step: int, values: Mapping[str, Any]) -> None:
        kind = self._summary.Summary
        numbers = {key: math.nan if value is None else float(value) for key, value in values.items()}
        if numbers:
            scalars = [kind.Value(tag=key, simple_value=value) for key, value in numbers.items()]
            self._add(step, summary=kind(value=scalars))

    def _add(self, step: int, **content: Any) -> None:
        if self._file is None:
            return
        event = self._proto.Event(wall_time=time.time(), step=step, **content).SerializeToString()
        length = struct.pack("<Q", len(event))
        # A record as TensorFlow frames it: each part with its checksum behind it.
        framed = [length, self._check(length), event, self._check(event)]
        self._file.append(b"".join(framed))

    def _check(self, part: bytes) -> bytes:
        return struct.pack("<I", self._crc(part))
