"""Inventories of the tiles of a run -> one list, each landslide once.

Tiles overlap by about 10 km, more across UTM zones, so one object may appear in several tiles:
whole in one, cut by the edge of the next. Parts in two tiles are the same object if

    they overlap and have the same status;
    both are cut by the edge of their tile, have the same status and touch;
    they have different status, and share at least half of the larger part (the tiles may show
      scenes of different days, and so date one object differently);
    one is undetermined, and the other covers at least half of it (one tile observed it, and one
      did not).

Such a group becomes one object. Its outline comes from the tile whose grid centre is nearest, among
the tiles that observed the whole object on both dates: the object lies inside the grid, is not cut
by its edge, and no pixel of it or of its rim is unobserved. Without such a tile, the outline is the
union of all parts. An object without a counterpart is always kept.

Source: docs/numerics.md, Tiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, islice
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import CRS, Transformer

from lspipe.change.components import group
from lspipe.change.evidence import EVIDENCE
from lspipe.change.growth import as_new, mark_grown
from lspipe.change.inventory import as_inventory
from lspipe.change.neighbours import FARTHEST_PX
from lspipe.change.outlines import WGS84, measures, polygons_of
from lspipe.schema import INVENTORY_COLUMNS
from lspipe.search.areas import footprint
from lspipe.search.degrees import HALF_GLOBE, in_degrees

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

SAME_OBJECT = 0.5
"""Two parts of different status are one object if they share this much of the larger part."""

REACH_M = 0.01
"""Parts that touch across an edge may be this far apart after reprojection, metres."""

ROUNDED_M = 0.001
"""Outlines that went to degrees and back are rounded to this where one is taken from another,
metres: spikes without width would be left along what they share."""


@dataclass(frozen=True)
class TileMap:
    """A tile of the run."""

    name: str
    geobox: GeoBox
    """Its grid, in its native UTM."""


@dataclass(frozen=True)
class _Facts:
    """What decides how the parts of a tile are joined, (n,) each.

    They are asked for object by object, which takes a table a hundred times as long.
    """

    table: gpd.GeoDataFrame
    """The inventory of the tile."""
    status: NDArray[np.str_]
    n_px: NDArray[np.int64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    is_whole: NDArray[np.bool_]
    """Neither cut by the edge of the tile, nor with or beside a pixel that was not observed."""

    @classmethod
    def of(cls, table: gpd.GeoDataFrame) -> _Facts:
        """Take them from the inventory of a tile."""
        is_cut = table["tile_edge"].to_numpy(bool)
        is_hidden = table["undetermined_fraction"].to_numpy() > 0
        return cls(
            table=table,
            status=table["status"].to_numpy(str),
            n_px=table["n_px"].to_numpy(),
            lon=table["lon"].to_numpy(),
            lat=table["lat"].to_numpy(),
            is_whole=~is_cut & ~is_hidden,
        )


def join_tiles(
    inventories: Sequence[gpd.GeoDataFrame],
    tiles: Sequence[TileMap],
    *,
    min_area_m2: float = 0,
) -> gpd.GeoDataFrame:
    """Join the objects of the tiles of a run into one inventory.

    Args:
        inventories: of `delineate` for each tile, with `min_area_m2=0`: a part that is small in one
            tile may belong to a large object.
        tiles: the tiles, in the same order; the result is the same in any order.
        min_area_m2: smallest object kept, geodesic square metres.

    Returns:
        A row per object, sorted by id, in EPSG:4326, with the columns of `delineate`. Measures are
        those in the UTM zone of `tile`. For an object joined from several parts, means are weighted
        by pixels, `n_px` is the area in pixels, the items are those of all its tiles, `tile_edge`
        is True if the object reaches the outer edge of these tiles together, and evidence is joined
        as `evidence.EVIDENCE` has it.

    Raises:
        ValueError: no inventories, or not one per tile.
    """
    if not inventories or len(inventories) != len(tiles):
        raise ValueError(f"{len(inventories)} inventories of {len(tiles)} tiles: expected the same")
    more = [name for name in inventories[0].columns if name not in INVENTORY_COLUMNS]
    order = sorted(range(len(tiles)), key=lambda index: tiles[index].name)
    tiles = [tiles[index] for index in order]
    # What a landslide grew from may lie on one of two tiles only.
    tables = [as_new(inventories[index]) for index in order]
    starts = np.cumsum([0, *(len(table) for table in tables)])
    owner = np.repeat(np.arange(len(tables)), np.diff(starts))
    groups = group(int(starts[-1]), _pairs(tables, tiles, starts))
    # Most objects lie in one tile only, and are not changed.
    is_lone = (np.bincount(groups) == 1)[groups]
    done = [
        in_degrees(table[is_lone[start : start + len(table)]])
        for table, start in zip(tables, starts[:-1], strict=True)
    ]
    area = np.concatenate([table["area_m2"].to_numpy() for table in tables])
    # An object is no larger than the sum of its parts (1 % for rounding): this drops most noise.
    is_large = (np.bincount(groups, area) * 1.01 >= min_area_m2)[groups]
    members = np.flatnonzero(~is_lone & is_large)
    members = members[np.argsort(groups[members], kind="stable")]
    facts = [_Facts.of(table) for table in tables]
    for inside in np.split(members, np.flatnonzero(np.diff(groups[members])) + 1):
        parts = {
            int(tile): inside[owner[inside] == tile] - starts[tile]
            for tile in np.unique(owner[inside])
        }
        if parts:
            done += _one_object(parts, facts, tiles)
    joined = pd.DataFrame(pd.concat([table for table in done if len(table)] or done[:1]))
    joined = joined[joined["area_m2"] >= min_area_m2].sort_values("id", ignore_index=True)
    return mark_grown(as_inventory(joined, more=more, crs=4326))


def _pairs(
    tables: Sequence[gpd.GeoDataFrame], tiles: Sequence[TileMap], starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the (n, 2) pairs of parts, numbered through all tables, that are one object."""
    footprints = [footprint(tile.geobox) for tile in tiles]
    pairs = [np.zeros((0, 2), np.int64)]
    for one, two in combinations(range(len(tables)), 2):
        # 1e-6 degrees, 0.1 m: tiles that only touch are neighbours too.
        if len(tables[one]) and len(tables[two]) and footprints[one].dwithin(footprints[two], 1e-6):
            pairs.append(_same_objects(tables[one], tables[two]) + starts[[one, two]])
    return np.concatenate(pairs)


