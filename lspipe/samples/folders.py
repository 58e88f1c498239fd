"""A folder of labelled patches, of any known layout, with the regions of its patches.

Layouts:

    img/*.h5, mask/*.h5      Landslide4Sense (`l4s`)
    images/*, masks/*        pictures (`pictures`)
    s2/*.nc                  Sen12Landslides, and chips of lspipe in its layout (`sen12`)

Regions, in one of two ways:

    regions.csv              beside the layout: a header "name,region" and a line for each patch
    Taiwan/, China/, ...     sub-folders, each with a layout of its own: a region is a sub-folder,
                             and its patches are called "Taiwan/12"

A folder with both, or with none of them, is refused.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lspipe.errors import SamplesError, first_few
from lspipe.machine.remote import is_address
from lspipe.samples import Samples, l4s, pictures, sen12

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lspipe.samples import Pair

LAYOUTS: Mapping[str, Callable[[Path, str], Samples]] = {
    "img": l4s.folder,
    "images": pictures.folder,
    "s2": sen12.folder,
}
"""Folder that identifies a layout, and its reader."""

REGIONS_FILE = "regions.csv"

REGIONS_HEADER = ["name", "region"]


def open_folder(path: str | Path, recipe: str) -> Samples:
    """Find the patches of a folder and their regions; no patch is read yet.

    Args:
        path: a folder with a layout, or of regions with one each.
        recipe: channels and units of the patches; the layout must hold them.

    Raises:
        SamplesError: no layout or several; a layout that does not hold the recipe; images without
            masks or the reverse; a list of regions that does not name each patch once.
        UsageError: no such recipe.
    """
    root = Path(path)
    if is_address(str(path)):
        raise SamplesError(f"{path}: found an address, expected a folder; copy the patches here")
    if not root.is_dir():
        raise SamplesError(f"{root}: no such folder: expected {_expected()}")
    layouts, regions = _layouts(root), _sub_folders(root)
    if layouts and regions:
        raise SamplesError(
            f"{root}: patches in {layouts[0]}/ and in {regions[0].name}/{_layouts(regions[0])[0]}/ "
            "too: expected patches here, or in one sub-folder per region, not both"
        )
    if layouts:
        return _with_regions(_plain(root, recipe), root / REGIONS_FILE)
    if regions:
        return _joined(root, regions, recipe)
    found = first_few(sorted(entry.name for entry in root.iterdir())) or "nothing"
    raise SamplesError(f"{root}: found {found}: expected {_expected()}")


def _expected() -> str:
    return f"{' or '.join(f'{name}/' for name in LAYOUTS)} with patches, or sub-folders with these"


def _layouts(folder: Path) -> list[str]:
    return [name for name in LAYOUTS if (folder / name).is_dir()]


def _sub_folders(root: Path) -> list[Path]:
    """Return sub-folders with a layout, which are regions."""
    return sorted(
        entry
        for entry in root.iterdir()
        if entry.is_dir() and entry.name not in LAYOUTS and _layouts(entry)
    )


def _plain(folder: Path, recipe: str) -> Samples:
    """Return the patches of a folder with one layout."""
    layouts = _layouts(folder)
    if len(layouts) > 1:
        raise SamplesError(
            f"{folder}: found {' and '.join(f'{name}/' for name in layouts)}: expected one of them"
        )
    samples = LAYOUTS[layouts[0]](folder, recipe)
    if not samples.names:
        raise SamplesError(f"{folder / layouts[0]}: no patches")
    return samples


def _joined(root: Path, folders: list[Path], recipe: str) -> Samples:
    """Return the patches of all sub-folders, whose names are their regions."""
    parts = {}
    for folder in folders:
        if (folder / REGIONS_FILE).exists():
            raise SamplesError(
                f"{folder / REGIONS_FILE}: {folder.name} is a region itself, as a sub-folder: "
                "remove this file, or open this folder alone"
            )
        parts[folder.name] = _plain(folder, recipe)
    homes = {
        f"{region}/{name}": (region, name) for region, part in parts.items() for name in part.names
    }

    def read(name: str) -> Pair:
        region, inside = homes[name]
        return parts[region].read(inside)

    return Samples(
        source=str(root),
        recipe=next(iter(parts.values())).recipe,
        names=tuple(homes),
        read=read,
        regions={name: region for name, (region, _) in homes.items()},
        parts=_joined_parts(parts, homes),
    )


def _joined_parts(
    folders: Mapping[str, Samples], homes: Mapping[str, tuple[str, str]]
) -> dict[str, str] | None:
    """Return the parts of all patches, where every sub-folder has a list of them."""
    known = {region: folder.parts for region, folder in folders.items()}
    if all(each is None for each in known.values()):
        return None
    lacking = [region for region, each in known.items() if each is None]
    if lacking:
        raise SamplesError(
            f"{first_few(lacking)}: no list of parts, and other sub-folders have one: expected one "
            "in each, or in none"
        )
    return {
        name: each[inside]
        for name, (region, inside) in homes.items()
        if (each := known[region]) is not None
    }


def _with_regions(samples: Samples, file: Path) -> Samples:
    """Return the samples with the regions of regions.csv, if there is one."""
    if not file.exists():
        return samples
    regions = _read_regions(file)
    foreign = [name for name in regions if name not in samples.names]
    if foreign:
        raise SamplesError(
            f"{file}: {first_few(foreign)}: no such patches ({len(foreign)} of "
            f"{len(regions)}); {samples.source} has names like {samples.names[0]}"
        )
    lacking = [name for name in samples.names if name not in regions]
    if lacking:
        raise SamplesError(
            f"{file}: lacks {first_few(lacking)} ({len(lacking)} of {len(samples)} "
            "patches): expected a line for each"
        )
    return replace(samples, regions=regions)


def _read_regions(file: Path) -> dict[str, str]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = list(csv.reader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SamplesError(f"{file}: not a readable list of regions ({error})") from error
    header = [cell.strip() for cell in rows[0]] if rows else []
    if header != REGIONS_HEADER:
        raise SamplesError(
            f"{file}: line 1: found {','.join(header) or 'nothing'}: expected "
            f"{','.join(REGIONS_HEADER)}"
        )
    regions: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        cells = [cell.strip() for cell in row]
        if len(cells) != len(REGIONS_HEADER) or not all(cells):
            raise SamplesError(
                f"{file}: line {number}: found {','.join(row)!r}: expected a name and a region"
            )
        name, region = cells
        if name in regions:
            raise SamplesError(f"{file}: line {number}: {name} has a region already")
        regions[name] = region
    return regions
