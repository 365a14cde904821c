"""What a multirun needs beyond its jobs, and the folders of runs."""

from trainer.sweep.folders import Folders, Refused
from trainer.sweep.leaderboard import Leaderboard
from trainer.sweep.live import LiveTable

__all__ = ["Folders", "Leaderboard", "LiveTable", "Refused"]
