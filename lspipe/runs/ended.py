"""Which tiles are ended, for these rules and these blocks: remembered beside their objects.

`objects/TILE.json` says what was asked and what came of it, and is written last. So a tile that a
worker of the cluster ended is not ended again by the client, a run that is resumed ends only tiles
that lack it, and an edit of the rules of the list alone (`min_area_m2`, flags) ends none again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from lspipe.change.coverage import Counted
from lspipe.change.registration import Shift
from lspipe.runs import store, tail
from lspipe.runs.blind import Sight
from lspipe.runs.handshake import code
from lspipe.runs.tail import Tailed

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.runs.tail_plan import Tail


def end(run: Path, asked: Tail, fingerprint: str) -> Tailed:
    """End a tile, unless it is ended already.

    Args:
        run: a run directory in which the blocks of the tile are all, or in part, done.
        asked: of the tile.
        fingerprint: of the detection.
    """
    key = _key(run, asked, fingerprint)
    known = _read(run, asked, key)
    if known is not None:
        return known
    # First: what is said of the tile is not true of half-written files.
    forget(run, asked.grid.tile)
    ended = tail.write(run, asked)
    found = {name: value for name, value in asdict(ended).items() if name != "sight" or value}
    store.write_json(_path(run, asked.grid.tile), {"key": key, **found})
    return ended


def is_ended(run: Path, asked: Tail, fingerprint: str) -> bool:
    """Return whether a tile is ended as it is now."""
    return _read(run, asked, _key(run, asked, fingerprint)) is not None


def forget(run: Path, tile: str) -> None:
    """Take a tile as not ended: more is about to be known of it than its `done` tells."""
    _path(run, tile).unlink(missing_ok=True)


def _read(run: Path, asked: Tail, key: str) -> Tailed | None:
    found = store.peek_json(_path(run, asked.grid.tile))
    if found is None or found["key"] != key or not tail.is_written(run, asked):
        return None
    shift = found["shift"]
    return Tailed(
        shift=None if shift is None else Shift(**shift),
        counted=Counted(**found["counted"]),
        failed_reads=found["failed_reads"],
        sight=Sight(**found["sight"]) if "sight" in found else None,
    )


def _key(run: Path, asked: Tail, fingerprint: str) -> str:
    """Return the hash of all that decides the files of a tile."""
    found = store.layout(run, asked.grid.tile)
    rules = asdict(asked.rules)
    del rules["min_area_m2"]  # counts once tiles are joined
    content = {
        "lspipe": code(),
        "detection": fingerprint,
        "done": None if found is None else found.done.tobytes().hex(),
        "rules": rules,
        "dates": asked.dates,
        "is_swapped": asked.is_swapped,
        # Ground of an earlier tile is counted there.
        "earlier": [str(grid) for grid in asked.earlier],
    }
    if asked.terrain is not None:
        content["terrain"] = asked.terrain.facts()
    if asked.radar is not None:
        content["radar"] = asked.radar.facts()
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _path(run: Path, tile: str) -> Path:
    return run / store.OBJECTS / f"{tile}.json"
