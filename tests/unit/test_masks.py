"""Sources of cloud masks: one contract for all, and the same bits however a tile is cut."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from lspipe.cube.choice import choose
from lspipe.cube.masking import Place, masked_by, reach_of, windows_along
from lspipe.cube.spec import CubeSpec
from lspipe.errors import MissingExtra, ModelError, UsageError
from lspipe.inference import windows
from lspipe.preprocess import masks
from lspipe.preprocess.masks import MaskSpec, csmask, dilate
from lspipe.schema import CUBE_NODATA, OPTICAL_BANDS, Quality
from tests.mask_sources import write_mask_item
from tests.properties import examples
from tests.scenes import TILES, left_of, make_scene
from tests.unit.test_cube import EVERYWHERE, acquisition, opened, tile_of

# rasterio's warper silences this warning of its own in a way that is not safe between threads.
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

BRIGHT, WHITE = "tests.mask_sources:bright", "tests.mask_sources:white"
WINDOWED, ROUGH = "tests.mask_sources:above_its_window", "tests.mask_sources:rough"

CSMASK_BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
SEEN: dict[str, str] = {}
# The package as .ci/run keeps it, apart: 145 MB that no other test needs.
sys.path += map(str, Path(__file__).parents[2].glob(".venv-masks/lib/python3*/site-packages"))
HAS_CSMASK = importlib.util.find_spec("ukis_csmask") is not None
needs_csmask = pytest.mark.skipif(not HAS_CSMASK, reason='pip install "lspipe[csmask]"')

EVERY = [
    pytest.param(name, marks=[needs_csmask] if name == "csmask" else [])
    for name in (*masks.SOURCES, BRIGHT, WHITE, WINDOWED, ROUGH)
]


def dark(*_: object) -> np.float64:
    return np.float64(0.1)


def source(name: str) -> masks.MaskSource:
    (found,) = masks.sources(MaskSpec(source=name))
    return found


# --- the contract -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_a_source_says_what_it_reads_and_answers_in_quality_bits(name: str) -> None:
    one = source(name)
    assert one.bands == ("SCL",) or set(one.bands) <= set(OPTICAL_BANDS)
    assert set(one.levels) <= {"L1C", "L2A"}
    assert one.pixel_m % 10 == 0
    assert one.window is None or one.window > 2 * one.margin
    edge = one.window or 40
    pixels = np.full((len(one.bands), edge, edge), 0.05, np.float32)
    pixels[:, : edge // 2] = 9 if one.bands == ("SCL",) else 0.8
    if one.bands != ("SCL",):
        pixels[:, -3:] = np.nan
    for level in one.levels:
        bits = one.bits(pixels.copy(), level)
        assert (bits.dtype, bits.shape) == (np.uint8, (edge, edge))
        assert not (bits & ~np.uint8(2 | 4 | 8 | 16 | 1)).any()
        np.testing.assert_array_equal(one.bits(pixels.copy(), level), bits)


@pytest.mark.parametrize("name", EVERY)
def test_a_source_is_small_and_the_same_in_a_worker(name: str) -> None:
    one = source(name)
    sent = pickle.dumps(one)
    assert len(sent) < 2000
    assert pickle.loads(sent) == one  # noqa: S301 - made here
    assert json.loads(json.dumps(one.facts())) == pickle.loads(sent).facts()  # noqa: S301


@pytest.mark.parametrize("name", [name for name in masks.SOURCES if name != "csmask"])
def test_a_source_that_needs_no_package_answers_without_one(name: str) -> None:
    assert source(name).name == name


def test_none_masks_nothing_and_stands_alone() -> None:
    assert masks.sources(MaskSpec(source="none")) == ()
    with pytest.raises(ValueError, match="'none' beside others"):
        MaskSpec(source=("none", "scl"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tests.mask_sources:reads_nothing", "its attribute bands is None, expected names"),
        ("tests.mask_sources:nothing", "has no 'nothing'"),
        ("tests.no_such_module:bright", "no module 'tests.no_such_module'"),
        ("tests.mask_sources:Quality", "its attribute bands"),
    ],
)
def test_what_is_no_source_is_refused_by_name(name: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        source(name)


def test_an_answer_of_another_shape_is_refused() -> None:
    one = source("tests.mask_sources:of_another_shape")
    with pytest.raises(UsageError, match=r"returned uint8 \(1, 4, 4\), expected uint8 \(4, 4\)"):
        one.bits(np.zeros((1, 4, 4), np.float32), "L2A")


@pytest.mark.parametrize("name", ["csmaks", "sc", "module:", "masks.txt"])
def test_a_name_that_is_none_is_refused_with_what_is_possible(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected scl, csmask, none or .*path of a model item"):
        MaskSpec(source=name)


def test_a_package_that_is_not_installed_is_named_with_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(csmask, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r'ukis-csmask: pip install "lspipe\[csmask\]"'):
        csmask.source(MaskSpec(source="csmask"), "csmask")


@needs_csmask
def test_a_package_without_anything_that_runs_it_is_refused(monkeypatch) -> None:
    found = importlib.util.find_spec("ukis_csmask")
    monkeypatch.setattr(csmask, "find_spec", lambda name: found if "csmask" in name else None)
    with pytest.raises(MissingExtra, match="needs openvino or onnxruntime"):
        csmask.source(MaskSpec(source="csmask"), "csmask")


# --- the same bits however a tile is cut ---------------------------------------------------------


@given(length=st.integers(1, 400), window=st.integers(1, 90), margin=st.integers(0, 44))
@examples(100)
def test_windows_lie_on_the_lattice_and_answer_every_pixel_once(
    length: int, window: int, margin: int
) -> None:
    margin = min(margin, (window - 1) // 2)
    found = windows_along(length, window, margin)
    expected = windows.origins(length, window, window - 2 * margin)
    assert [one.start for one in found] == expected.tolist()
    answered = [pixel for one in found for pixel in range(one.own.start, one.own.stop)]
    assert answered == list(range(length))
    for one in found:
        assert one.start <= one.own.start
        assert one.own.stop <= max(length, one.start + window)
        is_first, is_last = one.start == 0, one.own.stop == length
        assert is_first or one.own.start - one.start >= margin
        assert is_last or one.start + window - one.own.stop >= margin


def by_hand(one: masks.MaskSource, codes: np.ndarray) -> np.ndarray:
    """The bits of a whole tile, window by window, as the definition says."""
    step = one.pixel_m // 10
    rows, columns = (-(-length // step) for length in codes.shape[1:])
    coarse = np.full((len(codes), rows, columns), np.nan, np.float32)
    for band, row, column in np.ndindex(coarse.shape):
        cell = codes[band, row * step : (row + 1) * step, column * step : (column + 1) * step]
        known = cell[cell != CUBE_NODATA].astype(int)
        if known.size:
            coarse[band, row, column] = known.sum() / known.size * 1e-4
    if one.window is None:
        bits = one.bits(coarse, "L2A")
    else:
        bits = np.zeros((rows, columns), np.uint8)
        for down in windows_along(rows, one.window, one.margin):
            for right in windows_along(columns, one.window, one.margin):
                seen = np.full((len(codes), one.window, one.window), np.nan, np.float32)
                part = coarse[:, down.start :, right.start :][:, : one.window, : one.window]
                seen[:, : part.shape[1], : part.shape[2]] = part
                if np.isnan(seen).all():
                    continue
                answer = np.full((rows + one.window, columns + one.window), 99, np.uint8)
                answer[down.start :, right.start :][: one.window, : one.window] = one.bits(
                    seen, "L2A"
                )
                bits[down.own, right.own] = answer[down.own, right.own]
    fine = bits.repeat(step, 0).repeat(step, 1)[: codes.shape[1], : codes.shape[2]].copy()
    fine[(codes == CUBE_NODATA).any(axis=0)] = 0
    return fine


def some_tile(seed: int, shape: tuple[int, int], bands: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    codes = random.integers(-200, 9000, (bands, *shape)).astype(np.int16)
    codes[:, : shape[0] // 3, : shape[1] // 2] = CUBE_NODATA
    codes[0, -1:, :] = CUBE_NODATA
    return codes


def cuts(draw: st.DrawFn, length: int) -> tuple[int, ...]:
    inner = sorted(draw(st.sets(st.integers(1, length - 1), max_size=4)))
    return tuple(np.diff([0, *inner, length]).tolist())


@st.composite
def cut_tiles(draw: st.DrawFn) -> tuple[int, tuple[int, int], tuple[tuple[int, ...], ...]]:
    shape = draw(st.integers(20, 130)), draw(st.integers(20, 130))
    return draw(st.integers(0, 9)), shape, tuple(cuts(draw, length) for length in shape)


@pytest.mark.parametrize("name", [WINDOWED, ROUGH])
@given(tile=cut_tiles())
@examples(25)
def test_chunking_never_changes_a_bit(name: str, tile) -> None:
    seed, shape, chunks = tile
    one = source(name)
    codes = some_tile(seed, shape, len(one.bands))
    bands = da.from_array(codes, chunks=(1, *chunks))
    found = masked_by(one, bands, level="L2A", place=Place((0, 0), shape))
    assert found.chunks == chunks
    np.testing.assert_array_equal(found.compute(scheduler="sync"), by_hand(one, codes))


@pytest.mark.parametrize("name", [WINDOWED, ROUGH])
@given(seed=st.integers(0, 9), corner=st.tuples(st.integers(0, 90), st.integers(0, 90)))
@examples(25)
def test_a_part_that_is_read_alone_has_the_bits_of_the_tile(name: str, seed, corner) -> None:
    one, shape = source(name), (150, 140)
    codes = some_tile(seed, shape, len(one.bands))
    part = tuple(slice(start, start + 40) for start in corner)
    reach = reach_of(one)
    wide = tuple(
        slice(max(0, span.start - reach), min(length, span.stop + reach))
        for span, length in zip(part, shape, strict=True)
    )
    place = Place((wide[0].start, wide[1].start), shape)
    bands = da.from_array(codes[:, *wide], chunks=-1)
    found = masked_by(one, bands, level="L2A", place=place).compute(scheduler="sync")
    inner = tuple(
        slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, wide, strict=True)
    )
    np.testing.assert_array_equal(found[inner], by_hand(one, codes)[part])


def test_a_window_without_data_of_its_own_is_not_asked(monkeypatch) -> None:
    one, asked = source(WINDOWED), []
    codes = np.full((2, 96, 96), CUBE_NODATA, np.int16)
    codes[:, :10, :10] = 1000
    answer = type(one).bits
    monkeypatch.setattr(
        type(one), "bits", lambda self, *given: asked.append(1) or answer(self, *given)
    )
    bands = da.from_array(codes, chunks=(2, 48, 48))
    masked_by(one, bands, level="L2A", place=Place((0, 0), (96, 96))).compute(scheduler="sync")
    assert len(asked) == 1


# --- in a cube ----------------------------------------------------------------------------------


def test_what_a_source_masks_is_cloud_in_the_cube_with_its_rim(tmp_path: Path) -> None:
    item = make_scene(tmp_path, values=dark, clouds=[(120, 90, 20)], scl=None)
    cube = opened(
        acquisition(item), bands=("B11", "B02"), mask=MaskSpec(source=WHITE, dilate_px=3),
        radiometry=radiometry_of(item),
    )  # fmt: skip
    whole = opened(acquisition(item), bands=("B02", "B04"), mask=MaskSpec(source="none"))
    blue, red = whole["reflectance"].to_numpy()
    bits = np.where((blue > 3000) & (red > 3000), np.uint8(Quality.CLOUD), np.uint8(0))
    assert 1000 < (bits != 0).sum() < 1400
    np.testing.assert_array_equal(cube["quality"], dilate(bits, 3))
    # What only the mask reads is not among the bands of the cube.
    assert cube["band"].values.tolist() == ["B11", "B02"]
    assert "disputed" not in cube


def radiometry_of(item, bands=("B02", "B04", "B11")):
    from lspipe import catalogs, preprocess

    keys = catalogs.band_assets(item)
    return {(item.id, keys[band]): preprocess.radiometry(item, keys[band]) for band in bands}


def test_of_two_masks_both_count_and_what_only_one_hides_is_disputed(tmp_path: Path) -> None:
    classes = np.full((120, 120), 4, np.uint8)
    classes[10:20, 10:20], classes[80:90, 80:90] = 9, 3  # no cloud in the pixels
    classes[30:40, 90:99] = 11  # snow, of which other masks know nothing
    item = make_scene(tmp_path, clouds=[(120, 90, 20)], scl=classes)
    settings = {"bands": ("B11",), "radiometry": radiometry_of(item)}
    first, second, both = (
        opened(acquisition(item), mask=MaskSpec(source=name, dilate_px=0), **settings).compute()
        for name in ("scl", BRIGHT, ("scl", BRIGHT))
    )
    np.testing.assert_array_equal(both["quality"], first["quality"] | second["quality"])
    hiding = np.uint8(Quality.CLOUD | Quality.SHADOW)
    expected = ((first["quality"] & hiding) != 0) != ((second["quality"] & hiding) != 0)
    np.testing.assert_array_equal(both["disputed"], expected)
    assert expected.any()
    assert not expected.all()


def test_a_gap_in_a_band_of_the_mask_alone_is_not_observed(tmp_path: Path) -> None:
    item = make_scene(tmp_path, bands=("B02", "B04", "B11"), values=dark, scl=None)
    gap = make_scene(
        tmp_path, name="gap", bands=("B02",), values=dark, scl=None, wedge=left_of(100)
    )
    item.assets["blue"] = gap.assets["blue"]
    cube = opened(
        acquisition(item), bands=("B11",), mask=MaskSpec(source=WHITE),
        radiometry=radiometry_of(item),
    ).compute()  # fmt: skip
    assert (cube["quality"][0, :100] == int(Quality.NODATA)).all()
    assert (cube["quality"][0, 101:] == 0).all()


def test_the_default_reads_no_more_than_before(tmp_path: Path) -> None:
    item = make_scene(tmp_path)
    cube = opened(acquisition(item), bands=("B04",))
    names = {str(key[0] if isinstance(key, tuple) else key) for key in cube.__dask_graph__()}
    assert not any("answer" in name for name in names)
    assert sum("reflectance" in name for name in names) == 1


# --- which scene is the best one ----------------------------------------------------------------


def test_scenes_without_classes_are_ranked_by_their_told_cloud_and_their_gaps(tmp_path: Path):
    def scene(name: str, cloud: float | None, **more):
        told = {} if cloud is None else {"eo:cloud_cover": cloud}
        time = f"2018-01-{10 + len(name):02d}T14:37:51Z"
        return make_scene(tmp_path, name=name, time=time, scl=None, properties=told, **more)

    half = left_of(130)
    found = [scene("a", 60.0), scene("bb", 10.0), scene("ccc", 0.0, wedge=half)]
    tile = tile_of(*map(acquisition, found))
    choice = choose(tile, "after", CubeSpec(mask=MaskSpec(source=BRIGHT)), area_mask=EVERYWHERE)
    shares = [one["masked_share"] for one in choice.candidates]
    assert shares[:2] == pytest.approx([0.6, 0.1])
    assert 0.4 < shares[2] < 0.6
    assert [one["chosen"] for one in choice.candidates] == [False, True, False]
    # Where nothing is masked, only what has no data counts, as ever.
    bare = choose(tile, "after", CubeSpec(mask=MaskSpec(source="none")), area_mask=EVERYWHERE)
    assert [one["masked_share"] for one in bare.candidates][:2] == [0, 0]


def test_scenes_with_classes_are_ranked_by_them_whatever_the_mask(tmp_path: Path) -> None:
    cloudy = make_scene(tmp_path, name="cloudy", clouds=[(120, 120, 90)])
    clear = make_scene(tmp_path, name="clear", time="2018-01-16T14:37:51Z")
    tile = tile_of(acquisition(cloudy), acquisition(clear))
    with_classes, with_own = (
        choose(tile, "after", CubeSpec(mask=MaskSpec(source=name)), area_mask=EVERYWHERE)
        for name in ("scl", BRIGHT)
    )
    assert with_own.candidates == with_classes.candidates
    assert [one["chosen"] for one in with_own.candidates] == [False, True]


# --- a model item -------------------------------------------------------------------------------

SKY = ("clear", "thick cloud", "Cloud_Shadow", "snow")


def sky(folder: Path, **changes) -> str:
    asked = {"network": "Sky", "bands": ("B02", "B08", "B11"), "classes": SKY, **changes}
    return str(write_mask_item(folder / "sky.json", **asked))


def test_the_classes_of_a_model_item_are_quality_bits_by_their_names(tmp_path: Path) -> None:
    one = source(sky(tmp_path))
    assert (one.name, one.bands, one.window, one.margin) == ("sky", ("B02", "B08", "B11"), 24, 3)
    pixels = np.full((3, 24, 24), 0.1, np.float32)
    pixels[1] = 0.6
    pixels[:, 0, 0] = 0.8, 0.8, 0.3  # a cloud
    pixels[:, 0, 1] = 0.01, 0.01, 0.01  # a shadow
    pixels[:, 0, 2] = 0.9, 0.8, -0.1  # snow, by a network of four lines
    pixels[:, 0, 3] = np.nan
    bits = one.bits(pixels, "L2A")
    assert bits[0, :3].tolist() == [Quality.CLOUD, Quality.SHADOW, Quality.SNOW]
    assert not bits[1:].any()


def test_the_one_output_of_a_model_item_is_its_last_class_above_the_threshold(tmp_path) -> None:
    path = sky(tmp_path, network="Haze", bands=("B02",), classes=("clear", "haze"),
               **{"lspipe:threshold": 0.25})  # fmt: skip
    pixels = np.array([[[0.2, 0.3, np.nan]]], np.float32).repeat(24, 1).repeat(8, 2)
    bits = source(path).bits(pixels, "L1C")
    np.testing.assert_array_equal(bits, np.where(pixels[0] > 0.25, Quality.CLOUD, 0))


@given(tile=cut_tiles())
@examples(8)
def test_chunking_never_changes_a_bit_of_a_model_item(tmp_path: Path, tile) -> None:
    seed, shape, chunks = tile
    one = source(sky(tmp_path))
    codes = some_tile(seed, shape, 3)
    bands = da.from_array(codes, chunks=(1, *chunks))
    found = masked_by(one, bands, level="L2A", place=Place((0, 0), shape))
    np.testing.assert_array_equal(found.compute(scheduler="sync"), by_hand(one, codes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"classes": ("clear", "landslide")}, "its classes are clear, landslide, expected names"),
        ({"classes": ()}, "its classes are not named"),
        ({"bands": ("B02", "B08", "slope")}, "wants slope: expected bands alone"),
        ({"bands": ("B02", "B08", "before:B11")}, "expected bands alone"),
        ({"lspipe:scaling": {"kind": "tile-minmax"}}, "is scaled by whole tiles"),
    ],
)
def test_a_model_item_that_is_no_mask_is_refused(tmp_path: Path, changes, expected: str) -> None:
    with pytest.raises(ModelError, match=expected):
        source(sky(tmp_path, **changes))


def test_a_model_item_that_is_not_there_or_changed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.json"):
        source(str(tmp_path / "nowhere.json"))
    one = source(sky(tmp_path))
    sky(tmp_path, **{"lspipe:threshold": 0.9})
    with pytest.raises(ModelError, match="changed since the run was planned"):
        one.bits(np.zeros((3, 24, 24), np.float32), "L2A")


# --- csmask -------------------------------------------------------------------------------------


@needs_csmask
def test_a_worker_without_what_the_plan_ran_the_networks_by_says_what_to_install() -> None:
    one = replace(source("csmask"), engine="onnxruntime")
    if importlib.util.find_spec("onnxruntime") is not None:
        pytest.skip("onnxruntime is installed")
    with pytest.raises(MissingExtra, match=r"by onnxruntime, which this machine lacks: pip"):
        one.bits(np.zeros((6, 256, 256), np.float32), "L1C")


@needs_csmask
def test_csmask_refuses_other_networks_than_those_of_the_plan() -> None:
    one = csmask.CloudShadowMask("openvino", "1.0.0", (("L1C", "0" * 64), ("L2A", "0" * 64)))
    csmask._networks.clear()
    with pytest.raises(ModelError, match="the run was planned with 000000000000"):
        one.bits(np.zeros((6, 256, 256), np.float32), "L1C")


@pytest.fixture(scope="module")
def cloudy(real_data: Path, tmp_path_factory: pytest.TempPathFactory):
    """A real scene of 512 x 512 px of 30 m as a scene of 10 m, and what a person saw in it."""
    with np.load(real_data / "s2_cloudmask_ukis" / "sentinel2.npz", allow_pickle=False) as file:
        image, truth = file["img"], file["msk"][..., 0]
    layers = dict(zip(CSMASK_BANDS, np.moveaxis(image, -1, 0), strict=True))

    def values(band: str, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return layers[band][(rows // 3).astype(int), (columns // 3).astype(int)]

    item = make_scene(
        tmp_path_factory.mktemp("cloudy"),
        name="S2A_18GYS_20180115_0_L1C",
        size=1536,
        bands=CSMASK_BANDS,
        values=values,
        scl=None,
    )
    return item, truth


@needs_csmask
@pytest.mark.real
@pytest.mark.parametrize("chunk", [1536, 400])
def test_csmask_finds_the_clouds_and_shadows_of_a_real_scene(cloudy, chunk: int) -> None:
    item, truth = cloudy
    corner = TILES["18GYS"]
    affine = Affine(10, 0, corner.left, 0, -10, corner.top)
    cube = opened(
        acquisition(item),
        bands=("B04",),
        chunk=chunk,
        geobox=GeoBox((1536, 1536), affine, f"EPSG:{corner.epsg}"),
        radiometry=radiometry_of(item, CSMASK_BANDS),
        mask=MaskSpec(source="csmask", dilate_px=0),
    )
    quality = cube["quality"].compute(scheduler="sync").to_numpy()
    assert set(np.unique(quality)) == {0, int(Quality.CLOUD), int(Quality.SHADOW)}
    fine = truth.repeat(3, 0).repeat(3, 1)
    for bit, number, recall, precision in (
        (Quality.CLOUD, 4, 0.98, 0.72),
        (Quality.SHADOW, 0, 0.94, 0.72),
    ):
        is_there, is_found = fine == number, quality == int(bit)
        both = np.count_nonzero(is_there & is_found)
        found = both / np.count_nonzero(is_there), both / np.count_nonzero(is_found)
        assert found[0] >= recall
        assert found[1] >= precision
    # The same bits whatever the blocks: of both parameters.
    assert hashlib.sha256(quality.tobytes()).hexdigest() == SEEN.setdefault(
        "quality", hashlib.sha256(quality.tobytes()).hexdigest()
    )
