"""What bad input gets: an exit code, one or two lines that help, and nothing that looks done."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import geopandas as gpd
import pytest
import shapely

from lspipe.cli import main
from lspipe.models.item import SHIPPED_FOLDER
from tests.stored import IN_THIS_PROCESS
from tests.worlds import change_workflow, environment, lspipe, quick_world

BEFORE = "S2A_18GYS_20170115_0_L2A"
AFTER = "S2A_18GYS_20180120_0_L2A"


@pytest.fixture(scope="module")
def cluster() -> dict[str, str]:
    """Blocks are computed in this process: nothing here is about workers."""
    return IN_THIS_PROCESS


@pytest.fixture
def answer_of(capsys):
    """The command line in this process, as importing what it needs takes most of its time."""

    def run(*words):
        code = main(list(map(str, words)))
        said = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=said.out, stderr=said.err)

    return run


def edit_item(world, name, change):
    path = world.folder / "items" / f"{name}.json"
    item = json.loads(path.read_text(encoding="utf-8"))
    change(item)
    path.write_text(json.dumps(item), encoding="utf-8")


def no_crs(world):
    folder = world.folder / "area"
    folder.mkdir()
    table = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs=32718)
    table.to_file(folder / "area.shp")
    (folder / "area.prj").unlink()
    change_workflow(world, aoi={"file": "area/area.shp"})


def empty_area(world):
    (world.folder / "empty.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    change_workflow(world, aoi={"file": "empty.geojson"})


def swap_days(world):
    day = {"start": "2018-03-31", "end": "2018-01-01"}
    change_workflow(world, dates={"after": day})


def overlapping(world):
    change_workflow(
        world,
        dates={
            "before": {"start": "2017-01-01", "end": "2018-02-01"},
            "after": {"start": "2018-01-01", "end": "2018-03-31"},
        },
    )


def nothing_before(world):
    (world.folder / "items" / f"{BEFORE}.json").unlink()


def other_weights(world):
    folder = world.folder / "model"
    shutil.copytree(SHIPPED_FOLDER, folder)
    with (folder / "demo.safetensors").open("ab") as file:
        file.write(b"\0")
    change_workflow(world, model={"item": "model/demo.json"})


def no_bands_for_the_model(world):
    edit_item(world, AFTER, lambda item: item["assets"].pop("swir16"))


def no_items_at_all(world):
    change_workflow(world, aoi={"bbox": [10, 10, 11, 11]})


def another_window(world):
    change_workflow(world, inference={"window": 32, "stride": 64})


REFUSED = [
    # what is wrong, exit code, what the message says
    (lambda w: change_workflow(w, infernce={}), 2, ["workflow.yaml: infernce", "inference"]),
    (
        lambda w: w.workflow.write_text(w.workflow.read_text() + "\nname: twice\n"),
        2,
        ["'name' is given twice"],
    ),
    (swap_days, 2, ["dates.after", "2018-03-31", "earlier day first"]),
    (overlapping, 2, ["dates", "overlapping"]),
    (no_items_at_all, 4, ["bbox [10"]),
    (nothing_before, 4, ["before", "2017-01-01"]),
    (no_crs, 2, ["area.shp", "CRS"]),
    (empty_area, 2, ["empty.geojson"]),
    (other_weights, 2, ["demo.safetensors", "sha256"]),
    (no_bands_for_the_model, 2, ["B11", AFTER]),
    (another_window, 2, ["inference", "stride 64"]),
    (lambda w: change_workflow(w, inference={"device": "cuda"}), 2, ["cuda"]),
    (lambda w: change_workflow(w, execution={"block": 8}), 2, ["execution.block", "8"]),
    (lambda w: change_workflow(w, execution={"block": 617}), 2, ["execution.block", "617"]),
    (
        lambda w: w.workflow.write_text(w.workflow.read_text().replace("2018-03-31", "2018-02-30")),
        2,
        ["dates.after.end", "2018-02-30"],
    ),
]


@pytest.mark.parametrize(("spoil", "code", "says"), REFUSED)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    tmp_path, spoil, code, says, answer_of
):
    world = quick_world(tmp_path)
    spoil(world)
    check_refusal(world, answer_of("run", world.workflow), code, says)


def test_a_process_of_its_own_refuses_in_the_same_words(tmp_path):
    world = quick_world(tmp_path)
    nothing_before(world)
    check_refusal(world, lspipe("run", world.workflow), 4, ["before", "2017-01-01"])


def check_refusal(world, answer, code, says):
    assert answer.returncode == code, answer.stderr
    for text in says:
        assert text in answer.stderr, answer.stderr
    assert "Traceback" not in answer.stderr
    told = [line for line in answer.stderr.splitlines() if not line.startswith("planning")]
    assert len(told) <= 3, told
    assert not (world.run / "inventory.parquet").exists()
    assert not (world.run / "run.json").exists()


def missing(path):
    path.unlink()


def truncated(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def text(path):
    path.write_text("this is not a GeoTIFF")


@pytest.mark.parametrize("spoil", [missing, truncated, text])
def test_a_file_that_cannot_be_read_fails_its_blocks_and_never_becomes_no_landslide(
    tmp_path, cluster, spoil, answer_of
):
    world = quick_world(tmp_path, cluster=cluster)
    path = world.folder / "scenes" / AFTER / "B11.tif"
    spoil(path)
    answer = answer_of("run", world.workflow)
    assert answer.returncode == 3, answer.stderr
    assert f"swir16 of {AFTER}" in answer.stderr
    assert "failed" in answer.stdout.splitlines()[-1]
    content = json.loads((world.run / "run.json").read_text(encoding="utf-8"))
    assert content["state"] == "failed"
    gaps = gpd.read_parquet(world.run / "unobserved.parquet")
    assert "not_processed" in set(gaps["reason"])
    status = answer_of("status", world.run)
    assert status.returncode == 0
    assert "swir16" in status.stdout


def test_a_file_of_another_kind_in_the_output_folder_is_left_alone(tmp_path, cluster, answer_of):
    world = quick_world(tmp_path, cluster=cluster)
    world.run.mkdir()
    (world.run / "thesis.docx").touch()
    answer = answer_of("run", world.workflow)
    assert answer.returncode == 2
    assert "thesis.docx" in [path.name for path in world.run.iterdir()]
    fresh = answer_of("run", world.workflow, "--fresh")
    assert fresh.returncode == 2
    assert (world.run / "thesis.docx").exists()
    assert "thesis.docx" in fresh.stderr


def test_another_workflow_is_refused_with_what_differs(tmp_path, cluster, answer_of):
    world = quick_world(tmp_path, cluster=cluster)
    assert answer_of("run", world.workflow).returncode == 0
    answer = answer_of("run", world.workflow, "--set", "inference.stride=8")
    assert answer.returncode == 2
    assert "inference.stride: 16 -> 8" in answer.stderr
    assert "--fresh" in answer.stderr


def test_a_full_disk_stops_the_run_and_says_so(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    # A limit on file size stands in for a full disk: writes beyond it fail with an OSError.
    code = (
        "import resource, signal, sys; from lspipe.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, "run", str(world.workflow)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert answer.returncode == 2, answer.stderr
    assert str(world.run) in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (world.run / "inventory.parquet").exists()


def test_a_workflow_with_set_is_what_the_run_records(tmp_path, cluster, answer_of):
    world = quick_world(tmp_path, cluster=cluster)
    answer = answer_of("plan", world.workflow, "--set", "change.min_area_m2=5000", "--json")
    assert answer.returncode == 0, answer.stderr
    facts = json.loads(answer.stdout)
    assert facts["estimate"]["blocks"] == 8
    assert facts["tiles"][0]["new"] == 8
    content = json.loads((world.run / "run.json").read_text(encoding="utf-8"))
    assert content["workflow"]["change"]["min_area_m2"] == 5000
