"""The table of a benchmark, and the page that holds it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"
OURS = "ours"


@dataclass
class Row:
    """What was measured of one work.

    Attributes
    ----------
    work, unit : str
        Its name, and what a value is; the less, the better.
    values : mapping
        Each contestant to its value in each round; ours is called `ours`.
    limit : float, optional
        Our share of what the hardware can do.
    """

    work: str
    unit: str
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    limit: float | None = None

    def median(self, contestant: str) -> float:
        """Give the middle of a contestant's values."""
        return statistics.median(self.values[contestant])

    @property
    def ratio(self) -> float | None:
        """How many times as good as the best peer we are; None where there is none."""
        peers = [self.median(name) for name in self.values if name != OURS]
        return min(peers) / self.median(OURS) if peers else None


def table(rows: Sequence[Row]) -> str:
    """Write the rows in Markdown, a column a contestant."""
    contestants = list(dict.fromkeys(name for row in rows for name in row.values))
    heads = ["work", "unit", *contestants, "best peer / ours", "of the limit"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        cells = [_cell(row.values[name]) if name in row.values else "–" for name in contestants]
        ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append([row.work, row.unit, *cells, ratio, "–" if row.limit is None else f"{row.limit:.0%}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_page(page: Path, written: str) -> None:
    """Put the table between the page's marks; all else stays. A page that is not there is made.

    Raises
    ------
    SystemExit
        Where the page has not both marks, the first before the second.
    """
    text = page.read_text() if page.exists() else f"{BEGIN}\n\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} lacks the lines {BEGIN} and {END}, between which the table belongs")
    page.write_text(f"{before}{BEGIN}\n\n{written}\n\n{END}{after}")


def _cell(values: Sequence[float]) -> str:
    return f"{_number(statistics.median(values))} ({_number(min(values))}–{_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
