"""Create the stores of a run, filled with fill values, before anything is computed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
import zarr.storage

from lspipe.errors import StoreError
from lspipe.machine.ahead import in_order
from lspipe.machine.copies import remove_tree
from lspipe.machine.remote import is_remote
from lspipe.runs.store.groups import open_group
from lspipe.runs.store.layers import (
    CELL_LAYERS,
    CHANGE,
    CHANGE_LAYERS,
    DETECTION_LAYERS,
    DETECTIONS,
    EVIDENCE,
    EVIDENCE_LAYERS,
    Layer,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.runs.store.layers import Beside

COMPRESSORS = "auto"
"""The default of Zarr, zstd. More programs read gzip, but it writes the time of day into every
chunk, so the same run would not end in the same bytes."""

GROUPS_AT_ONCE = 8
"""Groups that are written at once: of each small file a shared disk or an object store takes
milliseconds to say that it has it."""


@dataclass(frozen=True)
class Grid:
    """The grid, time steps and chunks of one tile's group."""

    tile: str
    geobox: GeoBox
    times: tuple[int, ...]
    """Time of each step, seconds since 1970-01-01 UTC."""
    roles: tuple[str, ...]
    """`before` or `after` of each step."""
    chunk: int
    """Edge of a Zarr chunk, pixels."""
    block: int
    """Edge of a block, pixels."""
    blocks: tuple[int, int]
    """Rows and columns of blocks."""


def create(
    run: Path,
    grids: Sequence[Grid],
    *,
    fingerprint: str,
    finished: Collection[str] = (),
    more: Sequence[Layer] = (),
) -> None:
    """Create detections and evidence, filled with fill values, before anything is computed.

    Safe to repeat: existing groups are not changed, so that resuming after a crash in this function
    completes it. Temporary files of interrupted writes are removed; the caller holds the lock.

    Args:
        run: the run directory.
        grids: of all tiles.
        fingerprint: of the detection.
        finished: tiles of which nothing is left to compute: their files, thousands each, are not
            looked through.
        more: layers of evidence that not every run has.

    Raises:
        StoreError: the stores are of another fingerprint.
    """
    remove_partial(run, finished)
    for name, layers in ((DETECTIONS, DETECTION_LAYERS), (EVIDENCE, (*EVIDENCE_LAYERS, *more))):
        root = open_group(run / name, "a")
        found = str(root.attrs.get("lspipe:fingerprint", fingerprint))
        if found != fingerprint:
            raise StoreError(
                f"{run / name}: made by another workflow (fingerprint {found[:8]}, this is "
                f"{fingerprint[:8]}); choose another output, or start over with fresh=True"
            )
        root.attrs["lspipe:fingerprint"] = fingerprint
        _create_groups(run / name, grids, layers, with_done=name == DETECTIONS)


def remove_partial(run: Path, finished: Collection[str]) -> None:
    """Remove the temporary files of interrupted writes; the caller holds the lock.

    Args:
        run: the run directory; no block of it is being written.
        finished: tiles that are not looked through.
    """
    for store in (run / DETECTIONS, run / EVIDENCE):
        # An object store has none, and listing millions of chunks takes long.
        for place in () if is_remote(store) or not store.exists() else store.iterdir():
            if place.suffix == ".partial":
                place.unlink()
            elif place.is_dir() and place.name not in finished:
                for partial in place.rglob("*.partial"):
                    partial.unlink()


def _is_complete(group: Path) -> bool:
    try:
        return bool(read_metadata(group)["attributes"].get("lspipe:complete"))
    except FileNotFoundError:
        return False


def read_metadata(place: Path) -> dict[str, Any]:
    """Read what `zarr.json` says of an array or a group.

    Not by Zarr, which takes milliseconds to open one: a run has tens of thousands.

    Raises:
        FileNotFoundError: there is none.
    """
    return dict(json.loads((place / "zarr.json").read_bytes()))


