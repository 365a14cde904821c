"""What is said while another process compiles into the same cache: Theano lets one compile at a time."""

from __future__ import annotations

import logging
import re

_LOGGER = "theano.gof.compilelock"
_PROCESS = re.compile(r"process '(\d+)'")


class _InOurWords(logging.Filter):
    """Rewrites the messages of Theano's lock, which are two lines of INFO among many."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a record's message; leave out one that tells nobody anything."""
        said = record.getMessage()
        found = _PROCESS.search(said)
        whose = f"process {found[1]}" if found else "another process"
        if said.startswith("Waiting"):
            _tell(record, f"the compile cache is in use by {whose}, which compiles too: waiting for it")
        elif said.startswith("To manually release the lock, delete "):
            place = said.removeprefix("To manually release the lock, delete ")
            _tell(record, f"where no such process is at work, delete {place}")
        elif said.startswith("Overriding existing lock by dead"):
            _tell(record, f"the compile cache was locked by {whose}, which is dead: taken over")
            record.levelno, record.levelname = logging.INFO, "INFO"
        elif said.startswith("Overriding"):
            _tell(record, f"the compile cache was locked by {whose} for too long: taken over")
        return not said.startswith("Refreshing")


def _tell(record: logging.LogRecord, words: str) -> None:
    record.msg, record.args = words, ()


def say_for_whom() -> None:
    """Let a wait for the compile cache be told once, with the process that holds it and its lock."""
    log = logging.getLogger(_LOGGER)
    if not any(isinstance(known, _InOurWords) for known in log.filters):
        log.addFilter(_InOurWords())
