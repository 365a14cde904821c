"""One self-contained HTML page for a sweep, for a run, or for runs beside each other."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from trainer.loggers.atomic import write_atomically
from trainer.loggers.strict_json import to_json
from trainer.sweep.page.content import of_results, of_run
from trainer.sweep.results import Results

# In the order in which they are needed: what is read first needs no plots.
_TEXTS = ("state.js", "words.js", "leaderboard.js")
_PLOTS = ("plots.js", "curves.js", "hyperparameters.js", "front.js", "population.js", "start.js")


def write_page(results: Results, path: Path) -> None:
    """Write the page of a sweep's jobs, or of runs beside each other; of a single run, its own page.

    The file asks for nothing from elsewhere: Plotly's plotly.min.js, as its Python package brings it, stands
    in it, and a content security policy keeps the browser from any request. What was read from folders is
    data in it and becomes text alone. Learning curves are thinned so that a thousand jobs make a page that
    opens: first, last and best points stay.

    Parameters
    ----------
    results : Results
        The jobs, and the metric that counts.
    path : Path
        The file, written whole or not at all.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    is_run = results.folder is None and len(results.jobs) == 1
    content = of_run(results) if is_run else of_results(results)
    write_atomically(path, _page(content).encode())


def _page(content: Mapping[str, Any]) -> str:
    texts, plots = (_script("\n".join(map(_asset, names))) for names in (_TEXTS, _PLOTS))
    library = _script((resources.files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8"))
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in (texts, library, plots))
    return Template(_asset("page.html")).substitute(
        # Inline styles are Plotly's; pictures are its download of a plot.
        policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:",
        title=html.escape(str(content["title"])),
        style=_asset("page.css"),
        # In a script element, HTML knows no escapes but JSON's own.
        content=to_json(content).replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"),
        texts=texts,
        library=library,
        plots=plots,
    )


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text("utf-8")


def _script(text: str) -> str:
    """Return a script as it can stand between its tags, where the first `</script` would end it."""
    return text.replace("\r\n", "\n").replace("</script", r"<\/script")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
