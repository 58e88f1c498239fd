"""Folders of labelled patches: what is read, and what is refused by name."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import rasterio

from lspipe.errors import SamplesError, UsageError
from lspipe.inference.inputs import to_model_units
from lspipe.models.item import Scaling
from lspipe.models.recipes import L4S_DIVISORS, RECIPES, Recipe, recipe_of
from lspipe.samples import l4s, mask_of, pictures, sound
from tests.patches import PATCH, patch, write_h5, write_picture


@pytest.fixture
def l4s_folder(tmp_path):
    """Three patches as the set has them."""
    rng = np.random.default_rng(0)
    for name in ("img", "mask"):
        (tmp_path / name).mkdir()
    for number in (1, 2, 10):
        write_h5(tmp_path / "img" / f"image_{number}.h5", "img", patch(rng))
        mask = np.zeros((128, 128), np.uint8)
        mask[:number] = 1
        write_h5(tmp_path / "mask" / f"mask_{number}.h5", "mask", mask)
    return tmp_path


SWAPPED = [*range(12), 13, 12]
"""Elevation before slope."""

ONE_OFF = [1, 0, *range(2, 14)]
"""B2 before B1."""


@pytest.fixture
def picture_folder(tmp_path):
    rng = np.random.default_rng(0)
    for number in (3, 20):
        image = rng.integers(0, 256, (4, 16, 16), dtype=np.uint8)
        image[3] = 255
        write_picture(tmp_path / "images" / f"image_{number}.png", image)
        mask = np.where(image[:1] > 200, 255, 0).astype(np.uint8)
        write_picture(tmp_path / "masks" / f"mask_{number}.png", mask.repeat(3, 0))
    return tmp_path


FOUR = recipe_of("ghorb4").channels

SHUFFLED = ("B12", "B11", "B08", "B8A", "extra", *(f"B0{number}" for number in range(7, 1, -1)))
"""The channels of morales10 in another order, and one band more."""

NUMBERS = np.random.default_rng(3).integers(1, 15000, (11, 16, 16), dtype=np.uint16)
"""Digital numbers, some beyond a reflectance of 1; the recipes that know clip them."""


@pytest.fixture
def reflectance_folder(tmp_path):
    write_picture(tmp_path / "images" / "1.tif", NUMBERS[:4], names=FOUR)
    write_picture(tmp_path / "masks" / "1.tif", np.zeros((1, 16, 16), np.uint8))
    return tmp_path


# --- what is read -------------------------------------------------------------------------------


def test_patches_of_landslide4sense_are_read_by_channel_name(l4s_folder):
    samples = l4s.folder(l4s_folder)
    assert samples.names == ("1", "2", "10")
    image, mask = samples.read("10")
    assert (image.shape, image.dtype) == ((14, 128, 128), np.float32)
    assert mask.sum() == 10 * 128
    six, _ = l4s.folder(l4s_folder, "yali6").read("10")
    np.testing.assert_array_equal(six, image[[1, 2, 3, 7, 12, 13]])
    images, masks = samples.arrays()
    assert images.shape == (3, 14, 128, 128)
    assert masks.shape == (3, 128, 128)


def test_patches_of_landslide4sense_come_in_the_units_of_the_recipe(l4s_folder):
    with h5py.File(l4s_folder / "img" / "image_2.h5") as file:
        stored = np.moveaxis(file["img"][:], -1, 0)
    fourteen, _ = l4s.folder(l4s_folder).read("2")
    np.testing.assert_array_equal(fourteen, stored.astype(np.float32))
    numbers = np.round(stored * np.array(L4S_DIVISORS)[:, None, None])[[3, 2, 1]]
    vega, _ = l4s.folder(l4s_folder, "vega3").read("2")
    assert vega.dtype == np.float32
    np.testing.assert_allclose(vega, np.clip(numbers / 1e4, -1, 1), rtol=1e-6)
    divided = numbers / np.array([445.17289745, 663.41636217, 824.63171476])[:, None, None]
    rgb, _ = l4s.folder(l4s_folder, "l4s-rgb").read("2")
    assert rgb.max() == 1
    np.testing.assert_allclose(rgb, divided / divided.max(), rtol=1e-6)
    five, _ = l4s.folder(l4s_folder, "ghorb4+slope").read("2")
    np.testing.assert_allclose(five[:3], numbers[::-1] / 1e4, rtol=1e-6)
    np.testing.assert_allclose(five[4], stored[12], rtol=1e-6)


def test_patches_of_landslide4sense_are_what_a_run_makes_of_their_digital_numbers(l4s_folder):
    stored, _ = l4s.folder(l4s_folder).read("2")
    numbers = np.round(stored * np.array(L4S_DIVISORS)[:, None, None])[[3, 2, 1]].astype(np.int16)
    for name in ("vega3", "l4s-rgb"):
        found, _ = l4s.folder(l4s_folder, name).read("2")
        scaling = recipe_of(name).scaling
        expected = to_model_units(numbers, scaling, observed=np.ones((128, 128), bool))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.real
def test_real_files_of_landslide4sense_hold_what_they_should(real_data):
    files = sorted((real_data / "l4s_h5").glob("*.h5"))
    assert files
    for path in files:
        image = l4s._array(path, "img", (128, 128, 14))
        l4s._check_values(image, path)
        with pytest.raises(SamplesError, match="expected slope before DEM"):
            l4s._check_values(image[..., SWAPPED], path)
        for other in (image[..., ONE_OFF], image * np.array(L4S_DIVISORS) / 1e4):
            with pytest.raises(SamplesError, match="not whole: B01, B02"):
                l4s._check_values(other, path)


def test_pictures_become_0_to_1_and_opacity_is_left_out(picture_folder):
    samples = pictures.folder(picture_folder)
    assert samples.names == ("3", "20")
    image, mask = samples.read("3")
    assert (image.shape, image.dtype) == ((3, 16, 16), np.float32)
    assert 0.9 < image.max() <= 1
    np.testing.assert_array_equal(mask, image[0] > 200 / 255)


def test_pictures_of_a_map_service_are_shares_of_255(picture_folder):
    stored = np.random.default_rng(0).integers(0, 256, (4, 16, 16), dtype=np.uint8)[:3]
    image, _ = pictures.folder(picture_folder, "vega3").read("3")
    np.testing.assert_array_equal(image, stored.astype(np.float32) / 255)
    blue_first, _ = pictures.folder(picture_folder, "vega3:bgr").read("3")
    np.testing.assert_array_equal(blue_first, image[::-1])
    (picture_folder / "images" / "image_3.png").unlink()
    turned = {"names": ("B02", "B03", "B04")}
    write_picture(picture_folder / "images" / "image_3.tif", stored[::-1], **turned)
    named, _ = pictures.folder(picture_folder, "vega3").read("3")
    np.testing.assert_array_equal(named, image)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
@pytest.mark.parametrize(
    "recipe", ["morales10", "morales10:patch-minmax", "ghorb4", "vega3", "vega3:bgr", "l4s-rgb"]
)
def test_reflectances_are_found_by_name_and_scaled_as_the_recipe_says(tmp_path, dtype, recipe):
    unit = 1e4 if dtype == "float32" else 1
    write_picture(
        tmp_path / "images" / "image_1.tif", (NUMBERS / unit).astype(dtype), names=SHUFFLED
    )
    write_picture(tmp_path / "masks" / "mask_1.tif", np.zeros((1, 16, 16), np.uint8))
    image, _ = pictures.folder(tmp_path, recipe).read("1")
    reflectance = dict(zip(SHUFFLED, NUMBERS / 1e4, strict=True))
    expected = np.stack([reflectance[name] for name in recipe_of(recipe).channels])
    if recipe in ("morales10", "vega3", "vega3:bgr"):
        expected = expected.clip(0, 1)
    if recipe == "morales10:patch-minmax":
        low, high = (find(axis=(1, 2), keepdims=True) for find in (expected.min, expected.max))
        expected = (expected - low) / (high - low)
    if recipe == "l4s-rgb":
        expected *= np.array([445.17289745, 663.41636217, 824.63171476])[:, None, None] ** -1
        expected /= expected.max()
    assert image.dtype == np.float32
    # What is stretched has a zero, where no difference is small in proportion.
    atol = 1e-6 if recipe == "morales10:patch-minmax" else 0
    np.testing.assert_allclose(image, expected, rtol=1e-6, atol=atol)


def test_terrain_of_an_image_is_in_degrees_and_metres(tmp_path):
    channels = recipe_of("yali6").channels
    raw = np.random.default_rng(2).uniform(0, 1, (6, 16, 16)).astype(np.float32)
    raw[4:] *= np.array([40, 2000])[:, None, None]
    write_picture(tmp_path / "images" / "1.tif", raw, names=channels)
    write_picture(tmp_path / "masks" / "1.tif", np.zeros((1, 16, 16), np.uint8))
    image, _ = pictures.folder(tmp_path, "yali6").read("1")
    np.testing.assert_allclose(image[4], raw[4] / 20.29228266, rtol=1e-6)
    np.testing.assert_allclose(image[5], raw[5] / 772.83144788, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_no_data_of_an_image_is_nan_and_counts_in_no_maximum(tmp_path, dtype):
    values = np.full((3, 16, 16), 2000 if dtype == "int16" else 0.2, dtype)
    nodata = -32768 if dtype == "int16" else float(np.finfo(dtype).min)
    values[1, 0] = nodata
    values[0, 0] *= 3
    if dtype != "int16":
        values[2, 1, 1] = np.nan
    names = ("B04", "B03", "B02")
    write_picture(tmp_path / "images" / "1.tif", values, names=names, nodata=nodata)
    write_picture(tmp_path / "masks" / "1.tif", np.zeros((1, 16, 16), np.uint8))
    image, _ = pictures.folder(tmp_path, "l4s-rgb").read("1")
    assert np.isnan(image[1, 0]).all()
    assert np.isnan(image).sum() == (16 if dtype == "int16" else 17)
    # The row without green is three times as red, and not fully observed.
    np.testing.assert_allclose(image[0, 1:], 1, rtol=1e-6)


@pytest.mark.real
@pytest.mark.parametrize(("part", "count"), [("train", 1197), ("validation", 339)])
def test_real_pictures_are_paired_with_their_masks(real_data, part, count):
    samples = pictures.folder(real_data / "l4s_rgb" / part)
    assert len(samples) == count
    image, mask = samples.read(samples.names[0])
    assert image.shape == (3, 128, 128)
    # Each picture was divided by its own largest value.
    assert image.max() == 1
    assert set(np.unique(mask)) <= {0, 1}


def test_patches_of_a_region_are_told_apart(l4s_folder):
    samples = l4s.folder(l4s_folder)
    with pytest.raises(SamplesError, match="no patches of Kodagu; its regions: none"):
        samples.of_regions(["Kodagu"])
    known = replace(samples, regions={"1": "Kodagu", "2": "Iburi", "10": "Iburi"})
    assert known.of_regions(["Iburi"]).names == ("2", "10")
    with pytest.raises(SamplesError, match="1, 10: no region is known"):
        replace(samples, regions={"2": "Iburi"}).of_regions(["Iburi"])
    with pytest.raises(SamplesError, match="no patches of Gorkha; its regions: Iburi, Kodagu"):
        known.of_regions(["Iburi", "Gorkha"])


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "image", "message"),
    [
        ("image", np.zeros((128, 128, 14)), r"no key 'img' \(it has image\)"),
        ("img", np.zeros((64, 64, 14)), r"img has shape \(64, 64, 14\), expected \(128, 128, 14\)"),
        ("img", np.zeros((14, 128, 128)), r"img has shape \(14, 128, 128\)"),
        ("img", PATCH * L4S_DIVISORS / 1e4, "not digital numbers divided by the vector"),
        ("img", PATCH[..., ONE_OFF], "not whole: B01, B02"),
        ("img", np.zeros((128, 128, 14)), "not digital numbers divided by the vector"),
        ("img", np.full((128, 128, 14), np.nan), "not finite"),
        ("img", PATCH[..., SWAPPED], "expected slope before DEM"),
        ("img", np.float64(1), r"img has shape \(\), expected"),
    ],
)
def test_files_that_are_not_of_the_set_are_refused_by_name(l4s_folder, key, image, message):
    path = l4s_folder / "img" / "image_2.h5"
    write_h5(path, key, image)
    with pytest.raises(SamplesError, match=message) as raised:
        l4s.folder(l4s_folder).read("2")
    assert str(path) in str(raised.value)


def test_a_recipe_that_the_files_do_not_hold_is_refused(l4s_folder):
    with pytest.raises(SamplesError, match="recipe morales10 needs B8A"):
        l4s.folder(l4s_folder, "morales10")
    with pytest.raises(UsageError, match="unknown recipe 'l4s15'"):
        l4s.folder(l4s_folder, "l4s15")


@pytest.mark.parametrize(
    ("channels", "scaling", "message"),
    [
        (("B04", "B03"), Scaling(kind="tile-minmax"), "does not hold the range of its tile"),
        (
            ("B04", "slope"),
            Scaling(),
            "does not take slope as it is in the files, divided by 20.29",
        ),
        (
            ("B04", "dem"),
            Scaling(kind="affine", scale=(1.0, 1e-3), offset=(0.0, 0.0)),
            "does not take dem as it is in the files",
        ),
    ],
)
def test_units_that_patches_of_landslide4sense_cannot_have_are_refused(
    l4s_folder, monkeypatch, channels, scaling, message
):
    other = Recipe("other", "", channels, "L1C", scaling, "")
    monkeypatch.setitem(RECIPES, "other", other)
    with pytest.raises(SamplesError, match=f"HDF5 patches .* units of recipe other: .*{message}"):
        l4s.folder(l4s_folder, "other")


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (["img/image_2.h5"], "1 mask without an image: mask/mask_2.h5"),
        (["mask/mask_10.h5"], "1 image without a mask: img/image_10.h5"),
        (
            ["mask/mask_1.h5", "mask/mask_2.h5"],
            "2 images without a mask: img/image_1.h5, img/image_2.h5",
        ),
    ],
)
def test_images_without_masks_and_the_reverse_are_named(l4s_folder, gone, message):
    for path in gone:
        (l4s_folder / path).unlink()
    with pytest.raises(SamplesError, match=message):
        l4s.folder(l4s_folder)


@pytest.mark.parametrize("kind", [l4s, pictures])
def test_a_folder_of_another_layout_is_refused(tmp_path, kind):
    with pytest.raises(SamplesError, match="no such folder: expected"):
        kind.folder(tmp_path)


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (np.zeros((1, 16, 16), np.uint8), None, "bands: found 1, expected 3"),
        (np.zeros((3, 16, 8), np.uint8), None, r"16 x 8 px, its mask 16 x 16"),
        (None, np.full((1, 16, 16), 2, np.uint8), "mask with the values 2"),
        (np.full((4, 16, 16), 7, np.uint8), None, "transparent pixels"),
        (np.zeros((4, 16, 16), np.uint8), None, "transparent pixels"),
    ],
)
def test_pictures_that_do_not_fit_are_refused_by_name(picture_folder, image, mask, message):
    if image is not None:
        write_picture(picture_folder / "images" / "image_3.png", image)
    if mask is not None:
        write_picture(picture_folder / "masks" / "mask_3.png", mask)
    with pytest.raises(SamplesError, match=message):
        pictures.folder(picture_folder).read("3")


def test_two_pictures_of_one_name_are_refused(picture_folder):
    write_picture(picture_folder / "images" / "img_3.tif", np.zeros((3, 16, 16), np.uint8))
    with pytest.raises(SamplesError, match=r"img_3\.tif: image_3\.png has the name '3' already"):
        pictures.folder(picture_folder)


@pytest.mark.parametrize(
    ("image", "written", "recipe", "message"),
    [
        (np.zeros((3, 16, 16), np.uint8), {}, "ghorb4", "8-bit picture holds no reflectance"),
        (NUMBERS[:4], {}, "ghorb4", r"described as \(nothing\), .* needs each of B02, .*'r\+'"),
        (NUMBERS[:4], {"names": ("B02", "B03", "B04", "B8A")}, "ghorb4", "described as B02, B03"),
        (NUMBERS[:5], {"names": (*FOUR, "B02")}, "ghorb4", "needs each of .* once"),
        (
            NUMBERS[:4].astype(np.float32),
            {"names": FOUR},
            "ghorb4",
            "B02 is about .* 0..1; digital",
        ),
        (NUMBERS[:4].astype(np.uint32), {"names": FOUR}, "ghorb4", "uint32: expected uint16"),
        (
            NUMBERS[:6],
            {"names": (*FOUR, "slope", "dem")},
            "yali6",
            r"uint16, .* expected float32, as .* slope \(degree\), dem \(m\) too",
        ),
        (np.full((4, 16, 16), np.inf, np.float32), {"names": FOUR}, "ghorb4", "infinite values"),
        (NUMBERS[:4] * 0, {"names": FOUR, "nodata": 0}, "ghorb4", "no pixel has data in every"),
    ],
)
def test_images_without_the_recipes_reflectances_are_refused_by_name(
    picture_folder, image, written, recipe, message
):
    (picture_folder / "images" / "image_3.png").unlink()
    write_picture(picture_folder / "images" / "image_3.tif", image, **written)
    with pytest.raises(SamplesError, match=rf"image_3\.tif: .*{message}"):
        pictures.folder(picture_folder, recipe).read("3")


def test_a_scale_or_an_offset_of_the_file_is_not_passed_over(reflectance_folder):
    path = reflectance_folder / "images" / "1.tif"
    for stated, is_refused in (((1e-4, 0), False), ((1e-4, -0.1), True), ((1e-5, 0), True)):
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = ([number] * file.count for number in stated)
        if not is_refused:
            pictures.folder(reflectance_folder, "ghorb4").read("1")
            continue
        with pytest.raises(SamplesError, match=r"B02 states scale .* expected none, or 0.0001"):
            pictures.folder(reflectance_folder, "ghorb4").read("1")


def test_images_are_not_stretched_over_a_tile_that_they_do_not_show(picture_folder, monkeypatch):
    stretched = Recipe("other", "", ("B04",), "L2A", Scaling(kind="tile-minmax"), "")
    monkeypatch.setitem(RECIPES, "other", stretched)
    with pytest.raises(SamplesError, match="images with masks .* recipe other: .*tile-minmax"):
        pictures.folder(picture_folder, "other")


def test_broken_files_are_counted_and_left_out_only_if_told(picture_folder):
    (picture_folder / "images" / "image_20.png").write_bytes(b"not a picture")
    samples = pictures.folder(picture_folder)
    with pytest.raises(
        SamplesError, match=r"1 of 2 patches are broken:\n.*image_20\.png"
    ) as raised:
        sound(samples)
    assert "leave them out (skip_broken=True)" in str(raised.value)
    assert sound(samples, skip_broken=True).names == ("3",)
    (picture_folder / "images" / "image_3.png").write_bytes(b"not a picture")
    with pytest.raises(SamplesError, match="no sound patches"):
        sound(samples, skip_broken=True)


def cut_off(path):
    """Keep two thirds of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize("name", ["images/image_20.png", "masks/mask_20.png"])
