"""The six real patches of fourteen channels with masks: order, units and pairing, by what they are.

Four of them are colour pictures of the other set too, pixel by pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio

from lspipe.models.recipes import L4S_DIVISORS, recipe_of
from lspipe.samples import l4s, pictures

if TYPE_CHECKING:
    from lspipe.samples import Samples

pytestmark = pytest.mark.real

PATCHES = ("42", "168", "1002", "3520", "3597", "3645")
WITHOUT_LANDSLIDES = "3645"

TWINS = {
    "42": "train/images/image_3156.png",
    "168": "validation/images/image_756.png",
    "1002": "train/images/image_5.png",
    "3597": "train/images/image_2886.png",
}
"""Original patches, and their colour pictures: the same pixels, each picture stretched by its own
largest value."""

CHANNELS = recipe_of("l4s14").channels


@pytest.fixture(scope="module")
def patches(real_data) -> Samples:
    folder = real_data / "l4s_h5_masks"
    if not folder.is_dir():
        pytest.skip(f"no patches with masks at {folder}")
    return l4s.folder(folder, "l4s14")


def physical(patches: Samples, name: str) -> dict[str, np.ndarray]:
    """Reflectance, degrees and metres by channel."""
    image, _ = patches.read(name)
    scale = np.array(patches.recipe.scaling.scale)[:, None, None]
    return dict(zip(CHANNELS, image / scale, strict=True))


def ndvi(channels: dict[str, np.ndarray]) -> np.ndarray:
    return (channels["B08"] - channels["B04"]) / (channels["B08"] + channels["B04"])


def test_all_are_found_with_masks_of_0_and_1(patches):
    assert set(patches.names) == set(PATCHES)
    shares = {}
    for name in patches.names:
        image, mask = patches.read(name)
        assert (image.shape, image.dtype) == ((14, 128, 128), np.float32)
        assert (mask.shape, mask.dtype) == ((128, 128), np.uint8)
        assert set(np.unique(mask)) <= {0, 1}
        shares[name] = mask.mean()
    assert shares.pop(WITHOUT_LANDSLIDES) == 0
    assert all(0.001 < share < 0.1 for share in shares.values())


@pytest.mark.parametrize("name", PATCHES)
def test_optical_channels_stand_in_their_order_and_units(patches, name):
    channels = physical(patches, name)
    means = {channel: pixels.mean() for channel, pixels in channels.items()}
    # Mountains with forest: green leaves are dark in red and bright in the infrared.
    assert 0.5 < np.median(ndvi(channels)) < 0.8
    assert means["B04"] < means["B05"] < means["B06"] < means["B07"]
    assert 0.1 < means["B08"] < 0.35
    # Vapour and the air: B10 sees next to nothing of the ground, the air is blue.
    assert 0.0005 < means["B10"] < 0.002
    assert means["B01"] > means["B02"] > means["B03"] > means["B04"] > 0.02
    assert means["B11"] > means["B12"]
    # Neighbouring bands see alike; B08 lies in the middle of B07 and B8A, which B09 is not.
    likeness = np.corrcoef([channels[one].ravel() for one in ("B08", "B07", "B09", "B04")])[0]
    assert likeness[1] > 0.85
    assert likeness[1] > max(likeness[2:])


def test_slopes_are_degrees_and_elevations_metres(patches):
    slopes, heights = [], []
    for name in PATCHES:
        channels = physical(patches, name)
        slopes.append(np.median(channels["slope"]))
        heights.append(np.median(channels["dem"]))
        assert channels["slope"].min() >= 0
        assert channels["slope"].max() < 85
        # Their slope is that of their elevation, by pixels of 10 m: radians, per cent, feet or
        # channels in another order are off by far.
        steep = np.degrees(np.arctan(np.hypot(*np.gradient(channels["dem"].astype(float), 10.0))))
        assert steep.mean() == pytest.approx(channels["slope"].mean(), abs=2.5)
        assert np.corrcoef(steep.ravel(), channels["slope"].ravel())[0, 1] > 0.7
    assert (min(slopes), max(slopes)) == pytest.approx((17, 38), abs=0.01)
    assert (min(heights), max(heights)) == pytest.approx((573, 2472), abs=0.01)


def test_each_mask_lies_on_the_bare_ground_of_its_own_image(patches):
    named = [name for name in PATCHES if name != WITHOUT_LANDSLIDES]
    masks = {name: patches.read(name)[1] == 1 for name in named}
    for name in named:
        greenness = ndvi(physical(patches, name))
        # Of its own mask the ground is less green than of that of any other patch.
        inside = {other: greenness[mask].mean() for other, mask in masks.items()}
        assert min(inside, key=inside.__getitem__) == name
        assert inside[name] < greenness[~masks[name]].mean() - 0.15


@pytest.mark.parametrize("name", TWINS)
def test_colour_pictures_are_the_same_pixels_stretched_by_their_largest_value(
    patches, real_data, name
):
    image, mask = patches.read(name)
    colours = np.stack([image[CHANNELS.index(band)] for band in ("B04", "B03", "B02")])
    path = real_data / "l4s_rgb" / TWINS[name]
    with rasterio.open(path) as picture:
        pixels = picture.read([1, 2, 3])
    # float32 moves a number at an edge now and then; in the files themselves none differs.
    np.testing.assert_array_equal(pixels, stretched(real_data, name))
    assert (np.abs(pixels - np.floor(255 * colours / colours.max())) <= 1).all()
    part = path.parent.parent
    number = path.stem.removeprefix("image_")
    shown, same = pictures.folder(part, "l4s-rgb").read(number)
    np.testing.assert_array_equal(same, mask)
    np.testing.assert_allclose(shown, pixels / 255, atol=1e-6)


def stretched(real_data, name: str) -> np.ndarray:
    """Red, green and blue of the file, 0..255."""
    path = real_data / "l4s_h5_masks" / "img" / f"image_{name}.h5"
    stored = l4s._array(path, "img", (128, 128, len(L4S_DIVISORS)))
    colours = np.moveaxis(stored[..., [3, 2, 1]], -1, 0)
    return np.floor(255 * colours / colours.max())
