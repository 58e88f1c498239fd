"""Jobs of SLURM, one worker in each; the scheduler is in this process.

    cluster: {kind: slurm, workers: 8, queue: gpu, gpus: 1, memory_per_worker: 16GiB,
              walltime: "04:00:00"}

Workers leave some minutes before the walltime ends, not all at once, and a job that ended is
submitted again, so a run may last longer than a job. What scheduler and workers say to each other
is encrypted, with certificates of this run alone: workers read theirs from `FOLDER`, which only the
person may read and every node must see (another: options.shared_temp_directory).

See also: `connection.connected`, which cancels the jobs. Jobs that wait or never start are not
noticed here: who waits for workers says so.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
from dask_jobqueue import SLURMCluster
from distributed import Client
from distributed.core import Status
from distributed.security import Security
from tornado.ioloop import PeriodicCallback

from lspipe.clusters import settings
from lspipe.clusters.connection import cause_of, connected
from lspipe.errors import ClusterError, MissingExtra, UsageError
from lspipe.machine import check_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lspipe.clusters import ClusterSpec, ExecutionSpec

logger = logging.getLogger(__name__)

FOLDER = "~/.lspipe/slurm"
"""Certificates of running clusters, and what jobs printed; a home folder is seen by every node."""

CORES = 2
"""Cores of a job, unless given: one computes, one reads."""

SECONDS_BETWEEN_LOOKS = 15
"""How often jobs that ended are replaced; dask takes as long to believe that a worker is gone."""

LEAVES_EARLY = 300
"""Seconds that a worker leaves before its walltime ends, at least, and that workers leave apart: a
block takes minutes. On short jobs an eighth of the walltime."""


@contextmanager
def start(spec: ClusterSpec, execution: ExecutionSpec) -> Iterator[Client]:
    """Submit the jobs, yield a client, and cancel them afterwards; waits for no job to start.

    Raises:
        UsageError: there is no SLURM here, or it refuses the jobs.
        ClusterError: the scheduler does not start.
    """
    if shutil.which("sbatch") is None:
        raise UsageError(
            "cluster.kind: found slurm, and there is no sbatch on this machine; start lspipe where "
            "jobs are submitted"
        )
    with (
        dask.config.set(settings.scheduler(execution)),
        _certificates(_folder(spec)) as security,
        connected(_cluster(spec, execution, security), Client) as client,
    ):
        _submit(client.cluster, int(spec.workers))
        with _kept_up(client.cluster):
            yield client


def arguments(spec: ClusterSpec, execution: ExecutionSpec) -> dict[str, Any]:
    """Return the arguments of `dask_jobqueue.SLURMCluster`.

    Lists of `options`, or of the person's configuration of dask-jobqueue, come first; lspipe's
    own are added.
    """
    walltime = spec.walltime or _configured("walltime")
    gpu = [f"--gres=gpu:{spec.gpus}"] if spec.gpus else []
    ours = {
        "n_workers": 0,
        "job_name": "lspipe",
        "queue": spec.queue,
        "account": spec.account,
        "walltime": walltime,
        "interface": spec.interface,
        "processes": 1,
        # dask-jobqueue makes as many threads as cores, however many cores a job has.
        "cores": settings.threads(spec),
        "job_cpu": spec.cores or CORES,
        "memory": spec.memory_per_worker,
        "python": sys.executable,
        "silence_logs": logging.CRITICAL,
        "worker_extra_args": [*settings.worker_options(spec), *_lifetime(walltime)],
        # A job that is preempted, or whose node fails, waits in the queue again.
        "job_extra_directives": [*gpu, "--requeue", "--open-mode=append"],
        "job_script_prologue": _exports(execution),
        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        "protocol": "tls://",
    }
    configured = {
        name: _configured(name.replace("_", "-"))
        for name in ("worker_extra_args", "job_extra_directives", "job_script_prologue")
    }
    asked = {**{name: list(value) for name, value in configured.items() if value}, **spec.options}
    return _joined(asked, ours)


def seconds(walltime: str) -> int:
    """Return a time as SLURM writes it, in seconds.

    Source: SLURM, man sbatch, --time: minutes, minutes:seconds, hours:minutes:seconds, days-hours,
    days-hours:minutes and days-hours:minutes:seconds.

    Examples:
        >>> seconds("90"), seconds("04:00:00"), seconds("1-12")
        (5400, 14400, 129600)
    """
    days, dash, clock = walltime.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    units = (3600, 60, 1) if dash or len(parts) == 3 else (60, 1)
    return int(days or 0) * 86_400 + sum(n * unit for n, unit in zip(parts, units, strict=False))


def _lifetime(walltime: str | None) -> list[str]:
    """Return options with which workers leave in order before their jobs are ended."""
    if walltime is None or not walltime[:1].isdigit():  # UNLIMITED, in somebody's configuration
        return []
    whole = seconds(walltime)
    early = min(LEAVES_EARLY, whole // 8)
    # Dask draws from lifetime - stagger to lifetime + stagger.
    return ["--lifetime", f"{whole - 2 * early}s", "--lifetime-stagger", f"{early}s"]


def _exports(execution: ExecutionSpec) -> list[str]:
    """Return lines of the job's script that set the variables of a worker."""
    dask_reads = {**settings.WORKER, **settings.scheduler(execution)}
    variables = {**settings.environment(), **settings.as_variables(dask_reads)}
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def _configured(name: str) -> Any:
    """Return the person's setting of dask-jobqueue."""
    return dask.config.get(f"jobqueue.slurm.{name}", None)


