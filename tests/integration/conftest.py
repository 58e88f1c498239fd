"""One cluster for all runs of the tests, so that each does not start and stop its own."""

from __future__ import annotations

from contextlib import contextmanager
from multiprocessing import forkserver, get_context
from typing import TYPE_CHECKING

import dask
import pytest
from distributed import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a worker imports for its first block.
OF_A_WORKER = ["distributed", "lspipe.runs.worker", "lspipe.runs.store", "rioxarray", "odc.stac"]


@contextmanager
def forking() -> Iterator[None]:
    """Have workers forked from a process that has imported what they need, once for all of them.

    A run of a user spawns them, and so do most runs that tests start in processes of their own.
    """
    get_context("forkserver").set_forkserver_preload(OF_A_WORKER)
    # Now, as distributed would give it a list of its own.
    forkserver.ensure_running()
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield


@pytest.fixture
def forked_workers() -> Iterator[None]:
    """Fork the workers of local clusters that runs of this test start in this process."""
    with forking():
        yield


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """The `cluster` section of a workflow: two running workers of one thread, on loopback."""
    with forking():
        running = LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        )
    with running:
        yield {"kind": "address", "address": running.scheduler_address}
