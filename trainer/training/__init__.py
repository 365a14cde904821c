"""The loop, its compiled steps and its callbacks; knows nothing of Hydra."""

from trainer.training.callbacks import Callback, EarlyStopping
from trainer.training.loop import Diverged, Loop, Outcome
from trainer.training.resident import Resident, choose_feeding, make_resident
from trainer.training.signals import StopSignals
from trainer.training.steps import Evaluation, TrainingStep, compile_evaluation, compile_training_step
from trainer.training.weights import WeightKeeper

__all__ = [
    "Callback",
    "Diverged",
    "EarlyStopping",
    "Evaluation",
    "Loop",
    "Outcome",
    "Resident",
    "StopSignals",
    "TrainingStep",
    "WeightKeeper",
    "choose_feeding",
    "compile_evaluation",
    "compile_training_step",
    "make_resident",
]
