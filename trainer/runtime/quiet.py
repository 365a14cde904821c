"""The noise of Theano and NumPy, kept from the user; errors and the user's own warnings pass."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# A warning of a file's syntax carries the file's path, all others the name of the module that they arise in.
_PACKAGES = "theano|numpy|scipy|six|pygpu|mako|pkg_resources|setuptools|_distutils_hack|distutils"
_MODULES = rf"(.*[/\\](site|dist)-packages[/\\])?({_PACKAGES})([./\\]|$)"
_CATEGORIES = (
    DeprecationWarning,
    PendingDeprecationWarning,
    FutureWarning,
    SyntaxWarning,
    ImportWarning,
    ResourceWarning,
)
_LOGGERS = ("theano.tensor.blas", "theano.configdefaults", "theano.gof.cmodule")


def silence() -> None:
    """Filter out what a user of old libraries cannot act on, by category and by where it arises."""
    # Here and not above: whoever wants a look at the flags alone need not wait for NumPy.
    import numpy

    for category in (*_CATEGORIES, numpy.VisibleDeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module=_MODULES)
    # A UserWarning, unlike the others, since it speaks to packagers.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", module=_MODULES)
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def root_level_kept() -> Iterator[None]:
    """Keep the root logger's level, which distutils' log, imported by Theano, raises to WARNING."""
    level = logging.getLogger().level
    try:
        yield
    finally:
        logging.getLogger().setLevel(level)


class Heard(logging.Handler):
    """Collects a logger's records in place of printing them."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []
        self._logger = logging.getLogger(name)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record."""
        self.records.append(record)

    def __enter__(self) -> Heard:
        self._propagated = self._logger.propagate
        self._logger.addHandler(self)
        self._logger.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated

    @property
    def reason(self) -> str:
        """What the first record says, or the error in it; empty where there was none."""
        for record in self.records:
            error = record.exc_info[1] if record.exc_info else None
            told = error.args[0] if error and error.args else record.getMessage()
            # libgpuarray's errors are bytes.
            return (told.decode(errors="replace") if isinstance(told, bytes) else str(told)).rstrip(".")
        return ""
