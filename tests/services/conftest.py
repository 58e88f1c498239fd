"""What the service tests share: workers, a finished run, and no proxy before the loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from distributed import LocalCluster

from tests.worlds import World, lspipe, make_world

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _no_proxy() -> Iterator[None]:
    """Let programs reach 127.0.0.1 directly on machines that use a proxy for the rest."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1")
        yield


@pytest.fixture(scope="session")
def cluster(_no_proxy: None) -> Iterator[dict[str, str]]:
    """The `cluster` section of a workflow: two workers that live on between runs."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as running:
        yield {"kind": "address", "address": running.scheduler_address}


@pytest.fixture(scope="session")
def finished_world(tmp_path_factory: pytest.TempPathFactory, cluster: dict[str, str]) -> World:
    """An archive whose run from a folder of items is finished; it stays as it is."""
    world = make_world(tmp_path_factory.mktemp("archive"), cluster=cluster)
    answer = lspipe("run", world.workflow)
    assert answer.returncode == 0, answer.stderr
    return world
