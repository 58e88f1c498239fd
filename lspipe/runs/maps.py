"""Stored blocks of a tile -> one map of codes per date, and why it has gaps.

Read part by part: `composite: each` never holds all acquisitions of a tile.

See also: `seen.py` (the pictures of a date), `tail.py` (what is made of the maps).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.cube.composite import lower_median
from lspipe.runs import store
from lspipe.runs.store import DETECTIONS, EVIDENCE, NOT_PROCESSED
from lspipe.schema import CODE_NODATA, Quality
from lspipe.schema.maps import NOT_NEEDED, reasons

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.runs.store import Grid
    from lspipe.schema import Part


def codes(run: Path, grid: Grid, role: str, part: Part) -> NDArray[np.uint16]:
    """Read a part of the map of one date: codes (y, x), 65535 = not observed.

    Args:
        run: the run directory.
        grid: of the tile; without a scene of this date on it, nothing was observed.
        role: "before" or "after".
        part: rows and columns, with begin and end.
    """
    steps = _steps(grid, role)
    if not steps.size:
        return np.full(_shape(part), CODE_NODATA, np.uint16)
    return merge_acquisitions(_layers(run, grid, steps, "probability", part))


def doubted(run: Path, grid: Grid, role: str, part: Part) -> NDArray[np.uint16]:
    """Read what the network says where only some masks hide the ground: codes (y, x), else 65535.

    Args:
        run: as in `codes`.
        grid: as in `codes`.
        role: as in `codes`.
        part: as in `codes`.
    """
    steps = _steps(grid, role)
    try:
        layers = _layers(run, grid, steps, store.DOUBTED.name, part, which=EVIDENCE)
    # No scene of this date here, or maps that were copied from other runs.
    except (IndexError, KeyError, FileNotFoundError):
        return np.full(_shape(part), CODE_NODATA, np.uint16)
    return merge_acquisitions(layers)


def not_needed(run: Path, grid: Grid, role: str, part: Part) -> NDArray[np.bool_]:
    """Return where a part of the map of one date was not needed, and so not computed: bool (y, x).

    Args:
        run: as in `codes`.
        grid: as in `codes`.
        role: as in `codes`.
        part: as in `codes`.
    """
    steps = _steps(grid, role)
    if not steps.size:
        return np.zeros(_shape(part), bool)
    quality = _layers(run, grid, steps, "quality", part)
    return np.asarray((quality == np.uint8(NOT_NEEDED)).any(axis=0))


def why_unseen(run: Path, grid: Grid, role: str, part: Part) -> tuple[NDArray[np.uint8], int]:
    """Read why a part of the map of one date has gaps, and count its failed reads.

    Args:
        run: as in `codes`.
        grid: as in `codes`.
        role: as in `codes`.
        part: as in `codes`.

    Returns:
        Numbers (y, x) of `schema.maps.reasons`, 0 = observed, or outside of the area of interest;
        and the pixels, on all acquisitions, that could not be read, or held what Sentinel-2 cannot
        hold.
    """
    steps = _steps(grid, role)
    if not steps.size:
        return reasons(np.full(_shape(part), Quality.NODATA, np.uint8)), 0
    quality = _layers(run, grid, steps, "quality", part)
    # With several acquisitions: the reason of the first, unless any of them saw the pixel.
    why = reasons(quality[0], not_processed=NOT_PROCESSED)
    # It was seen: had something been there after, the date before would have been computed.
    why[quality[0] == np.uint8(NOT_NEEDED)] = 0
    if why.any():
        why[codes(run, grid, role, part) != CODE_NODATA] = 0
    return why, _failed_reads(quality)


def merge_acquisitions(layers: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Merge the acquisitions of one date (`composite: each`) into one map.

    Args:
        layers: codes (time, y, x), 65535 = not observed.

    Returns:
        Per pixel the lower median of the observed codes, which is always a stored value; 65535
        where no acquisition observed the pixel.
    """
    # Most dates have a single acquisition, which needs no sorting.
    return layers[0] if len(layers) == 1 else lower_median(layers, layers != CODE_NODATA)


def _steps(grid: Grid, role: str) -> NDArray[np.intp]:
    return np.flatnonzero(np.array(grid.roles) == role)


def _shape(part: Part) -> tuple[int, int]:
    return part[0].stop - part[0].start, part[1].stop - part[1].start


def _layers(
    run: Path,
    grid: Grid,
    steps: NDArray[np.intp],
    name: str,
    part: Part,
    *,
    which: str = DETECTIONS,
) -> NDArray[Any]:
    span = slice(int(steps[0]), int(steps[-1]) + 1)
    return store.read(run, which, grid.tile, name, (span, *part))[steps - span.start]


def _failed_reads(quality: NDArray[np.uint8]) -> int:
    """Count pixels of failed reads in the store, which is complete even after a kill."""
    has_failed = (quality & np.uint8(Quality.READ_ERROR)) != 0
    return int(np.count_nonzero(has_failed & (quality != NOT_PROCESSED)))
