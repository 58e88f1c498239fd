"""Networks of the papers through a whole run: packed, loaded by a worker, laid over a tile."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import torch
from distributed import LocalCluster

import lspipe
from lspipe.models import build
from lspipe.models.pack import pack
from lspipe.runs import store
from lspipe.runs.plan import open_step
from lspipe.schema import quantise
from lspipe.workflow import Workflow
from tests.worlds import make_world

BANDS = ("B02", "B03", "B04", "B08")

# All but three of 107 MB and more, and two that are like others here.
NETWORKS = (
    "l4s-unet", "l4s-resunet", "pspnet", "contextnet", "linknet", "frrn-a", "frrn-b", "sqnet",
    "yali-unet", "yali-mobilenetv2", "yali-segformer", "ghorb-unet", "ghorb-resunet", "vega-unet",
)  # fmt: skip


@pytest.fixture(scope="module")
def threads():
    """A cluster in this process: the libraries are imported once for all networks."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as running:
        yield {"kind": "address", "address": running.scheduler_address}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_a_paper_maps_a_tile(name, threads, tmp_path):
    torch.manual_seed(0)
    network = build(name, len(BANDS))
    fields = {
        "id": name, "architecture": name, "bands": BANDS, "window": 64, "overlap": 0.0,
        "tta": "none", "description": "random weights", "not_for": "anything",
    }  # fmt: skip
    item = pack(network, tmp_path / "models", item_fields=fields)
    world = make_world(
        tmp_path,
        size=96,
        cluster=threads,
        dates={"after": {"start": "2018-01-01", "end": "2018-03-31"}},
        model={"item": str(item)},
        inference={"batch_size": 2},
        execution={"block": 120, "retries": 0},
    )
    summary = lspipe.run(Workflow.from_file(world.workflow))
    assert (summary.state, len(summary.failures)) == ("finished", 0)
    stored = store.read(world.run, store.DETECTIONS, "18GYS", "probability")
    plan = lspipe.plan(Workflow.from_file(world.workflow))
    (tile,) = plan.tiles
    with dask.config.set(scheduler="synchronous"):
        cube = open_step(tile, tile.steps[0], plan.workflow).compute()
    expected = lspipe.detect(
        cube["reflectance"].sel(band=list(BANDS)), item, window=64, stride=64, tta="none",
        batch_size=2,
    )  # fmt: skip
    # Both in this process, which may have another number of threads than a worker has.
    np.testing.assert_allclose(stored[0], quantise(expected.values), atol=1)
