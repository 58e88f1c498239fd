"""Workflow -> `Plan`: everything that decides a pixel, fixed before the first block.

From frozen items the plan decides, per tile, which scenes are used and how each is turned into
reflectance, cuts blocks, and computes the two fingerprints.

    nouns        the types of a plan
    heights      the files of the section `terrain:`, and whether they cover the area
    radar        the items of the section `radar:`, and which passes of them a tile is read from
    tiles        one tile: scenes, bands, blocks, radiometry
    settled      device, precision, runtime, batch size: of this machine, or of a worker
    recorded     the decisions as JSON
    canonical    JSON to its hash

See also: `runs/cost.py`, the cost of a plan.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lspipe.errors import NothingFound
from lspipe.inference.reference import ModelReference
from lspipe.inference.settings import NUMERICS
from lspipe.machine.ahead import in_order
from lspipe.runs.model import read_model
from lspipe.runs.plan import radar
from lspipe.runs.plan.canonical import fingerprint
from lspipe.runs.plan.heights import check_covers, heights_of
from lspipe.runs.plan.nouns import BYTES_PER_PIXEL, Plan, TilePlan, outer_pixels
from lspipe.runs.plan.recorded import THREADS, change_inputs, detection_inputs, record
from lspipe.runs.plan.settled import largest_batch, reference_of
from lspipe.runs.plan.tiles import BLOCK_SIZES, cube_of_step, open_step, plan_tile
from lspipe.runs.reading import IN_TURN, planners_here
from lspipe.runs.validation import check_channels, check_list
from lspipe.search.acquisitions import thaw
from lspipe.search.areas import read_area

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lspipe.models import ModelItem
    from lspipe.runs.plan.settled import Settled
    from lspipe.runs.reading import Readers
    from lspipe.search.acquisitions import Tile
    from lspipe.workflow import Workflow

__all__ = [
    "BLOCK_SIZES",
    "BYTES_PER_PIXEL",
    "THREADS",
    "Plan",
    "TilePlan",
    "cube_of_step",
    "fingerprint",
    "make",
    "open_step",
    "outer_pixels",
    "record",
]


def make(
    workflow: Workflow,
    *,
    frozen: Mapping[str, Any],
    decided: Mapping[str, Any] | None = None,
    blocks: Mapping[str, int] | None = None,
    earlier: Settled | None = None,
    settled: Settled | None = None,
    readers: Readers = planners_here,
) -> Plan:
    """Make the plan of a workflow.

    Args:
        workflow: of the run.
        frozen: content of `items.json`, of `search.freeze`.
        decided: `tiles` of an earlier `run.json`: scenes and radiometry per tile, which are used
            instead of deciding again, so that resuming needs no network.
        blocks: block size per tile of an existing store, instead of `execution.block`.
        earlier: of an earlier `run.json`, whose runtime and batch size `auto` then keeps: nothing
            is measured or probed.
        settled: what blocks are computed on; None = this machine decides, and opens the model.
        readers: who reads where scenes have to be chosen; called with the number of tiles.

    Raises:
        NothingFound: no pixel of any tile lies in the area.
        UsageError: the model, a scene or the area cannot be used.
    """
    item, setting, sources = read_model(workflow)
    spec = workflow.inference
    if settled is None:
        kept = earlier if spec.runtime == "auto" else None
        reference = ModelReference.of(
            item,
            device=spec.device,
            precision=spec.precision,
            runtime=spec.runtime if kept is None else kept.runtime,
        )
        why = "" if kept is None else kept.why
    else:
        reference, why = reference_of(item, settled), settled.why
    asked = workflow.change.threshold
    limit = item.threshold if asked is None else asked
    check_channels(workflow, item)
    check_list(workflow, item)
    area = read_area(workflow.aoi, workflow.folder)
    terrain = heights_of(workflow, frozen, item)
    backscatter = radar.items_of(workflow, frozen)

    def planned_tile(tile: Tile) -> TilePlan | None:
        return plan_tile(
            tile,
            workflow,
            area,
            item,
            setting,
            decided=(decided or {}).get(tile.name),
            block=(blocks or {}).get(tile.name),
            terrain=terrain,
            radar_items=backscatter,
        )

    tiles = list(thaw(frozen))
    # What is decided already needs no reads, and threads would only be in each other's way.
    with readers(len(tiles)) if decided is None else nullcontext(IN_TURN) as reading:
        planned = in_order(planned_tile, tiles, **reading._asdict())
        plans = tuple(plan for plan in planned if plan is not None)
    if not plans:
        raise NothingFound(f"{area.source}: no pixel of the found scenes lies in this area")
    if terrain is not None:
        grids = [plan.tile.geobox for plan in plans]
        check_covers(terrain, area, grids, is_collection=workflow.terrain.is_collection)
    if backscatter is not None:
        radar.check_is_there(plans, item)
    if sources["batch_size"] == "auto" and settled is not None:
        size, sources["batch_size"] = settled.batch_size, "a worker"
        setting = replace(setting, batch_size=size)
    elif sources["batch_size"] == "auto":
        size, sources["batch_size"] = _batch_size(
            reference, item, plans, window=setting.window, earlier=earlier
        )
        setting = replace(setting, batch_size=size)
    return Plan(
        workflow=workflow,
        area=area,
        tiles=plans,
        model=item,
        reference=reference,
        setting=setting,
        sources=sources,
        detection_inputs=detection_inputs(
            workflow,
            area,
            plans,
            item=item,
            setting=setting,
            reference=reference,
            numerics=NUMERICS,
            terrain=terrain,
        ),
        change_inputs=change_inputs(
            workflow,
            limit,
            terrain,
            None if backscatter is None else {plan.tile.name: plan.radar for plan in plans},
        ),
        threshold=limit,
        notes=(*_notes(frozen), *(text for plan in plans for text in plan.radar_notes)),
        terrain=terrain,
        is_settled=settled is None or settled.is_final,
        runtime_why=why,
    )


def _notes(frozen: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what searches said; older files have no such keys."""
    return (*frozen.get("lspipe:notes", ()), *frozen.get(radar.KEY, {}).get("notes", ()))


def _batch_size(
    reference: ModelReference,
    item: ModelItem,
    plans: tuple[TilePlan, ...],
    *,
    window: int,
    earlier: Settled | None,
) -> tuple[int, str]:
    """Return the batch size for `batch_size: auto`, and its source.

    Another size may change the last bit, so it is decided once, before the first block, and kept
    when a run is resumed.
    """
    if earlier is not None:
        return earlier.batch_size, "earlier run"
    size = largest_batch(reference, item, window, max(plan.largest_block for plan in plans))
    return size, "probed" if reference.device.startswith("cuda") else "default"
