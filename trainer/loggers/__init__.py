"""Where a run's progress and numbers go: the screen, and the files of its folder."""

from trainer.loggers.base import Logger, Plan, Progress
from trainer.loggers.console import Console, network_table
from trainer.loggers.curves import Curves, curves_figure, draw_curves
from trainer.loggers.json_lines import JsonLines, read_records
from trainer.loggers.log_file import LogFile
from trainer.loggers.pictures import Pictures
from trainer.loggers.screen import ScreenHandler

__all__ = [
    "Console",
    "Curves",
    "JsonLines",
    "LogFile",
    "Logger",
    "Pictures",
    "Plan",
    "Progress",
    "ScreenHandler",
    "curves_figure",
    "draw_curves",
    "network_table",
    "read_records",
]
