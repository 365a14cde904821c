"""Updates fused into kernels: each element of a parameter, its gradient and its states read and written once.

>>> from trainer.kernels.fused import fuse
>>> updates = fuse(adam(loss, parameters))  # doctest: +SKIP
"""

from __future__ import annotations

import theano
from theano.compile.mode import get_default_mode
from theano.gof.link import PerformLinker

from trainer.kernels.fused import in_place as _in_place  # noqa: F401 (Theano learns to overwrite old values)
from trainer.kernels.fused.fusion import fuse
from trainer.kernels.fused.operation import FusedUpdate

__all__ = ["FusedUpdate", "available", "fuse"]


def available() -> bool:
    """Tell whether functions are compiled to C for the CPU by default, so that fused updates serve them."""
    compiled = bool(theano.config.cxx) and not isinstance(get_default_mode().linker, PerformLinker)
    return compiled and str(theano.config.device) == "cpu"
