"""Jobs in processes of this machine: each works through many jobs, with its share of the cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

from hydra.core.utils import JobReturn

from trainer.errors import UsageError
from trainer.runtime.threads import cores
from trainer.sweep.launching import THREADS, Launching, Work, deaf, has_begun, lost, plain, run_packed, whole
from trainer.sweep.stopping import Stopped

IDLE = 60.0  # seconds after which a process without work ends

Jobs = dict[int, Sequence[str]]


def launch(
    launcher: Launching, job_overrides: Sequence[Sequence[str]], first: int, at_most: int | None = None
) -> list[JobReturn]:
    """Run jobs in processes that the sweep keeps, and return what became of each, in their order.

    A process that dies (for want of memory, say) takes no other job along: those that were running are run
    again, each alone, from its checkpoint, so that the one at fault is known and told as failed.

    Parameters
    ----------
    launcher : Launching
        Its `settings` are the node `hydra.launcher`.
    job_overrides : sequence of sequences of str
        Those of each job.
    first : int
        The first one's number.
    at_most : int, optional
        Processes that there is work for, as many as jobs by default. Later batches of a sweep are given that
        of the first, so that the jobs keep their share of the cores, and with it their bits.

    Raises
    ------
    UsageError
        Where joblib is not installed, and for a number of workers that makes no sense.
    """
    jobs: Jobs = dict(enumerate(job_overrides, first))
    work = Work.of(launcher)
    crew = _Crew(work, min(count_workers(launcher.settings), at_most or len(jobs)))
    done = crew.run(jobs)
    while len(done) < len(jobs):
        left = {number: overrides for number, overrides in jobs.items() if number not in done}
        for number in [each for each in left if has_begun(work.config, each)] or list(left)[:1]:
            alone = crew.run({number: left.pop(number)})
            reason = "the job's process died, alone as well: was it killed, for want of memory perhaps?"
            done |= alone or {number: lost(work.config, number, jobs[number], reason)}
        done |= crew.run(left)
    return [done[number] for number in jobs]


def count_workers(settings: Mapping[str, Any]) -> int:
    """Return how many processes `hydra.launcher.n_jobs` asks for; negative numbers count from the cores."""
    asked = plain(settings).get("n_jobs", -1)
    if asked is None or (isinstance(asked, int) and not isinstance(asked, bool) and asked < 0):
        return max(1, cores() + 1 + (asked or -1))
    return whole(asked, "hydra.launcher.n_jobs")


class _Crew:
    """The processes of a sweep."""

    def __init__(self, work: Work, workers: int) -> None:
        try:
            from joblib.externals.loky import get_reusable_executor
            from joblib.externals.loky.backend import resource_tracker as lokys_tracker
            from joblib.externals.loky.backend.reduction import dumps
        except ImportError:
            raise UsageError(
                "hydra/launcher=joblib needs joblib: pip install 'theano-trainer[joblib]'"
            ) from None
        share = str(max(1, cores() // workers))
        env = {name: share for name in THREADS if not any(map(os.environ.get, THREADS))}
        # With more in its hands than its processes' queue holds, loky's thread falls where they are killed.
        self._at_once = 2 * workers
        # Their start would let signals through to the processes that are started after them.
        resource_tracker.ensure_running()
        lokys_tracker.ensure_running()
        self._packed: bytes = bytes(dumps(work))
        self._get: Callable[[], Any] = partial(
            get_reusable_executor, max_workers=workers, timeout=IDLE, env=env
        )

    def run(self, jobs: Jobs) -> dict[int, JobReturn]:
        """Run jobs; return what became of those that came to an end before a process died."""
        if not jobs:
            return {}
        with deaf():
            executor = self._get()
        waiting = dict(jobs)
        running: dict[Future[JobReturn], int] = {}
        done: dict[int, JobReturn] = {}
        try:
            while waiting or running:
                with deaf():
                    for number in list(waiting)[: self._at_once - len(running)]:
                        job = (number, list(waiting[number]))
                        running[executor.submit(run_packed, self._packed, *job)] = number
                        del waiting[number]
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    done[running[future]] = future.result()
                    del running[future]
        except BrokenProcessPool:
            done |= {number: future.result() for future, number in running.items() if _is_well(future)}
        except BaseException as error:
            _end(executor, running if isinstance(error, Stopped) else ())
            raise
        return done


def _end(executor: Any, futures: Iterable[Future[JobReturn]]) -> None:
    """End the processes, when what they were given is over: of a sweep that is stopped, no job begins.

    A second signal does not wait. Nothing is cancelled, which loky's thread does not expect where it kills.
    """
    try:
        wait(futures)
    finally:
        executor.shutdown(wait=True, kill_workers=True)


def _is_well(future: Future[JobReturn]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
