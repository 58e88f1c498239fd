"""Every recipe of the papers: its channels read from scenes, heights and radar, and run.

The networks are those of the recipe's own paper where they are small, with random weights. What is
shown is that a run reads what the recipe names, in its units, and computes what `detect` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pytest
import torch
from affine import Affine
from torch import nn

import lspipe
from lspipe.errors import ModelError
from lspipe.models import build
from lspipe.models.pack import pack
from lspipe.models.recipes import L4S_DIVISORS, RECIPES, recipe_of
from lspipe.runs import pipeline, store
from lspipe.runs.plan import open_step
from lspipe.runs.validation import validate
from lspipe.schema import (
    CHANNELS,
    CODE_NODATA,
    CUBE_NODATA,
    is_pair,
    quantise,
    source_of,
    split_channel,
)
from lspipe.workflow import Workflow
from tests.backscatter import add_slice
from tests.ground import write_raster
from tests.stored import compute_here
from tests.worlds import World, make_world, plan_only

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

TILE = "18GYS"
CORNER = (699960, 5200000)
SIZE = 112
"""Edge of the tile, pixels: two windows and a half along each side."""

WINDOW = 64

# At the top of the atmosphere; the surface is darker in the blue.
TOP = dict(zip(recipe_of("l4s14").channels[:12], np.array(L4S_DIVISORS[:12]) / 1e4, strict=True))
SURFACE = TOP | {"B8A": 0.21, "B01": 0.03, "B02": 0.04, "B03": 0.05, "B04": 0.035}


@dataclass(frozen=True)
class Fed:
    """A recipe, and the network that it feeds."""

    recipe: str
    network: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> tuple[str, ...]:
        return recipe_of(self.recipe).channels

    def of(self, source: str) -> list[str]:
        """Channels that are read from a source, without their dates."""
        names = [split_channel(one)[1] for one in self.channels if source_of(one) == source]
        return list(dict.fromkeys(names))


TINY = {"filters": 8}

WITH_RADAR = (
    Fed("vega7", "vega-unet", TINY),
    Fed("vega7:bgr,plan,amplitude", "vega-unet", TINY),
    Fed("sen12-radar", "ghorb-unet", TINY),
)

FED = (
    Fed("morales10", "deeplabv3plus-resnet50"),
    Fed("l4s14", "contextnet"),
    Fed("yali14", "yali-mobilenetv2"),
    Fed("yali6", "yali-mobilenetv2"),
    Fed("ghorb4", "ghorb-unet"),
    Fed("vega3", "vega-unet", TINY),
    Fed("vega5", "vega-unet", TINY),
    Fed("l4s-rgb", "ghorb-resunet", TINY),
    Fed("sen12", "ghorb-unet", TINY),
    Fed("sen12-dem", "ghorb-unet", TINY),
    # Read otherwise, with terrain besides, and of two dates.
    Fed("morales10:tile-minmax", "ghorb-unet", TINY),
    Fed("morales10:patch-minmax", "ghorb-unet", TINY),
    Fed("ghorb4+slope+dem", "ghorb-unet", TINY),
    Fed("vega5:bgr,profile", "vega-unet", TINY),
    Fed("ghorb4:pair", "ghorb-unet", TINY),
    *WITH_RADAR,
)


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)


def reflectance(band: str, rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[Any]:
    """A level of each band's own, and 20 % of waves of its own, by pixels of 10 m."""
    seed = sum(map(ord, band))
    return 1 + 0.2 * np.sin(rows / 9 + seed) * np.cos(columns / 11 - seed)


