"""A plan -> the content of `run.json`, with the versions of packages."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lspipe.errors import without_query
from lspipe.models.item import digest
from lspipe.runs.caution import warnings
from lspipe.runs.describe import computed_with
from lspipe.runs.plan import record as tile_record

if TYPE_CHECKING:
    from lspipe.models import ModelItem
    from lspipe.runs.plan import Plan

PACKAGES = (
    "lspipe",
    "torch",
    "openvino",
    "numpy",
    "xarray",
    "dask",
    "distributed",
    "zarr",
    "rasterio",
    "rioxarray",
    "odc-stac",
    "stackstac",
    "pystac-client",
    "geopandas",
    "shapely",
)


def versions() -> dict[str, str]:
    """Return the kind of the machine, and the versions of Python and of the packages used."""
    kind = {"python": platform.python_version(), "machine": platform.machine()}
    return kind | {name: _version(name) for name in PACKAGES}


@cache
def _version(package: str) -> str:
    # Kept: a run asks several times, and each package's description is read for it.
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _without_secrets(workflow: dict[str, Any]) -> dict[str, Any]:
    """Remove the query of the catalogue's address, which may hold a token."""
    search = workflow["search"]
    return workflow | {"search": search | {"catalog": without_query(search["catalog"])}}


def _members(model: ModelItem) -> dict[str, Any]:
    """Return the items of an ensemble; nothing for one network, as in runs of earlier versions."""
    items = [
        {"id": item.id, "sha256": digest(item), "item_sha256": item.item_sha256}
        for item in model.members
    ]
    return {"items": items} if items else {}


def run_json(plan: Plan, *, state: str) -> dict[str, Any]:
    """Return the content of `run.json` before anything is counted."""
    return {
        "name": plan.workflow.name,
        "state": state,
        "workflow": _without_secrets(plan.workflow.model_dump(mode="json")),
        # The start of relative paths, so that the run can be read without the workflow file.
        "folder": str(plan.workflow.folder.resolve()),
        "fingerprints": {
            "detection": plan.detection_fingerprint,
            "change": plan.change_fingerprint,
        },
        "settled": plan.is_settled,
        "detection_inputs": dict(plan.detection_inputs),
        "versions": versions(),
        "model": {
            "id": plan.model.id,
            **({"version": plan.model.version} if plan.model.version else {}),
            "sha256": plan.reference.sha256,
            "item_sha256": plan.model.item_sha256,
            **_members(plan.model),
            **computed_with(plan),
        },
        "tiles": {tile.tile.name: tile_record(tile) for tile in plan.tiles},
        **({} if plan.terrain is None else {"terrain": plan.terrain.as_json()}),
        "warnings": warnings(plan),
        "outputs": {},
        "failures": [],
    }
