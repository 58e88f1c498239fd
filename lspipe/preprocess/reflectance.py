"""Digital numbers of Sentinel-2 -> reflectance, by the offset each item needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.catalogs import (
    UNKNOWN_BASELINE,
    baseline,
    catalog_of,
    collection_of,
    is_sentinel2,
    item_id,
    properties,
    read_asset_key,
)
from lspipe.catalogs import assets as assets_of
from lspipe.errors import RadiometryError
from lspipe.schema import CUBE_NODATA, REFLECTANCE_SCALE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lspipe.catalogs import Item

FIRST_SHIFTED_BASELINE = (4, 0)
"""From this baseline ESA adds 1000 DN, so that negative reflectance survives. Source: ESA, 2022."""

SHIFT = -0.1
"""Reflectance offset of baselines 04.00 and later: BOA_ADD_OFFSET -1000 x 1e-4."""

RAW_NODATA = 0
"""Digital number of "no data" in every Sentinel-2 product, before any offset."""

RAW_SATURATED = 65535
"""Digital number of a saturated pixel. Source: Sentinel-2 products specification."""

VALID_NUMBERS = (1, 32767)
"""Digital numbers of valid pixels: 15 bits. Source: as above."""

VALID_RANGE = (-999, 31767)
"""Valid values of the int16 cube: DN 1 with the offset, and 15 bits with it."""


@dataclass(frozen=True)
class Radiometry:
    """How the digital numbers of one asset become reflectance: DN x scale + offset."""

    scale: float
    offset: float | None
    """Reflectance; None = the metadata cannot decide, see `radiometry_from_pixels`."""
    reason: str
    """The evidence, for `run.json`."""
    file: str = ""
    """What the file declares of its pixels, for `run.json`; "" = it was not looked at."""


NO_TAGS = (1.0, 0.0)
"""Scale and offset of a file that says nothing of them."""


def radiometry(item: Item, asset_key: str, *, tags: tuple[float, float] = NO_TAGS) -> Radiometry:
    """Decide the offset of one asset from its baseline and catalogue, never from its date.

    Args:
        item: a Sentinel-2 L1C or L2A item, pystac or dict, of any catalogue.
        asset_key: key of one band.
        tags: scale and offset that the file itself declares.

    Returns:
        The decision; `offset` is None where the metadata, or the file, contradicts itself, or is
        known not to be trusted (Earth Search `sentinel-2-l2a` whose flag says "not applied").

    Raises:
        RadiometryError: no reflectance of Sentinel-2, or no metadata that gives the offset.

    Examples:
        >>> from lspipe import preprocess
        >>> item = {
        ...     "id": "S2A_18GYS_20220209",
        ...     "collection": "sentinel-2-l2a",
        ...     "properties": {"platform": "sentinel-2a", "s2:processing_baseline": "04.00"},
        ...     "assets": {"B04": {"href": "B04.tif"}},
        ... }
        >>> decision = preprocess.radiometry(item, "B04")
        >>> decision.scale, decision.offset
        (0.0001, -0.1)

    Source: ESA processing baseline 04.00; the catalogues' own issue trackers, which
    docs/method.md names (Radiometric offset).
    """
    where = f"{asset_key} of {item_id(item)}"
    asset = _reflectance_asset(item, asset_key, where)
    in_file = _tagged_offset(tags, where)
    decision = _by_metadata(item, asset_key, _declared_offset(asset, where), in_file, where=where)
    if None not in {in_file, decision.offset} and in_file != decision.offset:
        reason = f"{decision.reason}, the file itself says {in_file:g}"
        return Radiometry(REFLECTANCE_SCALE, None, reason)
    return decision


def rests_on_baseline(item: Item, asset_key: str, *, tags: tuple[float, float] = NO_TAGS) -> bool:
    """Return whether a shift is assumed for the baseline alone, in an archive that is not known.

    Copies of scenes, such as exports of a service that takes the 1000 DN off, often keep the
    properties of the original. Where neither the asset nor the file declares an offset, the pixels
    may contradict the baseline (`radiometry_from_pixels`).

    Args:
        item: as in `radiometry`, which has decided.
        asset_key: likewise.
        tags: likewise.
    """
    version = baseline(item)
    where = f"{asset_key} of {item_id(item)}"
    return (
        catalog_of(item).url is None
        and version is not None
        and version >= FIRST_SHIFTED_BASELINE
        and not _is_flagged(item, asset_key)
        and _tagged_offset(tags, where) is None
        and _declared_offset(_reflectance_asset(item, asset_key, where), where) is None
    )


def _by_metadata(
    item: Item, asset_key: str, declared: float | None, in_file: float | None, *, where: str
) -> Radiometry:
    """Decide from the item; from the file where the item says nothing."""
    version = baseline(item)
    if version == UNKNOWN_BASELINE:
        raise RadiometryError(
            f"{where}: processing baseline 99.99 does not determine the offset; "
            "exclude it or use the same acquisition from another catalogue"
        )
    if _is_flagged(item, asset_key):
        return _flagged(item, version)
    if version is None:
        if declared is not None:
            return Radiometry(REFLECTANCE_SCALE, declared, f"asset says offset {declared:g}")
        if in_file is not None:
            return Radiometry(REFLECTANCE_SCALE, in_file, f"file says offset {in_file:g}")
        raise RadiometryError(
            f"{where}: no processing baseline and no raster:bands offset; "
            "expected s2:processing_baseline or processing:version in the item"
        )
    name = f"baseline {version[0]:02d}.{version[1]:02d}"
    expected = SHIFT if version >= FIRST_SHIFTED_BASELINE else 0.0
    if declared in (None, expected):
        source = catalog_of(item).name
        return Radiometry(REFLECTANCE_SCALE, expected, f"{name} from {source}: offset {expected:g}")
    return Radiometry(
        REFLECTANCE_SCALE, None, f"{name} means offset {expected:g}, the asset says {declared:g}"
    )


def _reflectance_asset(item: Item, asset_key: str, where: str) -> Mapping[str, Any]:
    """Return the asset if it is one reflectance band of Sentinel-2, else raise."""
    if not is_sentinel2(item):
        raise RadiometryError(f"{where}: not a Sentinel-2 item; expected collection sentinel-2-l2a")
    assets = assets_of(item)
    if asset_key not in assets:
        raise RadiometryError(f"{where}: no such asset; the item has {', '.join(assets) or 'none'}")
    name = read_asset_key(asset_key)
    if name is None or name.band == "SCL":
        raise RadiometryError(f"{where}: holds no single band of reflectance; expected B01 to B12")
    return assets[asset_key]


def _declared_offset(asset: Mapping[str, Any], where: str) -> float | None:
    """Return the reflectance offset an asset declares (STAC 1.0 or 1.1 style), None if none.

    Only the two offsets that ESA has ever used are accepted.
    """
    bands = asset.get("raster:bands") or asset.get("bands") or [{}]
    if not isinstance(bands, list) or not isinstance(bands[0], dict):
        raise RadiometryError(f"{where}: raster:bands is {bands!r}: expected a list of objects")
    first = {key.removeprefix("raster:"): value for key, value in bands[0].items()}
    scale = _number(asset.get("raster:scale", first.get("scale")), f"{where}: scale")
    offset = _number(asset.get("raster:offset", first.get("offset")), f"{where}: offset")
    if scale is not None and not np.isclose(scale, REFLECTANCE_SCALE, rtol=1e-6):
        raise RadiometryError(f"{where}: scale {scale}: expected {REFLECTANCE_SCALE} (Sentinel-2)")
    if offset is None:
        # A scale without an offset means offset 0 in the raster extension.
        return None if scale is None else 0.0
    return _known_offset(offset, where)


def _number(value: Any, where: str) -> float | None:
    """Return a number that may be written as text; None where there is none."""
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise RadiometryError(f"{where} {value!r}: expected a number") from error


def _tagged_offset(tags: tuple[float, float], where: str) -> float | None:
    """Return the reflectance offset that a file declares in its own tags, None if none."""
    scale, offset = tags
    if tags == NO_TAGS:
        return None
    if scale == 1:  # then both are in digital numbers
        return _known_offset(offset * REFLECTANCE_SCALE, f"{where}: the file's tags")
    if not np.isclose(scale, REFLECTANCE_SCALE, rtol=1e-6):
        raise RadiometryError(
            f"{where}: the file's tags say scale {scale:g}: expected {REFLECTANCE_SCALE} "
            "(Sentinel-2); take the tags away if they are wrong, else write the numbers again"
        )
    return _known_offset(offset, f"{where}: the file's tags")


def _known_offset(offset: float, where: str) -> float:
    """Return the one of the two offsets that ESA has ever used; others are refused."""
    for known in (0.0, SHIFT):
        if np.isclose(offset, known, atol=1e-6):
            return known
    raise RadiometryError(f"{where}: offset {offset:g}: expected 0 or {SHIFT} (Sentinel-2)")


def _is_flagged(item: Item, asset_key: str) -> bool:
    """Return whether an asset is one of the COGs that Earth Search may have shifted itself."""
    catalog = catalog_of(item)
    name = read_asset_key(asset_key)
    # The JPEG 2000 twins are ESA's own files and were never shifted.
    if name is None or name.is_jp2_twin:
        return False
    return collection_of(item) in catalog.flagged_collections or _flag(item) is not None


def _flag(item: Item) -> bool | None:
    """Return Earth Search's "offset applied" flag, None if the item has none."""
    facts = properties(item)
    for key in ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"):
        text = str(facts.get(key)).lower()
        if text in {"true", "false"}:
            return text == "true"
    return None


