"""A workflow -> its model, area and paths, checked without a search."""

from __future__ import annotations

from typing import Any

from lspipe.runs.model import read_model
from lspipe.search.areas import read_area
from lspipe.workflow import Workflow, check_paths


def validate(workflow: Workflow) -> dict[str, Any]:
    """Check the model, the area and the paths of a workflow, without a search.

    Raises:
        UsageError: the model item or the area cannot be used, or the results cannot be written.
    """
    item, setting, _ = read_model(workflow)
    area = read_area(workflow.aoi, workflow.folder)
    return {
        "name": workflow.name,
        "model": item.id,
        "bands": list(item.bands),
        "window": setting.window,
        "stride": setting.stride,
        "area": area.facts(),
        "run": str(workflow.run_directory),
        "not_there_yet": check_paths(workflow),
    }
