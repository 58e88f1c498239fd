"""A map of detections, or of change -> a table of whole objects.

Objects are the same whatever the block they were labelled in. `confidence` is, averaged over the
object's pixels, the probability that its status is right if the two dates were independent (see
`objects.summarise`), times the share of the object and its rim that was observed: a ranking for the
person who checks the list, not a calibrated probability.

See also: `classified.py` (what is read), `objects.py` (what an object is), `outlines.py` (its
measures), `evidence.py` (what helps to judge it), `joining.py` (joining tiles), `unobserved.py`
(what was not observed).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr

from lspipe.change.classified import classify
from lspipe.change.components import BLOCK, label
from lspipe.change.evidence import gather
from lspipe.change.growth import mark_grown
from lspipe.change.neighbours import strips
from lspipe.change.objects import summarise
from lspipe.change.outlines import measures, outlines
from lspipe.change.reductions import Mean
from lspipe.change.surveyed import Surveyed
from lspipe.schema import INVENTORY_COLUMNS, check_inventory
from lspipe.schema.columns import COLUMNS

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray
    from pyproj import CRS

    from lspipe.change.classified import Classified
    from lspipe.change.components import Components
    from lspipe.change.surveyed import Layers


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a map was made from; empty for a map that came from elsewhere."""

    tile: str | None = None
    date_before: datetime | str | None = None
    """Sensing time of the earlier date, UTC; None in one-date runs."""
    date_after: datetime | str | None = None
    """Sensing time of the later, or only, date, UTC."""
    event_after: datetime | str | None = None
    """New objects were absent at this time, UTC; None = `date_before`, if that is the earlier."""
    event_by: datetime | str | None = None
    """New objects were present by this time, UTC; None = `date_after`."""
    model_id: str | None = None
    model_sha256: str | None = None
    items_before: tuple[str, ...] = ()
    items_after: tuple[str, ...] = ()


def delineate(
    map_or_change: xr.DataArray | xr.Dataset,
    *,
    min_area_m2: float = 0,
    connectivity: int = 8,
    threshold: float | None = None,
    provenance: Provenance | None = None,
    area: NDArray[np.bool_] | None = None,
    layers: Layers | None = None,
    block: int | tuple[int, int] = BLOCK,
) -> gpd.GeoDataFrame:
    """Turn a map into whole objects with their attributes.

    Args:
        map_or_change: probability map of one date, a DataArray (y, x) (status `detected`), or a
            Dataset of `compare` with `before`, `after`, `state` and its rules as attributes
            (statuses `new`, `grown`, `persistent`,
            `vanished`, `undetermined`). Float 0..1 with NaN = not
            observed, or uint16 codes with 65535. Needs a projected CRS in metres, in a coordinate
            of any name, and evenly spaced pixels. Other orders of the axes, and the names latitude,
            longitude or lat, lon, are taken too.
        min_area_m2: smallest object kept, geodesic square metres. With several tiles leave it at 0
            here and pass it to `join_tiles`: it counts after joining.
        connectivity: 8 (pixels that touch at a corner are one object) or 4.
        threshold: landslide where the probability of a one-date map is above this; None = its
            attribute `threshold`, else 0.5. A Dataset of `compare` carries its own.
        provenance: tile, dates, model and items for the columns; None = null, apart from the dates
            that the map carries.
        area: (y, x) bool, True = inside the area of interest; adds the flag column `aoi_edge`, True
            for an object with a pixel outside the area in it or in its 1-pixel rim.
        layers: what was stored of the dates, as `surveyed.Layers`; adds the columns of
            `evidence.EVIDENCE`. None = the list has none of them.
        block: pixels labelled at a time; never changes the result.

    Returns:
        A row per object, sorted by id, in the map's CRS: `schema.INVENTORY_COLUMNS`, then
        `tile_edge` (True = cut by the edge of the map), then `aoi_edge` if `area` is given, then
        the evidence if `layers` are.
        `undetermined_fraction` is the share of pixels not observed (on both dates, where there are
        two) among the object's pixels and their 8 neighbours.

    Raises:
        UsageError: no CRS, a CRS not in metres, unevenly spaced coordinates, other dimensions,
            values or variables.

    Examples:
        >>> import numpy as np
        >>> import rioxarray
        >>> import xarray as xr
        >>> import lspipe
        >>> grid = {"y": 5200995 - 10.0 * np.arange(8), "x": 700005 + 10.0 * np.arange(9)}
        >>> probability = xr.DataArray(np.zeros((8, 9), np.float32), grid, ("y", "x"))
        >>> probability[2:5, 3:7] = 0.9
        >>> probability = probability.rio.write_crs("EPSG:32718")
        >>> lspipe.delineate(probability, min_area_m2=900)[["status", "n_px"]]
             status  n_px
        0  detected    12
    """
    scene = classify(map_or_change, threshold=threshold, connectivity=connectivity, block=block)
    return whole_objects(
        scene,
        min_area_m2=min_area_m2,
        connectivity=connectivity,
        provenance=provenance or _dates_of(map_or_change),
        area=area,
        layers=layers,
        block=block,
    )