def _same_objects(one: gpd.GeoDataFrame, two: gpd.GeoDataFrame) -> NDArray[np.int64]:
    """Return the (n, 2) row numbers of parts of two tiles that are one object."""
    # In the CRS of the first: exact between tiles of one zone, whose pixels coincide.
    left, right = one.geometry.to_numpy(), two.geometry.to_crs(one.crs).to_numpy()
    i, j = shapely.STRtree(right).query(left, predicate="dwithin", distance=REACH_M)
    shared = shapely.area(shapely.intersection(left[i], right[j]))
    areas = np.stack([shapely.area(left[i]), shapely.area(right[j])])
    # Less than half a pixel is a sliver of reprojection.
    is_overlap = shared > areas[0] / one["n_px"].to_numpy()[i] / 2
    status = np.stack([one["status"].to_numpy(str)[i], two["status"].to_numpy(str)[j]])
    is_same = status[0] == status[1]
    is_unclear = status == "undetermined"
    both_cut = one["tile_edge"].to_numpy()[i] & two["tile_edge"].to_numpy()[j]
    measured_by = np.where(
        is_unclear.any(axis=0), np.where(is_unclear[0], *areas), areas.max(axis=0)
    )
    is_agreed = is_overlap & (shared >= SAME_OBJECT * measured_by)
    joined = np.where(is_same, is_overlap | both_cut, is_agreed)
    return np.stack([i[joined], j[joined]], axis=1).astype(np.int64)


