"""Where heights come from, and what is done with them: the section `terrain:` of a workflow."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from lspipe.spec import Bounds, Named, Spec

COLLECTIONS = ("cop-dem-glo-30", "cop-dem-glo-90")
"""Elevation models of the known catalogues; an editor completes them."""

Dem = Annotated[str, Named(COLLECTIONS, "another collection, or the path of a raster")]

_COLLECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, kw_only=True)
class TerrainSpec(Spec):
    """Heights of the ground: channels of models, columns of the list, a mask of gentle slopes."""

    dem: Dem | None = None
    """`cop-dem-glo-30` or another collection of the catalogue of `search:`, or a raster of heights
    that GDAL reads (a name with a dot or a slash), relative to the workflow file; null = the run
    knows no terrain."""
    unit: Literal["auto", "m", "ft", "us-ft"] = "auto"
    """Unit of the heights; `auto` = as the file says, else metres."""
    datum: Literal["auto", "geoid", "ellipsoid"] = "auto"
    """What the heights are counted from; `auto` = as the collection or the CRS of the file says."""
    shift_to: Literal["auto", "none", "geoid", "ellipsoid"] = "auto"
    """What the channel `elevation` is to be counted from; `auto` = as its recipe was trained,
    `none` = as the heights are."""
    geoid: str | None = None
    """Raster of the height of the geoid above the ellipsoid, metres, relative to the workflow
    file; for `shift_to`."""
    min_slope_deg: Annotated[float, Bounds(gt=0, lt=90, noun="degrees")] | None = None
    """Nothing is run where a hillside of some 100 m is known to be less steep than this; null =
    everywhere."""

    def __post_init__(self) -> None:
        """Refuse keys that say something about heights where there are none."""
        super().__post_init__()
        for field in fields(self):
            if self.dem is None and getattr(self, field.name) != field.default:
                raise ValueError(f"found {field.name} without dem, expected both")

    @property
    def is_collection(self) -> bool:
        """Whether `dem` names a collection of the catalogue, and no file."""
        return self.dem is not None and _COLLECTION.fullmatch(self.dem) is not None
