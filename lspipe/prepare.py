"""A workflow and a run directory -> what is decided, and what is done already.

A directory that holds a run is taken as it is: its frozen items, its choice of scenes and its block
size rule, so that going on needs no search and no network. A directory of another workflow is
refused with what differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe import search, store
from lspipe.errors import StoreError
from lspipe.plan import Plan, TilePlan, make
from lspipe.record import run_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.workflow import Workflow


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
    # run.json is written last: items without it are of a plan that was cut off.
    previous = store.read_json(run / "run.json") if (run / "run.json").exists() else None
    frozen = None if previous is None else store.read_json(run / "items.json")
    decided = (previous or {}).get("tiles", {})
    made = make(
        workflow,
        frozen=frozen,
        decided=decided,
        blocks={tile: size for tile in decided if (size := store.block_size(run, tile))},
    )
    if previous is not None:
        _refuse_another(previous, made, run)
    if frozen is None:
        frozen = search.freeze([tile.tile for tile in made.tiles])
    return Prepared(run, made, previous, frozen)


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
    make_directory(prepared.run)
    store.write_json(prepared.run / "items.json", prepared.frozen)
    store.write_json(prepared.run / "run.json", run_json(prepared.plan, state="planned"))


def make_directory(run: Path) -> None:
    """Make a run directory.

    Raises:
        StoreError: it cannot be made, or holds files that are not a run's.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{run}: cannot be made: {error.strerror}") from error
    if not (run / "items.json").exists() and any(p.name != ".lock" for p in run.iterdir()):
        raise StoreError(f"{run}: holds other files; choose an empty or new output folder")


def done(run: Path, tile: TilePlan) -> NDArray[np.bool_]:
    """Blocks of the plan that are done: bool (step, block), in the order of `tile.blocks`."""
    if store.block_size(run, tile.tile.name) is None:
        return np.zeros((len(tile.steps), len(tile.blocks)), dtype=bool)
    cells = store.done(run, tile.tile.name)
    rows = [block.index[0] for block in tile.blocks]
    columns = [block.index[1] for block in tile.blocks]
    return cells[:, rows, columns]


def done_counts(prepared: Prepared) -> dict[str, int]:
    """Count the finished blocks of every tile."""
    return {tile.tile.name: int(done(prepared.run, tile).sum()) for tile in prepared.plan.tiles}
