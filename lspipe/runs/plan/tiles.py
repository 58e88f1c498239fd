"""One tile -> its plan: scenes, bands, blocks, radiometry."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING, Any

import dask
import numpy as np

from lspipe import catalogs, preprocess
from lspipe.cube.choice import choose
from lspipe.cube.evidence import BANDS as EVIDENCE_BANDS
from lspipe.cube.files import declared as declared_in_files
from lspipe.cube.offsets import radiometry_of_pixels
from lspipe.cube.pairs import unmasked
from lspipe.cube.radar import Radar
from lspipe.cube.recorded import recorded_radiometry, recorded_steps
from lspipe.cube.scene import check_masks, require
from lspipe.cube.step_cube import StepCube
from lspipe.errors import LoadError, ModelError, RadiometryError, UsageError, WorkflowError
from lspipe.inference import windows
from lspipe.preprocess import Radiometry
from lspipe.preprocess.masks import mask_bands, sources
from lspipe.runs.model import cube_of
from lspipe.runs.plan.nouns import TilePlan, outer_pixels
from lspipe.runs.plan.radar import radar_of
from lspipe.runs.store import Grid
from lspipe.schema import (
    CUBE_NODATA,
    REFLECTANCE_SCALE,
    is_pair,
    split_channel,
    steps_of,
)
from lspipe.search.on_grid import AreaOnGrid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pystac

    from lspipe.cube.choice import Step
    from lspipe.cube.sentinel1 import Items
    from lspipe.cube.terrain import Terrain
    from lspipe.inference.settings import Setting
    from lspipe.inference.windows import Block
    from lspipe.models import ModelItem
    from lspipe.preprocess.masks import MaskSource
    from lspipe.runs.plan.nouns import RadiometryTable
    from lspipe.schema import Part
    from lspipe.search.acquisitions import Tile
    from lspipe.search.areas import Area
    from lspipe.search.on_grid import Known
    from lspipe.workflow import Workflow

logger = logging.getLogger(__name__)

BLOCK_SIZES = (3660, 1830, 1220, 610)
"""Block edges that `auto` chooses from, the largest first: a third of a Sentinel-2 tile, and its
halves and thirds."""

SMALLEST_CHUNK = 256
"""Zarr chunks below this edge make too many files: 1800 per array on a tile, pixels."""


def plan_tile(
    tile: Tile,
    workflow: Workflow,
    area: Area,
    item: ModelItem,
    setting: Setting,
    *,
    decided: Mapping[str, Any] | None,
    block: int | None,
    terrain: Terrain | None = None,
    radar_items: Items | None = None,
) -> TilePlan | None:
    """Plan one tile; None if no pixel of it is in the area, as a footprint is only rough.

    Args:
        tile: with its acquisitions per date.
        workflow: of the run.
        area: of interest.
        item: the model.
        setting: of the inference.
        decided: the tile's entry in an earlier `run.json`, to be used; None = decide now.
        block: block size of an existing store; None = that of the workflow, or the best one.
        terrain: the heights of the run.
        radar_items: of Sentinel-1, of each side; None = the run reads no radar.
    """
    mask = AreaOnGrid(area, tile.geobox)
    known = mask.known()
    if not known.touched([_whole(tile)])[0]:
        return None
    if decided is None:
        steps, candidates = _choose(tile, workflow, mask)
    else:
        steps, candidates = recorded_steps(tile, decided), tuple(decided["candidates"])
    cube = cube_of(workflow)
    hidden_by = sources(cube.mask)
    bands = _bands(tile, steps, item, hidden_by, needs_classes=cube.mask.needs_classes)
    extra = tuple(band for band in mask_bands(hidden_by) if band not in bands)
    table = (
        _decide_radiometry(tile, steps, (*bands, *extra), workflow, mask)
        if decided is None
        else recorded_radiometry(decided)
    )
    inside = None if known.is_everywhere() else known
    size = block or _block_size(tile, workflow, setting, inside)
    cut = windows.blocks(tile.geobox.shape, size, setting.halo)
    grid = Grid(
        tile=tile.name,
        geobox=tile.geobox,
        times=tuple(round(step.time.timestamp()) for step in steps),
        roles=tuple(step.role for step in steps),
        chunk=windows.chunk_of(size),
        block=size,
        blocks=(cut[-1].index[0] + 1, cut[-1].index[1] + 1),
    )
    radar = Radar(name="", passes=())
    if radar_items is not None:
        radar = radar_of(workflow, radar_items, tile, area, decided=decided)
    plan = TilePlan(
        tile=tile,
        steps=steps,
        radiometry=table,
        bands=bands,
        channels=item.bands,
        mask_bands=extra,
        area=None if inside is None else mask,
        grid=grid,
        halo=setting.halo,
        blocks=tuple(_touching(cut, inside)),
        candidates=candidates,
        tile_ranges=None,
        terrain=None if terrain is None else terrain.near(tile.geobox),
        layers=item.channels_from("terrain"),
        radar=radar if radar.passes else None,
        backscatter=item.channels_from("radar"),
        radar_notes=radar.notes,
        radar_asked=radar.asked,
    )
    if "tile-minmax" not in item.scaling_kinds:
        return plan
    ranges = (
        tuple(tuple(map(tuple, step)) for step in decided["tile_ranges"])
        if decided is not None
        else tuple(_tile_range(plan, step, workflow, item) for step in steps)
    )
    return replace(plan, tile_ranges=ranges)


def _whole(tile: Tile) -> Part:
    rows, columns = tile.geobox.shape
    return slice(0, int(rows)), slice(0, int(columns))


def _choose(
    tile: Tile, workflow: Workflow, mask: AreaOnGrid
) -> tuple[tuple[Step, ...], tuple[Mapping[str, Any], ...]]:
    steps: list[Step] = []
    candidates: list[Mapping[str, Any]] = []
    for role in ("before", "after"):
        if tile.acquisitions.get(role):
            count = len(tile.acquisitions[role])
            logger.info("%s: choosing the %s scene, of %d", tile.name, role, count)
            choice = choose(tile, role, cube_of(workflow), area_mask=mask)
            steps += choice.steps
            candidates += choice.candidates
    return tuple(steps), tuple(candidates)


def _bands(
    tile: Tile,
    steps: tuple[Step, ...],
    item: ModelItem,
    masks: Sequence[MaskSource],
    *,
    needs_classes: bool,
) -> tuple[str, ...]:
    """Return the bands to load; raise if a scene lacks a band of the model, or the mask's."""
    wanted = tuple(dict.fromkeys(split_channel(name)[1] for name in item.channels_from("scenes")))
    shared: set[str] | None = None
    for step in steps:
        for scene in step.items:
            if needs_classes:
                require(scene, ("SCL",))
            check_masks(scene, masks)
            assets = catalogs.band_assets(scene)
            lacking = [band for band in wanted if band not in assets]
            if lacking:
                raise ModelError(
                    f"model {item.id} needs {', '.join(lacking)}, which {scene.id} of tile "
                    f"{tile.name} does not have (it has {', '.join(sorted(assets))}); "
                    "choose another model or collection"
                )
            shared = set(assets) if shared is None else shared & set(assets)
    extra = (band for band in EVIDENCE_BANDS if band in (shared or ()) and band not in wanted)
    return (*wanted, *extra)


