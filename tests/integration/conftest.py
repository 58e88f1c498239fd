"""One cluster for all runs of the tests, so that each does not start and stop its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask
import pytest
from distributed import LocalCluster

from tests.forking import forking

if TYPE_CHECKING:
    from collections.abc import Iterator

# The cluster lives as long as the tests and is idle most of the time. Watched as often as dask does
# (every 10 to 500 ms) it takes 7 % of a core, watched like this 1 %.
SELDOM_WATCHED = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "5s",
    "distributed.admin.tick.interval": "2s",
    "distributed.admin.system-monitor.interval": "5s",
}


@pytest.fixture
def forked_workers() -> Iterator[None]:
    """Fork the workers of local clusters that runs of this test start in this process."""
    with forking():
        yield


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """The `cluster` section of a workflow: two running workers of one thread, on loopback."""
    with forking(), dask.config.set(SELDOM_WATCHED):
        running = LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        )
    with running:
        yield {"kind": "address", "address": running.scheduler_address}
