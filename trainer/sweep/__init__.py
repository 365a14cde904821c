"""What a multirun needs beyond its jobs, and the folders of runs."""

from trainer.sweep.folders import Folders, Refused
from trainer.sweep.leaderboard import Leaderboard

__all__ = ["Folders", "Leaderboard", "Refused"]
