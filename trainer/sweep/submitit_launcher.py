"""Jobs of a Slurm cluster through submitit, or in processes of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn

from trainer.errors import UsageError
from trainer.runtime.threads import cores
from trainer.sweep.launching import THREADS, Launching, Work, deaf, importable, lost, plain, whole
from trainer.sweep.stopping import Stopped

SLURM, LOCAL = "slurm", "local"
LOOKS = 3  # looks in a row that find a job neither in the queue nor its result, before it counts as lost
FOREVER = 60 * 24 * 365


class Task:
    """A job as submitit packs it, and packs again where its time is up, to go on from its checkpoint."""

    def __init__(self, work: Work, number: int, overrides: Sequence[str], threads: int) -> None:
        self.work, self.number, self.overrides, self.threads = work, number, list(overrides), threads

    def __call__(self) -> JobReturn:
        """Run the job, in the process that submitit has started for it."""
        for name in THREADS:
            os.environ[name] = os.environ.get(name) or str(self.threads)
        return self.work(self.number, self.overrides)

    def checkpoint(self) -> Any:
        """Give what is to be submitted where this was preempted."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def launch(launcher: Launching, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Submit jobs, wait for all of them, and return what became of each, in their order.

    A job that Slurm ends (out of time or memory, a machine that fails) is told as failed; the others go on.

    Raises
    ------
    UsageError
        Where submitit is not installed, there is no Slurm here, or Slurm refuses what was asked for.
    """
    submitit, settings = _submitit(), plain(launcher.settings)
    cluster = choose_cluster(settings["cluster"])
    executor = _executor(submitit, settings, cluster)
    work, threads = Work.of(launcher), settings["cpus_per_task"]
    tasks = [Task(work, number, overrides, threads) for number, overrides in enumerate(job_overrides, first)]
    running: dict[int, Any] = {}
    try:
        if cluster == SLURM:
            running.update(enumerate(_submit(submitit, executor, tasks, settings["slurm"])))
            return _wait(tasks, running, settings["poll_seconds"])
        done: dict[int, JobReturn] = {}
        waiting = list(range(len(tasks)))
        while waiting or running:
            while waiting and len(running) < at_once(settings):
                index = waiting.pop(0)
                with deaf():
                    running[index] = _submit(submitit, executor, [tasks[index]], {})[0]
            for index in [index for index, job in running.items() if job.done()]:
                done[index] = _result(tasks[index], running.pop(index))
            time.sleep(0.1)
        return [done[index] for index in range(len(tasks))]
    except (
        BaseException
    ) as error:  # the person stops the sweep: jobs have saved their states, or do not begin
        if cluster == SLURM:
            for job in running.values():
                job.cancel(check=False)
        elif isinstance(error, Stopped):
            while not all(job.done() for job in running.values()):
                time.sleep(0.1)
        raise


def at_once(settings: Mapping[str, Any]) -> int:
    """Return how many jobs run at a time."""
    content = plain(settings)
    limit = whole(content["array_parallelism"], "hydra.launcher.array_parallelism")
    each = whole(content["cpus_per_task"], "hydra.launcher.cpus_per_task")
    return limit if choose_cluster(content["cluster"]) == SLURM else min(limit, max(1, cores() // each))


def choose_cluster(asked: str | None) -> str:
    """Return `slurm` or `local`, as asked, or as this machine has it.

    Raises
    ------
    UsageError
        For another cluster, and for Slurm where its commands are not found.
    """
    has_slurm = all(shutil.which(program) for program in ("sbatch", "srun", "squeue"))
    if asked not in (None, SLURM, LOCAL):
        raise UsageError(f"hydra.launcher.cluster={asked}: give slurm, local, or null for whichever is there")
    if asked == SLURM and not has_slurm:
        raise UsageError(
            "hydra/launcher=slurm: sbatch, srun and squeue are not on the PATH: start the sweep on a machine "
            "that submits to the cluster, or choose hydra/launcher=joblib"
        )
    return asked or (SLURM if has_slurm and _answers() else LOCAL)


def _answers() -> bool:
    try:
        return not subprocess.run(["sinfo", "-h"], capture_output=True, timeout=10).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise UsageError(
            "hydra/launcher=slurm and submitit need submitit: pip install 'theano-trainer[slurm]'"
        ) from None
    return submitit


def _executor(submitit: Any, settings: Mapping[str, Any], cluster: str) -> Any:
    threads = whole(settings["cpus_per_task"], "hydra.launcher.cpus_per_task")
    minutes = whole(settings["timeout_min"], "hydra.launcher.timeout_min")
    folder = Path(settings["folder"]).absolute()
    if cluster == LOCAL:
        executor = submitit.AutoExecutor(folder=folder, cluster=LOCAL)
        executor.update_parameters(name=settings["name"], timeout_min=minutes or FOREVER)
        return executor
    again = whole(settings["max_num_timeout"], "hydra.launcher.max_num_timeout", 0)
    executor = submitit.AutoExecutor(folder=folder, cluster=SLURM, slurm_max_num_timeout=again)
    options = {name: value for name, value in (settings["slurm"] or {}).items() if value is not None}
    executor.update_parameters(
        name=settings["name"],
        timeout_min=minutes,
        cpus_per_task=threads,
        slurm_array_parallelism=at_once(settings),
        slurm_setup=settings["setup"] or None,
        slurm_additional_parameters=options,
        **({"mem_gb": settings["mem_gb"]} if settings["mem_gb"] else {}),
    )
    return executor


def _submit(submitit: Any, executor: Any, tasks: Sequence[Task], options: Mapping[str, Any]) -> list[Any]:
    jobs: list[Any] = []
    try:
        with importable(), executor.batch():
            jobs.extend(executor.submit(task) for task in tasks)
    except submitit.core.utils.FailedJobError as error:
        given = {name: value for name, value in options.items() if value is not None}
        words = str(error).strip().strip("'").splitlines()
        raise UsageError(
            f"Slurm refuses the jobs ({words[-1] if words else repr(error)}): see hydra.launcher.* and "
            f"hydra.launcher.slurm={given}"
        ) from error
    return jobs


def _wait(tasks: Sequence[Task], running: dict[int, Any], seconds: float) -> list[JobReturn]:
    """Wait for jobs of Slurm, whether the cluster keeps accounts of jobs that have ended or not."""
    done: dict[int, JobReturn] = {}
    unseen = dict.fromkeys(running, 0)
    while running:
        queued = _queued(running.values())
        for index, job in list(running.items()):
            unseen[index] = 0 if queued is None or str(job.job_id) in queued else unseen[index] + 1
            if job.paths.result_pickle.exists() or unseen[index] >= LOOKS:
                done[index] = _result(tasks[index], running.pop(index))
        time.sleep(seconds if running else 0)
    return [done[index] for index in range(len(tasks))]


def _queued(jobs: Any) -> set[str] | None:
    """Return the numbers of those jobs that Slurm has in its queue; None where it does not answer."""
    arrays = sorted({str(job.job_id).partition("_")[0] for job in jobs})
    command = ["squeue", "--noheader", "--array", "--format=%i", "--jobs", ",".join(arrays)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # It refuses numbers that it has forgotten.
    is_known = not answer.returncode or "Invalid job id" in answer.stderr
    return set(answer.stdout.split()) if is_known else None


def _result(task: Task, job: Any) -> JobReturn:
    try:
        if not job.paths.result_pickle.exists():
            raise EOFError
        result: JobReturn = job.result()
    except Exception as error:  # submitit raises what the job raised, and its own where there is no result
        output = job.paths.stderr
        words = str(error).strip().splitlines() if not isinstance(error, EOFError) else []
        reason = words[0] if words else "it left no result: was it out of time or memory, or cancelled?"
        where = f" (see {output})" if output.exists() else ""
        return lost(
            task.work.config, task.number, task.overrides, f"the job {job.job_id} was lost: {reason}{where}"
        )
    return result
