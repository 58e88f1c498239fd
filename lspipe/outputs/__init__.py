"""The socket of outputs: one module per format, which writes an inventory to a file.

The contract of a format's module:

    SUFFIX                            of the files it writes, with the dot
    write(table, path) -> None        write a GeoDataFrame of any CRS to `path`, which does not
                                      exist; overwrite no other file, keep the order of the rows

`write` below gives it a temporary name beside the target and then renames the file, so that a file
of the final name is always complete. To add a format, write such a module and list it here.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Protocol

from lspipe.spec import Items, Spec, plugin
from lspipe.spec.plugins import resolve

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd

OUTPUTS = {
    "geoparquet": "lspipe.outputs.geoparquet:write",
    "geojson": "lspipe.outputs.geojson:write",
    "gpkg": "lspipe.outputs.gpkg:write",
}
"""Formats by name."""


@dataclass(frozen=True, kw_only=True)
class OutputSpec(Spec):
    """Where the results go, and in which formats."""

    path: str | None = None
    """Run directory, relative to the workflow file; none = runs/NAME beside it."""
    write: Annotated[tuple[Annotated[str, plugin(OUTPUTS, "write")], ...], Items(unique=True)] = (
        "geoparquet",
        "gpkg",
    )
    """Formats of the inventory: geoparquet, gpkg, geojson."""


class Writer(Protocol):
    """The function that a format provides."""

    def __call__(self, table: gpd.GeoDataFrame, path: Path) -> None:
        """Write a table to a path that does not exist."""


def write(name: str, table: gpd.GeoDataFrame, path: Path) -> Path:
    """Write a table in a format; the file gets its name only when it is complete.

    Args:
        name: of `OUTPUTS`, or "package.module:write".
        table: an inventory, or another GeoDataFrame with a CRS; may be empty.
        path: of the file; replaced if it exists.

    Returns:
        `path`.

    Raises:
        UsageError: there is no such format.
        OSError: the disk is full or the folder cannot be written.
    """
    writer: Writer = resolve(name, OUTPUTS, kind="output")
    # The suffix comes last, as GDAL chooses by it; the name is unique to this attempt.
    partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        writer(table, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def suffix(name: str) -> str:
    """Return the suffix of a format's files, with the dot.

    Raises:
        UsageError: there is no such format.
    """
    module = import_module(resolve(name, OUTPUTS, kind="output").__module__)
    return str(module.SUFFIX)
