"""The model items of a workflow, and how the workflow applies them; no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lspipe.errors import WorkflowError
from lspipe.inference.presets import trace_model
from lspipe.models.ensemble import read_model as read_items
from lspipe.models.item import SHIPPED_PREFIX

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
    if not workflow.model.is_auto:
        return workflow
    if begun is not None:
        kept = begun["workflow"]["model"]
        name, names = kept["item"], kept.get("items")
    else:
        name, names = TWO_DATES if "before" in workflow.dates.ranges() else ONE_DATE, None
    named = replace(workflow.model, item=name, items=names and tuple(names))
    return workflow.model_copy(update={"model": named})


def read_model(workflow: Workflow) -> tuple[ModelItem, Setting, dict[str, str]]:
    """Read the model item, or those of an ensemble; return it, its settings, and their sources.

    Raises:
        UsageError: the item cannot be used, or the settings contradict each other.
    """
    item = read_items(naming_its_model(workflow).model.names, workflow.folder)
    if item.is_pair:
        _check_dates(item, workflow)
    try:
        return item, *trace_model(workflow.inference, item)
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