def _block_size(tile: Tile, workflow: Workflow, setting: Setting, inside: Known | None) -> int:
    """Return the block size of the workflow, or the one that reads least for the area."""
    halo = setting.halo
    asked = workflow.execution.block
    if asked != "auto":
        if asked < min(halo, max(tile.geobox.shape)):
            raise WorkflowError(f"execution.block: found {asked}, expected at least {halo}, a halo")
        if windows.chunk_of(asked) < min(asked, SMALLEST_CHUNK):
            raise WorkflowError(
                f"execution.block: found {asked}, which no chunk of {SMALLEST_CHUNK} to "
                f"{windows.CHUNK} px divides; take a multiple of {windows.CHUNK}"
            )
        return asked
    sizes = [size for size in BLOCK_SIZES if size >= halo] or [halo]
    return min(sizes, key=lambda size: _pixels_read(tile, size, halo, inside))


def _pixels_read(tile: Tile, size: int, halo: int, inside: Known | None) -> int:
    """Count the pixels, with halos, of the blocks that touch the area."""
    return sum(
        outer_pixels(block)
        for block in _touching(windows.blocks(tile.geobox.shape, size, halo), inside)
    )


def _touching(cut: Sequence[Block], inside: Known | None) -> list[Block]:
    if inside is None:
        return list(cut)
    return list(compress(cut, inside.touched([block.core for block in cut])))


# --- radiometry ---------------------------------------------------------------------------------