def create_change(run: Path, grid: Grid) -> None:
    """Create the change group of one tile, and replace an earlier one."""
    open_group(run / CHANGE, "a")
    _write_group(
        run / CHANGE / grid.tile, _group(grid, CHANGE_LAYERS, with_done=False, with_time=False)
    )


def create_beside(run: Path, grid: Grid, beside: Beside, key: str) -> None:
    """Add layers of no date to the evidence of one tile, and replace those of another key.

    Args:
        run: the run directory.
        grid: of the tile.
        beside: the layers.
        key: what they are made of, in a few letters.
    """
    group = open_group(run / EVIDENCE / grid.tile, "r+")
    for name in beside.without:
        if name in group:
            del group[name]
    for layer in beside.layers:
        group.create_array(
            layer.name,
            shape=tuple(grid.geobox.shape),
            chunks=(grid.chunk, grid.chunk),
            dtype=layer.dtype,
            fill_value=layer.fill,
            compressors=COMPRESSORS,
            dimension_names=("y", "x"),
            attributes={**layer.attributes, "grid_mapping": "spatial_ref"},
            overwrite=True,
        )
    # Last: without it, or with another key, nothing of the others counts.
    group.create_array(
        beside.done,
        shape=grid.blocks,
        chunks=(1, 1),
        dtype="uint8",
        fill_value=0,
        dimension_names=("block_y", "block_x"),
        attributes={"key": key, "long_name": f"1 = {beside.told} of the block written completely"},
        overwrite=True,
    )


def write_cells(
    run: Path, grid: Grid, cell_px: int, layers: Mapping[str, NDArray[np.uint16]]
) -> None:
    """Write layers of cells of one tile into its evidence, and replace earlier ones.

    Args:
        run: the run directory.
        grid: of the tile.
        cell_px: edge of a cell, pixels.
        layers: codes (cell_y, cell_x) by the names of `CELL_LAYERS`.
    """
    group = open_group(run / EVIDENCE / grid.tile, "r+")
    for layer in CELL_LAYERS:
        values = layers[layer.name]
        group.create_array(
            layer.name,
            shape=values.shape,
            chunks=values.shape,
            dtype=layer.dtype,
            fill_value=layer.fill,
            compressors=COMPRESSORS,
            dimension_names=("cell_y", "cell_x"),
            attributes={**layer.attributes, "cell_px": cell_px},
            overwrite=True,
        )[...] = values


# --- one group ------------------------------------------------------------------------------------

# Zarr makes an array in milliseconds, and a run of a thousand tiles has 17 000. Nearly all of them
# are the same but for their attributes, so that Zarr is asked for each kind once.


def _create_groups(
    place: Path, grids: Sequence[Grid], layers: Sequence[Layer], *, with_done: bool
) -> None:
    """Create the groups of tiles that are not there yet, or not completely."""

    def create_one(grid: Grid) -> None:
        if not _is_complete(place / grid.tile):
            group = _group(grid, layers, with_done=with_done, with_time=True)
            _write_group(place / grid.tile, group)

    for _ in in_order(create_one, grids, at_once=GROUPS_AT_ONCE):
        pass


def _write_group(place: Path, documents: Mapping[str, bytes]) -> None:
    """Write a group, and replace an earlier one; its own metadata last and whole."""
    if place.exists():
        remove_tree(place)
    *arrays, own = documents.items()
    for key, content in arrays:
        path = place / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    name, content = own
    partial = place / f"{name}.partial"
    partial.write_bytes(content)
    partial.replace(place / name)


