"""What the three tasks of a block share, hand on, and return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from lspipe.inference.reference import ModelReference
    from lspipe.inference.settings import Setting
    from lspipe.models.statistics import Statistics


@dataclass(frozen=True)
class StepJob:
    """What all blocks of one (tile, step) share."""

    run: Path
    tile: str
    step: int
    tile_shape: tuple[int, int]
    model: ModelReference
    setting: Setting
    tile_range: tuple[tuple[float, float], ...] | None
    fill_masked: bool
    threads: int
    """torch threads of one block, part of the fingerprint."""
    trained: Statistics | None = None
    """Statistics of the training data, to compare pixels with; None = no comparison."""
    sets_aside: bool = False
    """Whether the network is asked where only some of several masks hide the ground: not where a
    window is scaled by what is observed in it, as such a pixel must not count in the scale of its
    neighbours; and not of a pair, of which either date may be hidden."""
    is_baseline: bool = False
    """Whether this is the date before of a pair model: 0 where it was observed, and no network."""


class BlockPixels(NamedTuple):
    """What is read of one block; a tuple, whose bytes dask counts."""

    pixels: NDArray[np.int16]
    """(band, y, x) over the block's outer extent, the bands of the model."""
    quality: NDArray[np.uint8]
    """(y, x) over the same extent; for a pair (date, y, x), the step's own first."""
    has_data: NDArray[np.bool_]
    """(y, x) over the same extent, where every band of the model has data."""
    evidence: Mapping[str, NDArray[Any]]
    """Layers (y, x) or (band, y, x) of the core, as they are stored."""
    lacking: NDArray[np.bool_] | None = None
    """(y, x) of the core, True where a band of the step's own date has no data; None = the map says
    it, as the model sees no other date."""
    disputed: NDArray[np.uint8] | None = None
    """(y, x) over the outer extent, 1 where masks disagree; None = one mask."""


class Inferred(NamedTuple):
    """What is left to write of one block, without its pixels: they are free once it is computed."""

    probability: NDArray[np.float32]
    """(y, x) of the core, 0..1, NaN = not observed."""
    spread: NDArray[np.float32] | None
    """(y, x) of the core, how far the views lie apart (`inference.deviation`), NaN = none looked;
    None = not asked for."""
    quality: NDArray[np.uint8]
    """(y, x) of the core, bits of the step's own date as they were read."""
    evidence: Mapping[str, NDArray[Any]]
    """As it was read."""
    inside: NDArray[np.bool_] | None
    """(y, x) of the core, True in the area; None = everywhere."""
    lacking: NDArray[np.bool_] | None
    """(y, x) of the core, True where a band of the step's own date has no data; None = the map says
    it."""
    disputed: NDArray[np.uint8] | None
    """(y, x) of the core, 1 where masks disagree; None = one mask."""
    doubt: NDArray[np.bool_] | None
    """(y, x) of the core, where what the network says is set aside; None = one mask."""
    spared: NDArray[np.bool_] | None
    """(y, x) of the core, True where the map is not needed; None = it is needed everywhere."""
    is_more: bool
    """Whether the block was done already, and only what else is needed of it is added."""
    windows: tuple[int, int]
    """Windows with a wanted pixel, and those that were run."""
    inputs: Mapping[str, Any] | None
    """Pixels compared with training (`familiarity.count`)."""
    seconds: float
    """Wall clock in the slot."""
    worker: str
    """Address of the worker; "" = none of a cluster."""


@dataclass(frozen=True)
class BlockResult:
    """The result of a finished block."""

    tile: str
    step: int
    index: tuple[int, int]
    windows: int
    """Windows with a wanted pixel: observed, in the core and in the area."""
    windows_run: int
    """Windows of these that went through the network; a screen leaves some out."""
    failed_reads: int
    """Pixels of the core that a failed read left without data (`on_read_error: nodata`)."""
    seconds: float
    """Wall clock of computing and writing; reading is another task."""
    network: float = 0.0
    """Of these, in the slot: cutting windows, the network, and averaging."""
    writing: float = 0.0
    """Of these, beside the slot: codes and bits, and writing maps and evidence."""
    inputs: Mapping[str, Any] | None = None
    """Pixels compared with training (`familiarity.count`); None = not counted."""
    masks: Mapping[str, int] | None = None
    """Where several masks were asked for: pixels of the core and the area with data (`seen`), and
    those that one mask calls cloud or shadow and another does not (`disputed`); None = one mask."""
    worker: str = ""
    """Address of the worker that computed it; "" = none of a cluster did."""
    is_more: bool = False
    """Whether the block was done already, and only what else is needed of it was added."""
