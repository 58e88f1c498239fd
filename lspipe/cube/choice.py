"""Acquisitions of a tile -> the time steps of a run, chosen before anything is inferred."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median_low
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lspipe.cube.masked import masked_shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pystac
    from numpy.typing import ArrayLike

    from lspipe.cube.spec import CubeSpec
    from lspipe.search.acquisitions import Acquisition, Tile

Role = Literal["before", "after"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One time step of a run: the acquisitions that make up its pixels, in order of time."""

    role: Role
    acquisitions: tuple[Acquisition, ...]

    @property
    def time(self) -> datetime:
        """Acquisition time, UTC; of several acquisitions, the lower median of their times."""
        return median_low(acquisition.time for acquisition in self.acquisitions)

    @property
    def items(self) -> tuple[pystac.Item, ...]:
        """Every item that is read."""
        return tuple(item for acquisition in self.acquisitions for item in acquisition.items)


@dataclass(frozen=True, kw_only=True)
class ChosenSteps:
    """The time steps chosen for a role on a tile, and the acquisitions they were chosen from."""

    steps: tuple[Step, ...]
    candidates: tuple[Mapping[str, Any], ...]
    """Per acquisition, as plain JSON: role, time, items, masked_share (0..1 of the area; None =
    not needed for the choice), chosen."""


def choose(tile: Tile, role: Role, spec: CubeSpec, *, area_mask: ArrayLike) -> ChosenSteps:
    """Choose the acquisitions of a role, for the whole tile at once.

    `best` reads the scene classes of all candidates (20 m) over the area's bounding box and counts
    what is masked or has no data there; equal counts go to the earlier acquisition, then by id.

    Args:
        tile: with acquisitions of this role.
        role: "before" or "after".
        spec: the composite and the mask.
        area_mask: bool (y, x) of the tile, True inside the area; an array is made of it only where
            pixels decide.

    Raises:
        UsageError: the mask needs scene classes that an item lacks.
        LoadError: scene classes could not be read.
    """
    ordered = tuple(sorted(tile.acquisitions[role], key=_order))
    shares: list[float | None] = [None] * len(ordered)
    if spec.composite == "best" and len(ordered) > 1:
        shares = list(masked_shares(ordered, tile.geobox, spec, area_mask=np.asarray(area_mask)))
    groups = _groups(ordered, shares, spec.composite)
    chosen = {id(acquisition) for group in groups for acquisition in group}
    return ChosenSteps(
        steps=tuple(Step(role=role, acquisitions=group) for group in groups),
        candidates=tuple(
            {
                "role": role,
                "time": acquisition.time.isoformat(),
                "items": [item.id for item in acquisition.items],
                "masked_share": share,
                "chosen": id(acquisition) in chosen,
            }
            for acquisition, share in zip(ordered, shares, strict=True)
        ),
    )


def _order(acquisition: Acquisition) -> tuple[datetime, list[str]]:
    return acquisition.time, [item.id for item in acquisition.items]


def _groups(
    ordered: tuple[Acquisition, ...], shares: Sequence[float | None], composite: str
) -> tuple[tuple[Acquisition, ...], ...]:
    if composite == "each":
        return tuple((acquisition,) for acquisition in ordered)
    if composite == "median":
        return (ordered,)
    if composite == "latest":
        return ((ordered[-1],),)
    best = min(range(len(ordered)), key=lambda index: (shares[index] or 0.0, index))
    return ((ordered[best],),)
