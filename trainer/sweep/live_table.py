"""What the screen shows of a multirun while it works: a table on a terminal, elsewhere a line a job."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from trainer.loggers.wording import duration, show, span, spoken
from trainer.sweep.jobs import FINISHED
from trainer.sweep.live_jobs import KILLED, RUNNING, WAITING, LiveJob, LiveSweep

GAP = "  "
MARK = " *"
# Its sweep goes on: a member of a population between two slices of its run.
PAUSED = "interrupted"
BAR, SWEEP_BAR = 8, 24
SHORTEST_VARIED = 18
LONGEST_VARIED = 60
BEST_SHOWN = 3
STYLES = {RUNNING: "cyan", "completed": "green", "stopped_early": "green", "interrupted": "yellow"}


def job_line(job: LiveJob, total: int | None) -> str:
    """Return how a job ended, on one line.

    `job 3 of 20: completed, validation loss 0.0810, 2.1 s: optimizer.learning_rate=0.1`
    """
    facts = [job.state.replace("_", " ")]
    if job.error:
        facts.append(job.error)
    if job.best is not None:
        facts.append(f"{spoken(job.monitor)} {show(job.monitor, job.best)}")
    if job.took:
        facts.append(span(job.took))
    of = f" of {total}" if total else ""
    varied = f": {' '.join(job.overrides)}" if job.overrides else ""
    return f"job {job.number}{of}: {', '.join(facts)}{varied}"


def sweep_line(sweep: LiveSweep, now: float) -> str:
    """Return the counts of a sweep's jobs by state, and the time it will still take."""
    jobs, total = sweep.jobs, sweep.total
    count = sum(job.state in FINISHED for job in jobs)
    facts = [f"{count}{f' of {total}' if total else ''} jobs done"]
    failed = sum(job.has_ended and job.state not in (*FINISHED, PAUSED) for job in jobs)
    for number, words in (
        (sum(job.state == RUNNING for job in jobs), "running"),
        (failed, "failed"),
        (sum(job.state == KILLED for job in jobs), "killed"),
    ):
        if number:
            facts.append(f"{number} {words}")
    left = sweep.left(now)
    if left is not None and sum(job.has_ended for job in jobs) < (total or 0):
        facts.append(f"{duration(left)} left")
    return ", ".join(facts)


def table(sweep: LiveSweep, width: int, height: int, unicode: bool = True) -> list[Text]:
    """Return the table as lines, each at most `width` characters long, at most `height` of them.

    Where not all jobs find room there are those that run, the best, and those that ended last; the first line
    counts all.
    """
    now, jobs = sweep.clock(), sweep.jobs
    best = _best(jobs)
    first = Text(sweep_line(sweep, now), "bold", no_wrap=True)
    if sweep.total and first.cell_len + len(GAP) + SWEEP_BAR <= width:
        first.append(GAP)
        first.append_text(_bar(sum(job.done for job in jobs) / sweep.total, SWEEP_BAR, unicode))
    first.truncate(width)
    rows = _chosen(jobs, best, height - 2)
    if not rows or height < 3:
        return [first]
    columns = _Columns(rows, now, width, unicode)
    lines = [first, columns.heading()]
    lines += [columns.row(job, is_best=bool(best) and job is best[0]) for job in rows]
    return lines


def _best(jobs: Sequence[LiveJob]) -> list[LiveJob]:
    """Return the jobs that have a value, best first."""
    known = [job for job in jobs if job.best is not None]
    return sorted(known, key=lambda job: (-1 if job.mode == "max" else 1) * (job.best or 0.0))


def _chosen(jobs: Sequence[LiveJob], best: Sequence[LiveJob], room: int) -> list[LiveJob]:
    """Return the jobs that are shown, in the order of their numbers."""
    begun = [job for job in jobs if job.state != WAITING]
    if len(begun) <= room:
        return begun
    running = [job for job in begun if job.state == RUNNING]
    ended = sorted((job for job in begun if job.has_ended), key=lambda job: -(job.ended or 0.0))
    leaders = list(best[:BEST_SHOWN])
    wanted = [*running[: max(room - len(leaders) - 1, 1)], *leaders, *ended, *running, *begun]
    kept = list({job.number: job for job in wanted}.values())[: max(room, 0)]
    return sorted(kept, key=lambda job: job.number)


