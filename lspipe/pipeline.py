"""The whole of a run, in the order data flows: prepare, detect, compare, list, write.

`prepare` decides (or takes what an earlier run decided), `run` does what is left to do. Nothing is
printed: everything that happens is told to `report(event, **facts)`.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe import clusters, estimate, listing, search, store, stream, worker
from lspipe.errors import BlockError, StoreError, UsageError
from lspipe.plan import THREADS, Plan, TilePlan, make, model_of, open_step, record
from lspipe.record import Log, check_run_directory, describe_plan, read_status, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from lspipe.stream import Failure
    from lspipe.windows import Block
    from lspipe.workflow import Workflow

logger = logging.getLogger(__name__)

Report = "Callable[..., None]"


@dataclass(frozen=True)
class Prepared:
    """A plan and the run directory it belongs to."""

    run: Path
    plan: Plan
    previous: Mapping[str, Any] | None
    """`run.json` of an earlier run in this directory."""
    frozen: Mapping[str, Any]
    """Content of `items.json`."""

    @property
    def is_finished(self) -> bool:
        """Whether an earlier run did all of this."""
        return (
            self.previous is not None
            and self.previous["state"] == "finished"
            and self.previous["fingerprints"]["change"] == self.plan.change_fingerprint
            and set(self.plan.workflow.output.write) <= set(self.previous["outputs"])
            and all((self.run / path).exists() for path in self.previous["outputs"].values())
        )


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    run: Path
    state: str
    total: int
    done: int
    skipped: int
    failures: tuple[str, ...]
    observed_share: float
    """Share of the area observed on every date of the run, 0..1."""
    is_two_date: bool
    statuses: Mapping[str, int] = field(default_factory=dict)
    """Number of objects per status."""
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or 3 when blocks failed."""
        return BlockError.exit_code if self.failures else 0

    @property
    def is_complete(self) -> bool:
        """Whether there is a list of landslides to look at."""
        return bool(self.outputs)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "run": str(self.run),
            "state": self.state,
            "blocks": {
                "total": self.total,
                "done": self.done,
                "skipped": self.skipped,
                "failed": len(self.failures),
            },
            "failures": list(self.failures),
            "observed_share": self.observed_share,
            "statuses": dict(self.statuses),
            "outputs": dict(self.outputs),
        }


def plan(workflow: Workflow) -> Plan:
    """Make the plan of a workflow, in its run directory if there is one; writes nothing."""
    return prepare(workflow, Path(workflow.run_directory)).plan


def prepare(workflow: Workflow, run: Path, *, fresh: bool = False) -> Prepared:
    """Plan a run, with the frozen items and decisions of its directory if it has them.

    Args:
        workflow: what is asked.
        run: the run directory; need not exist.
        fresh: forget what is there and search again; removes it.

    Raises:
        StoreError: the directory holds the run of another workflow; says how they differ.
    """
    if fresh and run.exists():
        with store.lock(run):
            store.clear(run)
    frozen = store.read_json(run / "items.json") if (run / "items.json").exists() else None
    previous = store.read_json(run / "run.json") if (run / "run.json").exists() else None
    decided = (previous or {}).get("tiles", {})
    made = make(
        workflow,
        frozen=frozen,
        decided=decided,
        blocks={tile: size for tile in decided if (size := store.block_size(run, tile))},
    )
    if previous is not None:
        _refuse_another(previous, made, run)
    elif frozen is None:
        frozen = search.freeze([tile.tile for tile in made.tiles])
    return Prepared(run, made, previous, frozen or {})


def _refuse_another(previous: Mapping[str, Any], made: Plan, run: Path) -> None:
    if previous["fingerprints"]["detection"] == made.detection_fingerprint:
        return
    changed = store.differences(previous["detection_inputs"], dict(made.detection_inputs))
    more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
    raise StoreError(
        f"{run}: made by another workflow: {'; '.join(changed[:3])}{more}\n"
        "hint: choose another output, or start over with --fresh"
    )


