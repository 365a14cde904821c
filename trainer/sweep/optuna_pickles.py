"""A study that is read runs no code, though Optuna's CMA-ES keeps its state pickled there."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

import optuna

from trainer.errors import UsageError

_STATE = "optimizer"
_OF_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMBERS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((module, name) for module in _OF_NUMPY for name in ("_reconstruct", "scalar")),
    *((f"cmaes._{name.lower()}", name) for name in ("CMA", "SepCMA", "CMAwM")),
}


def refuse_foreign_pickles(study: optuna.Study) -> None:
    """Refuse a study whose state of CMA-ES holds anything but that sampler and its numbers.

    Raises
    ------
    UsageError
        Where Optuna would unpickle something else.
    """
    for trial in study.get_trials(deepcopy=False):
        for text in _states(trial.system_attrs):
            try:
                _Numbers(io.BytesIO(bytes.fromhex(text))).load()
            except Exception as error:  # of whatever kind: the bytes are anybody's
                raise UsageError(
                    f"the study's trial {trial.number} holds a state of CMA-ES that is none ({error}): begin "
                    "a sweep in another folder"
                ) from error


class _Numbers(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NUMBERS:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def _states(attributes: Mapping[str, Any]) -> list[str]:
    """Return the hexadecimal texts of the states, whose numbered parts Optuna puts together by number."""
    parts: dict[str, dict[int, str]] = {}
    for key, value in attributes.items():
        head, _, number = key.rpartition(":")
        if _STATE in key and isinstance(value, str):
            parts.setdefault(head, {})[int(number) if number.isdecimal() else 0] = value
    return ["".join(text for _, text in sorted(pieces.items())) for pieces in parts.values()]
