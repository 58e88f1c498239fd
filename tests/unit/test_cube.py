"""Scenes of a tile to reflectance, quality bits and composites."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  # adds .rio
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy.ndimage import maximum_filter

from lspipe import catalogs, preprocess
from lspipe.cube import composite, kernels, loaders, masked, offsets, scene
from lspipe.cube.choice import Step, choose
from lspipe.cube.loaders import source
from lspipe.cube.masked import masked_shares
from lspipe.cube.offsets import radiometry_of_pixels
from lspipe.cube.opening import open_cube
from lspipe.cube.spec import CubeSpec
from lspipe.errors import AreaError, LoadError, RadiometryError, UsageError
from lspipe.preprocess import MaskSpec
from lspipe.schema import CUBE_NODATA, SCL_CLASSES, Quality
from lspipe.search.acquisitions import Acquisition, Tile
from tests.properties import examples
from tests.scenes import TILES, left_of, make_scene, right_of, rolling_hills

if TYPE_CHECKING:
    from pathlib import Path

    import pystac
    import xarray as xr

# rasterio's warper silences this warning of its own in a way that is not safe between threads.
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

SIZE = 240
BANDS = ("B04", "B11")
NO_MASK = MaskSpec(scl=(), dilate_px=0)
EVERYWHERE = np.ones((SIZE, SIZE), bool)


def grid(tile: str = "18GYS", size: int = SIZE) -> GeoBox:
    corner = TILES[tile]
    affine = rasterio.Affine(10, 0, corner.left, 0, -10, corner.top)
    return GeoBox((size, size), affine, f"EPSG:{corner.epsg}")


def acquisition(*items: pystac.Item) -> Acquisition:
    return Acquisition(min(catalogs.sensing_time(item) for item in items), items)


def tile_of(*acquisitions: Acquisition) -> Tile:
    return Tile("18GYS", grid(), {"before": (), "after": acquisitions})


def opened(
    *acquisitions: Acquisition,
    bands: tuple[str, ...] = BANDS,
    chunk: int = 100,
    geobox: GeoBox | None = None,
    radiometry: dict | None = None,
    **settings,
) -> xr.Dataset:
    step = Step(role="after", acquisitions=acquisitions)
    geobox = geobox or grid()
    decided = {
        (item.id, catalogs.band_assets(item)[band]): preprocess.radiometry(
            item, catalogs.band_assets(item)[band]
        )
        for item in step.items
        for band in bands
    }
    return open_cube(
        step,
        geobox,
        bands=bands,
        radiometry={**decided, **(radiometry or {})},
        spec=CubeSpec(**settings),
        chunks=tuple(cut(length, chunk) for length in geobox.shape),
    )


def cut(length: int, chunk: int) -> tuple[int, ...]:
    rest = length % chunk
    return (chunk,) * (length // chunk) + ((rest,) if rest else ())


def centres(factor: int = 1) -> tuple[np.ndarray, np.ndarray]:
    axis = np.arange(0, SIZE, factor) + factor / 2
    return tuple(np.meshgrid(axis, axis, indexing="ij"))


def true_reflectance(band: str) -> np.ndarray:
    return rolling_hills(band, *centres())


# --- reflectance --------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", ["02.06", "05.10"])
@pytest.mark.parametrize("keys", ["common", "bands"])
def test_reflectance_is_that_of_the_ground_whatever_the_baseline(
    baseline: str, keys: str, tmp_path: Path
) -> None:
    expected = np.rint(true_reflectance("B04") * 10000)
    item = make_scene(tmp_path, baseline=baseline, keys=keys)
    cube = opened(acquisition(item))
    assert cube["reflectance"].dtype == np.int16
    np.testing.assert_array_equal(cube["reflectance"].sel(band="B04"), expected)
    # 20 m bands are interpolated: as good as the ground is smooth.
    away = np.abs(cube["reflectance"].sel(band="B11") - true_reflectance("B11") * 10000)
    assert float(away.max()) < 100
    assert not cube["quality"].any()


def test_negative_reflectance_is_kept_and_dn_of_the_offset_is_not_no_data(tmp_path: Path) -> None:
    item = make_scene(
        tmp_path, baseline="05.10", values=lambda _, rows, columns: (columns - rows) / 1e4
    )
    rows, columns = centres()
    cube = opened(acquisition(item), bands=("B04",))
    np.testing.assert_array_equal(cube["reflectance"][0], columns - rows)
    assert not cube["quality"].any()


def test_no_data_is_tested_on_raw_numbers_before_the_offset(tmp_path: Path) -> None:
    rows, columns = centres()
    missing = left_of(60)(rows, columns)
    item = make_scene(tmp_path, baseline="05.10", wedge=left_of(60), declare_nodata=False)
    cube = opened(acquisition(item), bands=("B04",), mask=NO_MASK)
    found = cube["reflectance"][0].to_numpy()
    np.testing.assert_array_equal(found == CUBE_NODATA, missing)
    np.testing.assert_array_equal(cube["quality"], np.where(missing, Quality.NODATA, 0))
    np.testing.assert_array_equal(cube["acquired"] == 0, missing)
    assert found[~missing].min() > 0


def test_items_of_one_tile_with_different_baselines_are_each_corrected_by_their_own(
    tmp_path: Path,
) -> None:
    expected = np.rint(true_reflectance("B04") * 10000)
    old = make_scene(tmp_path, name="old", wedge=left_of(120), baseline="02.06")
    new = make_scene(tmp_path, name="new", wedge=right_of(120), baseline="05.10")
    cube = opened(acquisition(new, old), bands=("B04",), mask=NO_MASK)
    np.testing.assert_array_equal(cube["reflectance"][0], expected)


def test_an_undecided_offset_is_refused(tmp_path: Path) -> None:
    item = make_scene(tmp_path)
    undecided = preprocess.Radiometry(1e-4, None, "flag and baseline disagree")
    cube = opened(acquisition(item), radiometry={(item.id, "red"): undecided})
    with pytest.raises(RadiometryError, match="flag and baseline disagree"):
        cube.compute()


# --- the mask -----------------------------------------------------------------------------------


def expected_quality(scl: np.ndarray, px: int) -> np.ndarray:
    """Whole-array: bits by class, then a square around clouds and shadows."""
    bits = np.zeros(scl.shape, np.uint8)
    for name, bit in {
        "nodata": Quality.NODATA,
        "saturated": Quality.OTHER,
        "shadow": Quality.SHADOW,
        "cloud_medium": Quality.CLOUD,
        "cloud_high": Quality.CLOUD,
        "cirrus": Quality.CLOUD,
        "snow": Quality.SNOW,
    }.items():
        bits[scl == SCL_CLASSES[name]] = bit
    core = np.isin(bits, (Quality.CLOUD, Quality.SHADOW))
    bits[maximum_filter(core, 2 * px + 1) & ~core] |= np.uint8(Quality.DILATED)
    return bits


@given(seed=st.integers(0, 9), px=st.integers(0, 7), chunk=st.sampled_from([96, 40, 13]))
@examples(10)
def test_the_mask_and_its_dilation_do_not_depend_on_chunks(
    seed: int, px: int, chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    classes = np.where(rng.random((48, 48)) < 0.02, rng.integers(0, 12, (48, 48)), 4)
    scl = np.repeat(np.repeat(classes, 2, 0), 2, 1).astype(np.uint8)
    expected = expected_quality(scl, px)
    folder = tmp_path_factory.mktemp("mask")
    item = make_scene(folder, size=96, scl=classes.astype(np.uint8), bands=("B04",))
    cube = opened(
        acquisition(item),
        bands=("B04",),
        geobox=grid(size=96),
        chunk=chunk,
        mask=MaskSpec(dilate_px=px),
    )
    assert cube["quality"].data.chunks == (cut(96, chunk), cut(96, chunk))
    np.testing.assert_array_equal(cube["quality"], expected)
    np.testing.assert_array_equal(cube["scl"], scl)


def test_masked_pixels_keep_their_values(tmp_path: Path) -> None:
    item = make_scene(tmp_path, clouds=[(100, 100, 30)])
    cube = opened(acquisition(item), bands=("B04",)).compute()
    under = (cube["quality"] & Quality.CLOUD) != 0
    assert int(under.sum()) > 2000
    # Nearly all: the rim of a 20 m class is wider than the disc at 10 m.
    assert float((cube["reflectance"][0].where(under) == 9000).sum() / under.sum()) > 0.95
    assert not (cube["reflectance"] == CUBE_NODATA).any()
    # They were acquired, though nobody saw the ground.
    assert (cube["acquired"] == 17546).all()  # date -d 2018-01-15 +%s / 86400


def test_each_band_has_the_offset_that_was_decided_for_it(tmp_path: Path) -> None:
    item = make_scene(tmp_path, bands=BANDS, values=lambda *_: np.float64(0.3))
    lower = {(item.id, "swir16"): preprocess.Radiometry(1e-4, -0.1, "test")}
    cube = opened(acquisition(item), radiometry=lower).compute()
    assert (cube["reflectance"].sel(band="B04") == 3000).all()
    assert (cube["reflectance"].sel(band="B11") == 2000).all()


def test_only_required_bands_decide_what_is_observed(tmp_path: Path) -> None:
    item = make_scene(tmp_path, bands=BANDS, scl=None, wedge=left_of(60))
    whole = make_scene(tmp_path, name="whole", bands=BANDS, scl=None)
    item.assets["swir16"].href = whole.assets["swir16"].href
    decided = {(item.id, key): preprocess.Radiometry(1e-4, 0.0, "") for key in ("red", "swir16")}
    missing = left_of(60)(*centres())
    for required, expected in ((("B11",), False), (("B04",), missing), (None, missing)):
        cube = open_cube(
            Step(role="after", acquisitions=(acquisition(item),)),
            grid(),
            bands=BANDS,
            radiometry=decided,
            spec=CubeSpec(mask=NO_MASK),
            chunks=((SIZE,), (SIZE,)),
            required=required,
        ).compute()
        np.testing.assert_array_equal(
            cube["quality"] == Quality.NODATA, expected | (missing & False)
        )
        np.testing.assert_array_equal(cube["acquired"] == 0, expected | (missing & False))


def test_scene_classes_are_only_needed_by_a_mask(tmp_path: Path) -> None:
    item = make_scene(tmp_path, scl=None)
    with pytest.raises(UsageError, match=rf"{item.id} has no scene classes.*cube\.mask\.scl"):
        opened(acquisition(item))
    cube = opened(acquisition(item), mask=NO_MASK)
    assert not cube["quality"].any()
    assert not cube["scl"].any()


# --- reads that fail ----------------------------------------------------------------------------


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
def test_a_failed_read_is_an_error_or_sets_its_bit(loader: str, tmp_path: Path) -> None:
    item = make_scene(tmp_path)
    sound = opened(acquisition(item)).compute()
    (tmp_path / item.id / "B11.tif").unlink()
    with pytest.raises(LoadError, match=f"swir16 of {item.id}"):
        opened(acquisition(item), loader=loader).compute()
    cube = opened(acquisition(item), loader=loader, on_read_error="nodata").compute()
    assert (cube["quality"] == Quality.NODATA | Quality.READ_ERROR).all()
    assert (cube["reflectance"].sel(band="B11") == CUBE_NODATA).all()
    assert cube["reflectance"].sel(band="B04").identical(sound["reflectance"].sel(band="B04"))


def test_scene_classes_that_cannot_be_read_are_not_taken_for_clear(tmp_path: Path) -> None:
    item = make_scene(tmp_path)
    (tmp_path / item.id / "SCL.tif").unlink()
    cube = opened(acquisition(item), on_read_error="nodata").compute()
    assert (cube["quality"] == Quality.NODATA | Quality.READ_ERROR).all()
    assert not cube["scl"].any()


def test_a_band_that_the_item_lacks_is_named(tmp_path: Path) -> None:
    item = make_scene(tmp_path, bands=("B02", "B04"))
    step = Step(role="after", acquisitions=(acquisition(item),))
    with pytest.raises(UsageError, match=f"{item.id} has no asset for B8A, B11: it has B02, B04"):
        open_cube(
            step,
            grid(),
            bands=("B04", "B8A", "B11"),
            radiometry={},
            spec=CubeSpec(),
            chunks=((SIZE,), (SIZE,)),
        )


# --- mosaics ------------------------------------------------------------------------------------


def test_complementary_halves_make_one_acquisition(tmp_path: Path) -> None:
    expected = opened(acquisition(make_scene(tmp_path, name="whole"))).compute()
    west = make_scene(tmp_path, name="west", wedge=right_of(130))
    east = make_scene(tmp_path, name="east", wedge=left_of(110), time="2018-01-15T14:38:05Z")
    cube = opened(acquisition(west, east)).compute()
    assert not cube["quality"].any()
    np.testing.assert_array_equal(cube["reflectance"][0], expected["reflectance"][0])
    np.testing.assert_array_equal(cube["acquired"], expected["acquired"])
    # At 20 m the interpolation ends at each half's own edge.
    rows, columns = centres()
    away = np.abs(columns + 0.1 * rows - 130) > 4
    both = cube["reflectance"][1].to_numpy(), expected["reflectance"][1].to_numpy()
    np.testing.assert_array_equal(both[0][away], both[1][away])


def test_the_rim_of_a_cloud_reaches_over_the_seam_of_two_halves(tmp_path: Path) -> None:
    # Each half shows ground on its own side only; the cloud ends where the halves meet.
    west_side = centres()[1] < 120
    west = make_scene(
        tmp_path, name="west", wedge=lambda _, columns: columns >= 120, clouds=[(60, 108, 10)]
    )
    east = make_scene(tmp_path, name="east", wedge=lambda _, columns: columns < 120)
    cube = opened(acquisition(west, east), bands=("B04",), mask=MaskSpec(dilate_px=9)).compute()
    quality = cube["quality"].to_numpy()
    cloud = (quality & Quality.CLOUD) != 0
    assert not (cloud & ~west_side).any()
    reached = maximum_filter(cloud, 19) & ~cloud
    assert np.count_nonzero(reached & ~west_side) > 20
    np.testing.assert_array_equal(quality, np.where(cloud, 4, np.where(reached, 32, 0)))


def test_where_parts_overlap_the_first_that_sees_a_pixel_wins(tmp_path: Path) -> None:
    bright = make_scene(tmp_path, name="bright", values=lambda *_: np.float64(0.5))
    dark = make_scene(
        tmp_path, name="dark", values=lambda *_: np.float64(0.1), wedge=left_of(60), scl=5
    )
    rows, columns = centres()
    gap = left_of(60)(rows, columns)
    first_dark = opened(acquisition(dark, bright), bands=("B04",), mask=NO_MASK).compute()
    np.testing.assert_array_equal(first_dark["reflectance"][0], np.where(gap, 5000, 1000))
    np.testing.assert_array_equal(first_dark["scl"][::2, ::2] == 4, gap[::2, ::2])
    first_bright = opened(acquisition(bright, dark), bands=("B04",), mask=NO_MASK).compute()
    assert (first_bright["reflectance"] == 5000).all()
    assert (first_bright["scl"] == 4).all()


# --- choosing -----------------------------------------------------------------------------------


def days_of_january(folder: Path, *clouds: list[tuple[int, int, int]]) -> list[Acquisition]:
    return [
        acquisition(
            make_scene(folder, time=f"2018-01-{5 + 5 * n:02d}T14:37:51Z", clouds=c, bands=("B04",))
        )
        for n, c in enumerate(clouds)
    ]


def test_best_has_the_fewest_masked_pixels_over_the_area_only(tmp_path: Path) -> None:
    # Cloudier, but not over the area; least clouds, but all over it; as clear there, and later.
    first, second, third = days_of_january(
        tmp_path, [(180, 180, 55)], [(60, 60, 40)], [(200, 200, 20)]
    )
    area = np.zeros((SIZE, SIZE), bool)
    area[20:101, 20:101] = True
    choice = choose(tile_of(third, second, first), "after", CubeSpec(), area_mask=area)
    assert choice.steps == (Step(role="after", acquisitions=(first,)),)
    assert [c["chosen"] for c in choice.candidates] == [True, False, False]
    assert [c["items"] for c in choice.candidates] == [
        [first.items[0].id], [second.items[0].id], [third.items[0].id]
    ]  # fmt: skip
    assert choice.candidates[0]["masked_share"] == 0
    assert 0.5 < choice.candidates[1]["masked_share"] < 0.9
    whole = choose(tile_of(first, second, third), "after", CubeSpec(), area_mask=EVERYWHERE)
    assert whole.steps[0].acquisitions == (third,)


# Pieces of 21 leave a last one of a pixel, less than a rim of 4 px is wide.
@pytest.mark.parametrize("piece", [masked.CHUNK, 21])
@pytest.mark.parametrize("px", [0, 4])
def test_masked_shares_are_those_of_the_cube(
    px: int, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masked, "CHUNK", piece)
    # A swath that ends between pixels of 20 m, where bands and classes agree.
    item = make_scene(
        tmp_path, clouds=[(61, 91, 33), (10, 200, 20)], wedge=lambda _, columns: columns < 30
    )
    scene = acquisition(item)
    spec = CubeSpec(mask=MaskSpec(dilate_px=px))
    area = np.zeros((SIZE, SIZE), bool)
    area[40:160, 20:220] = True
    quality = opened(scene, bands=("B04",), mask=spec.mask)["quality"].to_numpy()
    (share,) = masked_shares([scene], grid(), spec, area_mask=area)
    assert share == pytest.approx((quality[area] != 0).mean(), abs=1e-9)


@pytest.mark.parametrize(("px", "as_if"), [(3, 4), (4, 4)])
def test_shares_are_of_the_pixels_of_20_m_that_touch_the_area(
    px: int, as_if: int, tmp_path: Path
) -> None:
    # A cloud that ends just north of the area, whose rim (rounded up) reaches into it; odd edges.
    scene = acquisition(make_scene(tmp_path, clouds=[(10, 120, 20), (200, 60, 9)]))
    area = np.zeros((SIZE, SIZE), bool)
    area[31:161, 19:221] = True
    area[31, 100] = False
    coarse = area.reshape(120, 2, 120, 2).any(axis=(1, 3))
    mask = MaskSpec(dilate_px=as_if)
    quality = opened(scene, bands=("B04",), mask=mask)["quality"].to_numpy()[::2, ::2]
    expected = (quality[coarse] != 0).mean()
    assert expected > 0
    spec = CubeSpec(mask=MaskSpec(dilate_px=px))
    assert masked_shares([scene], grid(), spec, area_mask=area) == [pytest.approx(expected)]


def test_equal_times_are_ordered_by_id(tmp_path: Path) -> None:
    one, two = (acquisition(make_scene(tmp_path, name=name)) for name in ("a", "b"))
    for scenes in ((one, two), (two, one)):
        each = choose(tile_of(*scenes), "after", CubeSpec(composite="each"), area_mask=EVERYWHERE)
        assert [step.acquisitions for step in each.steps] == [(one,), (two,)]
        best = choose(tile_of(*scenes), "after", CubeSpec(), area_mask=EVERYWHERE)
        assert best.steps[0].acquisitions == (one,)


@pytest.mark.parametrize(
    ("span", "length", "expected"),
    [
        ((0, 100), 10980, (0, 1830)),
        ((5000, 5100), 10980, (4135, 5965)),
        ((10900, 10980), 10980, (9150, 10980)),
        ((3000, 6000), 10980, (3000, 6000)),
        ((0, 10980), 10980, (3660, 7320)),
        ((50, 60), 240, (0, 240)),
    ],
)
def test_the_look_is_around_the_area_and_inside_the_tile(span, length, expected) -> None:
    found = offsets._around_centre(slice(*span), length)
    assert (found.start, found.stop) == expected


def test_an_offset_is_told_from_pixels_around_the_area_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offsets, "_SHORTEST", 60)
    monkeypatch.setattr(offsets, "_LONGEST", 80)
    # A lake in the west, which would be dark either way, and a desert in the east.
    item = make_scene(
        tmp_path, baseline="05.10", offset=0.0,
        values=lambda _, _rows, columns: np.where(columns < 120, 0.02, 0.6),
    )  # fmt: skip
    west, east = np.zeros((2, SIZE, SIZE), bool)
    west[100:110, 20:30] = east[100:110, 200:210] = True
    assert radiometry_of_pixels(item, grid(), CubeSpec(), area_mask=west).offset == 0
    with pytest.raises(RadiometryError, match="fits both"):
        radiometry_of_pixels(item, grid(), CubeSpec(), area_mask=east)


def test_no_data_over_the_area_counts_as_masked_with_or_without_scene_classes(
    tmp_path: Path,
) -> None:
    half = make_scene(tmp_path, name="half", wedge=left_of(120))
    plain = make_scene(tmp_path, name="plain", wedge=left_of(120), scl=None)
    for item in (half, plain):
        spec = CubeSpec(mask=NO_MASK)
        (share,) = masked_shares([acquisition(item)], grid(), spec, area_mask=EVERYWHERE)
        assert share == pytest.approx(0.45, abs=0.01)


def test_halves_of_one_acquisition_are_judged_together(tmp_path: Path) -> None:
    west = make_scene(tmp_path, name="west", wedge=right_of(130))
    east = make_scene(tmp_path, name="east", wedge=left_of(110))
    shares = masked_shares(
        [acquisition(west), acquisition(east, west)], grid(), CubeSpec(), area_mask=EVERYWHERE
    )
    assert shares[0] > 0.4
    assert shares[1] == 0


def test_latest_median_and_each_read_nothing(tmp_path: Path) -> None:
    scenes = days_of_january(tmp_path, [], [], [])
    for file in tmp_path.rglob("*.tif"):
        file.unlink()
    tile = tile_of(*reversed(scenes))

    def steps(composite: str) -> list[tuple[Acquisition, ...]]:
        choice = choose(tile, "after", CubeSpec(composite=composite), area_mask=EVERYWHERE)
        assert all(c["masked_share"] is None for c in choice.candidates)
        return [step.acquisitions for step in choice.steps]

    assert steps("latest") == [(scenes[2],)]
    assert steps("median") == [tuple(scenes)]
    assert steps("each") == [(scene,) for scene in scenes]
    only = choose(tile_of(scenes[0]), "after", CubeSpec(), area_mask=EVERYWHERE)
    assert only.steps[0].acquisitions == (scenes[0],)


def test_the_time_of_a_median_is_that_of_the_middle_acquisition(tmp_path: Path) -> None:
    scenes = days_of_january(tmp_path, [], [], [], [])
    assert Step(role="after", acquisitions=tuple(scenes)).time == scenes[1].time
    assert Step(role="after", acquisitions=tuple(scenes[:3])).time == scenes[1].time


def test_an_area_beside_the_tile_is_refused(tmp_path: Path) -> None:
    scenes = days_of_january(tmp_path, [], [])
    with pytest.raises(AreaError, match="no pixel of the tile inside the area"):
        choose(tile_of(*scenes), "after", CubeSpec(), area_mask=~EVERYWHERE)


# --- median -------------------------------------------------------------------------------------


def test_the_median_is_that_of_the_unmasked_values(tmp_path: Path) -> None:
    scenes = []
    for n, clouds in enumerate(
        ([(80, 80, 40)], [(80, 120, 40), (190, 60, 20)], [(100, 100, 45)], [(90, 100, 60)])
    ):
        item = make_scene(
            tmp_path,
            time=f"2018-01-{5 + 5 * n:02d}T14:37:51Z",
            values=lambda band, rows, columns, n=n: rolling_hills(band, rows + 3 * n, columns),
            clouds=clouds,
            wedge=left_of(20 * n),
            baseline="02.06" if n % 2 else "05.09",
            scl=(4, 5, 6, 7)[n],
        )
        scenes.append(acquisition(item))
    single = [opened(scene).compute() for scene in scenes]
    values = np.stack([cube["reflectance"] for cube in single]).astype(float)
    clear = np.stack([cube["quality"] for cube in single]) == 0
    seen = clear.any(axis=0)
    values[~np.broadcast_to(clear[:, None], values.shape)] = np.nan
    expected = np.rint(np.nanmedian(values[..., seen], axis=0))

    cube = opened(*scenes, composite="median", chunk=61).compute()
    assert 0 < seen.mean() < 1
    np.testing.assert_array_equal(cube["reflectance"].to_numpy()[:, seen], expected)
    np.testing.assert_array_equal(cube["quality"] == 0, seen)
    for name in ("reflectance", "quality", "scl", "acquired"):
        np.testing.assert_array_equal(
            cube[name].to_numpy()[..., ~seen], single[0][name].to_numpy()[..., ~seen]
        )
    first = np.argmax(clear, axis=0)[seen]
    classes = np.stack([cube["scl"] for cube in single])[:, seen]
    assert len(np.unique(classes)) > 4
    np.testing.assert_array_equal(
        cube["scl"].to_numpy()[seen], np.take_along_axis(classes, first[None], 0)[0]
    )
    days = np.stack([cube["acquired"] for cube in single])
    at = (120, 235)  # seen by all four
    assert clear[:, *at].all()
    assert cube["acquired"].to_numpy()[at] == sorted(days[:, *at])[1]


@given(
    count=st.integers(1, 7),
    seed=st.integers(0, 1000),
    masked=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
)
@examples(40)
def test_median_values_equal_nanmedian(count: int, seed: int, masked: float) -> None:
    rng = np.random.default_rng(seed)
    shape = (kernels.STRIP + 3, 5)
    values = rng.integers(-999, 31768, (count, 3, *shape)).astype(np.int16)
    quality = (rng.random((count, *shape)) < masked).astype(np.uint8) * 4
    seen = (quality == 0).any(axis=0)
    reference = np.where(quality[:, None] == 0, values.astype(float), np.nan)
    expected = values[0].copy()
    if seen.any():
        expected[:, seen] = np.rint(np.nanmedian(reference[..., seen], axis=0))
    found = composite._median_values(*values, *quality, count=count)
    np.testing.assert_array_equal(found, expected)


@given(count=st.integers(1, 7), seed=st.integers(0, 1000))
@examples(40)
def test_days_and_classes_of_a_median_are_those_of_the_unmasked_layers(count, seed) -> None:
    rng = np.random.default_rng(seed)
    # Not in order: of one time step, an item of the day before may fill the gaps of another.
    days = rng.integers(0, 30000, (count, 4, 5)).astype(np.uint16)
    classes = rng.integers(0, 12, (count, 4, 5)).astype(np.uint8)
    quality = (rng.random((count, 4, 5)) < 0.5).astype(np.uint8) * 4
    expected, first = days[0].copy(), classes[0].copy()
    for pixel in np.ndindex(4, 5):
        clear = np.flatnonzero(quality[:, *pixel] == 0)
        if clear.size:
            ordered = sorted(days[clear, *pixel].tolist())
            expected[pixel] = ordered[(len(ordered) - 1) // 2]
            first[pixel] = classes[clear[0], *pixel]
    found = composite._median_days(*days, *quality, count=count)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(composite._first_clear(*classes, *quality, count=count), first)


def test_reading_by_strips_is_reading_at_once() -> None:
    random = np.random.default_rng(3)
    shape = (3, 2 * kernels.STRIP + 5, 7)
    numbers = random.integers(0, 12, shape).astype(np.uint16) * 400
    numbers[random.random(shape) < 0.02] = loaders.READ_FAILED
    numbers[:, kernels.STRIP : 2 * kernels.STRIP] = 900  # a strip without a gap
    numbers[-1] = random.integers(0, 12, shape[1:])
    decided = [preprocess.Radiometry(1e-4, -0.1, "one"), preprocess.Radiometry(1e-4, 0.0, "two")]
    bands, classes = numbers[:-1].astype(int), numbers[-1].astype(int)
    missing = (bands == 0) | (bands == loaders.READ_FAILED)
    offsets = np.array([-1000, 0])[:, None, None]
    expected = np.where(missing, CUBE_NODATA, np.clip(bands + offsets, -999, 32767))
    np.testing.assert_array_equal(scene._reflectance(numbers, decided=decided), expected)
    channels = kernels.in_place_of(in_a_larger_array(numbers), 2, 0)
    found = scene._reflectance(channels.view(np.uint16), decided=decided, out=channels)
    np.testing.assert_array_equal(found, expected)
    bits = np.where(classes == SCL_CLASSES["cloud_high"], Quality.CLOUD, 0)
    bits = np.where((bands == 0).any(0), bits | Quality.NODATA, bits)
    failed = (bands == loaders.READ_FAILED).any(0)
    bits = np.where(failed, bits | Quality.NODATA | Quality.READ_ERROR, bits)
    found = scene._quality(numbers, needed=[0, 1], classes=2, masked=("cloud_high",))
    np.testing.assert_array_equal(found, bits)


def in_a_larger_array(numbers: np.ndarray) -> np.ndarray:
    """Return numbers as the loader returns them."""
    found = kernels.with_room(len(numbers), numbers.shape[1:])
    found[:] = numbers
    return found


@pytest.mark.parametrize("room", [0, 1, kernels.SPARE])
def test_channels_take_the_memory_of_their_numbers(room: int) -> None:
    numbers = np.arange(4 * 500 * 500, dtype=np.uint16).reshape(4, 500, 500)
    given = in_a_larger_array(numbers)
    place = given.ctypes.data
    channels = kernels.in_place_of(given, 3, room)
    del given
    np.testing.assert_array_equal(channels.view(np.uint16), numbers[:3])
    assert channels.base.shape == (3 + room, 500, 500)
    assert channels.ctypes.data == place


@pytest.mark.parametrize("layers", [4, 8])
def test_numbers_that_others_may_use_are_copied(layers: int) -> None:
    numbers = np.arange(layers * 20, dtype=np.uint16).reshape(layers, 4, 5).copy()
    before = numbers.copy()
    for some in (numbers, numbers[:4]):
        channels = kernels.in_place_of(some, 2, 1)
        np.testing.assert_array_equal(channels.view(np.uint16), before[:2])
        channels[:] = -1
        np.testing.assert_array_equal(numbers, before)


def test_layers_are_put_where_channels_have_room_and_else_beside_them() -> None:
    layers = {str(number): np.full((4, 5), number, np.int16) for number in (7, 8)}
    values = list(layers.values())
    unread = kernels.Unread(tuple(layers), lambda out: np.copyto(out, values))
    channels = kernels.in_place_of(np.arange(80, dtype=np.uint16).reshape(4, 4, 5), 3, 2)
    for more in (layers, unread):
        assert np.shares_memory(kernels.followed_by(channels, more), channels)
        assert not np.shares_memory(kernels.followed_by(channels[:2], more), channels)
        for some in (channels, channels[:2], channels.copy()):
            expected = np.concatenate([some, values])
            np.testing.assert_array_equal(kernels.followed_by(some, more), expected)
            channels.base[3:] = 0


# --- the lazy cube ------------------------------------------------------------------------------


def test_chunking_and_loader_never_change_a_pixel(tmp_path: Path) -> None:
    scene = acquisition(
        make_scene(tmp_path, clouds=[(70, 90, 30)], wedge=left_of(50), baseline="05.10")
    )
    expected = opened(scene, chunk=SIZE).compute()
    for loader in ("odc", "stackstac"):
        for chunk in (61, 100, 122):
            cube = opened(scene, chunk=chunk, loader=loader)
            for variable in cube.values():
                assert variable.data.chunks[-2:] == (cut(SIZE, chunk), cut(SIZE, chunk))
            assert cube["reflectance"].data.numblocks[0] == 1
            assert cube.compute().identical(expected)


def test_georeferencing_is_exact(tmp_path: Path) -> None:
    item = make_scene(tmp_path, tile="19GBP", time="2020-02-20T14:37:51Z")
    cube = opened(acquisition(item), geobox=grid("19GBP"))
    with rasterio.open(item.assets["red"].href) as file:
        assert cube["reflectance"].rio.transform() == file.transform
        assert cube["quality"].rio.crs == file.crs
        assert tuple(cube["reflectance"].rio.bounds()) == tuple(file.bounds)
    assert cube["time"].to_numpy() == np.datetime64("2020-02-20T14:37:51")
    assert list(cube["band"].values) == list(BANDS)
    assert (cube["acquired"] == 18312).all()  # date -d 2020-02-20 +%s / 86400


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
def test_a_cube_of_a_whole_tile_is_lazy_and_quickly_made(
    loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = make_scene(tmp_path, bands=("B02", "B03", "B04", "B08", "B11"))
    asked = []
    real = rasterio.open
    monkeypatch.setattr(rasterio, "open", lambda *a, **k: asked.append(a[0]) or real(*a, **k))
    began = time.process_time()
    cube = opened(
        acquisition(item),
        bands=("B02", "B03", "B04", "B08", "B11"),
        geobox=grid(size=10980),
        chunk=3660,
        loader=loader,
    )
    dict(cube["reflectance"].__dask_graph__())
    dict(cube["quality"].__dask_graph__())
    assert time.process_time() - began < 1
    assert asked == []


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
def test_a_block_reads_its_own_chunks_once(
    loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = make_scene(tmp_path)
    cube = opened(acquisition(item), chunk=60, loader=loader)
    reads = []
    real = source.read
    monkeypatch.setattr(
        source, "read", lambda asset, pixels: reads.append(asset.asset) or real(asset, pixels)
    )
    cube["reflectance"].data.blocks[0, 1, 1].compute(scheduler="synchronous")
    # Its bands and its classes come by one task; none of its neighbours, dilated or not.
    assert sorted(reads) == ["red", "scl", "swir16"]
    reads.clear()
    cube.compute(scheduler="synchronous")
    assert sorted(reads) == ["red"] * 16 + ["scl"] * 16 + ["swir16"] * 16


# --- offsets that only pixels tell --------------------------------------------------------------


@pytest.mark.parametrize(("shifted", "offset"), [(True, 0.0), (False, -0.1)])
def test_the_offset_is_told_from_clear_pixels_around_the_area(
    shifted: bool, offset: float, tmp_path: Path
) -> None:
    item = make_scene(
        tmp_path,
        baseline="05.10",
        offset=0.0 if shifted else -0.1,
        values=lambda _, rows, columns: 0.02 + 0.0002 * (rows + columns),
        clouds=[(60, 60, 40)],
        wedge=left_of(40),
    )
    found = radiometry_of_pixels(item, grid(), CubeSpec(), area_mask=EVERYWHERE)
    assert found.offset == offset


def test_too_few_clear_pixels_to_tell_the_offset_is_an_error(tmp_path: Path) -> None:
    item = make_scene(tmp_path, baseline="05.10", scl=9)
    with pytest.raises(RadiometryError, match="0 clear red pixels"):
        radiometry_of_pixels(item, grid(), CubeSpec(), area_mask=EVERYWHERE)


def test_clouds_do_not_decide_an_offset(tmp_path: Path) -> None:
    # Raw, and so cloudy that hardly a pixel of all is as dark as vegetation.
    item = make_scene(
        tmp_path, baseline="05.10", values=lambda *_: np.float64(0.03), clouds=[(120, 120, 150)]
    )
    found = radiometry_of_pixels(item, grid(), CubeSpec(), area_mask=EVERYWHERE)
    assert found.offset == -0.1
