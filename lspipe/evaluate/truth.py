"""A list of landslides and those that are known -> how many were found, and how many are right."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import shapely

from lspipe.errors import UsageError, WorkflowError
from lspipe.evaluate.objects import EQUAL_AREA, match
from lspipe.evaluate.shapes import LINES, POINTS, POLYGONS, Shapes, numbered, read_shapes
from lspipe.search.degrees import in_degrees

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd
    from numpy.typing import NDArray

    from lspipe.workflow import Workflow

CLAIMED = ("new", "grown", "detected")
"""Statuses of the rows that claim a landslide of the event: of two dates, and of one."""


_MOSTLY = 0.5
"""Share of the area of a landslide from which on it counts as hidden."""


class ListScore(NamedTuple):
    """How a list compares with the truth."""

    found: int
    """Known landslides with a match in the list."""
    known: int
    right: int
    """Listed landslides with a match in the truth."""
    listed: int
    hidden: int = 0
    """Known landslides without a match, of which half or more was not observed on some date."""


def known_landslides(workflow: Workflow) -> gpd.GeoDataFrame | None:
    """Read the file that a workflow names as `evaluate.truth`.

    Returns:
        Polygons with a CRS; None where the workflow names no file.

    Raises:
        WorkflowError: there is no such file, it cannot be read, or it holds no polygons or no CRS.
    """
    path = workflow.truth
    if path is None:
        return None
    where = f"evaluate.truth: found {path}"
    if not path.is_file():
        raise WorkflowError(f"{where}, which is no file; name the file of the known landslides")
    import geopandas as gpd
    from pyogrio.errors import DataSourceError

    try:
        table = gpd.read_file(path)
    except (DataSourceError, ValueError) as error:
        raise WorkflowError(f"{where}, which cannot be read: {error}") from error
    shapes = set(table.geom_type.dropna()) if isinstance(table, gpd.GeoDataFrame) else set()
    if not shapes or shapes - {"Polygon", "MultiPolygon"}:
        kinds = ", ".join(sorted(shapes)) or "no shapes"
        raise WorkflowError(f"{where} with {kinds}, expected polygons")
    if table.crs is None:
        raise WorkflowError(f"{where} without a CRS, expected one that says where it lies")
    return table


def read_truth(path: Path | str, *, layer: str | None = None, points: bool | None = None) -> Shapes:
    """Read an inventory: polygons alone, or points alone.

    Args:
        path: see `shapes.read_shapes`.
        layer: likewise.
        points: see `score_run`.

    Raises:
        UsageError: lines, or polygons mixed with points.
    """
    shapes = read_shapes(path, layer=layer)
    counts = shapes.counts()
    if points and POINTS in counts:
        return _as_points(shapes, shapes.of(POINTS).explode())
    if LINES in counts:
        raise UsageError(
            f"{path}: found {numbered(counts[LINES], LINES)}, expected polygons or points"
        )
    if len(counts) > 1:
        raise UsageError(
            f"{path}: found {numbered(counts[POINTS], POINTS)} and "
            f"{numbered(counts[POLYGONS], POLYGONS)}, expected one kind; take the "
            "points alone (points=True), or keep the polygons in a file of their own"
        )
    if points:
        return _as_points(shapes, shapes.geometry.representative_point())
    return _as_points(shapes, shapes.geometry.explode()) if POINTS in counts else shapes


def _as_points(shapes: Shapes, points: gpd.GeoSeries) -> Shapes:
    return replace(shapes, geometry=points, kinds=np.full(len(points), POINTS, dtype=object))


def score_list(
    inventory: gpd.GeoDataFrame,
    truth: gpd.GeoDataFrame,
    unobserved: gpd.GeoDataFrame | None = None,
) -> ListScore:
    """Count matches between the new landslides of an inventory and the known ones.

    The rule is that of `objects.match` (docs/method.md, Scores).

    Args:
        inventory: any CRS; rows with a `status` other than `CLAIMED` are left out.
        truth: the known landslides, any CRS.
        unobserved: where nothing was observed, any CRS; None = nothing is hidden.

    Examples:
        >>> import geopandas as gpd
        >>> from shapely import box
        >>> known = gpd.GeoDataFrame(geometry=[box(0, 0, 1, 1), box(5, 5, 6, 6)], crs=4326)
        >>> listed = gpd.GeoDataFrame(geometry=[box(0, 0, 1, 0.9), box(9, 9, 10, 10)], crs=4326)
        >>> score_list(listed, known)
        ListScore(found=1, known=2, right=1, listed=2, hidden=0)
    """
    claimed = inventory["status"].isin(CLAIMED) if "status" in inventory else slice(None)
    listed, known = (outlines(table) for table in (inventory[claimed], truth))
    matches = match(listed, known)
    return ListScore(
        found=int(matches.found.sum()),
        known=len(known),
        right=int(matches.right.sum()),
        listed=len(listed),
        hidden=0 if unobserved is None else _hidden(known[~matches.found], outlines(unobserved)),
    )


def _hidden(known: NDArray[Any], gaps: NDArray[Any]) -> int:
    """Return how many shapes lie with half of their area or more in gaps, which may overlap."""
    tree = shapely.STRtree(gaps)
    shares = [
        shape.intersection(shapely.union_all(gaps[tree.query(shape)])).area / shape.area
        for shape in known
        if shape.area
    ]
    return sum(share >= _MOSTLY for share in shares)


def outlines(table: gpd.GeoDataFrame) -> NDArray[Any]:
    """Return the shapes of a table of any CRS in the equal-area one that `match` wants, valid."""
    found: NDArray[Any] = in_degrees(table).geometry.to_crs(EQUAL_AREA).make_valid().to_numpy()
    return found
