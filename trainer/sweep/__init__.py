"""What a multirun needs beyond its jobs."""

from trainer.sweep.leaderboard import Leaderboard

__all__ = ["Leaderboard"]
