"""The arrays of the stores: dtype, nodata, and attributes for readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lspipe.schema import (
    CHANNELS,
    CODE_NODATA,
    CODE_SCALE,
    CUBE_NODATA,
    DATES,
    ORBITS,
    Quality,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

DETECTIONS = "detections.zarr"
EVIDENCE = "evidence.zarr"
CHANGE = "change.zarr"
OBJECTS = "objects"
"""Folder of the objects and gaps of each tile, before tiles are joined."""

NOT_PROCESSED = 255
"""Fill value of `quality`: every bit set, as in no processed pixel."""


@dataclass(frozen=True)
class Layer:
    """One array of a store: dtype, nodata, and attributes for readers."""

    name: str
    dtype: str
    fill: int
    attributes: Mapping[str, Any]
    bands: int = 0
    """Length of an extra `band` axis after `time`; 0 = none."""


_QUALITY_FLAGS = {
    "long_name": "why a pixel was not observed",
    "flag_masks": [int(bit) for bit in Quality],
    "flag_meanings": " ".join(str(bit.name).lower() for bit in Quality),
}

DETECTION_LAYERS = (
    Layer(
        "probability",
        "uint16",
        CODE_NODATA,
        {
            "long_name": "landslide probability",
            "units": "1",
            "scale_factor": 1 / CODE_SCALE,
            "add_offset": 0.0,
            "_FillValue": CODE_NODATA,
            "valid_range": [0, CODE_SCALE],
        },
    ),
    Layer("quality", "uint8", NOT_PROCESSED, _QUALITY_FLAGS),
)

EVIDENCE_LAYERS = (
    Layer(
        "true_colour",
        "uint8",
        0,
        {"long_name": "B04, B03, B02; 1..255 is reflectance 0..0.3, 0 = no data", "_FillValue": 0},
        bands=3,
    ),
    Layer(
        "ndvi",
        "int16",
        CUBE_NODATA,
        {"long_name": "NDVI", "units": "1", "scale_factor": 1e-4, "_FillValue": CUBE_NODATA},
    ),
    Layer("scl", "uint8", 0, {"long_name": "Sen2Cor scene class", "_FillValue": 0}),
    Layer(
        "acquired",
        "uint16",
        0,
        {"long_name": "acquisition day, days since 1970-01-01 UTC", "_FillValue": 0},
    ),
)

DOUBTED = Layer(
    "doubted",
    "uint16",
    CODE_NODATA,
    {
        "long_name": "landslide probability where only some of the cloud masks hide the ground",
        "units": "1",
        "scale_factor": 1 / CODE_SCALE,
        "add_offset": 0.0,
        "_FillValue": CODE_NODATA,
    },
)
"""A layer of evidence that only runs with several masks have: candidates are made of it."""

SPREAD = Layer(
    "spread",
    "uint16",
    CODE_NODATA,
    {
        "long_name": "standard deviation of the landslide probability over views and models",
        "units": "1",
        "scale_factor": 1 / CODE_SCALE,
        "add_offset": 0.0,
        "_FillValue": CODE_NODATA,
    },
)
"""A layer of evidence that only runs with `inference: {spread: true}` have."""


def layers_asked(*, has_doubted: bool, has_spread: bool) -> tuple[Layer, ...]:
    """Return the layers of evidence that a run has besides those of every run."""
    asked = ((DOUBTED, has_doubted), (SPREAD, has_spread))
    return tuple(layer for layer, is_asked in asked if is_asked)


@dataclass(frozen=True)
class Beside:
    """Layers of no date, (y, x), which a run knows beside its scenes and keeps with its evidence.

    They are written block by block when a tile is ended, and not with its blocks.
    """

    layers: tuple[Layer, ...]
    done: str
    """Name of the array of the blocks that have them, in the group of the evidence."""
    told: str
    """What they are, in words."""
    without: tuple[str, ...] = ()
    """Names of such layers that this tile has not, and may have had."""


TERRAIN_LAYERS = tuple(
    Layer(
        name,
        "int16",
        CUBE_NODATA,
        {
            "long_name": text,
            "units": CHANNELS[name].unit,
            "scale_factor": CHANNELS[name].step,
            "_FillValue": CUBE_NODATA,
        },
    )
    for name, text in (
        ("elevation", "height of the ground"),
        ("slope", "slope of the ground, Horn 1981"),
    )
)
"""Where a run knows the terrain."""

TERRAIN = Beside(TERRAIN_LAYERS, "terrain_done", "terrain")


def vv(date: str, orbit: str) -> str:
    """Return the name of a layer of backscatter, of a date and a short name of an orbit."""
    return f"vv_{date}_{orbit}"


RADAR_LAYERS = tuple(
    Layer(
        vv(date, short),
        "int16",
        CUBE_NODATA,
        {
            "long_name": f"backscatter VV of the date {date}, {orbit} orbit",
            "units": CHANNELS["VV"].unit,
            "scale_factor": CHANNELS["VV"].step,
            "_FillValue": CUBE_NODATA,
        },
    )
    for orbit, short in ORBITS.items()
    for date in DATES
)
"""Where a run reads radar; of each tile those of the orbits from which it was seen."""


def radar_layers(orbits: Collection[str]) -> Beside:
    """Return the layers of backscatter from some orbits, by their short names."""
    layers = tuple(one for one in RADAR_LAYERS if one.name.rpartition("_")[2] in orbits)
    without = tuple(one.name for one in RADAR_LAYERS if one not in layers)
    return Beside(layers, "radar_done", "backscatter", without)


CELL_LAYERS = tuple(
    Layer(
        name,
        "uint16",
        CODE_NODATA,
        {
            "long_name": text,
            "units": "1",
            "scale_factor": 1 / CODE_SCALE,
            "_FillValue": CODE_NODATA,
        },
    )
    for name, text in (
        ("radar_density", "share of the hidden pixels of a cell whose backscatter changed"),
        ("hidden_share", "share of a cell that optics missed on a date"),
    )
)
"""(cell_y, cell_x), cells of 500 m from the corner of the tile; where a run reads radar."""

CHANGE_LAYERS = (
    Layer(
        "state",
        "uint8",
        int(State.UNDETERMINED),
        {
            "long_name": "change between the two dates",
            "_FillValue": int(State.UNDETERMINED),
            "flag_values": [int(state) for state in State],
            "flag_meanings": " ".join(state.name.lower() for state in State),
        },
    ),
    Layer(
        "gain",
        "int16",
        CUBE_NODATA,
        {
            "long_name": "probability after minus before",
            "units": "1",
            "scale_factor": 1 / CODE_SCALE,
            "_FillValue": CUBE_NODATA,
        },
    ),
)
