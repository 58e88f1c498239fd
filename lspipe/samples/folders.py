"""A folder of labelled patches, whatever its kind -> `Samples`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lspipe.errors import SamplesError
from lspipe.samples import l4s, pictures

if TYPE_CHECKING:
    from lspipe.samples import Samples


def open_folder(path: str | Path, recipe: str) -> Samples:
    """Find the patches of a folder of any kind that lspipe reads; nothing is read yet.

    Args:
        path: holds `img/` with HDF5 files (`l4s`), or `images/` with pictures (`pictures`).
        recipe: name of the recipe in whose units the images are wanted.

    Raises:
        SamplesError: neither is there, or both are; and as the reader of that kind.
        UsageError: no such recipe.
    """
    root = Path(path)
    is_l4s, is_pictures = any(root.glob("img/*.h5")), (root / "images").is_dir()
    if is_l4s == is_pictures:
        found = "both" if is_l4s else "neither"
        raise SamplesError(
            f"{root}: found {found} of img/*.h5 (Landslide4Sense) and images/ (pictures): expected "
            "one of them, with the masks beside it in mask/ or masks/"
        )
    return l4s.folder(root, recipe) if is_l4s else pictures.folder(root, recipe)
