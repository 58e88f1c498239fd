"""Two real dates against an independent outline: the Cold Springs fire, Colorado, July 2016.

A burn score per date takes the place of the probability. The normalised burn ratio
NBR = (NIR - SWIR2) / (NIR + SWIR2) of Landsat 8 lies in -1..1 and falls where vegetation burns, so

    score = (1 - NBR) / 2    0..1; a gain of the score is half the drop of NBR (dNBR)

is a map like any other: burnt above 0.4 (NBR < 0.2), and changed where dNBR > 0.27, the lower limit
of moderate burn severity (Key & Benson 2006), which is a gain of 0.135. First as two maps, then as
a whole run: pixels of 30 m are nine of 10 m, and a model computes the score.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio.features
import rioxarray

import lspipe
from lspipe.change.compare import compare
from lspipe.change.inventory import delineate
from lspipe.cli import main
from lspipe.runs import store
from lspipe.schema import quantise
from lspipe.workflow import Workflow
from tests.pixel_models import BurnScore, write_item
from tests.readers import columns_of, counts_of, read_every_output
from tests.real_scenes import write_scene, write_workflow
from tests.reviewing import shown
from tests.stored import IN_THIS_PROCESS

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

pytestmark = pytest.mark.real

UNCLEAR = 0b111001
"""Bits of Landsat Collection 1 pixel_qa: fill, cloud shadow, snow, cloud (0, 3, 4, 5)."""

RULES = {"threshold": 0.4, "before_below": 0.4, "min_gain": 0.135}

LEAST_M2 = 4500
"""Five pixels of 30 m."""

TILE = "13TDE"
PASSES = {"before": "pre_20160707", "after": "post_20160723"}


@pytest.fixture(scope="module")
def cluster() -> dict[str, str]:
    """Blocks are computed in this process: nothing here is about workers."""
    return IN_THIS_PROCESS


def read(folder: Path, band: str) -> xr.DataArray:
    (path,) = folder.glob(f"*_{band}_crop.tif")
    with rioxarray.open_rasterio(path, masked=band != "pixel_qa") as file:
        return file.squeeze("band", drop=True).load()


def burn_score(folder: Path) -> xr.DataArray:
    near, short = read(folder, "sr_band5"), read(folder, "sr_band7")
    score = ((1 - (near - short) / (near + short)) / 2).clip(0, 1)
    is_clear = (read(folder, "pixel_qa") & UNCLEAR) == 0
    return score.where(is_clear).rio.write_crs(near.rio.crs)


@pytest.fixture(scope="module")
def scores(real_data: Path) -> tuple[xr.DataArray, xr.DataArray]:
    folder = real_data / "landsat8_pair_coldsprings_2016"
    before, after = (burn_score(folder / name) for name in PASSES.values())
    return before, after


@pytest.fixture(scope="module")
def perimeter(real_data: Path) -> gpd.GeoSeries:
    return gpd.read_file(perimeter_file(real_data)).to_crs(32613).geometry


def perimeter_file(real_data: Path) -> Path:
    return next((real_data / "landsat8_pair_coldsprings_2016" / "perimeter").glob("*.shp"))


def burn(geometry: gpd.GeoSeries, like: xr.DataArray) -> np.ndarray:
    grid = like.rio.transform()
    return rasterio.features.rasterize(geometry, like.shape, transform=grid).astype(bool)


def test_the_new_objects_are_the_burnt_area(scores, perimeter) -> None:
    change = compare(*scores, **RULES)
    found = delineate(change, min_area_m2=LEAST_M2)
    # It grew from ground that was as bare before.
    new = found[found["status"].isin(["new", "grown"])]
    # Under the cloud of the first date nothing can be said, and nothing is scored.
    seen = ~np.isnan(change["gain"].values)
    truth, listed = (burn(g, change["after"]) & seen for g in (perimeter, new.geometry))
    both = np.count_nonzero(truth & listed)
    f1 = 2 * both / (np.count_nonzero(truth) + np.count_nonzero(listed))
    assert f1 >= 0.75
    largest = new.loc[new["area_m2"].idxmax()]
    assert perimeter.contains(largest.geometry.centroid).all()
    place = gpd.points_from_xy([largest["lon"]], [largest["lat"]], crs=4326).to_crs(32613)
    assert perimeter.contains(place[0]).all()
    assert found["utm_epsg"].eq(32613).all()
    assert found.geometry.is_valid.all()


def test_what_the_cloud_hid_is_undetermined_and_not_new(scores, perimeter) -> None:
    change = compare(*scores, **RULES)
    found = delineate(change)
    hidden = burn(found[found["status"] == "undetermined"].geometry, change["after"])
    clouded = np.isnan(change["before"].values)
    burnt = change["after"].values > 0.4
    assert np.array_equal(hidden, clouded & burnt)
    assert np.count_nonzero(hidden & burn(perimeter, change["after"])) > 0


def test_swapping_the_real_dates_swaps_new_and_vanished(scores) -> None:
    forward, backward = (delineate(compare(*pair, **RULES)) for pair in (scores, scores[::-1]))
    for side in (forward, backward):
        side["status"] = side["status"].replace({"grown": "new"})
    backward["status"] = backward["status"].replace({"new": "vanished", "vanished": "new"})
    for status, table in forward.groupby("status"):
        mirrored = backward[backward["status"] == status]
        key = ["lon", "lat", "n_px"]
        one, other = (t[key].sort_values(key).to_numpy() for t in (table, mirrored))
        np.testing.assert_array_equal(one, other)


# --- a whole run --------------------------------------------------------------------------------

BANDS = {"B02": "sr_band2", "B03": "sr_band3", "B04": "sr_band4", "B08": "sr_band5",
         "B12": "sr_band7"}  # fmt: skip
"""Bands of Landsat 8 with the colour of one of Sentinel-2; steps of 1e-4 as well."""

CLASSES = {0b1000: 3, 0b10000: 11, 0b100000: 9}
"""Bits of pixel_qa as scene classes: cloud shadow, snow, cloud; all else is 4, vegetation."""


def finer(pixels: NDArray[Any]) -> NDArray[Any]:
    """Pixels of 10 m, nine of each of 30 m."""
    return np.kron(pixels, np.ones((3, 3), pixels.dtype))


def numbers(folder: Path) -> dict[str, NDArray[np.uint16]]:
    """Bands and scene classes of a pass, as an archive of Sentinel-2 has them."""
    found = {}
    for band, name in BANDS.items():
        reflectance = read(folder, name).values
        assert not np.isnan(reflectance).any()
        # 0 is no data there; below it are dark pixels that the correction darkened too far.
        found[band] = finer(np.maximum(np.rint(reflectance), 1).astype(np.uint16))
    quality = read(folder, "pixel_qa").values
    found["SCL"] = np.full(quality.shape, 4, np.uint16)
    for bit, scene_class in CLASSES.items():
        found["SCL"][(quality & bit) != 0] = scene_class
    return found | {"SCL": finer(found["SCL"]).astype(np.uint8)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, real_data, scores, cluster) -> Path:
    """The folder of a finished run, `run`; tests only read it."""
    folder = tmp_path_factory.mktemp("cold-springs")
    grid = scores[0].rio.transform()
    for name in PASSES.values():
        day = name[-8:]
        write_scene(
            folder,
            tile=TILE,
            time=f"{day[:4]}-{day[4:6]}-{day[6:]}T17:37:00Z",
            baseline="02.04",
            bands=numbers(real_data / "landsat8_pair_coldsprings_2016" / name),
            corner=grid * grid.scale(1 / 3),
            epsg=32613,
        )
    write_item(folder / "burn-score.json", BurnScore)
    workflow = write_workflow(
        folder / "cold-springs.yaml",
        folder,
        tile=TILE,
        dates={
            "before": {"start": "2016-07-01", "end": "2016-07-10"},
            "after": {"start": "2016-07-20", "end": "2016-07-31"},
        },
        model="burn-score.json",
        cluster=cluster,
        cube={"mask": {"scl": ["shadow", "snow", "cloud_high"], "dilate_px": 0}},
        change={**RULES, "tolerance_px": 3, "min_area_m2": LEAST_M2},
        evaluate={"truth": str(perimeter_file(real_data))},
    )
    summary = lspipe.run(Workflow.from_file(workflow))
    assert (summary.state, summary.failures, summary.warnings) == ("finished", (), ())
    return folder


@pytest.fixture
def run(finished) -> Path:
    return finished / "run"


def listed(run: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(run / "inventory.parquet")


def asked(capsys, *words: object) -> dict[str, Any]:
    """The answer of the command line, as a machine reads it."""
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_stores_the_burn_score_of_each_published_pixel(run, scores) -> None:
    stored = store.read(run, store.DETECTIONS, TILE, "probability")
    for codes, score in zip(stored, scores, strict=True):
        expected = quantise(finer(score.values))
        assert np.array_equal(codes == 65535, expected == 65535)
        difference = np.abs(codes.astype(int) - expected.astype(int))
        # Half-way between two codes, the last bit of an average may round to the other one. Where
        # the correction left less than nothing, the archive has the smallest number there is.
        assert np.count_nonzero(difference > 1) <= 9
        assert (difference == 0).mean() > 0.99


def test_a_run_lists_what_two_maps_of_the_scores_give(run, scores) -> None:
    # Three pixels of 10 m are the tolerance of one of 30 m.
    maps = delineate(compare(*scores, **RULES), min_area_m2=LEAST_M2)
    table = listed(run)
    key = ["status", "area_m2", "lon", "lat"]
    one, other = (rows[key].sort_values(key, ignore_index=True) for rows in (maps, table))
    assert one["status"].tolist() == other["status"].tolist()
    np.testing.assert_allclose(one[key[1:]], other[key[1:]], rtol=1e-9)
    assert sorted(table["n_px"]) == sorted(9 * maps["n_px"])


def test_every_output_of_the_run_is_read_by_other_programs(run, tmp_path) -> None:
    table = listed(run)
    assert {"new", "grown", "undetermined"} <= set(table["status"])
    assert read_every_output(run, tmp_path) == counts_of(table)


def test_the_run_is_scored_with_the_outline_of_the_burn(
    run, real_data, scores, perimeter, capsys
) -> None:
    truth = perimeter_file(real_data)
    facts = asked(capsys, "evaluate", run, "--truth", truth)
    # Counted here once more, on pixels of 10 m.
    change, grid = compare(*scores, **RULES), scores[0].rio.transform()
    seen = finer(~np.isnan(change["gain"].values))
    table = listed(run).to_crs(32613)
    known, claimed = (
        rasterio.features.rasterize(
            shapes, seen.shape, transform=grid * grid.scale(1 / 3), dtype="uint8"
        ).astype(bool)
        & seen
        for shapes in (perimeter, table.geometry[table["status"].isin(["new", "grown"])])
    )
    assert facts["km2"] == pytest.approx(np.count_nonzero(seen) * 1e-4, rel=1e-3)
    assert facts["pixels"]["counts"] == {
        "true_positive": np.count_nonzero(known & claimed),
        "false_positive": np.count_nonzero(claimed & ~known),
        "false_negative": np.count_nonzero(known & ~claimed),
        "true_negative": np.count_nonzero(seen & ~known & ~claimed),
    }
    assert facts["pixels"]["scores"]["f1"] >= 0.75
    assert facts["objects"]["recall"] == 1
    (burn,) = asked(capsys, "summarize", run, "--by", truth)["units"]
    assert burn["landslides"] == facts["objects"]["right"]
    # Where a cloud of the first date hid the burn, it was not observed.
    assert burn["observed_share"] == pytest.approx(
        known.sum() * 100 / perimeter.area.sum(), abs=0.01
    )
    assert burn["share"] == pytest.approx(facts["pixels"]["scores"]["recall"], abs=0.01)


def test_what_a_person_decides_with_the_outline_is_in_lists_report_and_scores(
    finished, tmp_path, perimeter, capsys
) -> None:
    run = shutil.copytree(finished / "run", tmp_path / "run")
    file = asked(capsys, "review", run, "--sample", "1", "--seed", "1")["file"]
    drawn = gpd.read_file(file, layer="sample").to_crs(32613)
    is_burnt = [bool(perimeter.intersects(shape).any()) for shape in drawn.geometry]
    assert 0 < sum(is_burnt) < len(is_burnt)
    answers = dict(zip(drawn["id"], np.where(is_burnt, "true", "false").tolist(), strict=True))
    decided = tmp_path / "decided.geojson"
    drawn[["id", "geometry"]].assign(reviewed=drawn["id"].map(answers)).to_crs(4326).to_file(
        decided
    )
    reviewed = asked(capsys, "review", run, decided)
    assert reviewed["carried"] == reviewed["sample"]["drawn"] == len(answers)
    assert reviewed["sample"]["precision"] == np.mean(is_burnt)
    assert shown(run / "inventory.parquet") == answers
    report = Path(asked(capsys, "report", run)["file"])
    page = columns_of(report)
    in_page = dict(zip(page["id"], page["reviewed"], strict=True))
    assert {name: answer for name, answer in in_page.items() if answer} == answers
    assert "4 true, 2 false, 0 unsure, 0 to decide; 67 % are landslides" in report.read_text(
        "utf-8"
    )
    scored = asked(capsys, "evaluate", run)["calibration"]
    assert (scored["right"], scored["wrong"]) == (sum(is_burnt), len(answers) - sum(is_burnt))
