"""Pictures of what a network does on the test part, drawn at the run's end, a PNG each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.loggers.base import Logger, Plan
from trainer.loggers.drawing import check_in_sweeps, draw, write_figure

log = logging.getLogger(__name__)


class Pictures(Logger):
    """Writes the objective's pictures, such as `confusion_matrix.png`, where there is a test part.

    A disk that is full costs the picture and a warning, not the run; so does a name that is none of a file in
    the run's folder.

    Parameters
    ----------
    in_sweeps : {'best', 'all'}
        Which jobs of a sweep draw them: those that are the best so far when they end, or all.
    """

    def __init__(self, in_sweeps: str = "best") -> None:
        self.in_sweeps = check_in_sweeps(in_sweeps, "pictures")

    def start(self, plan: Plan) -> None:
        """Note where the pictures go."""
        self._plan = plan

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Draw and write the pictures."""
        if summary.get("test") and (self.in_sweeps == "all" or self._plan.leads(summary)):
            for name, picture in self._plan.pictures(summary["test"]).items():
                self._write(name, picture)

    def _write(self, name: str, picture: Any) -> None:
        if not name.isprintable() or Path(f"{name}.png").name != f"{name}.png":
            log.warning("the picture %s is not written: that is no name of a file", ascii(name))
            return
        path = self._plan.folder / f"{name}.png"
        draw(path, write_figure, picture, path)
