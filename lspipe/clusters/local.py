"""Worker processes on this machine, on loopback: one block at a time, the next read meanwhile."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

import dask

from lspipe.clusters import INFERENCE_SLOT, settings, worker_count, worker_memory
from lspipe.clusters.connection import cause_of, connected
from lspipe.errors import ClusterError, UsageError
from lspipe.machine import check_folder, kept_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client, LocalCluster

    from lspipe.clusters import ClusterSpec, ExecutionSpec

_KEPT = ("comm.timeouts", "dashboard", "worker.multiprocessing-method")
"""Settings of a person that count: how slow this machine is, and how it makes processes."""


@contextmanager
def start(spec: ClusterSpec, execution: ExecutionSpec) -> Iterator[Client]:
    """Yield a client of a `distributed.LocalCluster`; closes both afterwards.

    Raises:
        ClusterError: the workers do not start.
        UsageError: dask cannot write its temporary files.
    """
    from distributed import LocalCluster

    with running(spec, execution, LocalCluster) as client:
        yield client


@contextmanager
def running(
    spec: ClusterSpec, execution: ExecutionSpec, make: Callable[..., LocalCluster]
) -> Iterator[Client]:
    """Yield a client of a cluster of this machine, which `make` makes.

    Raises:
        ClusterError: the workers do not start.
        UsageError: dask cannot write its temporary files.
    """
    from distributed import Client

    environment = settings.environment()
    _check_temporary_folder()
    here = {
        "distributed": _plain_settings(),
        **settings.scheduler(execution),
        **settings.WORKER,
        **{f"distributed.nanny.pre-spawn-environ.{key}": v for key, v in environment.items()},
    }
    with (
        dask.config.set(here),
        _set(environment),
        _interrupts_held_back() as let_interrupts_through,
    ):
        cluster = _started(
            make,
            n_workers=worker_count(spec),
            threads_per_worker=settings.threads(spec),
            resources=INFERENCE_SLOT,
            # Not dask's own "auto", a share by threads: two of them, on as many cores, take it all.
            memory_limit=worker_memory(spec),
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            # Failures reach the person through lspipe, named; not as tracebacks of every worker.
            silence_logs=logging.CRITICAL,
        )
        with connected(cluster, Client) as client:
            let_interrupts_through()
            yield client


def _plain_settings() -> dict[str, Any]:
    """Return dask's own settings of `distributed`, with few of those of the person.

    Somebody's settings for other clusters (a preload, encryption, a life time of workers) would
    stop the workers of this machine, or end them while they compute.
    """
    plain: dict[str, Any] = dask.config.merge(*dask.config.defaults)["distributed"]
    for key in _KEPT:
        dask.config.set({key: dask.config.get(f"distributed.{key}")}, config=plain)
    return plain


def ignored_settings() -> list[str]:
    """Return dask's settings of the person that workers of this machine are started without."""
    import distributed  # noqa: F401  # its defaults are known once it is imported

    plain = _flat(dask.config.merge(*dask.config.defaults)["distributed"])
    asked = _flat(dask.config.get("distributed"))
    return [
        f"dask: distributed.{key} = {value!r}"
        for key, value in sorted(asked.items())
        if not key.startswith(_KEPT) and plain.get(key) != value
    ]


def _flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{above}{key}".replace("_", "-")
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return flat


def _check_temporary_folder() -> None:
    folder = dask.config.get("temporary-directory", None)
    if folder is None:
        return
    try:
        check_folder(folder)
    except UsageError as error:
        raise UsageError(
            "dask's setting temporary-directory (DASK_TEMPORARY_DIRECTORY, or a file in "
            f"~/.config/dask): {error}"
        ) from error


def _started(cluster: Callable[..., LocalCluster], **settings: Any) -> LocalCluster:
    """Start a cluster.

    Raises:
        ClusterError: it does not start; says why.
    """
    try:
        return cluster(**settings)
    except RuntimeError as error:  # what distributed raises, whatever the cause
        raise ClusterError(
            f"the worker processes of this machine do not start: {cause_of(error)}; "
            "check free memory, the folder of temporary files, and cluster.workers"
        ) from error


@contextmanager
def _interrupts_held_back() -> Iterator[Callable[[], None]]:
    """Start child processes that a Ctrl-C does not reach; this process gets it afterwards.

    A terminal sends the signal to the whole group. Workers would die in the middle of a block, each
    with a traceback, while this process is about to stop them in order. A blocked signal stays
    blocked in threads and processes started meanwhile, so workers that replace others are covered.
    """
    # Python's resource tracker unblocks the signal when it starts, so it has to run already.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield lambda: _restore(before)
    finally:
        _restore(before)


@contextmanager
def _set(variables: dict[str, str]) -> Iterator[None]:
    """Set variables of this process for a while: dask heeds them before its settings.

    It leaves its own behind, too, in a process that had a cluster before.
    """
    with kept_environment(variables):
        os.environ.update(variables)
        yield


def _restore(mask: set[Any]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
