"""A trained module to a model item: safetensors weights, and the JSON that defines their use."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lspipe.errors import ModelError
from lspipe.machine import check_folder
from lspipe.models import build, spelled_out
from lspipe.models.item import Scaling
from lspipe.models.mlm import SCORECARD, read_item
from lspipe.models.section import nearest
from lspipe.models.statistics import Statistics
from lspipe.models.weights import fill, read_tensors, unwrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

FIELDS = (
    "id", "architecture", "arguments", "bands", "window", "scaling", "fill", "threshold",
    "classes", "overlap", "tta", "tta_merge", "tta_order", "blend", "description", "not_for",
    "recipe", "statistics", "training", "threshold_sensitive", "temperature", "version",
)  # fmt: skip
"""What `item_fields` may hold: the fields of `ModelItem` of the same names."""

REQUIRED_FIELDS = ("id", "architecture", "bands", "window", "description", "not_for")

_CLASSES = ("background", "landslide")

# The same shape as the MLM extension asks of names; it is a file name too.
_ID = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]+[a-zA-Z0-9]")


def pack(
    module: nn.Module,
    folder: str | Path,
    *,
    item_fields: Mapping[str, Any],
    scorecard: Mapping[str, Any] | None = None,
) -> Path:
    """Write `ID.safetensors` and `ID.json` into a folder, and read them back.

    The same module and fields give the same bytes. The item is written last, by renaming, so an
    item that is there has its weights.

    Args:
        module: a trained network, perhaps compiled or wrapped; not modified.
        folder: made if it is not there.
        item_fields: fields of `ModelItem`: id, architecture, bands, window, description, not_for,
            and where they differ from its defaults, the others of `FIELDS`. `scaling` is a
            `Scaling`; `fill` one number or one per channel; `statistics` a `Statistics` of what the
            module was trained on; `training` how, plain JSON values. Arguments that are not given
            are written with the architecture's defaults.
        scorecard: what was measured of these weights (`Scorecard.as_json()`): written as
            `ID.scorecard.json` and listed in the item. The sha256 of the weights does not depend on
            it, so they may be packed, scored, and packed again with their scorecard.

    Returns:
        The path of the item.

    Raises:
        ModelError: a field is missing, unknown or out of range, the architecture that the item
            names does not take the weights of the module, or the scorecard is of other weights.
        UsageError: the folder cannot be written.
    """
    import safetensors.torch

    fields = _checked(item_fields)
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()
    }
    twin = build(fields["architecture"], len(fields["bands"]), **fields.get("arguments", {}))
    state = unwrapped(twin, state)
    refusal = (
        f"{fields['architecture']!r} with {len(fields['bands'])} channels does not take these "
        "weights"
    )
    fill(twin, state, refusal=refusal, source="the module")
    fields["arguments"] = spelled_out(fields["architecture"], fields.get("arguments", {}))
    content: bytes = safetensors.torch.save(state)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    sha256 = hashlib.sha256(content).hexdigest()
    document = _document(fields, sha256, parameters)
    files = {f"{fields['id']}.safetensors": content}
    if scorecard is not None:
        files |= _with_scorecard(document, scorecard, sha256)
    item_name = f"{fields['id']}.json"
    files[item_name] = _json(document)

    check_folder(folder)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Read back before anything is replaced: a refused item leaves an earlier one as it was.
    with TemporaryDirectory(dir=folder, prefix=".packing-") as draft:
        for name, bytes_of_file in files.items():
            (Path(draft) / name).write_bytes(bytes_of_file)
        read_item(Path(draft) / item_name)
        for name in files:
            (Path(draft) / name).replace(folder / name)
    return folder / item_name


def from_file(weights: str | Path, *, item_fields: Mapping[str, Any]) -> nn.Module:
    """Build the network that the fields name, with weights that were trained elsewhere, to `pack`.

    Args:
        weights: safetensors file of a state_dict, of the architecture that the fields name.
        item_fields: see `pack`.

    Raises:
        ModelError: a pickle, no safetensors file, weights of another architecture, wrong fields.
    """
    fields = _checked(item_fields)
    tensors = read_tensors(Path(weights))
    network = build(fields["architecture"], len(fields["bands"]), **fields.get("arguments", {}))
    refusal = (
        f"{weights}: not the weights of {fields['architecture']!r} with "
        f"{len(fields['bands'])} channels"
    )
    fill(network, unwrapped(network, tensors), refusal=refusal, source="the file")
    return network


def _with_scorecard(
    document: dict[str, Any], scorecard: Mapping[str, Any], sha256: str
) -> dict[str, bytes]:
    """List the scorecard in the item; its file."""
    if scorecard.get("sha256") != sha256:
        raise ModelError(
            f"scorecard: sha256: found {scorecard.get('sha256')}: expected {sha256}, that of the "
            "weights; score these with `lspipe model evaluate`"
        )
    name = f"{document['id']}.scorecard.json"
    document["assets"][SCORECARD] = {
        "href": name,
        "type": "application/json",
        "title": "What was measured of it",
        "roles": ["metadata"],
    }
    return {name: _json(scorecard)}


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()


def _checked(item_fields: Mapping[str, Any]) -> dict[str, Any]:
    for key in item_fields:
        if key not in FIELDS:
            raise ModelError(f"item_fields: {key}: unknown field{nearest(key, FIELDS)}")
    missing = [key for key in REQUIRED_FIELDS if not item_fields.get(key)]
    if missing:
        raise ModelError(f"item_fields: {', '.join(missing)}: missing; a model item must have this")
    check_id(item_fields["id"])
    return dict(item_fields)


def check_id(name: str) -> None:
    """Refuse a name that an item and its files cannot have.

    Raises:
        ModelError: names what was found.
    """
    if not _ID.fullmatch(name):
        raise ModelError(
            f"id: found {name!r}: expected 3 or more letters, digits, . _ - (a letter first, a "
            "letter or a digit last); give id=NAME"
        )


def _document(fields: Mapping[str, Any], sha256: str, parameters: int) -> dict[str, Any]:
    """The STAC Item, with the MLM, file and version extensions."""
    bands, window = list(fields["bands"]), fields["window"]
    own = {
        f"lspipe:{key}": _plain(fields[key])
        for key in FIELDS
        if key not in {"id", "bands", "window", "classes", "description", "version"}
        and fields.get(key) is not None
    }
    # Null says that nothing is scaled; a scaling that acts on reflectance has no word there.
    is_unscaled = fields.get("scaling", Scaling()).kind == "identity"
    unscaled = {"value_scaling": None} if is_unscaled else {}
    version = {"version": fields["version"]} if fields.get("version") else {}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/mlm/v1.5.0/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
            *(["https://stac-extensions.github.io/version/v1.2.0/schema.json"] if version else []),
        ],
        "id": fields["id"],
        # A model is of no place, and of all the time for which there is Sentinel-2.
        "geometry": None,
        "properties": {
            "description": fields["description"],
            **version,
            "datetime": None,
            "start_datetime": "2015-06-23T00:00:00Z",
            "end_datetime": "2100-01-01T00:00:00Z",
            "bands": [{"name": name} for name in bands],
            "mlm:name": fields["id"],
            "mlm:architecture": fields["architecture"],
            "mlm:tasks": ["semantic-segmentation"],
            "mlm:framework": "PyTorch",
            "mlm:total_parameters": parameters,
            "mlm:input": [
                {
                    "name": "channels",
                    "bands": bands,
                    "input": _structure([-1, len(bands), window, window], "bands"),
                    **unscaled,
                }
            ],
            "mlm:output": [
                {
                    "name": "probability",
                    "bands": [],
                    "tasks": ["semantic-segmentation"],
                    "result": _structure([-1, 1, window, window], "channel"),
                    "classification:classes": [
                        {"value": value, "name": name}
                        for value, name in enumerate(fields.get("classes", _CLASSES))
                    ],
                }
            ],
            **own,
        },
        "links": [],
        "assets": {
            "weights": {
                "href": f"{fields['id']}.safetensors",
                "type": "application/octet-stream",
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": "safetensors",
                "file:checksum": f"1220{sha256}",
            }
        },
    }


def _structure(shape: list[int], channels: str) -> dict[str, Any]:
    order = ["batch", channels, "height", "width"]
    return {"shape": shape, "dim_order": order, "data_type": "float32"}


def _plain(value: Any) -> Any:
    """A field as JSON; a scaling without the parts that its kind does not have."""
    if isinstance(value, Statistics):
        return value.as_json()
    if not isinstance(value, Scaling):
        return value
    return {key: part for key, part in asdict(value).items() if part}
