"""A model learns from what a person says about its list, and keeps what it knew."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr

import lspipe
from lspipe.cli import main
from lspipe.models import read_item
from lspipe.runs.frozen import FrozenRun
from lspipe.workflow import Workflow
from tests.stored import IN_THIS_PROCESS
from tests.worlds import NEW_SCAR, OLD_SCAR, ground, make_world

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")

QUARRY = {"B02": 0.12, "B03": 0.16, "B04": 0.20, "B08": 0.28, "B11": 0.36, "B12": 0.30}
"""Bright rock, which the model of the demo takes for landslides."""

SCARS = (OLD_SCAR, NEW_SCAR, (170, 40, 28, 12))
QUARRIES = ((180, 180, 16, 22), (110, 40, 14, 20))
ANOTHER_QUARRY = (20, 170, 18, 20)
"""One that nobody reviewed."""


@pytest.fixture(scope="module")
def cluster() -> dict[str, str]:
    """Blocks are computed in this process: nothing here is about workers."""
    return IN_THIS_PROCESS


def forest_with(*scars):
    """Forest and scars, with a band that the usual ones lack."""

    def values(band, rows, columns):
        # Soil is a little darker at 2.2 um than at 1.6, and leaves much darker.
        plain = ground(*scars)("B11" if band == "B12" else band, rows, columns)
        return plain * (1 if band != "B12" else np.where(plain > 0.2, 0.8, 0.45))

    return values


def with_quarries(band, rows, columns):
    values = forest_with(*SCARS)(band, rows, columns)
    for row, column, height, width in (*QUARRIES, ANOTHER_QUARRY):
        inside = (rows >= row) & (rows < row + height)
        inside &= (columns >= column) & (columns < column + width)
        values = np.where(inside, QUARRY[band] * (1 + 0.05 * np.sin(rows / 3)), values)
    return values


@pytest.fixture(scope="module")
def run(tmp_path_factory, cluster):
    """A finished run of the demo model: scars, and quarries that it lists with them."""
    world = make_world(
        tmp_path_factory.mktemp("world"),
        before={"bands": BANDS, "values": forest_with(OLD_SCAR)},
        after={"bands": BANDS, "values": with_quarries},
        model={"item": "shipped:demo"},
        inference={},
        cluster=cluster,
        execution={"block": 240, "retries": 0},
    )
    lspipe.run(Workflow.from_file(world.workflow))
    return world.run


def outline(rectangle):
    row, column, height, width = rectangle
    west, north = 699960 + 10 * column, 5200000 - 10 * row
    return shapely.box(west, north - 10 * height, west + 10 * width, north)


def listed_at(inventory, rectangle):
    """Ids of the listed objects that touch a rectangle."""
    return inventory["id"][inventory.to_crs(32718).intersects(outline(rectangle))].tolist()


def decide(run, path):
    """Say true to the scars and false to two of the quarries, as a person would."""
    inventory = gpd.read_parquet(run / "inventory.parquet")
    answers = {name: True for scar in SCARS for name in listed_at(inventory, scar)}
    answers |= {name: "false" for quarry in QUARRIES for name in listed_at(inventory, quarry)}
    features = [
        {"type": "Feature", "geometry": None, "properties": {"id": name, "reviewed": answer}}
        for name, answer in answers.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def probabilities(run, model):
    """The model's map of the later date."""
    frozen = FrozenRun.of(run)
    tile = frozen.tiles[0]
    pixels, _ = frozen.read(tile, tile.steps[1], BANDS, (slice(0, 240), slice(0, 240)))
    cube = xr.DataArray(pixels, dims=("band", "y", "x"), coords={"band": list(BANDS)})
    return lspipe.detect(cube, model, window=64, stride=32).values


def mean_at(probability, rectangle):
    row, column, height, width = rectangle
    return float(probability[row : row + height, column : column + width].mean())


def test_a_reviewed_false_alarm_fades_and_confirmed_landslides_stay(run, tmp_path, capsys):
    decisions = decide(run, tmp_path / "decisions.geojson")
    words = ["model", "adapt", str(run), str(decisions), "--output", str(tmp_path / "models")]
    assert main([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert "epoch 60: loss" in said.err
    facts = json.loads(said.out)
    assert facts["objects"] == {
        "true": 3,
        "false": 2,
        "unsure": 0,
        "unreviewed": 1,
        "unseen": 0,
        "drawn": 0,
    }
    assert facts["after"]["wrong"] < facts["before"]["wrong"]
    assert facts["after"]["recall"] == 1
    before, after = (probabilities(run, model) for model in ("shipped:demo", facts["item"]))
    for quarry in QUARRIES:
        assert mean_at(before, quarry) > 0.9
        assert mean_at(after, quarry) < 0.5
    # What it learnt is about quarries, not about these two.
    assert mean_at(after, ANOTHER_QUARRY) < mean_at(before, ANOTHER_QUARRY) - 0.3
    for scar in SCARS:
        assert mean_at(after, scar) > 0.9

    adapted = read_item(facts["item"])
    parent = read_item("shipped:demo")
    assert adapted.id == "demo-adapted"
    assert adapted.scaling == parent.scaling
    assert parent.sha256 in adapted.description
    assert adapted.training["init_from"] == {"id": "demo", "sha256": parent.sha256}
    assert (adapted.training["windows"], adapted.training["epochs_run"]) == (5, 60)
    assert "3 true, 2 false, in 5 windows of tile 18GYS" in adapted.description
    assert adapted.not_for.startswith(parent.not_for)
    assert "Adapted to tile 18GYS" in adapted.not_for
    assert main(["model", "check", facts["item"]]) == 0
    capsys.readouterr()

    # It is never written over.
    assert main(words) == 2
    assert "demo-adapted.json: exists already" in capsys.readouterr().err


def test_a_network_is_trained_on_a_run_and_outlines_of_its_landslides(run, tmp_path, capsys):
    outlines = [outline(scar) for scar in SCARS]
    labels = tmp_path / "landslides.geojson"
    gpd.GeoDataFrame(geometry=outlines, crs=32718).to_crs(4326).to_file(labels)
    words = ["--labels", str(labels), "--recipe", "ghorb4", "--architecture", "ghorb-unet"]
    words += ["--argument", "filters=4", "--window", "64", "--set", "epochs=2"]
    command = ["model", "train", "--data", str(run), "--output", str(tmp_path / "mine"), *words]
    assert main([*command, "--split", "random", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    item = read_item(facts["item"])
    assert (item.recipe, item.window) == ("ghorb4", 64)
    record = json.loads((tmp_path / "mine" / "training.json").read_text())
    assert record["training"]["patches"] > record["validation"]["patches"] >= 1
    for recipe, lacking in (
        ("morales10", "B05"),
        ("l4s14", "slope, dem: the run knows no terrain"),
    ):
        assert main([*command, "--recipe", recipe, "--fresh"]) == 2
        assert lacking in capsys.readouterr().err
