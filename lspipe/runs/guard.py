"""Pixels of a run, compared with the training data of its model -> continue, warn, or refuse.

Before the first block, `check_before_run` reads nine places of each tile and date, and refuses the
run if one of them is far from the training data. It never refuses single blocks: a lake that fills
a block would leave a hole in the map, and another block size another hole.

Each block then counts a sample of its own pixels. The sums per tile and date are in `run.json`;
the summary of the run warns where they are unusual.

`inference.unfamiliar` decides: `refuse`, `warn` (no check before the run), or `ignore` (nothing is
counted). A model without statistics has nothing to compare with.
"""

from __future__ import annotations

import shlex
from itertools import product
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np

from lspipe.cube import radar, terrain
from lspipe.cube.masking import Place
from lspipe.cube.pairs import is_baseline, open_dates, unmasked
from lspipe.errors import LoadError, UsageError, first_few
from lspipe.inference import windows
from lspipe.inference.familiarity import Channel, channels, count, sample
from lspipe.inference.inputs import WINDOW_KINDS
from lspipe.inference.observed import observed
from lspipe.inference.settings import Setting
from lspipe.machine.ahead import in_order
from lspipe.runs.events import Look
from lspipe.runs.model import cube_of
from lspipe.runs.reading import lookers_here
from lspipe.schema import bands_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.cube.choice import Step
    from lspipe.models.item import ModelItem
    from lspipe.models.statistics import Statistics
    from lspipe.runs.events import Report
    from lspipe.runs.frozen import FrozenRun
    from lspipe.runs.plan import Plan, TilePlan
    from lspipe.runs.reading import Readers
    from lspipe.schema import Part
    from lspipe.search.on_grid import AreaOnGrid

WARN, REFUSE = (0.1, 2.0), (0.5, 3.0)
"""Share of a channel's pixels outside of the range of training, and distance of its mean in
standard deviations, from which a run warns, and is refused. Among 100 patches of Landslide4Sense,
one has more than 0.015 outside, ten are more than 1.3 away, and one more than 2.3; a tile is
thousands of patches, and its mean nearer. An offset of 0.1 moves their blue bands by 4 and more."""

PLACES = 9
"""Places of a tile and date that are read before a run: half a percent of a whole tile."""

PLACE = 256
"""Edge of a place, pixels: half a block of most cloud-optimised files, so one or a few reads."""


def trained_on(plan: Plan) -> Statistics | None:
    """Return the statistics to compare pixels with; None if there are none, or it is turned off."""
    return None if plan.workflow.inference.unfamiliar == "ignore" else plan.model.statistics


# --- before anything is computed ----------------------------------------------------------------


def check_before_run(
    plan: Plan,
    wanted: Iterable[tuple[str, int]],
    *,
    run: Path,
    report: Report,
    readers: Readers = lookers_here,
) -> None:
    """Read a few places of tiles and dates, and refuse what is far from the training data.

    Nothing is read unless the workflow has `unfamiliar: refuse` and the model has statistics. A
    tile that cannot be read, or shows no ground at these places, is left to its blocks, which
    report it.

    Args:
        plan: what is to be done.
        wanted: tile and step of what is left to do.
        run: directory of the run, for the message.
        report: called for each tile and date that is checked.
        readers: who reads; called with how many tiles and dates there are, and not where there is
            nothing to read.

    Raises:
        UsageError: names tile, date, channels, and what to do.
    """
    if plan.workflow.inference.unfamiliar != "refuse" or plan.model.statistics is None:
        return
    trained, tiles = plan.model.statistics, {tile.tile.name: tile for tile in plan.tiles}
    judged = [place for place in wanted if tiles[place[0]].is_judged(place[1])]
    if not judged:
        return

    def read(place: tuple[str, int]) -> tuple[str, int, NDArray[np.float32] | LoadError]:
        name, step = place
        try:
            return name, step, _values(plan, tiles[name], step)
        except LoadError as error:
            return name, step, error

    with readers(len(judged)) as reading:
        for name, step, values in in_order(read, judged, **reading._asdict()):
            if isinstance(values, LoadError):
                report(Look(name, step, pixels=0, error=str(values)))
                continue
            report(Look(name, step, pixels=values.shape[1]))
            found = channels([count(values, trained)], trained, plan.model.bands)
            if any(_exceeds(channel, REFUSE) for channel in found):
                raise UsageError(
                    _refusal(plan.model, _date(name, tiles[name].steps[step]), found, run)
                )


def _refusal(model: ModelItem, date: str, found: Iterable[Channel], run: Path) -> str:
    check = ["lspipe", "model", "check", model.networks[0].reference, "--data", str(run)]
    return (
        f"{date} is not like what model {model.id} was trained on: {_named(found, REFUSE)}; "
        "nothing of it was computed\n"
        f"hint: `{shlex.join(check)}` names the mistake, if it is a known one; put it right or "
        "take another model; `inference: {unfamiliar: warn}` runs it as it is"
    )


