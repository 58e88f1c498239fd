"""Which columns of yes or no a list has; the section `flags:` of a workflow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from lspipe.schema.columns import COLUMNS
from lspipe.spec import Bounds, Named, Spec

LAYER_NAME = Named(
    other="small letters, digits and underscores, the first a letter", pattern=r"^[a-z][a-z0-9_]*$"
)

SHARE = "_share"
"""End of the name of the column that says how much of an object lies in a layer."""


@dataclass(frozen=True, kw_only=True)
class FlagLayer(Spec):
    """A file of roads, fields, lakes or the like; adds the columns NAME_share and NAME."""

    name: Annotated[str, LAYER_NAME]
    """Name of the flag: small letters, digits, underscore."""
    path: str
    """Vectors in any format GDAL reads, or a raster, whose pixels count that are neither zero nor
    no data; with a CRS, relative to the workflow file."""
    layer: str | None = None
    """Its name in a file with several."""
    buffer_m: Annotated[float, Bounds(ge=0, le=10_000, noun="metres")] = 0.0
    """What lies this near counts too, metres; lines and points need it."""
    least_share: Annotated[float, Bounds(gt=0, le=1, noun="a share")] = 0.5
    """The flag is set where at least this share of the object's area lies in the layer."""


@dataclass(frozen=True, kw_only=True)
class FlagsSpec(Spec):
    """Reasons why an object may be no landslide, as columns of yes or no; nothing is deleted."""

    edge_of_observation: bool = True
    """Flag what touches what was not observed, or the edge of the tiles or of the area."""
    bare_before: Annotated[float, Bounds(ge=-1, le=1, noun="an NDVI")] | None = 0.3
    """Flag what had a lower NDVI than this before; null = no such column."""
    river_bank: Annotated[float, Bounds(ge=0, lt=500, noun="metres")] | None = 30.0
    """Flag what is at most this far from water; null = no such column."""
    elongated: Annotated[float, Bounds(ge=1, noun="length divided by width")] | None = 5.0
    """Flag what is at least this many times as long as wide, and at most 50 m wide; null = no such
    column."""
    gentle_slope: Annotated[float, Bounds(gt=0, lt=90, noun="degrees")] | None = 10.0
    """Flag what is less steep than this on nine tenths of its pixels; only where the run knows the
    terrain; null = no such column."""
    layers: tuple[FlagLayer, ...] = ()
    """Flag what lies in these."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [name for layer in self.layers for name in (layer.name, layer.name + SHARE)]
        taken = [name for name, count in Counter(names).items() if count > 1 or name in COLUMNS]
        if taken:
            raise ValueError(
                f"layers: found the name {taken[0]!r}, of which the list has a column already; "
                "expected another"
            )
