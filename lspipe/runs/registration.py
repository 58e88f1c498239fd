"""Pictures that a run stores -> how far the dates of a tile lie apart, and what is done about it.

Up to `TOLERATED_PX` nothing is done. Up to `LARGEST_PX` the map of the later date is moved onto the
ground of the earlier one before the two are compared; what is stored stays as it is. The map of a
pair model, which is made of both dates at once, is not moved, and the run says so. Beyond, the
tile is not compared, as so large a shift is rarely the same all over a tile: its date before counts
as not observed, for the reason `NOT_COMPARED`, and the other tiles are listed as they are.

`change.register: none` measures nothing and moves nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.change.moving import moved
from lspipe.change.registration import LEAST_SHARE, Shift, estimate, places
from lspipe.cube.composite import lower_median
from lspipe.runs import store
from lspipe.runs.store import DETECTIONS, EVIDENCE
from lspipe.schema import CODE_NODATA
from lspipe.schema.maps import is_clear

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.runs.plan import Plan
    from lspipe.runs.store import Grid
    from lspipe.schema import Part

TOLERATED_PX = 0.3
"""Between refined products of Sentinel-2 this is what their makers aim for (docs/numerics.md,
Registration); `tolerance_px` covers it."""

LARGEST_PX = 2.0
"""Beyond this the dates of a tile are not compared."""

NOT_COMPARED = "not_compared"
"""Reason of the ground of such a tile, on the date before."""

RED = 0
"""Place of B04 in `true_colour`: a band of 10 m. NDVI would mix in how two bands fit each other."""

Shifts = dict[str, Shift | None]
"""Per tile how far `after` lies from `before`; None where it cannot be told."""


def is_too_far(shift: Shift | None) -> bool:
    """Return whether two dates must not be compared."""
    return shift is not None and shift.length_px > LARGEST_PX


def of_tile(run: Path, grid: Grid) -> Shift | None:
    """Estimate how far `after` lies from `before` on one tile; None where it cannot be told.

    Args:
        run: a run directory in which the blocks of the tile are all, or in part, done.
        grid: of the tile.
    """
    roles = np.array(grid.roles)
    steps = [np.flatnonzero(roles == role) for role in ("before", "after")]
    if not all(each.size for each in steps):
        return None
    return estimate(_pictures(run, grid, steps))


def on_one_ground(
    codes: Mapping[str, NDArray[np.uint16]],
    shift: Shift | None,
    *,
    is_swapped: bool,
    is_pair: bool = False,
) -> dict[str, NDArray[np.uint16]]:
    """Return the maps of a tile as they are compared: the later one moved where it must be.

    Of a tile that is not compared, nothing is observed before. The map of a pair model is not
    moved: it was made of both dates as they lie.
    """
    if shift is None or shift.length_px <= TOLERATED_PX:
        return dict(codes)
    if is_too_far(shift):
        return {**codes, "before": np.full_like(codes["before"], CODE_NODATA)}
    if is_pair:
        return dict(codes)
    if is_swapped:
        return {**codes, "before": moved(codes["before"], shift.reversed())}
    return {**codes, "after": moved(codes["after"], shift)}


def facts(plan: Plan, shifts: Shifts) -> dict[str, dict[str, Any] | None]:
    """Return the shift of each tile as plain values, in pixels and metres, for `run.json`."""
    sizes = {tile.tile.name: abs(tile.tile.geobox.resolution.x) for tile in plan.tiles}
    return {
        name: None if shift is None else _as_json(shift, sizes[name])
        for name, shift in shifts.items()
    }


def _as_json(shift: Shift, size: float) -> dict[str, Any]:
    metres = {"east_m": round(shift.dx_px * size, 1), "north_m": round(-shift.dy_px * size, 1)}
    return asdict(shift) | metres


def warnings(found: Mapping[str, Mapping[str, Any] | None], *, is_pair: bool = False) -> list[str]:
    """Return a line for every tile whose dates do not lie on each other.

    Args:
        found: of `facts`.
        is_pair: whether the maps are of a pair model, which are not moved.
    """
    done = (
        "a pair model compares pixels as they lie, so narrow objects along edges may be false"
        if is_pair
        else "the map of the later one was moved onto the earlier one before they were compared"
    )
    moved_maps = [
        f"{name}: the two dates do not lie on each other, by {_words(shift)}; {done}"
        for name, shift in _shifts(found).items()
        if TOLERATED_PX < shift.length_px <= LARGEST_PX
    ]
    return [*moved_maps, *(f"{name}: {text}" for name, text in not_compared(found).items())]


def not_compared(found: Mapping[str, Mapping[str, Any] | None]) -> dict[str, str]:
    """Return why a tile was not compared, and what to do, by its name.

    Args:
        found: of `facts`.
    """
    return {
        name: f"the two dates do not lie on each other, by {_words(shift)}: expected at most "
        f"{LARGEST_PX:g} px, so they were not compared; take other scenes (dates, "
        "search.exclude), or compare them as they are with `change: {register: none}`"
        for name, shift in _shifts(found).items()
        if is_too_far(shift)
    }


def _shifts(found: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Shift]:
    return {
        name: Shift(**{key: entry[key] for key in Shift.__dataclass_fields__})
        for name, entry in found.items()
        if entry is not None
    }


def _words(shift: Shift) -> str:
    right, down = shift.dx_px, shift.dy_px
    return (
        f"{shift.length_px:.2f} px ({abs(right):.2f} {'west' if right < 0 else 'east'}, "
        f"{abs(down):.2f} {'north' if down < 0 else 'south'}; {shift.windows} windows)"
    )


def _pictures(
    run: Path, grid: Grid, steps: list[NDArray[np.intp]]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield both pictures of each window in which enough was observed."""
    seen = _observed(run, grid, steps)
    for place in places(_frame(seen)):
        if seen[place].mean() >= LEAST_SHARE:
            before, after = (_picture(run, grid.tile, each, place) for each in steps)
            yield before, after


def _observed(run: Path, grid: Grid, steps: list[NDArray[np.intp]]) -> NDArray[np.bool_]:
    """Return the pixels that both dates observed."""
    seen = np.ones(grid.geobox.shape, bool)
    for top in range(0, len(seen), grid.chunk):
        rows = slice(top, top + grid.chunk)
        quality = store.read(run, DETECTIONS, grid.tile, "quality", (slice(None), rows))
        for each in steps:
            seen[rows] &= is_clear(quality[each]).any(axis=0)
    return seen


def _frame(seen: NDArray[np.bool_]) -> Part:
    """Return the rows and columns between the first and the last observed pixel."""
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _picture(run: Path, tile: str, steps: NDArray[np.intp], place: Part) -> NDArray[np.float32]:
    """Return the red band of a date; of several acquisitions the lower median, as their codes."""
    span = slice(steps.min(), steps.max() + 1)
    layers = store.read(run, EVIDENCE, tile, "true_colour", (span, RED, *place))
    quality = store.read(run, DETECTIONS, tile, "quality", (span, *place))
    layers, quality = layers[steps - span.start], quality[steps - span.start]
    is_shown = is_clear(quality) & (layers > 0)
    # int16, so that white (255) is below the largest number.
    picture = lower_median(layers.astype(np.int16), is_shown).astype(np.float32)
    picture[~is_shown.any(axis=0)] = np.nan
    return picture
