"""The stores of a finished run, compressed as they are written, open in a new GDAL by rasterio."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lspipe.runs import store
from lspipe.schema import CODE_NODATA, CUBE_NODATA
from tests.services.servers import ROOT
from tests.worlds import lspipe, make_world

READER = Path(__file__).with_name("gdal_zarr.py")
PYTHON = ROOT / ".venv-gdal" / "bin" / "python"

ROWS, COLUMNS = 200, 240
LAYERS = [
    # store, array, its nodata, what a stored 1 is worth
    (store.DETECTIONS, "probability", CODE_NODATA, 1e-4),
    (store.DETECTIONS, "quality", store.NOT_PROCESSED, 1),
    (store.EVIDENCE, "ndvi", CUBE_NODATA, 1e-4),
    (store.EVIDENCE, "true_colour", 0, 1),
    (store.CHANGE, "gain", CUBE_NODATA, 1e-4),
    (store.CHANGE, "state", 255, 1),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory, cluster) -> Path:
    """A finished run, with clouds so that some of it was not observed."""
    if not PYTHON.exists():
        # Not a failure, also where services are required: Debian 12 has no such Python.
        pytest.skip(
            "rasterio >= 1.5.2 (GDAL >= 3.12) needs Python >= 3.12; `.ci/run` makes "
            f"{PYTHON.parent.parent} for it where it finds one"
        )
    world = make_world(
        tmp_path_factory.mktemp("world"),
        size=(ROWS, COLUMNS),
        after={"clouds": ((50, 180, 12),)},
        cluster=cluster,
    )
    answer = lspipe("run", world.workflow)
    assert answer.returncode == 0, answer.stderr
    return world.run


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer[1])
def test_crs_transform_nodata_and_values(run, tmp_path, layer):
    name, array, nodata, scale = layer
    pixels = tmp_path / "pixels.npy"
    source = f'ZARR:"{run / name}":/18GYS/{array}'
    answer = subprocess.run(
        [PYTHON, READER, pixels, source], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    facts = json.loads(answer.stdout)
    assert facts["driver"] == "Zarr"
    assert facts["epsg"] == 32718
    assert facts["transform"] == [10.0, 0.0, 699960.0, 0.0, -10.0, 5200000.0]
    assert facts["nodata"] == nodata
    assert facts["scale"] == pytest.approx(scale)
    stored = store.read(run, name, "18GYS", array)
    assert facts["dtype"] == str(stored.dtype)
    expected = stored.reshape(-1, ROWS, COLUMNS)
    np.testing.assert_array_equal(np.load(pixels), expected)
    # Something to see: pixels of more than one value, and nodata where it stands for the clouds.
    assert len(np.unique(expected)) > 1
    if array == "probability":
        assert 0 < (expected[1] == nodata).mean() < 0.5


def test_the_compression_is_the_one_that_is_written(run):
    content = json.loads(
        (run / store.DETECTIONS / "18GYS" / "probability" / "zarr.json").read_text()
    )
    assert [codec["name"] for codec in content["codecs"]] == ["bytes", "zstd"]
