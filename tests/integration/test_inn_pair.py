"""A real pair of scenes through the whole of `lspipe.run`: fields along the Inn, 2021.

Two Sentinel-2 L2A scenes of T33UUP (17 June and 25 September 2021), red, green, blue and near
infrared, cloud-free. There are no landslides: what opens up between the dates are harvested fields,
so there is plenty of change, and every pixel's probability is known from the published file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  # adds .rio
import shapely
import torch
import xarray as xr

import lspipe
from lspipe.evaluate.run_scores import score_run
from lspipe.evaluate.scorecard import read
from lspipe.evaluate.units import summarise
from lspipe.models import read_item
from lspipe.runs import store
from lspipe.runs.caution import warnings
from lspipe.samples.chips import chips
from lspipe.schema import quantise
from lspipe.workflow import Workflow
from tests.inn import DATES, JUNE, ORDER, SEPTEMBER, TILE, Pair, workflow_of, write_archive
from tests.pixel_models import BareSoil
from tests.readers import counts_of, read_every_output
from tests.stored import IN_THIS_PROCESS
from tests.worlds import lspipe as command_line

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.runs.summary import Summary

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def cluster() -> dict[str, str]:
    """Blocks are computed in this process: nothing here is about workers."""
    return IN_THIS_PROCESS


@pytest.fixture(scope="module")
def pair(real_data: Path) -> Pair:
    return Pair.of(real_data)


def listed(folder: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(folder / "run" / "inventory.parquet")


def shapes_of(table: gpd.GeoDataFrame, status: str) -> list[bytes]:
    return sorted(shapely.to_wkb(table.geometry[table["status"] == status].to_numpy()))


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, pair: Pair, cluster: dict[str, str]
) -> tuple[Path, Summary]:
    """A finished run, before = June; tests only read it."""
    folder = tmp_path_factory.mktemp("inn")
    write_archive(folder, pair)
    workflow = workflow_of(folder, folder, cluster)
    return folder, lspipe.run(Workflow.from_file(workflow))


def test_every_block_of_the_real_pair_is_done(finished) -> None:
    folder, summary = finished
    assert (summary.state, summary.exit_code, summary.failures) == ("finished", 0, ())
    # 379 x 578 px in blocks of 290: 290 + 89 rows, 290 + 288 columns, on two dates.
    assert (summary.total, summary.done) == (8, 8)
    assert store.done(folder / "run", TILE).all()
    assert summary.observed_share == 1
    # Hard negatives: fields are cut and sown, so much of the scene changes either way.
    counts = listed(folder)["status"].value_counts()
    assert min(counts["new"], counts["vanished"], counts["persistent"]) > 20


def test_the_stored_maps_lie_exactly_on_the_published_grid(finished, pair) -> None:
    folder, _ = finished
    with xr.open_dataset(
        folder / "run" / "detections.zarr",
        group=TILE,
        engine="zarr",
        consolidated=False,
        decode_coords="all",
    ) as maps:
        assert maps.rio.crs.to_epsg() == 32633
        assert maps.rio.transform() == pair.grid
        assert maps.rio.shape == pair.shape
        assert [str(time)[:10] for time in maps["time"].values] == [JUNE[:10], SEPTEMBER[:10]]


def test_a_stored_probability_is_that_of_the_same_pixel_of_the_published_file(
    finished, pair
) -> None:
    folder, _ = finished
    stored = store.read(folder / "run", store.DETECTIONS, TILE, "probability").astype(int)
    network = BareSoil(4)
    for codes, scene in zip(stored, (pair.june, pair.september), strict=True):
        numbers = np.stack([scene[band] for band in ("B02", "B03", "B04", "B08")])
        reflectance = torch.from_numpy(numbers.astype(np.float32) * np.float32(1e-4))
        expected = quantise(network(reflectance[None])[0, 0].numpy()).astype(int)
        # Half-way between two codes, the last bit of an average may round to the other one.
        assert np.abs(codes - expected).max() <= 1
        assert (codes == expected).mean() > 0.999
        # The test would see a shift of one pixel: a neighbour's probability is another.
        assert (codes[:, 1:] == expected[:, :-1]).mean() < 0.5
        assert (codes[1:] == expected[:-1]).mean() < 0.5


def test_outlines_run_along_the_edges_of_published_pixels(finished, pair) -> None:
    folder, _ = finished
    table = listed(folder)
    assert table.crs.to_epsg() == 4326
    assert set(table["utm_epsg"]) == {32633}
    corners = shapely.get_coordinates(table.to_crs(32633).geometry.to_numpy())
    pixels = (corners - [pair.grid.c, pair.grid.f]) / [10, -10]
    # 1e-5 pixels are 0.1 mm: what the way to degrees and back leaves.
    np.testing.assert_allclose(pixels, np.rint(pixels), rtol=0, atol=1e-5)
    rows, columns = pair.shape
    assert np.rint(pixels.min(axis=0)).tolist() == [0, 0]
    assert np.rint(pixels.max(axis=0)).tolist() == [columns, rows]


def test_the_new_polygons_hold_the_pixels_that_became_bare(finished, pair) -> None:
    folder, _ = finished
    table = listed(folder).to_crs(32633)
    before, after = store.read(folder / "run", store.DETECTIONS, TILE, "probability")
    became_bare = (after > 5000) & (before <= 3000)
    burnt = rasterio.features.rasterize(
        table.geometry[table["status"] == "new"], pair.shape, transform=pair.grid
    ).astype(bool)
    assert (after[burnt] > 5000).all()
    assert (before[burnt] <= 5000).all()
    # The rest of them touch what was bare before, or are below the smallest area.
    assert (became_bare & burnt).sum() > 0.5 * became_bare.sum()


def test_patches_of_the_run_are_the_published_pixels_under_its_own_outlines(finished, pair) -> None:
    folder, _ = finished
    table = listed(folder)
    new = table[table["status"] == "new"].nlargest(3, "n_px")
    samples = chips(folder / "run", new, window=64, background=0.5)
    after = store.read(folder / "run", store.DETECTIONS, TILE, "probability")[1]
    covered = set()
    for name in samples.names:
        row, column = map(int, name.split("_")[2:])
        part = slice(row, row + 64), slice(column, column + 64)
        image, mask = samples.read(name)
        numbers = np.stack([pair.september[band][part] for band in ("B02", "B03", "B04", "B08")])
        np.testing.assert_array_equal(image, numbers.astype(np.float32) * np.float32(1e-4))
        assert (after[part][mask == 1] > 5000).all()
        rows, columns = np.nonzero(mask == 1)
        covered |= set(zip((rows + row).tolist(), (columns + column).tolist(), strict=True))
    # Through degrees and back, no pixel is lost or won.
    assert len(covered) == new["n_px"].sum()


def test_a_second_run_of_the_real_pair_writes_nothing(finished) -> None:
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in (folder / "run").rglob("*")}
    again = lspipe.run(Workflow.from_file(folder / "inn.yaml"))
    assert (again.done, again.skipped) == (0, again.total)
    assert {path: path.stat().st_mtime_ns for path in (folder / "run").rglob("*")} == before


def test_every_output_is_read_by_programs_that_lspipe_did_not_write(finished, tmp_path) -> None:
    folder, _ = finished
    found = listed(folder)
    assert len(found) > found["status"].isin(["new", "grown"]).sum() > 0
    assert read_every_output(folder / "run", tmp_path) == counts_of(found)


def test_a_list_scored_against_itself_is_all_right(finished, tmp_path) -> None:
    folder, _ = finished
    found = listed(folder)
    truth = tmp_path / "truth.gpkg"
    found[found["status"].isin(["new", "grown"])][["geometry"]].to_file(truth)
    scores = score_run(folder / "run", truth)
    assert scores.pixels.scores.f1 == pytest.approx(1, abs=1e-3)
    assert scores.objects.scores.precision == scores.objects.scores.recall == 1
    units = summarise(folder / "run", grid_km=1)
    assert units["landslides"].sum() == scores.listed + scores.listed_left_out


def test_swapping_the_real_dates_swaps_new_and_vanished(finished, tmp_path, cluster) -> None:
    folder, _ = finished
    swapped = {"before": DATES["after"], "after": DATES["before"]}
    workflow = workflow_of(tmp_path, folder, cluster, dates=swapped)
    # Through the command line, whose process finds the model's module by PYTHONPATH.
    answer = command_line("run", workflow)
    assert answer.returncode == 0, answer.stderr
    there, back = listed(folder), listed(tmp_path)
    # Its mirror is vanished, as that of new is.
    for side in (there, back):
        side["status"] = side["status"].replace({"grown": "new"})
    for status, mirrored in (
        ("new", "vanished"),
        ("vanished", "new"),
        ("persistent", "persistent"),
    ):
        assert shapes_of(there, status) == shapes_of(back, mirrored)
    assert set(there["status"]) == {"new", "vanished", "persistent"}


def decisions(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    content = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
    return {(d["item"], d["asset"]): d for d in content["tiles"][TILE]["radiometry"]}


def test_the_offset_of_each_real_scene_is_decided_and_recorded(finished) -> None:
    folder, _ = finished
    found = decisions(folder)
    scenes = {f"S2A_{TILE}_20210617_0_L2A": "03.00", f"S2A_{TILE}_20210925_0_L2A": "03.01"}
    assert set(found) == {(scene, band) for scene in scenes for band in ORDER}
    for (scene, _), decision in found.items():
        assert (decision["scale"], decision["offset"]) == (1e-4, 0)
        assert f"baseline {scenes[scene]}" in decision["reason"]


def test_a_scene_of_baseline_4_with_its_1000_gives_the_same_list(
    finished, pair, tmp_path, cluster
) -> None:
    folder, _ = finished
    write_archive(tmp_path, pair, september_shift=1000)
    workflow = workflow_of(tmp_path, tmp_path, cluster)
    summary = lspipe.run(Workflow.from_file(workflow))
    assert summary.state == "finished"
    offsets = {scene: entry["offset"] for (scene, _), entry in decisions(tmp_path).items()}
    assert offsets[f"S2A_{TILE}_20210617_0_L2A"] == 0
    assert offsets[f"S2A_{TILE}_20210925_0_L2A"] == pytest.approx(-0.1)
    for layer in ("probability", "quality"):
        np.testing.assert_array_equal(
            *(store.read(f / "run", store.DETECTIONS, TILE, layer) for f in (folder, tmp_path))
        )
    assert listed(tmp_path).equals(listed(folder))


def test_the_shipped_network_runs_on_the_real_pair_and_its_level_is_warned_of(
    pair, tmp_path, cluster
) -> None:
    write_archive(tmp_path, pair)
    path = workflow_of(
        tmp_path,
        tmp_path,
        cluster,
        model="shipped:l4s-rgb",
        inference={"overlap": 0.0, "tta": "none"},
    )
    plan = lspipe.plan(Workflow.from_file(path))
    assert any("L1C" in text and "L2A" in text for text in warnings(plan))
    summary = lspipe.run(Workflow.from_file(path))
    assert (summary.state, summary.failures) == ("finished", ())
    table = listed(tmp_path)
    km2 = pair.shape[0] * pair.shape[1] * 1e-4
    # There are no landslides: what its scorecard says of the east holds for the whole, roughly.
    (expected,) = (
        alarms for alarms in read(read_item("shipped:l4s-rgb")).false_alarms if alarms.dates == 2
    )
    allowed = 3 * (expected.objects / expected.area_km2) + 1
    assert (table["status"] == "new").sum() / km2 < allowed
