"""The JSON of a model item (STAC Item with the MLM extension) to a `ModelItem`, and no guessing.

Read from the standard keys: `mlm:input[0]` (bands, window), `mlm:output[0]` (classes), the asset
with the role "mlm:model" (weights, `file:checksum`), the asset "scorecard". Read from lspipe's own:
`lspipe:*`.

`value_scaling` of the standard names no unit (reflectance, digital numbers, 0..255), so lspipe asks
for `lspipe:scaling`, which always acts on reflectance.

Source: STAC 1.1, MLM extension 1.5, file extension 2.1, version extension 1.2.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from lspipe.errors import ModelError, without_query
from lspipe.machine import check_file
from lspipe.models.item import (
    SHIPPED,
    SHIPPED_FOLDER,
    SHIPPED_PREFIX,
    Blend,
    ModelItem,
    Scaling,
    Tta,
    TtaMerge,
    TtaOrder,
)
from lspipe.models.section import REQUIRED, Section, is_finite, nearest, short
from lspipe.models.statistics import Statistics
from lspipe.schema import DATES, OPTICAL_BANDS

STATISTICS_KEY = "lspipe:statistics"

TRAINING_KEY = "lspipe:training"

LSPIPE_KEYS = (
    "lspipe:architecture", "lspipe:arguments", "lspipe:scaling", "lspipe:fill", "lspipe:threshold",
    "lspipe:threshold_sensitive", "lspipe:temperature",
    "lspipe:overlap", "lspipe:stride", "lspipe:tta", "lspipe:tta_merge", "lspipe:tta_order",
    "lspipe:blend", "lspipe:not_for", "lspipe:recipe", STATISTICS_KEY,
    TRAINING_KEY,
)  # fmt: skip
"""Keys of `properties` that are lspipe's own; all but the architecture are optional."""

TEMPERATURES = 0.01, 100
"""Lowest and highest temperature of a network."""

SCORECARD = "scorecard"
"""Key of the asset that holds the measured scores of the model; with the role "metadata"."""

PICKLE_SUFFIXES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib")
"""Files that execute code when they are opened; never read."""

SHA256_MULTIHASH = re.compile(r"1220([0-9a-fA-F]{64})")
"""`file:checksum`: 12 = sha2-256, 20 = 32 bytes, the digest. Source: multiformats/multihash."""


def read_item(path: str | Path) -> ModelItem:
    """Read a model item; its weights are neither read nor verified here.

    Args:
        path: a STAC Item JSON, or "shipped:NAME".

    Raises:
        ModelError: the file cannot be read, or a key is missing, unknown or out of range; the
            message names the file and the key. Weights that are missing or pickled too.
    """
    file, reference = _locate(path)
    document, item_sha256 = _read_json(file)
    root = Section(file, "", document)
    if root.get("type", str, '"Feature"', REQUIRED) != "Feature":
        raise root.error("type", f"found {document['type']!r}: expected a STAC Item, 'Feature'")
    properties = root.section("properties")
    _refuse_unknown(properties)
    source = properties.only("mlm:input", "the only input of the network")
    bands = _bands(source)
    window = _window(source.section("input"), len(bands))
    assets = root.section("assets")
    weights, sha256 = _weights(assets)
    return ModelItem(
        id=root.text("id", "the name of the model"),
        path=file,
        reference=reference,
        bands=bands,
        window=window,
        scaling=_scaling(properties, source, len(bands)),
        fill=properties.per_band("lspipe:fill", len(bands), default=0),
        architecture=properties.text("lspipe:architecture", "a name, or package.module:callable"),
        arguments=properties.get("lspipe:arguments", dict, "an object", {}),
        weights=weights,
        sha256=sha256,
        item_sha256=item_sha256,
        threshold=float(properties.number("lspipe:threshold", 0, 1, 0.5)),
        threshold_sensitive=_floating(properties.number("lspipe:threshold_sensitive", 0, 1, None)),
        temperature=_floating(properties.number("lspipe:temperature", *TEMPERATURES, None)),
        classes=_classes(properties),
        recipe=properties.text("lspipe:recipe", "the name of a channel recipe", ""),
        overlap=_overlap(properties, window),
        tta=properties.choice("lspipe:tta", Tta),
        tta_merge=properties.choice("lspipe:tta_merge", TtaMerge),
        tta_order=properties.choice("lspipe:tta_order", TtaOrder),
        blend=properties.choice("lspipe:blend", Blend),
        version=properties.text("version", "text", ""),
        description=properties.text("description", "text", ""),
        not_for=properties.text("lspipe:not_for", "text", ""),
        scorecard=_scorecard(assets),
        statistics=_statistics(properties, len(bands)),
        training=properties.get(TRAINING_KEY, dict, "an object", {}),
    )


