"""A random sample of the list for a person to decide, and what it says of the whole list.

To judge a long list, a person decides about a part that chance chose; the share of landslides in
it, with its interval, holds for the whole list. Which rows were drawn is kept in `sample.json` of
the run directory; `sample.gpkg` shows them in QGIS, and `Run.sample` counts the decisions.

See also: `schema/sampled.py` (what decisions about a sample say).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lspipe.errors import StoreError, UsageError
from lspipe.evaluate.truth import CLAIMED
from lspipe.outputs import whole
from lspipe.outputs.for_people import for_people
from lspipe.outputs.qgis_styles import as_qml, list_style
from lspipe.outputs.styled import write_styled
from lspipe.runs import store
from lspipe.runs.opened import SAMPLE, counted, open_run

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd

    from lspipe.schema.sampled import Sample

LIST = "sample.gpkg"


def draw(run: Path | str, share: float, *, seed: int = 0) -> tuple[Sample, Path]:
    """Draw a sample of the new landslides of a run, and write `sample.gpkg` to decide about them.

    Args:
        run: run directory with its list.
        share: of the landslides to draw, 0..1; at least one is drawn.
        seed: the same seed draws the same rows of the same list.

    Returns:
        The sample, and the file.

    Raises:
        UsageError: a share that is none, or no landslide to draw from.
        StoreError: the run has no list yet, is in use, or a sample was drawn already: a second one
            would let a person choose.

    Examples:
        >>> from lspipe.evaluate.sample import draw
        >>> sample, path = draw("runs/my-valley", 0.1, seed=1)  # doctest: +SKIP
        >>> sample.drawn, sample.of  # doctest: +SKIP
        (12, 118)
    """
    if not 0 < share <= 1:
        raise UsageError(f"share {share:g}: expected a part of the list, above 0 and at most 1")
    opened = open_run(run)
    listed = _claimed(opened.inventory)
    if listed.empty:
        raise UsageError(f"{opened.path}: its list has no new landslide to draw from")
    # By id, so that the draw does not depend on the order of the list.
    ids = np.sort(listed["id"].to_numpy(str))
    count = max(1, round(share * len(ids)))
    drawn = np.random.default_rng(seed).choice(ids, count, replace=False)
    content = {"of": len(ids), "seed": seed, "ids": sorted(drawn.tolist())}
    with store.lock(opened.path):
        earlier = store.peek_json(opened.path / SAMPLE)
        if earlier is not None and earlier != content:
            raise StoreError(
                f"{opened.path / SAMPLE}: a sample of {len(earlier['ids'])} with seed "
                f"{earlier['seed']} was drawn already; decide about it, or move {SAMPLE} and "
                f"{LIST} away to draw another"
            )
        path = opened.path / LIST
        if not path.exists():
            _write(listed[listed["id"].isin(drawn)], path)
        store.write_json(opened.path / SAMPLE, content)
    return counted(content, opened.inventory), path


def _claimed(listed: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return listed[listed["status"].isin(CLAIMED)]


def _write(rows: gpd.GeoDataFrame, path: Path) -> None:
    table = for_people(rows)
    style = as_qml(list_style([str(name) for name in table.columns.drop("geometry")]))
    with whole(path) as partial:
        write_styled({"sample": table}, partial, styles={"sample": style})
