"""Flags say why an object may be no landslide, and the rank in which order to look."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from lspipe.change.flag_spec import FlagLayer, FlagsSpec
from lspipe.change.flags import FLAGS, flag, flags_of
from lspipe.change.ranking import rank
from lspipe.schema import STATUSES
from lspipe.schema.columns import FLAGS as DESCRIBED
from tests.properties import examples

PLAIN = {
    "id": "a",
    "status": "new",
    "area_m2": 10_000.0,
    "confidence": 0.8,
    "undetermined_fraction": 0.0,
    "tile_edge": False,
    "aoi_edge": False,
    "ndvi_before": 0.7,
    "water_m": 500.0,
    "length_width_ratio": 2.0,
    "width_m": 80.0,
    "slope_p90": 30.0,
}
"""A row that nothing is to be said against."""


def table(*rows):
    content = [PLAIN | {"id": f"{number:03}"} | row for number, row in enumerate(rows)]
    # With a row too many, so that an empty table has the columns too.
    place = [shapely.Point(0, 0)] * (len(rows) + 1)
    return gpd.GeoDataFrame([*content, PLAIN], geometry=place, crs=4326).iloc[:-1]


def raised(spec=None, **row):
    """The flags of one row."""
    spec = spec or FlagsSpec()
    found = flag(table(row), spec)
    return [name for name in flags_of(found, spec) if found[name].iloc[0]]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, []),
        ({"tile_edge": True}, ["edge_of_observation"]),
        ({"aoi_edge": True}, ["edge_of_observation"]),
        ({"undetermined_fraction": 0.01}, ["edge_of_observation"]),
        ({"ndvi_before": 0.29}, ["bare_before"]),
        ({"ndvi_before": 0.3}, []),
        ({"ndvi_before": np.nan}, []),
        ({"water_m": 30.0}, ["river_bank"]),
        ({"water_m": 30.1}, []),
        ({"water_m": np.nan}, []),
        ({"length_width_ratio": 5.0, "width_m": 50.0}, ["elongated"]),
        ({"length_width_ratio": 4.9, "width_m": 50.0}, []),
        ({"length_width_ratio": 5.0, "width_m": 50.1}, []),
        ({"water_m": 0.0, "ndvi_before": -0.1}, ["bare_before", "river_bank"]),
        ({"slope_p90": 9.99}, ["gentle_slope"]),
        ({"slope_p90": 10.0}, []),
        ({"slope_p90": np.nan}, []),
    ],
)
def test_a_flag_is_set_by_its_rule_alone(row, expected) -> None:
    assert raised(**row) == expected


@pytest.mark.parametrize(
    ("rules", "row", "expected"),
    [
        ({"bare_before": 0.5}, {"ndvi_before": 0.4}, ["bare_before"]),
        ({"river_bank": 100.0}, {"water_m": 90.0}, ["river_bank"]),
        ({"gentle_slope": 35.0}, {"slope_p90": 32.0}, ["gentle_slope"]),
        ({"elongated": 3.0}, {"length_width_ratio": 3.5, "width_m": 20.0}, ["elongated"]),
    ],
)
def test_the_limit_of_a_flag_is_the_workflows(rules, row, expected) -> None:
    assert raised(FlagsSpec(**rules), **row) == expected
    assert raised(**row) == []


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_that_is_switched_off_is_no_column(name) -> None:
    off = FlagsSpec(**{name: False if name == "edge_of_observation" else None})
    found = flag(table({}), off)
    assert set(flag(table({}), FlagsSpec()).columns) - set(found.columns) == {name}
    assert flags_of(found, off) == [one for one in FLAGS if one != name]


def test_no_row_is_dropped_or_moved_and_every_flag_is_yes_or_no() -> None:
    rows = table({"tile_edge": True}, {"ndvi_before": np.nan}, {"water_m": 0.0})
    found = flag(rows, FlagsSpec())
    assert found["id"].tolist() == rows["id"].tolist()
    assert {str(found[name].dtype) for name in FLAGS} == {"bool"}
    assert list(rows.columns) == list(found.columns)[: len(rows.columns)]


def test_a_list_without_terrain_has_no_flag_of_slopes() -> None:
    flat = table({}).drop(columns="slope_p90")
    assert flags_of(flag(flat, FlagsSpec()), FlagsSpec()) == [
        name for name in FLAGS if name != "gentle_slope"
    ]


def test_every_flag_is_described() -> None:
    assert list(FLAGS) == list(DESCRIBED)


def test_a_layer_adds_its_share_and_is_set_from_the_least_share_on() -> None:
    spec = FlagsSpec(layers=(FlagLayer(name="roads", path="roads.gpkg", least_share=0.4),))
    found = flag(table({}, {}, {}), spec, {"roads": np.array([0.39, 0.4, 1.0])})
    assert found["roads_share"].tolist() == [0.39, 0.4, 1.0]
    assert found["roads"].tolist() == [False, True, True]
    assert flags_of(found, spec)[-1] == "roads"


@pytest.mark.parametrize("name", ["lakes", "id", "rank", "tile_edge", "ndvi", "ndvi_before"])
def test_a_layer_may_not_take_the_name_of_a_column(name) -> None:
    layers = (FlagLayer(name="lakes", path="a.gpkg"), FlagLayer(name=name, path="b.gpkg"))
    if name == "ndvi":
        assert FlagsSpec(layers=layers).layers == layers
        return
    with pytest.raises(ValueError, match=f"found the name '{name}'"):
        FlagsSpec(layers=layers)


def test_the_share_of_a_layer_may_not_be_another_layer() -> None:
    layers = (FlagLayer(name="a", path="a.gpkg"), FlagLayer(name="a_share", path="b.gpkg"))
    with pytest.raises(ValueError, match="found the name 'a_share'"):
        FlagsSpec(layers=layers)


# --- rank ---------------------------------------------------------------------------------------


def order(*rows, spec=None):
    """Numbers of the rows in the order of their rank."""
    spec = spec or FlagsSpec()
    found = flag(table(*rows), spec)
    found = rank(found, flags_of(found, spec))
    assert sorted(found["rank"]) == list(range(1, len(rows) + 1))
    return np.argsort(found["rank"].to_numpy()).tolist()


WEAK = {"confidence": 0.1, "area_m2": 900.0}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"confidence": 0.9}, {"confidence": 0.8}),
        ({"area_m2": 20_000.0}, {}),
        # 0.8 x log10(10 000) = 3.2, and 0.81 x log10(1000) = 2.43.
        ({}, {"confidence": 0.81, "area_m2": 1000.0}),
        ({}, {"water_m": 10.0}),
        # Halved for each flag: 0.8 x 4 / 2 = 1.6, 0.8 x 4 / 4 = 0.8; 0.3 x 4 = 1.2.
        ({"water_m": 10.0}, {"confidence": 0.3}),
        ({"confidence": 0.3}, {"water_m": 10.0, "ndvi_before": 0.1}),
        # The edge of what was seen outweighs all else of one kind of status.
        (WEAK, {"tile_edge": True}),
        (WEAK, {"aoi_edge": True}),
        (WEAK, {"undetermined_fraction": 0.01}),
        # Statuses of interest come first.
        (WEAK, {"status": "persistent"}),
        ({**WEAK, "tile_edge": True}, {"status": "vanished"}),
        ({**WEAK, "status": "detected"}, {"status": "undetermined"}),
        ({**WEAK, "status": "undetermined"}, {"status": "persistent"}),
        ({"id": "a"}, {"id": "b"}),
    ],
)  # fmt: skip
def test_what_is_looked_at_first(first, second) -> None:
    assert order(first, second) == [0, 1]
    if "id" not in first:
        assert order(second, first) == [1, 0]


def test_the_edge_counts_in_the_rank_where_its_flag_is_switched_off() -> None:
    assert order({"tile_edge": True}, WEAK, spec=FlagsSpec(edge_of_observation=False)) == [1, 0]


ROWS = st.fixed_dictionaries(
    {
        "status": st.sampled_from(sorted(STATUSES)),
        "confidence": st.sampled_from([0.0, 0.5, 0.9]),
        "area_m2": st.sampled_from([0.5, 900.0, 1e6]),
        "tile_edge": st.booleans(),
        "undetermined_fraction": st.sampled_from([0.0, 0.2]),
        "ndvi_before": st.sampled_from([0.1, 0.8, np.nan]),
    }
)


@examples(60)
@given(st.lists(ROWS, max_size=12), st.randoms(use_true_random=False))
def test_the_rank_depends_on_no_order_of_rows_and_no_edge_leads(rows, random) -> None:
    found = flag(table(*rows), FlagsSpec())
    ranked = rank(found, flags_of(found, FlagsSpec()))
    assert sorted(ranked["rank"]) == list(range(1, len(rows) + 1))
    shuffled = list(range(len(rows)))
    random.shuffle(shuffled)
    again = rank(found.iloc[shuffled], flags_of(found, FlagsSpec()))
    assert again.set_index("id")["rank"].to_dict() == ranked.set_index("id")["rank"].to_dict()
    for _, same in ranked.sort_values("rank").groupby("status"):
        assert same["edge_of_observation"].is_monotonic_increasing
