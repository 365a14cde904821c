"""Pictures of what a network does on the test part, drawn at the run's end, a PNG each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.loggers.base import Logger, Plan


class Pictures(Logger):
    """Writes the objective's pictures, such as `confusion_matrix.png`, where there is a test part."""

    def start(self, plan: Plan) -> None:
        """Note where the pictures go."""
        self._plan = plan

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Draw and write the pictures."""
        if summary.get("test"):
            for name, figure in self._plan.pictures(summary["test"]).items():
                figure.savefig(self._plan.folder / f"{name}.png")
