"""The heights of a run: searched once and frozen with the scenes, or a file of one's own."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lspipe.cube import dem
from lspipe.cube.terrain import Terrain
from lspipe.errors import WorkflowError
from lspipe.search.acquisitions import thaw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from odc.geo.geobox import GeoBox

    from lspipe.models import ModelItem
    from lspipe.search.areas import Area
    from lspipe.workflow import Workflow

KEY = "lspipe:terrain"
"""Of `items.json`: what was asked for, and the files that were found."""

UNCOVERED = 1e-6
"""Share of an area that may lie on no file: what is lost by bending outlines."""


def with_heights(workflow: Workflow, frozen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return frozen items together with the files of a collection of heights.

    Args:
        workflow: of the run.
        frozen: content of `items.json`.

    Returns:
        `frozen` itself, where no collection is asked for or its files are there already.

    Raises:
        NothingFound: the catalogue has none.
    """
    if not workflow.terrain.is_collection or _asked(workflow) == frozen.get(KEY, {}).get("asked"):
        return frozen
    grids = [tile.geobox for tile in thaw(frozen)]
    found = dem.search(workflow.terrain, workflow.search, grids, workflow.folder)
    return {**frozen, KEY: {"asked": _asked(workflow), "found": found.as_json()}}


def heights_of(workflow: Workflow, frozen: Mapping[str, Any], item: ModelItem) -> Terrain | None:
    """Return the heights of a run, shifted as its model wants them; None where it knows none.

    Raises:
        WorkflowError: a file cannot be used, or the model wants heights above something else.
    """
    spec = workflow.terrain
    if spec.dem is None:
        return None
    if spec.is_collection:
        found = Terrain.from_json(frozen[KEY]["found"])
    else:
        found = dem.from_file(spec, workflow.folder)
    return dem.shifted(found, spec, item, workflow.folder)


def check_covers(
    terrain: Terrain, area: Area, grids: Sequence[GeoBox], *, is_collection: bool
) -> None:
    """Refuse a file of heights, or of the geoid, that is smaller than the area.

    Raises:
        WorkflowError: names the share that lies on no file.
    """
    asked = {"terrain.dem": terrain.files, "terrain.geoid": (terrain.geoid,)}
    for key, files in asked.items():
        known = [file for file in files if file is not None]
        # Of a collection, squares may be missing: there the ground is sea, or not known.
        if not known or (key == "terrain.dem" and is_collection):
            continue
        share = dem.uncovered(known, area.geometry, grids)
        if share > UNCOVERED:
            raise WorkflowError(
                f"{key}: {known[0].item} has nothing for {max(share, 0.0001):.2%} of the area "
                f"({area.source}) on the tiles of the run; give a file of all of it, or a smaller "
                "aoi"
            )


def _asked(workflow: Workflow) -> dict[str, Any]:
    """Return what decides which files are found, and what is read of their headers."""
    spec = asdict(workflow.terrain)
    return {name: spec[name] for name in ("dem", "unit", "datum")}
