"""A run on 180 degrees: through every stage, and all it writes is cut at the line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas as gpd
import pytest
import shapely

import lspipe
from lspipe.workflow import Workflow
from tests.stored import IN_THIS_PROCESS
from tests.worlds import NEW_SCAR, OLD_SCAR, quick_world

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def cluster() -> dict[str, str]:
    """Blocks are computed in this process: nothing here is about workers."""
    return IN_THIS_PROCESS


def is_cut(shape: shapely.Geometry) -> bool:
    west, _, east, _ = shapely.bounds(shapely.get_parts(shape)).T
    return bool(shapely.is_valid(shape)) and bool((east - west < 1).all())


def test_a_landslide_on_180_degrees_is_one_landslide_everywhere(
    tmp_path: Path, cluster: dict[str, str]
) -> None:
    world = quick_world(
        tmp_path,
        tile="01KAB",
        cluster=cluster,
        after={"clouds": [(200, 146, 30)]},
        aoi={"bbox": [179.98, -16.93, -179.98, -16.89]},
        output={"path": "run", "write": ["geoparquet", "gpkg", "geojson"]},
    )
    summary = lspipe.run(Workflow.from_file(world.workflow))
    assert summary.state == "finished"

    found = gpd.read_parquet(world.run / "inventory.parquet")
    (new,) = found[found["status"] == "new"].itertuples()
    (old,) = found[found["status"] == "persistent"].itertuples()
    for row, (_, _, height, width) in ((new, NEW_SCAR), (old, OLD_SCAR)):
        assert row.area_m2 == pytest.approx(100 * height * width, rel=0.2)
    assert new.geometry.geom_type == "MultiPolygon"
    assert abs(new.lon) == pytest.approx(180, abs=1e-3)

    for path in ("inventory.parquet", "inventory.gpkg", "inventory.geojson", "unobserved.parquet"):
        read = gpd.read_parquet if path.endswith("parquet") else gpd.read_file
        table = read(world.run / path, **({"layer": "inventory"} if "gpkg" in path else {}))
        assert len(table), path
        assert all(is_cut(shape) for shape in table.geometry), path

    clouded = gpd.read_parquet(world.run / "unobserved.parquet").query("reason == 'cloud'")
    assert clouded["area_m2"].sum() == pytest.approx(3.14 * 300**2, rel=0.05)
    # Scenes of 2.4 km, less a cloud and its rim, in a box of 4.26 x 4.43 km.
    seen = 2.4**2 - 3.14 * 0.33**2
    assert summary.observed_share == pytest.approx(seen / (4.26 * 4.43), abs=0.01)
