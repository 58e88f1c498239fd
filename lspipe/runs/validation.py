"""A workflow -> its model, area and paths, checked without a search.

What a run would refuse is refused here, as far as it needs no scene: `lspipe validate` shows it,
and a plan and a run check it before they search.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lspipe.errors import ModelError, WorkflowError
from lspipe.models import listed
from lspipe.models.item import digest
from lspipe.preprocess.masks import sources
from lspipe.runs.model import cube_of, meaning_of_swapped, read_model
from lspipe.search.areas import read_area
from lspipe.search.places import item_path
from lspipe.workflow import Workflow, check_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lspipe.models import ModelItem
    from lspipe.schema import Source

WIDE_KM2 = 1e6
"""A larger area is named: 80 tiles are days of work, and a box in another order is often wide."""

WITHOUT_CLASSES = ("sentinel-2-l1c",)
"""Collections whose scenes have no scene classes."""


def validate(workflow: Workflow) -> dict[str, Any]:
    """Check the model, the area and the paths of a workflow, without a search.

    Raises:
        UsageError: the model or the area cannot be used, or the results cannot be written.
    """
    item, setting, _ = read_model(workflow)
    check_channels(workflow, item)
    check_list(workflow, item)
    for network in item.networks:
        _check_network(workflow, network)
    area = read_area(workflow.aoi, workflow.folder)
    missing = check_paths(workflow)
    check_before_search(workflow, workflow.run_directory)
    return {
        "name": workflow.name,
        "model": item.id,
        "bands": list(item.bands),
        "window": setting.window,
        "stride": setting.stride,
        "area": area.facts() | {"asked": area.source, "km2": round(area.km2, 3)},
        "run": str(workflow.run_directory),
        "not_there_yet": missing,
        "notes": _notes(workflow, area.km2, item),
    }


def check_before_search(workflow: Workflow, run: Path) -> None:
    """Refuse, before a server is asked, what could not be run in this directory.

    Raises:
        UsageError: the model item, a source of masks or a layer of flags cannot be used, the
            directory holds other files, or the scenes have nothing that the mask could be made of.
    """
    if run.exists():
        from lspipe.runs import store  # zarr takes a while, and mostly there is no folder yet

        store.check_directory(run)
    if any(":" in name for name in workflow.output.write):
        from lspipe.runs.publish import files_of  # geopandas, for formats that are not ours

        files_of(workflow.output.write)
    item = read_model(workflow)[0]
    check_channels(workflow, item)
    check_list(workflow, item)
    check_layers(workflow)
    check_heights(workflow)
    check_radar(workflow)
    collection = workflow.search.collection
    if workflow.cube.mask.needs_classes and collection in WITHOUT_CLASSES:
        raise WorkflowError(
            f"cube.mask.scl: scenes of {collection} have no scene classes (SCL); set "
            "cube.mask.source to csmask, which masks L1C too, or to none to run without a cloud "
            "mask, or take a collection of level L2A"
        )
    sources(cube_of(workflow).mask)  # a package or an item that is not there


@dataclass(frozen=True)
class Supplier:
    """What reads the channels of a source, and what to do where nothing does."""

    is_there: Callable[[Workflow], bool]
    advice: str


SUPPLIERS: Mapping[Source, Supplier] = {
    "scenes": Supplier(lambda _: True, ""),
    "terrain": Supplier(
        lambda workflow: workflow.terrain.dem is not None,
        "add the section to the workflow: terrain: {dem: cop-dem-glo-30}",
    ),
    "radar": Supplier(
        lambda workflow: workflow.radar.collection is not None,
        "add the section to the workflow: radar: {collection: sentinel-1-rtc}",
    ),
}
"""By source of channels (`schema.source_of`): the section of a workflow that supplies them."""


def check_channels(workflow: Workflow, item: ModelItem) -> None:
    """Refuse a model with channels that no section of the workflow supplies.

    Raises:
        ModelError: names them, and the section to add.
    """
    for source, supplier in SUPPLIERS.items():
        channels = item.channels_from(source)
        if channels and not supplier.is_there(workflow):
            raise ModelError(
                f"{item.path}: wants {', '.join(channels)}, which are of the section {source}: "
                f"{supplier.advice}"
            )


def check_list(workflow: Workflow, item: ModelItem) -> None:
    """Refuse a list of new objects alone where the date before is not a map of its own.

    Raises:
        WorkflowError: says why, and what to change.
    """
    if not workflow.change.lists_only_new:
        return
    is_one_date = "before" not in workflow.dates.ranges()
    refused = {
        "there is no date before; give dates.before, or leave the key out": is_one_date,
        f"model {item.id} sees both dates at once, and the one before costs nothing; leave the "
        "key out": item.is_pair,
        "cube.composite is 'each', which keeps several maps of a date; take best, latest or "
        "median, or leave the key out": workflow.cube.composite == "each",
        "cube.mask.source names several masks, whose candidates are looked for on both dates; name "
        "one, or leave the key out": len(workflow.cube.mask.names) > 1,
    }
    for reason, is_so in refused.items():
        if is_so:
            raise WorkflowError(f"change.list: found 'new', expected 'all', as {reason}")


def check_heights(workflow: Workflow) -> None:
    """Look at the file of heights, as a plan will; of a collection nothing is known yet.

    Raises:
        WorkflowError: it is not there, or cannot be used.
    """
    if workflow.terrain.dem is not None and not workflow.terrain.is_collection:
        from lspipe.cube import dem  # GDAL takes a while

        found = dem.from_file(workflow.terrain, workflow.folder)
        dem.shifted(found, workflow.terrain, read_model(workflow)[0], workflow.folder)


def check_radar(workflow: Workflow) -> None:
    """Refuse sides without days, and a path to items that is not there.

    Raises:
        WorkflowError: names the key.
    """
    spec = workflow.radar
    if spec.collection is None:
        return
    from lspipe.runs.plan.radar import days_of  # GDAL takes a while

    days_of(workflow)
    if not spec.is_collection:
        item_path(spec.collection, workflow.folder, key="radar.collection")


def check_layers(workflow: Workflow) -> None:
    """Read the layers of flags, as the list will when all is computed.

    Raises:
        WorkflowError: as `flag_layers.read_layers`.
    """
    if workflow.flags.layers:
        from lspipe.change.flag_layers import read_layers  # GDAL takes a while

        area = read_area(workflow.aoi, workflow.folder)
        read_layers(workflow.flags, workflow.folder, area.geometry)


def _notes(workflow: Workflow, km2: float, item: ModelItem) -> list[str]:
    notes = []
    if km2 > WIDE_KM2:
        notes.append(
            f"aoi: {km2:,.0f} km2 is a wide area; a bbox is [west, south, east, north] in degrees"
        )
    if workflow.dates.is_swapped:
        notes.append(f"dates: before is later than after: {meaning_of_swapped(item)}")
    return notes


def _check_network(workflow: Workflow, item: ModelItem) -> None:
    """Load the network, as a plan does, where a quick look cannot tell that it will load.

    Raises:
        UsageError: as `ModelReference.of`.
    """
    spec = workflow.inference
    # torch takes seconds: not for what needs no look at this machine.
    is_plain = spec.device in ("auto", "cpu") and spec.precision in ("auto", "fp32")
    if not _is_whole(item):
        from lspipe.models.weights import read_weights

        read_weights(item)  # says what is wrong with them
    if is_plain and spec.runtime in ("auto", "eager") and not _lacks_a_package(item):
        return
    from lspipe.inference.reference import ModelReference

    ModelReference.of(item, device=spec.device, precision=spec.precision, runtime=spec.runtime)


def _lacks_a_package(item: ModelItem) -> bool:
    networks = listed()["architectures"]
    return any(row["needs"] for row in networks if row["name"] == item.architecture)


def _is_whole(item: ModelItem) -> bool:
    """Return whether the weights are those of the item, without what parses them."""
    if item.weights is None:
        return True
    try:
        return hashlib.sha256(item.weights.read_bytes()).hexdigest() == digest(item)
    except OSError:
        return False