def _joined(asked: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Add lists, let mappings of the person win key by key, and other values as a whole."""
    joined = {**ours, **asked}
    for name in set(asked) & set(ours):
        if isinstance(ours[name], list):
            joined[name] = [*asked[name], *ours[name]]
        elif isinstance(ours[name], dict):
            joined[name] = {**ours[name], **asked[name]}
    return joined


def _folder(spec: ClusterSpec) -> Path:
    """Return a folder that nodes see, for certificates and what jobs print.

    Raises:
        UsageError: it cannot be written.
    """
    asked = spec.options.get("shared_temp_directory") or _configured("shared-temp-directory")
    folder = Path(os.path.expandvars(asked or FOLDER)).expanduser()
    check_folder(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def _certificates(folder: Path) -> Iterator[Security]:
    """Make certificates for this run; those of workers lie in a folder until it ends.

    Keys of the scheduler and of this process stay in memory.

    Raises:
        MissingExtra: a package is missing.
    """
    try:
        security = Security.temporary()
    except ImportError as error:
        raise MissingExtra(
            "cluster.kind: found slurm, whose certificates need cryptography: "
            "pip install 'lspipe[slurm]'"
        ) from error
    # Readable for the person alone.
    with tempfile.TemporaryDirectory(prefix="certificates-", dir=folder) as place:
        for name in ("tls_ca_file", "tls_worker_cert", "tls_worker_key"):
            file = Path(place, f"{name}.pem")
            file.write_text(getattr(security, name), encoding="ascii")
            setattr(security, name, str(file))
        yield security


def _cluster(spec: ClusterSpec, execution: ExecutionSpec, security: Security) -> SLURMCluster:
    """Start the scheduler; nothing is submitted yet.

    Raises:
        UsageError: an option that dask-jobqueue does not have.
        ClusterError: the scheduler does not start.
    """
    wanted = {**arguments(spec, execution), "security": security}
    wanted.setdefault("log_directory", _configured("log-directory") or str(_folder(spec)))
    try:
        return SLURMCluster(**wanted)
    except (ValueError, TypeError) as error:
        raise UsageError(f"cluster: dask-jobqueue refuses it: {cause_of(error)}") from error
    except RuntimeError as error:
        raise ClusterError(
            f"the scheduler does not start on this machine: {cause_of(error)}; check "
            "cluster.interface"
        ) from error


def _submit(cluster: SLURMCluster, jobs: int) -> None:
    """Submit all jobs.

    Raises:
        UsageError: SLURM refuses one of them; says why.
    """
    while len(cluster.worker_spec) < jobs:
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        cluster.sync(_complete, cluster)
    except RuntimeError as error:
        said = str(error).partition("stderr:")[2].split("\n")
        reason = " ".join(line.removeprefix("sbatch: error: ") for line in said if line)
        raise UsageError(
            f"cluster: SLURM refuses the job: {reason or error}; check cluster.queue, account, "
            "walltime, cores, memory_per_worker and gpus"
        ) from error


async def _complete(cluster: SLURMCluster) -> None:
    """Submit the jobs that are missing.

    Raises:
        RuntimeError: SLURM refuses one.
    """
    try:
        await cluster
    except RuntimeError:
        # dask would wait for them, and stumble over them at the end.
        for name, job in list(cluster.workers.items()):
            if job.job_id is None:
                job.status = Status.failed
                del cluster.workers[name]
        raise


@contextmanager
def _kept_up(cluster: SLURMCluster) -> Iterator[None]:
    """Submit a job again for each worker that has come and gone."""

    async def look() -> None:
        try:
            await _complete(cluster)
        except RuntimeError as error:
            logger.warning("a job that ended cannot be submitted again: %s", error)

    again = PeriodicCallback(look, 1000 * SECONDS_BETWEEN_LOOKS)
    cluster.loop.add_callback(again.start)
    try:
        yield
    finally:
        cluster.loop.add_callback(again.stop)
