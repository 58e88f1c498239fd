"""The run directory: Zarr templates, whole-block writes, what is done, fingerprints, the lock.

    run.json         what was asked, decided and counted; rewritten atomically
    items.json       the frozen STAC items
    detections.zarr  group per tile: probability, quality, done
    evidence.zarr    group per tile: what a person wants to see beside a detection
    change.zarr      group per tile: state, gain (two-date runs)

A block is a whole number of Zarr chunks, written by one task, whose very last write is its cell of
`done`. A killed run therefore never holds a block that looks done and is not.

Covers Zarr v3 without sharding: several processes that write into one shard lose data, and GDAL
reads the sharding codec only from 3.13.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from lspipe.errors import StoreError
from lspipe.schema import CODE_NODATA, CODE_SCALE, CUBE_NODATA, Quality, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

DETECTIONS = "detections.zarr"
EVIDENCE = "evidence.zarr"
CHANGE = "change.zarr"

COMPRESSORS = "auto"
"""Zarr's own default, zstd: gzip would be read by more programs, but writes the time of day into
every chunk, and the same run would not end in the same bytes."""

NOT_PROCESSED = 255
"""Fill value of `quality`: every bit set, which no observed or masked pixel ever has."""

Slices = tuple[slice, slice]


@dataclass(frozen=True)
class Layer:
    """One array of a store: its dtype, its nodata, and what readers need to know."""

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


@dataclass(frozen=True)
class Grid:
    """The pixels of one tile's group and how they are cut."""

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


# --- the template ------------------------------------------------------------------------------


def create(run: Path, grids: Sequence[Grid], *, fingerprint: str) -> None:
    """Lay out detections and evidence, all fill values, before anything is computed.

    Safe to repeat: a group that exists is left alone, so that resuming after a crash in the middle
    of this function completes it. Temporary files of writes that were cut off are removed; the
    caller holds the lock.
    """
    for name, layers in ((DETECTIONS, DETECTION_LAYERS), (EVIDENCE, EVIDENCE_LAYERS)):
        for partial in (run / name).rglob("*.partial"):
            partial.unlink()
        root = zarr.open_group(run / name, mode="a", zarr_format=3)
        if root.attrs.get("lspipe:fingerprint") != fingerprint:
            root.attrs["lspipe:fingerprint"] = fingerprint
        for grid in grids:
            if root.get(grid.tile) is None or not root[grid.tile].attrs.get("lspipe:complete"):
                _create_group(root, grid, layers, with_done=name == DETECTIONS)


def create_change(run: Path, grid: Grid) -> None:
    """Lay out the change group of one tile, replacing an earlier one."""
    root = zarr.open_group(run / CHANGE, mode="a", zarr_format=3)
    _create_group(root, grid, CHANGE_LAYERS, with_done=False, with_time=False)


