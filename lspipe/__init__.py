"""From a workflow file to a map of landslides, and a list of the new ones.

The names below are the public API. They are imported on first use, so that `import lspipe` and
`lspipe.detect` on NumPy arrays need no more than numpy, xarray and torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lspipe import errors, evaluate, models, preprocess, samples, train
    from lspipe.change.compare import compare
    from lspipe.change.inventory import delineate
    from lspipe.inference.detect import detect
    from lspipe.runs.opened import open_run
    from lspipe.runs.pipeline import plan, run
    from lspipe.workflow import Workflow

__version__ = "0.1.0"

__all__ = [
    "Workflow",
    "compare",
    "delineate",
    "detect",
    "errors",
    "evaluate",
    "models",
    "open_run",
    "plan",
    "preprocess",
    "run",
    "samples",
    "train",
]

_HOMES = {
    "Workflow": "lspipe.workflow",
    "compare": "lspipe.change.compare",
    "delineate": "lspipe.change.inventory",
    "detect": "lspipe.inference.detect",
    "open_run": "lspipe.runs.opened",
    "plan": "lspipe.runs.pipeline",
    "run": "lspipe.runs.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'lspipe' has no attribute {name!r}")
    home = import_module(_HOMES.get(name, f"lspipe.{name}"))
    thing = getattr(home, name) if name in _HOMES else home
    globals()[name] = thing
    return thing


def __dir__() -> list[str]:
    return __all__
