"""Where radar saw change of what optics missed: by cells, by gaps, and never as a landslide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox

from lspipe.change import blind as cells_of
from lspipe.change.blind import UNSEEN, Cells, Median, beyond, count, dense, differences
from lspipe.cube.radar import Radar, RadarPass
from lspipe.outputs import layers
from lspipe.runs import backscatter, ended, store, tail
from lspipe.runs.opened import Run
from lspipe.runs.record import run_json
from lspipe.runs.tail_plan import RadarAsked, tails_of
from lspipe.schema import CODE_NODATA, CUBE_NODATA, Quality
from lspipe.schema.columns import RADAR, RADAR_CELLS, UNOBSERVED_BY_RADAR
from tests.properties import examples
from tests.stored import store_run
from tests.worlds import make_world

TILE, SIZE = "18GYS", 240
DB = 500
"""Codes of a decibel."""


def grid(rows, columns, pixel=10):
    return GeoBox((rows, columns), Affine(pixel, 0, 600_000, 0, -pixel, 4_400_000), "EPSG:32633")


# --- differences --------------------------------------------------------------------------------


def test_a_difference_needs_both_dates():
    before = np.array([-5000, CUBE_NODATA, -5000, -30000], np.int16)
    after = np.array([-3500, -3500, CUBE_NODATA, 30000], np.int16)
    assert differences(before, after).tolist() == [1500, UNSEEN, UNSEEN, 60000]


@examples(50)
@given(st.lists(hnp.arrays(np.int32, st.integers(0, 9), elements=st.integers(-65535, 65535))))
def test_the_median_does_not_depend_on_how_the_tile_is_cut(parts):
    median = Median()
    for part in parts:
        median.add(np.append(part, UNSEEN).astype(np.int32))
    every = np.sort(np.concatenate([np.empty(0, np.int32), *parts]))
    assert median.result() == (every[(len(every) - 1) // 2] if len(every) else None)


@pytest.mark.parametrize(
    ("values", "medians", "seen", "is_beyond"),
    [
        ([3 * DB], [0], True, False),  # strictly
        ([3 * DB + 1], [0], True, True),
        ([-3 * DB - 1], [0], True, True),
        ([3 * DB + 1], [DB], True, False),
        ([-2 * DB - 1], [DB], True, True),
        ([UNSEEN], [0], False, False),
        ([UNSEEN], [None], False, False),
        ([5 * DB, DB], [0, 0], True, False),  # 3 dB on average
        ([5 * DB, DB + 1], [0, 0], True, True),  # 3.001 dB
        ([5 * DB, UNSEEN], [0, None], True, True),
        ([5 * DB, -5 * DB], [0, 0], True, False),
        ([5 * DB, DB], [0, -DB], True, True),
    ],
)
def test_the_mean_change_of_the_orbits_that_saw_a_pixel_counts(values, medians, seen, is_beyond):
    orbits = [np.full((1, 1), value, np.int32) for value in values]
    found = beyond(orbits, medians, 3 * DB)
    assert [bool(each) for each in found] == [seen, is_beyond]


# --- cells --------------------------------------------------------------------------------------


@examples(30)
@given(st.integers(1, 11), st.integers(1, 11), st.integers(0, 2**32 - 1))
def test_pixels_are_counted_in_the_cell_that_they_lie_in(rows, columns, seed):
    random = np.random.default_rng(seed)
    own, hidden, counts, changed = random.random((4, rows, columns)) < 0.7
    geobox = grid(rows, columns, pixel=125)
    assert cells_of.cell_px(geobox) == 4
    found = count(geobox, own=own, hidden=hidden, counts=counts, changed=changed)
    expected = np.zeros((4, -(-rows // 4), -(-columns // 4)), np.int64)
    masks = (own, own & hidden, own & hidden & counts, own & hidden & counts & changed)
    for number, mask in enumerate(masks):
        for row, column in np.argwhere(mask):
            expected[number, row // 4, column // 4] += 1
    np.testing.assert_array_equal(
        [found.whole, found.hidden, found.counted, found.changed], expected
    )


def of_counts(*, whole=2500, hidden=2500, counted=2500, changed):
    """Cells side by side."""
    changed = np.atleast_2d(changed)
    fulls = (np.broadcast_to(np.asarray(each), changed.shape) for each in (whole, hidden, counted))
    return Cells(*(np.array(each, np.int64) for each in (*fulls, changed)))


def test_a_share_of_few_pixels_is_not_told():
    cells = of_counts(counted=[250, 249, 0, 2500], changed=[100, 249, 0, 1])
    assert cells.density.tolist() == [[4000, CODE_NODATA, CODE_NODATA, 4]]
    cells = of_counts(whole=[2500, 2500, 0], hidden=[2500, 1000, 0], counted=0, changed=[0, 0, 0])
    assert cells.hidden_share.tolist() == [[10000, 4000, CODE_NODATA]]


def test_dense_cells_are_outlined_the_densest_first():
    cells = of_counts(changed=[[500, 501, 2500], [0, 1250, 0]], counted=2500)
    found = dense(cells, 0.2, geobox=grid(90, 130), tile="33TVF")
    assert list(found.columns) == list(RADAR_CELLS)
    assert found["radar_density"].tolist() == [1.0, 0.5, 0.2004]
    assert found["tile"].tolist() == ["33TVF"] * 3
    boxes = found.to_crs(32633).geometry.tolist()
    # The last column and the last row end with the tile.
    expected = [
        shapely.box(601_000, 4_399_500, 601_300, 4_400_000),
        shapely.box(600_500, 4_399_100, 601_000, 4_399_500),
        shapely.box(600_500, 4_399_500, 601_000, 4_400_000),
    ]
    for box, other in zip(boxes, expected, strict=True):
        assert box.symmetric_difference(other).area < 1
    assert not len(dense(of_counts(changed=[0]), 0.2, geobox=grid(50, 50), tile="33TVF"))


# --- a tile -------------------------------------------------------------------------------------

CLOUD = np.s_[100:150, 100:200]
"""Two cells that a cloud hides after."""
STEP = np.s_[100:150, 110:140]
"""Ground below it that became brighter, in the first of them."""
SCAR = np.s_[20:30, 20:40]
"""A new landslide on clear ground, which became darker."""


def maps():
    codes = np.zeros((2, SIZE, SIZE), np.uint16)
    quality = np.zeros((2, SIZE, SIZE), np.uint8)
    codes[1][SCAR] = 9000
    quality[1][CLOUD] = Quality.CLOUD
    quality[1, :10] = Quality.NODATA
    codes[quality != 0] = CODE_NODATA
    return {"probability": codes, "quality": quality}


def seen_from(orbit):
    """Backscatter of both dates: a step below the cloud, a scar, and a tile that was wetted."""
    before = np.full((SIZE, SIZE), -6000, np.int16)
    after = np.full((SIZE, SIZE), -5500, np.int16)
    after[STEP] += 5 * DB
    after[SCAR] -= 4 * DB if orbit == 0 else 2 * DB
    after[:, 220:] = CUBE_NODATA
    return np.stack([before, after])


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return make_world(
        tmp_path_factory.mktemp("archive"), size=SIZE, execution={"block": 128},
        inference={"window": 16, "stride": 8, "tta": "none"},
    )  # fmt: skip


@pytest.fixture
def made(archive, tmp_path):
    return store_run(archive, tmp_path / "run", **maps())


@pytest.fixture(autouse=True)
def read_parts(monkeypatch):
    """Numbers of the passes that are read, and the rows, from now on."""
    parts = []

    def read(radar, _, part, names, pass_number):
        assert pass_number < len(radar.passes)
        assert list(names) == ["before:VV", "after:VV"]
        parts.append((pass_number, part))
        return seen_from(pass_number)[:, *part]

    monkeypatch.setattr(backscatter, "read", read)
    return parts


def radar_of(*states):
    passes = tuple(
        RadarPass(orbit_state=state, relative_orbit=number, sides={"before": (), "after": ()})
        for number, state in enumerate(states)
    )
    return Radar(name="sentinel-1-rtc", passes=passes)


def asked_of(made, *states, change_db=3.0, flat_deg=5.0, dense_share=0.2):
    (plain,) = tails_of(made.plan).values()
    asked = RadarAsked(radar_of(*states) if states else None, change_db, flat_deg, dense_share)
    return replace(plain, radar=asked)


BOTH = ("ascending", "descending")


def test_a_step_below_a_cloud_is_a_dense_cell_and_no_landslide(made):
    found = tail.write(made.run, asked_of(made, *BOTH))
    listed = tail.objects(made.run, TILE)
    assert listed["status"].tolist() == ["new"]
    cells = tail.radar_cells(made.run, TILE)
    assert cells["radar_density"].tolist() == [0.6]
    assert (cells["n_px"].tolist(), cells["hidden_share"].tolist()) == ([2500], [1.0])
    x, y = 699960 + 10 * 125, 5200000 - 10 * 125
    assert cells.to_crs(32718).geometry[0].contains(shapely.Point(x, y))
    density = store.read(made.run, store.EVIDENCE, TILE, "radar_density")
    # Of the last column radar saw 20 of 40 pixels, and the sky hides 200 pixels of its first cell.
    expected = np.full((5, 5), CODE_NODATA)
    expected[0], expected[2, 2:4] = 0, (6000, 0)
    expected[0, 4] = CODE_NODATA
    np.testing.assert_array_equal(density, expected)
    hidden = store.read(made.run, store.EVIDENCE, TILE, "hidden_share")
    assert hidden[0].tolist() == [2000] * 5
    assert hidden[2].tolist() == [0, 0, 10000, 10000, 0]
    assert found.sight.cells == 1
    assert found.sight.hidden_m2 == pytest.approx(100 * 7400, rel=2e-3)
    assert found.sight.seen_m2 == pytest.approx(100 * 7200, rel=2e-3)
    assert found.sight.median_db == {"asc": 1.0, "desc": 1.0}


def test_an_object_says_how_either_orbit_saw_it(made):
    tail.write(made.run, asked_of(made, *BOTH))
    (row,) = tail.objects(made.run, TILE).to_dict("records")
    assert row["vv_change_asc_db"] == pytest.approx(-3, abs=5e-3)
    assert row["vv_change_desc_db"] == pytest.approx(-1, abs=5e-3)
    assert row["vv_seen_share"] == 1


def test_a_gap_says_how_much_of_it_radar_saw_and_found_changed(made):
    tail.write(made.run, asked_of(made, *BOTH))
    gaps = tail.gaps(made.run, TILE).set_index("reason")
    assert list(gaps.columns)[-3:] == [*UNOBSERVED_BY_RADAR, "geometry"]
    assert gaps.loc["cloud", [*UNOBSERVED_BY_RADAR]].tolist() == [1.0, 0.3]
    assert gaps.loc["nodata", [*UNOBSERVED_BY_RADAR]].tolist() == [round(220 / 240, 4), 0]


def test_one_orbit_is_enough_and_the_other_column_is_empty(made):
    tail.write(made.run, asked_of(made, "descending"))
    (row,) = tail.objects(made.run, TILE).to_dict("records")
    assert np.isnan(row["vv_change_asc_db"])
    assert row["vv_change_desc_db"] == pytest.approx(-3, abs=5e-3)
    assert row["vv_seen_share"] == 1
    assert len(tail.radar_cells(made.run, TILE)) == 1


def test_a_tile_that_no_pass_saw_has_the_columns_and_no_cell(made):
    found = tail.write(made.run, asked_of(made))
    (row,) = tail.objects(made.run, TILE).to_dict("records")
    assert np.isnan([row["vv_change_asc_db"], row["vv_change_desc_db"]]).all()
    assert row["vv_seen_share"] == 0
    assert not len(tail.radar_cells(made.run, TILE))
    assert (found.sight.cells, found.sight.seen_m2) == (0, 0)
    assert found.sight.hidden_m2 > 0
    gaps = tail.gaps(made.run, TILE)
    assert (gaps["radar_seen_share"] == 0).all()
    assert gaps["radar_changed_share"].isna().all()


def test_a_tile_without_radar_says_nothing_of_it(made):
    (asked,) = tails_of(made.plan).values()
    assert asked.radar is None
    found = tail.write(made.run, asked)
    assert found.sight is None
    assert not set(tail.objects(made.run, TILE).columns) & set(RADAR)
    assert not set(tail.gaps(made.run, TILE).columns) & set(UNOBSERVED_BY_RADAR)
    assert not list((made.run / store.OBJECTS).glob("*radar*"))
    assert not list((made.run / store.EVIDENCE / TILE).glob("*radar*"))


def test_gentle_ground_counts_for_nothing(made, monkeypatch):
    slope = np.full((SIZE, SIZE), 1000, np.int16)
    slope[CLOUD] = 499
    slope[100:125, 110:140] = CUBE_NODATA
    read = store.read

    def with_slope(run, which, tile, name, part=...):
        return slope[part] if name == "slope" else read(run, which, tile, name, part)

    monkeypatch.setattr("lspipe.runs.blind.store.read", with_slope)
    asked = asked_of(made, *BOTH)
    backscatter.write(made.run, asked.grid, asked.radar.passes)
    from lspipe.runs import blind

    looked = blind.look(made.run, asked.grid, asked.radar, has_terrain=True)
    # Only what is known to be gentle is left out.
    assert looked.counts[CLOUD].sum() == looked.changed[CLOUD].sum() == 25 * 30
    every = blind.look(made.run, asked.grid, asked.radar, has_terrain=False)
    assert every.counts[CLOUD].all()
    assert every.changed.sum() == 50 * 30


# --- what is kept -------------------------------------------------------------------------------


def test_radar_is_read_once_block_by_block(made, read_parts):
    asked = asked_of(made, *BOTH)
    tail.write(made.run, asked)
    assert len(read_parts) == 2 * len(made.plan.tiles[0].blocks)
    for orbit, number in (("asc", 0), ("desc", 1)):
        for layer, date in zip(seen_from(number), ("before", "after"), strict=True):
            name = f"vv_{date}_{orbit}"
            np.testing.assert_array_equal(store.read(made.run, store.EVIDENCE, TILE, name), layer)
    del read_parts[:]
    tail.write(made.run, replace(asked, radar=replace(asked.radar, change_db=6.0)))
    assert not read_parts
    assert not len(tail.radar_cells(made.run, TILE))


def test_other_passes_are_read_anew_and_those_that_are_gone_are_not_kept(made, read_parts):
    tail.write(made.run, asked_of(made, *BOTH))
    del read_parts[:]
    tail.write(made.run, asked_of(made, "descending"))
    assert {number for number, _ in read_parts} == {0}
    group = made.run / store.EVIDENCE / TILE
    assert {path.name for path in group.glob("vv_*")} == {"vv_before_desc", "vv_after_desc"}
    tail.write(made.run, asked_of(made))
    assert not list(group.glob("vv_*"))


@pytest.mark.parametrize(
    ("rules", "times"),
    [({}, 1), ({"change_db": 4.0}, 2), ({"flat_deg": 6.0}, 2), ({"dense_share": 0.7}, 2)],
)
def test_a_tile_is_ended_again_where_what_counts_has_changed(made, monkeypatch, rules, times):
    writes, write = [], tail.write

    def noted(run, asked):
        writes.append(asked)
        return write(run, asked)

    monkeypatch.setattr(tail, "write", noted)
    first = ended.end(made.run, asked_of(made, *BOTH), "print")
    again = ended.end(made.run, asked_of(made, *BOTH, **rules), "print")
    assert len(writes) == times
    assert again.sight.cells == (0 if "dense_share" in rules else 1)
    assert first.sight.median_db == again.sight.median_db


def test_a_tile_is_ended_again_when_its_cells_were_removed(made):
    asked = asked_of(made, *BOTH)
    ended.end(made.run, asked, "print")
    (made.run / store.OBJECTS / f"{TILE}.radar.parquet").unlink()
    assert not ended.is_ended(made.run, asked, "print")


# --- layers -------------------------------------------------------------------------------------


def opened(made):
    record = run_json(made.plan, state="finished")
    record["workflow"]["radar"] = {"collection": "sentinel-1-rtc"}
    return Run(made.run, record)


def test_layers_show_the_change_in_decibels_and_the_density(made, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    tail.write(made.run, asked_of(made, *BOTH))
    run = opened(made)
    (tmp_path / "layers").mkdir()
    written = layers.write_tile(run, TILE, tmp_path / "layers", notice="credit")
    names = {each.layer for each in written}
    assert {"vv_change_asc", "vv_change_desc", "radar_density"} <= names
    assert {each.piece.file for each in written} <= set(
        layers.files_of(TILE, run.record["tiles"][TILE]["steps"])
    )
    before, after = seen_from(0).astype(int)
    with rasterio.open(tmp_path / "layers" / f"{TILE}_vv_change_asc.tif") as file:
        expected = np.where(after == CUBE_NODATA, CUBE_NODATA, (after - before) / 50)
        np.testing.assert_array_equal(file.read(1), expected)
        assert (file.scales[0], file.nodata) == (0.1, CUBE_NODATA)
    with rasterio.open(tmp_path / "layers" / f"{TILE}_radar_density.tif") as file:
        shown, cells = file.read(1), store.read(made.run, store.EVIDENCE, TILE, "radar_density")
        np.testing.assert_array_equal(shown, np.kron(cells, np.ones((50, 50)))[:SIZE, :SIZE])
        assert (file.scales[0], file.nodata) == (1e-4, CODE_NODATA)
        assert file.transform == Affine(10, 0, 699960, 0, -10, 5200000)


def test_layers_of_a_part_of_a_tile_show_the_cells_that_lie_there(archive, tmp_path):
    made = store_run(archive, tmp_path / "run", only=1, **maps())
    tail.write(made.run, asked_of(made, *BOTH))
    run = opened(made)
    found = {layer.name: layer.array for layer in layers.layers_of(run, TILE)}
    cells = store.read(made.run, store.EVIDENCE, TILE, "radar_density")
    whole = np.kron(cells, np.ones((50, 50)))
    rows, columns = run.seen(TILE)
    assert rows.stop < SIZE
    np.testing.assert_array_equal(found["radar_density"].to_numpy(), whole[rows, columns])