def read_again(run: FrozenRun, item: ModelItem) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Read the places of a run as `check_before_run` does, in the units of any model.

    Args:
        run: a run directory, finished or planned.
        item: whose channels and scaling the pixels get.

    Yields:
        Per tile and date its name, "18GYS after (2018-01-20)", and float32 (channel, pixel).

    Raises:
        SamplesError: the scenes of the run lack a channel of the model.
        LoadError: a read failed.
    """
    setting = Setting(window=item.window, stride=item.window, tta="none", batch_size=1)
    for tile in run.tiles:
        for step in tile.steps:
            if is_baseline(item.bands, step.role):
                continue
            is_by_tile = item.scaling.kind == "tile-minmax"
            places = _places(tile.geobox.shape, tile.area, _edge(item, setting))
            yield (
                _date(tile.name, step),
                _sampled(
                    [(place, run.read(tile, step, item.bands, place)) for place in places],
                    tile.area,
                    tile_shape=tile.geobox.shape,
                    setting=setting,
                    scaling=item.scaling,
                    tile_range=run.range_of(tile, step, item.bands) if is_by_tile else None,
                ),
            )


def _values(plan: Plan, tile: TilePlan, step: int) -> NDArray[np.float32]:
    """Read the places of a tile and date: (channel, pixel) in model units, observed pixels."""
    grid = tile.tile.geobox
    places = _places(grid.shape, tile.area, _edge(plan.model, plan.setting))
    cubes = [
        open_dates(
            tile.steps[step],
            tile.steps,
            grid[place],
            channels=plan.model.bands,
            bands=bands_on(plan.model.bands, tile.steps[step].role),
            radiometry=tile.radiometry,
            spec=cube_of(plan.workflow),
            chunks=tuple((span.stop - span.start,) for span in place),
            place=Place((place[0].start, place[1].start), grid.shape),
            layers=_layers(tile, step, place),
        )
        for place in places
    ]
    names = list(plan.model.bands)
    read = dask.compute(
        *((each["reflectance"].sel(band=names).data, ~unmasked(each).data) for each in cubes)
    )
    return _sampled(
        zip(places, read, strict=True),
        tile.area,
        tile_shape=grid.shape,
        setting=plan.setting,
        scaling=plan.model.scaling,
        bands=plan.model.bands,
        tile_range=tile.tile_ranges[step] if tile.tile_ranges else None,
    )


def _layers(tile: TilePlan, step: int, place: Part) -> dict[str, da.Array]:
    """Read the channels of a place that are not of the scenes."""
    grid, found = tile.tile.geobox, dict[str, da.Array]()
    if tile.terrain is not None:
        found |= terrain.part_layers(tile.terrain, grid, place, tile.layers)
    if tile.radar is not None:
        rows, columns = place
        found |= radar.layers(
            tile.radar,
            grid,
            tile.backscatter,
            ((rows.stop - rows.start,), (columns.stop - columns.start,)),
            role=tile.steps[step].role,
            origin=(rows.start, columns.start),
        )
    return found


def _sampled(
    parts: Iterable[tuple[Part, tuple[NDArray[np.int16], NDArray[Any]]]],
    area: AreaOnGrid | None,
    **arguments: Any,
) -> NDArray[np.float32]:
    """Sample pixels of places, masked where not 0; `arguments` as in `familiarity.sample`."""
    return np.concatenate(
        [
            sample(
                pixels,
                origin=(place[0].start, place[1].start),
                core=place,
                observed=observed(pixels, masked != 0),
                area=None if area is None else area[place],
                **arguments,
            )
            for place, (pixels, masked) in parts
        ],
        axis=1,
    )


def _edge(model: ModelItem, setting: Setting) -> int:
    """Edge of a place: where windows are scaled by their own values, it holds a counted one."""
    is_by_window = model.scaling.kind in WINDOW_KINDS
    return max(PLACE, 2 * setting.window if is_by_window else 0)


def _places(shape: Sequence[int], area: AreaOnGrid | None, edge: int) -> list[Part]:
    """Draw places of a tile that touch the area, by lot, and the same ones every time."""
    rows, columns = (
        [slice(start, min(start + edge, length)) for start in windows.origins(length, edge, edge)]
        for length in shape
    )
    every = [part for part in product(rows, columns) if area is None or area[part].any()]
    # A fixed step through the rows would follow one column of some tiles.
    drawn = np.random.default_rng(0).permutation(len(every))[:PLACES]
    return [every[number] for number in sorted(drawn)]


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
    counts: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for event in blocks:
        if event.get("inputs"):
            counts.setdefault((event["tile"], event["step"]), []).append(event["inputs"])
    facts: dict[str, list[dict[str, Any]]] = {}
    for tile, number, step in (
        (t.tile.name, *each) for t in plan.tiles for each in enumerate(t.steps)
    ):
        counted, trained = counts.get((tile, number)), plan.model.statistics
        if not counted or trained is None:
            continue
        found = channels(counted, trained, plan.model.bands)
        entry = {
            "role": step.role,
            "time": step.time.isoformat(),
            "pixels": sum(each["pixels"] for each in counted),
            "channels": {
                channel.name: {
                    "outside": round(channel.outside, 4),
                    "distance": round(channel.distance, 2),
                }
                for channel in found
            },
        }
        facts.setdefault(tile, []).append(entry)
    return facts


def warnings(facts: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[str]:
    """Return a line per tile and date that is unlike training, the most unusual channels first.

    Args:
        facts: of `inputs`.
    """
    return [
        f"{tile} {entry['role']}: {named}"
        for tile, entries in facts.items()
        for entry in entries
        if (named := _named([Channel(name, **it) for name, it in entry["channels"].items()], WARN))
    ]


def _exceeds(channel: Channel, limits: tuple[float, float]) -> bool:
    outside, distance = limits
    return channel.outside >= outside or abs(channel.distance) >= distance


def _excess(channel: Channel) -> float:
    """Rank channels: 1 is where a run is refused."""
    outside, distance = REFUSE
    return max(channel.outside / outside, abs(channel.distance) / distance)


def _named(found: Iterable[Channel], limits: tuple[float, float]) -> str:
    """List the channels beyond the limits, the most unusual first."""
    unusual = sorted((each for each in found if _exceeds(each, limits)), key=_excess, reverse=True)
    return first_few(unusual, 3, between="; ")


def _date(tile: str, step: Step) -> str:
    return f"{tile} {step.role} ({step.time:%Y-%m-%d})"
