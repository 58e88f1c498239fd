"""What a map is: codes of probability, quality bits, states of change, and parts of a tile."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODE_SCALE = 10000
"""Codes per unit of probability on disk."""

CODE_NODATA = 65535
"""Code of a pixel that was not observed."""

IGNORED = 255
"""Label of a pixel that says nothing (cloud, no data): no loss and no score counts it."""


TRUE_COLOUR_WHITE = 0.3
"""Reflectance that is white in stored true colour: Sentinel-2 is usually stretched to 0..0.3."""

TRUE_COLOUR_STEP = TRUE_COLOUR_WHITE / 254
"""Reflectance of a step of stored true colour, whose codes 1..255 are 0..0.3."""

CRS_ATTRIBUTES = frozenset({"crs_wkt", "spatial_ref", "grid_mapping_name"})
"""Attributes of a coordinate that holds a CRS. Source: CF conventions 5.6; GDAL."""


Part = tuple[slice, slice]
"""Rows and columns of a tile, or of an array, that belong together."""


def grown(part: Part, reach: int, shape: tuple[int, ...]) -> Part:
    """Return a part and what lies within `reach` pixels of it, inside an array of a shape."""
    rows, columns = (
        slice(max(0, span.start - reach), min(length, span.stop + reach))
        for span, length in zip(part, shape, strict=True)
    )
    return rows, columns


def relative(part: Part, origin: tuple[int, int]) -> Part:
    """Return a part of a tile as one of an array that begins at `origin`."""
    rows, columns = (
        slice(span.start - first, span.stop - first)
        for span, first in zip(part, origin, strict=True)
    )
    return rows, columns


class Quality(IntFlag):
    """Why a pixel was not observed (any bit set = not observed)."""

    NODATA = 1
    """A channel has no data: outside the swath, or a gap in the product."""
    OTHER = 2
    """Masked by a scene class that has no bit of its own (saturated, dark, water, ...)."""
    CLOUD = 4
    SHADOW = 8
    SNOW = 16
    DILATED = 32
    """Within the mask's dilation of a cloud or cloud shadow."""
    OUTSIDE = 64
    """Outside the area of interest."""
    READ_ERROR = 128
    """A read failed and the workflow says `on_read_error: nodata`, or the file holds a number that
    Sentinel-2 cannot hold; always with `NODATA`."""


LEFT_OUT = Quality.OUTSIDE | Quality.OTHER
"""Of a pixel inside the area of interest that the workflow leaves out, as its ground is gentle.
Pixels outside of the area have `OUTSIDE` alone, in runs of all versions."""

NOT_NEEDED = Quality.OUTSIDE | Quality.DILATED
"""Of a pixel that was seen clearly and not computed, as a run that lists new objects alone has no
use for it."""

REASON_BITS = (
    Quality.READ_ERROR, Quality.NODATA, Quality.CLOUD, Quality.SHADOW, Quality.SNOW,
    Quality.DILATED, Quality.OTHER,
)  # fmt: skip
"""Why a pixel was not observed; where several bits are set, the first of these counts."""

NOT_PROCESSED_NAME = "not_processed"
GENTLE_NAME = "gentle_slope"
NOT_NEEDED_NAME = "not_needed"
REASON_NAMES = (
    *(str(bit.name).lower() for bit in REASON_BITS), NOT_PROCESSED_NAME, GENTLE_NAME,
    NOT_NEEDED_NAME,
)  # fmt: skip
"""Names of `REASON_BITS`, of pixels not processed yet, of those left out for their slope, and of
those that were not needed; maps of earlier runs have the same numbers."""


def is_clear(quality: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a scene shows the ground, computed or not; bits as in the store."""
    return np.asarray((quality == 0) | (quality == np.uint8(NOT_NEEDED)))


def reasons(quality: NDArray[np.uint8], *, not_processed: int = 255) -> NDArray[np.uint8]:
    """Return why a pixel was not observed, as a number of `REASON_NAMES`, from 1; else 0.

    A failed read without `NODATA` is observed: another item of the acquisition has the pixel.
    """
    # Decided for each of the 256 numbers, and looked up.
    bits = np.arange(256)
    table = np.zeros(256, np.uint8)
    for index in range(len(REASON_BITS), 0, -1):
        table[(bits & REASON_BITS[index - 1]) != 0] = index
    table[(bits == Quality.READ_ERROR) | ((bits & Quality.OUTSIDE) != 0)] = 0
    table[LEFT_OUT] = REASON_NAMES.index(GENTLE_NAME) + 1
    table[NOT_NEEDED] = REASON_NAMES.index(NOT_NEEDED_NAME) + 1
    table[not_processed] = REASON_NAMES.index(NOT_PROCESSED_NAME) + 1
    number: NDArray[np.uint8] = table[quality]
    return number


class State(IntEnum):
    """What happened to a pixel between two dates (docs/numerics.md, Change states)."""

    NONE = 0
    GAIN = 1
    LOSS = 2
    BOTH = 3
    WEAK_GAIN = 4
    WEAK_LOSS = 5
    UNDETERMINED = 255


def quantise(probability: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Turn probabilities into stored codes.

    Args:
        probability: float, 0..1, NaN = not observed, any shape.

    Returns:
        uint16 codes, round-half-to-even of probability x 1e4, 65535 where NaN.
    """
    missing = np.isnan(probability)
    codes = np.rint(np.where(missing, 0, probability).astype(np.float64) * CODE_SCALE)
    return np.where(missing, CODE_NODATA, codes).astype(np.uint16)


def dequantise(codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Turn stored codes back into float32 probabilities, NaN where not observed."""
    missing = codes == CODE_NODATA
    return np.where(missing, np.nan, codes.astype(np.float64) / CODE_SCALE).astype(np.float32)


def to_codes(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Return the codes of a map given as float probabilities or as codes.

    Args:
        values: float 0..1 with NaN = not observed, or uint16 codes with 65535 = not observed.

    Raises:
        UsageError: values outside 0..1, codes outside 0..10000 and 65535, or another dtype.
    """
    if values.dtype == np.uint16:
        wrong = values[(values > CODE_SCALE) & (values != CODE_NODATA)]
        if wrong.size:
            raise UsageError(
                f"a map holds the code {wrong[0]}: expected 0..{CODE_SCALE}, or {CODE_NODATA} = "
                "not observed"
            )
        return values
    if not np.issubdtype(values.dtype, np.floating):
        raise UsageError(
            f"a map is {values.dtype}: expected float probabilities 0..1 (NaN = not observed) or "
            "uint16 codes"
        )
    wrong = values[(values < 0) | (values > 1)]
    if wrong.size:
        raise UsageError(
            f"a map holds {wrong[0]:g}: expected probabilities 0..1, NaN = not observed; "
            "rescale or clip it first"
        )
    return quantise(values)


def threshold_code(threshold: float) -> int:
    """Return the code that a probability threshold becomes: round(10000 t).

    Every threshold is applied to stored codes, strictly (`code > threshold_code(t)`), so that a map
    in memory and the same map on disk never disagree.

    Raises:
        UsageError: the threshold is outside 0..1.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"threshold {threshold}: expected a probability between 0 and 1")
    return round(threshold * CODE_SCALE)
