from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from lspipe.errors import InferenceError
from lspipe.inference import cut_and_add, windows
from lspipe.inference.batches import batches_of, passes
from lspipe.inference.block import run_block
from lspipe.inference.inputs import scale
from lspipe.inference.observed import observed_range
from lspipe.inference.overlap import OverlapAverage
from lspipe.inference.presets import resolve
from lspipe.inference.runtimes import from_callable
from lspipe.inference.settings import InferenceSpec, Setting
from lspipe.models.item import Scaling
from tests.naive import probability_map, small_network
from tests.properties import examples

# fp32 against float64 (docs/numerics.md, Reproducibility).
TOLERANCE = 2e-6

SMALL = Setting(window=8, stride=3, batch_size=4)
BANDS = 3
NETWORK = small_network(BANDS)


def runtime_of(network, **changes):
    return replace(from_callable(network, device="cpu", precision="fp32"), **changes)


def whole(pixels, setting=SMALL, *, network=NETWORK, runtime=None, **kwargs):
    """The whole array as one block."""
    shape = pixels.shape[1:]
    return run_block(
        pixels,
        origin=(0, 0),
        tile_shape=shape,
        core=(slice(0, shape[0]), slice(0, shape[1])),
        runtime=runtime or runtime_of(network),
        setting=setting,
        **kwargs,
    )


def in_blocks(pixels, block, setting=SMALL, *, mask=None, area=None, runtime=None, **kwargs):
    """The same, block by block, each given its own pixels and halo only."""
    shape = pixels.shape[1:]
    result = np.full(shape, -1, np.float32)
    for one in windows.blocks(shape, block, setting.halo):
        result[one.core] = run_block(
            pixels[:, *one.outer],
            origin=(one.outer[0].start, one.outer[1].start),
            tile_shape=shape,
            core=one.core,
            runtime=runtime or runtime_of(NETWORK),
            setting=setting,
            mask=None if mask is None else mask[one.outer],
            area=None if area is None else area[one.outer],
            **kwargs,
        )
    return result


def image(shape, seed=0, bands=BANDS):
    return np.random.default_rng(seed).random((bands, *shape), dtype=np.float32)


def reflectance(shape, seed=0, bands=BANDS):
    return np.random.default_rng(seed).integers(-999, 12000, (bands, *shape)).astype(np.int16)


def holes(shape, seed, share=0.2):
    return np.random.default_rng(seed + 1000).random(shape) < share


def identical(a, b):
    return a.dtype == b.dtype == np.float32 and a.tobytes() == b.tobytes()


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As in a worker; and tiny networks are slowest where two threads share a busy core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


ANY_WINDOW = st.integers(1, 12)


@st.composite
def cases(draw, blocks=6, window=ANY_WINDOW):
    """Any setting, and a shape of at most a few windows along each axis, or less than one."""
    window = draw(window)
    setting = Setting(
        window=window,
        stride=draw(st.integers(1, window)),
        tta=draw(st.sampled_from(["d4", "none"])),
        tta_merge=draw(st.sampled_from(["max", "mean"])),
        tta_order=draw(st.sampled_from(["average-then-max", "max-then-average"])),
        blend=draw(st.sampled_from(["uniform", "hann"])),
        batch_size=draw(st.integers(2, 9)),
    )
    lengths = st.integers(1, window + blocks * setting.stride)
    return setting, (draw(lengths), draw(lengths)), draw(st.integers(0, 99))


def definition_of(pixels, setting, network=NETWORK, **kwargs):
    names = ("window", "stride", "tta", "tta_merge", "tta_order", "blend")
    return probability_map(
        pixels, network, **{name: getattr(setting, name) for name in names}, **kwargs
    )


# --- the numbers ---


@examples(60)
@given(cases(), st.booleans())
def test_a_block_is_its_definition(case, is_masked):
    setting, shape, seed = case
    pixels = image(shape, seed)
    pixels[holes(pixels.shape, seed, 0.03)] = np.nan
    mask = holes(shape, seed) if is_masked else None
    expected = definition_of(pixels, setting, mask=mask)
    np.testing.assert_allclose(whole(pixels, setting, mask=mask), expected, atol=TOLERANCE, rtol=0)


