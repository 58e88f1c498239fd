"""Channel recipes are the papers', and a model that names one has its channels."""

import json

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from lspipe.cli import main
from lspipe.errors import ModelError, UsageError
from lspipe.inference.detect import detect
from lspipe.inference.inputs import scale
from lspipe.models import build, read_item
from lspipe.models.item import Scaling
from lspipe.models.pack import pack
from lspipe.models.recipes import L4S_DIVISORS, RECIPES, check_channels, check_item, recipe_of

FOURTEEN = "B01 B02 B03 B04 B05 B06 B07 B08 B09 B10 B11 B12 slope dem"


# docs/method.md, Channels of the papers.
@pytest.mark.parametrize(
    ("name", "paper", "level", "channels"),
    [
        ("morales10", "000", "L2A", "B02 B03 B04 B05 B06 B07 B08 B8A B11 B12"),
        ("l4s14", "001", "L1C", FOURTEEN),
        ("yali14", "002", "L1C", FOURTEEN),
        ("yali6", "002", "L1C", "B02 B03 B04 B08 slope dem"),
        ("ghorb4", "003", "L2A", "B02 B03 B04 B08"),
        ("ghorb4+slope", "003", "L2A", "B02 B03 B04 B08 slope"),
        ("ghorb4+slope+dem", "003", "L2A", "B02 B03 B04 B08 slope dem"),
        ("vega3", "004", "none", "B04 B03 B02"),
        ("vega5", "004", "none", "B04 B03 B02 slope curvature"),
        ("vega7", "004", "none", "B04 B03 B02 slope curvature vv_before vv_after"),
        ("l4s-rgb", "001", "L1C", "B04 B03 B02"),
        # No paper's: those of a public set.
        ("sen12", "", "L2A", "B02 B03 B04 B05 B06 B07 B08 B8A B11 B12"),
        ("sen12-dem", "", "L2A", "B02 B03 B04 B05 B06 B07 B08 B8A B11 B12 dem"),
        # Other readings of the papers (docs/papers.md).
        ("morales10:dn-65535", "000", "L2A", "B02 B03 B04 B05 B06 B07 B08 B8A B11 B12"),
        ("vega3:bgr", "004", "none", "B02 B03 B04"),
        ("vega5:profile", "004", "none", "B04 B03 B02 slope profile_curvature"),
        (
            "vega7:bgr,plan,amplitude",
            "004",
            "none",
            "B02 B03 B04 slope plan_curvature vv_amplitude_before vv_amplitude_after",
        ),
    ],
)
def test_channels_are_those_of_the_paper_in_its_order(name, paper, level, channels):
    recipe = recipe_of(name)
    assert (recipe.name, recipe.paper, recipe.level) == (name, paper, level)
    assert list(recipe.channels) == channels.split()
    assert len(recipe.units) == len(recipe.channels)
    assert len(recipe.scaling.scale) in {0, len(recipe.channels)}
    assert recipe.note


def test_yali6_are_six_of_the_fourteen():
    fourteen = recipe_of("yali14")
    six = recipe_of("yali6")
    assert six.channels == tuple(fourteen.channels[index] for index in (1, 2, 3, 7, 12, 13))
    assert six.scaling.scale == tuple(fourteen.scaling.scale[i] for i in (1, 2, 3, 7, 12, 13))


def test_units_say_what_is_no_reflectance():
    assert recipe_of("l4s14").units[-2:] == ("degree", "m")
    assert recipe_of("vega7").units == (
        "reflectance", "reflectance", "reflectance", "degree", "1/100 m-1", "dB", "dB",
    )  # fmt: skip


@pytest.mark.real
def test_l4s_scaling_turns_raw_values_into_those_of_the_files(real_data):
    divisors = np.array(L4S_DIVISORS)[:, None, None]
    for path in sorted((real_data / "l4s_h5").glob("*.h5")):
        with h5py.File(path) as file:
            stored = np.moveaxis(file["img"][:], -1, 0)
        raw = stored * divisors
        # Digital numbers are whole: the vector is the one that they were divided by.
        np.testing.assert_allclose(raw[:12], np.round(raw[:12]), atol=2e-3)
        raw[:12] /= 1e4
        found = scale(torch.from_numpy(raw)[None], recipe_of("l4s14").scaling)
        np.testing.assert_allclose(found[0], stored, rtol=1e-6)


def test_vega_clips_radar_to_25_decibels_below_and_5_above():
    recipe = recipe_of("vega7")
    decibels = torch.tensor([-40.0, -25.0, -10.0, 5.0, 10.0])
    values = torch.zeros(5, 7, 1, 1)
    values[:, 6, 0, 0] = decibels
    found = scale(values, recipe.scaling)[:, 6, 0, 0]
    torch.testing.assert_close(found, torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0]))


