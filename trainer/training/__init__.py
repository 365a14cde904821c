"""The loop, its compiled steps and its callbacks; knows nothing of Hydra."""

from trainer.training.accumulation import Accumulation, accumulate
from trainer.training.callbacks import Callback, EarlyStopping
from trainer.training.divergence import Diverged, NonFinitePolicy
from trainer.training.loop import Loop
from trainer.training.outcome import Outcome, check_place
from trainer.training.resident import Resident, choose_feeding, make_resident
from trainer.training.signals import Interrupted, StopSignals
from trainer.training.standing_in import standing_in
from trainer.training.steps import (
    AccumulatedStep,
    Evaluation,
    TrainingStep,
    compile_evaluation,
    compile_training_step,
)
from trainer.training.weights import WeightKeeper

__all__ = [
    "AccumulatedStep",
    "Accumulation",
    "Callback",
    "Diverged",
    "EarlyStopping",
    "Evaluation",
    "Interrupted",
    "Loop",
    "NonFinitePolicy",
    "Outcome",
    "Resident",
    "StopSignals",
    "TrainingStep",
    "WeightKeeper",
    "accumulate",
    "check_place",
    "choose_feeding",
    "compile_evaluation",
    "compile_training_step",
    "make_resident",
    "standing_in",
]
