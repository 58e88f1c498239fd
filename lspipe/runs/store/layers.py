"""The arrays of the stores: dtype, nodata, and attributes for readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lspipe.schema import CHANNELS, CODE_NODATA, CODE_SCALE, CUBE_NODATA, Quality, State

if TYPE_CHECKING:
    from collections.abc import Mapping

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
"""Of no date, (y, x); where a run knows the terrain."""

TERRAIN_DONE = "terrain_done"
"""Which blocks have their terrain, in the group of the evidence."""

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
