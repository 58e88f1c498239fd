"""`lspipe.detect` of a lazy cube on the workers of a cluster."""

from __future__ import annotations

import numpy as np
import xarray as xr
from distributed import Client

import lspipe

BANDS = ["B02", "B04", "B08", "B11"]


def received(dask_worker):
    """How often a worker was sent something."""
    return dask_worker.state.transfer_incoming_count_total


def test_a_lazy_cube_has_the_same_map_on_workers_that_send_each_other_rims(cluster):
    generator = np.random.default_rng(0)
    values = generator.integers(100, 4000, (2, 4, 90, 70)).astype(np.int16)
    cube = xr.DataArray(
        values, dims=("time", "band", "y", "x"), coords={"band": BANDS},
        attrs={"scale_factor": 1e-4},
    )  # fmt: skip
    hidden = xr.DataArray(generator.random((2, 90, 70)) < 0.1, dims=("time", "y", "x"))
    setting = {"window": 16, "stride": 5}
    whole = lspipe.detect(cube, "shipped:bare-ground", mask=hidden, **setting)
    lazy = lspipe.detect(
        cube.chunk(time=1, y=20, x=24), "shipped:bare-ground", mask=hidden, **setting
    )
    with Client(cluster["address"]) as client:
        before = client.run(received)
        found = client.compute(lazy).result()
        after = client.run(received)
    assert found.values.tobytes() == whole.values.tobytes()
    assert np.isnan(found.values[hidden.values]).all()
    # More than the blocks of the map, which one of both puts together.
    assert sum(after.values()) > sum(before.values()) + lazy.data.npartitions