def test_an_amplitude_of_vega_ends_where_its_decibels_end():
    recipe = recipe_of("vega7:amplitude")
    assert recipe.units[-2:] == ("1", "1")
    values = torch.zeros(4, 7, 1, 1)
    values[:, 6, 0, 0] = torch.tensor([0.0, 10 ** (5 / 20) / 2, 10 ** (5 / 20), 3.0])
    found = scale(values, recipe.scaling)
    torch.testing.assert_close(found[:, 6, 0, 0], torch.tensor([-1.0, 0.0, 1.0, 1.0]))
    # Slope and curvature are what they were.
    assert recipe.scaling.scale[:5] == recipe_of("vega7").scaling.scale[:5]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("morales10", [0.1, 0.4, 1.0]),
        ("morales10:dn-65535", [1000 / 65535, 4000 / 65535, 1.0]),
        ("morales10:patch-minmax", [0.0, 3000 / 69000, 1.0]),
        ("morales10:tile-minmax", [0.125, 0.5, 8.75]),
    ],
)
def test_indexed_to_one_is_read_in_four_ways(name, expected):
    reflectance = torch.tensor([0.1, 0.4, 7.0]).reshape(1, 1, 1, 3).repeat(1, 10, 1, 1)
    found = scale(
        reflectance,
        recipe_of(name).scaling,
        observed=torch.ones(1, 1, 1, 3, dtype=torch.bool),
        tile_range=torch.tensor([[0.0, 0.8]] * 10),
    )
    torch.testing.assert_close(found[0, 4, 0], torch.tensor(expected))


def test_the_note_of_a_reading_says_what_is_read_otherwise():
    assert recipe_of("vega5:bgr,plan").note.endswith(
        "Read otherwise here: Blue, green, red. Plan curvature."
    )
    assert recipe_of("ghorb4+slope").base == recipe_of("ghorb4").base == "ghorb4"
    assert recipe_of("vega5:bgr").base == "vega5"


def test_l4s_rgb_divides_by_the_vector_and_then_by_the_windows_largest():
    reflectance = torch.tensor([0.08, 0.05, 0.09]).reshape(1, 3, 1, 1).repeat(1, 1, 2, 2)
    reflectance[0, :, 1, 1] = 0.02
    observed = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    found = scale(reflectance, recipe_of("l4s-rgb").scaling, observed=observed)
    divided = torch.tensor([800 / 445.17289745, 500 / 663.41636217, 900 / 824.63171476])
    torch.testing.assert_close(found[0, :, 0, 0], divided / divided.max())
    assert found.max() == 1


@pytest.mark.parametrize(
    ("name", "bands", "message"),
    [
        ("ghorb4", "B04 B03 B02 B08", "found B04 as channel 1, expected B02"),
        (
            "l4s14",
            FOURTEEN.replace("slope dem", "dem slope"),
            "found dem as channel 13, expected slope",
        ),
        ("l4s14", FOURTEEN.replace("B09", "B8A"), "lacks B09; has besides B8A"),
        ("morales10", "B02 B03", "lacks B04, B05"),
        ("ghorb4", "B02 B03 B04 B08 slope", "has besides slope"),
    ],
)
def test_other_channels_are_refused_by_name(name, bands, message):
    with pytest.raises(ModelError, match=message):
        check_channels(name, bands.split())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("l4s13", r"unknown recipe 'l4s13' \(did you mean 'l4s14'\?\)"),
        ("ghorb4+aspect", "with 'aspect': expected slope or dem"),
        ("ghorb4+slope+slope", "expected slope or dem, each once"),
        ("yali6+slope", "recipe yali6 takes no further channels"),
        ("vega3+slope", "recipe vega3 takes no further channels"),
        ("vega3:plan", "recipe vega3:plan: expected bgr"),
        ("vega5:pln", r"vega5:pln \(did you mean 'plan'\?\): expected bgr, plan, profile"),
        ("vega5:plan,profile", "expected one curvature, found two"),
        ("vega3:bgr,bgr", "expected one order, found two"),
        ("l4s14:bgr", "l4s14:bgr: it has no other readings"),
        ("vega3:", "recipe vega3:: expected bgr"),
    ],
)
def test_unknown_recipes_are_refused(name, message):
    with pytest.raises(UsageError, match=message):
        recipe_of(name)


def test_a_model_item_that_names_a_recipe_has_its_channels(tmp_path):
    recipe = recipe_of("ghorb4")
    path = pack(
        build("ghorb-unet", 4, filters=2),
        tmp_path,
        item_fields={
            "id": "one", "architecture": "ghorb-unet", "arguments": {"filters": 2},
            "bands": recipe.channels, "window": 64, "scaling": recipe.scaling,
            "recipe": "ghorb4", "description": "a test", "not_for": "use",
        },
    )  # fmt: skip
    item = read_item(path)
    assert item.recipe == "ghorb4"
    check_item(item)
    document = json.loads(path.read_text())
    document["properties"]["mlm:input"][0]["bands"] = ["B04", "B03", "B02", "B08"]
    path.write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"one.json: channels in another order than recipe ghorb4"):
        check_item(read_item(path))
    assert main(["model", "check", str(path)]) == 2
    assert main(["model", "show", str(path)]) == 2
    cube = xr.DataArray(
        np.zeros((4, 8, 8), np.float32),
        dims=("band", "y", "x"),
        coords={"band": list(recipe.channels)},
    )
    with pytest.raises(ModelError, match="in another order than recipe ghorb4"):
        detect(cube, path)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_scalings_are_ones_that_an_item_can_hold(recipe):
    assert isinstance(recipe.scaling, Scaling)
    values = torch.rand(1, len(recipe.channels), 4, 4)
    observed = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    assert torch.isfinite(scale(values, recipe.scaling, observed=observed)).all()
