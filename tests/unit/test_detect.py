import dataclasses
import importlib
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
import ttach
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import lspipe.inference.runtimes
from lspipe.errors import InferenceError, ModelError, UsageError
from lspipe.inference.detect import detect
from lspipe.models.item import Scaling
from tests.naive import VIEWS, probability_map, small_network, turn, turn_back
from tests.properties import examples

TOLERANCE = 2e-6
NETWORK = small_network(3)
SMALL = {"window": 8, "stride": 3, "batch_size": 4}
BARE_GROUND = ["B02", "B04", "B08", "B11"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As in a worker; and tiny networks are slowest where two threads share a busy core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cube_of(values, bands=None, times=None):
    dims = ("time", "band", "y", "x")[-values.ndim :]
    rows, columns = values.shape[-2:]
    coords = {
        "y": 5_200_000.0 - 10 * np.arange(rows),
        "x": 600_000.0 + 10 * np.arange(columns),
        "spatial_ref": xr.Variable((), 0, {"crs_wkt": "somewhere"}),
    }
    if bands:
        coords["band"] = list(bands)
    if times:
        coords["time"] = np.array(times, dtype="datetime64[ns]")
    return xr.DataArray(values, dims=dims, coords=coords)


def image(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def identical(a, b):
    return a.dtype == b.dtype == np.float32 and a.values.tobytes() == b.values.tobytes()


@st.composite
def cuts(draw, length):
    """Any chunks of an axis."""
    inner = draw(st.sets(st.integers(1, length - 1), max_size=4)) if length > 1 else set()
    edges = [0, *sorted(inner), length]
    return tuple(np.diff(edges).tolist())


@st.composite
def cases(draw):
    """Values with holes (band, y, x), a mask or none, settings, and dask chunks."""
    window = draw(st.integers(1, 12))
    stride = draw(st.integers(1, window))
    lengths = st.integers(1, window + 6 * stride)
    shape = (draw(lengths), draw(lengths))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    values = random.random((3, *shape), dtype=np.float32)
    values[random.random(values.shape) < draw(st.sampled_from([0, 0.02]))] = np.nan
    mask = random.random(shape) < 0.2 if draw(st.booleans()) else None
    setting = {
        "window": window,
        "stride": stride,
        "tta": draw(st.sampled_from(["d4", "none"])),
        "tta_merge": draw(st.sampled_from(["max", "mean"])),
        "tta_order": draw(st.sampled_from(["average-then-max", "max-then-average"])),
        "blend": draw(st.sampled_from(["uniform", "hann"])),
    }
    chunks = {"band": draw(st.sampled_from([1, 2, 3]))}
    chunks |= {name: draw(cuts(n)) for name, n in zip(("y", "x"), shape, strict=True)}
    return values, mask, setting, draw(st.integers(2, 9)), chunks


# --- one result, however it is computed ---


@examples(60)
@given(cases())
def test_detect_is_its_definition_and_no_chunking_changes_a_bit(case):
    values, mask, setting, batch_size, chunks = case
    cube = cube_of(values)
    hidden = None if mask is None else xr.DataArray(mask, dims=("y", "x"))
    eager = detect(cube, NETWORK, mask=hidden, batch_size=batch_size, **setting)
    expected = probability_map(values, NETWORK, mask=mask, **setting)
    np.testing.assert_allclose(eager, expected, atol=TOLERANCE, rtol=0)

    lazy = detect(cube.chunk(chunks), NETWORK, mask=hidden, batch_size=batch_size, **setting)
    assert lazy.chunks is not None
    assert identical(lazy.compute(scheduler="synchronous"), eager)


def test_a_screened_cube_may_be_cut_too():
    values = image((3, 40, 50)) / 10
    values[:, 12:20, 30:36] += 0.8
    cube = cube_of(values)
    arguments = {"model": brightness, "screen": 0.2, **SMALL}
    screened = detect(cube, **arguments)
    lazy = detect(cube.chunk(y=11, x=13), **arguments)
    assert identical(lazy.compute(scheduler="synchronous"), screened)
    in_full = detect(cube, brightness, **SMALL)
    equal = screened.values == in_full.values
    assert equal[in_full.values > 0.2].all()
    assert not equal.all()


def brightness(batch):
    # Of the window too, so that its place on the lattice tells.
    return 0.9 * batch.mean(1, keepdim=True) + 0.1 * batch.mean((1, 2, 3), keepdim=True)


def test_threads_and_several_times_give_the_same_bits():
    values = image((3, 3, 30, 40))
    masks = np.random.default_rng(1).random((3, 30, 40)) < 0.2
    cube = cube_of(values, times=["2018-01-01", "2018-01-06", "2018-01-11"])
    mask = xr.DataArray(masks, dims=("time", "y", "x"))
    lazy = detect(cube.chunk(time=2, y=11, x=13), NETWORK, mask=mask, **SMALL)
    eager = detect(cube, NETWORK, mask=mask, **SMALL)
    assert eager.dims == ("time", "y", "x")
    assert identical(lazy.compute(scheduler="threads", num_workers=4), eager)
    for one, hidden, found in zip(values, masks, eager, strict=True):
        alone = detect(cube_of(one), NETWORK, mask=xr.DataArray(hidden, dims=("y", "x")), **SMALL)
        assert identical(alone, found)


def test_a_mask_without_time_holds_for_every_time():
    values = image((2, 3, 20, 20))
    mask = xr.DataArray(np.eye(20, dtype=bool), dims=("y", "x"))
    for cube in (cube_of(values), cube_of(values).chunk(y=10)):
        assert np.isnan(detect(cube, NETWORK, mask=mask, **SMALL).values[:, np.eye(20) > 0]).all()


@pytest.mark.parametrize(
    "kind", ["tile-minmax", "window-minmax", "window-minmax-all", "window-max"]
)
def test_scalings_that_look_at_pixels_do_not_depend_on_the_chunks(kind, monkeypatch):
    reflectance = np.random.default_rng(2).integers(-900, 9000, (4, 40, 45)).astype(np.int16)
    reflectance[:, :6, :6] = -32768
    mask = np.random.default_rng(3).random((40, 45)) < 0.2
    network, scaling = small_network(4), Scaling(kind=kind)
    plain = lspipe.inference.runtimes.from_callable(network, device="cpu")
    item_runtime = dataclasses.replace(plain, scaling=scaling, fill=0.5)
    module = importlib.import_module("lspipe.inference.detect")
    monkeypatch.setattr(module, "from_callable", lambda *_, **__: item_runtime)
    expected = probability_map(
        reflectance, network, mask=mask, scaling=scaling, fill=0.5, window=8, stride=3
    )
    hidden = xr.DataArray(mask, dims=("y", "x"))
    eager = detect(cube_of(reflectance), network, mask=hidden, **SMALL)
    np.testing.assert_allclose(eager, expected, atol=TOLERANCE, rtol=0)
    lazy = detect(cube_of(reflectance).chunk(y=11, x=20), network, mask=hidden, **SMALL)
    assert identical(lazy.compute(scheduler="synchronous"), eager)


def test_one_time_is_one_task_per_block():
    lazy = detect(cube_of(image((3, 64, 64))).chunk(y=32, x=32), NETWORK, **SMALL)
    assert lazy.data.numblocks == (2, 2)
    assert lazy.chunks == ((32, 32), (32, 32))
    # Chunks that could not fill a halo are merged.
    assert detect(cube_of(image((3, 9, 64))).chunk(y=3, x=5), NETWORK, **SMALL).chunks == (
        (9,),
        (10, 10, 10, 10, 10, 14),
    )


# --- second implementations ---

LATTICES = [((40, 55), 16, 5), ((33, 33), 16, 8), ((48, 64), 16, 15), ((17, 90), 16, 3)]


def monai_average(values, predictor, window, stride):
    # Here, as each process of the tests would import it to collect them.
    from monai.inferers import sliding_window_inference

    with torch.inference_mode():
        return sliding_window_inference(
            torch.from_numpy(values)[None],
            roi_size=(window, window),
            sw_batch_size=4,
            predictor=predictor,
            # MONAI takes int(window * (1 - overlap)); the half keeps rounding errors away.
            overlap=1 - (stride + 0.5) / window,
            mode="constant",
        ).numpy()[0, 0]


@pytest.mark.parametrize(("shape", "window", "stride"), LATTICES)
def test_monai_sliding_windows_agree(shape, window, stride):
    values = image((3, *shape))
    found = detect(cube_of(values), NETWORK, window=window, stride=stride, tta="none")
    expected = monai_average(values, NETWORK, window, stride)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("merge", ["max", "mean"])
@pytest.mark.parametrize(("shape", "window", "stride"), LATTICES)
def test_monai_with_ttach_agrees_where_views_are_merged_in_each_window(
    shape, window, stride, merge
):
    values = image((3, *shape))
    predictor = ttach.SegmentationTTAWrapper(NETWORK, ttach.aliases.d4_transform(), merge)
    found = detect(
        cube_of(values), NETWORK, window=window, stride=stride, tta_merge=merge,
        tta_order="max-then-average",
    )  # fmt: skip
    expected = monai_average(values, predictor, window, stride)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("shape", "window", "stride"), LATTICES)
def test_monai_per_view_agrees_where_averages_are_merged(shape, window, stride):
    def seen_as(view):
        def predictor(batch):
            turned = torch.from_numpy(turn(batch.numpy(), view).copy())
            return torch.from_numpy(turn_back(NETWORK(turned).numpy(), view).copy())

        return predictor

    values = image((3, *shape))
    found = detect(cube_of(values), NETWORK, window=window, stride=stride)
    views = [monai_average(values, seen_as(view), window, stride) for view in VIEWS]
    np.testing.assert_allclose(found, np.max(views, axis=0), atol=TOLERANCE, rtol=0)


# --- what comes out ---


@pytest.mark.parametrize("is_lazy", [False, True])
def test_coordinates_and_attributes_are_kept_and_those_of_the_pixels_are_not(is_lazy):
    cube = cube_of(image((3, 20, 30)), bands=["a", "b", "c"])
    cube = cube.assign_coords(time=np.datetime64("2018-01-01"), gsd=("band", [10, 10, 20]))
    cube.attrs = {"platform": "sentinel-2a", "_FillValue": -32768, "scale_factor": 1e-4}
    cube.encoding = {"grid_mapping": "spatial_ref", "dtype": "int16"}
    found = detect(cube.chunk(y=10) if is_lazy else cube, NETWORK, **SMALL)
    assert found.name == "probability"
    assert found.dims == ("y", "x")
    assert found.dtype == np.float32
    assert set(found.coords) == {"y", "x", "time", "spatial_ref"}
    for name in ("y", "x", "time", "spatial_ref"):
        xr.testing.assert_identical(found[name].variable, cube[name].variable)
    assert found.attrs["platform"] == "sentinel-2a"
    assert not {"_FillValue", "scale_factor"} & set(found.attrs)
    assert found.encoding == ({"grid_mapping": "spatial_ref"} if not is_lazy else found.encoding)


def test_a_module_is_never_modified():
    network = torch.nn.Sequential(
        torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 1, 1), torch.nn.Dropout(0.5), torch.nn.Sigmoid()
    ).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = detect(cube_of(image((3, 20, 20))), network, **SMALL)
    assert identical(detect(cube_of(image((3, 20, 20))), network, **SMALL), first)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_the_cube_and_the_mask_are_never_modified():
    values = image((3, 20, 20))
    values[0, 3, 3] = np.nan
    cube, mask = cube_of(values.copy()), xr.DataArray(np.eye(20, dtype=bool), dims=("y", "x"))
    detect(cube, NETWORK, mask=mask, **SMALL)
    np.testing.assert_array_equal(cube.values, values)
    np.testing.assert_array_equal(mask.values, np.eye(20, dtype=bool))


