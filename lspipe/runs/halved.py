"""A run that lists new objects alone: the date after first, then the date before where it matters.

What is needed of the date before is told from what is stored (`change/needed.py`), and nothing of
it is stored: a run that was killed asks again, and ends in the same bytes. An old landslide may
reach farther than was asked for; then more is asked, of the blocks that it reaches, until nothing
is. A block of which more is asked is not done until that is added to it.

See also: `steps.py` (blocks to tasks), `pipeline.py` (who computes them).
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from shapely import STRtree

from lspipe.change.needed import asked, marked, on_neighbours, reach_of
from lspipe.inference.block import needed_windows
from lspipe.inference.windows import windows_of
from lspipe.runs import ended, maps, store
from lspipe.runs.prepare import read_done
from lspipe.runs.registration import LARGEST_PX
from lspipe.runs.steps import tasks_of
from lspipe.schema import CODE_NODATA, threshold_code
from lspipe.schema.maps import NOT_NEEDED
from lspipe.search.areas import PackedMask, footprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.inference.settings import Setting
    from lspipe.inference.windows import Block
    from lspipe.runs.events import Failure
    from lspipe.runs.plan import Plan, TilePlan
    from lspipe.runs.prepare import Prepared
    from lspipe.runs.selection import Todo
    from lspipe.runs.stream import BlockTasks, Outcome
    from lspipe.schema import Part


def compute(
    prepared: Prepared, todo: Todo, compute: Callable[[Iterable[BlockTasks]], Outcome]
) -> Outcome:
    """Compute the blocks of a run: the date after, then what is needed of the date before.

    Args:
        prepared: the plan; the caller holds its directory.
        todo: the blocks that are not done.
        compute: computes some blocks, as `stream.compute`.
    """
    ground = _Ground(prepared)
    outcome = compute(tasks_of(prepared, _of_role(prepared.plan, todo, "after")))
    rest = _of_role(prepared.plan, todo, "before")
    if any(rest.values()) and not outcome.stopped:
        outcome = outcome.with_(compute(tasks_of(prepared, rest, needed=ground.look())))
    while not outcome.stopped:
        needed = ground.look(tile for (tile, _), blocks in rest.items() if blocks)
        rest = _without(ground.more, outcome.failures)
        if not any(rest.values()):
            break
        _reopen(prepared.run, rest)
        more = compute(tasks_of(prepared, rest, needed=needed, is_more=True))
        # They were counted when they were done first.
        outcome = outcome.with_(replace(more, done=0))
    return outcome


def is_open(prepared: Prepared) -> bool:
    """Return whether more is needed of a block that is done."""
    ground = _Ground(prepared)
    ground.look()
    return any(ground.more.values())


def _of_role(plan: Plan, todo: Todo, role: str) -> Todo:
    roles = {tile.tile.name: [step.role for step in tile.steps] for tile in plan.tiles}
    return {key: blocks for key, blocks in todo.items() if roles[key[0]][key[1]] == role}


def _without(todo: Todo, failures: Sequence[Failure]) -> Todo:
    failed = {(one.tile, one.step, one.index) for one in failures}
    return {
        (tile, step): [block for block in blocks if (tile, step, block.index) not in failed]
        for (tile, step), blocks in todo.items()
    }


def _reopen(run: Path, more: Todo) -> None:
    """Take these blocks, and their tiles, as not done: a kill must not leave them half known."""
    for (tile, step), blocks in more.items():
        if blocks:
            ended.forget(run, tile)
        for block in blocks:
            store.reopen(run, tile, step, block.index)


# --- what is needed -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mask:
    """A bool for each pixel of a tile, packed and compressed: most tiles are a few kB."""

    bits: bytes
    shape: tuple[int, int]

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> _Mask:
        return cls(zlib.compress(PackedMask.of(mask).bits.tobytes(), 1), mask.shape)

    def __getitem__(self, part: Part) -> NDArray[np.bool_]:
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        return PackedMask(bits.reshape(self.shape[0], -1), self.shape)[part]


MOST = 0.75
"""Share of the windows of a block from which all of it is asked for: most would be run anyway, and
many again when more is asked. On a pair where 94 % of the windows before matter that took 1.30
times both dates in full (benchmarks/list_new.py)."""


def fill_blocks(needed: NDArray[np.bool_], cores: Sequence[Part], setting: Setting) -> None:
    """Ask for all of each block of which most windows would be run, in place.

    Marks only grow, so the end is the same in whatever order blocks are computed.

    Args:
        needed: bool (y, x) of a tile, where the date before must be known.
        cores: rows and columns of its blocks.
        setting: of the windows.
    """
    for core in cores:
        lengths = zip(core, needed.shape, strict=True)
        every = math.prod(
            len(windows_of(part, length, setting.window, setting.stride))
            for part, length in lengths
        )
        if len(needed_windows(needed[core], core, needed.shape, setting)) >= MOST * every:
            needed[core] = True


_ALL = (slice(None), slice(None))


class _Ground:
    """What the maps of a run mark on each tile, and what is needed of the date before for it."""

    def __init__(self, prepared: Prepared) -> None:
        self._run, self._plan = prepared.run, prepared.plan
        self._tiles = {tile.tile.name: tile for tile in prepared.plan.tiles}
        self._beside = _neighbours(self._tiles)
        self._reach = _reach(prepared.plan)
        self._marks: dict[str, _Mask] = {}
        self._shown: dict[str, _Mask] = {}
        self._needed: dict[str, _Mask] = {}
        self.more: Todo = {}
        """Blocks that are done, and of which something is needed that is not known."""

    def look(self, changed: Iterable[str] | None = None) -> Mapping[str, _Mask]:
        """Read the maps of tiles, and say of each tile what is needed and not known.

        Args:
            changed: tiles of which something was computed since the last look; None = all.
        """
        names = set(self._tiles if changed is None or not self._marks else changed)
        names |= self._mark(names)
        done = read_done(self._run, self._plan)
        for name in sorted(names):
            self._need(self._tiles[name], done[name])
        return self._needed

    def _mark(self, names: set[str]) -> set[str]:
        """Mark tiles, until none marks more because of its neighbours; return whose marks grew."""
        grown, left = set[str](), set(names)
        while left:
            name = min(left)
            left.remove(name)
            marks, shown = map(_Mask.of, self._marked(name))
            if marks != self._marks.get(name):
                self._marks[name] = marks
                grown.add(name)
            if shown != self._shown.get(name):
                self._shown[name] = shown
                left |= set(self._beside[name])
        return grown

    def _marked(self, name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return what a tile marks, and which of it is above the threshold on a date."""
        tile = self._tiles[name]
        after, before = (self._above(tile, role) for role in ("after", "before"))
        others = [
            (self._tiles[other].tile.geobox, self._shown[other][_ALL])
            for other in self._beside[name]
            if other in self._shown
        ]
        elsewhere = on_neighbours(tile.tile.geobox, others) if others else None
        marks = marked(after, before, reach=self._reach, elsewhere=elsewhere)
        return marks, marks & (after | before)

    def _above(self, tile: TilePlan, role: str) -> NDArray[np.bool_]:
        """Return where a date is known to be above the threshold."""
        limit = threshold_code(self._plan.threshold)
        height, width = tile.tile.geobox.shape
        found = np.zeros((height, width), bool)
        for top in range(0, height, tile.grid.chunk):
            rows = slice(top, min(top + tile.grid.chunk, height))
            codes = maps.codes(self._run, tile.grid, role, (rows, slice(0, width)))
            found[rows] = (codes > limit) & (codes != CODE_NODATA)
        return found

    def _need(self, tile: TilePlan, done: NDArray[np.bool_]) -> None:
        name = tile.tile.name
        needed = asked(self._marks[name][_ALL], reach=self._reach)
        fill_blocks(needed, [block.core for block in tile.blocks], self._plan.setting)
        for step in (number for number, one in enumerate(tile.steps) if one.role == "before"):
            known = [
                block for block, is_done in zip(tile.blocks, done[step], strict=True) if is_done
            ]
            for block in known:
                needed[block.core] &= self._is_unknown(name, step, block)
            self.more[name, step] = [block for block in known if needed[block.core].any()]
        self._needed[name] = _Mask.of(needed)

    def _is_unknown(self, tile: str, step: int, block: Block) -> NDArray[np.bool_]:
        """Return where a block that is done was not computed. The others know nothing yet."""
        part = (step, *block.core)
        quality = store.read(self._run, store.DETECTIONS, tile, "quality", part)
        return np.asarray(quality == np.uint8(NOT_NEEDED))


def _reach(plan: Plan) -> int:
    rules = plan.workflow.change
    drift = 0 if rules.register == "none" else math.ceil(LARGEST_PX)
    return reach_of(int(rules.attrs()["tolerance_px"]), drift_px=drift)


def _neighbours(tiles: Mapping[str, TilePlan]) -> dict[str, list[str]]:
    """Return, by tile, those that overlap or touch it."""
    names = list(tiles)
    places = [footprint(tile.tile.geobox) for tile in tiles.values()]
    # 1e-6 degrees, 0.1 m, as where tiles are joined.
    pairs = STRtree(places).query(places, predicate="dwithin", distance=1e-6).T.tolist()
    beside: dict[str, list[str]] = {name: [] for name in names}
    for one, other in sorted(pairs):
        if one != other:
            beside[names[one]].append(names[other])
    return beside