def _flagged(item: Item, version: tuple[int, int] | None) -> Radiometry:
    """Decide for a COG that may have been shifted; its raster:bands offset is ignored."""
    flag = _flag(item)
    if flag:
        return Radiometry(REFLECTANCE_SCALE, 0.0, "Earth Search says it applied the offset itself")
    if version is not None and version < FIRST_SHIFTED_BASELINE:
        name = f"baseline {version[0]:02d}.{version[1]:02d}"
        return Radiometry(REFLECTANCE_SCALE, 0.0, f"{name} from earth-search: offset 0")
    claim = "has no flag" if flag is None else "says it did not apply the offset"
    return Radiometry(REFLECTANCE_SCALE, None, f"Earth Search {claim}, which is often wrong")


# Shares of clear red pixels, defaults of lspipe: numbers below 1000 are negative reflectance if the
# pixels are raw, and everyday vegetation, water and shade if they were shifted.
_SHIFTED_SHARE = 0.05
_RAW_SHARE = 0.005
# A bright desert or snowfield has none below 1000 in either case; pixels count as raw only if some
# are as dark as vegetation in red: reflectance 0 to 0.05 if they are raw.
_DARK_LIMIT = 1500
_MIN_PIXELS = 1000  # with fewer, a share of half a percent is noise


