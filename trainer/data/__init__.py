"""Data sources, and the batches that training reads from them.

A source is a function that a file of `conf/data/` names by `_target_`. Any function that does the same stands
beside those here: `data._target_=my_data.spirals`, with `my_data.py` in the folder in which the command runs.

It takes keyword arguments, which become keys of the configuration (`data.noise=0.1`), and are checked against
its annotations. It returns a `Data`: three `Part`s of NumPy arrays and what a network must know of them.

>>> import numpy as np
>>> from trainer.data import Data, Part
>>> def spirals(examples: int = 300, noise: float = 0.05, seed: int = 1) -> Data:
...     generator = np.random.default_rng(seed)
...     turn = generator.uniform(0, 1, examples)
...     targets = generator.integers(0, 2, examples).astype(np.int32)
...     angle = 3 * np.pi * turn + np.pi * targets
...     inputs = turn[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
...     inputs = (inputs + noise * generator.normal(size=inputs.shape)).astype(np.float32)
...     first, second = examples * 7 // 10, examples * 17 // 20
...     rows = (slice(first), slice(first, second), slice(second, None))
...     parts = [Part(inputs[places], targets[places]) for places in rows]
...     return Data(*parts, input_shape=(2,), outputs=2, classes=2, name="spirals")
>>> spirals().description
'spirals: 210 to train, 45 to validate, 45 to test; inputs 2, 2 classes'

What is asked of it:

- Inputs are float32, (examples, *input_shape), images as (channels, rows, columns); or int32 with
  `input_dtype="int32"` where they are the numbers of tokens. They are finite.
- Targets are class numbers from 0 as whole numbers, (examples,), with `classes` and `outputs` their count; or
  float32 values, (examples,) or (examples, values), with `outputs` how many an example has.
- The three parts have no example in common, and which one has which depends on the source's own arguments
  alone (a `seed` of its own, not the run's), so that different runs are judged on the same examples.
- What a person can mend is raised as `trainer.errors.UsageError`, in one sentence with the file and the
  place.

Nothing in this room imports Theano.
"""

from trainer.data.arrays import npz
from trainer.data.batches import Batches
from trainer.data.bundled import breast_cancer, diabetes, digits, iris, wine
from trainer.data.idx_sets import fashion_mnist, idx, mnist
from trainer.data.images import image_folder
from trainer.data.npy_files import npy
from trainer.data.openml import openml
from trainer.data.parts import Data, Part
from trainer.data.tables import csv, parquet
from trainer.data.text import text

__all__ = [
    "Batches",
    "Data",
    "Part",
    "breast_cancer",
    "csv",
    "diabetes",
    "digits",
    "fashion_mnist",
    "idx",
    "image_folder",
    "iris",
    "mnist",
    "npy",
    "npz",
    "openml",
    "parquet",
    "text",
    "wine",
]
