"""Two real dates against an independent outline: the Cold Springs fire, Colorado, July 2016.

No network is involved: a burn score per date takes the place of the probability. The normalised
burn ratio NBR = (NIR - SWIR2) / (NIR + SWIR2) of Landsat 8 lies in -1..1 and falls where vegetation
burns, so

    score = (1 - NBR) / 2    0..1; a gain of the score is half the drop of NBR (dNBR)

is a map like any other: burnt above 0.4 (NBR < 0.2), and changed where dNBR > 0.27, the lower limit
of moderate burn severity (Key & Benson 2006), which is a gain of 0.135.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pytest
import rasterio.features
import rioxarray

from lspipe.change.compare import compare
from lspipe.change.inventory import delineate

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

pytestmark = pytest.mark.real

UNCLEAR = 0b111001
"""Bits of Landsat Collection 1 pixel_qa: fill, cloud shadow, snow, cloud (0, 3, 4, 5)."""

RULES = {"threshold": 0.4, "before_below": 0.4, "min_gain": 0.135}


def read(folder: Path, band: str) -> xr.DataArray:
    (path,) = folder.glob(f"*_{band}_crop.tif")
    with rioxarray.open_rasterio(path, masked=band != "pixel_qa") as file:
        return file.squeeze("band", drop=True).load()


def burn_score(folder: Path) -> xr.DataArray:
    near, short = read(folder, "sr_band5"), read(folder, "sr_band7")
    score = ((1 - (near - short) / (near + short)) / 2).clip(0, 1)
    is_clear = (read(folder, "pixel_qa") & UNCLEAR) == 0
    return score.where(is_clear).rio.write_crs(near.rio.crs)


@pytest.fixture(scope="module")
def scores(real_data: Path) -> tuple[xr.DataArray, xr.DataArray]:
    folder = real_data / "landsat8_pair_coldsprings_2016"
    return burn_score(folder / "pre_20160707"), burn_score(folder / "post_20160723")


@pytest.fixture(scope="module")
def perimeter(real_data: Path) -> gpd.GeoSeries:
    folder = real_data / "landsat8_pair_coldsprings_2016" / "perimeter"
    return gpd.read_file(next(folder.glob("*.shp"))).to_crs(32613).geometry


def burn(geometry: gpd.GeoSeries, like: xr.DataArray) -> np.ndarray:
    grid = like.rio.transform()
    return rasterio.features.rasterize(geometry, like.shape, transform=grid).astype(bool)


def test_the_new_objects_are_the_burnt_area(scores, perimeter) -> None:
    change = compare(*scores, **RULES)
    # 5 pixels of 30 m.
    found = delineate(change, min_area_m2=4500)
    # It grew from ground that was as bare before.
    new = found[found["status"].isin(["new", "grown"])]
    # Under the cloud of the first date nothing can be said, and nothing is scored.
    seen = ~np.isnan(change["gain"].values)
    truth, listed = (burn(g, change["after"]) & seen for g in (perimeter, new.geometry))
    both = np.count_nonzero(truth & listed)
    f1 = 2 * both / (np.count_nonzero(truth) + np.count_nonzero(listed))
    assert f1 >= 0.75
    largest = new.loc[new["area_m2"].idxmax()]
    assert perimeter.contains(largest.geometry.centroid).all()
    place = gpd.points_from_xy([largest["lon"]], [largest["lat"]], crs=4326).to_crs(32613)
    assert perimeter.contains(place[0]).all()
    assert found["utm_epsg"].eq(32613).all()
    assert found.geometry.is_valid.all()


def test_what_the_cloud_hid_is_undetermined_and_not_new(scores, perimeter) -> None:
    change = compare(*scores, **RULES)
    found = delineate(change)
    hidden = burn(found[found["status"] == "undetermined"].geometry, change["after"])
    clouded = np.isnan(change["before"].values)
    burnt = change["after"].values > 0.4
    assert np.array_equal(hidden, clouded & burnt)
    assert np.count_nonzero(hidden & burn(perimeter, change["after"])) > 0


def test_swapping_the_real_dates_swaps_new_and_vanished(scores) -> None:
    forward, backward = (delineate(compare(*pair, **RULES)) for pair in (scores, scores[::-1]))
    for side in (forward, backward):
        side["status"] = side["status"].replace({"grown": "new"})
    backward["status"] = backward["status"].replace({"new": "vanished", "vanished": "new"})
    for status, table in forward.groupby("status"):
        mirrored = backward[backward["status"] == status]
        key = ["lon", "lat", "n_px"]
        one, other = (t[key].sort_values(key).to_numpy() for t in (table, mirrored))
        np.testing.assert_array_equal(one, other)
