"""One tile whose blocks are done -> its change, objects and gaps as files, and a few numbers.

All that is asked is in a `Tail`, which is small and travels; all that is read is the run directory,
and heights and radar that are not in it yet.
So a tile can be ended in any process, and as soon as its blocks are done.

    evidence.zarr                      elevation and slope, where the run knows the terrain;
                                       backscatter and its change under clouds, where it reads radar
    change.zarr                        state and gain per pixel (two-date runs)
    objects/TILE.parquet               its objects, in its UTM, before tiles are joined
    objects/TILE.unobserved.parquet    what was not observed on it, EPSG:4326
    objects/TILE.radar.parquet         cells of hidden ground in which radar saw change, EPSG:4326

Does not cover: what depends on other tiles (`listing.py`), except which places these observed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyproj import CRS

from lspipe import outputs
from lspipe.change.classified import classified_change, classified_detection
from lspipe.change.compare import changes
from lspipe.change.coverage import Counted, counted, own_pixels, seen_by_others
from lspipe.change.inventory import whole_objects
from lspipe.change.needed import without_cut
from lspipe.change.unobserved import joined, outlined
from lspipe.machine.copies import readable
from lspipe.runs import backscatter, blind, ground, maps, registration, store
from lspipe.runs.seen import Seen
from lspipe.schema import CODE_NODATA, threshold_code
from lspipe.search.areas import centres_on_grid
from lspipe.search.parquet import read_geoparquet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import geopandas as gpd
    from numpy.typing import NDArray

    from lspipe.change.classified import Classified
    from lspipe.change.registration import Shift
    from lspipe.runs.blind import Looked, Sight
    from lspipe.runs.store import Grid
    from lspipe.runs.tail_plan import Tail
    from lspipe.schema import Part


@dataclass(frozen=True)
class Tailed:
    """What the run needs to know of a tile, beside its files."""

    shift: Shift | None
    """How far its dates lie apart; None where it cannot be told or is not asked."""
    counted: Counted
    failed_reads: int
    sight: Sight | None = None
    """What radar saw where optics was blind; None where the run reads no radar."""


def write(run: Path, tail: Tail) -> Tailed:
    """Compare the dates of a tile, list its objects and gaps, and write them.

    Args:
        run: a run directory in which the blocks of the tile are all, or in part, done.
        tail: what is asked.
    """
    if tail.terrain is not None:
        ground.write(run, tail.grid, tail.terrain)
    if tail.radar is not None:
        backscatter.write(run, tail.grid, tail.radar.passes)
    shift = registration.of_tile(run, tail.grid) if tail.is_registered else None
    area = None if tail.area is None else tail.area[:, :]
    _keep(_objects(run, tail, shift, area), _objects_path(run, tail.grid.tile))
    # Last: outlines of ragged clouds leave many small pieces of memory, which stay with a process.
    is_compared = not registration.is_too_far(shift)
    count, failed_reads, sight = _write_gaps(run, tail, area, is_compared=is_compared)
    return Tailed(shift, count, failed_reads, sight)


def seen_elsewhere(run: Path, tail: Tail, others: Mapping[str, Tail]) -> float:
    """Return the square metres that a tile counts and missed, and that later tiles observed.

    Args:
        run: a run directory in which the blocks of the tile and of its neighbours are done.
        tail: of the tile.
        others: of the tiles of the run whose dates were compared, by name.
    """
    area = None if tail.area is None else tail.area[:, :]
    return seen_by_others(
        tail.grid.geobox,
        # Of a tile that was not compared, all is missed.
        _Unseen(run, tail) if tail.grid.tile in others else _all,
        [
            (others[name].grid.geobox, _Unseen(run, others[name]))
            for name in tail.later
            if name in others
        ],
        area=_counting(tail, area),
        earlier=tail.earlier,
    )


def is_written(run: Path, tail: Tail) -> bool:
    """Return whether the files of a tile are there."""
    tile = tail.grid.tile
    paths = [_objects_path(run, tile), _gaps_path(run, tile)]
    paths += [] if tail.radar is None else [_cells_path(run, tile)]
    return all(path.exists() for path in paths)


def objects(run: Path, tile: str) -> gpd.GeoDataFrame:
    """Read the objects of a tile, in its UTM."""
    return read_geoparquet(readable(_objects_path(run, tile)))


def gaps(run: Path, tile: str) -> gpd.GeoDataFrame:
    """Read what was not observed on a tile, EPSG:4326."""
    return read_geoparquet(readable(_gaps_path(run, tile)))


def radar_cells(run: Path, tile: str) -> gpd.GeoDataFrame:
    """Read the cells of hidden ground in which radar saw change, EPSG:4326."""
    return read_geoparquet(readable(_cells_path(run, tile)))


def _objects_path(run: Path, tile: str) -> Path:
    return run / store.OBJECTS / f"{tile}.parquet"


def _gaps_path(run: Path, tile: str) -> Path:
    return run / store.OBJECTS / f"{tile}.unobserved.parquet"


def _cells_path(run: Path, tile: str) -> Path:
    return run / store.OBJECTS / f"{tile}.radar.parquet"


def _keep(table: gpd.GeoDataFrame, path: Path) -> None:
    """Write a table as it is, in the CRS it has."""
    path.parent.mkdir(exist_ok=True)
    with outputs.whole(path) as partial:
        table.to_parquet(partial, index=False, compression="zstd", schema_version="1.1.0")


@dataclass(frozen=True)
class _Unseen:
    """What a tile did not observe; see `change.coverage.Unseen`."""

    run: Path
    tail: Tail

    def __call__(self, part: Part) -> NDArray[np.bool_]:
        grid = self.tail.grid
        dates = [maps.why_unseen(self.run, grid, role, part)[0] for role in self.tail.dates]
        return np.asarray(np.any(dates, axis=0))


def _counting(tail: Tail, touched: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Return the pixels whose centre is in the area; all touched ones if there is none."""
    if tail.near is None:
        return touched
    centres = centres_on_grid(tail.near, tail.grid.geobox)
    return centres if centres.any() else touched


