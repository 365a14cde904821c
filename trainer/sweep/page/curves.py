"""The learning curves of many jobs, thinned to what a page can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.loggers.wording import CLOCKWORK, HYPERPARAMETER
from trainer.sweep.jobs import Job
from trainer.sweep.results import Results, is_metric

# Numbers in all curves together: about 2.5 MB of text.
BUDGET = 300_000
MOST_POINTS, FEWEST_POINTS = 400, 20
DIGITS = 5


def curves_of(results: Results) -> dict[str, Any]:
    """Return the curves of the jobs: metrics, and hyperparameters that change within a job.

    A curve that is longer than its share of the page is thinned to points at even distances; the first, the
    last and the best one stay. Numbers have five digits.

    Returns
    -------
    dict
        `over` (`epoch`, or `step` where an epoch has several records), `names` of the curves, and for each
        job its `x` and its `lines` by name, None where a value is missing.
    """
    over = "epoch" if all(_is_by_epoch(job.history) for job in results.jobs) else "step"
    names = _names(results)
    share = BUDGET // max(1, len(results.jobs) * len(names))
    most = min(MOST_POINTS, max(FEWEST_POINTS, share))
    jobs = []
    for job in results.jobs:
        records = _thinned(job, most)
        jobs.append(
            {
                "x": [record.get(over) for record in records],
                "lines": {
                    name: [_rounded(record.get(name)) for record in records]
                    for name in names
                    if any(name in record for record in records)
                },
            }
        )
    return {"over": over, "names": names, "jobs": jobs}


def _names(results: Results) -> list[str]:
    """Return what has a curve: the metric that counts first, hyperparameters last."""
    metrics: dict[str, None] = {results.metric: None}
    changing: dict[str, None] = {}
    for job in results.jobs:
        firsts: dict[str, Any] = {}
        for record in job.history:
            for name, value in record.items():
                if name in CLOCKWORK or not isinstance(name, str):
                    continue
                if is_metric(name):
                    metrics[name] = None
                elif firsts.setdefault(name, value) != value:
                    changing[name] = None
    rate = f"{HYPERPARAMETER}learning_rate"
    return [*metrics, *sorted(changing, key=lambda name: name != rate)]


def _is_by_epoch(records: Sequence[Mapping[str, Any]]) -> bool:
    epochs = [record.get("epoch") for record in records]
    return None not in epochs and len(set(map(str, epochs))) == len(epochs)


def _thinned(job: Job, most: int) -> list[dict[str, Any]]:
    records = job.history
    if len(records) <= most:
        return records
    last, best = len(records) - 1, job.best.get("step")
    places = {round(point * last / (most - 1)) for point in range(most)}
    places |= {
        place for place, record in enumerate(records) if best is not None and record.get("step") == best
    }
    return [records[place] for place in sorted(places)]


def _rounded(value: Any) -> float | int | None:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    return value if isinstance(value, int) else None
