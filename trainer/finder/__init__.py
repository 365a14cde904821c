"""`task=find_learning_rate`: one sweep of the learning rate, and the value that it suggests."""

from trainer.finder.picture import draw_rates, rates_figure
from trainer.finder.report import command, run_finder
from trainer.finder.suggestion import suggest
from trainer.finder.sweep import Finding, check, find_learning_rate, smooth

__all__ = [
    "Finding",
    "check",
    "command",
    "draw_rates",
    "find_learning_rate",
    "rates_figure",
    "run_finder",
    "smooth",
    "suggest",
]