def _create_group(
    root: zarr.Group,
    grid: Grid,
    layers: Sequence[Layer],
    *,
    with_done: bool,
    with_time: bool = True,
) -> None:
    group = root.create_group(grid.tile, overwrite=True, attributes=_geozarr(grid.geobox))
    rows, columns = grid.geobox.shape
    steps = len(grid.times)
    _write_coordinates(group, grid, with_time=with_time)
    for layer in layers:
        extra = (layer.bands,) if layer.bands else ()
        time, name = ((steps,), ("time",)) if with_time else ((), ())
        group.create_array(
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
        group.create_array(
            "done",
            shape=(steps, *grid.blocks),
            chunks=(1, 1, 1),
            dtype="uint8",
            fill_value=0,
            dimension_names=("time", "block_y", "block_x"),
            attributes={"block": grid.block, "long_name": "1 = block written completely"},
        )
    group.attrs["lspipe:roles"] = list(grid.roles)
    group.attrs["lspipe:complete"] = True


def _geozarr(geobox: GeoBox) -> dict[str, Any]:
    """Attributes of the GeoZarr conventions proj and spatial, beside the CF grid mapping."""
    a, b, c, d, e, f = tuple(geobox.transform)[:6]
    return {
        "Conventions": "CF-1.10",
        "proj:code": f"EPSG:{geobox.crs.epsg}",
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": [a, b, c, d, e, f],
        "spatial:shape": list(geobox.shape),
    }


def _write_coordinates(group: zarr.Group, grid: Grid, *, with_time: bool) -> None:
    """Write y, x (pixel centres), time and the grid mapping that rioxarray and GDAL read."""
    transform = grid.geobox.transform
    rows, columns = grid.geobox.shape
    axes = {
        "y": (transform.f + transform.e * (np.arange(rows) + 0.5), "projection_y_coordinate"),
        "x": (transform.c + transform.a * (np.arange(columns) + 0.5), "projection_x_coordinate"),
    }
    for name, (values, standard_name) in axes.items():
        array = group.create_array(
            name,
            shape=values.shape,
            chunks=values.shape,
            dtype="float64",
            compressors=COMPRESSORS,
            dimension_names=(name,),
            attributes={"standard_name": standard_name, "units": "m", "axis": name.upper()},
        )
        array[:] = values
    if with_time:
        times = np.asarray(grid.times, dtype=np.int64)
        array = group.create_array(
            "time",
            shape=times.shape,
            chunks=times.shape,
            dtype="int64",
            compressors=COMPRESSORS,
            dimension_names=("time",),
            attributes={"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"},
        )
        array[:] = times
    a, b, c, d, e, f = tuple(transform)[:6]
    reference = group.create_array(
        "spatial_ref",
        shape=(),
        chunks=(),
        dtype="int32",
        compressors=COMPRESSORS,
        dimension_names=(),
        attributes={
            "crs_wkt": grid.geobox.crs.to_wkt(),
            "spatial_ref": grid.geobox.crs.to_wkt(),
            "GeoTransform": f"{c} {a} {b} {f} {d} {e}",
        },
    )
    reference[...] = grid.geobox.crs.epsg or 0


# --- blocks -------------------------------------------------------------------------------------


def write_block(
    run: Path,
    tile: str,
    step: int,
    index: tuple[int, int],
    core: Slices,
    *,
    detections: Mapping[str, NDArray[Any]],
    evidence: Mapping[str, NDArray[Any]],
) -> None:
    """Write one block of one step; its cell of `done` is the last write of all.

    Args:
        run: the run directory.
        tile: name of the tile's group.
        step: index on the time axis.
        index: row and column of the block.
        core: the block's pixels in the tile.
        detections: arrays (y, x) of the core, by layer name.
        evidence: arrays (y, x) or (band, y, x) of the core, by layer name.
    """
    for store, arrays in ((EVIDENCE, evidence), (DETECTIONS, detections)):
        group = zarr.open_group(run / store / tile, mode="r+", zarr_format=3)
        for name, values in arrays.items():
            # An all-fill chunk is written too: a missing file never stands for a result.
            target = group[name].with_config({"write_empty_chunks": True})
            target[(step, ..., *core)] = values
    group["done"][(step, *index)] = 1


def done(run: Path, tile: str) -> NDArray[np.bool_]:
    """Which blocks of a tile are done: bool (time, block_y, block_x)."""
    group = zarr.open_group(run / DETECTIONS / tile, mode="r", zarr_format=3)
    return np.asarray(group["done"][...]).astype(bool)


def block_size(run: Path, tile: str) -> int | None:
    """Edge of a block as the store was laid out, pixels; None if the tile is not in the store."""
    try:
        group = zarr.open_group(run / DETECTIONS / tile, mode="r", zarr_format=3)
        return int(group["done"].attrs["block"])
    except (FileNotFoundError, KeyError):
        return None


def read(run: Path, store: str, tile: str, name: str) -> NDArray[Any]:
    """Read one whole array of a tile's group, as stored."""
    return np.asarray(zarr.open_group(run / store / tile, mode="r", zarr_format=3)[name][...])


def write_change(run: Path, tile: str, state: NDArray[np.uint8], gain: NDArray[np.int16]) -> None:
    """Write the change arrays (y, x) of one tile."""
    group = zarr.open_group(run / CHANGE / tile, mode="r+", zarr_format=3)
    group["state"][...] = state
    group["gain"][...] = gain


# --- run.json, items.json -----------------------------------------------------------------------


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False, default=str)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read one of the run's JSON files.

    Raises:
        StoreError: the file is absent or is not JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(f"{path}: not found; is {path.parent} a run directory?") from error
    except ValueError as error:
        raise StoreError(f"{path}: not JSON ({error}); run with --fresh to start over") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path}: found a {type(content).__name__}, expected a JSON object")
    return content


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """List where two JSON values differ, as `key.path: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines: list[str] = []
        for key in sorted(set(old) | set(new), key=str):
            where = f"{path}.{key}" if path else str(key)
            lines += differences(old.get(key, "absent"), new.get(key, "absent"), where)
        return lines
    return [] if old == new else [f"{path}: {_short(old)} -> {_short(new)}"]


def _short(value: Any, limit: int = 60) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def clear(run: Path) -> None:
    """Remove everything that lspipe wrote into a run directory, and nothing else.

    Raises:
        StoreError: the folder holds files but no `run.json`: it is not a run directory.
    """
    if not run.exists() or not any(run.iterdir()):
        return
    if not (run / "run.json").exists() and not (run / "items.json").exists():
        raise StoreError(
            f"{run}: holds files but no run.json, so it is not a run directory; "
            "choose another output path"
        )
    for name in (DETECTIONS, EVIDENCE, CHANGE):
        shutil.rmtree(run / name, ignore_errors=True)
    for pattern in ("run.json", "items.json", "inventory.*", "unobserved.*", "log.jsonl"):
        for path in run.glob(pattern):
            path.unlink()


# --- the lock -----------------------------------------------------------------------------------


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Hold the run directory for this process; the kernel lets go if the process is killed.

    Raises:
        StoreError: another process holds it.
    """
    path = run / ".lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise StoreError(
                f"{run}: in use by {holder}; wait for it to end, or choose another output"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
