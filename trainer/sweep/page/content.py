"""What a page shows, as plain data: the jobs, their curves, and what they come to in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from trainer.loggers.wording import CLOCKWORK, near, show, span, spoken
from trainer.sweep.importance import importance, is_wide
from trainer.sweep.jobs import BROKEN, Job
from trainer.sweep.leaderboard import heading, written
from trainer.sweep.page.curves import curves_of
from trainer.sweep.page.front import front_of
from trainer.sweep.page.lineage import read_lineage
from trainer.sweep.results import Results, leading, usual_mode

DIGITS = 6

_SHORT_LIST = 12
# Of a summary: the best epoch's numbers by their parts, which stand there by themselves too.
_TWICE = ("train", "validation")


def of_results(results: Results) -> dict[str, Any]:
    """Return the content of the page of a sweep, or of runs beside each other."""
    curves = curves_of(results)
    population = read_lineage(results.folder) if results.folder else None
    # A member's numbers change while it trains: its last ones are not what made it.
    found = None if population else importance(results)
    kind = "comparison" if results.folder is None else "sweep"
    where = f"jobs: {near(results.folder)}" if results.folder else "runs beside each other"
    return {
        "kind": kind,
        "title": f"{len(results.jobs)} {where}",
        "headline": headline(results),
        **_common(results, curves),
        "groups": [
            {
                "job": results.jobs.index(group.jobs[0]),
                "seeds": len(group.jobs),
                "numbers": [_short(n) for n in (group.mean, group.spread, group.least, group.greatest)],
            }
            for group in results.groups
        ],
        "importance": found
        and {
            "keys": list(found.means),
            "means": [_short(value) for value in found.means.values()],
            "spreads": [_short(value) for value in found.spreads.values()],
            "trust": trust(found.jobs, len(results.jobs), found.r2),
        },
        "population": population,
        "front": front_of(results),
    }


def of_run(results: Results) -> dict[str, Any]:
    """Return the content of a single run's page."""
    [job] = results.jobs
    return {
        "kind": "run",
        "title": f"run {near(job.folder)}",
        "headline": run_headline(results, job),
        **_common(results, curves_of(results)),
        "groups": [],
        "importance": None,
        "population": None,
        "front": None,
        "summary": [[spoken(key), _told(key, value)] for key, value in _flat(job.summary, _TWICE)],
        "configuration": yaml.safe_dump(job.configuration, sort_keys=False, allow_unicode=True),
    }


def headline(results: Results) -> dict[str, Any]:
    """Return what matters first, in words: the best job, what it was, and how much better it is."""
    best, noun = results.best, "runs" if results.folder is None else "jobs"
    statuses = ", ".join(
        f"{count} {status.replace('_', ' ')}" for status, count in sorted(results.counts.items())
    )
    told = [f"{len(results.jobs)} {noun}: {statuses}."]
    if best is None:
        return {"what": f"No {noun[:-1]} has measured {spoken(results.metric)} yet", "of": [], "told": told}
    value = best.best[results.metric]
    of = [[heading(key), written(best.value(key))] for key in results.varied if results.folder]
    if best.test:
        told.insert(0, f"Test part: {', '.join(f'{spoken(n)} {show(n, v)}' for n, v in best.test.items())}.")
    told[:0] = _margins(results)
    return {
        "what": f"{spoken(results.metric)} {show(results.metric, value)}",
        "by": f"{noun[:-1]} {results.name(best)}",
        "job": results.jobs.index(best),
        "of": of,
        "told": told,
    }


def run_headline(results: Results, job: Job) -> dict[str, Any]:
    """Return what matters first of a single run."""
    value, told = results.score(job), []
    if job.test:
        told.append(f"Test part: {', '.join(f'{spoken(n)} {show(n, v)}' for n, v in job.test.items())}.")
    if "epoch" in job.best and value is not None:
        told.append(f"Its best epoch is {written(job.best['epoch'])} of {job.epochs}.")
    trained = "" if job.seconds is None else f" after {span(job.seconds)} of training"
    told.append(f"{job.status.replace('_', ' ').capitalize()}{trained}.")
    if job.status in BROKEN:
        told.append(job.error)
    what = (
        f"{spoken(results.metric)} {show(results.metric, value)}"
        if value is not None
        else "Nothing measured yet"
    )
    given = [[heading(key), written(job.value(key))] for key in job.overrides]
    return {"what": what, "by": job.name, "job": 0, "of": given, "told": told}


