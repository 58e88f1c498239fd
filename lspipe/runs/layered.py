"""The layers of a run in its directory, tile by tile: made once, by whichever process ends a tile.

`objects/TILE.layers.json` says which files of `layers/` show a tile and what they were made from,
and is written last. So what a worker of the cluster wrote is not written again by the client, which
only joins all tiles in mosaics, nor after an edit of the rules of the list alone.

Does not cover: what the files hold (`outputs/layers.py`); layers in another folder (`export.py`),
which are always made anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lspipe import outputs
from lspipe.outputs import layers
from lspipe.outputs.credit import credit
from lspipe.outputs.layers import Written
from lspipe.outputs.mosaic import Piece
from lspipe.runs import store
from lspipe.runs.handshake import code
from lspipe.runs.opened import Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = "cog"
"""The output that the layers are."""


@dataclass(frozen=True)
class Asked:
    """What is asked of the layers of one tile; small, and travels."""

    run: Run
    """With this tile alone in its record."""
    tile: str
    notice: str
    """Of the licence, which names the years of all tiles."""


def asked_of(run: Run) -> dict[str, Asked]:
    """Return what is asked of each tile of a run, by name."""
    notice = credit(run)
    sections = ("dates", "terrain", "radar")  # what decides which maps there are
    workflow = {name: run.workflow[name] for name in sections if name in run.workflow}
    needed = ("steps", "blocks")
    return {
        tile: Asked(
            Run(
                run.path,
                {"workflow": workflow, "tiles": {tile: {name: entry[name] for name in needed}}},
            ),
            tile,
            notice,
        )
        for tile in run.tiles
        for entry in [run.record["tiles"][tile]]
    }


def begin(run: Run) -> None:
    """Make the folder, and record all names before the first file: a kill leaves none forgotten."""
    (run.path / layers.FILE).mkdir(exist_ok=True)
    earlier = store.written(run.path).get(layers.FILE, [])
    coming = (
        _inside(file)
        for tile in run.tiles
        for file in layers.files_of(tile, run.record["tiles"][tile]["steps"])
    )
    store.note_written(run.path, layers.FILE, [*earlier, *coming])


def make(asked: Asked) -> list[Written]:
    """Write the layers of a tile, unless they are there already."""
    return ready(asked, present(asked.run.path)) or _made(asked)


def write(run: Run) -> list[str]:
    """Write the layers of all tiles that lack them, and the mosaics; the caller holds the lock.

    Returns:
        All files, as `store.written` has them.
    """
    begin(run)
    there, found = present(run.path), list[Written]()
    for asked in asked_of(run).values():
        found += ready(asked, there) or _made(asked)
    with outputs.whole(run.path / layers.FILE) as fresh:
        fresh.mkdir()
        mosaics = layers.write_mosaics(found, fresh)
    return [
        _inside(name) for name in (*mosaics, *(name for each in found for name in _files(each)))
    ]


def present(run: Path) -> frozenset[str]:
    """Return the names of the files in `layers`, by one look."""
    folder = run / layers.FILE
    return frozenset(path.name for path in folder.iterdir()) if folder.exists() else frozenset()


def ready(asked: Asked, there: frozenset[str]) -> list[Written]:
    """Return the layers of a tile that need not be made again; empty if it has none, or other ones.

    Args:
        asked: of the tile.
        there: of `present`.
    """
    note, key = store.peek_json(_note(asked)), _key(asked)
    if note is None or key is None or note["key"] != key:
        return []
    found = [Written(**each | {"piece": Piece(**each["piece"])}) for each in note["layers"]]
    return found if there >= {name for each in found for name in _files(each)} else []


def _made(asked: Asked) -> list[Written]:
    # First: what is said of the files is not true of those that are half replaced.
    _note(asked).unlink(missing_ok=True)
    key = _key(asked)
    with outputs.whole(asked.run.path / layers.FILE) as fresh:
        fresh.mkdir()
        found = layers.write_tile(asked.run, asked.tile, fresh, notice=asked.notice)
    if found and key is not None:
        store.write_json(_note(asked), {"key": key, "layers": list(map(asdict, found))})
    return found


def _key(asked: Asked) -> str | None:
    """Return the hash of all that decides the layers of a tile; None if that is not known."""
    ended = store.peek_json(asked.run.path / store.OBJECTS / f"{asked.tile}.json")
    found = store.layout(asked.run.path, asked.tile)
    if ended is None or found is None:
        return None
    content = {
        "lspipe": code(),
        "ended": ended["key"],
        # Blocks may have been done since.
        "done": found.done.tobytes().hex(),
        "steps": asked.run.record["tiles"][asked.tile]["steps"],
        "notice": asked.notice,
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _files(layer: Written) -> Iterator[str]:
    yield layer.piece.file
    if layer.names:
        yield layer.names


def _inside(file: str) -> str:
    return f"{layers.FILE}/{file}"


def _note(asked: Asked) -> Path:
    return asked.run.path / store.OBJECTS / f"{asked.tile}.layers.json"
