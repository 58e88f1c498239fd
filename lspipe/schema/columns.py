"""What a list is: its columns with their units and meanings, its statuses, and a check of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import geopandas as gpd


@dataclass(frozen=True)
class Column:
    """What a column of a list holds."""

    unit: str
    meaning: str
    dtype: str = "float64"
    """Of pandas; "time" = UTC, to the millisecond; "geometry" = shapes."""

    @property
    def digits(self) -> int | None:
        """Decimals that mean something, by the unit; None = not a measure."""
        return _DIGITS.get(self.unit)


_DIGITS = {"m²": 0, "m": 1, "°": 1, "1": 2, "0 to 1": 3, "-1 to 1": 3, "-2 to 2": 3,
    "reflectance": 4, "degree": 6, "dB": 2,
}  # fmt: skip
"""Pixels are 10 m and 100 m²; probabilities are stored in steps of 1e-4; 1e-6 degrees are 0.1 m."""


STATUSES = {
    "new": "above the threshold after, with a core that was clearly below it before, away from "
    "what was there",
    "grown": "a new part that touches an old landslide, which is a fifth or more of both: its "
    "outline is that of the new part, and the old one is `persistent` beside it; what grew by "
    "little is `persistent` as a whole",
    "persistent": "there on both dates, or a change too small to count",
    "vanished": "the mirror of `new` and `grown`",
    "undetermined": "seen on one date, under cloud or without data on the other",
    "detected": "in a run of one date",
}
"""What `status` says of an object."""

_INVENTORY = {
    "id": Column(
        "text",
        "tile, day, status and the corner of the object's first pixel; the same whatever the block "
        "size",
        "string",
    ),
    "tile": Column("text", "Sentinel-2 tile whose outline is shown, such as 18GYS", "string"),
    "status": Column("text", "see above", "string"),
    "date_before": Column(
        "time", "when the earlier scene was taken; empty in a run of one date", "time"
    ),
    "date_after": Column("time", "when the later scene, or the only one, was taken", "time"),
    "event_date_min": Column(
        "time", "a new object was not there yet at this time; empty where nothing bounds it", "time"
    ),
    "event_date_max": Column("time", "the object was there by this time", "time"),
    "area_m2": Column("m²", "geodesic area of the outline"),
    "perimeter_m": Column(
        "m", "along pixel edges and around holes, in UTM; of an oblique edge too long by up to 41 %"
    ),
    "length_m": Column("m", "long side of the smallest rectangle around the object, in UTM"),
    "width_m": Column("m", "short side of that rectangle"),
    "area_perimeter_ratio_m": Column("m", "area divided by perimeter"),
    "length_width_ratio": Column("1", "length divided by width"),
    "probability_mean": Column(
        "0 to 1",
        "mean over the pixels of the object, of the date on which each is more probable",
    ),
    "probability_max": Column("0 to 1", "largest of these"),
    "gain_mean": Column(
        "-1 to 1",
        "mean of probability after minus before, where both were observed; else empty",
    ),
    "n_px": Column("pixels", "pixels of 10 m in the object", "int64"),
    "undetermined_fraction": Column(
        "0 to 1",
        "share of the object and its rim of one pixel that was hidden on at least one date",
    ),
    "confidence": Column(
        "0 to 1", "rank: mean probability that the status is right, times the observed share"
    ),
    "lon": Column("degree", "longitude of the centroid, which may lie outside of a curved object"),
    "lat": Column("degree", "latitude of the centroid"),
    "utm_epsg": Column(
        "code", "EPSG code of the UTM zone in which the object was measured", "Int32"
    ),
    "model_id": Column("text", "id of the model item", "string"),
    "model_sha256": Column("text", "hash of the model", "string"),
    "items_before": Column(
        "text", "ids of the scenes of the earlier date, with commas between", "string"
    ),
    "items_after": Column(
        "text", "ids of the scenes of the later date, or of the only one", "string"
    ),
    "reviewed": Column(
        "text", "`true`, `false` or `unsure`, as a person decided; empty until then", "string"
    ),
    "geometry": Column("degree", "outline along the pixel edges, with holes", "geometry"),
}

INVENTORY_COLUMNS = tuple(_INVENTORY)
"""Columns of every inventory, in order; the others follow where the run has them."""

EDGES = {
    "tile_edge": Column(
        "yes or no", "the object reaches the outer edge of the tiles of the run", "bool"
    ),
    "aoi_edge": Column("yes or no", "the object reaches the edge of the area of interest", "bool"),
}
"""Columns of yes or no that follow."""

TERRAIN = {
    "slope_mean": Column(
        "°", "mean slope of the ground; this and the next five only where the run knows the terrain"
    ),
    "slope_p90": Column("°", "slope that nine tenths of its pixels do not exceed"),
    "elevation_min": Column("m", "lowest ground in the object"),
    "elevation_max": Column("m", "highest ground in the object"),
    "relief_m": Column("m", "highest minus lowest ground in the object"),
    "aspect": Column("°", "mean direction in which the ground falls, clockwise from north"),
}
"""Columns that describe the ground of an object; where the run knows the terrain."""

RADAR = {
    "vv_change_asc_db": Column(
        "dB",
        "backscatter VV after minus before from the ascending orbit, both averaged over the object "
        "in power; above 0 = brighter; this and the next two only where the run reads radar, empty "
        "where this orbit saw nothing",
    ),
    "vv_change_desc_db": Column("dB", "the same from the descending orbit"),
    "vv_seen_share": Column(
        "0 to 1", "share of its pixels that radar saw on both dates, from either orbit"
    ),
}
"""Columns that say how radar saw an object; where the run reads radar."""

SPREAD = {
    "spread_mean": Column(
        "0 to 1",
        "mean standard deviation of the probability over the views, and the models of an ensemble, "
        "of the date on which each pixel has the larger; only where the workflow asks for it",
    ),
}
"""How much an object depends on how the network was asked; with `inference: {spread: true}`."""

EVIDENCE = {
    "ndvi_before": Column(
        "-1 to 1", "mean NDVI of the pixels observed on the earlier date; empty where none was"
    ),
    "ndvi_after": Column("-1 to 1", "the same on the later date, or on the only one"),
    "ndvi_drop": Column(
        "-2 to 2",
        "mean NDVI before minus after, of the pixels observed on both; above 0 = plants were lost",
    ),
    "brightness_change": Column(
        "reflectance",
        "mean of red, green and blue, after minus before, of the pixels observed on both; each "
        "colour counts up to 0.3",
    ),
    "persistent_edge": Column(
        "0 to 1",
        "share of the object's edge, by sides of pixels, that touches a `persistent` object; empty "
        "in a run of one date",
    ),
    "snow_share": Column(
        "0 to 1",
        "share of the object and its rim of one pixel that is snow on either date, by the scene "
        "classes; empty where no class is known",
    ),
    "water_m": Column(
        "m",
        "distance to the nearest water of the tile on either date, by the scene classes; 0 = in "
        "the object, 500 = 500 or farther; empty where no class is known",
    ),
    "tile_edge_m": Column(
        "m",
        "distance to the first pixel outside of the tiles that show the object; 10 = at the edge, "
        "500 = 500 or farther",
    ),
    "aoi_edge_m": Column("m", "the same to the first pixel outside of the area of interest"),
    "acquired_before": Column(
        "time",
        "median day on which its pixels were acquired, on the earlier date",
        "time",
    ),
    "acquired_after": Column("time", "the same on the later date, or on the only one", "time"),
    **TERRAIN,
    **RADAR,
    **SPREAD,
}
"""Columns that help a person to judge an object; where a run has them."""

FLAGS = {
    "edge_of_observation": Column(
        "yes or no",
        "the object or its rim was hidden on a date, or it reaches the edge of the tiles or of the "
        "area: it may go on",
        "bool",
    ),
    "bare_before": Column(
        "yes or no",
        "hardly any plants before (`ndvi_before` below 0.3, unless set otherwise): none to lose",
        "bool",
    ),
    "river_bank": Column(
        "yes or no",
        "close to water (`water_m` at most 30, unless set otherwise): a bank or a bar of a river",
        "bool",
    ),
    "elongated": Column(
        "yes or no",
        "long and narrow like a road (`length_width_ratio` 5 or more, unless set otherwise, and "
        "`width_m` at most 50)",
        "bool",
    ),
    "gentle_slope": Column(
        "yes or no",
        "gentle throughout (`slope_p90` below 10, unless set otherwise): fields, banks and roads "
        "of a valley; only where the run knows the terrain",
        "bool",
    ),
}
"""Columns of yes or no: reasons why an object may be no landslide. Nothing is deleted for one."""

RANK = {
    "rank": Column("1, 2, ...", "the order in which to look at the objects; 1 = first", "int64"),
}

COLUMNS = _INVENTORY | EDGES | EVIDENCE | FLAGS | RANK
"""All that an inventory may hold."""

UNOBSERVED = {
    "tile": Column("text", "Sentinel-2 tile", "string"),
    "date": Column("text", "`before` or `after`", "string"),
    "acquired": Column("time", "when the scene was taken", "time"),
    "reason": Column("text", "see below; where several hold, the first counts", "string"),
    "area_m2": Column("m²", "geodesic area"),
    "geometry": Column("degree", "outline along the pixel edges", "geometry"),
}
"""Columns of the list of what was not observed."""

UNOBSERVED_BY_RADAR = {
    "radar_seen_share": Column(
        "0 to 1",
        "share of these pixels that radar saw on both dates, on ground that is steep enough; this "
        "and the next one only where the run reads radar",
    ),
    "radar_changed_share": Column(
        "0 to 1", "of those, the share whose backscatter changed by more than `radar.change_db`"
    ),
}
"""What else the list of what was not observed has where the run reads radar."""

RADAR_CELLS = {
    "tile": Column("text", "Sentinel-2 tile on whose grid the cell lies", "string"),
    "radar_density": Column(
        "0 to 1",
        "share of the pixels that count whose backscatter changed by more than `radar.change_db`, "
        "from the median of the tile",
    ),
    "n_px": Column(
        "pixels",
        "pixels that count: missed by optics on a date, seen by radar on both, and no gentler than "
        "`radar.flat_deg` where the run knows the terrain",
        "int64",
    ),
    "hidden_share": Column("0 to 1", "share of the cell that optics missed on a date"),
    "geometry": Column("degree", "square of 500 m, from the corner of the tile", "geometry"),
}
"""Columns of the cells in which radar saw change where optics was blind."""

REASONS = {
    "read_error": "a read failed and the workflow allows it, or the file holds a number that "
    "Sentinel-2 cannot hold",
    "nodata": "outside the swath, or a gap in the product",
    "cloud": "cloud, by the scene classes",
    "shadow": "shadow of a cloud",
    "snow": "snow or ice",
    "dilated": "the rim around cloud and cloud shadow",
    "other": "another masked class: saturated, dark, water",
    "not_processed": "a block that is not done yet",
    "gentle_slope": "the ground is less steep than `terrain.min_slope_deg`: nothing is run there",
    "not_needed": "seen, and not computed, as nothing is there after (`change.list: new`): in the "
    "map `quality_before` alone, as new ground would have been found",
    "no_scene": "no tile of the run lies there; `tile` is empty",
    "not_compared": "the two dates of the tile lie more than 2 pixels apart, so what was seen "
    "before was not compared",
}
"""Why a pixel was not observed; where several hold, the first counts."""


def check_inventory(inventory: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the inventory if it has every promised column, unique ids, known statuses and a CRS.

    Raises:
        ValueError: a promise is broken; this is a fault of lspipe, not of the user.
    """
    problems: list[Any] = [name for name in INVENTORY_COLUMNS if name not in inventory.columns]
    problems += [status for status in set(inventory["status"]) if status not in STATUSES]
    problems += list(inventory["id"][inventory["id"].duplicated()])
    if inventory.crs is None:
        problems.append("no CRS")
    if problems:
        raise ValueError(f"inventory breaks its schema: {problems}")
    return inventory
