"""The training state on disk: written whole beside the run, checked in every byte when it is read.

A checkpoint is a folder `step-000001200` with

- `tensors.safetensors`: every array of the state, by name, to the same bits;
- `state.json`: `version`, `step`, `is_best`, the SHA-256 of the tensors' file with the dtype and the shape of
  each array, the SHA-256 of each file of weights beside them, the `values` (whatever of the state is no
  array), and, in `sha256`, that of all this;
- the run's weights files as they were then (`best.safetensors`), hard links where the file system has them.

What reads needs no Theano; what saves a running training is in `trainer.checkpoints.checkpointer`.
"""

from trainer.checkpoints.files import Checkpoint, Damaged, State
from trainer.checkpoints.store import CheckpointStore
from trainer.checkpoints.tensors import read_tensors, save_tensors
from trainer.checkpoints.writer import Job, Writer

__all__ = [
    "Checkpoint",
    "CheckpointStore",
    "Damaged",
    "Job",
    "State",
    "Writer",
    "read_tensors",
    "save_tensors",
]
