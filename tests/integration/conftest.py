"""One cluster for all runs of the tests, so that each does not start and stop its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from distributed import LocalCluster

from tests.forking import forking

if TYPE_CHECKING:
    from collections.abc import Iterator


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
