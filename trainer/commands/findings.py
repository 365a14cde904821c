"""What `trainer-doctor` finds: rows of a table, each with a verdict, and with a cure where one is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

OK, WARNING, MISSING, OPTIONAL = "ok", "warning", "missing", "optional"
_STYLES = {OK: "green", WARNING: "yellow", MISSING: "bold red", OPTIONAL: "dim"}


@dataclass(frozen=True)
class Row:
    """A finding: what was looked at, what was found, the verdict, and the cure where one is needed."""

    subject: str
    found: str
    verdict: str = OK
    cure: str = ""


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the rows as a table, and in a sentence what follows from them."""
    table = Table(title="Theano on this machine", title_justify="left", expand=False)
    table.add_column("")
    table.add_column("Found", overflow="fold")
    table.add_column("Verdict", no_wrap=True)
    for row in rows:
        found = Text(row.found)
        if row.cure:
            found.append(f"\n{row.cure}", style="italic")
        table.add_row(row.subject, found, Text(row.verdict, style=_STYLES[row.verdict]))
    console.print(table)
    missing = [row.subject for row in rows if row.verdict == MISSING]
    if missing:
        console.print(f"Training cannot start: see {', '.join(missing)}.", style=_STYLES[MISSING])
    else:
        console.print("Ready to train.", style=_STYLES[OK])
