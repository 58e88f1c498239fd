"""A message of the package, which names parameters -> the same for who typed a command.

The package says `fresh=True`, as a script would; a person at the command line types `--fresh`.
"""

from __future__ import annotations

import re

HINTS = {
    "fresh=True": "--fresh",
    "skip_broken=True": "--skip-broken",
    "id=NAME": "--id NAME",
    "item=...": "--parent",
    "labels=...": "--labels",
    "layer=...": "--layer",
    "by=FILE": "--by FILE",
    "grid_km=KM": "--grid KM",
    "points=True": "--points",
}
"""Whole hints, wherever a message gives them."""

STARTS = {
    "tiles=": "--tiles ",
    "limit=": "--limit ",
    "bounds=": "--bounds ",
    "overrides=": "--set ",
    "radius_m ": "--radius ",
    "line_buffer_m ": "--buffer ",
    "iou ": "--iou ",
    "grid_km ": "--grid ",
    "share ": "--share ",
}
"""What a message starts with where it is about a value that was given."""


def as_typed(message: str) -> str:
    """Return a message with flags in place of the parameters that it names."""
    for parameter, flag in STARTS.items():
        if message.startswith(parameter):
            message = flag + message.removeprefix(parameter)
    for hint, flag in HINTS.items():
        message = re.sub(rf"(?<![\w.=-]){re.escape(hint)}(?!\w)", flag, message)
    return message