class _Columns:
    """The columns of a table that fit: the least wanted are left out where the terminal is narrow."""

    def __init__(self, jobs: Sequence[LiveJob], now: float, width: int, unicode: bool) -> None:
        self.now, self.width, self.unicode = now, width, unicode
        self.monitor = next((job.monitor for job in jobs if job.monitor), "")
        self.widths = {
            "job": max(3, *(len(str(job.number)) for job in jobs)),
            "varied": 0,
            "state": max(5, *(len(_state(job)) for job in jobs)),
            "epoch": max(5, *(len(_epoch(job)) for job in jobs)),
            "bar": BAR,
            "best": max(len(self._best_heading()), *(len(self._best(job)) for job in jobs)) + len(MARK),
            "left": max(4, *(len(self._time(job)) for job in jobs)),
        }
        longest = max((len(varied(job)) for job in jobs), default=0)
        for unwanted in ("", "bar", "left", "epoch", "best"):
            self.widths.pop(unwanted, None)
            others = sum(self.widths.values()) + len(GAP) * (len(self.widths) - 1)
            room = width - others
            if room >= min(longest, SHORTEST_VARIED):
                break
        self.widths["varied"] = max(min(longest, room, LONGEST_VARIED), 0)

    def heading(self) -> Text:
        """Return the line above the rows."""
        names = {"varied": "", "bar": "", "best": self._best_heading(), "left": "time"}
        return self._line({name: Text(names.get(name, name)) for name in self.widths}, "dim")

    def row(self, job: LiveJob, is_best: bool) -> Text:
        """Return a job's line; that of a failed one ends with its reason."""
        style = STYLES.get(job.state, "red" if job.has_ended or job.state == KILLED else "")
        cells = {
            "job": Text(str(job.number)),
            "varied": Text(varied(job)),
            "state": Text(_state(job), style),
            "epoch": Text(_epoch(job)),
            "bar": self._bar(job),
            "best": Text(self._best(job) + (MARK if is_best else ""), "bold" if is_best else ""),
            "left": Text(self._time(job)),
        }
        if job.error:
            for name in ("epoch", "bar", "best", "left"):
                cells.pop(name)
            cells["error"] = Text(job.error, "red")
        return self._line(cells, "")

    def _line(self, cells: dict[str, Text], style: str) -> Text:
        line = Text(style=style, no_wrap=True, overflow="crop")
        for name, cell in cells.items():
            width = self.widths.get(name, 0 if name != "error" else self.width)
            if not width:
                continue
            if line:
                line.append(GAP)
            if name == "best" and not cell.plain.endswith(MARK):
                cell.append(" " * len(MARK))
            cell.truncate(width, overflow="ellipsis" if self.unicode else "crop")
            space = " " * (width - cell.cell_len)
            right = name in ("job", "epoch", "best", "left")
            line.append_text(Text.assemble(space, cell) if right else Text.assemble(cell, space))
        line.rstrip()
        line.truncate(self.width)
        return line

    def _best(self, job: LiveJob) -> str:
        return show(job.monitor, job.best) if job.best is not None else ""

    def _best_heading(self) -> str:
        return spoken(self.monitor).replace("validation ", "")

    def _time(self, job: LiveJob) -> str:
        left = job.left(self.now)
        if left is not None:
            return f"{duration(left)} left"
        return span(job.took) if job.took is not None else ""

    def _bar(self, job: LiveJob) -> Text:
        if job.state != RUNNING or not job.epochs:
            return Text()
        return _bar(job.done, BAR, self.unicode)


def _bar(part: float, length: int, unicode: bool) -> Text:
    done, ahead = ("━", "─") if unicode else ("#", "-")
    full = round(min(part, 1.0) * length)
    return Text.assemble((done * full, "green"), (ahead * (length - full), "bright_black"))


def varied(job: LiveJob) -> str:
    """Return what a job was given beyond what all share, by the last part of each key where that will do."""
    pairs = [given.lstrip("+").partition("=") for given in job.overrides]
    short = [key.rpartition(".")[2] for key, _, _ in pairs]
    unique = len(set(short)) == len(short)
    names = short if unique else [key for key, _, _ in pairs]
    return ", ".join(f"{name}={value}" for name, (_, _, value) in zip(names, pairs, strict=True))


def _state(job: LiveJob) -> str:
    return "paused" if job.state == PAUSED else job.state.replace("_", " ")


def _epoch(job: LiveJob) -> str:
    return f"{job.epoch}/{job.epochs}" if job.epochs else str(job.epoch or "")