def test_nothing_is_computed_before_it_is_asked_for():
    def refuse(_):
        raise AssertionError("called")

    lazy = detect(cube_of(image((3, 40, 40))).chunk(y=20), refuse, **SMALL)
    with pytest.raises(AssertionError, match="called"):
        lazy.compute(scheduler="synchronous")


# --- model items ---


def reflectance_cube(bands, shape=(24, 30)):
    """The same pixels per band name, in whatever order the bands are."""
    known = {
        name: np.random.default_rng(i).integers(0, 6000, shape).astype(np.int16)
        for i, name in enumerate(("B02", "B03", "B04", "B08", "B11"))
    }
    return cube_of(np.stack([known[name] for name in bands]), bands=bands)


@pytest.mark.parametrize("is_lazy", [False, True])
def test_a_model_item_takes_its_bands_by_name(is_lazy):
    expected = detect(reflectance_cube(BARE_GROUND), "shipped:bare-ground", **SMALL)
    assert 0 < float(expected.mean()) < 1
    cube = reflectance_cube(("B11", "B03", "B08", "B04", "B02"))
    found = detect(cube.chunk(y=12) if is_lazy else cube, "shipped:bare-ground", **SMALL)
    assert identical(found.compute(), expected)


def test_a_lazy_map_of_a_model_item_carries_no_network():
    lazy = detect(reflectance_cube(BARE_GROUND).chunk(y=12), "shipped:bare-ground", **SMALL)
    import cloudpickle

    assert b"torch.nn" not in cloudpickle.dumps(dict(lazy.data.dask))


