"""The states of docs/numerics.md, Change states, on stored codes, for both methods."""

from __future__ import annotations

import numpy as np
import pytest
import rioxarray  # noqa: F401  # registers the .rio accessor
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lspipe.change.compare import change_codes, compare
from lspipe.change.inventory import delineate
from lspipe.change.spec import ChangeSpec
from lspipe.errors import UsageError
from lspipe.schema import CODE_NODATA, State, dequantise

# Values around both default thresholds, and not observed.
CODES = st.sampled_from([0, 2999, 3000, 3001, 4999, 5000, 5001, 10000, CODE_NODATA])
# Every pixel is drawn: left to itself, hypothesis fills most of an array with one value.
PAIRS = hnp.arrays(np.uint16, (2, 6, 7), elements=CODES, fill=st.nothing())
SPECS = st.builds(
    ChangeSpec,
    method=st.sampled_from(["hysteresis", "subtract"]),
    threshold=st.sampled_from([0.3, 0.5]),
    before_below=st.sampled_from([0.0, 0.3, 0.5]),
    min_gain=st.sampled_from([None, 0.2, 0.5]),
)
MIRROR = {1: 2, 2: 1, 4: 5, 5: 4}


def dataarray(values: np.ndarray, **coords: object) -> xr.DataArray:
    height, width = values.shape
    axes = {"y": 4_428_000.0 - 10 * np.arange(height), "x": 456_000.0 + 10 * np.arange(width)}
    return xr.DataArray(values, dims=("y", "x"), coords=axes | coords).rio.write_crs(32613)


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        (0, 0, State.NONE),
        (0, 5000, State.NONE),  # a threshold is exceeded strictly
        (0, 5001, State.GAIN),
        (3000, 5001, State.GAIN),  # before_below is met at the limit
        (3001, 5001, State.WEAK_GAIN),
        (5000, 5001, State.WEAK_GAIN),
        (5001, 5001, State.BOTH),
        (5001, 5000, State.WEAK_LOSS),
        (5001, 3001, State.WEAK_LOSS),
        (5001, 3000, State.LOSS),
        (10000, 0, State.LOSS),
        (CODE_NODATA, 0, State.UNDETERMINED),
        (CODE_NODATA, 10000, State.UNDETERMINED),
        (10000, CODE_NODATA, State.UNDETERMINED),
        (CODE_NODATA, CODE_NODATA, State.UNDETERMINED),
    ],
)
def test_each_pair_of_codes_has_its_state(before: int, after: int, state: State) -> None:
    pair = np.array([[before]], np.uint16), np.array([[after]], np.uint16)
    assert change_codes(*pair, ChangeSpec())[0, 0] == state


@given(PAIRS, SPECS)
def test_swapping_the_dates_mirrors_every_state(pair, spec) -> None:
    forward = change_codes(pair[0], pair[1], spec)
    expected = np.vectorize(lambda state: MIRROR.get(state, state))(forward)
    np.testing.assert_array_equal(change_codes(pair[1], pair[0], spec), expected)


@given(PAIRS)
def test_subtract_is_the_binary_difference(pair) -> None:
    before, after = pair.astype(int)
    expected = (after > 5000).astype(int) - (before > 5000)
    seen = (before != CODE_NODATA) & (after != CODE_NODATA)
    state = change_codes(pair[0], pair[1], ChangeSpec(method="subtract"))
    signed = (state == State.GAIN).astype(int) - (state == State.LOSS)
    np.testing.assert_array_equal(signed[seen], expected[seen])
    assert (state[~seen] == State.UNDETERMINED).all()
    assert not np.isin(state, [State.WEAK_GAIN, State.WEAK_LOSS]).any()


def test_subtract_lists_a_single_pixel_beside_an_old_one() -> None:
    before, after = np.zeros((2, 5, 6), np.uint16)
    before[1:4, 1:3] = after[1:4, 1:4] = 9000
    for method, tolerance, found in (
        ("hysteresis", 1, ["persistent"]),
        ("hysteresis", 0, ["grown", "persistent"]),
        ("subtract", 1, ["grown", "persistent"]),
    ):
        change = compare(dataarray(before), dataarray(after), method=method, tolerance_px=tolerance)
        assert sorted(delineate(change)["status"]) == found


@given(PAIRS, SPECS)
def test_nothing_changes_between_a_map_and_itself(pair, spec) -> None:
    state = change_codes(pair[0], pair[0], spec)
    assert set(np.unique(state)) <= {State.NONE, State.BOTH, State.UNDETERMINED}


def test_min_gain_asks_every_changed_pixel_for_that_much() -> None:
    spec = ChangeSpec(before_below=0.4, min_gain=0.2)
    before = np.array([[4000, 4000, 4500, 6000, 6001]], np.uint16)
    after = np.array([[5999, 6000, 6500, 4000, 4500]], np.uint16)
    expected = [[State.NONE, State.GAIN, State.WEAK_GAIN, State.LOSS, State.NONE]]
    assert change_codes(before, after, spec).tolist() == expected


