"""Updates fused into kernels: each element of a parameter, its gradient and its states read and written once.

>>> from trainer.kernels.fused import fuse
>>> updates = fuse(adam(loss, parameters))  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import theano
from theano.compile.mode import get_default_mode
from theano.gof.link import PerformLinker

from trainer.kernels.fused import fusion
from trainer.kernels.fused import in_place as _in_place  # noqa: F401 (Theano learns to overwrite old values)
from trainer.kernels.fused.fusion import Updates
from trainer.kernels.fused.operation import FusedUpdate

__all__ = ["FusedUpdate", "available", "fuse"]


def available() -> bool:
    """Tell whether functions are compiled to C by default, so that fused updates serve them."""
    return bool(theano.config.cxx) and not isinstance(get_default_mode().linker, PerformLinker)


def fuse(updates: Mapping[Any, Any], gradients: Collection[Any] = ()) -> Updates:
    """Give the same updates, computed by few kernels that read and write each element once.

    See `trainer.kernels.fused.fusion.fuse`, which serves the CPU, and `trainer.kernels.device.updates.fuse`,
    which serves other devices.

    Parameters
    ----------
    updates : mapping
        Each shared variable to its new value. It is left as it was.
    gradients : collection of variables
        Where the expressions of the update begin.

    Returns
    -------
    OrderedDict
        The same variables in the same order; what cannot be fused has its own expression.
    """
    if str(theano.config.device) == "cpu":
        return fusion.fuse(updates, gradients)
    from trainer.kernels.device import updates as on_device

    return on_device.fuse(updates, gradients)