def test_a_band_that_the_model_wants_and_the_cube_lacks_is_named():
    with pytest.raises(UsageError, match=r"the model needs each of B02.*missing or repeated: B11"):
        detect(reflectance_cube(("B02", "B04", "B08")), "shipped:bare-ground", **SMALL)
    nameless = cube_of(reflectance_cube(BARE_GROUND).values)
    with pytest.raises(UsageError, match="no band names"):
        detect(nameless, "shipped:bare-ground", **SMALL)


def test_a_model_that_is_nowhere_is_refused():
    with pytest.raises(ModelError, match="nowhere"):
        detect(reflectance_cube(BARE_GROUND), "nowhere/model.json", **SMALL)
    with pytest.raises(ModelError, match="NoneType"):
        detect(reflectance_cube(BARE_GROUND), None, **SMALL)


# --- what bad input gets ---


@pytest.mark.parametrize(
    "changes",
    [
        {"stride": 9},
        {"stride": 0},
        {"stride": -1},
        {"stride": 2.0},
        {"stride": True},
        {"window": 0},
        {"window": "8"},
        {"batch_size": 0},
        {"tta": "d2"},
        {"blend": "gauss"},
        {"tta_merge": "median"},
        {"tta_order": "max"},
    ],
)
def test_settings_that_cannot_be_are_refused(changes):
    (name,) = changes
    with pytest.raises(UsageError, match=rf"detect: {name}\b.*expected"):
        detect(cube_of(image((3, 20, 20))), NETWORK, **{**SMALL, **changes})


