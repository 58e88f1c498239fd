"""The radar of a run: items searched once and frozen with the scenes, passes decided tile by tile.

How far the sides of a pass lie apart is measured once, on windows of the area, and undone when they
are read. Beyond a pixel the pass is left out: such shifts are of whole scenes whose processing
failed, and are not the same all over a tile.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import shapely

from lspipe.change.registration import LEAST_SHARE, Shift, estimate, places
from lspipe.cube import sentinel1
from lspipe.cube.radar import LARGEST_PX, TOLERATED_PX, Radar, read
from lspipe.errors import NothingFound, WorkflowError
from lspipe.runs.plan.canonical import fingerprint
from lspipe.schema import AFTER, BEFORE, CHANNELS, CUBE_NODATA
from lspipe.search.acquisitions import frozen_item, thaw, to_item
from lspipe.search.areas import footprint, outline_on_grid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.cube.radar import RadarPass
    from lspipe.models import ModelItem
    from lspipe.runs.plan.nouns import TilePlan
    from lspipe.schema import Part
    from lspipe.search.acquisitions import Tile
    from lspipe.search.areas import Area
    from lspipe.search.dates import DateRange
    from lspipe.workflow import Workflow

logger = logging.getLogger(__name__)

KEY = "lspipe:radar"
"""Of `items.json`: what was asked for, and the items of each side."""

VV = (f"{BEFORE}:VV", f"{AFTER}:VV")

LEAST_PX = 1024
"""Edge of the part of a tile on which the shift is measured, where it is as large, pixels."""

MOST_WINDOWS = 16
"""Windows in which the shift is measured: each reads all dates of both sides."""


def days_of(workflow: Workflow) -> dict[str, DateRange]:
    """Return the days of each side: those of `radar:`, else those of `dates:`.

    Raises:
        WorkflowError: a side has none, or both share a day.
    """
    ranges = workflow.dates.ranges()
    asked = {BEFORE: workflow.radar.before, AFTER: workflow.radar.after}
    found = {side: own or ranges.get(side) for side, own in asked.items()}
    before, after = found[BEFORE], found[AFTER]
    if before is None or after is None:
        raise WorkflowError(
            "radar: found no days before, expected two sides to compare: give radar.before, or "
            "dates.before"
        )
    if before.start <= after.end and after.start <= before.end:
        raise WorkflowError(
            f"radar: found before ({before}) overlapping after ({after}), expected ranges without "
            "a common day (radar.before, radar.after, else those of dates)"
        )
    return {BEFORE: before, AFTER: after}


def with_radar(workflow: Workflow, frozen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return frozen items together with those of Sentinel-1.

    Args:
        workflow: of the run.
        frozen: content of `items.json`.

    Returns:
        `frozen` itself, where no radar is asked for or its items are there already.

    Raises:
        NothingFound: a side has none.
        WorkflowError: the items are no terrain-corrected gamma0.
    """
    spec = workflow.radar
    if spec.collection is None or _asked(workflow) == frozen.get(KEY, {}).get("asked"):
        return frozen
    grids, notes = [tile.geobox for tile in thaw(frozen)], list[str]()
    days = days_of(workflow)
    found = sentinel1.search(spec, workflow.search, days, grids, workflow.folder, note=notes.append)
    items = {side: [frozen_item(item, {}) for item in group] for side, group in found.items()}
    return {**frozen, KEY: {"asked": _asked(workflow), "found": items, "notes": notes}}


def items_of(workflow: Workflow, frozen: Mapping[str, Any]) -> sentinel1.Items | None:
    """Return the frozen items of each side; None where the run reads no radar."""
    if workflow.radar.collection is None:
        return None
    found = frozen[KEY]["found"]
    return {side: [to_item(one) for one in group] for side, group in found.items()}


def radar_of(
    workflow: Workflow,
    items: sentinel1.Items,
    tile: Tile,
    area: Area,
    *,
    decided: Mapping[str, Any] | None,
) -> Radar:
    """Decide which passes a tile is read from, and how far their sides lie apart.

    Args:
        workflow: of the run.
        items: of each side, of `items_of`.
        tile: whose radar it is.
        area: of interest.
        decided: what an earlier plan recorded of the tile.

    Returns:
        The radar, without passes where none can be taken; with what a person is to know of it.

    Raises:
        LoadError: a file cannot be read, or holds no linear power.
    """
    asked = fingerprint({**_asked(workflow), "orbit": workflow.radar.orbit})
    known = (decided or {}).get("radar")
    if known is not None and known["asked"] == asked:
        return Radar.from_json(known)
    ground = shapely.intersection(area.geometry, footprint(tile.geobox))
    chosen = sentinel1.candidates(items, ground, workflow.radar.orbit)
    passes, notes, frame = [], list[str](), _frame(area, tile.geobox)
    if not chosen:
        there = sentinel1.there(items, ground)
        notes.append(
            f"{tile.name}: no relative orbit of Sentinel-1 is there on both sides ({there}): it "
            "has no radar; widen radar.before or radar.after"
        )
    for candidate in chosen:
        one = sentinel1.opened(candidate)
        logger.info("%s: measuring the shift of %s", tile.name, one.name)
        shift = measured(one, tile.geobox, frame)
        if shift is not None:
            one = replace(one, shift=(shift.dx_px, shift.dy_px), spread_px=shift.spread_px)
        notes += [f"{tile.name}: radar, {one.name}: {text}" for text in _said(one, shift)]
        if not is_too_far(one):
            passes.append(one)
    name = str(workflow.radar.collection)
    return Radar(name=name, passes=tuple(passes), notes=tuple(notes), asked=asked)


