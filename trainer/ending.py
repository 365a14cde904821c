"""What a run leaves at its end: what the loggers tell, and its summary."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.folder_guard import FolderGuard
from trainer.loggers.base import Logger
from trainer.parts import Parts
from trainer.steering import Steering
from trainer.summary import summarize, write_summary
from trainer.training import Outcome

log = logging.getLogger(__name__)


class Ending:
    """Tells how a run went.

    Parameters
    ----------
    folder : Path
        The run's.
    parts : Parts
        What the run is made of.
    loggers : sequence of Logger
        Who is told.
    guard : FolderGuard
        Sees to it that the folder is there.
    compile_seconds : float
        What compiling took.
    """

    def __init__(
        self,
        folder: Path,
        parts: Parts,
        loggers: Sequence[Logger],
        guard: FolderGuard,
        compile_seconds: float,
    ) -> None:
        self._folder, self._parts, self._loggers, self._guard = folder, parts, loggers, guard
        self._compile_seconds = compile_seconds

    def tell(
        self, outcome: Outcome, test: Mapping[str, Any], steering: Steering
    ) -> tuple[dict[str, Any], OSError | None]:
        """Have the loggers finish and write `summary.json`; return that, and what hindered its writing."""
        summary = summarize(
            outcome,
            test=test,
            network=self._parts.network,
            machine=self._parts.machine,
            compile_seconds=self._compile_seconds,
            seed=self._parts.settings.training.seed,
            steering=steering.state()["changes"],
        )
        unwritten = None
        self._guard.look()
        try:
            for logger in self._loggers:
                logger.finish(summary)
        finally:
            # Last, so that a run that is killed before has all of its end still to come.
            try:
                write_summary(self._folder, summary)
            except OSError as error:
                unwritten = error
                log.warning("summary.json cannot be written (%s)", error.strerror or error)
        return summary, unwritten
