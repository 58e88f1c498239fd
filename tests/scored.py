"""A finished run whose maps and list are made up, to be scored: nothing is planned or computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from lspipe.runs import store
from lspipe.schema import CODE_NODATA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

WEST, NORTH, EPSG = 700_000, 5_200_000, 32718
"""Upper left corner of the first tile."""

SIZE = 40
"""Edge of a tile, pixels of 10 m."""


def geobox(
    *, west: float = WEST, north: float = NORTH, epsg: int = EPSG, size: int = SIZE
) -> GeoBox:
    """A square grid of pixels of 10 m."""
    return GeoBox((size, size), Affine(10, 0, west, 0, -10, north), f"EPSG:{epsg}")


def square(row: float, column: float, rows: float, columns: float | None = None) -> shapely.Polygon:
    """A rectangle of pixels, counted from the upper left corner of the first tile."""
    width = rows if columns is None else columns
    return shapely.box(
        WEST + 10 * column,
        NORTH - 10 * (row + rows),
        WEST + 10 * (column + width),
        NORTH - 10 * row,
    )


def table(*shapes: Any, **columns: Any) -> gpd.GeoDataFrame:
    """Shapes in the zone of the first tile."""
    return gpd.GeoDataFrame(columns, geometry=list(shapes), crs=EPSG)


def inventory(shapes: Sequence[Any], **columns: Any) -> gpd.GeoDataFrame:
    """A list of new landslides, with the columns that are scored."""
    rows = table(*shapes)
    perimeter = rows.length.to_numpy()
    facts = {
        "id": [f"object-{number}" for number in range(len(rows))],
        "tile": "A",
        "status": "new",
        "area_m2": rows.area.to_numpy(),
        "perimeter_m": perimeter,
        "area_perimeter_ratio_m": rows.area.to_numpy() / perimeter,
        "length_width_ratio": 1.0,
        "length_m": 100.0,
        "width_m": 100.0,
        "confidence": 0.9,
        "reviewed": None,
        **columns,
    }
    return rows.assign(**facts).to_crs(4326)


def make_run(
    folder: Path,
    listed: gpd.GeoDataFrame,
    *,
    tiles: Mapping[str, tuple[GeoBox, NDArray[np.bool_]]] | None = None,
    roles: Sequence[str] = ("before", "after"),
) -> Path:
    """Write a run directory with one block per tile.

    Args:
        folder: it is made below.
        listed: its list.
        tiles: square grid, and what each step observed, bool (step, y, x); None = one, all of it.
        roles: date of each step.
    """
    run = folder / "run"
    run.mkdir(parents=True)
    seen = np.ones((len(roles), SIZE, SIZE), bool)
    tiles = tiles or {"A": (geobox(), seen)}
    grids = [
        store.Grid(
            tile=name, geobox=grid, times=tuple(range(len(roles))), roles=tuple(roles),
            chunk=grid.shape[0], block=grid.shape[0], blocks=(1, 1),
        )
        for name, (grid, _) in tiles.items()
    ]  # fmt: skip
    store.create(run, grids, fingerprint="made up")
    for name, (grid, observed) in tiles.items():
        core = (slice(0, grid.shape[0]), slice(0, grid.shape[1]))
        for step, mask in enumerate(observed):
            codes = np.where(mask, 1000, CODE_NODATA).astype(np.uint16)
            layers = {"probability": codes, "quality": (~mask).astype(np.uint8)}
            store.write_block(run, name, step, (0, 0), core, detections=layers, evidence={})
    dates = {"after": {}} | ({"before": {}} if "before" in roles else {})
    steps = [{"role": role, "time": "2018-01-20T14:30:00+00:00"} for role in roles]
    store.write_json(
        run / "run.json",
        {
            "name": "made-up",
            "state": "finished",
            "workflow": {"dates": dates},
            "tiles": {name: {"blocks": 1, "steps": steps} for name in tiles},
        },
    )
    listed.to_parquet(run / "inventory.parquet")
    return run