def check_is_there(plans: Sequence[TilePlan], item: ModelItem) -> None:
    """Refuse a run that asks for radar and has none, or whose model lacks it on a tile.

    Raises:
        NothingFound: no tile has a pass that can be taken.
        WorkflowError: a tile has none, and the model needs it.
    """
    without = [plan for plan in plans if plan.radar is None]
    notes = [text for plan in without for text in plan.radar_notes]
    if len(without) == len(plans):
        raise NothingFound("\n".join(["radar: no pass can be taken on any tile", *notes]))
    channels = item.channels_from("radar")
    if without and channels:
        raise WorkflowError(
            f"radar: {item.id} wants {', '.join(channels)}, and tiles have no pass that can be "
            "taken; take other days or a smaller aoi\n" + "\n".join(notes)
        )


def measured(one: RadarPass, grid: GeoBox, frame: Part) -> Shift | None:
    """Measure how far the side after lies from the side before; None where it cannot be told.

    Args:
        one: a pass, not moved.
        grid: of the tile.
        frame: rows and columns of it that hold the area.
    """
    radar = Radar(name="", passes=(replace(one, shift=None),))
    return estimate(_pictures(radar, grid, frame))


def _frame(area: Area, grid: GeoBox) -> Part:
    """Return the rows and columns of a tile that hold the area, and no fewer than `LEAST_PX`."""
    left, bottom, right, top = outline_on_grid(area, grid).bounds
    to, spans = grid.transform, list[slice]()
    for ends, length in (
        (((top - to.f) / to.e, (bottom - to.f) / to.e), grid.shape[0]),
        (((left - to.c) / to.a, (right - to.c) / to.a), grid.shape[1]),
    ):
        wide = max(0.0, LEAST_PX - (ends[1] - ends[0])) / 2
        first, last = max(0, int(ends[0] - wide)), min(length, int(ends[1] + wide) + 1)
        spans.append(slice(first, max(first, last)))
    return spans[0], spans[1]


def _pictures(
    radar: Radar, grid: GeoBox, frame: Part
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield decibels of both sides in windows where both saw enough."""
    windows = places(frame)
    evenly = np.linspace(0, len(windows) - 1, min(MOST_WINDOWS, len(windows))).round().astype(int)
    # As a graph, so that workers read where there are some.
    asked = [dask.delayed(read)(radar, grid, windows[number], VV) for number in evenly]
    for codes in dask.compute(*asked):
        is_seen = codes != CUBE_NODATA
        if is_seen.all(axis=0).mean() >= LEAST_SHARE:
            decibels = codes * np.float32(CHANNELS["VV"].step)
            before, after = np.where(is_seen, decibels, np.float32(np.nan))
            yield before, after


def is_too_far(one: RadarPass) -> bool:
    """Return whether the sides of a pass must not be compared."""
    return one.shift is not None and float(np.hypot(*one.shift)) > LARGEST_PX


def _said(one: RadarPass, shift: Shift | None) -> Iterator[str]:
    """Yield what a person is to know of a pass."""
    if is_too_far(one) and shift is not None:
        yield (
            f"after lies {shift.length_px:.2f} px off before ({_words(one)}; {shift.windows} "
            f"windows), expected at most {LARGEST_PX:g} px: it is left out; take other days, or "
            "another radar.collection"
        )
        return
    if shift is None:
        yield "how far its sides lie apart cannot be told, as too little is the same; not moved"
    elif shift.length_px > TOLERATED_PX and not any(one.moved_px):
        yield (
            f"how far its sides lie apart cannot be told well ({shift.length_px:.2f} px, of "
            f"windows that differ by {shift.spread_px:.2f}); not moved"
        )
    elif any(one.moved_px):
        yield f"after lies {shift.length_px:.2f} px off before ({_words(one)}) and is moved back"
    few = [f"{len(one.dates(side))} {side}" for side in (BEFORE, AFTER) if one.is_filtered(side)]
    if few:
        yield (
            f"few dates ({', '.join(few)}), so speckle is filtered (Lee, 5 x 5), which blurs; "
            "widen the days"
        )
    if len(one.platforms) > 1:
        yield f"of several satellites ({', '.join(one.platforms)}), which may differ by some 0.1 dB"


def _words(one: RadarPass) -> str:
    right, down = one.shift or (0.0, 0.0)
    return (
        f"{abs(right):.2f} {'west' if right < 0 else 'east'}, "
        f"{abs(down):.2f} {'north' if down < 0 else 'south'}"
    )


def said(plan: TilePlan) -> list[dict[str, Any]]:
    """Return plain facts of the passes of a tile, for people."""
    passes = () if plan.radar is None else plan.radar.passes
    return [
        {
            "orbit": one.name,
            "platforms": list(one.platforms),
            "dates": {side: [day[:10] for day in one.dates(side)] for side in (BEFORE, AFTER)},
            "filtered": [side for side in (BEFORE, AFTER) if one.is_filtered(side)],
            "shift_px": None if one.shift is None else list(one.shift),
            "is_moved": any(one.moved_px),
            "is_seen_by_model": number == 0 and bool(plan.backscatter),
        }
        for number, one in enumerate(passes)
    ]


def _asked(workflow: Workflow) -> dict[str, Any]:
    """Return what decides which items are found, as plain JSON."""
    days = days_of(workflow)
    return {
        "collection": workflow.radar.collection,
        **{side: [str(range_.start), str(range_.end)] for side, range_ in days.items()},
    }