@pytest.mark.parametrize("changes", [{"precision": "fp16"}, {"device": "tpu"}])
def test_a_device_or_precision_that_is_not_there_is_refused(changes):
    with pytest.raises(ModelError, match="expected one of"):
        detect(cube_of(image((3, 20, 20))), NETWORK, **SMALL, **changes)


def test_a_runtime_that_is_not_there_is_refused():
    for model in (NETWORK, "shipped:bare-ground"):
        with pytest.raises(ModelError, match="runtime 'fast': expected one of"):
            detect(reflectance_cube(BARE_GROUND), model, **SMALL, runtime="fast")


def test_a_cube_of_other_dimensions_or_dtype_is_refused():
    with pytest.raises(UsageError, match="dimensions"):
        detect(xr.DataArray(image((20, 20)), dims=("y", "x")), NETWORK)
    with pytest.raises(UsageError, match="dtype"):
        detect(cube_of(np.zeros((3, 20, 20), np.uint16)), NETWORK)
    with pytest.raises(UsageError, match="at least 1 pixel"):
        detect(cube_of(image((3, 0, 20))), NETWORK)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (xr.DataArray(np.zeros((20, 20)), dims=("y", "x")), "float64"),
        (xr.DataArray(np.zeros((20, 20), bool), dims=("row", "column")), "row"),
        (xr.DataArray(np.zeros((20, 19), bool), dims=("y", "x")), "does not lie on the pixels"),
        (xr.DataArray(np.zeros((2, 20, 20), bool), dims=("time", "y", "x")), "does not lie"),
        (
            xr.DataArray(np.zeros((20, 20), bool), dims=("y", "x"), coords={"x": np.arange(20.0)}),
            "does not lie on the pixels",
        ),
    ],
)
@pytest.mark.parametrize("is_lazy", [False, True])
def test_a_mask_that_does_not_lie_on_the_cube_is_refused(mask, message, is_lazy):
    cube = cube_of(image((3, 20, 20)))
    with pytest.raises(UsageError, match=message):
        detect(cube.chunk(y=10) if is_lazy else cube, NETWORK, mask=mask, **SMALL)


def test_a_bad_answer_of_the_network_names_the_window_of_a_lazy_cube_too():
    def nan_where_9(batch):
        answer = torch.full_like(batch[:, :1], 0.5)
        answer[(batch == 9).flatten(1).any(1)] = torch.nan
        return answer

    values = np.zeros((1, 40, 40), np.float32)
    values[0, 39, 39] = 9
    lazy = detect(cube_of(values).chunk(y=20, x=20), nan_where_9, window=8, stride=8)
    with pytest.raises(InferenceError, match="row 32, column 32 of the tile"):
        lazy.compute(scheduler="synchronous")


# --- what it needs ---


def test_numpy_cubes_need_only_numpy_xarray_and_torch():
    program = """
        import sys

        BLOCKED = {
            "dask", "distributed", "geopandas", "pydantic", "pystac", "pystac_client", "rasterio",
            "rioxarray", "odc", "stackstac", "zarr", "scipy", "shapely", "pyproj", "pyarrow",
            "yaml", "affine", "rich", "pyogrio", "bokeh",
        }

        class Without:
            # A finder that finds nothing of what is blocked, as on a machine without it.
            def __init__(self, finder):
                self.finder = finder

            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in BLOCKED:
                    return None
                return self.finder.find_spec(name, path, target)

            def __getattr__(self, name):
                return getattr(self.finder, name)

        sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]

        import numpy as np
        import xarray as xr

        import lspipe

        cube = xr.DataArray(
            np.full((4, 20, 20), 1000, np.int16), dims=("band", "y", "x"),
            coords={"band": ["B02", "B04", "B08", "B11"]},
        )
        mask = xr.DataArray(np.eye(20, dtype=bool), dims=("y", "x"))
        for model in (lambda batch: batch[:, :1], "shipped:bare-ground"):
            found = lspipe.detect(cube, model, mask=mask, window=8, stride=4)
            assert int(found.isnull().sum()) == 20, found
        assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
        print("done")
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.stdout == "done\n", done.stderr