def freeze(prepared: Prepared) -> None:
    """Write the frozen items and the decisions, unless the directory has them."""
    if prepared.previous is not None:
        return
    _make_directory(prepared.run)
    store.write_json(prepared.run / "items.json", prepared.frozen)
    store.write_json(prepared.run / "run.json", _run_json(prepared.plan, state="planned"))


def _make_directory(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{run}: cannot be made: {error.strerror}") from error
    if not (run / "items.json").exists() and any(p.name != ".lock" for p in run.iterdir()):
        raise StoreError(f"{run}: holds other files; choose an empty or new output folder")


def describe(prepared: Prepared) -> dict[str, Any]:
    """Facts of a plan, for `lspipe plan`."""
    return describe_plan(prepared.plan, run=prepared.run, done=_done_counts(prepared))


def _done_counts(prepared: Prepared) -> dict[str, int]:
    return {tile.tile.name: int(_done(prepared.run, tile).sum()) for tile in prepared.plan.tiles}


def validate(workflow: Workflow) -> dict[str, Any]:
    """Check what can be checked without searching: the model and the area.

    Raises:
        UsageError: the model item or the area cannot be used.
    """
    item, setting = model_of(workflow)
    area = search.read_area(workflow.aoi, workflow.folder)
    return {
        "name": workflow.name,
        "model": item.id,
        "bands": list(item.bands),
        "window": setting.window,
        "stride": setting.stride,
        "area": area.facts(),
        "run": str(workflow.run_directory),
    }


def status(run: Path) -> dict[str, Any]:
    """Say how far a run is: counts, rate, time left, failures grouped.

    Raises:
        StoreError: not a run directory.
    """
    check_run_directory(run)
    content = store.read_json(run / "run.json")
    done = {
        tile: int(store.done(run, tile).sum())
        for tile in content["tiles"]
        if store.block_size(run, tile) is not None
    }
    return read_status(run, content, done)


# --- run ----------------------------------------------------------------------------------------


def run(
    workflow: Workflow,
    *,
    output: Path | str | None = None,
    tiles: tuple[str, ...] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    limit: int | None = None,
    only_failed: bool = False,
    fresh: bool = False,
    report: Callable[..., None] = lambda *_, **__: None,
) -> Summary:
    """Run a workflow, or go on with a run.

    Args:
        workflow: what is asked.
        output: run directory; None = the workflow's.
        tiles: only these tiles.
        bounds: only blocks that touch west, south, east, north (degrees).
        limit: at most this many blocks.
        only_failed: only blocks that failed last time.
        fresh: search again and start over.
        report: told what happens: stage, dashboard, start, block, failure.

    Raises:
        LspipeError: the run cannot be done; blocks that fail do not raise, they are in the summary.
    """
    directory = Path(output) if output is not None else Path(workflow.run_directory)
    report("stage", text=f"planning {workflow.name}")
    prepared = prepare(workflow, directory, fresh=fresh)
    if prepared.is_finished:
        return _summary_of(prepared)
    try:
        return _run_locked(
            prepared,
            report,
            tiles=tiles,
            bounds=bounds,
            limit=limit,
            only_failed=only_failed,
        )
    except OSError as error:
        # A full disk, a folder that went away: what is done stays done.
        raise StoreError(
            f"{directory}: {error.strerror or error}; make room and run the same command again"
        ) from error


def _run_locked(prepared: Prepared, report: Callable[..., None], **selection: Any) -> Summary:
    _make_directory(prepared.run)
    with ExitStack() as stack:
        stack.enter_context(store.lock(prepared.run))
        freeze(prepared)
        log = stack.enter_context(closing(Log(prepared.run / "log.jsonl", report)))
        todo = _select(prepared, **selection)
        try:
            return _run(prepared, todo, log)
        except KeyboardInterrupt:
            log("interrupted")
            raise


Todo = dict[tuple[str, int], list["Block"]]


def _run(prepared: Prepared, todo: Todo, log: Log) -> Summary:
    plan = prepared.plan
    began = time.time()
    store.create(
        prepared.run,
        [tile.grid for tile in plan.tiles],
        fingerprint=plan.detection_fingerprint,
    )
    total = sum(len(tile.blocks) * len(tile.steps) for tile in plan.tiles)
    skipped = sum(_done_counts(prepared).values())
    log("start", total=sum(map(len, todo.values())))
    outcome = _detect(prepared, todo, log) if any(todo.values()) else stream.Outcome()
    log("stage", text="listing landslides")
    listed = listing.write(prepared.run, plan)
    left = total - skipped - outcome.done
    summary = Summary(
        run=prepared.run,
        state="finished" if left == 0 else ("failed" if outcome.failures else "partial"),
        total=total,
        done=outcome.done,
        skipped=skipped,
        failures=tuple(map(str, outcome.failures)),
        observed_share=listed.observed_share,
        is_two_date=plan.is_two_date,
        statuses=listed.statuses,
        outputs={name: str(path) for name, path in listed.outputs.items()},
    )
    _close(prepared, summary, outcome.failures, began)
    log("end", state=summary.state)
    return summary


def _detect(prepared: Prepared, todo: Todo, log: Log) -> stream.Outcome:
    """Compute the blocks on the workflow's cluster."""
    workflow = prepared.plan.workflow
    in_flight = workflow.execution.max_in_flight
    with clusters.start(workflow.cluster, workflow.execution) as client:
        log("dashboard", link=client.dashboard_link)
        return stream.compute(
            client,
            _batches(prepared, todo),
            retries=workflow.execution.retries,
            max_in_flight=None if in_flight == "auto" else in_flight,
            report=_counting_windows(prepared.plan, log),
        )


def _counting_windows(plan: Plan, log: Log) -> Callable[..., None]:
    """Add to every finished block how many windows it was."""
    tiles = {tile.tile.name: tile for tile in plan.tiles}

    def report(event: str, **facts: Any) -> None:
        if event == "block":
            result = facts.pop("result")
            tile = tiles[result.tile]
            block = next(block for block in tile.blocks if block.index == result.index)
            facts = {
                "tile": result.tile,
                "step": result.step,
                "index": result.index,
                "seconds": result.seconds,
                "windows": estimate.windows_in(tile, block, plan.setting),
            }
        log(event, **facts)

    return report


def _batches(prepared: Prepared, todo: Todo) -> Iterator[stream.Batch]:
    """One batch per (tile, step), whose graph is built when it is submitted."""
    plan = prepared.plan
    for tile in plan.tiles:
        for number, step in enumerate(tile.steps):
            blocks = todo.get((tile.tile.name, number), [])
            if not blocks:
                continue

            def build(
                tile: TilePlan = tile, number: int = number, step: Any = step, blocks: Any = blocks
            ) -> list[Any]:
                return worker.block_tasks(
                    open_step(tile, step, plan.workflow),
                    _job(prepared, tile, number),
                    blocks,
                    bands=plan.model.bands,
                    area=tile.area,
                )

            yield stream.Batch(
                tile.tile.name, number, tuple(block.index for block in blocks), build
            )


def _job(prepared: Prepared, tile: TilePlan, step: int) -> worker.StepJob:
    plan = prepared.plan
    return worker.StepJob(
        run=prepared.run.resolve(),
        tile=tile.tile.name,
        step=step,
        tile_shape=tuple(tile.tile.geobox.shape),
        model=plan.reference,
        setting=plan.setting,
        tile_range=tile.tile_ranges[step] if tile.tile_ranges else None,
        fill_masked=plan.workflow.cube.mask.apply == "input",
        threads=THREADS,
    )


# --- which blocks -------------------------------------------------------------------------------


def _done(run: Path, tile: TilePlan) -> NDArray[np.bool_]:
    """Blocks of the plan that are done: bool (step, block), in the order of `tile.blocks`."""
    if store.block_size(run, tile.tile.name) is None:
        return np.zeros((len(tile.steps), len(tile.blocks)), dtype=bool)
    cells = store.done(run, tile.tile.name)
    rows = [block.index[0] for block in tile.blocks]
    columns = [block.index[1] for block in tile.blocks]
    return cells[:, rows, columns]


def _select(
    prepared: Prepared,
    *,
    tiles: tuple[str, ...] | None,
    bounds: tuple[float, float, float, float] | None,
    limit: int | None,
    only_failed: bool,
) -> Todo:
    """Blocks of this call that are not done."""
    known = [tile.tile.name for tile in prepared.plan.tiles]
    for name in tiles or ():
        if name not in known:
            raise UsageError(f"--tiles {name}: not in this run; it has {', '.join(known)}")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: expected 1 or more")
    failed = _failed(prepared) if only_failed else None
    todo: Todo = {}
    for tile in prepared.plan.tiles:
        name = tile.tile.name
        if tiles is not None and name not in tiles:
            continue
        inside = _within(bounds, tile) if bounds else None
        done = _done(prepared.run, tile)
        for step in range(len(tile.steps)):
            todo[name, step] = [
                block
                for number, block in enumerate(tile.blocks)
                if not done[step, number]
                and (inside is None or inside[block.core].any())
                and (failed is None or (name, step, *block.index) in failed)
            ]
    return todo if limit is None else _first(todo, limit)


def _within(bounds: tuple[float, float, float, float], tile: TilePlan) -> NDArray[np.bool_]:
    """Pixels of a tile within west, south, east, north."""
    try:
        spec = search.AreaSpec(bbox=bounds)
    except ValueError as error:
        raise UsageError(f"--bounds: {error}") from error
    return search.area_on_grid(search.read_area(spec, Path()), tile.tile.geobox)


def _first(todo: Todo, limit: int) -> Todo:
    kept: Todo = {}
    for key, blocks in todo.items():
        kept[key] = blocks[:limit]
        limit -= len(kept[key])
    return kept


def _failed(prepared: Prepared) -> set[tuple[Any, ...]]:
    failures = (prepared.previous or {}).get("failures", [])
    return {(entry["tile"], entry["step"], *entry["index"]) for entry in failures}


# --- run.json -----------------------------------------------------------------------------------


def _run_json(plan: Plan, *, state: str) -> dict[str, Any]:
    return {
        "name": plan.workflow.name,
        "state": state,
        "workflow": plan.workflow.model_dump(mode="json"),
        "fingerprints": {
            "detection": plan.detection_fingerprint,
            "change": plan.change_fingerprint,
        },
        "detection_inputs": dict(plan.detection_inputs),
        "versions": versions(),
        "model": {
            "id": plan.model.id,
            "sha256": plan.reference.sha256,
            "item_sha256": plan.model.item_sha256,
            "device": plan.reference.device,
            "precision": plan.reference.precision,
            "runtime": plan.reference.runtime,
        },
        "tiles": {tile.tile.name: record(tile) for tile in plan.tiles},
        "outputs": {},
        "failures": [],
    }


def _close(prepared: Prepared, summary: Summary, failures: list[Failure], began: float) -> None:
    """Write the last word into `run.json`."""
    content = _run_json(prepared.plan, state=summary.state)
    content["counts"] = summary.as_json()["blocks"] | {"objects": dict(summary.statuses)}
    content["observed_share"] = summary.observed_share
    content["outputs"] = {
        name: str(Path(path).relative_to(prepared.run)) for name, path in summary.outputs.items()
    }
    content["failures"] = [
        {"tile": f.tile, "step": f.step, "index": list(f.index), "error": f.error} for f in failures
    ]
    seconds = (prepared.previous or {}).get("seconds", 0.0) + time.time() - began
    content["seconds"] = round(seconds, 1)
    store.write_json(prepared.run / "run.json", content)


def _summary_of(prepared: Prepared) -> Summary:
    """Return the summary of a run that an earlier call finished."""
    previous = prepared.previous or {}
    total = previous["counts"]["total"]
    return Summary(
        run=prepared.run,
        state=previous["state"],
        total=total,
        done=0,
        skipped=total,
        failures=(),
        observed_share=previous["observed_share"],
        is_two_date=prepared.plan.is_two_date,
        statuses=previous["counts"]["objects"],
        outputs={name: str(prepared.run / path) for name, path in previous["outputs"].items()},
    )
