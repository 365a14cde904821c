"""Fetching files of data sets, where a person allows it, and checking that they are what they should be."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from trainer.errors import UsageError

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 30


def fetch(folder: Path, files: Mapping[str, str], mirror: str) -> None:
    """Fetch files into a folder, which is made where it is missing.

    A file comes under its name whole or not at all: it is checked first and moved after.

    Parameters
    ----------
    folder : Path
        Where they go.
    files : mapping of str to str
        The files' names and their hashes, `md5:...` or `sha256:...`.
    mirror : str
        The address that holds them.

    Raises
    ------
    UsageError
        Where a file cannot be fetched or written, or has another hash.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    for name, known_hash in files.items():
        address = f"{mirror.rstrip('/')}/{name}"
        log.info("fetching %s", address)
        try:
            pooch.retrieve(
                address,
                known_hash,
                fname=name,
                path=folder,
                downloader=pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS),
            )
        except OSError as error:
            raise UsageError(
                f"data.download: {address} cannot be fetched into {folder} ({_reason(error)}): name another "
                f"address by data.mirror, or fetch {', '.join(files)} elsewhere and put them there"
            ) from error
        except ValueError as error:
            raise UsageError(
                f"data.download: what {address} gave is not the file that belongs there (its hash is not "
                f"{known_hash}), and nothing was kept; name another address by data.mirror"
            ) from error


def _reason(error: OSError) -> str:
    # Requests' errors hold the ones below them, whose last one says it best.
    inner: BaseException = error
    while isinstance(getattr(inner, "reason", None), BaseException) or (
        inner.args and isinstance(inner.args[0], BaseException)
    ):
        reason = getattr(inner, "reason", None)
        inner = reason if isinstance(reason, BaseException) else inner.args[0]
    return str(error.strerror or inner).partition(" for url: ")[0].rsplit(": ", 1)[-1]
