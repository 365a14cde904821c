"""Data sources, and the batches that training reads from them.

A source is a function that a file of `conf/data/` names by `_target_`; it returns a `Data`. Any function that
does the same stands beside those here. Nothing in this room imports Theano.
"""

from trainer.data.batches import Batches
from trainer.data.bundled import digits
from trainer.data.idx_sets import mnist
from trainer.data.parts import Data, Part

__all__ = ["Batches", "Data", "Part", "digits", "mnist"]
