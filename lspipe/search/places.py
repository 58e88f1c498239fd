"""A catalogue as a person names it -> the URL of a server, or a path to items."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from lspipe.catalogs import CATALOGS
from lspipe.errors import WorkflowError
from lspipe.machine.remote import is_address, place

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.search.spec import SearchSpec


def api_url(catalog: str) -> str | None:
    """Return the URL of an API, None where the catalogue must be a path."""
    if catalog in CATALOGS:
        return CATALOGS[catalog].url
    return catalog if re.match(r"https?://", catalog) else None


def missing_items(spec: SearchSpec, folder: Path) -> Path | None:
    """Return the path of a catalogue of files that is not there yet; None if all is well.

    Raises:
        WorkflowError: it looks like the misspelt name of a known catalogue.
    """
    path = _path(spec.catalog, folder)
    if api_url(spec.catalog) is not None or path.exists():
        return None
    if difflib.get_close_matches(spec.catalog, CATALOGS, n=1):
        item_path(spec.catalog, folder)
    return path


def item_path(catalog: str, folder: Path, *, key: str = "search.catalog") -> Path:
    """Return the path of a catalogue of files.

    Args:
        catalog: as a person names it.
        folder: what relative paths start from.
        key: of the workflow, for errors.

    Raises:
        WorkflowError: there is no such file or folder; names the nearest known catalogue.
    """
    path = _path(catalog, folder)
    if path.exists():
        return path
    near = difflib.get_close_matches(catalog, CATALOGS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise WorkflowError(
        f"{key}: found {catalog!r}: {hint}expected {', '.join(CATALOGS)}, "
        f"the URL of a STAC API, or a path (no such file or folder: {path})"
    )


def _path(catalog: str, folder: Path) -> Path:
    return place(catalog) if is_address(catalog) else folder / catalog
