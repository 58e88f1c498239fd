"""The socket of outputs: one file per format, each turning an inventory into a file.

The contract of a format's module:

    SUFFIX                            of the files it writes, with the dot
    write(table, path) -> None        write a GeoDataFrame of any CRS to `path`, which does not
                                      exist; overwrite nothing else, keep the order of the rows

`write` below calls it with a temporary name beside the target and renames, so that a file of the
final name is always whole. To add a format, write such a module and list it here.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Protocol

from lspipe.plugins import resolve
from lspipe.spec import Items, Spec, plugin

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
    """What a format provides."""

    def __call__(self, table: gpd.GeoDataFrame, path: Path) -> None:
        """Write a table to a path that does not exist."""


def write(name: str, table: gpd.GeoDataFrame, path: Path) -> Path:
    """Write a table in a format; the file appears under its name only when it is whole.

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
    # GDAL chooses by suffix, so that comes last; the name is of this attempt only.
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
