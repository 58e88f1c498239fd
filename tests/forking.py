"""Workers of local clusters that need not import what they work with, as others did."""

from __future__ import annotations

from contextlib import contextmanager
from multiprocessing import forkserver, get_context
from typing import TYPE_CHECKING

import dask

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a worker imports for its first block.
OF_A_WORKER = [
    "distributed",
    "lspipe.runs.worker",
    "lspipe.runs.handshake",
    "lspipe.runs.store",
    "rioxarray",
    "odc.stac",
]


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
