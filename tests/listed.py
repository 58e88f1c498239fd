"""A planned run with a list that was made up, and decisions about it: no block is computed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from odc.geo.xr import xr_coords

from lspipe.change.compare import compare
from lspipe.change.inventory import Provenance, delineate
from lspipe.runs.frozen import FrozenRun
from lspipe.runs.prepare import opened, prepare
from lspipe.workflow import Workflow
from tests.worlds import make_world

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NEW, BESIDE, OLD, GONE, HIDDEN = (
    (120, 140, 30, 14), (120, 160, 10, 6), (60, 60, 20, 12), (125, 125, 10, 8), (190, 190, 5, 5),
)  # fmt: skip
"""Objects of the list: first row, first column, rows, columns. The last lies under a cloud."""


def make_listed(folder: Path, *, model: str = "shipped:demo") -> Path:
    """Write a world with a planned run of a model and its list; returns the run directory."""
    bands = {"bands": ("B02", "B03", "B04", "B08", "B11", "B12")}
    world = make_world(
        folder,
        before=bands,
        after={**bands, "clouds": [(192, 192, 12)]},
        model={"item": model},
    )
    with opened(prepare(Workflow.from_file(world.workflow), world.run)):
        pass
    grid = FrozenRun.of(world.run).tiles[0].geobox
    before, after = (
        xr.DataArray(probabilities(*there), dims=("y", "x"), coords=xr_coords(grid))
        for there in ((OLD, GONE), (OLD, NEW, BESIDE, HIDDEN))
    )
    change = compare(before, after, threshold=0.5, before_below=0.3)
    provenance = Provenance(tile="18GYS", date_before="2017-01-15", date_after="2018-01-20")
    delineate(change, provenance=provenance).to_crs(4326).to_parquet(
        world.run / "inventory.parquet"
    )
    return world.run


def probabilities(*there: tuple[int, int, int, int]) -> NDArray[np.float32]:
    values = np.full((240, 240), 0.1, np.float32)
    for row, column, height, width in there:
        values[row : row + height, column : column + width] = 0.9
    return values


def identity(rectangle: tuple[int, int, int, int], status: str) -> str:
    return f"18GYS_20180120_{status}_{699960 + 10 * rectangle[1]}_{5200000 - 10 * rectangle[0]}"


IDS = {
    "new": identity(NEW, "new"),
    "beside": identity(BESIDE, "new"),
    "old": identity(OLD, "persistent"),
    "gone": identity(GONE, "vanished"),
    "hidden": identity(HIDDEN, "new"),
}


def write(folder: Path, *answers: tuple[Any, Any]) -> Path:
    """A decision file; an answer is (name or id, reviewed)."""
    path = folder / "decisions.geojson"
    features = [
        {
            "type": "Feature",
            "geometry": None,
            "properties": {"id": IDS.get(name, name), "reviewed": answer},
        }
        for name, answer in answers
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path