def _decide_radiometry(
    tile: Tile,
    steps: tuple[Step, ...],
    bands: tuple[str, ...],
    workflow: Workflow,
    mask: AreaOnGrid,
) -> RadiometryTable:
    """Decide scale and offset per item and asset; read pixels where metadata cannot decide."""
    table: RadiometryTable = {}
    scenes = {scene.id: scene for step in steps for scene in step.items}.values()
    headers = declared_in_files(scenes, (*bands, "SCL"), tile.geobox, workflow.cube)
    for scene in scenes:
        assets = catalogs.band_assets(scene)
        from_pixels: Radiometry | None = None
        seen: Radiometry | None = None
        for band in bands:
            header = headers.get((scene.id, assets[band]))
            tags = (header.scale, header.offset) if header else preprocess.NO_TAGS
            decision = preprocess.radiometry(scene, assets[band], tags=tags)
            if decision.offset is None:
                # Read once per item: ESA's offset is the same for all bands of a product.
                from_pixels = from_pixels or radiometry_of_pixels(
                    scene, tile.geobox, workflow.cube, area_mask=np.asarray(mask)
                )
                decision = from_pixels
            elif preprocess.rests_on_baseline(scene, assets[band], tags=tags):
                seen = _seen(scene, tile, workflow, mask) if seen is None else seen
                decision = contradicted(decision, seen)
            table[scene.id, assets[band]] = replace(decision, file=header.text() if header else "")
    return table


def _seen(scene: pystac.Item, tile: Tile, workflow: Workflow, mask: AreaOnGrid) -> Radiometry:
    """Return what the pixels of a scene say of its offset; None in it where they say nothing."""
    try:
        return radiometry_of_pixels(scene, tile.geobox, workflow.cube, area_mask=np.asarray(mask))
    except (LoadError, RadiometryError, UsageError) as error:
        return Radiometry(REFLECTANCE_SCALE, None, str(error))


def contradicted(decision: Radiometry, seen: Radiometry) -> Radiometry:
    """Return the decision of metadata, unless the pixels contradict it; the reason says so.

    Example:
        >>> from lspipe.preprocess import Radiometry
        >>> told = Radiometry(1e-4, -0.1, "baseline 05.09 from generic: offset -0.1")
        >>> contradicted(told, Radiometry(1e-4, 0.0, "31 % are below 1000: shifted already")).reason
        'baseline 05.09 from generic: offset -0.1, but 31 % are below 1000: shifted already'
    """
    if seen.offset in (None, decision.offset):
        return decision
    return replace(seen, reason=f"{decision.reason}, but {seen.reason}")


def cube_of_step(plan: TilePlan, step: Step, workflow: Workflow) -> StepCube:
    """Return what decides the pixels of a step, of a pair model those of a pair; it travels."""
    steps = plan.steps if is_pair(plan.channels) else (step,)
    items = {item.id for each in steps for item in each.items}
    return StepCube(
        step=step,
        steps=steps,
        geobox=plan.tile.geobox,
        channels=plan.channels,
        bands=plan.bands,
        radiometry={key: found for key, found in plan.radiometry.items() if key[0] in items},
        spec=cube_of(workflow),
        terrain=plan.terrain,
        layers=plan.layers,
        min_slope_deg=workflow.terrain.min_slope_deg,
        radar=plan.radar,
        backscatter=plan.backscatter,
    )


def open_step(plan: TilePlan, step: Step, workflow: Workflow) -> Any:
    """Open the lazy cube of one step, with one chunk per block; of a pair model that of a pair."""
    return cube_of_step(plan, step, workflow).whole(plan.chunks)


def _tile_range(
    plan: TilePlan, step: Step, workflow: Workflow, item: ModelItem
) -> tuple[tuple[float, float], ...]:
    """Return lowest and highest observed value of a tile, per band of the model.

    Nothing for a date on which no network runs.
    """
    if step not in plan.judged:
        return ()
    opened = open_step(plan, step, workflow)
    codes = opened["reflectance"].sel(band=list(item.bands))
    # What is left out for its slope was seen; terrain that is not known was not.
    values = codes.where(unmasked(opened) & (codes != CUBE_NODATA).all("band"))
    low, high = dask.compute(values.min(("y", "x")), values.max(("y", "x")))
    # In float32, as `run_block` scales: the last bit must be that of `lspipe.detect`.
    steps = np.broadcast_to(steps_of(item.bands), len(item.bands))
    return tuple(
        (float(np.float32(a) * scale), float(np.float32(b) * scale))
        for a, b, scale in zip(low.to_numpy(), high.to_numpy(), steps, strict=True)
    )
