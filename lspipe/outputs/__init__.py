"""The socket of outputs: one module per format, which writes a file of a run, or a folder.

The contract of a format's module:

    FILE                      its name in the run directory: of a file, such as "list.csv", or,
                              without a suffix, of a folder
    write(run, path) -> None  write what an open `Run` has to `path`, which does not exist

A run has its lists, its lazy maps by tile, its workflow, its model and its record: what a format
needs beyond that does not belong into one. `write` below gives it a temporary name beside the
target and renames what it wrote, so that what has its final name is always complete. A format that
reads what others wrote finds it in `remote.beside(path)`: of a run in an object store, `path` is in
a temporary folder. To add a format, write such a module and list it here.
"""

from __future__ import annotations

import shutil
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

from lspipe.errors import UsageError
from lspipe.machine.copies import stored
from lspipe.machine.remote import is_remote
from lspipe.spec import Items, Spec, plugin
from lspipe.spec.plugins import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import geopandas as gpd
    import xarray as xr

    from lspipe.machine.remote import RemotePath
    from lspipe.schema import Part
    from lspipe.schema.sampled import Sample

OUTPUTS = {
    "geoparquet": "lspipe.outputs.geoparquet:write",
    "geojson": "lspipe.outputs.geojson:write",
    "gpkg": "lspipe.outputs.gpkg:write",
    "kml": "lspipe.outputs.kml:write",
    "shapefile": "lspipe.outputs.shapefile:write",
    "cog": "lspipe.outputs.layers:write",
    "qgis": "lspipe.outputs.qgis:write",
    "stac": "lspipe.outputs.stac:write",
    "coolr": "lspipe.outputs.coolr:write",
    "pictures": "lspipe.outputs.pictures:write",
    "report": "lspipe.outputs.report:write",
    "sheet": "lspipe.outputs.sheet:write",
}
"""Formats by name, in the order in which they are written: the project opens the others, and the
report finds `pictures`."""


@dataclass(frozen=True, kw_only=True)
class OutputSpec(Spec):
    """Where the results go, and in which formats."""

    path: str | None = None
    """Run directory, relative to the workflow file; none = runs/NAME beside it. Or an address in an
    object store: s3://bucket/folder, gs:// or az://."""
    write: Annotated[tuple[Annotated[str, plugin(OUTPUTS, "write")], ...], Items(unique=True)] = (
        "geoparquet",
        "gpkg",
        "cog",
        "qgis",
        "report",
    )
    """Formats: geoparquet, gpkg, geojson, kml, shapefile, coolr of the list; cog = maps and
    pictures in `layers`; qgis = a project, and stac = a collection, of what the others wrote;
    report = a page for the browser; pictures = for that page, of the landslides after the first
    600; sheet = the first landslides on one page, PDF."""


class Run(Protocol):
    """What an output sees of a run; `lspipe.open_run` returns one."""

    @property
    def path(self) -> Path:
        """The run directory."""

    @property
    def name(self) -> str:
        """Name of the workflow."""

    @property
    def tiles(self) -> tuple[str, ...]:
        """Names of its tiles, sorted."""

    @property
    def is_two_date(self) -> bool:
        """Whether two dates are compared."""

    @property
    def workflow(self) -> Mapping[str, Any]:
        """The workflow with all its defaults, as plain values."""

    @property
    def model(self) -> Mapping[str, Any]:
        """Id and hash of the model, and what it was computed with."""

    @property
    def model_title(self) -> str:
        """Id of the model, with the version where it has one."""

    @property
    def record(self) -> Mapping[str, Any]:
        """What `run.json` holds."""

    @property
    def inventory(self) -> gpd.GeoDataFrame:
        """The list, EPSG:4326."""

    @property
    def unobserved(self) -> gpd.GeoDataFrame:
        """What was not observed, EPSG:4326."""

    @property
    def radar_cells(self) -> gpd.GeoDataFrame | None:
        """Cells in which radar saw change where optics was blind; None = it reads no radar."""

    @property
    def sample(self) -> Sample | None:
        """A random part of the list, and what a person decided about it; None = none was drawn."""

    def __getitem__(self, tile: str) -> xr.Dataset:
        """Open the maps of a tile, lazily."""

    def seen(self, tile: str) -> Part | None:
        """Return the smallest part of a tile that holds all its finished blocks."""


class Writer(Protocol):
    """The function that a format provides."""

    def __call__(self, run: Run, path: Path) -> None:
        """Write a file, or a folder of files, at a path that does not exist."""


def write(name: str, run: Run, path: Path) -> Path:
    """Write an output of a run; it gets its name only when it is complete.

    Args:
        name: of `OUTPUTS`, or "package.module:write".
        run: an open run.
        path: of the file, which is replaced if it exists, or of a folder. In a folder that exists,
            files of the same names are replaced, and others stay.

    Returns:
        `path`.

    Raises:
        UsageError: there is no such format, or one of the user's own fails.
        OSError: the disk is full or the folder cannot be written.
    """
    with written_whole(name, run, path):
        return path


@contextmanager
def written_whole(name: str, run: Run, path: Path) -> Iterator[Path]:
    """Write an output to a temporary path and yield it; then give it its name, as `write` does."""
    with whole(path) as partial:
        _write(name, run, partial)
        yield partial


def _write(name: str, run: Run, path: Path) -> None:
    writer: Writer = resolve(name, OUTPUTS, kind="output")
    if name in OUTPUTS:
        writer(run, path)
        return
    # Code that is not lspipe's: named where it fails.
    try:
        writer(run, path)
    except OSError:
        raise
    except Exception as error:
        raise UsageError(
            f"output.write: {name} failed: {type(error).__name__}: {error}; mend it, or leave it "
            "out, and give the same command again: what was computed is kept"
        ) from error
    if not path.exists():
        raise UsageError(f"output.write: {name} wrote nothing at the path that it was given")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside a target; what was written there is renamed at the end.

    The target of a file is replaced. Files of a folder are moved into the target one by one. For a
    target in an object store it is a path of this machine, whose files are stored at the end.
    """
    if is_remote(path):
        with stored(cast("RemotePath", path)) as partial:
            yield partial
        return
    # The suffix comes last, as GDAL chooses by it; the name is unique to this attempt.
    partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        yield partial
        if partial.is_dir() and path.is_dir():
            _move_into(partial, path)
        elif partial.exists():
            partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


def _move_into(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        moved = target / path.relative_to(source)
        if path.is_dir():
            moved.mkdir(exist_ok=True)
        else:
            path.replace(moved)


def file_of(name: str) -> str:
    """Return the name of a format's file, or folder, in a run directory.

    Raises:
        UsageError: there is no such format.
    """
    module = import_module(resolve(name, OUTPUTS, kind="output").__module__)
    return str(module.FILE)
