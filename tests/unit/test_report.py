"""The report: what stands on the page, what cannot break out of it, and what its pictures show."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rioxarray  # noqa: F401  # registers the .rio accessor
import shapely
import xarray as xr
from PIL import Image
from pyproj import Transformer

import lspipe
from lspipe import outputs
from lspipe.cli import main
from lspipe.outputs.report import INSIDE, ROWS, chips, facts, page, rows
from lspipe.outputs.report.charts import charts
from lspipe.outputs.report.facts import grouped
from lspipe.outputs.report.outlines import Plane
from lspipe.outputs.report.pictures import Frame, gaps_on, lightened, pictures_of, shrunk, steps_of
from lspipe.runs import pipeline, store
from lspipe.runs.opened import Run, open_run
from lspipe.runs.reporting import report
from lspipe.schema.columns import FLAGS
from tests.stored import compute_here
from tests.worlds import NEW_SCAR, make_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE = 200
"""Rows and columns of the world."""

HOSTILE = "</script><script>alert(1)</script><!--"


class Page(HTMLParser):
    """A parsed page: its elements, and the text in each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._inside, data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def words(self) -> str:
        """What a person reads."""
        return " ".join(text for tag, text in self.texts if tag not in {"script", "style"})

    @property
    def ids(self) -> list[str | None]:
        """Objects of the rows of the list."""
        return [one["data-landslide-id"] for one in self.all("tr") if "data-landslide-id" in one]

    @property
    def data(self) -> Any:
        """What the script reads."""
        (text,) = (text for tag, text in self.texts if tag == "script" and text.startswith("{"))
        return json.loads(text)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two dates, with a cloud after."""
    world = make_world(
        tmp_path_factory.mktemp("world"),
        size=SIZE,
        after={"clouds": ((20, 20, 10),)},
        cluster={"kind": "tests.stored:here"},
        output={"path": "run", "write": ["geoparquet", "report"]},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stream, "compute", compute_here)
        lspipe.run(world.workflow)
    return world.run


@pytest.fixture(scope="module")
def run(directory: Path) -> Run:
    return open_run(directory)


@pytest.fixture(scope="module")
def whole(directory: Path) -> Page:
    """The report that the run wrote."""
    return Page((directory / "report.html").read_text("utf-8"))


def with_list(run: Run, inventory: gpd.GeoDataFrame, **record: Any) -> Run:
    """The same run with another list."""
    lists = {"inventory": inventory, "unobserved": run.unobserved}
    return Run(run.path, {**run.record, **record}, lists)


def many(run: Run, count: int) -> gpd.GeoDataFrame:
    """The first object again and again, on a grid of places."""
    one = run.inventory.iloc[[0] * count].reset_index(drop=True)
    at = np.arange(count)
    shapes = [
        shapely.affinity.translate(shape, 1e-4 * (i % 50), 1e-4 * (i // 50))
        for i, shape in enumerate(one.geometry)
    ]
    return one.assign(id=[f"o{i}" for i in at], confidence=1 - at / count).set_geometry(shapes)


# --- what stands on the page ----------------------------------------------------------------------


def test_a_change_of_backscatter_that_rounds_to_nothing_has_no_minus():
    medians = {"18GYS": {"asc": -0.04, "desc": -0.06}, "18GYT": {}}
    record = {"seen_by_radar": {"told": "saw all", "median_db": medians}}
    assert facts._radar(SimpleNamespace(record=record)) == [
        ("radar", "saw all"),
        ("median change of backscatter", "18GYS +0.0 dB ascending, -0.1 dB descending"),
    ]


def test_each_object_is_a_row_with_its_id(whole: Page, run: Run) -> None:
    assert sorted(whole.ids) == sorted(run.inventory["id"])
    assert run.inventory["id"].size == 2


def test_the_head_says_what_is_new_how_large_and_how_much_was_seen(whole: Page, run: Run) -> None:
    new = run.inventory.query("status == 'new'")
    assert "new landslides 1 their area" in whole.words
    assert f"their area {new['area_m2'].sum() / 1e4:.1f} ha" in whole.words
    assert f"{100 * run.record['observed_share']:.1f} % of the area" in whole.words
    assert "before 2017-01-15 after 2018-01-20" in whole.words
    assert "Contains modified Copernicus Sentinel data 2017, 2018" in whole.words


def test_what_was_run_can_be_read(whole: Page, run: Run) -> None:
    assert "baseline 04.00" in whole.words
    assert "reflectance = 0.0001 x number - 0.1" in whole.words
    assert "before_below: 0.3" in whole.words
    assert run.model["sha256"] in whole.words
    assert "cloud" in [text for tag, text in whole.texts if tag == "i"]


def test_a_finished_run_has_no_stamp_and_real_scenes_none_either(whole: Page) -> None:
    assert "PARTIAL" not in whole.words
    assert "SIMULATED" not in whole.words


def test_made_up_scenes_are_called_so(run: Run) -> None:
    text = json.dumps(run.record).replace("S2A_18GYS", "S2A_SIMULATED_18GYS")
    assert "SIMULATED" in Page(page(replace(run, record=json.loads(text)))).words


def test_failures_with_the_same_message_are_one() -> None:
    failures = [{"error": "LoadError: 403", "tile": tile} for tile in ("18GYS", "18GYT", "18GYS")]
    assert grouped([*failures, {"error": "other", "tile": "18GYS"}]) == [
        {"error": "LoadError: 403", "blocks": 3, "tiles": "18GYS, 18GYT"},
        {"error": "other", "blocks": 1, "tiles": "18GYS"},
    ]


def test_how_long_each_stage_took_stands_on_the_page(run: Run) -> None:
    took = {"seconds": 4000, "timings": {"search": 2.4, "blocks": 3900.0}}
    words = Page(page(replace(run, record={**run.record, **took}))).words
    assert "time 1 h 7 min of which search 2 s, blocks 1 h 5 min" in words


def test_failures_and_warnings_stand_on_the_page(run: Run) -> None:
    failed = {"failures": [{"error": "LoadError: HTTP 403", "tile": "18GYS"}], "state": "partial"}
    warned = failed | {"warnings": ["18GYS: seasons differ"]}
    words = Page(page(replace(run, record={**run.record, **warned}))).words
    assert "1 block failed in 18GYS: LoadError: HTTP 403" in words
    assert "18GYS: seasons differ" in words
    assert "PARTIAL the run is partial; blocks: 18GYS: 18 of 18 done" in words


# --- what a random sample implies -----------------------------------------------------------------


@pytest.fixture
def sampled(directory: Path, tmp_path: Path) -> Callable[..., Page]:
    """The page of a run of 20 new objects, of which a sample was drawn."""
    copy = shutil.copytree(directory, tmp_path / "run")
    objects = many(open_run(copy), 20).assign(status="new")

    def make(answers: list[str | None], *, seed: Any = 7) -> Page:
        drawn = objects["id"].tolist()[: len(answers)]
        store.write_json(copy / "sample.json", {"ids": drawn, "of": 20, "seed": seed})
        reviewed = [*answers, *["false"] * (20 - len(answers))]
        return Page(page(with_list(open_run(copy), objects.assign(reviewed=reviewed))))

    return make


def test_the_page_tells_what_a_random_sample_implies(sampled: Callable[..., Page]) -> None:
    words = sampled([*["true"] * 6, *["false"] * 2, "unsure", None]).words
    assert "of them right, by a sample 75 %, 41 to 93" in words
    assert (
        "10 of 20 drawn by chance (seed 7): 6 true, 2 false, 1 unsure, 1 to decide; 75 % are "
        "landslides, 95 % interval of the whole list 41 to 93 % (Wilson)"
    ) in words


def test_a_sample_that_nobody_decided_about_implies_nothing(sampled: Callable[..., Page]) -> None:
    words = sampled([None, None]).words
    assert "of them right, by a sample - %" in words
    assert "2 of 20 drawn by chance (seed 7): 0 true, 0 false, 0 unsure, 2 to decide" in words
    assert "interval of the whole list" not in words


def test_a_page_without_a_sample_has_no_share(whole: Page) -> None:
    assert "sample" not in whole.words


def test_what_stands_in_the_record_of_a_sample_is_a_text(sampled: Callable[..., Page]) -> None:
    found = sampled(["true"], seed="<b>7</b>")
    assert "(seed <b>7</b>)" in found.words
    assert found.all("b") == []


def test_a_run_without_lists_shows_its_pictures(directory: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(directory, tmp_path / "run")
    for path in copy.glob("*.parquet"):
        path.unlink()
    record = store.read_json(copy / "run.json") | {"state": "interrupted"}
    for key in ("counts", "observed_share", "failures", "windows", "seconds", "warnings"):
        record.pop(key)
    store.write_json(copy / "run.json", record)
    shown = Page(page(open_run(copy)))
    assert "PARTIAL the run is interrupted" in shown.words
    assert "There is no list yet" in shown.words
    assert shown.ids == []
    assert [one["role"] for one in shown.data["pictures"]] == ["before", "after"]


def test_a_run_of_one_date_has_no_before(run: Run) -> None:
    record = json.loads(json.dumps(run.record))
    record["workflow"]["dates"] = {"after": record["workflow"]["dates"]["after"]}
    found = run.inventory.assign(status="detected", date_before=pd.NaT, items_before=None)
    shown = Page(page(with_list(run, found, **record)))
    assert "detected landslides 2" in shown.words
    assert "chip-before" not in [one.get("id") for one in shown.all("figure")]
    assert not [one for one in shown.all("input") if one.get("id") == "swipe"]


# --- nothing comes in, nothing breaks out ---------------------------------------------------------


def test_nothing_is_loaded_from_anywhere(whole: Page) -> None:
    assert {tag for tag, _ in whole.elements} & {
        "link",
        "iframe",
        "object",
        "embed",
        "img",
    } == set()
    for _, attrs in whole.elements:
        assert not {"src", "href", "action", "style"} & set(attrs)
        assert not [name for name in attrs if name.startswith("on")]


def test_the_policy_lets_only_the_scripts_of_the_page_run(whole: Page) -> None:
    (policy,) = (one["content"] for one in whole.all("meta") if one.get("http-equiv") is not None)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert (rules["connect-src"], rules["worker-src"]) == ("data:", "blob:")
    scripts = re.findall(r"<script>(.*?)</script>", whole.source, re.DOTALL)
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    named = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    assert rules["script-src"].split() == named
    assert len(named) == 2


def test_the_map_keeps_its_licence(whole: Page) -> None:
    assert "@license 3-Clause BSD" in whole.source
    assert "sourceMappingURL" not in whole.source


def test_texts_of_others_stay_texts(run: Run) -> None:
    found = run.inventory.copy()
    found.loc[0, "id"] = HOSTILE
    record = json.loads(json.dumps(run.record))
    record["name"] = record["workflow"]["name"] = HOSTILE
    record["failures"] = [{"error": HOSTILE, "tile": HOSTILE}]
    record["warnings"] = [HOSTILE]
    shown = Page(page(with_list(run, found, **record)))
    assert len(shown.all("script")) == 3
    assert HOSTILE in shown.ids
    assert HOSTILE in shown.words
    (ids,) = (one for one in shown.data["columns"] if one["name"] == "id")
    assert HOSTILE in ids["values"]
    assert shown.data["run"].startswith(HOSTILE)


# --- the list -------------------------------------------------------------------------------------


def test_the_order_is_that_of_the_rank_or_else_of_status_and_confidence(run: Run) -> None:
    table = many(run, 4).assign(status=["persistent", "new", "new", "vanished"])
    table = table.drop(columns="rank")  # as of runs of earlier versions
    assert list(rows.listed(with_list(run, table))["id"]) == ["o1", "o2", "o3", "o0"]
    ranked = table.assign(rank=[2, 4, 1, 3])
    assert list(rows.listed(with_list(run, ranked))["id"]) == ["o2", "o0", "o3", "o1"]


def test_evidence_and_flags_are_shown_where_the_list_has_them(run: Run) -> None:
    banks = pd.array([None, True], dtype="boolean")
    plain = run.inventory.drop(columns=list(FLAGS), errors="ignore")
    more = plain.assign(ndvi_drop=[0.42, np.inf], river_bank=banks)
    found = {one.name: one for one in rows.columns(more, is_two_date=True)}
    assert found["ndvi_drop"].is_shown
    assert [found["ndvi_drop"].text(row) for row in (0, 1)] == ["0.42", "-"]
    assert found["flags"].values == [None, "river bank"]
    assert found["area_m2"].unit == "ha"
    assert not found["perimeter_m"].is_shown
    assert found["perimeter_m"].unit == "m"


def test_a_page_holds_so_many_rows_and_the_data_all_objects(run: Run) -> None:
    table = many(run, INSIDE + 5)
    shown = Page(page(with_list(run, table)))
    assert shown.ids == [f"o{i}" for i in range(ROWS)]
    assert len(shown.data["outlines"]) == len(table)
    assert len(shown.data["chips"]) == INSIDE


def test_a_folder_has_the_pictures_that_the_page_has_no_room_for(run: Run, tmp_path: Path) -> None:
    table = many(run, INSIDE + 2)
    table.loc[len(table) - 1, "id"] = "../o"
    crowded = with_list(run, table)
    for name, file in (("pictures", "pictures"), ("report", "report.html")):
        outputs.write(name, crowded, tmp_path / file)
    shown = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "img-src data: 'self' file:;" in shown.source
    known, unnamed = shown.data["far"]
    assert unnamed is None
    files = {role: tmp_path / known[role] for role in ("before", "after")}
    assert {file.name for file in (tmp_path / "pictures").iterdir()} == {
        file.name for file in files.values()
    }
    (chip,) = chips.chips_of(crowded, rows.listed(crowded).iloc[[INSIDE]])
    assert chip is not None
    assert known["outline"] == chips.as_json(chip)["outline"]
    with Image.open(files["after"]) as image:
        assert image.size == (known["edge"], known["edge"])
        found = np.asarray(image.convert("RGBA")).astype(int)
    assert np.abs(found - chip.pictures["after"])[..., :3].mean() < 5


def test_outlines_are_the_same_after_the_way_through_whole_numbers(whole: Page, run: Run) -> None:
    plane, shapes = whole.data["plane"], rows.listed(run).geometry
    for polygons, shape in zip(whole.data["outlines"], shapes, strict=True):
        (ring,) = (
            np.cumsum(np.reshape(ring, (-1, 2)), axis=0) for part in polygons for ring in part
        )
        found = shapely.Polygon(ring * 1e-6 + (plane["lon"], plane["lat"]))
        assert found.symmetric_difference(shape).area < 1e-3 * shape.area


def test_the_date_line_does_not_tear_the_map() -> None:
    west, east = shapely.box(179.9, 1, 179.99, 1.1), shapely.box(-179.99, 1, -179.9, 1.1)
    table = gpd.GeoDataFrame(geometry=[west, east], crs=4326)
    plane = Plane.of([(179.5, 0.5, 180.5, 1.5)], table)
    on_it = shapely.MultiPolygon([shapely.box(179.99, 1, 180, 2), shapely.box(-180, 1, -179.99, 2)])
    table = pd.concat([table, gpd.GeoDataFrame(geometry=[on_it], crs=4326)])
    for polygons in plane.outlines(table):
        for (ring,) in polygons:
            assert (np.abs(np.cumsum(np.reshape(ring, (-1, 2)), axis=0)[:, 0]) <= 0.1e6).all()
    assert plane.bounds((-180.2, 0, -179.8, 1)) == (179.8, 0, 180.2, 1)


def test_charts_count_every_new_landslide_once(run: Run) -> None:
    table = many(run, 20).assign(area_m2=np.geomspace(100, 9e6, 20), status="new")
    for chart in charts(table):
        assert sum(bar.count for bar in chart.bars) == 20
        assert max(bar.height for bar in chart.bars) == pytest.approx(120)


# --- pictures -------------------------------------------------------------------------------------


def pixels(address: str) -> np.ndarray:
    """Decode an image that stands in an address."""
    kind, text = address.split(",", 1)
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA"))


def test_both_chips_show_the_object_inside_of_the_outline(whole: Page) -> None:
    first = whole.data["chips"][0]
    before, after = (pixels(first[role])[..., 0].astype(int) for role in ("before", "after"))
    assert before.shape == (first["edge"], first["edge"])
    numbers = [float(text) for text in re.findall(r"[\d.]+", first["outline"])]
    columns, lines = numbers[::2], numbers[1::2]
    # Whole pixels: the outline lies on their edges.
    assert all(value == int(value) for value in numbers)
    assert max(lines) - min(lines) == NEW_SCAR[2]
    assert max(columns) - min(columns) == NEW_SCAR[3]
    inside = (slice(int(min(lines)), int(max(lines))), slice(int(min(columns)), int(max(columns))))
    is_lighter = after - before > 30
    assert is_lighter[inside].mean() > 0.9
    is_lighter[inside] = False
    assert is_lighter.mean() < 0.02


def test_a_chip_beyond_the_edge_of_a_tile_is_transparent_there(run: Run) -> None:
    corner = run["18GYS"].rio.transform() * (2, 2)
    shape = shapely.box(corner[0] - 20, corner[1] - 20, corner[0] + 20, corner[1] + 20)
    outside = gpd.GeoSeries([shape], crs=32718).to_crs(4326)
    table = run.inventory.iloc[:1].set_geometry(outside.to_numpy(), crs=4326)
    (found,) = chips.chips_of(run, table)
    assert found is not None
    opacity = found.pictures["after"][..., 3]
    assert (opacity[:22] == 0).all()
    assert (opacity[22:, 22:] == 255).all()


def test_a_chip_of_an_object_outside_of_its_tile_is_empty(run: Run) -> None:
    away = shapely.affinity.translate(run.inventory.geometry.iloc[0], -0.025, 0.02)
    (found,) = chips.chips_of(run, run.inventory.iloc[:1].set_geometry([away], crs=4326))
    assert found is not None
    assert not found.pictures["after"].any()


def test_a_large_object_is_shown_with_every_second_pixel() -> None:
    window = chips.window_of(shapely.box(0, 0, 170, 40))
    assert (window.edge, window.step) == (289, 2)
    assert window.edge / window.step <= chips.LARGEST


def test_an_object_of_a_tile_without_pictures_has_no_chips(run: Run) -> None:
    assert chips.chips_of(run, run.inventory.assign(tile="33TWN")) == [None, None]


def test_pictures_lie_where_the_tile_lies(run: Run) -> None:
    before, after = pictures_of(run)
    maps = run["18GYS"]
    box = gpd.GeoSeries([shapely.box(*maps.rio.bounds())], crs=maps.rio.crs).to_crs(4326)
    np.testing.assert_allclose(after.bounds, box.total_bounds, atol=1e-6)
    assert (before.role, before.day, before.metres) == ("before", "2017-01-15", 10)
    # The new scar is lighter after; its place by the outline in degrees.
    west, south, east, north = after.bounds
    shape = run.inventory.query("status == 'new'").geometry.iloc[0]
    images = [pixels(one.image).astype(int) for one in (before, after)]
    height, width = images[0].shape[:2]
    row = int((north - shape.centroid.y) / (north - south) * height)
    column = int((shape.centroid.x - west) / (east - west) * width)
    assert images[1][row, column, 0] - images[0][row, column, 0] > 30


def test_gaps_are_those_of_the_list_of_gaps(run: Run) -> None:
    before, after = pictures_of(run)
    assert before.gaps.is_empty
    listed = run.unobserved.geometry.union_all()
    # Within half a pixel along its edge.
    gaps = shapely.union_all(shapely.get_parts(after.gaps))
    assert gaps.symmetric_difference(listed).area < 0.5e-4 * listed.length


def test_gaps_on_both_sides_of_the_date_line_are_on_one_picture() -> None:
    parts = [shapely.box(179.9, 1, 180, 2), shapely.box(-180, 1, -179.9, 1.5)]
    shapes = gpd.GeoSeries([shapely.MultiPolygon(parts)], crs=4326)
    edge = 0.2 * np.pi / 180 * 6378137
    frame = Frame(180, (-edge, 111_000, edge, 222_700), (500, 800))
    found = gaps_on(frame, shapes)
    expected = shapely.union(parts[0], shapely.affinity.translate(parts[1], 360))
    assert found.symmetric_difference(expected).area < 0.01 * expected.area


def test_pictures_lie_in_mercator_s_projection() -> None:
    frame = Frame(10, (-50_000, 5_500_000, 50_000, 5_600_000), (100, 100))
    there = Transformer.from_crs(3857, 4326, always_xy=True)
    west, south = there.transform(-50_000, 5_500_000)
    east, north = there.transform(50_000, 5_600_000)
    np.testing.assert_allclose(
        frame.bounds, (10 + west, south, 10 + east, north), rtol=0, atol=1e-9
    )


def test_a_date_that_is_not_done_yet_is_still_one_of_the_two(run: Run) -> None:
    class OneDate(Run):
        def __getitem__(self, tile: str) -> xr.Dataset:
            maps = super().__getitem__(tile)
            return maps.assign(quality=maps["quality"].where(maps["time"] < maps["time"][1], 255))

    shown = Page(page(OneDate(run.path, run.record))).data
    assert [one["role"] for one in shown["pictures"]] == ["before"]
    assert shown["dates"] == ["before", "after"]


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_a_smaller_picture_holds_means_of_what_has_data(factor: int) -> None:
    values = np.random.default_rng(1).integers(1, 256, (3, 20, 31)).astype(np.uint8)
    values[:, :8, :8] = 0
    found = shrunk(xr.DataArray(values, dims=("band", "y", "x")), factor)
    assert found.shape == (4, -(-20 // factor), -(-31 // factor))
    for row, column in np.ndindex(found.shape[1:]):
        cell = (
            slice(row * factor, (row + 1) * factor),
            slice(column * factor, (column + 1) * factor),
        )
        has_data = values[(0, *cell)] > 0
        assert found[3, row, column] == (255 if 2 * has_data.sum() >= factor**2 else 0)
        if has_data.any():
            expected = values[(slice(None), *cell)][:, has_data].mean(axis=1)
            np.testing.assert_allclose(found[:3, row, column], expected, atol=0.51)


def test_of_several_acquisitions_those_around_the_event_are_shown(run: Run) -> None:
    steps = [{"role": role} for role in ("before", "before", "after", "after")]
    record = {**run.record, "tiles": {"18GYS": {"steps": steps}}}
    assert steps_of(replace(run, record=record), "18GYS") == {"before": 1, "after": 2}


def test_the_dark_is_lightened_and_no_data_stays_none() -> None:
    shown = lightened(np.arange(256, dtype=np.uint8))
    assert (shown[0], shown[255]) == (0, 255)
    assert shown[20] > 40
    assert (np.diff(shown.astype(int)) >= 0).all()


# --- the command ----------------------------------------------------------------------------------


def test_the_command_writes_into_the_run_or_where_it_is_told(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(directory, tmp_path / "run")
    (copy / "report.html").unlink()
    assert main(["report", str(copy)]) == 0
    other = tmp_path / "new" / "of-today.html"
    assert main(["report", str(copy), "--output", str(other)]) == 0
    assert str(other) in capsys.readouterr().out
    assert (copy / "report.html").read_bytes() == other.read_bytes()


def test_the_report_of_a_run_that_goes_on_does_not_wait_for_it(
    directory: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(directory, tmp_path / "run")
    with store.lock(copy):
        assert report(copy) == copy / "report.html"
    # The run knows it as one that a run wrote: no copy is kept of it.
    report(copy)
    assert [path.name for path in copy.glob("report*")] == ["report.html"]


def test_a_decision_that_is_taken_in_is_shown(directory: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(directory, tmp_path / "run")
    name = open_run(copy).inventory["id"][0]
    feature = {"geometry": None, "properties": {"id": name, "reviewed": "unsure"}}
    (tmp_path / "mine.geojson").write_text(json.dumps({"features": [feature]}))
    assert main(["review", str(copy), str(tmp_path / "mine.geojson")]) == 0
    data = Page((copy / "report.html").read_text("utf-8")).data
    (decided,) = (one for one in data["columns"] if one["name"] == "reviewed")
    assert "unsure" in decided.get("values", decided.get("words"))
