"""The run directory: what is written opens everywhere, and never looks done when it is not."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rioxarray  # noqa: F401  # registers the accessor
import xarray as xr
import zarr
from affine import Affine
from odc.geo.geobox import GeoBox
from zarr.core.buffer import default_buffer_prototype

from lspipe.errors import StoreError
from lspipe.machine import copies
from lspipe.runs import store
from lspipe.schema import CODE_NODATA, CUBE_NODATA

GDAL = Path(__file__).parent.parent / "gdal_raster.py"


def grid(shape=(50, 70), chunk=20, block=40, blocks=(2, 2)) -> store.Grid:
    return store.Grid(
        tile="18GYS",
        geobox=GeoBox(shape, Affine(10, 0, 699960, 0, -10, 5200000), "EPSG:32718"),
        times=(1485907200, 1517443200),
        roles=("before", "after"),
        chunk=chunk,
        block=block,
        blocks=blocks,
    )


def write(run: Path, index=(0, 0), core=(slice(0, 40), slice(0, 40)), step=1, seed=0):
    shape = tuple(s.stop - s.start for s in core)
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 10001, shape).astype(np.uint16)
    codes[0, 0] = CODE_NODATA
    store.write_block(
        run,
        "18GYS",
        step,
        index,
        core,
        detections={"probability": codes, "quality": np.zeros(shape, np.uint8)},
        evidence={
            "ndvi": np.full(shape, 5000, np.int16),
            "true_colour": np.full((3, *shape), 9, np.uint8),
        },
    )
    return codes


def test_a_new_store_is_not_observed_anywhere(tmp_path):
    store.create(tmp_path, [grid()], fingerprint="f")
    assert (store.read(tmp_path, store.DETECTIONS, "18GYS", "probability") == CODE_NODATA).all()
    assert (store.read(tmp_path, store.DETECTIONS, "18GYS", "quality") == 255).all()
    assert not store.done(tmp_path, "18GYS").any()
    laid_out = store.layout(tmp_path, "18GYS")
    assert laid_out is not None
    assert laid_out.block == 40
    assert not laid_out.done.any()
    assert store.layout(tmp_path, "18GYT") is None


def test_the_metadata_is_what_zarr_itself_would_write(tmp_path):
    other = replace(grid(shape=(60, 70)), tile="18GYT")
    store.create(tmp_path, [grid(), other], fingerprint="f")
    store.create_change(tmp_path, grid())
    for place in [tmp_path / name for name in (store.DETECTIONS, store.EVIDENCE, store.CHANGE)]:
        root = zarr.open_group(place, mode="r")
        for name, node in root.members(max_depth=None):
            (written,) = node.metadata.to_buffer_dict(default_buffer_prototype()).values()
            assert (place / name / "zarr.json").read_bytes() == written.to_bytes(), name
    assert root["18GYS/y"][:2].tolist() == [5199995, 5199985]
    assert zarr.open_group(tmp_path / store.DETECTIONS)["18GYT/time"][:].tolist() == [
        1485907200, 1517443200,
    ]  # fmt: skip


def test_a_group_that_was_begun_is_made_anew_and_a_complete_one_is_left(tmp_path):
    other = replace(grid(), tile="18GYT")
    store.create(tmp_path, [grid(), other], fingerprint="f")
    write(tmp_path)
    begun = tmp_path / store.DETECTIONS / "18GYT"
    (begun / "zarr.json").unlink()
    (begun / "quality" / "zarr.json").write_text("{")
    store.create(tmp_path, [grid(), other], fingerprint="f")
    assert store.done(tmp_path, "18GYS").sum() == 1
    assert (store.read(tmp_path, store.DETECTIONS, "18GYT", "quality") == 255).all()


def test_a_change_that_is_made_again_holds_nothing_of_the_earlier_one(tmp_path):
    store.create_change(tmp_path, grid())
    ones = np.ones((20, 70), np.uint8)
    store.write_change(tmp_path, "18GYS", slice(0, 20), state=ones, gain=ones.astype(np.int16))
    store.create_change(tmp_path, grid())
    assert (store.read(tmp_path, store.CHANGE, "18GYS", "state") == 255).all()


def test_a_written_block_is_done_and_the_others_are_not(tmp_path):
    store.create(tmp_path, [grid()], fingerprint="f")
    codes = write(tmp_path)
    assert store.done(tmp_path, "18GYS").nonzero() == (
        np.array([1]),
        np.array([0]),
        np.array([0]),
    )
    stored = store.read(tmp_path, store.DETECTIONS, "18GYS", "probability")
    np.testing.assert_array_equal(stored[1, :40, :40], codes)
    assert (stored[0] == CODE_NODATA).all()
    assert (store.read(tmp_path, store.EVIDENCE, "18GYS", "true_colour")[1, :, :40, :40] == 9).all()


@pytest.mark.parametrize("layer", ["probability", "quality", "ndvi", "true_colour"])
def test_a_block_of_which_any_layer_could_not_be_written_is_not_done(tmp_path, layer):
    store.create(tmp_path, [grid()], fingerprint="f")
    shape = (40, 40)
    detections = {"probability": np.zeros(shape, np.uint16), "quality": np.zeros(shape, np.uint8)}
    evidence = {
        "ndvi": np.zeros(shape, np.int16),
        "true_colour": np.zeros((3, *shape), np.uint8),
    }
    # What does not fit stands for a disk that is full: the layers after it are never written.
    (detections if layer in detections else evidence)[layer] = np.zeros((3, 7), np.uint8)
    with pytest.raises((ValueError, IndexError), match="shape|broadcast|indices"):
        store.write_block(
            tmp_path, "18GYS", 1, (0, 0), (slice(0, 40), slice(0, 40)),
            detections=detections, evidence=evidence,
        )  # fmt: skip
    assert not store.done(tmp_path, "18GYS").any()


def test_what_is_done_is_what_zarr_reads(tmp_path):
    store.create(tmp_path, [grid()], fingerprint="f")
    cells = zarr.open_array(tmp_path / store.DETECTIONS / "18GYS" / "done", mode="r+")
    for index in ((0, 1, 0), (1, 0, 0), (1, 1, 1), (0, 0, 1)):
        cells[index] = 1
    cells[0, 0, 1] = 0
    expected = np.asarray(cells[...]).astype(bool)
    assert expected.sum() == 3
    np.testing.assert_array_equal(store.done(tmp_path, "18GYS"), expected)
    np.testing.assert_array_equal(store.layout(tmp_path, "18GYS").done, expected)


def test_a_cell_that_a_kill_or_a_loss_of_power_cut_off_is_not_done(tmp_path):
    store.create(tmp_path, [grid()], fingerprint="f")
    store.mark_done(tmp_path, "18GYS", [(0, 0), (0, 1)])
    cells = tmp_path / store.DETECTIONS / "18GYS" / "done" / "c" / "1" / "0"
    (cells / "1").write_bytes(b"")
    (cells / "0").rename(cells / "0.ab12.partial")
    assert store.done(tmp_path, "18GYS").tolist() == [
        [[True, True], [False, False]],
        [[False, False], [False, False]],
    ]


@pytest.mark.parametrize("finished", [False, True])
def test_what_interrupted_writes_left_is_removed_where_work_is_left(tmp_path, finished):
    store.create(tmp_path, [grid()], fingerprint="f")
    left = [
        tmp_path / name / "18GYS" / "ndvi.ab.partial" for name in (store.DETECTIONS, store.EVIDENCE)
    ]
    beside = tmp_path / store.EVIDENCE / "zarr.json.ab.partial"
    for path in (*left, beside):
        path.touch()
    done = {"18GYS"} if finished else set()
    store.create(tmp_path, [grid()], fingerprint="f", finished=done)
    assert [path.exists() for path in left] == [finished] * 2
    assert not beside.exists()


def test_creating_again_keeps_what_was_written(tmp_path):
    store.create(tmp_path, [grid()], fingerprint="f")
    codes = write(tmp_path)
    store.create(tmp_path, [grid()], fingerprint="f")
    stored = store.read(tmp_path, store.DETECTIONS, "18GYS", "probability")
    np.testing.assert_array_equal(stored[1, :40, :40], codes)


def test_a_template_cut_off_by_a_kill_is_laid_out_again(tmp_path):
    root = zarr.open_group(tmp_path / store.DETECTIONS, mode="a", zarr_format=3)
    root.create_group("18GYS").create_array("x", shape=(3,), dtype="f8")
    store.create(tmp_path, [grid()], fingerprint="f")
    assert not store.done(tmp_path, "18GYS").any()


def test_xarray_and_rioxarray_read_crs_transform_nodata_and_values(tmp_path):
    store.create(tmp_path, [grid()], fingerprint="f")
    codes = write(tmp_path)
    opened = xr.open_zarr(
        tmp_path / store.DETECTIONS / "18GYS", consolidated=False, decode_coords="all"
    )
    probability = opened["probability"]
    assert probability.rio.crs.to_epsg() == 32718
    assert tuple(probability.rio.transform())[:6] == (10.0, 0.0, 699960.0, 0.0, -10.0, 5200000.0)
    assert probability.rio.encoded_nodata == CODE_NODATA
    assert str(opened["time"].values[1])[:10] == "2018-02-01"
    expected = np.where(codes == CODE_NODATA, np.nan, codes / 10000)
    np.testing.assert_allclose(probability.values[1, :40, :40], expected, atol=1e-9)
    ndvi = xr.open_zarr(
        tmp_path / store.EVIDENCE / "18GYS", consolidated=False, decode_coords="all"
    )["ndvi"]
    assert ndvi.rio.encoded_nodata == CUBE_NODATA
    assert ndvi.values[1, 0, 0] == 0.5


@pytest.mark.skipif(
    pyogrio.__gdal_version__ < (3, 12), reason="the GDAL of this pyogrio does not read Zarr v3"
)
def test_gdal_reads_crs_transform_nodata_and_values(tmp_path, monkeypatch):
    # GDAL >= 3.12 comes with pyogrio, built without zstd; the layout is what is under test here.
    # tests/services/test_gdal_zarr.py reads the compressed store with a GDAL that has it.
    monkeypatch.setattr(store.template, "COMPRESSORS", None)
    store.create(tmp_path, [grid()], fingerprint="f")
    codes = write(tmp_path)
    source = f'ZARR:"{tmp_path / store.DETECTIONS}":/18GYS/probability:1'
    answer = subprocess.run(
        [sys.executable, str(GDAL), source], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    facts = json.loads(answer.stdout)
    assert facts["driver"] == "Zarr"
    assert facts["shape"] == [50, 70]
    assert facts["transform"] == [699960.0, 10.0, 0.0, 5200000.0, 0.0, -10.0]
    assert "32718" in facts["wkt"]
    assert facts["nodata"] == CODE_NODATA
    assert facts["scale"] == pytest.approx(1e-4)
    pixels = np.array(facts["pixels"])
    np.testing.assert_array_equal(pixels[:40, :40], codes)
    assert (pixels[40:] == CODE_NODATA).all()


def test_a_second_process_is_refused_while_the_first_holds_the_run(tmp_path):
    code = (
        "import sys; from pathlib import Path; from lspipe.runs import store\n"
        "with store.lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"process {holder.pid}"), store.lock(tmp_path):
            pass
        holder.kill()
    # The kernel lets go when the process dies, however it died.
    with store.lock(tmp_path):
        pass


def test_differences_name_the_key_and_both_values():
    old = {"cube": {"mask": {"dilate_px": 3}}, "model": "a"}
    new = {"cube": {"mask": {"dilate_px": 5}}, "model": "a"}
    assert store.differences(old, new) == ["cube.mask.dilate_px: 3 -> 5"]


def test_clearing_leaves_what_a_person_wrote_and_the_folder_may_hold_a_run_again(tmp_path):
    mine = ("reviews.parquet", "inventory.edited-20260102T030405.gpkg")
    ours = ("run.json", "inventory.gpkg", ".lists.json", "reviews.parquet.partial")
    for name in (*mine, *ours):
        (tmp_path / name).write_text("{}")
    store.clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(mine)
    store.check_directory(tmp_path)


def test_clearing_refuses_a_folder_that_is_not_a_run(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(StoreError, match="not a run directory"):
        store.clear(tmp_path)
    assert (tmp_path / "holiday.jpg").exists()


def test_clearing_removes_all_of_a_run_and_first_what_says_that_there_is_one(tmp_path, monkeypatch):
    store.create(tmp_path, [grid()], fingerprint="f")
    store.create_change(tmp_path, grid())
    names = ("run.json", "items.json", "log.jsonl", "inventory.parquet", "unobserved.parquet")
    (tmp_path / store.OBJECTS).mkdir()
    names = (*names, "objects/18GYS.parquet", "objects/18GYS.unobserved.parquet")
    for name in (*names, ".inventory.ab.partial.gpkg", "notes.txt"):
        (tmp_path / name).touch()
    left = []
    original = copies.shutil.rmtree

    def remove(path):
        left.append({file.name for file in tmp_path.iterdir()})
        original(path)

    monkeypatch.setattr(copies.shutil, "rmtree", remove)
    store.clear(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    assert len(left) == 3
    assert not left[0] & set(names)


def test_an_empty_block_is_written_too(tmp_path):
    # A missing file never stands for a result.
    store.create(tmp_path, [grid()], fingerprint="f")
    shape = (40, 40)
    store.write_block(
        tmp_path, "18GYS", 0, (0, 0), (slice(0, 40), slice(0, 40)),
        detections={
            "probability": np.full(shape, CODE_NODATA, np.uint16),
            "quality": np.full(shape, 255, np.uint8),
        },
        evidence={"ndvi": np.full(shape, CUBE_NODATA, np.int16)},
    )  # fmt: skip
    for which, name in ((store.DETECTIONS, "probability"), (store.EVIDENCE, "ndvi")):
        chunks = [p for p in (tmp_path / which / "18GYS" / name / "c").rglob("*") if p.is_file()]
        assert len(chunks) == 4


def test_a_store_remembers_whose_it_is(tmp_path):
    store.create(tmp_path, [grid()], fingerprint="one")
    with pytest.raises(StoreError, match="made by another workflow"):
        store.create(tmp_path, [grid()], fingerprint="other")


def test_json_is_never_half_written(tmp_path, monkeypatch):
    store.write_json(tmp_path / "run.json", {"state": "finished"})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.documents.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write_json(tmp_path / "run.json", {"state": "other"})
    assert store.read_json(tmp_path / "run.json") == {"state": "finished"}
