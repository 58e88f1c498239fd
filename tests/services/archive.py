"""One archive whose run is finished, and the same scenes at addresses of servers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.worlds import World, change_workflow, fingerprints

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

COLLECTION = "sentinel-2-c1-l2a"
BEFORE = "S2A_18GYS_20170115_0_L2A"
AFTER = "S2A_18GYS_20180120_0_L2A"

LOCAL = {"kind": "local", "workers": 2}

Items = list[dict[str, Any]]


def items_of(world: World) -> Items:
    """Read the items of an archive, in order of date."""
    files = sorted((world.folder / "items").glob("*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def served(items: Items, root: str, query: str = "") -> Items:
    """Return the items with the addresses of their COGs on a server."""
    items = json.loads(json.dumps(items))
    for item in items:
        for asset in item["assets"].values():
            place = "/".join(asset["href"].rsplit("/", 2)[1:])
            asset["href"] = f"{root}/{place}{query}"
    return items


def at_hours(item: Mapping[str, Any], count: int) -> Items:
    """Return as many copies of an item, one each two hours of February 2018."""
    return [
        {
            **item,
            "id": f"{item['id']}_{number:03d}",
            "properties": {
                **item["properties"],
                "datetime": f"2018-02-{1 + number // 12:02d}T{2 * (number % 12):02d}:37:51Z",
            },
        }
        for number in range(count)
    ]


def write_items(path: Path, items: Iterable[Mapping[str, Any]]) -> Path:
    """Write items as NDJSON."""
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    return path


def workflow_for(archive: World, folder: Path, catalog: object, **sections: Any) -> World:
    """Write the archive's workflow with another catalogue into a folder of its own."""
    world = World(folder, folder / "workflow.yaml", folder / "run")
    world.workflow.write_text(archive.workflow.read_text(encoding="utf-8"), encoding="utf-8")
    search = {"catalog": str(catalog), "collection": COLLECTION}
    change_workflow(world, search=search, **{"cluster": LOCAL, **sections})
    return world


def results(run: Path) -> dict[str, str]:
    """sha256 of every result but the stores' roots, which name the catalogue's fingerprint."""
    return {
        name: digest
        for name, digest in fingerprints(run).items()
        if not name.endswith(".zarr/zarr.json")
    }


def told(answer: Any) -> str:
    """Return all that a command wrote on its terminal."""
    return str(answer.stdout + answer.stderr)


def files_with(folder: Path, text: str) -> list[str]:
    """Files below a folder that hold a text anywhere."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and text.encode() in path.read_bytes()
    ]
