"""Models that see two dates at once, from the workflow to the list."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask
import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr

import lspipe
from lspipe.cube.opening import open_cube
from lspipe.cube.pairs import OTHER_QUALITY
from lspipe.errors import SamplesError, UsageError, WorkflowError
from lspipe.evaluate.run_scores import score_run
from lspipe.evaluate.scoring import score
from lspipe.models import read_item
from lspipe.runs import store
from lspipe.runs.between import change
from lspipe.runs.cost import estimate, work
from lspipe.runs.memory import peak_bytes
from lspipe.runs.plan import open_step, outer_pixels
from lspipe.runs.prepare import opened, prepare
from lspipe.runs.validation import validate
from lspipe.samples.chips import chips
from lspipe.schema import CODE_NODATA, CUBE_NODATA, IGNORED, Quality, State, quantise
from lspipe.train import TrainSpec
from lspipe.train.adapt import adapt
from lspipe.train.course import Course, train
from lspipe.workflow import Workflow
from tests.pixel_models import Loss, write_item
from tests.stored import IN_THIS_PROCESS
from tests.worlds import (
    NEW_SCAR,
    OLD_SCAR,
    Rectangle,
    World,
    change_workflow,
    fingerprints,
    ground,
    make_world,
    plan_only,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.samples import Samples

TILE = "18GYS"
CLOUD = (130, 146, 12)
"""Over a part of the new scar."""


@pytest.fixture(scope="module")
def cluster() -> dict[str, str]:
    """Blocks are computed in this process: nothing here is about workers."""
    return IN_THIS_PROCESS


def make_pair_world(folder: Path, **arguments: Any) -> World:
    """A world of nine blocks on each date, for a model of pairs."""
    write_item(folder / "loss.json", Loss, window=32)
    usual = {"model": {"item": "loss.json"}, "inference": {"batch_size": 4}}
    return make_world(folder, **{**usual, **arguments})


def run(world: World, **options: Any) -> Any:
    return lspipe.run(Workflow.from_file(world.workflow), **options)


def inventory(world: World) -> gpd.GeoDataFrame:
    return gpd.read_parquet(world.run / "inventory.parquet")


def stored(world: World, name: str, where: str = store.DETECTIONS) -> NDArray[Any]:
    return store.read(world.run, where, TILE, name)


def in_scar(scar: tuple[int, int, int, int]) -> tuple[slice, slice]:
    row, column, rows, columns = scar
    return slice(row + 2, row + rows - 2), slice(column + 2, column + columns - 2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cluster: dict[str, str]) -> World:
    """A finished run, a cloud before over a part of the new scar; tests only read it."""
    world = make_pair_world(
        tmp_path_factory.mktemp("world"), cluster=cluster, before={"clouds": (CLOUD,)}
    )
    summary = run(world)
    assert (summary.state, summary.total, summary.done) == ("finished", 18, 18)
    return world


def cubes(world: World) -> dict[str, xr.Dataset]:
    """Open each date by itself, as a run of one date would."""
    plan = plan_only(Workflow.from_file(world.workflow))
    (tile,) = plan.tiles
    rows, columns = tile.tile.geobox.shape
    with dask.config.set(scheduler="synchronous"):
        return {
            step.role: open_cube(
                step,
                tile.tile.geobox,
                bands=("B04", "B08"),
                radiometry=tile.radiometry,
                spec=plan.workflow.cube,
                chunks=((rows,), (columns,)),
            ).compute()
            for step in tile.steps
        }


def test_a_new_scar_is_listed_and_one_that_was_there_before_is_not(finished: World) -> None:
    found = inventory(finished)
    assert set(found["status"]) == {"new"}
    after = stored(finished, "probability")[1]
    # Its lower part; what the cloud hid of it is not judged.
    assert (after[147:149, 142:152] > 5000).all()
    assert (after[in_scar(OLD_SCAR)] < 3000).all()


def test_the_map_of_a_pair_is_the_quantised_detect_of_both_dates_concatenated(
    finished: World,
) -> None:
    both = cubes(finished)
    named = [
        cube["reflectance"].assign_coords(band=[f"{date}:{band}" for band in cube["band"].values])
        for date, cube in both.items()
    ]
    pair = xr.concat([each.drop_vars("time") for each in named], dim="band")
    # The item's undated channel is of the date at hand.
    pair = pair.assign_coords(band=["before:B04", "before:B08", "after:B04", "B08"])
    masked = (both["before"]["quality"] != 0) | (both["after"]["quality"] != 0)
    expected = lspipe.detect(pair, finished.folder / "loss.json", mask=masked, batch_size=4)
    before, after = stored(finished, "probability")
    np.testing.assert_array_equal(after, quantise(expected.values))
    assert (after != CODE_NODATA).any()
    assert (after == CODE_NODATA).any()
    np.testing.assert_array_equal(
        before, np.where(both["before"]["quality"].values == 0, 0, CODE_NODATA)
    )


def test_what_only_the_date_before_did_not_see_is_undetermined_and_said_to_be_of_that_date(
    finished: World,
) -> None:
    quality, codes = stored(finished, "quality"), stored(finished, "probability")
    hidden = quality[0] != 0
    assert hidden.any()
    # Each date keeps its own bits: after, all was seen.
    assert not quality[1].any()
    np.testing.assert_array_equal(codes[1] == CODE_NODATA, hidden)
    state = stored(finished, "state", store.CHANGE)
    np.testing.assert_array_equal(state == State.UNDETERMINED, hidden)
    gaps = gpd.read_parquet(finished.run / "unobserved.parquet")
    assert set(gaps["date"]) == {"before"}
    assert set(gaps["reason"]) == {"cloud", "dilated"}
    assert gaps["area_m2"].sum() == pytest.approx(hidden.sum() * 100, rel=2e-3)


def test_pictures_of_each_date_are_of_that_date(finished: World) -> None:
    both = cubes(finished)
    ndvi = stored(finished, "ndvi", store.EVIDENCE)
    for number, cube in enumerate(both.values()):
        red, near = cube["reflectance"].values.astype(float)
        np.testing.assert_allclose(ndvi[number] * 1e-4, (near - red) / (near + red), atol=1e-4)


def test_a_pair_without_a_landslide_whose_dates_are_equal_gives_nothing(
    tmp_path: Path, cluster: dict[str, str]
) -> None:
    same = {"values": ground(OLD_SCAR), "baseline": "02.06"}
    world = make_pair_world(tmp_path, size=120, cluster=cluster, before=same, after=same)
    run(world)
    assert inventory(world).empty
    assert not (stored(world, "probability")[1] > 3000).any()


def test_swapping_the_dates_asks_the_mirrored_question(
    tmp_path: Path, cluster: dict[str, str]
) -> None:
    # The scar healed: what was bare in the earlier year is forest in the later one.
    world = make_pair_world(
        tmp_path,
        cluster=cluster,
        before={"values": ground(OLD_SCAR, NEW_SCAR)},
        after={"values": ground(OLD_SCAR)},
    )
    run(world)
    assert inventory(world).empty
    dates = Workflow.from_file(world.workflow).model_dump(mode="json")["dates"]
    swapped = {"before": dates["after"], "after": dates["before"]}
    change_workflow(world, dates=swapped, output={"path": "mirrored", "write": ["geoparquet"]})
    (note,) = validate(Workflow.from_file(world.workflow))["notes"]
    assert note.endswith("loss looks for what happened from the later date to the earlier one")
    run(world)
    (found,) = gpd.read_parquet(tmp_path / "mirrored" / "inventory.parquet").itertuples()
    assert found.status == "new"
    assert found.area_m2 == pytest.approx(420 * 100, rel=0.1)


def test_what_has_no_data_before_is_undetermined(tmp_path: Path, cluster: dict[str, str]) -> None:
    world = make_pair_world(
        tmp_path, size=120, cluster=cluster, before={"wedge": lambda _, columns: columns < 60}
    )
    run(world)
    left, right = np.s_[..., :60], np.s_[..., 60:]
    codes, state = stored(world, "probability"), stored(world, "state", store.CHANGE)
    assert (codes[left] == CODE_NODATA).all()
    assert (codes[right] != CODE_NODATA).all()
    assert (state[left] == State.UNDETERMINED).all()
    assert (state[right] != State.UNDETERMINED).all()
    assert not stored(world, "quality")[1].any()


def test_a_run_in_pieces_ends_in_the_same_bytes(
    finished: World, tmp_path: Path, cluster: dict[str, str]
) -> None:
    world = make_pair_world(tmp_path, cluster=cluster, before={"clouds": (CLOUD,)})
    first = run(world, limit=2)
    # A place is a block on both dates, so that it can be compared.
    assert first.done == 4
    assert run(world, limit=3).done == 6
    assert run(world).done == 8
    assert fingerprints(world.run) == fingerprints(finished.run)
    before = {path: path.stat().st_mtime_ns for path in world.run.rglob("*")}
    assert run(world).done == 0
    assert {path: path.stat().st_mtime_ns for path in world.run.rglob("*")} == before


def test_the_block_size_changes_no_pixel_of_a_pair(
    finished: World, tmp_path: Path, cluster: dict[str, str]
) -> None:
    world = make_pair_world(
        tmp_path, cluster=cluster, before={"clouds": (CLOUD,)}, execution={"block": 120}
    )
    run(world)
    for name in ("probability", "quality"):
        np.testing.assert_array_equal(stored(world, name), stored(finished, name))
    assert (
        inventory(world).geometry.to_wkb().tolist()
        == inventory(finished).geometry.to_wkb().tolist()
    )


def test_a_range_of_the_tile_is_that_of_the_pixels_that_both_dates_saw(
    tmp_path: Path, cluster: dict[str, str]
) -> None:
    world = make_pair_world(tmp_path, size=120, cluster=cluster, before={"clouds": ((60, 60, 9),)})
    path = tmp_path / "loss.json"
    item = json.loads(path.read_text("utf-8"))
    item["properties"]["lspipe:scaling"] = {"kind": "tile-minmax"}
    path.write_text(json.dumps(item), encoding="utf-8")
    run(world)
    nothing, ranges = json.loads((world.run / "run.json").read_text("utf-8"))["tiles"][TILE][
        "tile_ranges"
    ]
    assert nothing == []
    both = cubes(world)
    seen = ((both["before"]["quality"] == 0) & (both["after"]["quality"] == 0)).values
    red = both["after"]["reflectance"].sel(band="B04").values[seen] * np.float32(1e-4)
    assert ranges[1] == [float(red.min()), float(red.max())]


def test_a_plan_counts_the_network_once_for_a_pair_and_reads_the_date_before_twice(
    tmp_path: Path,
) -> None:
    world = make_pair_world(tmp_path)
    pair = plan_only(Workflow.from_file(world.workflow))
    cost = estimate(pair)
    item = json.loads((tmp_path / "loss.json").read_text("utf-8"))
    item["properties"]["mlm:input"][0]["bands"] = ["B02", "B03", "B04", "B08"]
    (tmp_path / "single.json").write_text(json.dumps(item), encoding="utf-8")
    change_workflow(world, model={"item": "single.json"})
    single = plan_only(Workflow.from_file(world.workflow))
    ((windows, passes),) = work(single, single.setting)
    assert (cost.windows * 2, cost.forward_passes * 2) == (windows, passes)
    assert cost.blocks == 18
    # B04 and B08, B02 and B03 for the pictures, and the classes; and two bands before once more.
    read = sum(map(outer_pixels, pair.tiles[0].blocks))
    assert read > 240 * 240
    assert cost.bytes_to_read == read * (2 * (2 * 4 + 1) + (2 * 2 + 1))
    # The block of a pair holds both dates.
    assert peak_bytes(pair.tiles[0], pair) > peak_bytes(single.tiles[0], single)


def test_a_date_that_has_no_scene_on_a_tile_is_observed_nowhere(tmp_path: Path) -> None:
    world = make_pair_world(tmp_path, size=120)
    plan = plan_only(Workflow.from_file(world.workflow))
    (tile,) = plan.tiles
    alone = replace(tile, steps=tile.steps[1:])
    with dask.config.set(scheduler="synchronous"):
        cube, whole = (
            open_step(one, tile.steps[1], plan.workflow).compute() for one in (alone, tile)
        )
    missing = cube["reflectance"].sel(band=["before:B04", "before:B08"])
    assert (missing == CUBE_NODATA).all()
    assert (cube[OTHER_QUALITY] == Quality.NODATA).all()
    xr.testing.assert_equal(cube["quality"], whole["quality"])
    own = ["after:B04", "B08", "B02"]
    xr.testing.assert_equal(cube["reflectance"].sel(band=own), whole["reflectance"].sel(band=own))


def test_validate_refuses_what_a_plan_would(tmp_path: Path) -> None:
    world = make_pair_world(tmp_path)
    assert validate(Workflow.from_file(world.workflow))["bands"] == list(Loss.bands)
    dates = {"after": {"start": "2018-01-01", "end": "2018-03-31"}}
    for sections, match in (
        ({"dates": dates}, "compares two dates .*has one; give dates.before"),
        ({"cube": {"composite": "each"}}, "cube.composite: found 'each'"),
    ):
        original = world.workflow.read_text("utf-8")
        change_workflow(world, **sections)
        for refusing in (validate, plan_only):
            with pytest.raises(WorkflowError, match=match):
                refusing(Workflow.from_file(world.workflow))
        world.workflow.write_text(original, encoding="utf-8")


def test_two_runs_of_pairs_are_not_compared_with_each_other(
    finished: World, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="comparisons of two dates already"):
        change(finished.run, finished.run, output=tmp_path / "change")


def test_a_workflow_that_names_no_model_gets_the_one_for_its_number_of_dates(
    tmp_path: Path,
) -> None:
    world = make_pair_world(tmp_path, size=120, model={})
    assert validate(Workflow.from_file(world.workflow))["model"] == "bare-change"
    plan = plan_only(Workflow.from_file(world.workflow))
    assert plan.workflow.model.item == "shipped:bare-change"
    change_workflow(world, dates={"after": {"start": "2018-01-01", "end": "2018-03-31"}})
    assert validate(Workflow.from_file(world.workflow))["model"] == "bare-ground"
    assert plan_only(Workflow.from_file(world.workflow)).model.id == "bare-ground"


def test_a_run_that_was_begun_keeps_its_model_where_the_workflow_names_none(
    tmp_path: Path, cluster: dict[str, str]
) -> None:
    world = make_pair_world(
        tmp_path, size=120, cluster=cluster, model={"item": "shipped:bare-ground"}
    )
    run(world, limit=1)
    change_workflow(world, model={})
    summary = run(world)
    assert (summary.state, summary.skipped) == ("finished", 2)
    assert plan_only(Workflow.from_file(world.workflow)).model.id == "bare-ground"
    record = json.loads((world.run / "run.json").read_text("utf-8"))
    assert record["workflow"]["model"]["item"] == "shipped:bare-ground"


def test_the_shipped_formula_lists_the_new_scar(tmp_path: Path, cluster: dict[str, str]) -> None:
    world = make_pair_world(tmp_path, cluster=cluster, model={}, inference={})
    run(world)
    found = inventory(world)
    assert set(found["status"]) == {"new"}
    assert set(found["model_id"]) == {"bare-change"}
    # The greener pixels of its texture are left out.
    listed = stored(world, "probability")[1] > 5000
    row, column, rows, columns = NEW_SCAR
    scar = np.zeros_like(listed)
    scar[row : row + rows, column : column + columns] = True
    assert listed[scar].mean() > 0.5
    assert not listed[~scar].any()


# --- learning from a run of pairs ---------------------------------------------------------------


@pytest.fixture(scope="module")
def patches(finished: World) -> Samples:
    """Patches of both dates over the new scar, and beside it."""
    outline = outlines(NEW_SCAR)
    return chips(finished.run, outline, recipe="ghorb4:pair", window=32, background=1)


def outlines(*scars: Rectangle) -> gpd.GeoDataFrame:
    left, top = 699960, 5200000
    boxes = [
        shapely.box(left + 10 * c, top - 10 * (r + rows), left + 10 * (c + columns), top - 10 * r)
        for r, c, rows, columns in scars
    ]
    return gpd.GeoDataFrame(geometry=boxes, crs=32718)


def test_a_patch_of_a_run_of_pairs_holds_the_pixels_of_both_dates(
    finished: World, patches: Samples
) -> None:
    both = cubes(finished)
    assert patches.recipe.channels[:2] == ("before:B02", "before:B03")
    marked = 0
    for name in patches.names:
        image, labels = patches.read(name)
        row, column = map(int, name.split("_")[2:])
        part = np.s_[row : row + 32, column : column + 32]
        for date in ("before", "after"):
            for band in ("B04", "B08"):
                codes = both[date]["reflectance"].sel(band=band).values[part]
                found = image[patches.recipe.channels.index(f"{date}:{band}")]
                np.testing.assert_array_equal(found, codes.astype(np.float32) * np.float32(1e-4))
        # What one of the dates did not see has no label.
        hidden = both["before"]["quality"].values[part] != 0
        assert (labels[hidden] == IGNORED).all()
        marked += int((labels == 1).sum())
    assert marked > 50


def test_the_date_before_alone_has_no_patches_of_pairs(finished: World) -> None:
    with pytest.raises(SamplesError, match="the patches hold both dates"):
        chips(finished.run, finished.run / "inventory.parquet", date="both")


SCARS = ((20, 20, 24, 20), (100, 30, 20, 30), (60, 100, 30, 26))


def test_a_model_of_pairs_is_trained_scored_run_and_adapted(
    tmp_path: Path, cluster: dict[str, str]
) -> None:
    world = make_pair_world(
        tmp_path, size=160, cluster=cluster, after={"values": ground(OLD_SCAR, *SCARS)}
    )
    with opened(prepare(Workflow.from_file(world.workflow), world.run)):
        pass  # patches need no block
    training = chips(world.run, outlines(*SCARS), recipe="ghorb4:pair", window=32, background=1)
    course = Course(
        id="pairs",
        architecture="ghorb-unet",
        recipe="ghorb4:pair",
        arguments={"filters": 4},
        spec=TrainSpec(epochs=40, batch_size=4, learning_rate=1e-2, augmentation="none"),
    )
    item = read_item(train(course, training, None, tmp_path / "model").item)
    assert item.is_pair
    assert score(item, training, tta="none").micro.recall > 0.8
    # What was there before, and after, is nothing new.
    change_workflow(
        world, model={"item": str(item.path)}, inference={"overlap": 0.5, "tta": "none"},
        output={"path": "learnt", "write": ["geoparquet"]},
    )  # fmt: skip
    run(world)
    learnt = tmp_path / "learnt"
    table = gpd.read_parquet(learnt / "inventory.parquet")
    assert set(table["status"]) == {"new"}
    # The pair was compared with what the network was trained on, once.
    (entry,) = json.loads((learnt / "run.json").read_text("utf-8"))["inputs"][TILE]
    assert list(entry["channels"]) == list(item.bands)
    decisions = tmp_path / "decisions.gpkg"
    table.assign(reviewed="true").to_file(decisions)
    spec = TrainSpec(epochs=2, batch_size=4)
    adapted = adapt(learnt, decisions, output=tmp_path / "adapted", spec=spec, share=1)
    assert read_item(adapted.item).bands == item.bands
    assert score_run(learnt, decisions).objects.scores.recall == 1
