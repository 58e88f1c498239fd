"""The list as GeoJSON (RFC 7946): WGS 84 lon/lat, at most 7 decimals, right-hand rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyogrio

from lspipe.outputs.credit import notice
from lspipe.outputs.for_people import for_people
from lspipe.search.degrees import in_degrees

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.outputs import Run

FILE = "inventory.geojson"


def write(run: Run, path: Path) -> None:
    """Write the list; see the contract in `lspipe.outputs`."""
    # 7 decimals are 1 cm: the pixels are 10 m.
    pyogrio.write_dataframe(
        for_people(in_degrees(run.inventory)),
        path,
        driver="GeoJSON",
        geometry_type="Unknown",
        layer_options={
            "RFC7946": "YES",
            "COORDINATE_PRECISION": "7",
            "WRITE_NAME": "NO",
            "DESCRIPTION": notice(run),
        },
    )
