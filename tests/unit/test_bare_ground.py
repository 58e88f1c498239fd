"""Bare ground: surfaces of known reflectance end up where the description says."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lspipe.errors import ModelError
from lspipe.inference.runtimes import load
from lspipe.models import build, read_item
from lspipe.models.bare_ground import BANDS

# L2A reflectance of B02, B04, B08, B11, rounded; typical values of each surface.
BARE = {
    "fresh scar, bright": (0.10, 0.19, 0.26, 0.36),
    "fresh scar, dark": (0.06, 0.11, 0.15, 0.20),
    "fresh scar, some green left": (0.07, 0.12, 0.18, 0.24),
    "ploughed field": (0.08, 0.14, 0.20, 0.30),
}
NOT_BARE = {
    "forest": (0.02, 0.025, 0.30, 0.13),
    "shaded forest": (0.01, 0.012, 0.08, 0.04),
    "meadow": (0.04, 0.05, 0.40, 0.22),
    "clear water": (0.06, 0.04, 0.02, 0.01),
    "turbid water": (0.12, 0.14, 0.08, 0.02),
    "fresh snow": (0.90, 0.90, 0.85, 0.10),
    "cloud": (0.50, 0.50, 0.55, 0.35),
    "thin cloud over forest": (0.15, 0.15, 0.35, 0.22),
}


@pytest.fixture(scope="module")
def runtime():
    return load("shipped:bare-ground", None, device="cpu", precision="fp32")


def probability(runtime, *reflectance):
    """Probability of one uniform window."""
    window = torch.tensor(reflectance, dtype=torch.float32).view(1, -1, 1, 1).expand(1, -1, 32, 32)
    output = runtime(window)
    assert (output == output[0, 0, 0]).all()
    return float(output[0, 0, 0])


@pytest.mark.parametrize("surface", BARE)
def test_bare_surfaces_are_above_the_threshold(runtime, surface):
    assert probability(runtime, *BARE[surface]) > 0.6


@pytest.mark.parametrize("surface", NOT_BARE)
def test_other_surfaces_are_below_what_counts_as_before(runtime, surface):
    # Below 0.1, so that a scar that opens there is a gain (before <= 0.3).
    assert probability(runtime, *NOT_BARE[surface]) < 0.1


def test_the_formula_is_the_documented_one(runtime):
    for blue, red, near, short in (*BARE.values(), *NOT_BARE.values()):
        ndvi = max((near - red) / (near + red), 0)
        bsi = ((short + red) - (near + blue)) / ((short + red) + (near + blue))
        expected = 1 / (1 + np.exp(-(-1 + 30 * bsi - 6 * ndvi)))
        assert probability(runtime, blue, red, near, short) == pytest.approx(expected, abs=1e-5)


def test_the_item_holds_the_numbers_of_the_module():
    item = read_item("shipped:bare-ground")
    assert item.bands == BANDS
    assert item.weights is None
    module = build("bare-ground", len(BANDS))
    assert {key: getattr(module, key) for key in item.arguments} == item.arguments
    assert "not a landslide detector" in item.not_for.lower()


def test_pixels_without_data_and_dark_pixels_say_nothing(runtime):
    fill = read_item("shipped:bare-ground").fill
    for dark in (fill, (0, 0, 0, 0), (-0.09, -0.02, -0.01, 0.0), (1e-9, 1e-9, 1e-9, 1e-9)):
        assert probability(runtime, *dark) == pytest.approx(1 / (1 + np.e), abs=1e-3)


@given(st.lists(st.integers(-999, 31767).map(lambda step: step * 1e-4), min_size=4, max_size=4))
def test_every_reflectance_gives_a_probability(runtime, reflectance):
    assert 0 <= probability(runtime, *reflectance) <= 1


def test_each_pixel_is_judged_alone(runtime):
    batch = torch.rand((2, 4, 32, 32), generator=torch.Generator().manual_seed(0))
    whole = runtime(batch)
    turned = runtime(batch.rot90(1, (-2, -1))).rot90(-1, (-2, -1))
    torch.testing.assert_close(turned, whole)
    torch.testing.assert_close(runtime(batch[..., 8:16, 4:20]), whole[..., 8:16, 4:20])


def test_other_channels_are_refused():
    with pytest.raises(ModelError, match="found 3 channels: expected B02, B04, B08, B11"):
        build("bare-ground", 3)


@pytest.mark.real
def test_real_vegetation_is_not_bare_and_real_bare_soil_is(runtime, real_data):
    """Fields of Flanders over a year: Sentinel-2 L2A composites, 100 x 100 pixels of 10 m."""
    import xarray as xr

    path = real_data / "s1s2dem_worldcereal" / "worldcereal_preprocessed_inputs.nc"
    with xr.open_dataset(path, engine="h5netcdf") as months:
        bands = [months[f"S2-L2A-{band}"].values for band in BANDS]
    raw = np.stack(bands, axis=1)
    observed = (raw != 65535).all(axis=1)
    reflectance = torch.from_numpy(raw.astype(np.float32) * 1e-4)
    found = runtime(reflectance).numpy()
    ndvi = (raw[:, 2] - raw[:, 1].astype(float)) / (raw[:, 2] + raw[:, 1].astype(float))
    green, soil = found[observed & (ndvi > 0.6)], found[observed & (ndvi < 0.25)]
    assert min(green.size, soil.size) > 10_000
    assert (green < 0.3).mean() > 0.99
    assert (soil > 0.5).mean() > 0.9