def height(rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[Any]:
    """Hills of up to 38 degrees, metres, by pixels of 10 m from the tile's corner."""
    return 1200 + 130 * np.sin(rows / 21) + 90 * np.cos(columns / 13)


def backscatter(rows: NDArray[Any], columns: NDArray[Any], date: str) -> NDArray[Any]:
    """Linear power, twice as much in the middle on the date after, by pixels of 10 m."""
    power = 0.1 * (1 + 0.4 * np.sin(rows / 8) * np.cos(columns / 10))
    is_changed = (np.abs(rows - SIZE / 2) < 16) & (np.abs(columns - SIZE / 2) < 16)
    return power * np.where(is_changed & (date == "after"), 2, 1)


def edge_of_change(rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.bool_]:
    far = np.maximum(np.abs(rows - SIZE / 2), np.abs(columns - SIZE / 2))
    return np.asarray(np.abs(far - 16) < 2)


def write_radar(folder: Path) -> None:
    """Write three dates of each side, without speckle, on pixels of their own."""
    rows, columns = np.mgrid[-30 : SIZE + 30, -30 : SIZE + 30] + 0.5
    corner = (CORNER[0] - 300 + 4, CORNER[1] + 300 - 3)
    for date, year in (("before", 2017), ("after", 2018)):
        power = backscatter(rows + 0.3, columns + 0.4, date)
        for day in ("02", "14", "26"):
            time = f"{year}-01-{day}T10:00:00Z"
            add_slice(folder, time=time, power=power, crs=32718, corner=corner)


def write_heights(path: Path) -> None:
    rows, columns = np.mgrid[-60 : SIZE + 60, -60 : SIZE + 60] + 0.5
    corner = Affine(10, 0, CORNER[0] - 600, 0, -10, CORNER[1] + 600)
    write_raster(path, height(rows, columns).astype(np.float32), corner, crs=32718)


def random_network(fed: Fed) -> nn.Module:
    """Return the network with random weights, whose output varies where its input does."""
    torch.manual_seed(7)
    network = build(fed.network, len(fed.channels), **fed.arguments)
    noise = torch.rand(4, len(fed.channels), WINDOW, WINDOW)
    with torch.no_grad():
        network.train()(noise)  # statistics of batches, or numbers grow from layer to layer
        logits = torch.logit(network.eval()(noise), eps=1e-6)
        last = [part for part in network.modules() if isinstance(part, nn.Conv2d)][-1]
        last.weight /= logits.std()
        last.bias -= logits.mean()
        last.bias /= logits.std()
    return network


def make(folder: Path, fed: Fed, **sections: Any) -> World:
    """Write scenes of the recipe's own level, heights, and an item of random weights."""
    recipe = recipe_of(fed.recipe)
    fields = {
        "id": "random", "architecture": fed.network, "arguments": fed.arguments,
        "bands": recipe.channels, "window": WINDOW, "overlap": 0.5, "tta": "none",
        "recipe": fed.recipe, "scaling": recipe.scaling, "description": "random weights",
        "not_for": "anything",
    }  # fmt: skip
    item = pack(random_network(fed), folder / "models", item_fields=fields)
    is_top = recipe.level == "L1C"
    collection = "sentinel-2-l1c" if is_top else "sentinel-2-l2a"
    means = TOP if is_top else SURFACE
    scene = {
        "bands": fed.of("scenes"),
        "values": lambda band, *place: means[band] * reflectance(band, *place),
        "collection": collection,
        "scl": None if is_top else 4,
        "properties": {"processing:level": "L1C"} if is_top else {},
    }
    write_heights(folder / "dem.tif")
    if fed.of("radar"):
        write_radar(folder)
    given = {
        "search": {"catalog": "items", "collection": collection},
        "cube": {"mask": {"scl": [], "dilate_px": 0}} if is_top else {},
        # The heights of Landslide4Sense are those above the ellipsoid.
        "terrain": {"dem": "dem.tif", "datum": "ellipsoid"} if fed.of("terrain") else {},
        "radar": {"collection": "sentinel-1-rtc"} if fed.of("radar") else {},
        "model": {"item": str(item)},
        "inference": {"batch_size": 4},
        "cluster": {"kind": "tests.stored:here"},
        "execution": {"block": SIZE, "retries": 0},
    }
    return make_world(folder, size=SIZE, before=scene, after=scene, **given | sections)


def cube_of(plan: Any, number: int) -> xr.Dataset:
    with dask.config.set(scheduler="synchronous"):
        return open_step(plan.tiles[0], plan.tiles[0].steps[number], plan.workflow).compute()


def check_units(cube: xr.DataArray, fed: Fed) -> None:
    """Compare each channel with what was simulated, in physical units, by its mean and range."""
    means = TOP if recipe_of(fed.recipe).level == "L1C" else SURFACE
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    ground = height(rows, columns)
    down, across = np.gradient(ground, 10)
    degrees = np.degrees(np.arctan(np.hypot(down, across)))
    inner = (slice(8, -8), slice(8, -8))
    for channel in fed.channels:
        name = split_channel(channel)[1]
        found = cube.sel(band=channel).to_numpy() * CHANNELS[name].step
        assert (cube.sel(band=channel) != CUBE_NODATA).all(), channel
        if source_of(channel) == "scenes":
            expected, tolerance = means[name] * reflectance(name, rows, columns), means[name] / 15
        elif source_of(channel) == "radar":
            power = backscatter(rows, columns, split_channel(channel)[0])
            expected = np.sqrt(power) if name == "VV_amplitude" else 10 * np.log10(power)
            tolerance = 0.2 if name == "VV" else 0.01
            # Beside the edge of what changed, a pixel of the file lies on both sides.
            expected = np.where(edge_of_change(rows, columns), found, expected)
        elif name in ("elevation", "slope"):
            expected, tolerance = (ground, 3) if name == "elevation" else (degrees, 1)
        else:
            # Signs as Esri has them: convex is positive, but for the profile.
            sign = -1 if name == "profile_curvature" else 1
            likeness = np.corrcoef(found[inner].ravel(), sign * ground[inner].ravel())[0, 1]
            assert likeness > 0.2, channel
            continue
        assert np.abs(found - expected)[inner].max() < tolerance + CHANNELS[name].step, channel


def test_no_recipe_is_left_out():
    assert {one.recipe for one in FED} >= set(RECIPES)


@pytest.mark.parametrize("fed", FED, ids=lambda fed: fed.recipe)
def test_a_recipe_is_read_into_a_cube_and_its_run_is_the_detect_of_it(fed, tmp_path):
    world = make(tmp_path, fed)
    assert lspipe.run(Workflow.from_file(world.workflow)).state == "finished"
    plan = plan_only(Workflow.from_file(world.workflow))
    codes = store.read(world.run, store.DETECTIONS, TILE, "probability")
    for number in [1] if is_pair(fed.channels) else [0, 1]:
        cube = cube_of(plan, number)
        pixels = cube["reflectance"].sel(band=list(plan.model.bands))
        assert tuple(plan.model.bands) == fed.channels
        check_units(pixels, fed)
        found = lspipe.detect(pixels, plan.model.reference, mask=cube["quality"] != 0, batch_size=4)
        np.testing.assert_array_equal(codes[number], quantise(found.values))
        # Of numbers that vary, or nothing would be shown.
        assert (codes[number] != CODE_NODATA).all()
        assert len(np.unique(codes[number])) > 100


@pytest.mark.parametrize("fed", WITH_RADAR, ids=lambda fed: fed.recipe)
def test_a_recipe_with_radar_is_refused_where_nothing_supplies_it(fed, tmp_path):
    world = make(tmp_path, fed, radar={})
    with pytest.raises(ModelError, match=r"vv_\w+, vv_\w+, which are of the section radar"):
        validate(Workflow.from_file(world.workflow))
