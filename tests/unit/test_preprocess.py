"""`preprocess`: one offset per item, never by date; nodata before it; masks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lspipe import catalogs
from lspipe.errors import RadiometryError
from lspipe.preprocess import (
    MaskSpec,
    Radiometry,
    dilate,
    quality_of,
    radiometry,
    radiometry_from_pixels,
    to_reflectance,
)
from lspipe.schema import CUBE_NODATA, SCL_CLASSES, Quality
from lspipe.search.acquisitions import to_item

UNDECIDED = "undecided"
EARTH_SEARCH = "https://earth-search.aws.element84.com/v1/collections/x/items/y"
PLANETARY = "https://planetarycomputer.microsoft.com/api/stac/v1/collections/x/items/y"


def item(assets=None, link=None, collection="sentinel-2-l2a", **properties):
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "X",
        "collection": collection,
        "geometry": {"type": "Point", "coordinates": [0, 0]},
        "bbox": [0, 0, 0, 0],
        "properties": {"datetime": "2020-01-01T00:00:00Z", "platform": "sentinel-2a", **properties},
        "assets": {"red": {"href": "red.tif"}} if assets is None else assets,
        "links": [] if link is None else [{"rel": "self", "href": link}],
    }


def declared(offset, scale=0.0001):
    return {"red": {"href": "r.tif", "raster:bands": [{"scale": scale, "offset": offset}]}}


def offset_of(content, key="red"):
    decision = radiometry(content, key)
    assert decision.scale == 0.0001
    assert decision.reason
    return UNDECIDED if decision.offset is None else decision.offset


# --- the rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("baseline", "expected"), [("02.14", 0.0), ("03.01", 0.0), ("04.00", -0.1), ("05.00", -0.1),
                               ("05.12", -0.1), ("10.00", -0.1)]
)  # fmt: skip
def test_the_baseline_decides_and_never_the_date(baseline, expected):
    for sensed in ("2016-06-01T00:00:00Z", "2022-01-24T00:00:00Z", "2024-06-01T00:00:00Z"):
        for link in (None, PLANETARY):
            content = item(link=link, **{"s2:processing_baseline": baseline, "datetime": sensed})
            assert offset_of(content) == expected


@pytest.mark.parametrize(
    ("flag", "baseline", "expected"),
    [
        (True, "05.09", 0.0),
        (True, "02.14", 0.0),
        (False, "02.14", 0.0),
        (False, "05.09", UNDECIDED),  # reported with shifted and with raw pixels
        (None, "05.09", UNDECIDED),
        (None, "02.14", 0.0),
        (False, None, UNDECIDED),
        # The first baseline that is shifted is one of those that have to be looked at.
        (False, "04.00", UNDECIDED),
        (None, "04.00", UNDECIDED),
        (False, "03.01", 0.0),
    ],
)
def test_earth_search_cogs_go_by_flag_and_baseline_not_by_raster_bands(flag, baseline, expected):
    facts = {"s2:processing_baseline": baseline, "earthsearch:boa_offset_applied": flag}
    facts = {key: value for key, value in facts.items() if value is not None}
    for wrong in (-0.1, 0):
        assert offset_of(item(declared(wrong), EARTH_SEARCH, **facts)) == expected


def test_the_old_name_of_the_flag_counts_too():
    facts = {"sentinel:processing_baseline": "05.11", "sentinel:boa_offset_applied": True}
    content = item({"B04": {"href": "x"}}, collection="sentinel-s2-l2a-cogs", **facts)
    assert offset_of(content, "B04") == 0.0


def test_jpeg2000_twins_are_raw_whatever_the_flag_says():
    facts = {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}
    assets = {"red": {"href": "r.tif"}, "red-jp2": {"href": "s3://sentinel-s2-l2a/r.jp2"}}
    content = item(assets, EARTH_SEARCH, **facts)
    assert offset_of(content, "red") == 0.0
    assert offset_of(content, "red-jp2") == -0.1


@pytest.mark.parametrize(
    ("baseline", "told", "expected"),
    [("05.00", -0.1, -0.1), ("02.12", 0, 0.0), ("05.00", 0, UNDECIDED), ("02.12", -0.1, UNDECIDED),
     (None, -0.1, -0.1), (None, 0, 0.0)],
)  # fmt: skip
def test_metadata_that_contradicts_itself_leaves_it_to_the_pixels(baseline, told, expected):
    facts = {} if baseline is None else {"s2:processing_baseline": baseline}
    assert offset_of(item(declared(told), **facts)) == expected


def test_stac_1_1_raster_fields_are_read_from_the_asset_and_from_its_band():
    on_asset = {"red": {"href": "x", "raster:scale": 0.0001, "raster:offset": -0.1}}
    on_band = {"red": {"href": "x", "bands": [{"name": "B04", "raster:offset": -0.1}]}}
    assert offset_of(item(on_asset)) == offset_of(item(on_band)) == -0.1


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        (item(**{"s2:processing_baseline": "99.99"}), "red", "red of X: .*does not determine"),
        (item(), "red", "no processing baseline and no raster:bands"),
        (item(platform="landsat-8"), "red", "not a Sentinel-2 item"),
        (item(), "green", "no such asset; the item has red"),
        (item({"SCL": {"href": "x"}}), "SCL", "no single band of reflectance"),
        (item({"AOT_10m": {"href": "x"}}), "AOT_10m", "no single band of reflectance"),
        (item({"visual": {"href": "x"}}), "visual", "no single band of reflectance"),
        (item(declared(0, 0.0000275)), "red", "scale 2.75e-05: expected 0.0001"),
        (item(declared(-0.2)), "red", "offset -0.2: expected 0 or -0.1"),
    ],
)
def test_what_cannot_be_decided_is_refused_by_name(content, key, message):
    with pytest.raises(RadiometryError, match=message):
        radiometry(content, key)


# --- every real item ----------------------------------------------------------------------------

NOT_S2, NO_BASELINE, NO_BAND = "not a Sentinel-2", "no processing baseline", "no single band"
REAL = {
    # (api, collection, baseline): the offset, or the refusal
    ("cdse", "sentinel-2-global-mosaics", None): NO_BASELINE,
    ("cdse", "sentinel-2-l2a", "05.00"): -0.1,
    ("cdse", "sentinel-2-l2a", "05.12"): -0.1,
    ("earth-search-v0", "sentinel-s2-l2a-cogs", "05.11"): 0.0,
    ("earth-search-v1", "cop-dem-glo-30", None): NOT_S2,
    ("earth-search-v1", "sentinel-1-grd", None): NOT_S2,
    ("earth-search-v1", "sentinel-2-c1-l2a", "05.11"): -0.1,
    ("earth-search-v1", "sentinel-2-l1c", "05.11"): -0.1,
    ("earth-search-v1", "sentinel-2-l2a", "05.09"): 0.0,
    ("earth-search-v1", "sentinel-2-l2a", "05.11"): 0.0,
    ("other", "sentinel-1-grd", None): NOT_S2,
    ("other", "sentinel-2-l2a", "05.12"): NO_BAND,  # one Zarr group for all bands
    ("other", "sentinel1-grd", None): NOT_S2,
    ("other", "sentinel1-rtc-aws", None): NOT_S2,
    ("other", "sentinel1-slc", None): NOT_S2,
    ("other", "sentinel2-l1c-example", "02.09"): 0.0,
    ("other", "sentinel2-l2a-example", "02.12"): 0.0,
    ("planetary-computer", "cop-dem-glo-30", None): NOT_S2,
    ("planetary-computer", "cop-dem-glo-90", None): NOT_S2,
    ("planetary-computer", "sentinel-1-grd", None): NOT_S2,
    ("planetary-computer", "sentinel-1-rtc", None): NOT_S2,
    ("planetary-computer", "sentinel-2-l2a", "02.12"): 0.0,
    ("planetary-computer", "sentinel-2-l2a", "04.00"): -0.1,
    ("planetary-computer", "sentinel-2-l2a", "05.10"): -0.1,
    ("planetary-computer", "sentinel-2-l2a", "05.11"): -0.1,
    ("planetary-computer-staging", "sentinel-1-grd", None): NOT_S2,
}


@pytest.mark.real
def test_every_real_item_gets_a_decision_or_a_named_refusal(real_data):
    folder = real_data / "stac_items"
    seen = set()
    entries = json.loads((folder / "manifest.json").read_text())
    for entry in entries:
        place = folder / entry["api"] / entry["collection"]
        content = next(
            found
            for found in (json.loads(path.read_text()) for path in place.glob("*.json"))
            if found["id"] == entry["id"]
        )
        found = catalogs.baseline(content)
        written = None if found is None else f"{found[0]:02d}.{found[1]:02d}"
        row = (entry["api"], entry["collection"], written)
        expected = REAL[row]
        seen.add(row)
        for form in (content, to_item(content)):
            bands = [key for band, key in catalogs.band_assets(form).items() if band != "SCL"]
            for key in bands or list(content["assets"]):
                if isinstance(expected, float):
                    assert offset_of(form, key) == expected, (entry["id"], key)
                else:
                    with pytest.raises(RadiometryError, match=expected):
                        radiometry(form, key)
    assert len(entries) == 79
    assert seen == set(REAL)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"raster:bands": [{"scale": "0.0001", "offset": "-0.1"}]}, -0.1),
        ({"raster:scale": "1e-4", "raster:offset": "0"}, UNDECIDED),
        ({"raster:bands": None}, -0.1),
        ({"raster:bands": []}, -0.1),
    ],
)
def test_numbers_that_a_catalogue_wrote_as_text_are_numbers(fields, expected):
    content = item({"red": {"href": "r.tif", **fields}}, **{"s2:processing_baseline": "05.10"})
    assert offset_of(content) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"raster:bands": [{"scale": "n/a"}]}, "scale 'n/a': expected a number"),
        ({"raster:bands": [{"offset": [0]}]}, r"offset \[0\]: expected a number"),
        ({"raster:bands": {"scale": 0.0001}}, "raster:bands is .*: expected a list of objects"),
        ({"raster:bands": ["x"]}, ".*expected a list of objects"),
        ({"raster:bands": [{"scale": float("nan")}]}, "scale nan: expected 0.0001"),
    ],
)
def test_what_is_no_number_is_refused_by_name(fields, message):
    content = item({"red": {"href": "r.tif", **fields}}, **{"s2:processing_baseline": "05.10"})
    with pytest.raises(RadiometryError, match=f"red of X: {message}"):
        radiometry(content, "red")


V2, V5 = ({"s2:processing_baseline": text} for text in ("02.14", "05.10"))


@pytest.mark.parametrize(
    ("content", "tags", "expected"),
    [
        (item(**V5), (1.0, 0.0), -0.1),  # says nothing
        (item(**V5), (0.0001, -0.1), -0.1),
        (item(**V5), (1.0, -1000.0), -0.1),  # in digital numbers
        (item(**V5), (0.0001, 0.0), UNDECIDED),  # maybe shifted by whoever wrote it
        (item(**V2), (0.0001, 0.0), 0.0),
        (item(**V2), (0.0001, -0.1), UNDECIDED),
        (item(declared(-0.1), **V5), (0.0001, 0.0), UNDECIDED),
        (item(), (0.0001, -0.1), -0.1),  # nobody else knows
        (item(), (0.0001, 0.0), 0.0),
        (item(declared(0.0)), (0.0001, -0.1), UNDECIDED),
        (item(**V5, **{"earthsearch:boa_offset_applied": True}), (0.0001, -0.1), UNDECIDED),
        (item(**V5, **{"earthsearch:boa_offset_applied": True}), (0.0001, 0.0), 0.0),
    ],
)
def test_what_a_file_itself_declares_counts_as_one_more_witness(content, tags, expected):
    decision = radiometry(content, "red", tags=tags)
    assert (UNDECIDED if decision.offset is None else decision.offset) == expected
    assert (decision.offset is not None) or "the file itself says" in decision.reason


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ((0.0000275, -0.2), "the file's tags say scale 2.75e-05: expected 0.0001"),  # Landsat
        ((0.0001, -0.2), "the file's tags: offset -0.2: expected 0 or -0.1"),
        ((1.0, -500.0), "the file's tags: offset -0.05: expected 0 or -0.1"),
        ((0.001, 0.0), "the file's tags say scale 0.001: expected 0.0001"),
    ],
)
def test_a_scale_or_an_offset_of_another_sensor_is_refused(tags, message):
    with pytest.raises(RadiometryError, match=f"red of X: {message}"):
        radiometry(item(**V5), "red", tags=tags)


@pytest.mark.real
def test_a_declared_offset_on_aot_is_not_believed(real_data):
    name = "S2B_MSIL2A_20200322T074609_N0500_R135_T36NYH_20230612T214223.json"
    path = real_data / "stac_items/cdse/sentinel-2-l2a" / name
    content = json.loads(path.read_text())
    assert content["assets"]["AOT_10m"]["raster:offset"] == -0.1
    with pytest.raises(RadiometryError, match="no single band"):
        radiometry(content, "AOT_10m")


# --- the pixel check ----------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("band", [1, 5])  # red of either date
def test_pixels_tell_raw_from_shifted_on_a_real_scene(real_data, band):
    import rasterio

    with rasterio.open(real_data / "s2_l2a_pair_inn_2021/inference-img.tif") as source:
        red = source.read(band)
    assert radiometry_from_pixels(red).offset == 0.0
    raw = np.where(red == 0, 0, red + 1000).astype(np.uint16)
    assert radiometry_from_pixels(raw).offset == -0.1


@pytest.mark.parametrize(
    "dn",
    [
        np.full(500, 1200, np.uint16),  # too few
        np.zeros(100_000, np.uint16),  # no data at all
        np.full(100_000, 65535, np.uint16),  # saturated
        np.full(100_000, 6000, np.uint16),  # snow: bright either way
        np.r_[np.full(98_000, 1600), np.full(2_000, 900)].astype(np.uint16),  # 2 % below 1000
    ],
)
def test_a_scene_that_fits_both_is_refused(dn):
    with pytest.raises(RadiometryError, match="another catalogue"):
        radiometry_from_pixels(dn)


def red(low=0, dark=0, bright=0):
    """So many pixels below 1000, of 1000 to 1499, and brighter, each at the upper limit."""
    return np.repeat(np.array([999, 1499, 1500], np.uint16), [low, dark, bright])


@pytest.mark.parametrize(
    ("dn", "offset"),
    [
        (red(51, 0, 949), 0.0),  # more than 5 % below 1000: shifted already
        (red(4, 47, 949), -0.1),  # fewer than 0.5 %, and more than 5 % as dark as vegetation: raw
        (red(0, 51, 949), -0.1),
        (red(0, 1000, 0) + np.uint16(1), None),  # nothing is dark
        (red(50, 0, 950), None),  # 5 %, and no more
        (red(5, 46, 949), None),  # 0.5 %, and no fewer
        (red(4, 46, 950), None),  # 5 % dark, and no more
        (red(51, 0, 948), None),  # 999 pixels are too few
        (np.concatenate([red(51, 0, 948), [0, 65535]]), None),  # and these two are none
    ],
)
def test_shares_of_dark_pixels_decide_only_beyond_their_limits(dn, offset):
    if offset is None:
        with pytest.raises(RadiometryError, match="another catalogue"):
            radiometry_from_pixels(dn)
    else:
        found = radiometry_from_pixels(dn)
        assert (found.scale, found.offset) == (1e-4, offset)


def test_saturated_pixels_do_not_hide_dark_ones():
    dark = np.random.default_rng(0).integers(1020, 1400, 4000)
    dn = np.concatenate([dark, np.full(200_000, 65535)]).astype(np.uint16)
    assert radiometry_from_pixels(dn).offset == -0.1
    assert radiometry_from_pixels(np.where(dn < 65535, dn - 1000, dn)).offset == 0.0


# --- numbers to reflectance ---------------------------------------------------------------------

RAW, PLAIN = Radiometry(1e-4, -0.1, "test"), Radiometry(1e-4, 0.0, "test")
BRIGHTER, DARKER = Radiometry(1e-4, 0.03, "test"), Radiometry(1e-4, -0.2, "test")


@pytest.mark.parametrize(
    ("dn", "shift", "expected"),
    [
        (0, RAW, CUBE_NODATA),  # no data, tested on the raw number
        (1, RAW, -999),
        (999, RAW, -1),  # negative reflectance survives
        (1000, RAW, 0),  # valid zero, not nodata
        (1001, RAW, 1),
        (32767, RAW, 31767),
        (65535, RAW, 31767),  # saturated
        (0, PLAIN, CUBE_NODATA),
        (1, PLAIN, 1),
        (10000, PLAIN, 10000),
        (32767, PLAIN, 31767),
    ],
)
def test_nodata_comes_before_the_offset(dn, shift, expected):
    result = to_reflectance(np.array([[dn]], np.uint16), shift)
    assert result.dtype == np.int16
    assert result[0, 0] == expected


@given(st.data())
def test_the_offset_is_applied_once_and_never_wraps(data):
    # Of most scenes no number is 0 or saturated, and these go another way.
    largest = data.draw(st.sampled_from([65535, 32768, 32767, 31767]))
    numbers = st.integers(data.draw(st.sampled_from([0, 1])), largest)
    shape = st.tuples(st.integers(1, 5), st.integers(1, 5))
    dn = data.draw(arrays(np.uint16, shape, elements=numbers))
    for shift, steps in ((RAW, -1000), (PLAIN, 0), (BRIGHTER, 300), (DARKER, -2000)):
        expected = [
            CUBE_NODATA if number == 0 else max(-999, min(31767, number + steps))
            for number in dn.ravel().tolist()
        ]
        assert to_reflectance(dn, shift).ravel().tolist() == expected
        in_place = dn.copy()
        to_reflectance(in_place, shift, out=in_place.view(np.int16))
        assert in_place.view(np.int16).ravel().tolist() == expected


def test_an_undecided_offset_is_refused():
    with pytest.raises(RadiometryError, match="not decided: flag"):
        to_reflectance(np.ones((1, 1), np.uint16), Radiometry(1e-4, None, "flag"))


# --- masks --------------------------------------------------------------------------------------


def test_scene_classes_become_quality_bits():
    scl = np.arange(12, dtype=np.uint8).reshape(3, 4)
    expected = np.array(
        [Quality.NODATA, Quality.OTHER, 0, Quality.SHADOW, 0, 0, 0, 0,
         Quality.CLOUD, Quality.CLOUD, Quality.CLOUD, Quality.SNOW], np.uint8,
    ).reshape(3, 4)  # fmt: skip
    for dtype in (np.uint8, np.uint16):
        result = quality_of(scl.astype(dtype), MaskSpec().scl)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, expected)


def test_every_class_can_be_masked_and_none_need_be():
    scl = np.arange(12, dtype=np.uint8)
    assert (quality_of(scl, tuple(SCL_CLASSES)) != 0).all()
    assert (quality_of(scl, ()) == 0).all()


def test_a_value_that_is_no_class_is_never_clear():
    result = quality_of(np.array([12, 200, 65534], np.uint16), ())
    assert (result == Quality.OTHER).all()


def test_a_misspelt_class_is_refused():
    with pytest.raises(ValueError, match="'clouds', expected names among nodata"):
        quality_of(np.zeros(1, np.uint8), ("clouds",))
    with pytest.raises(ValueError, match="clouds"):
        MaskSpec(scl=("clouds",))
    with pytest.raises(ValueError, match="dilate_px: found -1"):
        MaskSpec(dilate_px=-1)
    with pytest.raises(
        ValueError, match="dilate_px: found 101, expected a whole number of pixels, 0 to 100"
    ):
        MaskSpec(dilate_px=101)
    assert [MaskSpec(dilate_px=px).dilate_px for px in (0, 100)] == [0, 100]


bits = st.sampled_from([0, 0, 0, 0, 1, 2, 4, 8, 12, 16, 64])
# No fill: each pixel is drawn, where hypothesis would repeat one value nearly everywhere.
qualities = arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=bits,
    fill=st.nothing(),
)


@given(qualities, st.integers(0, 3) | st.just(20))
def test_dilation_equals_a_plain_loop(quality, px):
    core = (quality & 12) != 0
    expected = quality.copy()
    for y, x in np.ndindex(quality.shape):
        near = core[max(0, y - px) : y + px + 1, max(0, x - px) : x + px + 1]
        if near.any() and not core[y, x]:
            expected[y, x] |= Quality.DILATED
    before = quality.copy()
    np.testing.assert_array_equal(dilate(quality, px), expected)
    np.testing.assert_array_equal(quality, before)


@pytest.mark.parametrize("bit", list(Quality))
def test_only_clouds_and_their_shadows_have_a_rim(bit):
    quality = np.zeros((5, 5), np.uint8)
    quality[2, 2] = bit
    rim = np.count_nonzero(dilate(quality, 1) & Quality.DILATED)
    already = bit == Quality.DILATED
    assert rim == (8 if bit in (Quality.CLOUD, Quality.SHADOW) else int(already))


def test_dilation_never_joins_planes_of_a_stack():
    stack = np.zeros((2, 5, 5), np.uint8)
    stack[0, 2, 2] = Quality.CLOUD
    assert dilate(stack, 1)[0].sum() == Quality.CLOUD + 8 * Quality.DILATED
    assert dilate(stack, 1)[1].sum() == 0
