"""The optimizer: everything between the loss and the new parameters, in one dictionary of updates."""

from .composition import Optimizer, build_optimizer
from .groups import trained

__all__ = ["Optimizer", "build_optimizer", "trained"]
