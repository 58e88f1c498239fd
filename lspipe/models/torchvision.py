"""A torchvision that was built for another torch: imported by others, never used here.

segmentation-models-pytorch, timm and Lightning import torchvision wherever it is installed. Beside
a CPU build of torch pip puts the CUDA build of torchvision, as both have the same version, and that
one fails with "operator torchvision::nms does not exist".
"""

from __future__ import annotations

import sys
from functools import cache

import torch


@cache
def make_importable() -> torch.library.Library | None:
    """Declare the operators that such a torchvision looks for, where it cannot be imported without.

    They are names only: a call of one fails with an error of torch that it has no kernel.

    Returns:
        What keeps the names declared; None where nothing had to be.
    """
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return None  # not installed
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            signature = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(signature)  # type: ignore[no-untyped-call]
        return library
    return None
