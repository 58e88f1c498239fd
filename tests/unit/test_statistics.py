"""Statistics of images: exact where they can be, bounded in memory, and kept in the model item."""

import json
import tracemalloc

import numpy as np
import pytest
import torch

from lspipe.errors import ModelError
from lspipe.models import build, read_item
from lspipe.models import statistics as module
from lspipe.models.pack import pack
from lspipe.models.section import Section
from lspipe.models.statistics import Statistics

RNG = np.random.default_rng(0)
IMAGES = RNG.normal([[[[1.0]], [[-20.0]]]], [[[[2.0]], [[0.1]]]], (6, 2, 20, 30)).astype(np.float32)

FIELDS = {
    "id": "tiny-unet",
    "architecture": "ghorb-unet",
    "arguments": {"filters": 2},
    "bands": ("B02", "B03"),
    "window": 16,
    "description": "random weights",
    "not_for": "anything but tests",
}


def write(folder, **more):
    torch.manual_seed(0)
    network = build("ghorb-unet", 2, filters=2)
    return pack(network, folder, item_fields={**FIELDS, **more})


def test_statistics_are_those_of_numpy():
    found = Statistics.of(IMAGES)
    assert (found.pixels, found.channels) == (6 * 20 * 30, 2)
    values = np.moveaxis(IMAGES, 1, 0).reshape(2, -1).astype(np.float64)
    np.testing.assert_allclose(found.mean, values.mean(1), rtol=1e-5)
    np.testing.assert_allclose(found.std, values.std(1), rtol=1e-5)
    for name, rank in (("p01", 1), ("p50", 50), ("p99", 99)):
        np.testing.assert_allclose(getattr(found, name), np.percentile(values, rank, 1), rtol=1e-5)


def test_a_pixel_counts_where_every_channel_has_data():
    images = IMAGES.copy()
    images[0, 0, :10] = np.nan
    images[0, 1, 5:] = np.nan
    images[3] = np.nan
    found = Statistics.of(images)
    assert found.pixels == 4 * 600
    assert found == Statistics.of(images[[1, 2, 4, 5]])


def test_images_of_several_sizes_are_counted_together():
    parts = [IMAGES[0, :, :7], IMAGES[0, :, 7:, :4], IMAGES[0, :, 7:, 4:], *IMAGES[1:]]
    assert Statistics.of(iter(parts)) == Statistics.of(IMAGES)


def test_of_more_pixels_than_are_kept_a_fair_sample_is_drawn(monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", 4096)
    # A gradient along each row: a sample of some columns only would show.
    row = np.linspace(0, 1, 128, dtype=np.float32)
    images = np.broadcast_to(row, (40, 2, 128, 128))
    tracemalloc.start()
    found = Statistics.of(images)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == Statistics.of(images)
    assert found.pixels == 40 * 128 * 128
    np.testing.assert_allclose(found.mean, 0.5, rtol=1e-5)
    np.testing.assert_allclose(
        [found.p01[0], found.p50[0], found.p99[0]], [0.01, 0.5, 0.99], atol=0.03
    )
    # All of it is 10 MB; an image in float64 is a quarter of one.
    assert peak < 3e6


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "found no pixel with data"),
        ([np.full((2, 3, 3), np.nan)], "found no pixel with data"),
        ([np.full((2, 3, 3), np.inf)], "infinite"),
        ([np.zeros((2, 3, 3)), np.zeros((3, 3, 3))], "3 channels after others of 2"),
        ([np.zeros((3, 3))], r"expected \(channel, y, x\)"),
    ],
)
def test_what_cannot_be_counted_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        Statistics.of(images)


def test_an_item_carries_them_and_stays_the_same_model(tmp_path):
    statistics = Statistics.of(IMAGES)
    without = read_item(write(tmp_path / "without"))
    item = read_item(write(tmp_path / "with", statistics=statistics))
    assert without.statistics is None
    assert item.statistics == statistics
    assert item.facts() == without.facts()
    assert item.item_sha256 == without.item_sha256
    section = Section(tmp_path, "", json.loads(json.dumps(statistics.as_json())))
    assert Statistics.from_json(section, 2) == statistics


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [1.0]}, "mean: found [1.0]: expected 2 finite numbers, one per channel"),
        ({"mean": 1.0}, "mean: found 1.0: expected 2 finite numbers, one per channel"),
        ({"p50": [0, "x"]}, "p50: found [0, 'x']: expected 2 finite numbers, one per channel"),
        ({"p01": [9, 9]}, "channel 1: found p01, p50 and p99 of"),
        ({"std": [1, -1]}, "std: found -1: expected 0 or more"),
        ({"pixels": 0}, "pixels: found 0: expected at least 1"),
        ({"pixels": 1.5}, "pixels: found 1.5: expected a number of pixels"),
        ({"median": [0, 0]}, "median: unknown key"),
    ],
)
def test_an_item_with_wrong_statistics_is_refused_by_file_and_key(tmp_path, change, message):
    path = write(tmp_path, statistics=Statistics.of(IMAGES))
    document = json.loads(path.read_text())
    document["properties"]["lspipe:statistics"] |= change
    path.write_text(json.dumps(document))
    with pytest.raises(ModelError) as caught:
        read_item(path)
    assert str(caught.value).startswith(f"{path}: properties.lspipe:statistics")
    assert message in str(caught.value)


def test_statistics_that_lack_a_key_are_refused(tmp_path):
    path = write(tmp_path, statistics=Statistics.of(IMAGES))
    document = json.loads(path.read_text())
    del document["properties"]["lspipe:statistics"]["p99"]
    path.write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"lspipe:statistics\.p99: missing"):
        read_item(path)


def test_statistics_of_other_channels_than_the_network_are_not_packed(tmp_path):
    with pytest.raises(ModelError, match=r"lspipe:statistics\.mean: found .*: expected 2"):
        write(tmp_path, statistics=Statistics.of(IMAGES[:, :1]))
    assert not list(tmp_path.glob("*.json"))
