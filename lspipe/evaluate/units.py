"""A finished run -> how many landslides each unit has, and how much of it was observed.

Units are polygons of a file (districts, catchments, slope units) or the squares of a grid. A
landslide counts in the unit that holds its representative point, a point inside its outline; its
area counts where it lies. Units may overlap: what lies in two counts in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import CRS

from lspipe.change.coverage import square_metres
from lspipe.errors import UsageError, first_few
from lspipe.evaluate.ground import counted_pixels, ground_of
from lspipe.evaluate.shapes import POLYGONS, read_shapes
from lspipe.evaluate.truth import CLAIMED
from lspipe.runs.opened import open_run
from lspipe.search.areas import footprint
from lspipe.search.degrees import in_degrees

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.evaluate.ground import Ground

EQUAL_AREA = "EPSG:6933"
"""For ratios of areas, anywhere on the globe: EASE-Grid 2.0."""

MOST_CELLS = 250_000
"""Squares of a grid, so that a slip of the pen (0.01 km) does not fill the memory."""

COLUMNS = {
    "unit": "number of the unit in its file, from 1, or row and column of a square",
    "name": "what the file calls it",
    "area_km2": "geodesic area of the unit",
    "observed_km2": "of it observed on every date, inside the area of interest",
    "observed_share": "observed_km2 / area_km2",
    "landslides": "new landslides whose representative point lies in it",
    "landslide_m2": "area of new landslides in it",
    "per_km2": "landslides / observed_km2; empty where nothing was observed",
    "share": "landslide_m2 / observed area; empty likewise",
}


def summarise(
    run: Path | str,
    *,
    by: Path | str | None = None,
    layer: str | None = None,
    name: str | None = None,
    grid_km: float | None = None,
) -> gpd.GeoDataFrame:
    """Count landslides per unit.

    Args:
        run: run directory with its list.
        by: file of polygons; None = the squares of a grid.
        layer: of the file, where it has several.
        name: column of the file with the names of the units; None = its first column of text.
        grid_km: edge of a square, instead of `by`.

    Returns:
        A row per unit that meets a tile of the run, EPSG:4326, with `COLUMNS` and `geometry`, in
        the order of the file, or of rows and columns from the north-west.

    Raises:
        UsageError: neither or both of `by` and `grid_km`; a file without polygons, that does not
            meet the run, or without the column; too many squares.
        StoreError: the run has no list yet.

    Examples:
        >>> from lspipe.evaluate.units import summarise
        >>> table = summarise("runs/my-valley", by="districts.gpkg")  # doctest: +SKIP
        >>> table.sort_values("per_km2").tail(3)[["name", "landslides", "observed_share"]]
        ... # doctest: +SKIP
    """
    if (by is None) == (grid_km is None):
        raise UsageError(
            "expected one of by=FILE, polygons of units, and grid_km=KM, edge of squares"
        )
    opened = open_run(run)
    listed = opened.inventory[opened.inventory["status"].isin(CLAIMED)]
    grounds = ground_of(opened)
    covered = shapely.union_all([footprint(ground.geobox) for ground in grounds])
    if by is not None:
        units = _of_file(by, layer, name, covered)
    else:
        units = _squares(float(grid_km or 0), covered)
    return _counted(units, listed, grounds)


def frequency(areas: Sequence[float] | NDArray[np.float64], *, per_decade: int = 5) -> pd.DataFrame:
    """Return how often landslides of a size are: probability density by area.

    Args:
        areas: of landslides, square metres.
        per_decade: classes per factor of ten.

    Returns:
        A row per class with a landslide in it: `from_m2`, `to_m2`, `landslides`, and
        `density_per_m2` = landslides / (all landslides x width of the class).

    Source: Malamud et al. 2004, Landslide inventories and their statistical properties, eq. 1.

    Examples:
        >>> frequency([1000, 1200, 9000], per_decade=1)["landslides"].tolist()
        [3]
        >>> float(frequency([1000, 1200, 9000], per_decade=1)["density_per_m2"][0]) * 9000
        1.0
    """
    sizes = np.asarray(areas, float)
    if not sizes.size:
        return pd.DataFrame(columns=["from_m2", "to_m2", "landslides", "density_per_m2"])
    # A small step down: a size on the edge of a class counts in the class above it.
    first = np.floor(np.log10(sizes.min()) * per_decade + 1e-9)
    last = np.floor(np.log10(sizes.max()) * per_decade + 1e-9)
    edges = 10 ** (np.arange(first, last + 2) / per_decade)
    place = np.floor(np.log10(sizes) * per_decade + 1e-9) - first
    counts = np.bincount(place.astype(int), minlength=len(edges) - 1)
    table = pd.DataFrame({"from_m2": edges[:-1], "to_m2": edges[1:], "landslides": counts})
    table["density_per_m2"] = counts / (sizes.size * np.diff(edges))
    return table[table["landslides"] > 0].reset_index(drop=True)


# --- units --------------------------------------------------------------------------------------


def _of_file(path: Path | str, layer: str | None, name: str | None, covered: Any) -> Any:
    """Return the polygons of a file that meet the tiles of the run."""
    shapes = read_shapes(path, layer=layer)
    polygons = shapes.of(POLYGONS)
    if not len(polygons):
        raise UsageError(f"{path}: found no polygons; expected units: districts, catchments")
    names = _names(shapes.attributes.loc[polygons.index], name, path)
    table = gpd.GeoDataFrame(
        {"unit": polygons.index.astype(str), "name": names}, geometry=polygons, crs=4326
    )
    near = table[shapely.intersects(polygons.to_numpy(), covered)]
    if near.empty:
        raise UsageError(
            f"{path}: none of its {len(table)} units meets a tile of the run; is it of another "
            "place, or are longitude and latitude exchanged?"
        )
    return near.reset_index(drop=True)


def _names(attributes: pd.DataFrame, name: str | None, path: Path | str) -> pd.Series[str]:
    if name is not None:
        if name not in attributes:
            raise UsageError(
                f"{path}: found no column {name!r}, expected one of {first_few([*attributes])}"
            )
        return attributes[name].astype("string")
    texts = [one for one in attributes if pd.api.types.is_string_dtype(attributes[one].dtype)]
    if not texts:
        return pd.Series(pd.NA, attributes.index, dtype="string")
    return attributes[texts[0]].astype("string")


def _squares(edge_km: float, covered: Any) -> gpd.GeoDataFrame:
    """Return the squares of a grid over the tiles, in a projection that keeps areas."""
    if not 0 < edge_km < np.inf:
        raise UsageError(f"grid_km {edge_km:g}: expected the edge of a square in km, above 0")
    middle = covered.centroid
    flat = CRS.from_proj4(f"+proj=laea +lon_0={middle.x:.4f} +lat_0={middle.y:.4f} +units=m")
    wanted = gpd.GeoSeries([covered], crs=4326).to_crs(flat)[0]
    edge = edge_km * 1000
    west, south, east, north = wanted.bounds
    columns, rows = int(np.ceil((east - west) / edge)), int(np.ceil((north - south) / edge))
    if rows * columns > MOST_CELLS:
        raise UsageError(
            f"grid_km {edge_km:g}: would be {rows * columns:,} squares; expected at most "
            f"{MOST_CELLS:,}: choose a longer edge"
        )
    down, across = (axis.ravel() for axis in np.indices((rows, columns)))
    boxes = shapely.box(
        west + across * edge, north - (down + 1) * edge,
        west + (across + 1) * edge, north - down * edge,
    )  # fmt: skip
    is_near = shapely.intersects(boxes, wanted)
    names = [f"{row + 1}-{column + 1}" for row, column in zip(down, across, strict=True)]
    table = gpd.GeoDataFrame({"unit": names, "name": names}, geometry=boxes, crs=flat)
    return in_degrees(table[is_near].reset_index(drop=True))


# --- counting -----------------------------------------------------------------------------------


def _counted(
    units: gpd.GeoDataFrame, listed: gpd.GeoDataFrame, grounds: Sequence[Ground]
) -> gpd.GeoDataFrame:
    """Add what was observed of each unit, and what lies in it."""
    shapes = units.geometry.to_numpy()
    km2 = np.array([square_metres(shape) for shape in shapes]) / 1e6
    observed = counted_pixels(units, grounds)
    outlines = listed.geometry.to_numpy()
    inside = shapely.STRtree(shapes)
    _, unit = inside.query(shapely.point_on_surface(outlines), predicate="intersects")
    counts = np.bincount(unit, minlength=len(units))
    flat_units, flat = (
        table.geometry.to_crs(EQUAL_AREA).make_valid().to_numpy() for table in (units, listed)
    )
    one, other = shapely.STRtree(flat_units).query(flat, predicate="intersects")
    common = shapely.area(shapely.intersection(flat[one], flat_units[other]))
    metres = np.bincount(other, common, minlength=len(units))
    seen = np.where(observed > 0, observed, np.nan)
    return units.assign(
        area_km2=km2,
        observed_km2=observed,
        observed_share=np.minimum(observed / km2, 1),
        landslides=counts,
        landslide_m2=metres,
        per_km2=counts / seen,
        share=metres / 1e6 / seen,
    )[[*COLUMNS, "geometry"]]