def trust(learnt: int, jobs: int, r2: float) -> str:
    """Say how far the importances can be trusted."""
    of = f"{learnt} jobs" if learnt == jobs else f"the {learnt} of {jobs} jobs that have a value"
    if r2 < 0.2:
        word = "It has learnt next to nothing: take the bars for noise, or run more jobs."
    elif r2 < 0.6 or learnt < 30:
        word = "Take the bars for a rough order, not for sizes."
    else:
        word = "Their order can be relied on; a bar says nothing of values that were not tried."
    return (
        f"A random forest learnt the order of {of}; of jobs that a tree had not seen it explains "
        f"R² = {r2:.2f} (out of bag). A bar is the fall of R² when that value is shuffled "
        f"among the jobs. {word}"
    )


def _margins(results: Results) -> list[str]:
    to_next, to_middle = leading(results)
    if to_next is None or to_middle is None:
        return []
    count = sum(results.score(job) is not None for job in results.jobs)
    told = [
        f"{show(results.metric, to_next)} better than the next, {show(results.metric, to_middle)} better "
        f"than the middle of {count}."
    ]
    spreads = sorted(group.spread for group in results.groups if group.spread is not None)
    if spreads:
        spread, first = spreads[len(spreads) // 2], results.groups[0]
        kept = ", ".join(written(first.jobs[0].value(key)) for key in results.keys) or "these settings"
        told.append(
            f"Over the seeds the best settings on the average are {kept}: "
            f"{show(results.metric, first.mean)}. Seeds alone spread a result by "
            f"about {show(results.metric, spread)}"
            + (": the order of the first jobs may be chance." if to_next < spread else ".")
        )
    return told


def _common(results: Results, curves: Mapping[str, Any]) -> dict[str, Any]:
    names = [*results.measured, *curves["names"], *results.tested]
    return {
        "metric": results.metric,
        "metrics": results.measured,
        "modes": {
            name: results.mode if name == results.metric else usual_mode(name) for name in results.measured
        },
        "tests": results.tested,
        "labels": {name: spoken(name) for name in names},
        "keys": [_column(results, key) for key in results.keys],
        "seeds": [_column(results, key) for key in results.seeds],
        "jobs": [_job(results, job) for job in results.jobs],
        "curves": curves,
    }


def _column(results: Results, key: str) -> dict[str, Any]:
    # What a failed job was given may be no value that others could have.
    jobs = [job for job in results.jobs if results.score(job) is not None] or results.jobs
    values = [value for job in jobs if (value := job.value(key)) is not None]
    numbers = [value for value in values if isinstance(value, (int, float))]
    is_number = bool(numbers) and len(numbers) == len(values)
    return {
        "key": key,
        "label": heading(key),
        "numeric": is_number,
        "log": is_number and is_wide(numbers),
    }


def _job(results: Results, job: Job) -> dict[str, Any]:
    return {
        "number": job.number if results.folder else None,
        "name": job.name if results.folder else results.name(job),
        "status": job.status,
        "values": [job.value(key) for key in (*results.keys, *results.seeds)],
        "epoch": job.best.get("epoch"),
        "epochs": job.epochs,
        "best": {name: _short(job.best[name]) for name in results.measured if name in job.best},
        "test": {name: _short(value) for name, value in job.test.items()},
        "seconds": _short(job.seconds),
        "error": job.error,
        "command": job.command,
    }


def _short(value: float | None) -> float | None:
    """Return a number with as many digits as a page can show."""
    return value if value is None or isinstance(value, int) else float(f"{value:.{DIGITS}g}")


def _flat(node: Mapping[str, Any], without: Sequence[str] = (), path: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in node.items():
        where = f"{path}/{key}" if path else str(key)
        if isinstance(value, dict):
            rows += [] if where in without else _flat(value, path=where)
        else:
            rows.append((where, value))
    return rows


def _told(key: str, value: Any) -> str:
    if isinstance(value, float):
        return show(key, value)
    if isinstance(value, list):
        is_short = len(value) <= _SHORT_LIST and not any(isinstance(item, (list, dict)) for item in value)
        return ", ".join(map(str, value)) or "none" if is_short else f"{len(value)} entries"
    last = key.rpartition("/")[2]
    return f"{value:,}" if isinstance(value, int) and last not in (*CLOCKWORK, "seed") else str(value)