@examples(40)
@given(cases(blocks=9), st.integers(0, 12))
def test_blocks_equal_the_whole_tile_bit_for_bit(case, more):
    setting, shape, seed = case
    pixels = image(shape, seed)
    pixels[holes(pixels.shape, seed, 0.02)] = np.nan
    mask = holes(shape, seed)
    expected = whole(pixels, setting, mask=mask)
    assert identical(in_blocks(pixels, setting.window + more, setting, mask=mask), expected)


@examples(20)
@given(cases(window=st.just(8)), st.integers(0, 12))
def test_a_sigmoid_has_the_same_bits_in_blocks_where_windows_are_multiples_of_8(case, more):
    setting, shape, seed = case
    pixels, runtime = image(shape, seed), runtime_of(small_network(BANDS, last=torch.nn.Sigmoid))
    expected = whole(pixels, setting, runtime=runtime)
    found = in_blocks(pixels, setting.window + more, setting, runtime=runtime)
    assert identical(found, expected)


@examples(40)
@given(cases(blocks=8), st.data())
def test_a_small_area_equals_the_whole_tile_bit_for_bit(case, data):
    setting, shape, seed = case
    pixels = image(shape, seed)
    top, left = (data.draw(st.integers(0, length - 1)) for length in shape)
    high, wide = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    area = np.zeros(shape, bool)
    area[top : top + high, left : left + wide] = True
    expected = np.where(area, whole(pixels, setting), np.float32(np.nan))
    assert identical(whole(pixels, setting, area=area), expected)
    assert identical(in_blocks(pixels, setting.window + 7, setting, area=area), expected)


@examples(25)
@given(cases())
def test_the_identity_model_returns_its_input(case):
    setting, shape, seed = case
    pixels = image(shape, seed, bands=1)
    found = whole(pixels, setting, network=lambda batch: batch)
    np.testing.assert_allclose(found, pixels[0], atol=TOLERANCE, rtol=0)


def test_certainty_stays_certain():
    # 1 must come back as 1, not as 0.99999994: thresholds and codes are exact.
    for blend in ("uniform", "hann"):
        setting = replace(SMALL, blend=blend)
        ones = whole(image((30, 20)), setting, network=lambda batch: torch.ones_like(batch[:, :1]))
        zeros = whole(image((30, 20)), setting, network=lambda b: torch.zeros_like(b[:, :1]))
        assert ones.min() >= 1 - 1e-6
        assert ones.max() <= 1
        assert (zeros == 0).all()
    assert (whole(image((9, 9)), network=lambda b: torch.ones_like(b[:, :1])) == 1).all()
    # One window, whose middle has the full weight: the largest value that a sum may hold.
    alone = Setting(window=5, stride=5, blend="hann", tta="none")
    found = whole(image((5, 5)), alone, network=lambda b: torch.ones_like(b[:, :1]))
    np.testing.assert_allclose(found, 1, atol=1e-6)


def test_thousands_of_windows_over_a_pixel_keep_the_promised_digits():
    # 80 x 80 windows over one pixel: an int32 sum would be off by up to 4e-6.
    setting = Setting(window=80, stride=1, tta="none", batch_size=64)
    pixels = np.full((1, 160, 160), 0.3 + 1.7e-6, np.float32)
    found = whole(pixels, setting, network=lambda batch: batch)
    np.testing.assert_allclose(found, pixels[0], atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("window", "stride", "blend", "dtype"),
    [
        (8, 3, "uniform", torch.int32),
        (63, 1, "uniform", torch.int32),  # 2^19 steps per unit, and no fewer
        (64, 1, "uniform", torch.int64),
        (8, 4, "hann", torch.int64),
    ],
)
def test_a_sum_has_the_finest_steps_that_cannot_overflow(window, stride, blend, dtype):
    setting = Setting(window=window, stride=stride, blend=blend)
    scene = SimpleNamespace(
        tile_shape=(200, 150),
        runtime=SimpleNamespace(device=torch.device("cpu")),
        inputs=SimpleNamespace(method=cut_and_add.BY_SLICES),
    )
    average = OverlapAverage.of((slice(0, 50), slice(10, 60)), setting, scene)
    most = windows.coverage(200, window, stride).max() * windows.coverage(150, window, stride).max()
    assert average.dtype == dtype
    limit = torch.iinfo(dtype).max
    assert int(average.scale) * int(most) <= limit < 2 * int(average.scale) * int(most)
    assert np.log2(average.scale) % 1 == 0
    assert average.shape == (50, 50)


