"""A running job's hyperparameters changed from outside, through files in its folder alone."""

from trainer.steering.messages import (
    COMMANDS,
    Answer,
    Change,
    Held,
    Malformed,
    Request,
    State,
    check_request,
)
from trainer.steering.watcher import Steering

__all__ = [
    "COMMANDS",
    "Answer",
    "Change",
    "Held",
    "Malformed",
    "Request",
    "State",
    "Steering",
    "check_request",
]