def whole_objects(
    scene: Classified,
    *,
    min_area_m2: float = 0,
    connectivity: int = 8,
    provenance: Provenance,
    area: NDArray[np.bool_] | None = None,
    layers: Layers | None = None,
    block: int | tuple[int, int] = BLOCK,
) -> gpd.GeoDataFrame:
    """Turn classified pixels into whole objects; arguments and result are those of `delineate`."""
    found = label(scene.kinds, block=block, connectivity=connectivity)
    pixel_m2 = abs(scene.transform.a * scene.transform.e)
    # 3 % of slack over the grid's area: the geodesic area is known once there is an outline.
    found = found.select(found.n_px * pixel_m2 * 1.03 >= min_area_m2)
    rows = block if isinstance(block, int) else block[0]
    statistics = summarise(found, scene.kinds, scene.before, scene.after)
    traced = _trace(scene, found, area, rows)
    measured = measures(traced["geometry"].to_numpy(), scene.crs)
    columns = [statistics, traced, measured]
    more = ["tile_edge"] if area is None else ["tile_edge", "aoi_edge"]
    if layers is not None:
        evidence = _evidence(scene, found, area, layers, rows)
        columns.append(evidence)
        more += evidence.columns.tolist()
    table = pd.concat(columns, axis=1)
    table["confidence"] = table["evidence"] * (1 - table["undetermined_fraction"])
    table = _describe(table, provenance, scene.crs)
    table = table[table["area_m2"] >= min_area_m2].sort_values("id", ignore_index=True)
    listed = as_inventory(table, more=more, crs=scene.crs)
    return mark_grown(listed, pixel=abs(scene.transform.a))


def as_inventory(table: pd.DataFrame, *, more: list[str], crs: CRS | int) -> gpd.GeoDataFrame:
    """Return a table as a checked inventory: promised columns in order, typed even where null.

    Args:
        table: every column of `schema.INVENTORY_COLUMNS` that is known, and more.
        more: columns of `schema.columns.COLUMNS` that follow.
        crs: of the column `geometry`.
    """
    typed = table.reindex(columns=[*INVENTORY_COLUMNS, *more])
    kinds = {str(name): COLUMNS[str(name)].dtype for name in typed if name != "geometry"}
    typed = typed.astype({name: kind for name, kind in kinds.items() if kind != "time"})
    for name in (name for name, kind in kinds.items() if kind == "time"):
        typed[name] = pd.to_datetime(typed[name], utc=True).dt.as_unit("ms")
    return check_inventory(gpd.GeoDataFrame(typed, geometry="geometry", crs=crs))


def _trace(
    scene: Classified, found: Components, area: NDArray[np.bool_] | None, rows: int
) -> pd.DataFrame:
    """Return outline, corner of the first pixel, edge flags and unobserved share per object."""
    height, width = scene.kinds.shape
    grid = scene.transform
    boxes = found.boxes()
    row, column = np.divmod(found.first, width)
    unseen, leaves = Mean(found.count), np.zeros(found.count, bool)
    for strip in strips(found, rows):
        at = strip.around
        unseen.add(at.index, scene.is_unseen(strip.rows)[at.row, at.column].astype(np.int64))
        if area is not None:
            leaves[at.index[~area[strip.rows][at.row, at.column]]] = True
    return pd.DataFrame(
        {
            "geometry": outlines(found, grid),
            "x": grid.c + column * grid.a,
            "y": grid.f + row * grid.e,
            "tile_edge": (boxes[:, :2] == 0).any(axis=1)
            | (boxes[:, 2] == height)
            | (boxes[:, 3] == width),
            "aoi_edge": leaves,
            "undetermined_fraction": unseen.result(),
        }
    )


def _evidence(
    scene: Classified,
    found: Components,
    area: NDArray[np.bool_] | None,
    layers: Layers,
    rows: int,
) -> pd.DataFrame:
    tile = Surveyed(
        objects=found,
        kinds=scene.kinds,
        before=scene.before,
        after=scene.after,
        area=area,
        layers=layers,
        pixel_m=math.sqrt(abs(scene.transform.a * scene.transform.e)),
    )
    return gather(tile, found.count, rows=rows)


def _dates_of(map_or_change: xr.DataArray | xr.Dataset) -> Provenance:
    """Return the dates that a map carries: attributes of `compare`, or the coordinate `time`."""
    attrs = map_or_change.attrs
    if isinstance(map_or_change, xr.Dataset):
        return Provenance(date_before=attrs.get("date_before"), date_after=attrs.get("date_after"))
    time = map_or_change.coords.get("time")
    if time is None or not np.issubdtype(time.dtype, np.datetime64):
        return Provenance()
    return Provenance(date_after=str(np.datetime_as_string(time.values, unit="s")))


def _describe(table: pd.DataFrame, who: Provenance, crs: CRS) -> pd.DataFrame:
    """Add the id, and the columns of where the object comes from and when it happened."""
    given = [who.date_before, who.date_after, who.event_after, who.event_by]
    before, after, event_after, event_by = pd.to_datetime(
        pd.Series(given), utc=True, format="ISO8601"
    )
    # With swapped dates, the later date is no lower bound for the event.
    if pd.isna(event_after) and not before > after:
        event_after = before
    event_by = after if pd.isna(event_by) else event_by
    # What was present on the first date has no lower bound, and happened by that date.
    is_old = table["status"].isin(["persistent", "vanished"])
    epsg = crs.to_epsg()
    place = who.tile or f"EPSG{epsg}"
    day = "undated" if pd.isna(after) else after.strftime("%Y%m%d")
    stems = f"{place}_{day}_" + table["status"]
    return table.assign(
        # The first pixel belongs to one object only, and does not depend on how the map is cut.
        id=stems + "_" + table["x"].map(_metres) + "_" + table["y"].map(_metres),
        tile=who.tile,
        date_before=before,
        date_after=after,
        event_date_min=pd.Series(event_after, table.index).where(table["status"] == "new"),
        event_date_max=pd.Series(event_by, table.index).where(~is_old, before),
        utm_epsg=epsg,
        model_id=who.model_id,
        model_sha256=who.model_sha256,
        items_before=",".join(who.items_before) or None,
        items_after=",".join(who.items_after) or None,
        reviewed=None,
    )


def _metres(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
