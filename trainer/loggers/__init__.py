"""Where a run's progress and numbers go: the screen, and the files of its folder."""

from trainer.loggers.base import Logger, Plan, Progress
from trainer.loggers.console import Console, network_table
from trainer.loggers.csv_file import Csv
from trainer.loggers.curves import Curves, curves_figure, draw_curves
from trainer.loggers.json_lines import JsonLines, read_records
from trainer.loggers.log_file import LogFile
from trainer.loggers.mlflow import MLflow
from trainer.loggers.pictures import Pictures
from trainer.loggers.screen import ScreenHandler
from trainer.loggers.tensorboard import TensorBoard

__all__ = [
    "Console",
    "Csv",
    "Curves",
    "JsonLines",
    "LogFile",
    "Logger",
    "MLflow",
    "Pictures",
    "Plan",
    "Progress",
    "ScreenHandler",
    "TensorBoard",
    "curves_figure",
    "draw_curves",
    "network_table",
    "read_records",
]
