"""The model item of a workflow, and how the workflow applies it; no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe import models
from lspipe.errors import WorkflowError
from lspipe.inference.presets import trace
from lspipe.models.item import SHIPPED_PREFIX
from lspipe.models.recipes import check_item

if TYPE_CHECKING:
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
    try:
        return item, *trace(workflow.inference, item.inference_defaults())
    except ValueError as error:
        raise WorkflowError(f"inference with model {item.id}: {error}") from error
