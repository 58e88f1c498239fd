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


_DIGITS = {"m²": 0, "m": 1, "1": 2, "0 to 1": 3, "-1 to 1": 3, "degree": 6}
"""Pixels are 10 m and 100 m²; probabilities are stored in steps of 1e-4; 1e-6 degrees are 0.1 m."""


STATUSES = {
    "new": "above the threshold after, with a core that was clearly below it before, away from "
    "what was there",
    "grown": "not given yet: what grew by little is `persistent`; by more, its new part is `new` "
    "beside it",
    "persistent": "there on both dates, or a change too small to count",
    "vanished": "the mirror of `new`",
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
"""Columns of every inventory, in order; evidence and flag columns follow where the run has them."""

FLAGS = {
    "tile_edge": Column(
        "yes or no", "the object reaches the outer edge of the tiles of the run", "bool"
    ),
    "aoi_edge": Column("yes or no", "the object reaches the edge of the area of interest", "bool"),
}
"""Columns of yes or no that follow."""

COLUMNS = _INVENTORY | FLAGS
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
    "no_scene": "no tile of the run lies there; `tile` is empty",
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
