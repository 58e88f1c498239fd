"""What the papers may have meant by their channels, where lspipe takes something else.

Named behind a colon: `morales10:patch-minmax`, `vega7:bgr,amplitude`. Source:
docs/method.md, Channels of the papers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lspipe.errors import UsageError
from lspipe.models.item import Scaling
from lspipe.models.section import nearest
from lspipe.schema import REFLECTANCE_SCALE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lspipe.models.item import ScalingKind

    Read = tuple[tuple[str, ...], Scaling]
    """Channels in the order of the network, and their scaling."""

HIGHEST_AMPLITUDE = 10 ** (5 / 20)
"""Of VV, 1.78: what the upper end of the decibels is, 5 dB (docs/method.md, Terrain and radar)."""


@dataclass(frozen=True)
class Reading:
    """One way to read a paper."""

    choice: str
    """What is chosen; of each choice there is one reading."""
    note: str
    change: Callable[[tuple[str, ...], Scaling], Read]


def read_otherwise(
    recipe: str, names: Sequence[str], channels: tuple[str, ...], scaling: Scaling
) -> tuple[tuple[str, ...], Scaling, str]:
    """Return channels, scaling and a note of a recipe as its paper can be read too.

    Raises:
        UsageError: no such reading of it, or two that contradict each other.
    """
    known = READINGS.get(recipe, {})
    for name in names:
        if name not in known:
            expected = f"expected {', '.join(known)}" if known else "it has no other readings"
            raise UsageError(f"recipe {recipe}:{name}{nearest(name, known)}: {expected}")
    choices = [known[name].choice for name in names]
    if len(set(choices)) < len(choices):
        twice = next(choice for choice in choices if choices.count(choice) > 1)
        raise UsageError(f"recipe {recipe}:{','.join(names)}: expected one {twice}, found two")
    for name in names:
        channels, scaling = known[name].change(channels, scaling)
    return channels, scaling, " ".join(known[name].note for name in names)


# --- what is done to a recipe -------------------------------------------------------------------


def _scaled(kind: ScalingKind) -> Callable[[tuple[str, ...], Scaling], Read]:
    return lambda channels, _: (channels, Scaling(kind=kind))


def _as_16_bit(channels: tuple[str, ...], scaling: Scaling) -> Read:
    scale = (1 / REFLECTANCE_SCALE / 65535,) * len(channels)
    return channels, replace(scaling, scale=scale)


def _blue_first(channels: tuple[str, ...], scaling: Scaling) -> Read:
    # All three are scaled alike.
    return (*reversed(channels[:3]), *channels[3:]), scaling


def _renamed(names: Mapping[str, str]) -> Callable[[tuple[str, ...], Scaling], Read]:
    return lambda channels, scaling: (
        tuple(names.get(channel, channel) for channel in channels),
        scaling,
    )


def _amplitude(channels: tuple[str, ...], scaling: Scaling) -> Read:
    names = {f"vv_{when}": f"vv_amplitude_{when}" for when in ("before", "after")}
    scale, offset = zip(
        *(
            (2 / HIGHEST_AMPLITUDE, -1.0) if channel in names else step
            for channel, *step in zip(channels, scaling.scale, scaling.offset, strict=True)
        ),
        strict=True,
    )
    return _renamed(names)(channels, replace(scaling, scale=scale, offset=offset))


# --- the readings -------------------------------------------------------------------------------

_COLOURS = {"bgr": Reading("order", "Blue, green, red.", _blue_first)}

_CURVATURES = {
    kind: Reading(
        "curvature", f"{kind.capitalize()} curvature.", _renamed({"curvature": f"{kind}_curvature"})
    )
    for kind in ("plan", "profile")
}

_RADAR = {"amplitude": Reading("radar", "VV as amplitude, 0 to 1.78 as -1 to 1.", _amplitude)}

READINGS: dict[str, dict[str, Reading]] = {
    "morales10": {
        "patch-minmax": Reading(
            "scaling",
            "Each channel of each patch stretched from 0 to 1.",
            _scaled("window-minmax"),
        ),
        "tile-minmax": Reading(
            "scaling", "Each channel of each tile stretched from 0 to 1.", _scaled("tile-minmax")
        ),
        "dn-65535": Reading("scaling", "Digital numbers divided by 65535.", _as_16_bit),
    },
    "vega3": _COLOURS,
    "vega5": {**_COLOURS, **_CURVATURES},
    "vega7": {**_COLOURS, **_CURVATURES, **_RADAR},
}
"""By the name of the recipe, and their own."""