def _one_object(
    parts: Mapping[int, NDArray[np.int64]], facts: Sequence[_Facts], tiles: Sequence[TileMap]
) -> list[gpd.GeoDataFrame]:
    """Return the row, in EPSG:4326, for the parts of one object: rows of tables by tile number.

    Several rows where the chosen tile shows parts of different status side by side, or where no
    tile shows the whole object: then the status with the most pixels comes first, and each next
    one keeps only what the earlier rows do not cover.
    """
    known = {tile: rows[facts[tile].status[rows] != "undetermined"] for tile, rows in parts.items()}
    known = {tile: rows for tile, rows in known.items() if len(rows)} or dict(parts)
    lon, lat = _middle(known, facts)
    nearest = sorted(known, key=lambda tile: (_distance(tiles[tile], lon, lat), tiles[tile].name))
    whole = (tile for tile in nearest if _is_whole(tile, known, facts, tiles))
    chosen = list(islice(whole, 1)) or nearest
    found: list[gpd.GeoDataFrame] = []
    for status in _by_pixels(known, facts):
        same = {tile: known[tile][facts[tile].status[known[tile]] == status] for tile in chosen}
        tables = {tile: facts[tile].table.iloc[rows] for tile, rows in same.items() if len(rows)}
        if tables:
            found += _merged(tables, tiles, without=found if len(chosen) > 1 else [])
    return found


def _middle(parts: Mapping[int, NDArray[np.int64]], facts: Sequence[_Facts]) -> tuple[float, float]:
    """Return longitude and latitude in the middle of parts, weighted by their pixels."""
    lon, lat, n_px = (
        np.concatenate([getattr(facts[tile], name)[rows] for tile, rows in parts.items()])
        for name in ("lon", "lat", "n_px")
    )
    if np.ptp(lon) > HALF_GLOBE:  # parts on both sides of the date line
        lon %= 360
    return float(np.average(lon, weights=n_px)), float(np.average(lat, weights=n_px))


def _by_pixels(parts: Mapping[int, NDArray[np.int64]], facts: Sequence[_Facts]) -> list[str]:
    """Return the statuses of parts, that with the most pixels first, else by name."""
    pixels: dict[str, int] = {}
    for tile, rows in parts.items():
        for status, n_px in zip(facts[tile].status[rows], facts[tile].n_px[rows], strict=True):
            pixels[str(status)] = pixels.get(str(status), 0) + int(n_px)
    return sorted(pixels, key=lambda status: (-pixels[status], status))


def _is_whole(
    tile: int,
    parts: Mapping[int, NDArray[np.int64]],
    facts: Sequence[_Facts],
    tiles: Sequence[TileMap],
) -> bool:
    """Return whether a tile observed all of an object and its rim on both dates."""
    if not facts[tile].is_whole[parts[tile]].all():
        return False
    crs, geobox = facts[tile].table.crs, tiles[tile].geobox
    grid = _grid_outline(geobox, crs).buffer(abs(geobox.resolution.x) / 2)
    return all(
        shapely.covers(grid, facts[other].table.geometry.iloc[rows].to_crs(crs).to_numpy()).all()
        for other, rows in parts.items()
    )


