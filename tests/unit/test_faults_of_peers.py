"""Faults that were found in other tools, by running them; each a promise that lspipe keeps."""

import numpy as np
import pytest
import torch
import xarray as xr

from lspipe.inference import windows
from lspipe.inference.detect import detect
from lspipe.schema import CODE_NODATA, quantise
from tests.naive import small_network

NETWORK = small_network(3)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As in a worker; and tiny networks are slowest where two threads share a busy core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def image(shape, seed=0):
    """(band, y, x) of three bands, all observed."""
    return np.random.default_rng(seed).random((3, *shape), dtype=np.float32)


def cube_of(values):
    return xr.DataArray(values, dims=("band", "y", "x"))


def first_band(batch):
    """The identity: every window answers with its own pixels."""
    return batch[:, :1]


def rim_of(shape):
    rim = np.ones(shape, bool)
    rim[1:-1, 1:-1] = False
    return rim


# --- blend weights of 0 at the edge made the outermost ring of every raster nodata ---


@pytest.mark.parametrize("blend", ["uniform", "hann"])
@pytest.mark.parametrize(
    ("shape", "window", "stride"), [((224, 224), 224, 22), ((250, 301), 224, 112), ((40, 33), 8, 8)]
)
def test_no_ring_of_the_raster_is_left_empty(blend, shape, window, stride):
    # A corner of Hann's window of 224 has a weight of 2e-9, which coarser sums would round to 0.
    values = image(shape)
    setting = {"window": window, "stride": stride, "blend": blend, "tta": "none"}
    found = detect(cube_of(values), first_band, **setting).to_numpy()
    np.testing.assert_allclose(found[rim_of(shape)], values[0][rim_of(shape)], atol=1e-6, rtol=0)


@pytest.mark.parametrize("blend", ["uniform", "hann"])
def test_no_ring_of_a_chunk_is_left_empty(blend):
    values = image((48, 60))
    lazy = detect(
        cube_of(values).chunk(y=16, x=20), first_band, window=16, stride=16, blend=blend, tta="none"
    )
    np.testing.assert_allclose(lazy.compute(scheduler="synchronous"), values[0], atol=1e-6, rtol=0)


# --- a NaN pixel emptied its whole patch, but only if the batch was of 1 ---


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("tta", ["none", "d4"])
def test_one_pixel_without_data_is_one_pixel_not_observed_at_any_batch_size(batch_size, tta):
    values = image((40, 40))
    values[1, 17, 22] = np.nan
    setting = {"window": 16, "stride": 8, "tta": tta}
    found = detect(cube_of(values), NETWORK, batch_size=batch_size, **setting).to_numpy()
    assert np.argwhere(np.isnan(found)).tolist() == [[17, 22]]
    other = detect(cube_of(values), NETWORK, batch_size=5, **setting).to_numpy()
    np.testing.assert_allclose(found, other, atol=5e-6, rtol=0)


def test_a_pixel_without_data_leaves_its_neighbours_what_the_network_said():
    values = image((40, 40))
    values[:, 10:30, 10:30] = np.nan

    def certain(batch):
        return torch.ones_like(batch[:, :1])

    found = detect(cube_of(values), certain, window=16, stride=8).to_numpy()
    expected = np.where(np.isnan(values[0]), np.nan, 1)
    np.testing.assert_array_equal(found, expected)


# --- no data was written as 0, which is also "no landslide" ---


def test_no_data_is_never_the_class_of_no_landslide():
    values = image((20, 20))
    values[0, 3:6, 4:9] = np.nan
    mask = np.zeros((20, 20), bool)
    mask[12:14] = True

    def nothing(batch):
        return torch.zeros_like(batch[:, :1])

    hidden = xr.DataArray(mask, dims=("y", "x"))
    found = detect(cube_of(values), nothing, mask=hidden, window=8, stride=4).to_numpy()
    codes = quantise(found)
    is_unobserved = np.isnan(values[0]) | mask
    assert (codes[is_unobserved] == CODE_NODATA).all()
    assert (codes[~is_unobserved] == 0).all()


# --- stride == window raised, and so did some sizes of image ---


@pytest.mark.parametrize("length", [1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 40])
@pytest.mark.parametrize("stride", [5, 7, 8])
def test_every_size_of_image_is_answered_whole(length, stride):
    values = image((length, 11))
    for blend in ("uniform", "hann"):
        setting = {"window": 8, "stride": stride, "blend": blend, "tta": "none"}
        found = detect(cube_of(values), first_band, **setting).to_numpy()
        np.testing.assert_allclose(found, values[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("length", [81, 401])
@pytest.mark.parametrize("stride", [40, 48])
def test_sizes_that_leave_a_pixel_after_the_last_stride_are_answered_whole(length, stride):
    # 81 = 2 x 40 + 1 and 401 = 10 x 40 + 1 pixels, windows of 48.
    values = image((length, 50))
    found = detect(cube_of(values), first_band, window=48, stride=stride, tta="none").to_numpy()
    np.testing.assert_allclose(found, values[0], atol=1e-6, rtol=0)


# --- int(window * (1 - overlap)) lost a pixel to the last bit of 0.9 ---


@pytest.mark.parametrize(
    ("window", "stride"), [(100, 10), (20, 2), (256, 26), (128, 13), (10, 1), (224, 22)]
)
def test_an_overlap_of_nine_tenths_leaves_a_tenth(window, stride):
    assert windows.stride_of(window, 0.9) == stride


# --- windows laid over each chunk from its own corner changed up to 44 % of the pixels ---


def chunk_by_chunk(values, chunk, halo, setting):
    """What `map_overlap` gives where each chunk lays its own lattice: the fault."""
    length = values.shape[1]
    found = np.empty((length, length), np.float32)
    for top in range(0, length, chunk):
        for left in range(0, length, chunk):
            outer = [slice(max(0, start - halo), start + chunk + halo) for start in (top, left)]
            part = detect(cube_of(values[:, *outer]), NETWORK, **setting).to_numpy()
            inner = tuple(
                slice(start - around.start, start - around.start + chunk)
                for start, around in zip((top, left), outer, strict=True)
            )
            core = part[inner]
            found[top : top + chunk, left : left + chunk] = core
    return found


@pytest.mark.parametrize(("window", "stride", "tta"), [(24, 3, "d4"), (20, 2, "none")])
@pytest.mark.parametrize("chunk", [48, 50])
def test_a_chunk_that_is_no_multiple_of_the_stride_changes_no_bit(window, stride, tta, chunk):
    values = image((101, 101))
    setting = {"window": window, "stride": stride, "tta": tta, "batch_size": 8}
    whole = detect(cube_of(values), NETWORK, **setting).to_numpy()
    lazy = detect(cube_of(values).chunk(y=chunk, x=chunk), NETWORK, **setting)
    assert lazy.compute(scheduler="synchronous").to_numpy().tobytes() == whole.tobytes()


@pytest.mark.parametrize("halo", [0, 12, 23])
def test_the_halo_alone_does_not_keep_the_windows_in_phase(halo):
    # Without this the test above might pass for a network that does not care.
    values = image((96, 96))
    setting = {"window": 24, "stride": 3, "batch_size": 8}
    whole = detect(cube_of(values), NETWORK, **setting).to_numpy()
    assert np.abs(chunk_by_chunk(values, 48, halo, setting) - whole).max() > 1e-3
