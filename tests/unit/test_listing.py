"""Stored maps become a list by the rules of the workflow, and several maps of a date one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import yaml
import zarr

from lspipe.change.compare import change_codes
from lspipe.change.spec import ChangeSpec
from lspipe.models import read_item
from lspipe.runs import listing, store
from lspipe.runs.maps import merge_acquisitions
from lspipe.schema import CODE_NODATA, Quality
from tests.stored import store_run
from tests.worlds import add_scene, ground, make_world


def by_hand(layers):
    """Lower median of the observed codes, pixel by pixel."""
    merged = np.full(layers.shape[1:], CODE_NODATA, np.uint16)
    for place in np.ndindex(merged.shape):
        seen = sorted(code for code in layers[:, *place].tolist() if code != CODE_NODATA)
        if seen:
            merged[place] = seen[(len(seen) - 1) // 2]
    return merged


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_acquisitions_of_a_date_become_the_lower_median_of_what_each_pixel_showed(rows, count):
    random = np.random.default_rng(rows * 10 + count)
    layers = random.integers(0, 10001, (count, rows, 9)).astype(np.uint16)
    layers[random.random(layers.shape) < 0.4] = CODE_NODATA
    found = merge_acquisitions(layers)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, by_hand(layers))


# --- a made-up run, listed ----------------------------------------------------------------------

SIZE = 64
SMALL = {
    "size": SIZE,
    "execution": {"block": 40},
    "inference": {"window": 16, "stride": 8, "tta": "none"},
}
EDGE = SIZE * 10
CORNER = (699960, 5200000)
ROOM = 8
"""Pixels from one object to the next, which are squares of four."""

# Codes before and after of one square each, in a row; the names say what tells them apart.
SQUARES = {
    "clear": (0, 9500),
    "faint before": (2000, 9500),
    "half there before": (4000, 9500),
    "not quite": (0, 4500),
    "barely": (2500, 5500),
    "old": (9500, 9500),
    "gone": (9500, 0),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("archive"), **SMALL)


def square(number):
    return np.s_[4:8, 4 + ROOM * number : 8 + ROOM * number]


def scene():
    codes = np.zeros((2, SIZE, SIZE), np.uint16)
    for number, pair in enumerate(SQUARES.values()):
        codes[:, *square(number)] = np.array(pair)[:, None, None]
    # A scar that grew by one pixel, which two dates that do not fit quite would show too.
    codes[:, 24:28, 4:8] = codes[1, 24:28, 8] = 9500
    return codes


def statuses(made):
    """Status of each square, and of the pixels by which the old scar grew; None = not listed."""
    found = gpd.read_parquet(made.run / "inventory.parquet").to_crs(32718)
    places = {name: (6, 6 + ROOM * number) for number, name in enumerate(SQUARES)}
    places["grown"] = (26, 8.5)
    said = {}
    for name, (row, column) in places.items():
        point = shapely.Point(CORNER[0] + 10 * column, CORNER[1] - 10 * row)
        (status,) = list(found[found.contains(point)]["status"]) or [None]
        said[name] = status
    return said


PLAIN = {
    "clear": "new", "faint before": "new", "half there before": "persistent", "not quite": None,
    "barely": "new", "old": "persistent", "gone": "vanished", "grown": "persistent",
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        ("before_below=0.3", {}),
        ("threshold=0.4", {"not quite": "new", "half there before": "persistent"}),
        ("threshold=0.96", dict.fromkeys(PLAIN)),
        ("before_below=0.1", {"faint before": "persistent", "barely": "persistent"}),
        ("before_below=0.45", {"half there before": "new"}),
        ("tolerance_px=0", {"grown": "grown"}),
        ("min_gain=0.4", {"barely": "persistent"}),
        ("method=subtract", {"half there before": "new", "grown": "grown"}),
    ],
)
def test_every_rule_of_change_alone_decides_the_list_and_the_stored_states(
    archive, tmp_path, rule, other
):
    codes = scene()
    rules = ("change.min_area_m2=0", f"change.{rule}")
    made = store_run(archive, tmp_path / "run", *rules, probability=codes)
    listing.write(made.run, made.plan)
    assert statuses(made) == PLAIN | other
    name, _, value = rule.partition("=")
    spec = ChangeSpec(**{name: yaml.safe_load(value)})
    stored = store.read(made.run, store.CHANGE, "18GYS", "state")
    np.testing.assert_array_equal(stored, change_codes(*codes, spec))
    gain = store.read(made.run, store.CHANGE, "18GYS", "gain")
    np.testing.assert_array_equal(gain, codes[1].astype(int) - codes[0])


def test_the_smallest_area_is_the_workflows(archive, tmp_path):
    # Sixteen pixels of 100 m2, and the grown scar of twenty.
    for least, count in ((1500, 7), (1700, 1), (2100, 0)):
        run = tmp_path / str(least)
        made = store_run(archive, run, f"change.min_area_m2={least}", probability=scene())
        listed = listing.write(made.run, made.plan)
        assert sum(listed.statuses.values()) == count


@pytest.fixture(scope="module")
def strict_archive(tmp_path_factory):
    """An archive whose model item asks for a probability above 0.7."""
    folder = tmp_path_factory.mktemp("strict")
    document = json.loads(read_item("shipped:bare-ground").path.read_text())
    document["properties"]["lspipe:threshold"] = 0.7
    (folder / "item.json").write_text(json.dumps(document))
    model = {"item": "item.json"}
    return make_world(folder, **SMALL, model=model)


@pytest.mark.parametrize("dates", ["two", "one"])
def test_the_model_items_threshold_rules_where_the_workflow_has_none(
    strict_archive, tmp_path, dates
):
    one = ("dates={after: {start: 2018-01-01, end: 2018-03-31}}",) if dates == "one" else ()
    codes = np.zeros((2, SIZE, SIZE), np.uint16)
    codes[1, 4:8, 4:8], codes[1, 4:8, 14:18], codes[1, 4:8, 24:28] = 6900, 7000, 7001
    codes = codes[1:] if one else codes
    for override, count in ((), 1), (("change.threshold=0.6",), 3):
        run = tmp_path / str(count)
        made = store_run(strict_archive, run, *one, *override, probability=codes)
        listed = listing.write(made.run, made.plan)
        assert listed.statuses == {"detected" if one else "new": count}


def test_what_was_not_processed_is_a_gap_and_no_failed_read(archive, tmp_path):
    quality = np.zeros((2, SIZE, SIZE), np.uint8)
    codes = np.zeros((2, SIZE, SIZE), np.uint16)
    # A read that failed, one that another item of the same scene made good, and a plain gap.
    quality[1, 2, :5], quality[0, 3, :7] = Quality.READ_ERROR | Quality.NODATA, Quality.READ_ERROR
    quality[0, 4, :9] = Quality.NODATA
    codes[(quality & Quality.NODATA) != 0] = CODE_NODATA
    made = store_run(archive, tmp_path / "run", probability=codes, quality=quality, only=1)
    listed = listing.write(made.run, made.plan)
    assert listed.failed_reads == 5 + 7
    gaps = gpd.read_parquet(made.run / "unobserved.parquet").set_index(["date", "reason"])
    pixels = (gaps.to_crs(32718).area / 100).round().astype(int)
    (block, *_) = made.plan.tiles[0].blocks
    rows, columns = (part.stop - part.start for part in block.core)
    left = SIZE * SIZE - rows * columns
    assert left > 0
    assert pixels.to_dict() == {
        ("before", "nodata"): 9,
        ("before", "not_processed"): left,
        ("after", "read_error"): 5,
        ("after", "not_processed"): left,
    }


# --- several acquisitions of a date -------------------------------------------------------------

TIMES = {
    "before": ("2017-01-15T14:37:51Z", "2017-02-14T14:37:51Z"),
    "after": ("2018-01-20T14:37:51Z", "2018-02-19T14:37:51Z"),
}


@pytest.fixture(scope="module")
def each(tmp_path_factory):
    """Two scenes on each date, every one a step of its own."""
    folder = tmp_path_factory.mktemp("each")
    world = make_world(folder, **SMALL, cube={"composite": "each"})
    for role in TIMES:
        add_scene(folder, size=SIZE, time=TIMES[role][1], values=ground())
    return world


def test_what_any_scene_of_a_date_saw_is_no_gap_and_the_first_says_why_else(each, tmp_path):
    codes = np.zeros((4, SIZE, SIZE), np.uint16)
    quality = np.zeros((4, SIZE, SIZE), np.uint8)
    # Seen by the later scene only; by none of the date, for another reason each time.
    quality[0, :10, :10] = quality[2, 20:25, :4] = Quality.CLOUD
    quality[0, 30:33, :2], quality[1, 30:33, :2] = Quality.SHADOW, Quality.CLOUD
    codes[quality != 0] = CODE_NODATA
    made = store_run(each, tmp_path / "run", probability=codes, quality=quality)
    assert made.plan.tiles[0].grid.roles == ("before", "before", "after", "after")
    listed = listing.write(made.run, made.plan)
    gaps = gpd.read_parquet(made.run / "unobserved.parquet")
    assert gaps[["tile", "date", "reason"]].to_numpy().tolist() == [["18GYS", "before", "shadow"]]
    assert gaps["acquired"].iloc[0] == pd.Timestamp(TIMES["before"][0])
    assert listed.observed_share == pytest.approx(1 - 6 / SIZE**2, abs=1e-5)


@pytest.mark.parametrize("is_swapped", [False, True])
def test_dates_items_and_model_of_a_list_are_those_of_its_scenes(each, tmp_path, is_swapped):
    codes = np.zeros((4, SIZE, SIZE), np.uint16)
    codes[2:, 4:8, 4:8] = codes[:2, 4:8, 20:24] = 9000
    years = {"before": 2018, "after": 2017} if is_swapped else {"before": 2017, "after": 2018}
    dates = [
        f"dates.{role}={{start: {year}-01-01, end: {year}-03-31}}" for role, year in years.items()
    ]
    made = store_run(each, tmp_path / "run", *dates, probability=codes)
    # As of a network with weights of their own, whose hash is not that of the item.
    reference = replace(made.plan.reference, sha256="ab" * 32)
    listing.write(made.run, replace(made.plan, reference=reference))
    found = gpd.read_parquet(made.run / "inventory.parquet").set_index("status")
    days = dict(zip(TIMES, reversed(TIMES.values()), strict=True)) if is_swapped else TIMES
    new, gone = found.loc["new"], found.loc["vanished"]
    # The scenes of the two dates that are nearest to each other.
    assert new["date_before"] == gone["date_before"] == pd.Timestamp(days["before"][1])
    assert new["date_after"] == gone["date_after"] == pd.Timestamp(days["after"][0])
    # A pixel may have been clear in the first scene before and in the last one after only.
    if is_swapped:
        assert pd.isna(new["event_date_min"])
    else:
        assert new["event_date_min"] == pd.Timestamp(days["before"][0])
    assert new["event_date_max"] == pd.Timestamp(days["after"][1])
    for role in ("before", "after"):
        names = [f"S2A_18GYS_{day[:10].replace('-', '')}_0_L2A" for day in days[role]]
        assert new[f"items_{role}"] == ",".join(names)
    assert new["model_id"] == "bare-ground"
    assert new["model_sha256"] == "ab" * 32


def test_the_middle_of_a_dates_scenes_is_compared_with_that_of_the_other(each, tmp_path):
    codes = np.zeros((4, SIZE, SIZE), np.uint16)
    codes[0], codes[1], codes[2], codes[3] = 1000, 2000, 8000, 4000
    made = store_run(each, tmp_path / "run", probability=codes)
    listing.write(made.run, made.plan)
    gain = store.read(made.run, store.CHANGE, "18GYS", "gain")
    assert (gain == 4000 - 1000).all()


# --- several tiles ------------------------------------------------------------------------------


def test_every_tile_counts_and_each_format_that_is_asked_for_is_written(tmp_path):
    world = make_world(tmp_path, **SMALL, aoi={"tiles": ["18GYS", "18GYT"]})
    for time in (TIMES["before"][0], TIMES["after"][0]):
        add_scene(tmp_path, tile="18GYT", size=SIZE, time=time, values=ground())
    codes = {name: np.zeros((2, SIZE, SIZE), np.uint16) for name in ("18GYS", "18GYT")}
    quality = {name: np.zeros((2, SIZE, SIZE), np.uint8) for name in codes}
    codes["18GYS"][1, 4:8, 4:8] = codes["18GYT"][1, 4:8, 4:10] = 9000
    quality["18GYT"][0, 40:50, :] = quality["18GYS"][1, :2] = Quality.READ_ERROR | Quality.NODATA
    for name, bits in quality.items():
        codes[name][bits != 0] = CODE_NODATA
    made = store_run(
        world, tmp_path / "run", "output.write=[geojson]", probability=codes, quality=quality
    )
    listed = listing.write(made.run, made.plan)
    found = gpd.read_parquet(listed.outputs["geoparquet"])
    assert found[["tile", "n_px"]].to_numpy().tolist() == [["18GYS", 16], ["18GYT", 24]]
    # Every list has the flag, also where nothing has an edge.
    assert found["aoi_edge"].tolist() == [False, False]
    assert listed.failed_reads == 12 * SIZE
    assert listed.observed_share == pytest.approx(1 - 12 / (2 * SIZE), abs=1e-4)
    assert {name: path.name for name, path in listed.outputs.items()} == {
        "geoparquet": "inventory.parquet",
        "geojson": "inventory.geojson",
        "unobserved": "unobserved.parquet",
    }
    assert len(gpd.read_file(listed.outputs["geojson"])) == 2
    gaps = gpd.read_parquet(listed.outputs["unobserved"])
    assert gaps[["tile", "date"]].to_numpy().tolist() == [["18GYS", "after"], ["18GYT", "before"]]


def test_the_edge_of_the_area_is_flagged_in_a_list(archive, tmp_path):
    # The western half of the tile, and an object on both sides of its edge.
    half = gpd.GeoSeries(
        [shapely.box(CORNER[0], CORNER[1] - EDGE, CORNER[0] + EDGE / 2 - 5, CORNER[1])], crs=32718
    )
    half.to_crs(4326).to_file(archive.folder / "half.geojson")
    codes = np.full((2, SIZE, SIZE), CODE_NODATA, np.uint16)
    codes[:, :, : SIZE // 2] = 0
    codes[1, 4:8, 4:8] = codes[1, 20:24, SIZE // 2 - 4 : SIZE // 2] = 9000
    bits = np.where(codes == CODE_NODATA, np.uint8(Quality.OUTSIDE), np.uint8(0))
    made = store_run(
        archive, tmp_path / "run", "aoi={file: half.geojson}", probability=codes, quality=bits
    )
    listed = listing.write(made.run, made.plan)
    found = gpd.read_parquet(listed.outputs["geoparquet"]).sort_values("lon")
    assert found["aoi_edge"].tolist() == [False, True]
    assert not len(gpd.read_parquet(listed.outputs["unobserved"]))
    assert listed.observed_share == pytest.approx(1, abs=1e-4)


def test_where_no_tile_lies_there_is_no_scene_on_either_date(archive, tmp_path):
    wide = gpd.GeoSeries(
        [shapely.box(CORNER[0], CORNER[1] - EDGE, CORNER[0] + 2 * EDGE, CORNER[1])], crs=32718
    )
    wide.to_crs(4326).to_file(archive.folder / "wide.geojson")
    codes = np.zeros((2, SIZE, SIZE), np.uint16)
    made = store_run(archive, tmp_path / "run", "aoi={file: wide.geojson}", probability=codes)
    listed = listing.write(made.run, made.plan)
    gaps = gpd.read_parquet(listed.outputs["unobserved"])
    assert gaps[["date", "reason"]].to_numpy().tolist() == [
        ["before", "no_scene"],
        ["after", "no_scene"],
    ]
    np.testing.assert_allclose(gaps["area_m2"], EDGE**2, rtol=0.01)
    assert listed.observed_share == pytest.approx(0.5, abs=1e-3)


# --- evidence, flags and rank of a list ---------------------------------------------------------


def write_evidence(made, *, step, **layers):
    """Fill layers of `evidence.zarr` of a step, whole."""
    for tile in made.plan.tiles:
        group = zarr.open_group(made.run / store.EVIDENCE / tile.tile.name, mode="r+")
        for name, values in layers.items():
            group[name][step] = values


def only_row(made):
    listing.write(made.run, made.plan)
    (row,) = gpd.read_parquet(made.run / "inventory.parquet").to_dict("records")
    return row


def one_scar(steps=2):
    codes = np.zeros((steps, SIZE, SIZE), np.uint16)
    codes[steps // 2 :, 20:24, 20:28] = 9000
    return codes


def test_a_list_has_the_evidence_that_the_run_stored(archive, tmp_path):
    made = store_run(archive, tmp_path / "run", probability=one_scar())
    scl = np.full((SIZE, SIZE), 4, np.uint8)
    scl[20, 31] = 6
    days = {"before": 17181, "after": 17551}
    for step, (role, ndvi, colour) in enumerate((("before", 7000, 40), ("after", 1000, 100))):
        write_evidence(made, step=step, ndvi=ndvi, true_colour=colour, scl=scl, acquired=days[role])
    row = only_row(made)
    assert (row["ndvi_before"], row["ndvi_after"]) == pytest.approx((0.7, 0.1))
    assert row["ndvi_drop"] == pytest.approx(0.6)
    assert row["brightness_change"] == pytest.approx(60 * 0.3 / 254)
    assert (row["water_m"], row["snow_share"]) == (40, 0)
    assert row["acquired_before"] == pd.Timestamp("2017-01-15", tz="UTC")
    assert row["acquired_after"] == pd.Timestamp("2018-01-20", tz="UTC")
    assert (row["tile_edge_m"], row["aoi_edge_m"]) == (210, 500)
    assert not row["bare_before"]
    assert not row["river_bank"]
    assert row["rank"] == 1


@pytest.mark.parametrize("lacks", ["a layer", "the tile", "the store"])
def test_a_store_without_evidence_gives_empty_cells_and_no_failure(archive, tmp_path, lacks):
    made = store_run(archive, tmp_path / "run", probability=one_scar())
    place = {"a layer": "18GYS/ndvi", "the tile": "18GYS", "the store": ""}[lacks]
    shutil.rmtree(made.run / store.EVIDENCE / place)
    row = only_row(made)
    for name in ("ndvi_before", "ndvi_after", "ndvi_drop"):
        assert np.isnan(row[name]), name
    assert row["tile_edge_m"] == 210
    assert not row["bare_before"]


def test_of_several_scenes_of_a_date_the_middle_of_what_was_seen_counts(each, tmp_path):
    codes = one_scar(4)
    quality = np.zeros((4, SIZE, SIZE), np.uint8)
    # The first scene before is cloudy over the scar; a failed read alone hides nothing.
    quality[0], quality[3] = Quality.CLOUD, Quality.READ_ERROR
    codes[0] = CODE_NODATA
    made = store_run(each, tmp_path / "run", probability=codes, quality=quality)
    snow, water = np.full((2, SIZE, SIZE), 4, np.uint8)
    snow[19, 18:30], water[30, 20:28], water[19, 18] = 11, 6, 6
    for step, (ndvi, scl, day) in enumerate(
        ((-5000, 8, 17181), (6000, 4, 17211), (3000, snow, 17551), (1000, water, 17581))
    ):
        write_evidence(made, step=step, ndvi=ndvi, scl=scl, acquired=day, true_colour=9 * step + 9)
    row = only_row(made)
    assert (row["ndvi_before"], row["ndvi_after"]) == pytest.approx((0.6, 0.1))
    assert row["acquired_before"] == pd.Timestamp(17211, unit="D", tz="UTC")
    assert row["acquired_after"] == pd.Timestamp(17551, unit="D", tz="UTC")
    assert row["brightness_change"] == pytest.approx(9 * 0.3 / 254)
    # Water counts before snow: a pixel of 18 columns, at a corner beyond the rim of ten.
    assert row["water_m"] == pytest.approx(10 * 5**0.5)
    assert row["snow_share"] == pytest.approx(10 / 60)


@pytest.mark.parametrize("hidden", [Quality.CLOUD, Quality.SHADOW, Quality.CLOUD | Quality.SHADOW])
def test_what_is_under_cloud_or_shadow_later_is_a_candidate_and_never_new(
    archive, tmp_path, hidden
):
    codes, quality = np.zeros((2, SIZE, SIZE), np.uint16), np.zeros((2, SIZE, SIZE), np.uint8)
    # There before and hidden after; hidden before and there after; half hidden after.
    codes[0, 4:8, 4:12], quality[1, 2:10, 2:14] = 9000, hidden
    codes[1, 20:24, 4:12], quality[0, 18:26, 2:14] = 9000, hidden
    codes[1, 40:44, 4:12], quality[1, 38:46, 8:14] = 9000, hidden
    codes[quality != 0] = CODE_NODATA
    made = store_run(archive, tmp_path / "run", "change.min_area_m2=0", probability=codes,
                     quality=quality)  # fmt: skip
    listing.write(made.run, made.plan)
    found = gpd.read_parquet(made.run / "inventory.parquet").to_crs(32718)
    rows = ((CORNER[1] - found.geometry.centroid.y) / 10).round().to_numpy(int)
    said = dict(zip(rows.tolist(), zip(found["status"], found["n_px"], strict=True), strict=True))
    # Of the last one only the half that both dates show is new.
    assert said == {6: ("undetermined", 32), 22: ("undetermined", 32), 42: ("new", 16)}
    assert found["edge_of_observation"].all()
    assert found.set_index("status").loc["new", "rank"] == 1