def radiometry_from_pixels(dn: NDArray[np.uint16]) -> Radiometry:
    """Decide from the pixels of the red band (B04) whether the 1000 DN were taken off already.

    Only for products of baseline 04.00 or later.

    Args:
        dn: uint16 digital numbers of B04, any shape, 0 where there is no data or cloud.

    Raises:
        RadiometryError: too few pixels, or a scene (snow, desert) that fits both.
    """
    valid = dn[(dn != RAW_NODATA) & (dn != RAW_SATURATED)]
    if valid.size < _MIN_PIXELS:
        raise RadiometryError(
            f"{valid.size} clear red pixels: expected {_MIN_PIXELS} or more to determine the "
            "offset; take collection sentinel-2-c1-l2a or another catalogue"
        )
    below = float(np.mean(valid < 1000))
    dark = float(np.mean(valid < _DARK_LIMIT))
    evidence = f"{below:.2%} of {valid.size} clear red pixels are below 1000"
    if below > _SHIFTED_SHARE:
        return Radiometry(REFLECTANCE_SCALE, 0.0, f"{evidence}: shifted already")
    if below < _RAW_SHARE and dark > _SHIFTED_SHARE:
        return Radiometry(REFLECTANCE_SCALE, SHIFT, f"{evidence}: raw")
    raise RadiometryError(
        f"{evidence}, {dark:.2%} below {_DARK_LIMIT}: fits both shifted and raw pixels; "
        "take collection sentinel-2-c1-l2a or another catalogue"
    )


def to_reflectance(
    dn: NDArray[np.uint16], radiometry: Radiometry, *, out: NDArray[np.int16] | None = None
) -> NDArray[np.int16]:
    """Turn digital numbers into reflectance x 1e4.

    Args:
        dn: uint16, any shape, 0 = no data (tested before the offset, so DN 1000 stays valid).
        radiometry: of this asset; its offset is decided.
        out: int16 of the same shape, filled and returned, which may be the memory of `dn`; None = a
            new array.

    Returns:
        int16 reflectance x 1e4, -999..31767, -32768 = no data. Negative reflectance is kept.

    Raises:
        RadiometryError: the offset is not decided.
    """
    if radiometry.offset is None:
        raise RadiometryError(f"offset is not decided: {radiometry.reason}")
    steps = round(radiometry.offset / REFLECTANCE_SCALE)
    found = np.empty(dn.shape, np.int16) if out is None else out
    lowest, highest = VALID_RANGE
    darkest = max(1, lowest - steps)
    if dn.min(initial=darkest) >= darkest and dn.max(initial=0) <= min(highest, highest - steps):
        # As of most pixels: a tenth of the time.
        return np.add(dn.view(np.int16), np.int16(steps), out=found)
    found[...] = _table(steps)[dn]
    return found


@lru_cache(maxsize=4)
def _table(steps: int) -> NDArray[np.int16]:
    """Return the result for each of the 65536 numbers: faster to look up than to add and clip.

    Args:
        steps: offset in digital numbers.
    """
    # int32: unsigned arithmetic would wrap dark pixels to 64 000.
    shifted = np.clip(np.arange(65536, dtype=np.int32) + steps, *VALID_RANGE)
    shifted[RAW_NODATA] = CUBE_NODATA
    return shifted.astype(np.int16)