def canonical_band(name: str) -> str:
    """The canonical name of a Sentinel-2 band; other names stay as they are.

    >>> canonical_band("b2"), canonical_band("before:b8a"), canonical_band("slope")
    ('B02', 'before:B8A', 'slope')
    """
    date, colon, rest = name.rpartition(":")
    if colon and date in DATES:
        return f"{date}:{canonical_band(rest)}"
    match = re.fullmatch(r"[Bb](\d{1,2})", name)
    wanted = f"B{int(match[1]):02d}" if match else name.upper()
    return wanted if wanted in OPTICAL_BANDS else name


def _locate(path: str | Path) -> tuple[Path, str]:
    """File of an item, and the reference by which any machine finds it."""
    text = str(path)
    if not text.startswith(SHIPPED_PREFIX):
        check_file(text)
        file = Path(path).absolute()
        return file, str(file)
    name = text.removeprefix(SHIPPED_PREFIX)
    if name not in SHIPPED:
        raise ModelError(
            f"{text}: no such model{nearest(name, SHIPPED)}: expected one of {', '.join(SHIPPED)}"
        )
    return SHIPPED_FOLDER / SHIPPED[name], text


def _read_json(file: Path) -> tuple[dict[str, Any], str]:
    """The document, and the sha256 of its canonical form without what decides no pixel."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise ModelError(f"{file}: {key}: found twice in one object")
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ModelError(f"{file}: found {constant}: expected finite numbers")

    if file.suffix.lower() in (*PICKLE_SUFFIXES, ".safetensors"):
        raise ModelError(
            f"{file}: these are weights: expected the model item (JSON) that describes them"
        )
    try:
        document = json.loads(
            file.read_text("utf-8"), object_pairs_hook=unique, parse_constant=refuse
        )
    except OSError as error:
        raise ModelError(
            f"{file}: cannot read the model item: {error.strerror}; expected its JSON, or one of "
            f"{', '.join(f'{SHIPPED_PREFIX}{name}' for name in SHIPPED)}"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: not JSON ({error}): expected a STAC Item") from error
    if not isinstance(document, dict):
        raise ModelError(f"{file}: found {short(document)}: expected a STAC Item, an object")
    canonical = json.dumps(_deciding(document), sort_keys=True, separators=(",", ":"))
    return document, hashlib.sha256(canonical.encode()).hexdigest()


def _deciding(document: dict[str, Any]) -> dict[str, Any]:
    """The document without statistics, training and scorecard: with others it is the same model.

    The scorecard names the model that it is of by this hash, so the hash cannot depend on it.
    """
    aside = {"properties": (STATISTICS_KEY, TRAINING_KEY), "assets": (SCORECARD,)}
    kept = {
        part: {key: value for key, value in document[part].items() if key not in left_out}
        for part, left_out in aside.items()
        if isinstance(document.get(part), dict)
    }
    return document | kept


def _refuse_unknown(properties: Section) -> None:
    for key in properties.values:
        if key.startswith("lspipe:") and key not in LSPIPE_KEYS:
            raise properties.error(key, f"unknown key{nearest(key, LSPIPE_KEYS)}")


def _bands(source: Section) -> tuple[str, ...]:
    """Canonical names in the order of the channels."""
    found = source.get("bands", list, "the names of the channels, in order", REQUIRED)
    names = []
    for index, entry in enumerate(found):
        name = entry.get("name") if isinstance(entry, dict) else entry
        if not isinstance(name, str) or not name:
            raise source.error(f"bands[{index}]", f"found {short(entry)}: expected a band's name")
        if isinstance(entry, dict) and entry.get("expression") is not None:
            raise source.error(f"bands[{index}]", "computed bands are not supported")
        names.append(canonical_band(name))
    if not names or len(set(names)) != len(names):
        raise source.error("bands", f"found {names}: expected each channel's name once")
    return tuple(names)


def _window(structure: Section, bands: int) -> int:
    """Edge of the window, from a shape [batch, bands, height, width]."""
    shape = structure.get("shape", list, "[-1, bands, window, window]", REQUIRED)
    order = structure.get("dim_order", list, "a list", ["batch", "bands", "height", "width"])
    if order not in (
        ["batch", "bands", "height", "width"],
        ["batch", "channel", "height", "width"],
    ):
        raise structure.error("dim_order", f"found {order}: expected [batch, bands, height, width]")
    is_integers = all(type(size) is int for size in shape)
    if len(shape) != 4 or not is_integers or shape[2] != shape[3] or shape[3] < 1:
        raise structure.error("shape", f"found {shape}: expected [-1, {bands}, window, window]")
    if shape[1] != bands:
        raise structure.error("shape", f"found {shape[1]} channels, but `bands` names {bands}")
    if structure.get("data_type", str, "'float32'", "float32") != "float32":
        raise structure.error("data_type", "expected 'float32'; lspipe converts what it reads")
    return int(shape[3])


def _scaling(properties: Section, source: Section, bands: int) -> Scaling:
    """The scaling on reflectance; never one that would have to be guessed."""
    if "lspipe:scaling" not in properties.values:
        if source.values.get("value_scaling"):
            raise source.error(
                "value_scaling",
                "names no unit; give properties.lspipe:scaling besides, which acts on reflectance "
                '(such as {"kind": "affine", "scale": 1, "offset": 0, "clip": [0, 1]})',
            )
        return Scaling()
    section = properties.section("lspipe:scaling")
    known = ("kind", "scale", "offset", "clip")
    for key in section.values:
        if key not in known:
            raise section.error(key, f"unknown key{nearest(key, known)}")
    kind = section.text("kind", "the kind of scaling")
    clip = section.get("clip", list, "[low, high]", None)
    if clip is not None and (len(clip) != 2 or not all(map(is_finite, clip))):
        raise section.error("clip", f"found {short(clip)}: expected [low, high]")
    is_affine = kind == "affine"
    numbers = {
        key: section.per_band(key, bands, default=default)
        for key, default in (("scale", 1), ("offset", 0))
        if is_affine or key in section.values
    }
    try:
        return Scaling(kind=kind, clip=clip and tuple(map(float, clip)), **numbers)  # type: ignore[arg-type]
    except ValueError as error:
        raise properties.error("lspipe:scaling", str(error)) from error


def _statistics(properties: Section, bands: int) -> Statistics | None:
    """Statistics of the training data, if the item has them."""
    if STATISTICS_KEY not in properties.values:
        return None
    return Statistics.from_json(properties.section(STATISTICS_KEY), bands)


def _overlap(properties: Section, window: int) -> float | None:
    """Overlap as a fraction; a stride in pixels becomes the fraction that gives it back."""
    overlap = properties.number("lspipe:overlap", 0, 1, None)
    stride = properties.get("lspipe:stride", int, f"pixels, 1 to {window}", None)
    if overlap is not None and stride is not None:
        raise properties.error("lspipe:stride", "found beside lspipe:overlap: expected one of them")
    if overlap == 1:
        raise properties.error("lspipe:overlap", "found 1: expected less, or windows never advance")
    if stride is None:
        return None if overlap is None else float(overlap)
    if not 1 <= stride <= window:
        raise properties.error("lspipe:stride", f"found {stride}: expected 1 to {window} pixels")
    return 1 - int(stride) / window


def _floating(number: float | None) -> float | None:
    return None if number is None else float(number)


def _classes(properties: Section) -> tuple[str, ...]:
    """Names of the classes of the only output."""
    output = properties.only("mlm:output", "the only output of the network")
    classes = output.get("classification:classes", list, "a list of classes", [])
    if not all(isinstance(entry, dict) for entry in classes):
        raise output.error("classification:classes", "expected objects with a value and a name")
    return tuple(str(entry.get("name", entry.get("value"))) for entry in classes)


def _weights(assets: Section) -> tuple[Path | None, str | None]:
    """Weights file and its sha256; two None for a model whose asset is its code."""
    models = [
        key
        for key, asset in assets.values.items()
        if isinstance(asset, dict) and "mlm:model" in (asset.get("roles") or ())
    ]
    if len(models) != 1:
        raise assets.error("", f"found {len(models)} with the role 'mlm:model': expected one")
    asset = assets.section(models[0])
    href = asset.text("href", "the path of the weights, relative to the item")
    suffix = Path(href).suffix.lower()
    if suffix in PICKLE_SUFFIXES:
        raise asset.error(
            "href",
            f"{without_query(href)}: {suffix} files run code when they are opened, so lspipe never "
            "opens them: expected .safetensors",
        )
    if "://" in href:
        raise asset.error(
            "href", f"{without_query(href)}: download the weights beside the item; lspipe does not"
        )
    if suffix == ".py":
        return None, None
    if suffix != ".safetensors":
        raise asset.error("href", f"found {href!r}: expected a .safetensors file")
    checksum = asset.text("file:checksum", "1220 + the sha256 of the weights, in hex")
    match = SHA256_MULTIHASH.fullmatch(checksum)
    if match is None:
        raise asset.error(
            "file:checksum", f"found {short(checksum)}: expected 1220 + 64 hex digits"
        )
    weights = (assets.file.parent / href).absolute()
    if not weights.is_file():
        raise asset.error("href", f"no file {weights}")
    return weights, match[1].lower()


def _scorecard(assets: Section) -> Path | None:
    """File of the scorecard, which need not be there: no pixel depends on it."""
    if SCORECARD not in assets.values:
        return None
    asset = assets.section(SCORECARD)
    href = asset.text("href", "the path of the scorecard, relative to the item")
    if "://" in href or Path(href).suffix.lower() != ".json":
        raise asset.error("href", f"found {without_query(href)}: expected a .json file beside it")
    return (assets.file.parent / href).absolute()