def test_a_png_that_was_cut_off_is_broken(picture_folder, name):
    cut_off(picture_folder / name)
    samples = pictures.folder(picture_folder)
    with pytest.raises(SamplesError, match=rf"{name}: does not end as a PNG does"):
        samples.read("20")
    assert sound(samples, skip_broken=True).names == ("3",)


@pytest.mark.real
@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_real_png_that_was_cut_off_is_not_read_as_black_ground(real_data, tmp_path, kind):
    for part in ("images", "masks"):
        source = min((real_data / "l4s_rgb" / "validation" / part).iterdir())
        (tmp_path / part).mkdir()
        # Content only: the data may be read-only.
        shutil.copyfile(source, tmp_path / part / source.name)
    samples = pictures.folder(tmp_path)
    samples.read(samples.names[0])
    cut_off(next((tmp_path / f"{kind}s").iterdir()))
    with pytest.raises(SamplesError, match="does not end as a PNG does"):
        samples.read(samples.names[0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 1], [0, 1]), ([0, 255], [0, 1]), ([0, 0], [0, 0]), ([1, 1], [1, 1])],
)
def test_masks_are_0_and_1_or_0_and_255(values, expected, tmp_path):
    assert mask_of(np.array(values), tmp_path).tolist() == expected


@pytest.mark.parametrize("values", [[0, 2], [1, 255], [0.0, 0.5]])
def test_masks_of_other_values_are_refused(values, tmp_path):
    with pytest.raises(SamplesError, match="expected 0 and 1, or 0 and 255"):
        mask_of(np.array(values), tmp_path)
