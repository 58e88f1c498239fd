"""A run directory and polygons of landslides -> labelled patches cut from the run's cube.

The cube is that of the frozen plan: the same scenes and radiometry, without a new search. So a
network is trained on the same kind of pixels as in a run.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import shapely

from lspipe.change.decisions import layer_of
from lspipe.errors import DecisionsError, SamplesError, first_few
from lspipe.machine import check_file
from lspipe.models.item import ModelItem, Scaling
from lspipe.models.mlm import read_item
from lspipe.models.recipes import Recipe, check_item, recipe_of
from lspipe.runs.frozen import FrozenRun
from lspipe.samples.cover import elsewhere
from lspipe.samples.cut import Cutter, Patch
from lspipe.samples.marks import Marks, part_of
from lspipe.schema import IGNORED, is_pair

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import geopandas as gpd

    from lspipe.runs.frozen import FrozenTile
    from lspipe.samples import Samples

LEAST_OBSERVED = 0.5
"""Least share of a background window that is observed and inside the area."""

log = logging.getLogger(__name__)


def chips(
    run: Path | str,
    polygons: gpd.GeoDataFrame | Path | str,
    *,
    model: ModelItem | Path | str | None = None,
    recipe: str | None = None,
    bands: Sequence[str] | None = None,
    window: int | None = None,
    date: Literal["after", "before", "both"] = "after",
    background: float = 1.0,
    seed: int = 0,
    skip_outside: bool = False,
) -> Samples:
    """Cut labelled patches from the cube of a run, over polygons and in places without any.

    Every polygon lies whole in a patch, a larger one in several together, on every tile that covers
    it. Its pixels are 1; pixels that are not observed or outside of the area are `schema.IGNORED`;
    all others are 0, as the polygons should be all landslides of the area on that date. Patches for
    a pair model hold both dates, and the polygons are landslides between the two.

    Args:
        run: a run directory, finished or planned.
        polygons: landslides, in any CRS; a GeoDataFrame, GeoParquet, or any file that GDAL reads.
        model: a model item whose channels, scaling and window the patches get; or ...
        recipe: ... the name of a recipe; or ...
        bands: ... canonical names, as reflectance. None of the three = the run's own model.
        window: edge of a patch, pixels; None = the model item's.
        date: which date of the run; "both" cuts on each, "before" first.
        background: number of patches without a landslide per patch with one; fewer if there is no
            room.
        seed: of the places of the background patches.
        skip_outside: leave out polygons outside of the run's area instead of refusing them.

    Returns:
        Patches, read on demand: for each date those over polygons, in order of tile, time and
        place, then the others. Their regions are the tiles. The same run, polygons and seed give
        the same patches.

    Raises:
        SamplesError: no polygons; no CRS, invalid geometry, another kind than polygons; polygons
            outside of the area, or none observed; channels that the scenes of the run lack; a
            window larger than a tile; a date that the run does not have.
        StoreError: not a run directory.
        ModelError: the model item cannot be used.
        UsageError: no such recipe, more than one of model, recipe and bands, no window.
    """
    frozen = FrozenRun.of(run)
    wanted, edge = units(frozen, model=model, recipe=recipe, bands=bands, window=window)
    cutter = Cutter(frozen, wanted, edge)
    if is_pair(wanted.channels) and date != "after":
        raise SamplesError(
            f"date {date!r}: the patches hold both dates ({', '.join(wanted.channels)}); leave it "
            "out, and give polygons of what became a landslide between them"
        )
    table, source = read_polygons(polygons)
    placed = place(
        cutter,
        table,
        source,
        dates=("before", "after") if date == "both" else (date,),
        background=background,
        seed=seed,
        skip_outside=skip_outside,
    )
    return cutter.samples(placed.patches, f"{frozen.path} with {source}")


# --- where patches lie --------------------------------------------------------------------------


@dataclass(frozen=True)
class Placed:
    """Windows of a run, and what of the polygons they hold."""

    patches: tuple[Patch, ...]
    """For each date those over polygons, then those without any."""
    over: frozenset[str]
    """Names of those over polygons, each with an observed pixel of one."""
    inside: frozenset[int]
    """Rows of the polygons that have a pixel inside the area."""


def place(
    cutter: Cutter,
    table: gpd.GeoDataFrame,
    source: str,
    *,
    dates: Sequence[str],
    background: float,
    seed: int,
    skip_outside: bool,
) -> Placed:
    """Find the windows over polygons, and as many elsewhere; arguments are those of `chips`.

    Args:
        cutter: of the run.
        table: of `read_polygons`.
        source: of the polygons, for messages.
        dates: roles of the dates.
        background: number of windows elsewhere per window over a polygon.
        seed: of the places elsewhere.
        skip_outside: leave out polygons outside of the run's area.

    Raises:
        SamplesError: polygons outside of the area, or none observed; no such date.
    """
    run = cutter.run
    ones = np.ones(len(table), np.uint8)
    marks = {tile.name: Marks.of(table, ones, tile.geobox) for tile in run.tiles}
    inside = _inside(run.tiles, marks)
    _check_outside(inside, len(table), source=source, run=run, is_skipped=skip_outside)
    patches: list[Patch] = []
    over: set[str] = set()
    for role in dates:
        check_date(run, role)
        found = _over(cutter, marks, role, inside)
        patches += found
        patches += _elsewhere(cutter, marks, found, background=background, seed=seed)
        over |= {patch.name for patch in found}
    if not over:
        raise SamplesError(
            f"{source}: none of {len(inside)} polygons was observed on the date "
            f"{' and '.join(dates)} of {run.path}"
        )
    return Placed(tuple(patches), frozenset(over), frozenset(inside))


# --- what a patch holds -------------------------------------------------------------------------


def units(
    run: FrozenRun,
    *,
    model: ModelItem | Path | str | None,
    recipe: str | None,
    bands: Sequence[str] | None,
    window: int | None,
) -> tuple[Recipe, int]:
    """Return channels and scaling of the patches, and their edge; see `chips`."""
    given = [
        name
        for name, value in (("model", model), ("recipe", recipe), ("bands", bands))
        if value is not None
    ]
    if len(given) > 1:
        raise SamplesError(f"found {' and '.join(given)}: expected one of model, recipe, bands")
    if recipe is None and bands is None:
        item = run.item() if model is None else _item(model)
        return recipe_of_item(item), item.window if window is None else window
    if window is None:
        raise SamplesError("window: missing; a recipe has none: give the edge in pixels")
    if recipe is not None:
        return recipe_of(recipe), window
    channels = tuple(bands or ())
    if not channels or len(set(channels)) != len(channels):
        raise SamplesError(f"bands {list(channels)}: expected names such as B04, each once")
    note = "Reflectance of the requested bands."
    return Recipe("bands", "", channels, "L2A", Scaling(), note), window


def recipe_of_item(item: ModelItem) -> Recipe:
    """Return channels and scaling of a model item."""
    if item.recipe:
        return replace(recipe_of(item.recipe), scaling=item.scaling)
    note = f"Channels and scaling of the model {item.id}."
    return Recipe(item.id, "", item.bands, "L2A", item.scaling, note)


def _item(model: ModelItem | Path | str) -> ModelItem:
    item = model if isinstance(model, ModelItem) else read_item(model)
    check_item(item)
    return item


# --- polygons -----------------------------------------------------------------------------------


def read_polygons(polygons: gpd.GeoDataFrame | Path | str) -> tuple[gpd.GeoDataFrame, str]:
    """Read polygons and check that each can be rasterised.

    Returns:
        The table, and its origin, for messages.

    Raises:
        SamplesError: a file that cannot be read, no CRS, no polygons, invalid geometry; rows are
            named by their index.
        UsageError: an address in an object store.
    """
    import geopandas as gpd

    if isinstance(polygons, gpd.GeoDataFrame):
        table, source = polygons, "polygons"
    else:
        check_file(polygons)
        table, source = _read_file(Path(polygons)), str(polygons)
    if not isinstance(table, gpd.GeoDataFrame):
        raise SamplesError(f"{source}: found a table without geometry; expected polygons")
    if table.empty:
        raise SamplesError(f"{source}: found no polygons; expected landslides to label")
    if table.crs is None:
        raise SamplesError(
            f"{source}: no CRS; expected one, for instance a .prj beside a shapefile, or "
            "GeoDataFrame.set_crs"
        )
    shapes = table.geometry.to_numpy()
    is_polygon = np.isin(shapely.get_type_id(shapes), (3, 6)) & ~shapely.is_empty(shapes)
    _refuse_rows(table, ~is_polygon, f"{source}: no polygon", "remove these rows")
    reasons = shapely.is_valid_reason(shapes)
    _refuse_rows(
        table,
        ~shapely.is_valid(shapes),
        f"{source}: invalid geometry ({reasons[~shapely.is_valid(shapes)][:1].tolist()})",
        "repair them (GeoSeries.make_valid, or `Fix geometries` of QGIS)",
    )
    return table, source


def _read_file(path: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd

    if not path.exists():
        raise SamplesError(f"{path}: no such file; expected polygons of landslides")
    try:
        if path.suffix in {".parquet", ".geoparquet"}:
            return gpd.read_parquet(path)
        return gpd.read_file(path, layer=_layer_of(path))
    # GDAL, pyarrow and pyogrio have no common base error.
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise SamplesError(f"{path}: cannot be read as polygons: {reason}") from error


def _layer_of(path: Path) -> str | None:
    """Return the layer of polygons; in the GeoPackage of a run, that of the list."""
    import pyogrio

    names = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if len(names) > 1:
        try:
            return layer_of(path)
        except DecisionsError:
            raise SamplesError(
                f"{path}: found {len(names)} layers ({', '.join(names)}), expected one; save the "
                "one with the polygons as a file of its own"
            ) from None
    return names[0] if names else None


def _refuse_rows(table: gpd.GeoDataFrame, wrong: np.ndarray, what: str, hint: str) -> None:
    rows = table.index[wrong]
    if len(rows):
        raise SamplesError(f"{what}: {len(rows)} of {len(table)} rows ({first_few(rows)}); {hint}")


def _inside(tiles: Sequence[FrozenTile], marks: Mapping[str, Marks]) -> set[int]:
    """Return rows of the polygons that have a pixel inside the area on a tile."""
    found: set[int] = set()
    for tile in tiles:
        here = marks[tile.name]
        for number, box in enumerate(here.boxes):
            part = slice(box.top, box.bottom), slice(box.left, box.right)
            if tile.area is None or (here.pixels(np.array([number]), part) & tile.area[part]).any():
                found.add(int(here.rows[number]))
    return found


def _check_outside(
    inside: set[int], count: int, *, source: str, run: FrozenRun, is_skipped: bool
) -> None:
    outside = [row for row in range(count) if row not in inside]
    if outside and not (is_skipped and inside):
        raise SamplesError(
            f"{source}: {len(outside)} of {count} polygons lie outside of the area of {run.path} "
            f"(rows {first_few(outside)}, counted from 0); clip them to it, or leave them "
            "out (skip_outside)"
        )


def check_date(run: FrozenRun, role: str) -> None:
    """Refuse a date that the run does not have.

    Raises:
        SamplesError: no scene of this date.
    """
    if role not in ("before", "after"):
        raise SamplesError(f"date {role!r}: expected after, before or both")
    if not any(step.role == role for tile in run.tiles for step in tile.steps):
        raise SamplesError(f"{run.path}: has no scene {role}; it has one date")


# --- windows ------------------------------------------------------------------------------------


def _over(cutter: Cutter, marks: Mapping[str, Marks], role: str, inside: set[int]) -> list[Patch]:
    """Return windows over polygons with at least one observed pixel of a polygon."""
    wanted = {
        name: [
            number
            for number, row in enumerate(here.rows.tolist())
            # Too small to locate: it gets no window.
            if row in inside and not here.is_sliver[number]
        ]
        for name, here in marks.items()
    }
    patches = cutter.over(marks, role, wanted=wanted)
    kept = [patch for patch in patches if (cutter.labels(patch) == 1).any()]
    if len(kept) < len(patches):
        log.warning(
            "%s: %d of %d windows over polygons have no observed pixel of one on the date %s",
            cutter.run.path, len(patches) - len(kept), len(patches), role,
        )  # fmt: skip
    return kept


def _elsewhere(
    cutter: Cutter, marks: Mapping[str, Marks], over: list[Patch], *, background: float, seed: int
) -> list[Patch]:
    """Return windows without a polygon, for each tile and date in proportion to those with one.

    All dates draw the same places, as far as they are observed.
    """
    if not background >= 0:
        raise SamplesError(f"background {background}: expected 0 or more")
    found: list[Patch] = []
    for place, tile in enumerate(cutter.run.tiles):
        for number in range(len(tile.steps)):
            here = sum(patch.tile is tile and patch.step == number for patch in over)
            rng = np.random.default_rng((seed, place))
            candidates = _empty(cutter, tile, number, marks[tile.name], rng)
            chosen = islice(candidates, round(background * here))
            found += sorted(chosen, key=lambda patch: patch.corner)
    return found


def _empty(
    cutter: Cutter, tile: FrozenTile, step: int, marks: Marks, rng: np.random.Generator
) -> Iterator[Patch]:
    """Yield windows that touch no polygon and are mostly observed, in drawn order."""
    for corner in elsewhere(tile.geobox.shape, cutter.window, rng):
        part = part_of(corner, cutter.window)
        if len(marks.within(part)):
            continue
        # Checked first, as nothing has to be read for it.
        if tile.area is not None and tile.area[part].mean() < LEAST_OBSERVED:
            continue
        patch = Patch(tile, step, corner, marks)
        if (cutter.labels(patch) != IGNORED).mean() >= LEAST_OBSERVED:
            yield patch
