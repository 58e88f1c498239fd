"""New objects that touch old ones: which are grown, and what they keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lspipe.change.compare import compare
from lspipe.change.growth import as_new, mark_grown
from lspipe.change.inventory import delineate
from lspipe.schema import CODE_NODATA

if TYPE_CHECKING:
    import geopandas as gpd

CODES = st.sampled_from([0, 2000, 3001, 4000, 6000, 9000, CODE_NODATA])
PAIRS = hnp.arrays(np.uint16, (2, 9, 8), elements=CODES, fill=st.nothing())


def dataarray(codes: np.ndarray) -> xr.DataArray:
    rows, columns = codes.shape
    axes = {"y": 5_199_995 - 10.0 * np.arange(rows), "x": 700_005 + 10.0 * np.arange(columns)}
    return xr.DataArray(codes, axes, ("y", "x")).rio.write_crs("EPSG:32718")


def listed(before: np.ndarray, after: np.ndarray) -> gpd.GeoDataFrame:
    return delineate(compare(dataarray(before), dataarray(after)))


def maps(*, new: tuple = (), old: tuple = ()) -> gpd.GeoDataFrame:
    before, after = np.zeros((2, 24, 30), np.uint16)
    for rows, columns in old:
        before[rows, columns] = after[rows, columns] = 9000
    for rows, columns in new:
        after[rows, columns] = 9000
    return listed(before, after)


OLD = (slice(5, 9), slice(5, 9))


@pytest.mark.parametrize(
    ("new", "status"),
    [
        ((slice(5, 9), slice(9, 15)), "grown"),  # side by side
        ((slice(9, 14), slice(9, 14)), "grown"),  # by a corner
        ((slice(5, 9), slice(10, 15)), "new"),  # a pixel between
        ((slice(5, 9), slice(9, 25)), "grown"),  # 16 of 80 px are old
        ((slice(5, 9), slice(9, 26)), "new"),  # 16 of 84
        ((slice(5, 9), slice(9, 10)), None),  # a rim within the tolerance: no object of its own
    ],
)
def test_a_new_part_that_touches_an_old_one_is_grown(new: tuple, status: str | None) -> None:
    found = maps(new=[new], old=[OLD])
    assert sorted(found["status"]) == sorted([status, "persistent"] if status else ["persistent"])
    if status == "grown":
        (part,) = found[found["status"] == "grown"].itertuples()
        # Its own outline, without the old part.
        assert part.n_px == (new[0].stop - new[0].start) * (new[1].stop - new[1].start)
        assert "_grown_" in part.id
        assert pd.isna(part.event_date_min)


def test_one_old_landslide_may_have_two_new_parts_and_one_part_two_old_ones() -> None:
    found = maps(new=[(OLD[0], slice(9, 14)), (OLD[0], slice(0, 5))], old=[OLD])
    assert sorted(found["status"]) == ["grown", "grown", "persistent"]
    found = maps(new=[(OLD[0], slice(9, 14))], old=[OLD, (OLD[0], slice(14, 18))])
    assert sorted(found["status"]) == ["grown", "persistent", "persistent"]


@given(PAIRS)
def test_joining_takes_growth_back_and_gives_it_again(pair: np.ndarray) -> None:
    found = listed(*pair)
    again = mark_grown(as_new(found))
    assert again.equals(found)
    assert "grown" not in set(as_new(found)["status"])
    assert len(as_new(found)) == len(found)