def _all(part: Part) -> NDArray[np.bool_]:
    """Miss every pixel."""
    rows, columns = part
    return np.ones((rows.stop - rows.start, columns.stop - columns.start), np.bool_)


def _write_gaps(
    run: Path, tail: Tail, area: NDArray[np.bool_] | None, *, is_compared: bool
) -> tuple[Counted, int, Sight | None]:
    """Write what was not observed, or not compared, and what radar saw of it.

    Returns:
        What was observed, pixels of failed reads, and what is said of radar.
    """
    grid, looked = tail.grid, None
    if tail.radar is not None:
        has_terrain = tail.terrain is not None
        looked = blind.look(run, tail.grid, tail.radar, has_terrain=has_terrain)
    unseen, hidden = np.zeros((2, *grid.geobox.shape), np.bool_)
    failed_reads = 0
    tables = []
    for role in tail.dates:
        why, failed = _why_unseen(run, grid, role)
        failed_reads += failed
        unseen |= why > 0
        hidden |= blind.IS_HIDDEN[why]
        tables.append(_outlined(tail, role, why, area, looked))
        if role == "before" and not is_compared:
            seen = (why == 0).astype(np.uint8)
            not_compared = _outlined(tail, role, seen, area, looked)
            why_not = pd.array([registration.NOT_COMPARED] * len(not_compared), dtype="string")
            tables.append(not_compared.assign(reason=why_not))
            unseen[:] = True
            hidden |= seen > 0
    _keep(joined(tables), _gaps_path(run, grid.tile))
    inside = _counting(tail, area)
    count = counted(grid.geobox, lambda part: unseen[part], area=inside, earlier=tail.earlier)
    if looked is None:
        return count, failed_reads, None
    own = own_pixels(grid.geobox, area=inside, earlier=tail.earlier)
    sight, cells = blind.write(run, grid, looked, hidden=hidden, own=own)
    _keep(cells, _cells_path(run, grid.tile))
    return count, failed_reads, sight


def _outlined(
    tail: Tail,
    role: str,
    why: NDArray[np.uint8],
    area: NDArray[np.bool_] | None,
    looked: Looked | None,
) -> gpd.GeoDataFrame:
    grid = tail.grid
    inside = why if area is None else np.where(area, why, np.uint8(0))
    gaps = outlined({role: inside}, geobox=grid.geobox, tile=grid.tile, acquired=tail.acquired)
    return blind.beside_gaps(gaps, inside, looked)


