"""A small world for whole runs: forest with an old and a new scar, as an archive and a workflow.

world = make_world(tmp_path)
lspipe.run(Workflow.from_file(world.workflow))
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from lspipe.runs.prepare import prepare
from tests.scenes import make_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from lspipe.runs.plan import Plan
    from lspipe.workflow import Workflow

# Surface reflectance of a closed forest and of a fresh scar (Sentinel-2 L2A, typical values).
FOREST = {"B02": 0.02, "B03": 0.04, "B04": 0.03, "B08": 0.35, "B11": 0.12}
SCAR = {"B02": 0.08, "B03": 0.11, "B04": 0.14, "B08": 0.20, "B11": 0.30}

Rectangle = tuple[int, int, int, int]
"""First row, first column, rows, columns; pixels of 10 m."""

OLD_SCAR: Rectangle = (60, 60, 20, 12)
NEW_SCAR: Rectangle = (120, 140, 30, 14)


@dataclass(frozen=True)
class World:
    """An archive on disk and the workflow that reads it."""

    folder: Path
    workflow: Path
    run: Path


def ground(*scars: Rectangle) -> Callable[..., NDArray[np.float64]]:
    """Forest with scars; every band has some texture of its own."""

    def values(band: str, rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.float64]:
        seed = sum(map(ord, band))
        texture = 1 + 0.1 * np.sin(rows / 5 + seed) * np.cos(columns / 7 - seed)
        bare = np.zeros(rows.shape, bool)
        for row, column, height, width in scars:
            bare |= (
                (rows >= row)
                & (rows < row + height)
                & (columns >= column)
                & (columns < column + width)
            )
        return np.where(bare, SCAR.get(band, 0.2), FOREST.get(band, 0.1)) * texture

    return values


def make_world(
    folder: Path,
    *,
    size: int | tuple[int, int] = 240,
    tile: str = "18GYS",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    **sections: Any,
) -> World:
    """Write one tile with a scene on each of two dates, and a workflow for it.

    Args:
        folder: everything goes below it.
        size: edge, or (rows, columns), of the tile, pixels.
        tile: MGRS name, of `scenes.TILES`.
        before: arguments of `make_scene` for the earlier scene.
        after: likewise for the later one.
        sections: sections of the workflow, replacing or adding to the usual ones.
    """
    scenes = (
        {"time": "2017-01-15T14:37:51Z", "values": ground(OLD_SCAR), **(before or {})},
        {
            "time": "2018-01-20T14:37:51Z",
            "values": ground(OLD_SCAR, NEW_SCAR),
            "baseline": "04.00",
            **(after or {}),
        },
    )
    for scene in scenes:
        add_scene(folder, tile=tile, size=size, **scene)
    content = {
        "name": "world",
        "aoi": {"tiles": [tile]},
        "dates": {
            "before": {"start": "2017-01-01", "end": "2017-03-31"},
            "after": {"start": "2018-01-01", "end": "2018-03-31"},
        },
        "search": {"catalog": "items", "collection": "sentinel-2-c1-l2a"},
        "model": {"item": "shipped:bare-ground"},
        "inference": {"window": 32, "stride": 16, "tta": "d4"},
        "output": {"path": "run", "write": ["geoparquet"]},
        "cluster": {"kind": "local", "workers": 2},
        "execution": {"block": 80, "retries": 0},
        **sections,
    }
    path = folder / "workflow.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return World(folder, path, folder / "run")


def quick_world(folder: Path, **arguments: Any) -> World:
    """Write a world of four blocks on each date, not nine, whose windows are seen in one view.

    A block costs more than its pixels, and eight views of a model of single pixels are equal.
    """
    usual = {
        "execution": {"block": 120, "retries": 0},
        "inference": {"window": 32, "stride": 16, "tta": "none"},
    }
    return make_world(folder, **{**usual, **arguments})


def add_scene(folder: Path, **scene: Any) -> Path:
    """Add a scene to the archive of a world; returns the file of its item."""
    item = make_scene(folder / "scenes", **scene)
    items = folder / "items"
    items.mkdir(parents=True, exist_ok=True)
    path = items / f"{item.id}.json"
    path.write_text(json.dumps(item.to_dict(include_self_link=False)), encoding="utf-8")
    return path


def change_workflow(world: World, **sections: Any) -> None:
    """Replace sections of a world's workflow."""
    content = yaml.safe_load(world.workflow.read_text(encoding="utf-8"))
    world.workflow.write_text(yaml.safe_dump({**content, **sections}), encoding="utf-8")


def plan_only(workflow: Workflow) -> Plan:
    """Plan a workflow, in its run directory if there is one; nothing is written."""
    return prepare(workflow, Path(workflow.run_directory)).plan


def lspipe(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user does."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        **{"env": environment(), **options},
    )


def command(*arguments: object) -> list[str]:
    """Return the command line of lspipe with this interpreter."""
    return [sys.executable, "-m", "lspipe.cli", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Environment of a user, with one thread per process; tests import `tests.*` by path."""
    root = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}


def fingerprints(run: Path) -> dict[str, str]:
    """sha256 of every file that holds a result: arrays, inventory, what was not observed."""
    stores = ("detections.zarr", "evidence.zarr", "change.zarr")
    files = [path for store in stores for path in (run / store).rglob("*") if path.is_file()]
    files += [*run.glob("inventory.*"), *run.glob("unobserved.*")]
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
    }
