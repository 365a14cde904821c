"""Numbers and names as people read them."""

from __future__ import annotations

import math
from pathlib import Path

HYPERPARAMETER = "hyperparameter/"
CLOCKWORK = ("epoch", "step", "seconds")
ABBREVIATIONS = {"mae": "MAE", "rmse": "RMSE", "r2": "R²"}


def show(key: str, value: float | None) -> str:
    """Write a record's value in at most eight characters, in nearly all cases.

    >>> show("validation/accuracy", 0.97123), show("train/loss", 0.25), show("train/loss", 2.5e-5)
    ('97.12 %', '0.2500', '2.50e-05')
    """
    if value is None:
        return "nan"
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    if key == "seconds":
        return f"{value:.1f}"
    if key.startswith(HYPERPARAMETER):
        return f"{value:.3g}"
    if key.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    if value and abs(value) < 1e-3:
        return f"{value:.2e}"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.6g}"


def spoken(key: str) -> str:
    """Return a key as words.

    >>> spoken("validation/top_5_accuracy"), spoken("test/r2")
    ('validation top 5 accuracy', 'test R²')
    """
    return " ".join(ABBREVIATIONS.get(part, part.replace("_", " ")) for part in key.split("/"))


def span(seconds: float) -> str:
    """Write how long something took.

    >>> span(3.14), span(75)
    ('3.1 s', '1:15')
    """
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def duration(seconds: float) -> str:
    """Write a duration as a clock does.

    >>> duration(42.7), duration(3723)
    ('0:42', '1:02:03')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def near(folder: Path) -> str:
    """Return a folder as a person would type it here."""
    try:
        return str(folder.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(folder)
