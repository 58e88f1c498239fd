"""The model items of a workflow, and how the workflow applies them; no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lspipe import models
from lspipe.errors import WorkflowError
from lspipe.inference.presets import trace
from lspipe.models.item import AUTO, SHIPPED_PREFIX
from lspipe.models.recipes import check_item

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lspipe.cube.spec import CubeSpec
    from lspipe.inference.settings import Setting
    from lspipe.models import ModelItem
    from lspipe.workflow import Workflow


TWO_DATES, ONE_DATE = f"{SHIPPED_PREFIX}bare-change", f"{SHIPPED_PREFIX}bare-ground"
"""Models of workflows that name none: formulas, so that any event can be looked at on day one."""


def naming_its_model(workflow: Workflow, begun: Mapping[str, Any] | None = None) -> Workflow:
    """Return a workflow with its model named, where it asks for `auto`.

    Args:
        workflow: of the run.
        begun: `run.json` of a run directory in which blocks were computed; its model is kept.
    """
    if workflow.model.item != AUTO:
        return workflow
    if begun is not None:
        name = begun["workflow"]["model"]["item"]
    else:
        name = TWO_DATES if "before" in workflow.dates.ranges() else ONE_DATE
    return workflow.model_copy(update={"model": replace(workflow.model, item=name)})


def read_model(workflow: Workflow) -> tuple[ModelItem, Setting, dict[str, str]]:
    """Read the model item; return it, its settings, and the source of each setting.

    Raises:
        UsageError: the item cannot be used, or the settings contradict each other.
    """
    name = naming_its_model(workflow).model.item
    is_shipped = name.startswith(SHIPPED_PREFIX)
    item = models.read_item(name if is_shipped else workflow.folder / name)
    check_item(item)
    if item.is_pair:
        _check_dates(item, workflow)
    try:
        return item, *trace(workflow.inference, item.inference_defaults())
    except ValueError as error:
        raise WorkflowError(f"inference with model {item.id}: {error}") from error


def cube_of(workflow: Workflow) -> CubeSpec:
    """Return the section `cube`, with the model items of its masks found from anywhere."""
    return with_items_in(workflow.cube, workflow.folder)


def with_items_in(cube: CubeSpec, folder: Path) -> CubeSpec:
    """Return a section `cube` whose paths of model items are absolute, relative to a folder."""
    names = tuple(
        str((folder / name).resolve())
        if name.endswith(".json") and not name.startswith(SHIPPED_PREFIX)
        else name
        for name in cube.mask.names
    )
    if names == cube.mask.names:
        return cube
    source = names[0] if isinstance(cube.mask.source, str) else names
    return replace(cube, mask=replace(cube.mask, source=source))


def meaning_of_swapped(item: ModelItem) -> str:
    """Return in words what dates the wrong way round mean for the list."""
    if item.is_pair:
        return f"{item.id} looks for what happened from the later date to the earlier one"
    return "new and vanished change places"


def _check_dates(item: ModelItem, workflow: Workflow) -> None:
    """Refuse a workflow in which a model of two dates does not find exactly two.

    Raises:
        WorkflowError: names what to change.
    """
    if "before" not in workflow.dates.ranges():
        raise WorkflowError(
            f"model: {item.id} compares two dates ({', '.join(item.bands)}), and this workflow "
            "has one; give dates.before, or take a model of one date, such as shipped:bare-ground"
        )
    if workflow.cube.composite == "each":
        raise WorkflowError(
            f"cube.composite: found 'each', which keeps every acquisition of a date; model "
            f"{item.id} compares one picture of each date, and which acquisitions belong together "
            "is not said; take best, latest or median"
        )