def _why_unseen(run: Path, grid: Grid, role: str) -> tuple[NDArray[np.uint8], int]:
    """Read why a date has gaps, and count its failed reads."""
    why = np.empty(grid.geobox.shape, np.uint8)
    failed_reads = 0
    for rows, part in _chunk_rows(grid):
        why[rows], failed = maps.why_unseen(run, grid, role, part)
        failed_reads += failed
    return why, failed_reads


def _codes(
    run: Path, tail: Tail, read: Callable[..., NDArray[np.uint16]] = maps.codes
) -> dict[str, NDArray[np.uint16]]:
    """Read the maps of all dates."""
    codes = {role: np.empty(tail.grid.geobox.shape, np.uint16) for role in tail.dates}
    for rows, part in _chunk_rows(tail.grid):
        for role, whole in codes.items():
            whole[rows] = read(run, tail.grid, role, part)
    return codes


def _whole(run: Path, tail: Tail, before: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return the map before without what is known of in part, beside what was needed."""
    unknown = np.empty(before.shape, np.bool_)
    for rows, part in _chunk_rows(tail.grid):
        unknown[rows] = maps.not_needed(run, tail.grid, "before", part)
    return without_cut(before, unknown, threshold=threshold_code(tail.rules.limit))


def _chunk_rows(grid: Grid) -> Iterator[tuple[slice, Part]]:
    """Yield the rows of a row of chunks, and the same rows with all columns."""
    height, width = grid.geobox.shape
    for top in range(0, height, grid.chunk):
        rows = slice(top, min(top + grid.chunk, height))
        yield rows, (rows, slice(0, width))


def _objects(
    run: Path, tail: Tail, shift: Shift | None, area: NDArray[np.bool_] | None
) -> gpd.GeoDataFrame:
    """Return the objects of a tile, and write its change arrays."""
    known = _codes(run, tail)
    if tail.rules.lists_only_new:
        known["before"] = _whole(run, tail, known["before"])
    codes = registration.on_one_ground(
        known, shift, is_swapped=tail.is_swapped, is_pair=tail.is_pair
    )
    classified = _classified(run, tail, codes, _set_aside(run, tail, shift))
    if area is None:
        # Also if the whole tile is inside: the tables of all tiles need the same flags.
        area = np.broadcast_to(np.True_, tail.grid.geobox.shape)
    return whole_objects(
        classified,
        provenance=tail.who,
        area=area,
        layers=Seen(
            run,
            tail.grid,
            has_terrain=tail.terrain is not None,
            has_radar=tail.radar is not None,
        ),
        # A whole row of chunks, so that none is read twice.
        block=tail.grid.chunk,
    )


def _set_aside(run: Path, tail: Tail, shift: Shift | None) -> Mapping[str, NDArray[np.uint16]]:
    """Read what the network says where only some masks hide the ground; empty with one mask."""
    if not tail.has_doubted or "before" not in tail.dates:
        return {}
    found = _codes(run, tail, maps.doubted)
    return registration.on_one_ground(found, shift, is_swapped=tail.is_swapped)


def _classified(
    run: Path,
    tail: Tail,
    codes: Mapping[str, NDArray[np.uint16]],
    aside: Mapping[str, NDArray[np.uint16]],
) -> Classified:
    geobox = tail.grid.geobox
    place: dict[str, Any] = {"transform": geobox.affine, "crs": CRS.from_user_input(geobox.crs)}
    if "before" not in codes:
        return classified_detection(codes["after"], threshold=tail.rules.limit, **place)
    state = _compared(run, tail, codes)
    # Undetermined, as the states know of no doubt: what is there now, or was, is a candidate.
    for role, doubted in aside.items():
        np.copyto(codes[role], doubted, where=codes[role] == CODE_NODATA)
    return classified_change(codes["before"], codes["after"], state, tail.rules.attrs(), **place)


def _compared(run: Path, tail: Tail, codes: Mapping[str, NDArray[np.uint16]]) -> NDArray[np.uint8]:
    """Write state and gain of a tile, a row of chunks at a time, and return the states."""
    store.create_change(run, tail.grid)
    state = np.empty(tail.grid.geobox.shape, np.uint8)
    for rows, _ in _chunk_rows(tail.grid):
        state[rows], gain = changes(codes["before"][rows], codes["after"][rows], tail.rules)
        store.write_change(run, tail.grid.tile, rows, state=state[rows], gain=gain)
    return state
