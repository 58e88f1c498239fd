"""The model items of a workflow, and how the workflow applies them; no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lspipe import models
from lspipe.errors import WorkflowError
from lspipe.inference.presets import trace
from lspipe.models.item import SHIPPED_PREFIX
from lspipe.models.recipes import check_item, check_readable

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.cube.spec import CubeSpec
    from lspipe.inference.settings import Setting
    from lspipe.models import ModelItem
    from lspipe.workflow import Workflow


def read_model(workflow: Workflow) -> tuple[ModelItem, Setting, dict[str, str]]:
    """Read the model item; return it, its settings, and the source of each setting.

    Raises:
        UsageError: the item cannot be used, or the settings contradict each other.
    """
    name = workflow.model.item
    is_shipped = name.startswith(SHIPPED_PREFIX)
    item = models.read_item(name if is_shipped else workflow.folder / name)
    check_item(item)
    check_readable(item)
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
