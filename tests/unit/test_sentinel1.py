"""Items of Sentinel-1: which are taken, which pass a tile is read from, what is refused by name."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

import pystac
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from lspipe.cube import sentinel1
from lspipe.cube.radar_spec import RadarSpec
from lspipe.errors import NothingFound, WorkflowError
from lspipe.search.acquisitions import to_item
from lspipe.search.dates import DateRange
from lspipe.search.spec import SearchSpec
from tests.properties import examples

if TYPE_CHECKING:
    from pathlib import Path

GROUND = shapely.box(-72.5, -43.5, -72.4, -43.4)
GRID = GeoBox((100, 100), Affine(10, 0, 699960, 0, -10, 5200000), "EPSG:32718")


def item(time="2017-01-03T10:00:00Z", *, name=None, box=(-73, -44, -72, -43), asset="vv", **facts):
    """An item of RTC, as Planetary Computer has them; None = it does not say."""
    said = {
        "platform": "SENTINEL-1A",
        "sar:instrument_mode": "IW",
        "sar:polarizations": ["VV", "VH"],
        "sar:product_type": "GRD",
        "sat:orbit_state": "descending",
        "sat:relative_orbit": 83,
        **{key.replace("__", ":"): value for key, value in facts.items()},
    }
    fields = {key.partition(" ")[2]: said.pop(key) for key in list(said) if key[:6] == "asset "}
    return to_item(
        {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name or f"S1A_IW_GRDH_1SDV_{time.replace('-', '').replace(':', '')}_rtc",
            "properties": {"datetime": time, **{k: v for k, v in said.items() if v is not None}},
            "geometry": shapely.geometry.mapping(shapely.box(*box)),
            "bbox": list(box),
            "links": [],
            "assets": {asset: {"href": "a.tif", "roles": ["data"], **fields}},
        }
    )


def days(*numbers, year=2017, **facts):
    return [item(f"{year}-01-{number:02d}T10:00:00Z", **facts) for number in numbers]


def chosen(before, after, orbit="auto", ground=GROUND):
    return sentinel1.candidates({"before": before, "after": after}, ground, orbit)


def taken(one, side):
    return [f"{found.day[8:10]}{found.platform[-1]}" for found in one.sides[side]]


# --- which pass ---------------------------------------------------------------------------------


def test_only_an_orbit_that_both_sides_have_is_taken() -> None:
    ascending = {"sat__orbit_state": "ascending", "sat__relative_orbit": 18}
    other = {"sat__relative_orbit": 10}
    before = [*days(3, 15), *days(4, 10, 16, 22, **ascending)]
    after = [*days(2, 14, year=2018), *days(5, 11, year=2018, **other)]
    (one,) = chosen(before, after)
    assert (one.orbit_state, one.relative_orbit) == ("descending", 83)
    assert chosen(before, days(5, 11, year=2018, **other)) == []


def test_the_same_orbit_number_of_the_other_direction_is_another_orbit() -> None:
    assert chosen(days(3), days(3, year=2018, sat__orbit_state="ascending")) == []


def test_the_pass_with_the_most_acquisitions_on_both_sides_comes_first() -> None:
    ascending = {"sat__orbit_state": "ascending", "sat__relative_orbit": 18}
    many = days(4, 10, 16, 22, 28, **ascending)
    before, after = [*days(3, 15), *many], [*days(3, 15, year=2018)]
    # Many on one side count as few.
    found = chosen(before, [*after, *days(4, year=2018, **ascending)])
    assert [one.relative_orbit for one in found] == [83, 18]
    found = chosen(before, [*after, *days(4, 10, 16, year=2018, **ascending)])
    assert [one.relative_orbit for one in found] == [18, 83]
    assert [one.relative_orbit for one in chosen(before, after, "ascending")] == []


def test_acquisitions_count_by_the_share_of_the_area_that_they_cover() -> None:
    edge = {"sat__relative_orbit": 156, "box": (-73, -44, -72.49, -43)}  # a tenth of the area
    before = [*days(3, 15), *days(2, 8, 14, 20, 26, 30, **edge)]
    after = [*days(3, 15, year=2018), *days(2, 8, 14, 20, 26, 30, year=2018, **edge)]
    (one,) = chosen(before, after)
    assert one.relative_orbit == 83


def test_what_does_not_meet_the_area_is_no_acquisition_of_the_tile() -> None:
    away = {"box": (-71, -44, -70, -43)}
    assert chosen(days(3, **away), days(3, year=2018, **away)) == []


def test_one_satellite_is_taken_where_it_has_enough_dates_on_both_sides() -> None:
    other = {"platform": "SENTINEL-1B"}
    before = [*days(3, 15, 27), *days(9, 21, **other)]
    (one,) = chosen(before, [*days(3, 15, 27, year=2018), *days(9, year=2018, **other)])
    assert taken(one, "before") == ["03a", "15a", "27a"]
    # Else both: they fly on one orbit.
    (one,) = chosen(before, [*days(3, 15, year=2018), *days(9, year=2018, **other)])
    assert taken(one, "before") == ["03a", "09b", "15a", "21b", "27a"]
    assert taken(one, "after") == ["03a", "09b", "15a"]


def test_of_many_dates_those_nearest_to_the_other_side_are_read() -> None:
    numbers = range(2, 12)
    before, after = days(*numbers), days(*numbers, year=2018)
    (one,) = chosen(before, after)
    assert taken(one, "before") == [f"{n:02d}a" for n in (6, 7, 8, 9, 10, 11)]
    assert taken(one, "after") == [f"{n:02d}a" for n in (2, 3, 4, 5, 6, 7)]
    (one,) = chosen(after, before)  # before is later than after
    assert taken(one, "before") == [f"{n:02d}a" for n in (2, 3, 4, 5, 6, 7)]


def test_a_date_that_lacks_a_slice_is_taken_last() -> None:
    half = {"box": (-73, -44, -72, -43.45)}
    before = [*days(3, 4, 5, 6, 7, 8), *days(9, **half)]
    (one,) = chosen(before, days(3, year=2018))
    assert taken(one, "before") == ["03a", "04a", "05a", "06a", "07a", "08a"]


def test_slices_of_one_pass_are_one_date_and_two_passes_are_two() -> None:
    upper, lower = (-73, -43.45, -72, -43), (-73, -44, -72, -43.45)
    before = [
        item("2017-01-03T10:00:00Z", box=upper),
        item("2017-01-03T10:00:25Z", box=lower),
        item("2017-01-03T23:00:00Z", box=upper),
    ]
    (one,) = chosen(before, days(3, year=2018))
    assert [len(found.items) for found in one.sides["before"]] == [2, 1]
    assert [found.covered for found in one.sides["before"]] == pytest.approx([1.0, 0.5])


@examples(60)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 28), st.sampled_from([18, 83]), st.sampled_from("AB"), st.booleans()
        ),
        max_size=30,
    )
)
def test_whatever_is_there_both_sides_are_of_one_orbit(found) -> None:
    sides = {"before": [], "after": []}
    for day, orbit, letter, is_after in found:
        side, year = ("after", 2018) if is_after else ("before", 2017)
        sides[side] += days(
            day, year=year, sat__relative_orbit=orbit, platform=f"SENTINEL-1{letter}"
        )
    passes = chosen(sides["before"], sides["after"])
    orbits = [{sentinel1.orbit_of(one) for one in group} for group in sides.values()]
    assert bool(passes) is bool(orbits[0] & orbits[1])
    for one in passes:
        for side in ("before", "after"):
            dates = one.sides[side]
            assert 1 <= len(dates) <= sentinel1.MOST_DATES
            assert [found.day for found in dates] == sorted(found.day for found in dates)
            assert {sentinel1.orbit_of(part) for found in dates for part in found.items} == {
                (one.orbit_state, one.relative_orbit)
            }


# --- each once ----------------------------------------------------------------------------------


def test_an_acquisition_counts_once_in_its_newest_processing() -> None:
    old, new = (
        item(name=name, created=made)
        for name, made in (
            ("S1A_a_rtc", "2022-01-01T00:00:00Z"),
            ("S1A_b_rtc", "2024-01-01T00:00:00Z"),
        )
    )
    other = item("2017-01-03T10:00:25Z")
    for order in ([old, new, other], [other, new, old]):
        found = sentinel1.each_once(order)
        assert [one.id for one in found] == ["S1A_b_rtc", other.id]


# --- what is refused ----------------------------------------------------------------------------


def test_only_the_mode_over_land_with_vv_is_taken() -> None:
    there = [
        item(),
        item(sar__instrument_mode="EW"),
        item(asset="hh", sar__polarizations=["HH"]),
    ]
    assert sentinel1.usable(there) == there[:1]


@pytest.mark.parametrize("key", ["vv", "VV", "gamma0_vv", "vv-gamma0"])
def test_the_asset_of_vv_has_many_names(key) -> None:
    assert sentinel1.vv_asset(item(asset=key)) == key


def test_metadata_of_vv_is_no_image_of_it() -> None:
    one = item(asset="schema-noise-vv")
    one.assets["schema-noise-vv"].roles = ["metadata"]
    assert sentinel1.vv_asset(one) is None


@pytest.mark.parametrize(
    ("name", "facts", "refused"),
    [
        ("S1A_IW_GRDH_1SDV_20170103T100000_rtc", {}, False),
        ("S1A_20200103_17RMJ_ASC", {"sar__product_type": "RTC"}, False),
        ("S1A_20200103_17RMJ_ASC", {"sar__product_type": None}, False),
        ("S1A_IW_GRDH_1SDV_20170103T100000", {}, True),
        ("S1A_IW_SLC__1SDV_20170103T100000", {"sar__product_type": "SLC"}, True),
    ],
)
def test_grd_without_terrain_correction_is_refused_by_name(name, facts, refused) -> None:
    there = [item(name=name, **facts)]
    if not refused:
        assert sentinel1.usable(there) == there
        return
    kind = there[0].properties["sar:product_type"]
    with pytest.raises(WorkflowError, match=f"{name} is {kind} without terrain correction"):
        sentinel1.usable(there)


@pytest.mark.real
@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("other/sentinel1-rtc-aws/S1A_20200103_17RMJ_ASC.json", False),
        ("other/sentinel-1-grd/S1A_IW_GRDH_1SDV_20230307T141008_20230307T141024_047539_05B55C.json",
         True),
    ],
)  # fmt: skip
def test_items_of_real_archives_are_told_apart(real_data, path, refused) -> None:
    real = to_item(json.loads((real_data / "stac_items" / path).read_text("utf-8")))
    if refused:
        real.assets["vv"] = item().assets["vv"]
        with pytest.raises(WorkflowError, match="is GRD without terrain correction"):
            sentinel1.usable([real])
    else:
        assert sentinel1.usable([real]) == [real]
        assert sentinel1.orbit_of(real) == ("ascending", 121)
        assert sentinel1.calibration_of(real) == "gamma0"


def test_an_item_without_an_orbit_is_refused() -> None:
    with pytest.raises(WorkflowError, match="does not say its orbit"):
        sentinel1.usable([item(sat__relative_orbit=None)])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ""),
        ({"asset title": "Gamma0 VV backscatter"}, "gamma0"),
        ({"asset title": "sigma nought, VV"}, "sigma0"),
        ({"asset title": "Gamma0 VV backscatter (dB)"}, "gamma0 in dB"),
        ({"asset raster:bands": [{"unit": "dB"}]}, "in dB"),
        ({"card4l:measurement_type": "gamma0"}, "gamma0"),
    ],
)
def test_what_an_item_says_of_its_calibration(fields, expected) -> None:
    assert sentinel1.calibration_of(item(**fields)) == expected


def test_what_flags_layover_and_shadow_is_known_by_its_classes() -> None:
    one = item()
    assert sentinel1.hidden_of(one) is None
    classes = [
        {"value": 0, "description": "Not layover or shadow"},
        {"value": 1, "name": "shadow"},
        {"value": 2, "description": "Layover"},
        {"value": 3, "name": "layover_and_shadow"},
        {"value": 255, "name": "nodata"},
    ]
    fields = {"raster:bands": [{"classification:classes": classes}]}
    one.add_asset("mask", pystac.Asset("mask.tif", extra_fields=fields))
    hidden = sentinel1.hidden_of(one)
    assert (hidden.asset, hidden.numbers) == ("mask", (1, 2, 3))


# --- the search ---------------------------------------------------------------------------------

DAYS = {
    "before": DateRange(start=date(2017, 1, 1), end=date(2017, 1, 31)),
    "after": DateRange(start=date(2018, 1, 1), end=date(2018, 1, 31)),
}


def searched(folder: Path, items, spec=None):
    for number, one in enumerate(items):
        path = folder / "items" / f"{number}.json"
        path.parent.mkdir(exist_ok=True)
        content = one.to_dict(include_self_link=False) | {"collection": "sentinel-1-rtc"}
        path.write_text(json.dumps(content), encoding="utf-8")
    return sentinel1.search(
        spec or RadarSpec(collection="sentinel-1-rtc"),
        SearchSpec(catalog="items"),
        DAYS,
        [GRID],
        folder,
        note=lambda _: None,
    )


def test_a_search_gives_the_items_of_each_side(tmp_path) -> None:
    found = searched(tmp_path, [*days(3, 15), *days(4, year=2018)])
    assert {side: len(items) for side, items in found.items()} == {"before": 2, "after": 1}


def test_a_side_with_other_modes_alone_says_what_there_is(tmp_path) -> None:
    items = [*days(3), *days(4, year=2018, sar__instrument_mode="EW")]
    with pytest.raises(NothingFound, match=r"on the after side .*there are 1 of EW VV\+VH"):
        searched(tmp_path, items)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("gamma0", "sigma0", r"mixed calibration, gamma0 \(S1A_.*\) and sigma0 \(S1A_"),
        ("gamma0", "gamma0 in dB", "mixed calibration"),
        ("sigma0", "sigma0", "found sigma0"),
        ("gamma0 in dB", "gamma0 in dB", "found gamma0 in dB"),
    ],
)
def test_other_or_mixed_calibration_is_refused(tmp_path, before, after, reason) -> None:
    items = [
        *days(3, **{"asset title": before}),
        *days(3, year=2018, **{"asset title": after}),
    ]
    with pytest.raises(WorkflowError, match=f"{reason}.*expected gamma0 in linear power"):
        searched(tmp_path, items)
