"""The state of a training on disk: tensors as safetensors, everything else as JSON in its header.

The files of Lightning are pickles, which run code when they are opened. Its state consists of
nested dicts and lists of numbers, texts and tensors, so no pickle is needed: a tensor is replaced
by its name, and the rest, with keys that may be numbers, is written as text into the header. The
file is written under another name and renamed, so that an interruption leaves the state of the
epoch before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pytorch_lightning.plugins import CheckpointIO

from lspipe.errors import UsageError

SUFFIX = ".safetensors"

_HEADER = "state"


class SafeCheckpoints(CheckpointIO):
    """States of Lightning, without pickles."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a state atomically."""
        del storage_options
        tensors: dict[str, torch.Tensor] = {}
        text = json.dumps(_packed(checkpoint, tensors))
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.part")
        draft.write_bytes(safetensors.torch.save(tensors, metadata={_HEADER: text}))
        draft.replace(target)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a state.

        Raises:
            UsageError: the file is no state of a training.
        """
        del map_location, weights_only  # not needed: Lightning moves tensors to the network
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                text = (file.metadata() or {})[_HEADER]
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            state: dict[str, Any] = _unpacked(json.loads(text), tensors)
        except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
            raise UsageError(
                f"{path}: not the state of a training ({error}); remove it to start over"
            ) from error
        return state

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a state."""
        Path(path).unlink(missing_ok=True)


def _packed(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return a value as JSON; its tensors are added to `tensors`, and replaced by their names."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        # Copied: safetensors does not save two names for one memory.
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_packed(k, tensors), _packed(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_packed(part, tensors) for part in value]}
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"state of a training holds a {type(value).__name__}: expected plain values")


def _unpacked(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_unpacked(k, tensors): _unpacked(v, tensors) for k, v in content}
    parts = [_unpacked(part, tensors) for part in content]
    return parts if kind == "list" else tuple(parts)
