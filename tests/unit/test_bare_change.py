"""Bare change: pairs of surfaces of known reflectance end up where the description says."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import lspipe
from lspipe.errors import ModelError
from lspipe.inference.runtimes import load
from lspipe.models import build, read_item
from lspipe.models.bare_change import BANDS

# L2A reflectance of B04 and B08, rounded; typical values of each surface.
VEGETATED = {
    "forest": (0.025, 0.30),
    "meadow": (0.045, 0.33),
    "heath": (0.06, 0.24),
}
SCARS = {
    "bright": (0.19, 0.26),
    "usual": (0.14, 0.20),
    "grey": (0.17, 0.20),
}
OTHERS = {
    "shaded forest": (0.012, 0.08),
    "crop": (0.035, 0.44),
    "thin cloud over forest": (0.15, 0.38),
    "cloud": (0.70, 0.74),
    "fresh snow": (0.81, 0.77),
    "water": (0.04, 0.02),
    "turbid water": (0.14, 0.08),
    "burnt ground": (0.06, 0.09),
    "dry grass": (0.12, 0.26),
    "stubble": (0.135, 0.275),
}
CROP_THEN_SOIL = ((0.035, 0.44), (0.12, 0.17))


@pytest.fixture(scope="module")
def runtime():
    return load("shipped:bare-change", None, device="cpu", precision="fp32")


def probability(runtime, before, after):
    """Probability of one uniform window."""
    values = torch.tensor([*before, *after], dtype=torch.float32)
    output = runtime(values.view(1, -1, 1, 1).expand(1, -1, 32, 32))
    assert (output == output[0, 0, 0]).all()
    return float(output[0, 0, 0])


@pytest.mark.parametrize(("ground", "scar"), list(product(VEGETATED, SCARS)))
def test_vegetated_ground_that_became_a_scar_is_above_the_threshold(runtime, ground, scar):
    assert probability(runtime, VEGETATED[ground], SCARS[scar]) > 0.6


@pytest.mark.parametrize("surface", [*VEGETATED, *SCARS, *OTHERS])
def test_what_did_not_change_is_nothing(runtime, surface):
    same = (VEGETATED | SCARS | OTHERS)[surface]
    assert probability(runtime, same, same) < 1e-4


@pytest.mark.parametrize(("ground", "other"), list(product(VEGETATED, [*VEGETATED, *OTHERS])))
def test_other_changes_of_vegetated_ground_are_nothing(runtime, ground, other):
    # White is nearly as bright as twice a meadow; it is the mask's to take out.
    limit = 0.4 if other in {"cloud", "fresh snow"} else 0.1
    assert probability(runtime, VEGETATED[ground], (VEGETATED | OTHERS)[other]) < limit


def test_the_mirrored_question_is_another_one(runtime):
    # Scars that healed, and scars that stayed bare, are not new.
    for ground, scar in product(VEGETATED.values(), SCARS.values()):
        assert probability(runtime, scar, ground) < 1e-4
    for one, two in product(SCARS.values(), SCARS.values()):
        assert probability(runtime, one, two) < 1e-4


def test_a_crop_that_became_moist_soil_is_too_dark_for_debris(runtime):
    assert probability(runtime, *CROP_THEN_SOIL) < 0.1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((0.03, 0.30), (0.08, 0.12)),  # near infrared: 0.4 of what it was
        ((0.10, 0.30), (0.16, 0.24)),  # NDVI before: 0.5, so at its limit
        ((0.04, 0.30), (0.16, 0.24)),  # NDVI after: 0.2, so at its limit
        ((0.10, 0.35), (0.15, 0.20)),  # red: 0.05 more, so at its limit
        (VEGETATED["forest"], SCARS["usual"]),
    ],
)
def test_the_formula_is_the_documented_one(runtime, before, after):
    (red, near), (red_after, near_after) = before, after
    ndvi, ndvi_after = (
        (near - red) / (near + red),
        (near_after - red_after) / (near_after + red_after),
    )
    loss = (ndvi - ndvi_after) / np.sqrt(ndvi + ndvi_after)
    z = [
        (loss - 0.4) * 30,
        (red_after - red - 0.05) / 0.01,
        (ndvi - 0.5) / 0.02,
        (0.2 - ndvi_after) / 0.02,
        (np.log(2) - abs(np.log(near_after / near))) / 0.1,
    ]
    expected = 1 / (1 + np.exp(-np.array(z)).sum())
    assert probability(runtime, before, after) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "outside", "inside"),
    [
        ("brightening", ((0.09, 0.34), (0.13, 0.18)), ((0.05, 0.32), (0.13, 0.18))),
        ("vegetated", ((0.10, 0.27), (0.20, 0.22)), ((0.06, 0.24), (0.20, 0.22))),
        ("bare", ((0.03, 0.30), (0.14, 0.23)), ((0.03, 0.30), (0.14, 0.19))),
        ("factor", ((0.03, 0.45), (0.15, 0.18)), ((0.03, 0.30), (0.15, 0.18))),
        ("loss", ((0.09, 0.29), (0.20, 0.29)), ((0.03, 0.29), (0.20, 0.27))),
    ],
)
def test_each_condition_can_say_no(runtime, name, outside, inside):
    assert probability(runtime, *outside) < 0.5 < probability(runtime, *inside)
    # With this limit alone taken away, the pair outside passes.
    lax = {"brightening": -9, "vegetated": -9, "bare": 9, "factor": 1e9, "loss": -9}
    network = build("bare-change", 4, **{name: lax[name]})
    assert probability(lambda window: network(window)[:, 0], *outside) > 0.5


def test_the_item_holds_the_numbers_of_the_module():
    item = read_item("shipped:bare-change")
    assert item.bands == BANDS
    assert item.is_pair
    assert item.weights is None
    module = build("bare-change", len(BANDS))
    assert {key: getattr(module, key) for key in item.arguments} == item.arguments
    assert "not a validated landslide detector" in item.not_for.lower()


def test_pixels_without_data_and_dark_pixels_say_nothing(runtime):
    fill = read_item("shipped:bare-change").fill
    for dark in (fill, (0, 0, 0, 0), (-0.09, -0.02, -0.01, 0.0), (1e-9, 1e-9, 1e-9, 1e-9)):
        assert probability(runtime, dark[:2], dark[2:]) < 1e-4


@given(st.lists(st.integers(-999, 31767).map(lambda step: step * 1e-4), min_size=4, max_size=4))
def test_every_reflectance_gives_a_probability(runtime, reflectance):
    assert 0 <= probability(runtime, reflectance[:2], reflectance[2:]) <= 1


def test_each_pixel_is_judged_alone(runtime):
    batch = torch.rand((2, 4, 32, 32), generator=torch.Generator().manual_seed(0))
    whole = runtime(batch)
    turned = runtime(batch.rot90(1, (-2, -1))).rot90(-1, (-2, -1))
    torch.testing.assert_close(turned, whole)


def test_other_channels_are_refused():
    with pytest.raises(ModelError, match="found 3 channels: expected before:B04"):
        build("bare-change", 3)


@pytest.mark.real
def test_fields_along_the_inn_give_a_quarter_of_what_a_threshold_of_ndvi_lists(real_data):
    """June to September 2021, without a landslide: cut, ploughed and sown fields."""
    import rasterio

    from lspipe.change.inventory import delineate

    with rasterio.open(real_data / "s2_l2a_pair_inn_2021" / "inference-img.tif") as file:
        numbers, transform, crs = file.read([1, 4, 5, 8]), file.transform, file.crs
    cube = xr.DataArray(
        numbers.astype(np.int16), dims=("band", "y", "x"), coords={"band": list(BANDS)}
    )
    found = lspipe.detect(cube, "shipped:bare-change")
    rows, columns = (np.arange(length) for length in found.shape)
    found = found.assign_coords(
        x=transform.c + 10 * (columns + 0.5), y=transform.f - 10 * (rows + 0.5)
    )
    table = delineate(found.rio.write_crs(crs), min_area_m2=900)
    # A threshold of NDVI on each date lists 78 objects, 160 ha.
    assert len(table) <= 78 / 4
    assert table["area_m2"].sum() <= 160e4 / 4
