"""A Slurm cluster of this machine alone: its daemons, with a configuration and a key of their own."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo")
PATIENCE = 30.0
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Unavailable(Exception):
    """No Slurm can be started here; the message says why."""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Start the daemons, and give the environment in which Slurm's commands find them; stop them at the end.

    Raises
    ------
    Unavailable
        Where the programs are not installed, or the daemons do not come up.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if missing:
        raise Unavailable(f"{', '.join(missing)} not installed (Debian: slurm-wlm, munge)")
    (folder / "state").mkdir(parents=True)
    (folder / "spool").mkdir()
    folder.chmod(0o755)
    host = socket.gethostname().partition(".")[0]
    controller, node = _free_ports(2)
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            host=host,
            user=getpass.getuser(),
            controller=controller,
            node=node,
            folder=folder,
            cores=os.cpu_count() or 1,
        )
    )
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    environment = {"SLURM_CONF": str(configuration), "PATH": path}
    names = ("key-file", "socket", "pid-file", "log-file", "seed-file")
    files = [f"--{name}={folder}/munge.{name.partition('-')[0]}" for name in names]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in (
            ["munged", "--foreground", "--force", *files],
            ["slurmctld", "-D", "-f", str(configuration)],
            ["slurmd", "-D", "-N", host, "-f", str(configuration)],
        ):
            with (folder / f"{command[0]}.out").open("wb") as out:
                started.append(
                    subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)
                )
            time.sleep(0.3)
        _wait_until_idle(folder, started, environment)
        yield environment
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_until_idle(
    folder: Path, started: list[subprocess.Popen[bytes]], environment: dict[str, str]
) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for process in started:
            if process.poll() is not None:
                name = str(process.args[0])  # type: ignore[index]
                texts = [folder / f"{name}.out", folder / f"{name}.log", folder / "munge.log"]
                lines = [line for text in texts if text.exists() for line in text.read_text().splitlines()]
                raise Unavailable(f"{name} does not start: {lines[-1] if lines else 'no reason given'}")
        asked = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if asked.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    raise Unavailable(f"Slurm's node does not become idle: {asked.stdout.strip() or asked.stderr.strip()}")
