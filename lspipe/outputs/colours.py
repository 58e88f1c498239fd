"""Colours of statuses, changes and reasons: the same in maps, lists, pictures and reports.

Of the palette of Okabe and Ito, which people with any kind of colour vision can tell apart.
Source: M. Okabe, K. Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color/.
"""

from __future__ import annotations

from lspipe.schema import State

Colour = tuple[int, int, int, int]
"""Red, green, blue, opacity: 0 to 255."""

_VERMILLION, _BLUE, _PURPLE = (213, 94, 0, 255), (0, 114, 178, 255), (204, 121, 167, 255)
_ORANGE, _SKY, _GREY = (230, 159, 0, 255), (86, 180, 233, 255), (120, 120, 120, 255)
_NOTHING = (0, 0, 0, 0)

STATUSES: dict[str, Colour] = {
    "new": _VERMILLION,
    "grown": _ORANGE,
    "persistent": _PURPLE,
    "vanished": _BLUE,
    "undetermined": _GREY,
    "detected": _VERMILLION,
}
"""Of the column `status`."""

STATES: dict[int, Colour] = {
    State.NONE: _NOTHING,
    State.GAIN: _VERMILLION,
    State.LOSS: _BLUE,
    State.BOTH: _PURPLE,
    State.WEAK_GAIN: _ORANGE,
    State.WEAK_LOSS: _SKY,
    State.UNDETERMINED: _GREY,
}
"""Of the map of change."""

REASONS: dict[str, Colour] = {
    "read_error": (200, 0, 0, 255),
    "nodata": (60, 60, 60, 255),
    "cloud": (235, 235, 235, 255),
    "shadow": (110, 90, 130, 255),
    "snow": (150, 220, 240, 255),
    "dilated": (190, 190, 190, 255),
    "other": (230, 200, 120, 255),
    "not_processed": (20, 20, 20, 255),
    "gentle_slope": (170, 200, 150, 255),
    "not_needed": (215, 225, 235, 255),
    "no_scene": (60, 60, 60, 255),
    "not_compared": (240, 130, 180, 255),
}
"""Of what was not observed, by reason."""


def as_hex(colour: Colour) -> str:
    """Return a colour as "#rrggbb", without its opacity.

    >>> as_hex(STATUSES["new"])
    '#d55e00'
    """
    return "#{:02x}{:02x}{:02x}".format(*colour[:3])