def _group(
    grid: Grid, layers: Sequence[Layer], *, with_done: bool, with_time: bool
) -> dict[str, bytes]:
    """Return all documents of a group by their keys, its own metadata last."""
    rows, columns = grid.geobox.shape
    steps = len(grid.times)
    documents = _coordinates(grid, with_time=with_time)
    for layer in layers:
        extra = (layer.bands,) if layer.bands else ()
        time, name = ((steps,), ("time",)) if with_time else ((), ())
        documents |= _array(
            layer.name,
            shape=(*time, *extra, rows, columns),
            chunks=(*((1,) if with_time else ()), *extra, grid.chunk, grid.chunk),
            dtype=layer.dtype,
            fill_value=layer.fill,
            compressors=COMPRESSORS,
            dimension_names=(*name, *(("band",) if extra else ()), "y", "x"),
            attributes={**layer.attributes, "grid_mapping": "spatial_ref"},
        )
    if with_done:
        documents |= _array(
            "done",
            shape=(steps, *grid.blocks),
            chunks=(1, 1, 1),
            dtype="uint8",
            fill_value=0,
            dimension_names=("time", "block_y", "block_x"),
            attributes={"block": grid.block, "long_name": "1 = block written completely"},
        )
    attributes = {**_geozarr(grid.geobox), "lspipe:complete": True}
    own = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
    return documents | {"zarr.json": _as_zarr_writes(own)}


def _geozarr(geobox: GeoBox) -> dict[str, Any]:
    """Return attributes of the GeoZarr conventions proj and spatial, beside the CF grid mapping."""
    a, b, c, d, e, f = tuple(geobox.transform)[:6]
    return {
        "Conventions": "CF-1.10",
        "proj:code": f"EPSG:{geobox.crs.epsg}",
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": [a, b, c, d, e, f],
        "spatial:shape": list(geobox.shape),
    }


def _coordinates(grid: Grid, *, with_time: bool) -> dict[str, bytes]:
    """Return y, x (pixel centres), time and the grid mapping that rioxarray and GDAL read."""
    transform = grid.geobox.transform
    rows, columns = grid.geobox.shape
    axis = {"units": "m", "standard_name": "projection_y_coordinate", "axis": "Y"}
    documents = _axis("y", transform.f + transform.e * (np.arange(rows) + 0.5), axis)
    axis = {"units": "m", "standard_name": "projection_x_coordinate", "axis": "X"}
    documents |= _axis("x", transform.c + transform.a * (np.arange(columns) + 0.5), axis)
    if with_time:
        axis = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}
        documents |= _axis("time", np.asarray(grid.times, dtype=np.int64), axis)
    a, b, c, d, e, f = tuple(transform)[:6]
    wkt = grid.geobox.crs.to_wkt()
    return documents | _array(
        "spatial_ref",
        shape=(),
        chunks=(),
        dtype="int32",
        compressors=COMPRESSORS,
        dimension_names=(),
        values=np.int32(grid.geobox.crs.epsg or 0).tobytes(),
        attributes={
            "crs_wkt": wkt,
            "spatial_ref": wkt,
            "GeoTransform": f"{c} {a} {b} {f} {d} {e}",
        },
    )


def _axis(name: str, values: NDArray[Any], attributes: dict[str, str]) -> dict[str, bytes]:
    return _array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=str(values.dtype),
        compressors=COMPRESSORS,
        dimension_names=(name,),
        values=values.tobytes(),
        attributes=attributes,
    )


def _array(name: str, *, attributes: Mapping[str, Any], **kind: Any) -> dict[str, bytes]:
    """Return the documents of an array by their keys in its group."""
    made = _made(**kind)
    metadata = json.loads(made["zarr.json"]) | {"attributes": dict(attributes)}
    return {
        f"{name}/{key}": _as_zarr_writes(metadata) if key == "zarr.json" else content
        for key, content in made.items()
    }


@lru_cache(maxsize=1000)
def _made(*, dtype: str, values: bytes | None = None, **kind: Any) -> Mapping[str, bytes]:
    """Have Zarr make an array without attributes; return its documents by their keys."""
    documents: dict[str, Any] = {}
    array = zarr.create_array(zarr.storage.MemoryStore(documents), dtype=dtype, **kind)
    if values is not None:
        array[...] = np.frombuffer(values, dtype).reshape(array.shape)
    return {key: content.to_bytes() for key, content in documents.items()}


def _as_zarr_writes(metadata: Mapping[str, Any]) -> bytes:
    return json.dumps(metadata, indent=2).encode()