def test_before_below_beyond_the_threshold_means_the_threshold() -> None:
    codes = np.array([[0, 2000, 2001]], np.uint16), np.array([[9000] * 3], np.uint16)
    state = change_codes(*codes, ChangeSpec(threshold=0.2, before_below=0.3))
    assert state.tolist() == [[State.GAIN, State.GAIN, State.BOTH]]


@given(PAIRS, SPECS)
def test_float_maps_and_stored_codes_give_the_same_states(pair, spec) -> None:
    rules = spec.attrs() | {"before_below": spec.before_below}
    rules.pop("tolerance_px")
    floats = compare(*(dataarray(dequantise(codes)) for codes in pair), **rules)
    coded = compare(*(dataarray(codes) for codes in pair), **rules)
    xr.testing.assert_identical(floats["state"], coded["state"])
    np.testing.assert_array_equal(floats["state"], change_codes(pair[0], pair[1], spec))
    missing = coded["gain"].values == -32768
    np.testing.assert_array_equal(missing, np.isnan(floats["gain"]))
    np.testing.assert_allclose(
        floats["gain"].values[~missing], coded["gain"].values[~missing] / 1e4, atol=1e-6
    )
    np.testing.assert_array_equal(missing, floats["state"] == State.UNDETERMINED)


def test_the_dataset_keeps_grid_crs_dates_and_rules() -> None:
    rng = np.random.default_rng(0)
    before, after = (
        dataarray(rng.random((4, 5), np.float32), time=np.datetime64(day, "ns"))
        for day in ("2017-03-01", "2018-03-01")
    )
    found = compare(before, after, min_gain=0.1, tolerance_px=2)
    assert set(found.data_vars) == {"before", "after", "gain", "state"}
    assert found.rio.crs.to_epsg() == 32613
    xr.testing.assert_equal(found["x"].variable, before["x"].variable)
    assert "time" not in found.coords, "each date has its own"
    assert found.attrs == {
        "method": "hysteresis",
        "threshold": 0.5,
        "before_below": 0.3,
        "tolerance_px": 2,
        "min_gain": 0.1,
        "date_before": "2017-03-01T00:00:00Z",
        "date_after": "2018-03-01T00:00:00Z",
    }
    assert {str(v.dtype) for v in found.data_vars.values()} == {"float32", "uint8"}
    np.testing.assert_allclose(found["before"], before, atol=5.1e-5)


def test_a_lazy_map_stays_lazy_and_gives_the_same() -> None:
    rng = np.random.default_rng(0)
    maps = [dataarray(rng.random((9, 8), np.float32)) for _ in range(2)]
    lazy = compare(*(da.chunk(y=4, x=3) for da in maps))
    assert all(variable.chunks for variable in lazy.data_vars.values())
    xr.testing.assert_identical(lazy.compute(), compare(*maps))


def test_maps_that_cannot_be_compared_are_refused() -> None:
    good = dataarray(np.zeros((3, 4), np.float32))
    refused = {
        r"dimensions \('time', 'y', 'x'\)": good.expand_dims("time"),
        "one grid": dataarray(np.zeros((3, 5), np.float32)),
        "their `x` coordinates differ": good.assign_coords(x=good.x + 5),
        "their CRS differ": good.rio.write_crs(32614),
        "holds -0.5": good - 0.5,
        "holds 1.5": good + 1.5,
        "both as float": dataarray(np.zeros((3, 4), np.uint16)),
    }
    for message, bad in refused.items():
        with pytest.raises(UsageError, match=message):
            compare(good, bad)
    with pytest.raises(UsageError, match="the code 20000"):
        compare(*[dataarray(np.full((3, 4), 20000, np.uint16))] * 2)
    with pytest.raises(UsageError, match="is int32"):
        compare(*[dataarray(np.zeros((3, 4), np.int32))] * 2)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"threshold": 1.2}, r"threshold: found 1.2 \(0.012 is 1.2 %\), expected a probability"),
        ({"before_below": -1}, "before_below: found -1, expected"),
        ({"min_gain": 30}, r"min_gain: found 30 \(0.3 is 30 %\), expected"),
        ({"tolerance_px": -1}, "tolerance_px: found -1, expected .*, 0 or more"),
        ({"method": "divide"}, "method: found 'divide', expected hysteresis or subtract"),
    ],
)
def test_impossible_rules_are_refused(rules, message) -> None:
    with pytest.raises(ValueError, match=message):
        ChangeSpec(**rules)
    good = dataarray(np.zeros((3, 4), np.float32))
    with pytest.raises(UsageError, match=message):
        compare(good, good, **rules)