def _merged(
    parts: Mapping[int, gpd.GeoDataFrame],
    tiles: Sequence[TileMap],
    *,
    without: Sequence[gpd.GeoDataFrame],
) -> list[gpd.GeoDataFrame]:
    """Return one row, in EPSG:4326, for parts of one status by tile number, nearest tile first.

    No row if less than half a pixel is left after the rows of `without` are cut out.
    """
    if sum(map(len, parts.values())) == 1 and not without:
        return [in_degrees(next(iter(parts.values())))]
    tile = tiles[next(iter(parts))]
    crs = CRS.from_user_input(tile.geobox.crs)
    table = pd.concat([part.to_crs(crs) for part in parts.values()])
    outline = shapely.union_all(table.geometry.to_numpy())
    for other in without:
        taken = other.to_crs(crs).geometry.iloc[0]
        rest = shapely.difference(outline, taken, grid_size=ROUNDED_M)
        outline = shapely.MultiPolygon(polygons_of(rest))
    pixel = abs(tile.geobox.resolution.x * tile.geobox.resolution.y)
    if outline.area < pixel / 2:
        return []
    largest = next(iter(parts.values())).sort_values(["n_px", "id"], ascending=[False, True])
    row = largest.iloc[[0]].reset_index(drop=True).to_crs(crs)
    row = row.set_geometry([shapely.orient_polygons(outline)], crs=crs)
    for name in ("probability_mean", "gain_mean", "undetermined_fraction", "confidence"):
        row[name] = np.average(table[name], weights=table["n_px"])
    row["probability_max"] = table["probability_max"].max()
    row["n_px"] = round(outline.area / pixel)
    measured = measures(row.geometry.to_numpy(), crs)
    row[measured.columns] = measured
    for name in ("items_before", "items_after"):
        names = {item for listed in table[name].dropna() for item in listed.split(",")}
        row[name] = pd.array([",".join(sorted(names)) or None], dtype="string")
    if "aoi_edge" in row:
        row["aoi_edge"] = table["aoi_edge"].any()
    grids = shapely.union_all([_grid_outline(tiles[number].geobox, crs) for number in parts])
    row["tile_edge"] = shapely.dwithin(outline, grids.boundary, math.sqrt(pixel) / 2)
    if "tile_edge_m" in row:
        _join_evidence(row, table)
        # To the centre of the first pixel outside.
        beyond = shapely.distance(outline, grids.boundary) + math.sqrt(pixel)
        row["tile_edge_m"] = min(beyond, FARTHEST_PX * math.sqrt(pixel))
    return [in_degrees(row)]


def _join_evidence(row: gpd.GeoDataFrame, table: gpd.GeoDataFrame) -> None:
    """Write the evidence of all parts into a row; empty cells count for nothing."""
    for name, column in EVIDENCE.items():
        if name not in table:  # of terrain
            continue
        is_known = table[name].notna()
        if column.joined == "mean" and is_known.any():
            known = table[is_known]
            row[name] = np.average(known[name], weights=known["n_px"])
        elif column.joined == "least":
            row[name] = table[name].min()
        elif column.joined == "most":
            row[name] = table[name].max()
    if "relief_m" in row:
        row["relief_m"] = row["elevation_max"] - row["elevation_min"]


@lru_cache(maxsize=4096)
def _grid_outline(geobox: GeoBox, crs: CRS) -> shapely.Polygon:
    """Return the outline of a grid in another CRS."""
    west, south, east, north = geobox.extent.boundingbox
    # Straight edges of one zone bend in another: 1 km apart, vertices follow to a millimetre.
    grid = shapely.segmentize(shapely.box(west, south, east, north), 1000)
    native = gpd.GeoSeries([grid], crs=geobox.crs)
    moved: shapely.Polygon = native.to_crs(crs).iloc[0]
    return moved


def _distance(tile: TileMap, lon: float, lat: float) -> float:
    """Return the geodesic metres from a tile's centre to a place."""
    return float(WGS84.inv(*_centre(tile.geobox), lon, lat)[2])


@lru_cache(maxsize=4096)
def _centre(geobox: GeoBox) -> tuple[float, float]:
    """Return longitude and latitude of the centre of a grid; to make a projection takes 5 ms."""
    west, south, east, north = geobox.extent.boundingbox
    crs = CRS.from_user_input(geobox.crs)
    to_degrees = Transformer.from_crs(crs, 4326, always_xy=True)
    x, y = to_degrees.transform((west + east) / 2, (south + north) / 2)
    return float(x), float(y)
