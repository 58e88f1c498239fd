"""A run directory and an inventory -> a folder of labelled patches, to train on or to hand on.

    layout     files                           what they hold
    sen12      s2/TILE_s2_N.nc                 NetCDF: both dates, bands, terrain, radar, as codes
    l4s        img/image_N.h5, mask/mask_N.h5  HDF5: the date after, the 14 channels of that set

`samples.folders.open_folder` reads both back: the same pixels and labels that `chips` gives. With
either comes `regions.csv`, in which patches that overlap on the ground have one region.

A pixel is landslide if its centre lies in a polygon; a polygon without any centre, and what lies
outside of the area, say nothing (255). The folder appears when all is written: before, its files
are in a hidden one beside it.

See also: `chips.py` (the windows), `patch_file.py` (the variables), `l4s.py`.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lspipe import catalogs
from lspipe.errors import SamplesError, UsageError
from lspipe.machine import check_folder
from lspipe.models.item import Scaling
from lspipe.models.recipes import Recipe, recipe_of
from lspipe.runs.frozen import FrozenRun
from lspipe.samples import chip_l4s, chip_netcdf
from lspipe.samples.chips import place, read_polygons
from lspipe.samples.cut import Cutter
from lspipe.samples.folders import REGIONS_FILE, REGIONS_HEADER
from lspipe.samples.regions import by_column, by_overlap
from lspipe.schema import OPTICAL_BANDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import geopandas as gpd

    from lspipe.samples.cut import Patch

Layout = Literal["sen12", "l4s"]

LAYOUTS: tuple[Layout, ...] = ("sen12", "l4s")

WINDOW = 128
"""Edge of a patch of both public sets, pixels."""

TERRAIN = ("elevation", "slope", "curvature")

RADAR = ("VV",)


@dataclass(frozen=True)
class Written:
    """What became of an inventory."""

    folder: Path
    patches: int
    with_landslides: int
    channels: tuple[str, ...]
    outside: int
    """Polygons that lie outside of the area, and are in no patch."""
    left_out: int
    """Patches that the layout cannot hold (l4s: with a pixel of which nothing is said), or that
    overlap another region."""
    regions: int

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self) | {"folder": str(self.folder)}


def write_chips(
    run: Path | str,
    labels: gpd.GeoDataFrame | Path | str,
    folder: Path | str,
    *,
    layout: Layout = "sen12",
    window: int = WINDOW,
    bands: Sequence[str] | None = None,
    background: float = 1.0,
    seed: int = 0,
    group: str | None = None,
) -> Written:
    """Write labelled patches of a run over an inventory, and as many without a landslide.

    Args:
        run: a run directory, finished or planned.
        labels: all landslides of the area on the date after, polygons of any CRS; a GeoDataFrame,
            GeoParquet, or any file that GDAL reads. Those outside of the area are counted.
        folder: to be made; it must not be there.
        layout: of the files, see the module.
        window: edge of a patch, pixels.
        bands: canonical names, of layout sen12; None = all bands that every scene has, with the
            terrain and radar of the run.
        background: number of patches without a landslide per patch with one.
        seed: of the places of these.
        group: column of the polygons with a region for each, such as an event; None = regions by
            overlap.

    Raises:
        SamplesError: as `chips.chips`; channels that the layout needs and the run lacks; a column
            that leaves a region without a landslide, or two regions on one ground.
        StoreError: not a run directory.
        UsageError: the folder is there already, or cannot be written; no such layout.
        MissingExtra: the package that writes these files is not installed.
    """
    target = Path(folder)
    _check(target, layout, window)
    frozen = FrozenRun.of(run)
    channels = _channels(frozen, layout, bands)
    cutter = Cutter(frozen, _recipe(channels), window)
    table, source = read_polygons(labels)
    placed = place(
        cutter, table, source, dates=("after",), background=background, seed=seed,
        skip_outside=True,
    )  # fmt: skip
    if group is None:
        regions = by_overlap(placed.patches, window)
    else:
        regions = by_column(placed, window, table, group, source)
    with _appearing(target) as draft:
        patches = [patch for patch in placed.patches if patch.name in regions]
        named = _write(draft, cutter, patches, layout)
        if not placed.over & named.keys():
            raise SamplesError(
                f"{source}: no patch with a landslide can be written as {layout}: each of "
                f"{len(placed.over)} has pixels of which nothing is said; take layout sen12"
            )
        _write_regions(draft / REGIONS_FILE, {named[name]: regions[name] for name in named})
    return Written(
        folder=target,
        patches=len(named),
        with_landslides=len(placed.over & named.keys()),
        channels=channels,
        outside=len(table) - len(placed.inside),
        left_out=len(placed.patches) - len(named),
        regions=len({regions[name] for name in named}),
    )


# --- what is asked for --------------------------------------------------------------------------


def _check(target: Path, layout: str, window: int) -> None:
    if layout not in LAYOUTS:
        raise UsageError(f"layout {layout!r}: expected one of {', '.join(LAYOUTS)}")
    if layout == "l4s" and window != WINDOW:
        raise UsageError(f"window {window} px: layout l4s has {WINDOW}; expected that, or sen12")
    check_folder(target)
    if target.exists():
        raise UsageError(f"{target}: is there already; choose another folder, or remove it")
    (chip_l4s if layout == "l4s" else chip_netcdf).check_installed(target)


def _channels(run: FrozenRun, layout: Layout, bands: Sequence[str] | None) -> tuple[str, ...]:
    """Return the channels to write: those asked for, else all that the run can give."""
    optical = _common_bands(run)
    terrain = TERRAIN if all(tile.terrain is not None for tile in run.tiles) else ()
    if layout == "l4s":
        return _fourteen(run, optical, terrain)
    radar = RADAR if all(tile.radar is not None for tile in run.tiles) else ()
    known = (*optical, *terrain, *radar)
    if bands is None:
        return known
    lacking = [name for name in bands if name not in known]
    if lacking or not bands or len(set(bands)) != len(bands):
        raise SamplesError(
            f"bands {', '.join(bands) or 'none'}: expected some of {', '.join(known)}, each once; "
            f"{run.path} has these"
        )
    return tuple(bands)


def _fourteen(run: FrozenRun, optical: Sequence[str], terrain: Sequence[str]) -> tuple[str, ...]:
    channels = recipe_of("l4s14").channels
    known = {*optical, *("dem" if name == "elevation" else name for name in terrain)}
    lacking = [name for name in channels if name not in known]
    if lacking:
        raise SamplesError(
            f"{run.path}: lacks {', '.join(lacking)}, which layout l4s has (B10 is of L1C alone, "
            "slope and dem are of the section terrain); take layout sen12, or another run"
        )
    return channels


def _common_bands(run: FrozenRun) -> tuple[str, ...]:
    """Return the bands that every scene of a run has."""
    scenes = [scene for tile in run.tiles for step in tile.steps for scene in step.items]
    held = [set(catalogs.band_assets(scene)) for scene in scenes]
    return tuple(band for band in OPTICAL_BANDS if all(band in names for names in held))


def _recipe(channels: tuple[str, ...]) -> Recipe:
    return Recipe("chips", "", channels, "none", Scaling(), "All channels, as the run has them.")


# --- what is written ----------------------------------------------------------------------------


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Yield a hidden folder beside the target, which becomes it if all goes well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield draft
        draft.chmod(0o755)
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _write(draft: Path, cutter: Cutter, patches: Sequence[Patch], layout: Layout) -> dict[str, str]:
    """Write the files; return the name of each patch that was written as `open_folder` has it."""
    write = chip_l4s.write if layout == "l4s" else chip_netcdf.write
    named: dict[str, str] = {}
    for patch in patches:
        name = write(draft, cutter, patch, len(named) + 1)
        if name is not None:
            named[patch.name] = name
    return named


def _write_regions(file: Path, regions: Mapping[str, str]) -> None:
    with file.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([REGIONS_HEADER, *regions.items()])
