"""Workflow -> `Plan`: everything that decides a pixel, fixed before the first block.

The plan searches (or takes the frozen items of an earlier plan), decides per tile which scenes are
used and how each is turned into reflectance, cuts blocks, and makes the two fingerprints.

See also: `estimate.py`, what a plan costs.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import dask
import numpy as np

from lspipe import catalogs, cube, models, preprocess, search, windows
from lspipe.errors import ModelError, NothingFound, WorkflowError, without_query
from lspipe.evidence import BANDS as EVIDENCE_BANDS
from lspipe.inference import NUMERICS
from lspipe.models.item import SHIPPED_PREFIX
from lspipe.presets import Setting, resolve
from lspipe.schema import REFLECTANCE_SCALE
from lspipe.store import Grid
from lspipe.worker import ModelReference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from lspipe.cube import Step
    from lspipe.models import ModelItem
    from lspipe.preprocess import Radiometry
    from lspipe.search import Area, Tile
    from lspipe.windows import Block
    from lspipe.workflow import Workflow

logger = logging.getLogger(__name__)

BLOCK_SIZES = (3660, 1830, 1220, 610)
"""Block edges that `auto` chooses from: a third of a Sentinel-2 tile and its halves and thirds."""

SMALLEST_CHUNK = 256
"""Zarr chunks below this edge make too many files: 1800 per array on a tile, pixels."""

THREADS = 1
"""torch threads per worker: two workers of one thread beat one of two by 16 % (PERFORMANCE)."""

RadiometryTable = dict[tuple[str, str], "Radiometry"]


@dataclass(frozen=True)
class TilePlan:
    """What will be done on one tile."""

    tile: Tile
    steps: tuple[Step, ...]
    radiometry: RadiometryTable
    """Decision per (item id, asset key)."""
    bands: tuple[str, ...]
    """Bands to load: the model's, then those of the evidence that every item has."""
    required: tuple[str, ...]
    """The model's bands: only they decide what is observed."""
    area: NDArray[np.bool_] | None
    """Bool (y, x) of the tile, True inside the area; None = everywhere."""
    grid: Grid
    window: int
    """Edge of a window, pixels; halos are one less."""
    blocks: tuple[Block, ...]
    """Blocks that touch the area."""
    candidates: tuple[Mapping[str, Any], ...]
    """Every scene that was considered, with its masked share over the area."""
    tile_ranges: tuple[tuple[tuple[float, float], ...], ...] | None
    """Minimum and maximum per step and band, for models scaled by tile."""

    @property
    def chunks(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Dask chunk sizes (y, x): one chunk per block."""
        window = self.window
        rows, columns = (
            tuple(np.diff(windows.block_edges(length, self.grid.block, window)).tolist())
            for length in self.tile.geobox.shape
        )
        return rows, columns


@dataclass(frozen=True)
class Plan:
    """Everything that decides a pixel."""

    workflow: Workflow
    area: Area
    tiles: tuple[TilePlan, ...]
    model: ModelItem
    reference: ModelReference
    setting: Setting
    detection_inputs: Mapping[str, Any]
    change_inputs: Mapping[str, Any]

    @property
    def detection_fingerprint(self) -> str:
        """Names everything that decides a stored probability."""
        return fingerprint(self.detection_inputs)

    @property
    def change_fingerprint(self) -> str:
        """Names everything that decides the inventory."""
        return fingerprint({"detection": self.detection_fingerprint, **self.change_inputs})

    @property
    def is_two_date(self) -> bool:
        """Whether there is a before to compare with."""
        return "before" in self.workflow.dates.ranges()


def fingerprint(content: Mapping[str, Any]) -> str:
    """Return the sha256 (hex) of JSON in canonical form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def make(
    workflow: Workflow,
    *,
    frozen: Mapping[str, Any],
    decided: Mapping[str, Any] | None = None,
    blocks: Mapping[str, int] | None = None,
) -> Plan:
    """Make the plan of a workflow.

    Args:
        workflow: what is asked.
        frozen: content of `items.json`: what `search.freeze` made of a search.
        decided: `tiles` of an earlier `run.json`: scenes and radiometry per tile, which are then
            taken and not decided again, so that resuming needs no network.
        blocks: block size per tile of an existing store, which rules over `execution.block`.

    Raises:
        NothingFound: no pixel of any tile lies in the area.
        UsageError: the model, a scene or the area cannot be used.
    """
    item, setting = model_of(workflow)
    reference = _reference(workflow, item)
    area = search.read_area(workflow.aoi, workflow.folder)
    tiles = _touched(search.thaw(frozen), area)
    plans = tuple(
        _plan_tile(
            tile,
            workflow,
            area,
            item,
            setting,
            decided=(decided or {}).get(tile.name),
            block=(blocks or {}).get(tile.name),
        )
        for tile in tiles
    )
    return Plan(
        workflow=workflow,
        area=area,
        tiles=plans,
        model=item,
        reference=reference,
        setting=setting,
        detection_inputs=_detection_inputs(
            workflow, area, plans, item=item, setting=setting, reference=reference
        ),
        change_inputs={
            "change": asdict(workflow.change) | {"threshold": threshold(workflow, item)},
        },
    )


def _touched(tiles: Iterable[Tile], area: Area) -> list[Tile]:
    """Leave out tiles of which only the footprint, which is rough, meets the area."""
    touched = [tile for tile in tiles if search.area_on_grid(area, tile.geobox).any()]
    if not touched:
        raise NothingFound(f"{area.source}: no pixel of the scenes that were found lies in it")
    return touched


def model_of(workflow: Workflow) -> tuple[ModelItem, Setting]:
    """Read the model item of a workflow and resolve how it is applied.

    Raises:
        UsageError: the item cannot be used, or the settings do not go together.
    """
    name = workflow.model.item
    is_shipped = name.startswith(SHIPPED_PREFIX)
    item = models.ModelItem.from_file(name if is_shipped else workflow.folder / name)
    try:
        return item, resolve(workflow.inference, item.inference_defaults())
    except ValueError as error:
        raise WorkflowError(f"inference with model {item.id}: {error}") from error


def threshold(workflow: Workflow, item: ModelItem) -> float:
    """Return the threshold that rules: the workflow's, else the model item's."""
    asked = workflow.change.threshold
    return item.threshold if asked is None else asked


def _reference(workflow: Workflow, item: ModelItem) -> ModelReference:
    """Resolve where and how the network runs, as the workers will."""
    spec = workflow.inference
    runtime = models.load(
        item.reference,
        models.digest(item),
        device=spec.device,
        precision=spec.precision,
        runtime=spec.runtime,
    )
    return ModelReference(
        item=item.reference,
        sha256=models.digest(item),
        item_sha256=item.item_sha256,
        device=str(runtime.device),
        precision=runtime.precision,
        runtime=runtime.name,
    )


# --- one tile -----------------------------------------------------------------------------------


def _plan_tile(
    tile: Tile,
    workflow: Workflow,
    area: Area,
    item: ModelItem,
    setting: Setting,
    *,
    decided: Mapping[str, Any] | None,
    block: int | None,
) -> TilePlan:
    mask = search.area_on_grid(area, tile.geobox)
    if decided is None:
        steps, candidates = _choose(tile, workflow, mask)
    else:
        steps, candidates = _chosen(tile, decided), tuple(decided["candidates"])
    bands = _bands(tile, steps, item)
    table = (
        _decide_radiometry(tile, steps, bands, workflow, mask)
        if decided is None
        else _decided_radiometry(decided)
    )
    inside = None if mask.all() else mask
    size = block or _block_size(tile, workflow, setting, inside)
    cut = windows.blocks(tile.geobox.shape, size, setting.window)
    grid = Grid(
        tile=tile.name,
        geobox=tile.geobox,
        times=tuple(round(step.time.timestamp()) for step in steps),
        roles=tuple(step.role for step in steps),
        chunk=windows.chunk_of(size),
        block=size,
        blocks=(cut[-1].index[0] + 1, cut[-1].index[1] + 1),
    )
    plan = TilePlan(
        tile=tile,
        steps=steps,
        radiometry=table,
        bands=bands,
        required=item.bands,
        area=inside,
        grid=grid,
        window=setting.window,
        blocks=tuple(_touching(cut, inside)),
        candidates=candidates,
        tile_ranges=None,
    )
    if item.scaling.kind != "tile-minmax":
        return plan
    ranges = (
        tuple(tuple(map(tuple, step)) for step in decided["tile_ranges"])
        if decided is not None
        else tuple(_tile_range(plan, step, workflow, item) for step in steps)
    )
    return replace(plan, tile_ranges=ranges)


def _choose(
    tile: Tile, workflow: Workflow, mask: NDArray[np.bool_]
) -> tuple[tuple[Step, ...], tuple[Mapping[str, Any], ...]]:
    steps: list[Step] = []
    candidates: list[Mapping[str, Any]] = []
    for role in ("before", "after"):
        if tile.acquisitions.get(role):
            choice = cube.choose(tile, role, workflow.cube, area_mask=mask)
            steps += choice.steps
            candidates += choice.candidates
    return tuple(steps), tuple(candidates)


def _chosen(tile: Tile, decided: Mapping[str, Any]) -> tuple[Step, ...]:
    """Find the steps of an earlier plan again among the frozen items."""
    by_items = {
        frozenset(item.id for item in acquisition.items): acquisition
        for group in tile.acquisitions.values()
        for acquisition in group
    }
    return tuple(
        cube.Step(
            role=step["role"],
            acquisitions=tuple(by_items[frozenset(ids)] for ids in step["acquisitions"]),
        )
        for step in decided["steps"]
    )


def _bands(tile: Tile, steps: tuple[Step, ...], item: ModelItem) -> tuple[str, ...]:
    """Bands to load; refuses a model that wants what an item lacks."""
    shared: set[str] | None = None
    for step in steps:
        for scene in step.items:
            assets = catalogs.band_assets(scene)
            lacking = [band for band in item.bands if band not in assets]
            if lacking:
                raise ModelError(
                    f"model {item.id} wants {', '.join(lacking)}, which {scene.id} of tile "
                    f"{tile.name} does not have (it has {', '.join(sorted(assets))}); "
                    "choose another model or collection"
                )
            shared = set(assets) if shared is None else shared & set(assets)
    extra = (band for band in EVIDENCE_BANDS if band in (shared or ()) and band not in item.bands)
    return (*item.bands, *extra)


def _block_size(
    tile: Tile, workflow: Workflow, setting: Setting, inside: NDArray[np.bool_] | None
) -> int:
    """Take the block size the workflow says, or the one that reads least for the area."""
    halo = setting.window - 1
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
    return min(sizes, key=lambda size: _pixels_read(tile, size, setting.window, inside))


def _pixels_read(tile: Tile, size: int, window: int, inside: NDArray[np.bool_] | None) -> int:
    """Pixels with halos of the blocks that touch the area."""
    return sum(
        (rows.stop - rows.start) * (columns.stop - columns.start)
        for rows, columns in (
            block.outer
            for block in _touching(windows.blocks(tile.geobox.shape, size, window), inside)
        )
    )


def _touching(cut: Iterable[Block], inside: NDArray[np.bool_] | None) -> list[Block]:
    return [block for block in cut if inside is None or inside[block.core].any()]


# --- radiometry ---------------------------------------------------------------------------------


def _decide_radiometry(
    tile: Tile,
    steps: tuple[Step, ...],
    bands: tuple[str, ...],
    workflow: Workflow,
    mask: NDArray[np.bool_],
) -> RadiometryTable:
    """Decide scale and offset per item and asset; look at pixels where metadata cannot say."""
    table: RadiometryTable = {}
    for scene in {scene.id: scene for step in steps for scene in step.items}.values():
        assets = catalogs.band_assets(scene)
        from_pixels: Radiometry | None = None
        for band in bands:
            decision = preprocess.radiometry(scene, assets[band])
            if decision.offset is None:
                # One look per item: ESA's offset is the same for all bands of a product.
                from_pixels = from_pixels or cube.radiometry_of_pixels(
                    scene, tile.geobox, workflow.cube, area_mask=mask
                )
                decision = from_pixels
            table[scene.id, assets[band]] = decision
    return table


def _decided_radiometry(decided: Mapping[str, Any]) -> RadiometryTable:
    return {
        (entry["item"], entry["asset"]): preprocess.Radiometry(
            scale=entry["scale"], offset=entry["offset"], reason=entry["reason"]
        )
        for entry in decided["radiometry"]
    }


def open_step(plan: TilePlan, step: Step, workflow: Workflow) -> Any:
    """Open the lazy cube of one step, chunked as the tile's blocks."""
    return cube.open_cube(
        step,
        plan.tile.geobox,
        bands=plan.bands,
        radiometry=plan.radiometry,
        spec=workflow.cube,
        chunks=plan.chunks,
        required=plan.required,
    )


def _tile_range(
    plan: TilePlan, step: Step, workflow: Workflow, item: ModelItem
) -> tuple[tuple[float, float], ...]:
    """Minimum and maximum reflectance of the observed pixels of a tile, per band of the model."""
    opened = open_step(plan, step, workflow)
    values = opened["reflectance"].sel(band=list(item.bands)).where(opened["quality"] == 0)
    low, high = dask.compute(values.min(("y", "x")), values.max(("y", "x")))
    # In float32, as `run_block` scales: the last bit must be that of `lspipe.detect`.
    scale = np.float32(REFLECTANCE_SCALE)
    return tuple(
        (float(np.float32(a) * scale), float(np.float32(b) * scale))
        for a, b in zip(low.to_numpy(), high.to_numpy(), strict=True)
    )


# --- fingerprints and the record of decisions ---------------------------------------------------


def _detection_inputs(
    workflow: Workflow,
    area: Area,
    plans: tuple[TilePlan, ...],
    *,
    item: ModelItem,
    setting: Setting,
    reference: ModelReference,
) -> dict[str, Any]:
    """Everything that decides a stored probability, as plain JSON."""
    content = {
        "numerics": NUMERICS,
        "area": area.facts(),
        "dates": asdict(workflow.dates),
        "search": asdict(workflow.search) | {"catalog": without_query(workflow.search.catalog)},
        "cube": asdict(workflow.cube),
        "model": item.facts(),
        "inference": {
            **asdict(setting),
            "device": reference.device,
            "precision": reference.precision,
            "runtime": reference.runtime,
            "threads": THREADS,
        },
        "tiles": {plan.tile.name: _tile_inputs(plan) for plan in plans},
    }
    # Through JSON, so that what is compared with run.json has the same form.
    return dict(json.loads(json.dumps(content, default=str)))


def _tile_inputs(plan: TilePlan) -> dict[str, Any]:
    return {
        "grid": [
            f"EPSG:{plan.tile.geobox.crs.epsg}",
            list(plan.tile.geobox.shape),
            list(plan.tile.geobox.transform)[:6],
        ],
        "steps": [_step_record(step) for step in plan.steps],
        "radiometry": {
            f"{scene}/{asset}": [decision.scale, decision.offset]
            for (scene, asset), decision in sorted(plan.radiometry.items())
        },
    }


def _step_record(step: Step) -> dict[str, Any]:
    return {
        "role": step.role,
        "time": step.time.isoformat(),
        "acquisitions": [
            [item.id for item in acquisition.items] for acquisition in step.acquisitions
        ],
    }


def record(plan: TilePlan) -> dict[str, Any]:
    """What was decided for a tile, for `run.json`; `make(decided=...)` takes it back."""
    return {
        "steps": [_step_record(step) for step in plan.steps],
        "candidates": list(plan.candidates),
        "radiometry": [
            {"item": scene, "asset": asset, **asdict(decision)}
            for (scene, asset), decision in sorted(plan.radiometry.items())
        ],
        "tile_ranges": plan.tile_ranges,
        "blocks": len(plan.blocks),
    }
