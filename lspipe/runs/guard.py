"""Pixels of a run, compared with the training data of its model -> continue, warn, or refuse.

Before anything is computed, `check_before_run` reads a few places of each tile and date, and
refuses what is far from training. Blocks could refuse themselves, without a read, but a lake that
fills one would be a hole in the map, another block size would refuse other pixels, and a wrong
offset would be found after a night of reading. The places belong to the tile, and the run is
refused as a whole.

Then every block counts a sample of its own pixels as it is computed. The sums per tile and date are
in `run.json` and in the summary, where they only warn.

`inference.unfamiliar` decides what happens: `refuse`, `warn` (no check before, warnings at the
end), or `ignore` (nothing is counted). A model without statistics has nothing to be compared with.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import dask
import numpy as np

from lspipe.cube.opening import open_cube
from lspipe.errors import LoadError, UsageError
from lspipe.inference.familiarity import Channel, Tally, channels, reach, sample
from lspipe.inference.inputs import WINDOW_KINDS
from lspipe.inference.observed import observed
from lspipe.models.slips import slips
from lspipe.models.statistics import Statistics
from lspipe.runs.events import Look
from lspipe.search.areas import bounding_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from lspipe.runs.events import Report
    from lspipe.runs.plan import Plan, TilePlan

WARN_OUTSIDE, REFUSE_OUTSIDE = 0.1, 0.5
"""Share of a channel's pixels outside of training at which a run warns, and refuses. One in a
hundred patches of Landslide4Sense has 0.015 outside of what the others have."""

WARN_DISTANCE, REFUSE_DISTANCE = 2.0, 3.0
"""Distance of a channel's mean from that of training, standard deviations, likewise. One in ten of
those patches is 1.3 away, one in a hundred 2.3; a tile is thousands of them, and nearer. An offset
of 0.1 moves the blue bands of four regions of them by 4 and more."""

PLACES = 3
"""Places that are read along each axis of the area: nine of a tile."""

PLACE = 256
"""Edge of a place, pixels: half a block of most cloud-optimised files, so one or a few reads."""

WINDOWS_PER_PLACE = 4
"""Edges of windows in that of a place, where windows are scaled by their own values: enough for one
that is counted."""

NAMED = 3
"""Channels that a message names."""


def trained_on(plan: Plan) -> Statistics | None:
    """Return the statistics to compare pixels with; None if there are none, or it is turned off."""
    return None if plan.workflow.inference.unfamiliar == "ignore" else plan.model.statistics


# --- before anything is computed ----------------------------------------------------------------


def check_before_run(plan: Plan, wanted: Iterable[tuple[str, int]], *, report: Report) -> None:
    """Read a few places of tiles and dates, and refuse what is far from training.

    Nothing is read unless the workflow has `unfamiliar: refuse`, or if the model has no
    statistics. A tile that cannot be read, or shows no ground at these places, is left to its
    blocks, which report it.

    Args:
        plan: what is to be done.
        wanted: tile and step of what is left to do.
        report: called for each tile and date that is checked.

    Raises:
        UsageError: names tile, date, channels, the slip if there is one, and the way out.
    """
    if plan.workflow.inference.unfamiliar != "refuse" or plan.model.statistics is None:
        return
    trained, tiles = plan.model.statistics, {tile.tile.name: tile for tile in plan.tiles}
    for name, step in wanted:
        try:
            values = _values(plan, tiles[name], step)
        except LoadError as error:
            report(Look(name, step, pixels=0, error=str(error)))
            continue
        report(Look(name, step, pixels=values.shape[1]))
        found = channels(Tally.of(values, trained), trained, plan.model.bands)
        strange = [channel for channel in found if _is_refused(channel)]
        if strange:
            raise UsageError(
                _refusal(plan, tiles[name], step, trained=trained, strange=strange, values=values)
            )


def _values(plan: Plan, tile: TilePlan, step: int) -> NDArray[np.float32]:
    """Read the places of a tile and date: (channel, pixel) in model units, observed pixels."""
    places = list(_places(tile, plan))
    cubes = [
        open_cube(
            tile.steps[step],
            tile.tile.geobox[place],
            bands=plan.model.bands,
            radiometry=tile.radiometry,
            spec=plan.workflow.cube,
            chunks=tuple((span.stop - span.start,) for span in place),  # type: ignore[arg-type]
        )
        for place in places
    ]
    read = dask.compute(*((each["reflectance"].data, each["quality"].data) for each in cubes))
    return np.concatenate(
        [
            sample(
                pixels,
                origin=(place[0].start, place[1].start),
                tile_shape=tuple(tile.tile.geobox.shape),
                core=place,
                setting=plan.setting,
                scaling=plan.model.scaling,
                observed=observed(pixels, quality != 0),
                area=None if tile.area is None else tile.area[place],
                tile_range=tile.tile_ranges[step] if tile.tile_ranges else None,
            )
            for place, (pixels, quality) in zip(places, read, strict=True)
        ],
        axis=1,
    )


def _places(tile: TilePlan, plan: Plan) -> Iterator[tuple[slice, slice]]:
    """Yield the places of a tile: around the pixel of the area nearest to the middle of each part.

    The area is cut into nine parts; a part without a pixel of it has no place.
    """
    shape = tuple(tile.tile.geobox.shape)
    edge = PLACE
    if plan.model.scaling.kind in WINDOW_KINDS:
        edge = max(edge, WINDOWS_PER_PLACE * plan.setting.window)
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    inside = np.broadcast_to(np.True_, shape) if tile.area is None else tile.area[whole]
    cuts = (
        pairwise(np.linspace(span.start, span.stop, PLACES + 1).round().astype(int).tolist())
        for span in bounding_window(inside)
    )
    seen = set()
    for (top, bottom), (left, right) in product(*cuts):
        middle = _nearest_to_middle(inside[top:bottom, left:right])
        if middle is None:
            continue
        place = (
            _around(top + middle[0], shape[0], edge),
            _around(left + middle[1], shape[1], edge),
        )
        corner = (place[0].start, place[1].start)
        # Places of a small tile are all of it.
        if corner not in seen:
            seen.add(corner)
            yield place


def _nearest_to_middle(inside: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Find the pixel of an area that is nearest to the middle; None where there is none."""
    y, x = (length // 2 for length in inside.shape)
    # Most parts lie in the area with their middle, and need no list of all their pixels.
    if inside.size and inside[y, x]:
        return y, x
    rows, columns = np.nonzero(inside)
    if not len(rows):
        return None
    nearest = np.argmin((rows - y) ** 2 + (columns - x) ** 2)
    return int(rows[nearest]), int(columns[nearest])


def _around(centre: int, length: int, edge: int) -> slice:
    """Return a span around a pixel, inside the axis."""
    edge = min(edge, length)
    start = min(max(centre - edge // 2, 0), length - edge)
    return slice(start, start + edge)


def _is_refused(channel: Channel) -> bool:
    return channel.outside >= REFUSE_OUTSIDE or abs(channel.distance) >= REFUSE_DISTANCE


def _refusal(
    plan: Plan,
    tile: TilePlan,
    step: int,
    *,
    trained: Statistics,
    strange: list[Channel],
    values: NDArray[np.float32],
) -> str:
    """Describe what is far from training, why it may be, and what to do."""
    low, high = reach(trained)
    known = dict(zip(plan.model.bands, zip(low, high, strict=True), strict=True))
    worst = sorted(strange, key=_strangeness, reverse=True)
    examples = "; ".join(
        f"{channel}, trained on {known[channel.name][0]:.3g} to {known[channel.name][1]:.3g}"
        for channel in worst[:NAMED]
    )
    more = f"; and {len(worst) - NAMED} more channels" if len(worst) > NAMED else ""
    named = slips(trained, Statistics.of([values[:, None, :]]), plan.model)
    why = f"; it looks as if {'; '.join(named)}" if named else ""
    when = tile.steps[step]
    return (
        f"{tile.tile.name} {when.role} ({when.time:%Y-%m-%d}) is not like what model "
        f"{plan.model.id} was trained on: {examples}{more}{why}; nothing of it was computed\n"
        "hint: put that right or take another model; `inference: {unfamiliar: warn}` runs it as "
        "it is"
    )


def _strangeness(channel: Channel) -> float:
    """Rank channels: 1 is where a run refuses."""
    return max(channel.outside / REFUSE_OUTSIDE, abs(channel.distance) / REFUSE_DISTANCE)


# --- what was computed --------------------------------------------------------------------------


def inputs(plan: Plan, blocks: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Add up what blocks counted, per tile and date, for `run.json`.

    Args:
        plan: what was done.
        blocks: events of the blocks, each block once: tile, step, inputs.

    Returns:
        Per tile a list of dates: role, time, pixels counted, and per channel `outside` (share) and
        `distance` (standard deviations), see `familiarity.Channel`. Empty where nothing was
        counted.
    """
    trained = plan.model.statistics
    tallies: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for event in blocks:
        if event.get("inputs"):
            tallies.setdefault((event["tile"], event["step"]), []).append(event["inputs"])
    facts: dict[str, list[dict[str, Any]]] = {}
    for tile in plan.tiles if trained else ():
        for number, step in enumerate(tile.steps):
            tally = Tally.joined(tallies.get((tile.tile.name, number), ()))
            if tally is None or trained is None:
                continue
            entry = {
                "role": step.role,
                "time": step.time.isoformat(),
                "pixels": tally.pixels,
                "channels": {
                    channel.name: {
                        "outside": round(channel.outside, 4),
                        "distance": round(channel.distance, 2),
                    }
                    for channel in channels(tally, trained, plan.model.bands)
                },
            }
            facts.setdefault(tile.tile.name, []).append(entry)
    return facts


def warnings(facts: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[str]:
    """Return a line per tile and date of what is unlike training, the strangest channels first.

    Args:
        facts: of `inputs`.
    """
    return [
        f"{tile} {entry['role']}: {_named(strange)}"
        for tile, entries in facts.items()
        for entry in entries
        if (strange := _strange(entry))
    ]


def _strange(entry: Mapping[str, Any]) -> list[Channel]:
    found = (Channel(name, **facts) for name, facts in entry["channels"].items())
    strange = [
        channel
        for channel in found
        if channel.outside >= WARN_OUTSIDE or abs(channel.distance) >= WARN_DISTANCE
    ]
    return sorted(strange, key=_strangeness, reverse=True)


def _named(strange: list[Channel]) -> str:
    more = f"; and {len(strange) - NAMED} more channels" if len(strange) > NAMED else ""
    return "; ".join(map(str, strange[:NAMED])) + more