@examples(30)
@given(cases(), st.data())
def test_a_changed_pixel_changes_only_windows_that_hold_it(case, data):
    setting, shape, seed = case
    size, stride = setting.window, setting.stride
    row, column = (data.draw(st.integers(0, length - 1)) for length in shape)
    # A short axis is padded by reflection: there the pixel is in its only window anyway.
    before = image(shape, seed)
    after = before.copy()
    after[:, row, column] += 0.5
    changed = whole(before, setting) != whole(after, setting)
    reached = np.zeros(shape, bool)
    for top in windows.origins(shape[0], size, stride):
        for left in windows.origins(shape[1], size, stride):
            if top <= row < top + size and left <= column < left + size:
                reached[top : top + size, left : left + size] = True
    assert not (changed & ~reached).any()


@examples(30)
@given(cases())
def test_not_observed_stays_nan_and_nothing_else_is(case):
    setting, shape, seed = case
    pixels = image(shape, seed)
    pixels[holes(pixels.shape, seed, 0.1)] = np.nan
    mask = holes(shape, seed)
    found = whole(pixels, setting, mask=mask)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(pixels).any(axis=0) | mask)


def test_windows_without_an_observed_pixel_are_skipped_and_change_nothing():
    pixels = image((40, 40))
    pixels[:, :, 15:] = np.nan
    seen = []

    def counting(batch):
        seen.append(len(batch))
        return NETWORK(batch)

    setting = replace(SMALL, tta="none", batch_size=1)
    found = whole(pixels, setting, network=counting)
    starts = windows.origins(40, 8, 3)
    assert sum(seen) == len(starts) * (starts < 15).sum()
    expected = definition_of(pixels, setting)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


def test_a_block_without_an_observed_pixel_never_calls_the_network():
    def refuse(_):
        raise AssertionError("called")

    assert np.isnan(whole(np.full((3, 20, 20), np.nan, np.float32), network=refuse)).all()
    nowhere = np.zeros((20, 20), bool)
    assert np.isnan(whole(image((20, 20)), network=refuse, area=nowhere)).all()


def test_every_batch_has_the_same_shape():
    shapes = set()

    def noting(batch):
        shapes.add(tuple(batch.shape))
        return NETWORK(batch)

    whole(image((17, 23)), replace(SMALL, batch_size=5), network=noting)
    assert shapes == {(5, 3, 8, 8)}


@pytest.mark.parametrize("merge", ["max", "mean"])
@pytest.mark.parametrize("order", ["average-then-max", "max-then-average"])
@pytest.mark.parametrize(("edge", "batches"), [(24, 9), (8, 1), (25, 16)])
def test_batches_are_filled_across_views_and_rows(edge, batches, order, merge):
    calls = []

    def noting(batch):
        calls.append(len(batch))
        return NETWORK(batch)

    # 9, 1 or 16 windows in 8 views each: 72, 8 or 128 passes in batches of 8.
    setting = Setting(window=8, stride=8, batch_size=8, tta_order=order, tta_merge=merge)
    found = whole(image((edge, edge)), setting, network=noting)
    assert calls == [8] * batches
    alone = whole(image((edge, edge)), replace(setting, batch_size=1))
    np.testing.assert_allclose(found, alone, atol=TOLERANCE, rtol=0)


@given(
    count=st.integers(1, 30),
    views=st.integers(1, 8),
    group=st.integers(1, 30),
    size=st.integers(1, 12),
)
def test_every_window_goes_through_the_network_once_in_each_view(count, views, group, size):
    batches = list(batches_of(passes(count, range(views), group), size))
    lengths = [sum(run.length for run in batch) for batch in batches]
    assert lengths[:-1] == [size] * (len(batches) - 1)
    seen = [
        (run.view, window)
        for batch in batches
        for run in batch
        for window in range(run.windows.start, run.windows.stop)
    ]
    assert sorted(seen) == [(view, window) for view in range(views) for window in range(count)]
    # A window is seen in all views before the next group is, in the order of the views.
    assert seen == sorted(seen, key=lambda one: (one[1] // group, *one))


def test_the_max_of_each_window_is_never_below_the_max_of_averages():
    pixels = image((30, 30))
    first = whole(pixels)
    second = whole(pixels, replace(SMALL, tta_order="max-then-average"))
    assert (second >= first - TOLERANCE).all()
    assert (second > first + 1e-3).any()


def test_a_network_that_works_in_place_spoils_no_other_view():
    def in_place(batch):
        answer = NETWORK(batch).clone()
        batch.zero_()
        return answer

    for order in ("average-then-max", "max-then-average"):
        setting = replace(SMALL, tta_order=order)
        assert identical(
            whole(image((20, 20)), setting, network=in_place), whole(image((20, 20)), setting)
        )


def test_pixels_are_neither_modified_nor_required_to_be_writable_or_contiguous():
    pixels = reflectance((20, 24))
    pixels[:, 3, 4] = -32768
    expected = whole(pixels)
    kept = pixels.copy()
    kept.flags.writeable = False
    mask = np.zeros((20, 24), bool)
    mask.flags.writeable = False
    assert identical(whole(kept, mask=mask), expected)
    assert identical(whole(np.flip(np.flip(pixels, 2).copy(), 2)), expected)
    assert identical(whole(np.asfortranarray(pixels)), expected)
    np.testing.assert_array_equal(kept, pixels)


# --- scaling and fill ---

SCALINGS = [
    Scaling(),
    Scaling(kind="affine", scale=(2.0, 0.5, -1.0), offset=(0.1, -0.2, 0.3)),
    Scaling(kind="affine", scale=(2.0, 0.5, 1.0), offset=(0.0, 0.0, 0.0), clip=(0.0, 1.0)),
    Scaling(kind="tile-minmax"),
    Scaling(kind="window-minmax"),
    Scaling(kind="window-minmax-all"),
    Scaling(kind="window-max"),
]


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda s: s.kind)
@pytest.mark.parametrize("shape", [(25, 31), (5, 20)])
@pytest.mark.parametrize("fill_masked", [False, True])
def test_every_scaling_is_its_definition_in_one_block_and_in_many(scaling, shape, fill_masked):
    pixels = reflectance(shape)
    pixels[holes(pixels.shape, 3, 0.03)] = -32768
    # A masked pixel that would rule every statistic it got into.
    mask = holes(shape, 4)
    pixels[:, *np.argwhere(mask)[0]] = 30000
    fill = (0.25, -1.0, 2.0)
    runtime = runtime_of(NETWORK, scaling=scaling, fill=fill)
    expected = definition_of(
        pixels, SMALL, mask=mask, scaling=scaling, fill=fill, fill_masked=fill_masked
    )
    kwargs = {
        "mask": mask,
        "runtime": runtime,
        "fill_masked": fill_masked,
        "tile_range": observed_range(pixels, mask),
    }
    found = whole(pixels, **kwargs)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
    assert identical(in_blocks(pixels, 9, **kwargs), found)


def test_a_flat_window_scales_to_0_and_a_dark_one_is_divided_by_1():
    flat, observed = torch.full((1, 2, 3, 3), 0.4), torch.ones(1, 1, 3, 3, dtype=torch.bool)
    for kind in ("window-minmax", "window-minmax-all"):
        assert (scale(flat, Scaling(kind=kind), observed=observed) == 0).all()
    dark = torch.full((1, 2, 3, 3), -0.05)
    assert torch.equal(scale(dark, Scaling(kind="window-max"), observed=observed), dark)


def test_a_scaling_that_lacks_what_it_needs_is_refused():
    with pytest.raises(ValueError, match="needs tile_range"):
        whole(reflectance((9, 9)), runtime=runtime_of(NETWORK, scaling=Scaling(kind="tile-minmax")))
    with pytest.raises(ValueError, match="the pixels that were observed"):
        scale(torch.zeros(1, 1, 2, 2), Scaling(kind="window-max"))


def test_masked_pixels_keep_their_values_for_the_network_and_missing_ones_get_the_fill():
    pixels = np.full((2, 4, 4), 1000, np.int16)
    pixels[0, 1, 1] = -32768
    mask = np.zeros((4, 4), bool)
    mask[2, 2] = True
    seen = []

    def noting(batch):
        seen.append(batch[0].clone())
        return torch.zeros_like(batch[:, :1])

    setting = Setting(window=4, stride=4, tta="none", batch_size=1)
    for fill_masked in (False, True):
        whole(
            pixels, setting, mask=mask, fill_masked=fill_masked,
            runtime=runtime_of(noting, fill=(7.0, 8.0)),
        )  # fmt: skip
    expected = torch.full((2, 4, 4), 0.1)
    expected[0, 1, 1] = 7
    torch.testing.assert_close(seen[0], expected)
    expected[:, 2, 2] = torch.tensor([7.0, 8.0])
    torch.testing.assert_close(seen[1], expected)


def test_the_observed_range_of_parts_joins_to_that_of_the_tile():
    pixels = reflectance((20, 20))
    pixels[0, :3] = -32768
    mask = holes((20, 20), 1)
    expected = observed_range(pixels, mask)
    parts = [observed_range(pixels[:, part], mask[part]) for part in (slice(0, 9), slice(9, 20))]
    low = np.fmin(parts[0][:, 0], parts[1][:, 0])
    high = np.fmax(parts[0][:, 1], parts[1][:, 1])
    np.testing.assert_array_equal(np.stack([low, high], axis=1), expected)
    nothing = observed_range(pixels[:, :3], mask[:3])
    assert (nothing.shape, nothing.dtype) == (expected.shape, expected.dtype)
    assert np.isnan(nothing).all()
    seen = pixels[:, ~mask & (pixels != -32768).all(0)] * 1e-4
    np.testing.assert_allclose(expected, np.stack([seen.min(1), seen.max(1)], 1), rtol=1e-6)


# --- the way of a GPU, on a CPU ---


@pytest.fixture
def by_index(monkeypatch):
    """Windows are cut and added up as on a GPU."""
    monkeypatch.setitem(cut_and_add.OF_DEVICE, "cpu", cut_and_add.BY_INDEX)


def _pixelwise(batch):
    """A network without sums, whose bits depend on no memory layout."""
    return (batch[:, :1] * 0.75 + batch[:, 1:2] * 0.25).clamp(0, 1)


@examples(60)
@given(cases(), st.booleans())
def test_a_gpu_gathers_the_same_windows_and_sums_them_to_the_same_bits(case, is_masked):
    setting, shape, seed = case
    pixels = image(shape, seed)
    pixels[holes(pixels.shape, seed, 0.03)] = np.nan
    mask = holes(shape, seed) if is_masked else None
    expected = whole(pixels, setting, network=_pixelwise, mask=mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(cut_and_add.OF_DEVICE, "cpu", cut_and_add.BY_INDEX)
        assert identical(whole(pixels, setting, network=_pixelwise, mask=mask), expected)


@pytest.mark.usefixtures("by_index")
@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda s: s.kind)
@pytest.mark.parametrize("fill_masked", [False, True])
def test_a_gpu_scales_and_fills_as_defined(scaling, fill_masked):
    pixels = reflectance((25, 31))
    pixels[holes(pixels.shape, 3, 0.03)] = -32768
    mask = holes((25, 31), 4)
    fill = (0.25, -1.0, 2.0)
    expected = definition_of(
        pixels, SMALL, mask=mask, scaling=scaling, fill=fill, fill_masked=fill_masked
    )
    kwargs = {
        "mask": mask,
        "runtime": runtime_of(NETWORK, scaling=scaling, fill=fill),
        "fill_masked": fill_masked,
        "tile_range": observed_range(pixels, mask),
    }
    found = whole(pixels, **kwargs)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
    assert identical(in_blocks(pixels, 9, **kwargs), found)


@pytest.mark.usefixtures("by_index")
def test_a_gpu_is_given_new_memory_that_a_network_may_spoil():
    def spoiling(batch):
        answer = batch[:, :1].clone()
        batch.zero_()
        return answer

    pixels = image((20, 23))
    np.testing.assert_allclose(whole(pixels, network=spoiling), pixels[0], atol=TOLERANCE, rtol=0)


# --- the screen ---

SCREENED = replace(SMALL, screen=0.05)


def _spots(batch):
    """A network whose answer depends on the window: bright pixels glow into their neighbours."""
    blurred = torch.nn.functional.avg_pool2d(batch[:, :1], 3, 1, 1)
    return (blurred * batch[:, :1].amax((2, 3), keepdim=True)).clamp(0, 1)


def _dotted(shape, seed, share=0.01):
    """Dark ground with bright dots."""
    pixels = image(shape, seed) * 0.02
    pixels[:, holes(shape, seed, share)] = 1
    return pixels


@examples(40)
@given(cases(blocks=9), st.integers(0, 12), st.sampled_from([0.0, 0.02, 0.05, 0.3]))
def test_a_screened_pixel_is_the_full_answer_or_the_first_passs_below_the_screen(
    case, more, screen
):
    setting, shape, seed = case
    pixels = _dotted(shape, seed)
    full = whole(pixels, setting, network=_spots)
    screened = replace(setting, screen=screen)
    first = whole(pixels, screened.first_pass, network=_spots)
    found = whole(pixels, screened, network=_spots)
    is_full = found == full
    assert (is_full | ((found == first) & (first <= screen))).all()
    near = ndimage.maximum_filter(first > screen, 2 * screened.reach + 1)
    assert is_full[near].all()
    runtime = runtime_of(_spots)
    blocks = in_blocks(pixels, screened.halo + 1 + more, screened, runtime=runtime)
    assert identical(blocks, found)
    area = np.zeros(shape, bool)
    area[: shape[0] // 2 + 1, shape[1] // 3 :] = True
    part = whole(pixels, screened, network=_spots, area=area)
    assert identical(part, np.where(area, found, np.float32(np.nan)))


def test_a_screen_runs_few_windows_where_little_is_to_be_seen_and_says_how_many():
    pixels = np.zeros((3, 60, 60), np.float32)
    pixels[:, 30, 30] = 1
    counts = []
    setting = replace(SMALL, screen=0.001)
    found = whole(pixels, setting, network=_spots, report=lambda *pair: counts.append(pair))
    full = whole(pixels, SMALL, network=_spots, report=lambda *pair: counts.append(pair))
    (needed, run), (all_needed, all_run) = counts
    assert needed == all_needed == all_run
    assert 0 < run < needed / 10
    np.testing.assert_array_equal(found > 0.05, full > 0.05)


def test_a_screen_ignores_what_was_not_observed_and_what_lies_outside():
    pixels = np.zeros((3, 40, 40), np.float32)
    pixels[:, 10, 10] = pixels[:, 30, 30] = 1
    mask, area = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    mask[7:14, 7:14] = True
    area[:25] = True  # farther from the other dot than the screen reaches
    counts = []
    found = whole(
        pixels, SCREENED, network=_spots, mask=mask, area=area,
        report=lambda *pair: counts.append(pair),
    )  # fmt: skip
    assert counts[0][1] == 0
    np.testing.assert_array_equal(np.isnan(found), mask | ~area)


def test_every_window_is_run_without_a_screen_and_none_where_nothing_was_observed():
    counts = []
    whole(image((20, 20)), report=lambda *pair: counts.append(pair))
    nothing = np.full((3, 20, 20), np.nan, np.float32)
    whole(nothing, report=lambda *pair: counts.append(pair))
    assert counts == [(25, 25), (0, 0)]


# --- what a bad network or a bad call gets ---


def nan_beyond(row):
    """A network that fails on the windows that hold a value of 9, put at one pixel."""

    def network(batch):
        answer = torch.full_like(batch[:, :1], 0.5)
        answer[(batch == 9).flatten(1).any(1)] = torch.nan
        return answer

    pixels = np.zeros((1, 20, 20), np.float32)
    pixels[0, row, row] = 9
    return pixels, network


@pytest.mark.parametrize(("order", "number"), [("average-then-max", 4), ("max-then-average", 25)])
def test_nan_from_the_network_names_the_window_and_the_batch(order, number):
    pixels, network = nan_beyond(19)
    setting = Setting(window=8, stride=4, batch_size=4, tta_order=order)
    # The only window with pixel (19, 19) starts at (12, 12), the last of 16; in its first view it
    # is in the last batch of that view, or in the first one of the last four windows.
    with pytest.raises(
        InferenceError,
        match=rf"row 12, column 12 of the tile \(batch {number} of 32\): .* nan to nan",
    ):
        whole(pixels, setting, network=network)


@pytest.mark.parametrize("merge", ["max", "mean"])
@pytest.mark.parametrize("order", ["average-then-max", "max-then-average"])
@pytest.mark.parametrize("value", [-0.001, 1.001, float("inf"), -float("inf")])
def test_values_outside_0_to_1_are_refused_whatever_the_other_views_say(value, order, merge):
    calls = []

    def network(batch):
        calls.append(1)
        # Only one of the eight views is bad, so that a maximum or mean would hide it.
        return torch.full_like(batch[:, :1], value if len(calls) == 5 else 0.5)

    setting = Setting(window=8, stride=8, batch_size=1, tta_order=order, tta_merge=merge)
    with pytest.raises(InferenceError, match=r"window at row 0, column 0 .* probabilities 0\.\.1"):
        whole(image((8, 8)), setting, network=network)


@pytest.mark.parametrize(
    "network",
    [
        lambda batch: batch[:, :2],
        lambda batch: batch[:, 0],
        lambda batch: batch[:, :1, ::2, ::2],
        lambda batch: batch[:1, :1],
        lambda batch: {"out": batch},
    ],
)
def test_another_shape_names_the_window_and_the_batch(network):
    with pytest.raises(InferenceError, match=r"window at row 0, column 0 .*batch 1 of .*expected"):
        whole(image((20, 20)), network=network)


def test_a_network_that_fails_names_the_window_and_says_why():
    with pytest.raises(InferenceError, match=r"batch 1 of \d+\): the network failed: .*channels"):
        whole(image((20, 20), bands=5))


def test_running_out_of_gpu_memory_names_the_batch_size_to_use():
    def hungry(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(InferenceError, match=r"set inference\.batch_size to 2, it is 4"):
        whole(image((20, 20)), network=hungry)


def test_pixels_without_their_halo_are_refused():
    with pytest.raises(
        ValueError, match=r"pixels hold rows 10\.\.20 of the tile: expected 3\.\.26"
    ):
        run_block(
            image((10, 40)),
            origin=(10, 0),
            tile_shape=(40, 40),
            core=(slice(10, 20), slice(0, 40)),
            runtime=runtime_of(NETWORK),
            setting=SMALL,
        )


@pytest.mark.parametrize("dtype", [">i2", np.uint16, np.int32, np.complex64])
def test_pixels_of_another_dtype_are_refused(dtype):
    with pytest.raises(ValueError, match="expected int16 or float"):
        whole(np.zeros((3, 9, 9), dtype))


def test_a_mask_of_another_shape_or_dtype_is_refused():
    for mask in (np.zeros((9, 8), bool), np.zeros((9, 9), np.uint8)):
        with pytest.raises(ValueError, match=r"mask is .*: expected bool \(9, 9\)"):
            whole(image((9, 9)), mask=mask)


def test_fills_or_bands_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 fill values, expected 1 or 3"):
        whole(image((9, 9)), runtime=runtime_of(NETWORK, fill=(0.0, 0.0)))
    with pytest.raises(ValueError, match="found 3 bands, expected B02, B03"):
        whole(image((9, 9)), runtime=runtime_of(NETWORK, bands=("B02", "B03")))


# --- settings ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride": 0}, "stride 0"),
        ({"stride": 9}, "stride 9: expected 1 to 8 pixels"),
        ({"stride": 2.5}, "stride: found 2.5, expected a whole number"),
        ({"window": 0}, "window 0"),
        ({"batch_size": 0}, "batch_size: found 0, expected"),
        ({"batch_size": 1.5}, "batch_size: found 1.5, expected"),
        ({"tta": "d8"}, "tta: found 'd8', expected d4 or none"),
        ({"tta_merge": "min"}, "tta_merge: found 'min'"),
        ({"tta_order": "both"}, "tta_order: found 'both'"),
        ({"blend": "gauss"}, "blend: found 'gauss'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("spec", "item", "expected"),
    [
        ({}, {"window": 224}, {"stride": 22, "tta": "d4", "tta_merge": "max", "blend": "uniform"}),
        ({}, {"window": 64, "overlap": 0.0, "tta": "none"}, {"stride": 64, "tta": "none"}),
        ({}, {"window": 64, "stride": 16}, {"stride": 16}),
        # An item's stride belongs to its window; its overlap is kept.
        ({"window": 128}, {"window": 64, "stride": 16}, {"window": 128, "stride": 32}),
        ({"preset": "paper"}, {"window": 64, "overlap": 0.5}, {"stride": 32}),
        # Channels may have directions: a preset turns no views on.
        ({"preset": "balanced"}, {"window": 224, "tta": "none"}, {"stride": 67, "tta": "none"}),
        ({"preset": "fast", "tta": "d4"}, {"window": 224, "tta": "none"}, {"tta": "d4"}),
        ({"preset": "fast"}, {"window": 224}, {"stride": 112, "blend": "hann", "tta": "d4"}),
        ({"preset": "preview"}, {"window": 224}, {"stride": 112, "tta": "none"}),
        (
            {"preset": "fast", "stride": 7, "tta": "none"},
            {"window": 64},
            {"stride": 7, "tta": "none"},
        ),
        ({"preset": "fast", "overlap": 0.75}, {"window": 64, "stride": 1}, {"stride": 16}),
        ({"tta_merge": "mean"}, {"window": 8, "tta_merge": None}, {"tta_merge": "mean"}),
        ({"batch_size": 3}, {"window": 8}, {"batch_size": 3}),
        ({}, {"window": 8}, {"batch_size": 4}),
    ],
)
def test_the_workflow_beats_the_preset_and_the_preset_the_model_item(spec, item, expected):
    setting = resolve(InferenceSpec(**spec), item)
    assert {name: getattr(setting, name) for name in expected} == expected


def test_a_window_that_nobody_names_is_refused():
    with pytest.raises(ValueError, match="names a window"):
        resolve(InferenceSpec(), {})


@pytest.mark.parametrize(
    "spec",
    [
        {"overlap": 0.5, "stride": 4},
        {"overlap": 1.0},
        {"stride": 0},
        {"window": 8, "stride": 9},
        {"window": -1},
        {"preset": "quick"},
        {"batch_size": 0},
    ],
)
def test_a_spec_that_cannot_be_is_refused_where_it_is_written(spec):
    with pytest.raises(ValueError, match=r"expected|found"):
        InferenceSpec(**spec)


# --- networks that reuse their memory, and machines that have too little ------------------------


@pytest.mark.parametrize("order", ["average-then-max", "max-then-average"])
@pytest.mark.parametrize("merge", ["max", "mean"])
def test_a_network_may_answer_in_the_same_memory_every_time(order, merge):
    setting = replace(SMALL, tta_order=order, tta_merge=merge)
    kept = torch.empty(SMALL.batch_size, 1, SMALL.window, SMALL.window)

    def reusing(batch):
        return torch.mean(batch, 1, keepdim=True, out=kept)

    def fresh(batch):
        return torch.mean(batch, 1, keepdim=True)

    pixels = image((30, 26))
    assert identical(whole(pixels, setting, network=reusing), whole(pixels, setting, network=fresh))


def test_a_network_may_answer_with_one_number_for_all_pixels():
    def flat(batch):
        return torch.full((1, 1, 1, 1), 0.25).expand(len(batch), 1, *batch.shape[-2:])

    setting = replace(SMALL, tta_merge="mean")
    assert (whole(image((12, 12)), setting, network=flat) == 0.25).all()


@pytest.mark.parametrize(
    ("size", "advice"), [(4, "set inference.batch_size to 2, it is 4"), (1, "set a smaller block")]
)
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
@pytest.mark.parametrize("place", ["network", "sums"])
def test_out_of_memory_says_which_batch_size_to_use(size, advice, error, place, monkeypatch):
    def failing(*_):
        raise error

    network = failing if place == "network" else fine
    if place == "sums":
        monkeypatch.setattr("lspipe.inference.overlap.OverlapAverage.add", failing)
    with pytest.raises(InferenceError, match=advice) as raised:
        whole(image((12, 12)), replace(SMALL, batch_size=size), network=network)
    assert ("window at row 0" in str(raised.value)) is (place == "network")
    assert "must start over for this" in str(raised.value)


def fine(batch):
    return torch.full((len(batch), 1, *batch.shape[-2:]), 0.5)


@pytest.mark.parametrize(
    "error", [ValueError("bad shape"), KeyError("x"), TypeError("no"), IndexError()]
)
def test_whatever_a_network_raises_names_its_window(error):
    def failing(_):
        raise error

    with pytest.raises(InferenceError, match=r"window at row 0, column 0 .* the network failed"):
        whole(image((12, 12)), SMALL, network=failing)
