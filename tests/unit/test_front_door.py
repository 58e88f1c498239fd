"""What people give to `lspipe.detect`, in a table: the same map to the bit, or a hint."""

import doctest
import importlib

import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray
import torch
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

import lspipe
from lspipe.errors import LspipeError, ModelError, UsageError
from lspipe.inference.encoding import Encoding, encode
from lspipe.models import Scaling, read_item
from lspipe.models.pack import pack
from lspipe.models.recipes import UNITS
from lspipe.models.weights import build_network
from lspipe.schema import (
    CHANNELS,
    CUBE_NODATA,
    OPTICAL_BANDS,
    REFLECTANCE_SCALE,
    channel_of,
    split_channel,
    steps_of,
)
from tests.naive import probability_map, small_network

DEMO = "shipped:demo"
BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
COMMON = ("blue", "green", "red", "nir", "swir16", "swir22")
SHAPE = (40, 70)
WKT = "PROJCS[...]"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As in a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def codes_cube():
    """int16 (band, y, x) with a corner that has no data."""
    random = np.random.default_rng(4)
    # Forest, with texture; and a scar, of which the network is sure.
    codes = random.integers(0, 300, (len(BANDS), *SHAPE)).astype(np.int16)
    codes += np.int16([200, 400, 300, 3500, 1200, 600])[:, None, None]
    codes[:, 10:28, 20:45] += np.int16([600, 700, 1100, -1500, 1800, 1500])[:, None, None]
    codes[:, 30, 30:40] = -700
    codes[2, 33, 30:50] = 0
    codes[:, :5, :3] = CUBE_NODATA
    return xr.DataArray(
        codes,
        dims=("band", "y", "x"),
        coords={
            "band": list(BANDS),
            "y": 5_200_000.0 - 10 * np.arange(SHAPE[0]),
            "x": 600_000.0 + 10 * np.arange(SHAPE[1]),
        },
    )


def reflectance(dtype=np.float32):
    codes = codes_cube()
    return (codes.where(codes != CUBE_NODATA).astype(np.float64) * 1e-4).astype(dtype)


def digital_numbers(dtype=np.uint16):
    """As of baseline 04.00: 0 = no data, 1000 = black."""
    codes = codes_cube()
    return (codes.astype(np.int32) + 1000).where(codes != CUBE_NODATA, 0).astype(dtype)


def with_encoding(array, **encoding):
    array.encoding = encoding
    return array


def dataset(array, names=COMMON):
    return array.assign_coords(band=list(names)).to_dataset("band")


SCALED = {"scale_factor": 1e-4, "add_offset": -0.1}
UNSCALED = {"scale_factor": 1.0, "add_offset": 0.0}

# How the same pixels may come.
SAME = {
    "int16 codes": codes_cube,
    "float32": reflectance,
    "float64": lambda: reflectance(np.float64),
    "int16 with no data of its own": lambda: (
        codes_cube()
        .where(codes_cube() != CUBE_NODATA, -9999)
        .astype(np.int16)
        .assign_attrs(_FillValue=-9999, **UNSCALED)
    ),
    "int16, no data in the encoding": lambda: with_encoding(
        codes_cube().where(codes_cube() != CUBE_NODATA, 9999).astype(np.int16), _FillValue=9999
    ),
    "int16 with its scale": lambda: codes_cube().assign_attrs(scale_factor=1e-4),
    "floats with a number for no data": lambda: (
        reflectance().fillna(-9999).assign_attrs(_FillValue=-9999.0)
    ),
    "floats with 0 for no data": lambda: reflectance().fillna(0).assign_attrs(nodata=0),
    "digital numbers made reflectance, with attrs of before": lambda: reflectance().assign_attrs(
        nodata=0
    ),
    "Dataset with 0 for no data": lambda: dataset(reflectance().fillna(0)).assign_attrs(nodata=0),
    "floats that say a scale of 1": lambda: reflectance().assign_attrs(**UNSCALED),
    "floats that were decoded": lambda: with_encoding(
        reflectance(), dtype="uint16", _FillValue=0, **SCALED
    ),
    "uint16 with scale and offset": lambda: digital_numbers().assign_attrs(_FillValue=0, **SCALED),
    "int32 with scales per band": lambda: (
        (digital_numbers(np.int32) * xr.DataArray(np.arange(1, 7), dims="band"))
        .isel(band=slice(None, None, -1))
        .assign_attrs(nodata=0, scales=tuple(1e-4 / np.arange(6, 0, -1)), add_offset=-0.1)
    ),
    "masked floats with scale and offset": lambda: (
        digital_numbers(np.float32).where(digital_numbers() != 0).assign_attrs(**SCALED)
    ),
    "bands in another order": lambda: reflectance().isel(band=[3, 1, 5, 0, 4, 2]),
    "a band more": lambda: xr.concat(
        [reflectance()[:1].assign_coords(band=["B8A"]) / 2, reflectance()], "band"
    ),
    "names of a catalogue": lambda: reflectance().assign_coords(band=list(COMMON)),
    "names with the pixel size": lambda: reflectance().assign_coords(
        band=["B02_10m", "B03_10m", "B04_10m", "B08_10m", "B11_20m", "B12_20m"]
    ),
    "names where rioxarray has them": lambda: (
        reflectance().assign_coords(band=range(1, 7)).assign_attrs(long_name=COMMON)
    ),
    "y, x, band": lambda: reflectance().transpose("y", "x", "band"),
    "x, band, y": lambda: codes_cube().transpose("x", "band", "y"),
    "openEO": lambda: reflectance().rename(band="bands").expand_dims(t=[0]).isel(t=0),
    "latitude, longitude": lambda: reflectance().rename(y="latitude", x="longitude"),
    "lon, lat": lambda: reflectance().rename(y="lat", x="lon").transpose("lon", "lat", "band"),
    "dims that a CF axis names": lambda: with_axes(reflectance().rename(y="row", x="column")),
    "Dataset": lambda: dataset(reflectance()),
    "Dataset of codes": lambda: dataset(codes_cube(), BANDS),
    "Dataset of uint16 with scale": lambda: dataset(
        digital_numbers().assign_attrs(_FillValue=0, **SCALED)
    ),
    "Dataset of uint16, variables with scale": lambda: xr.Dataset(
        {
            name: variable.assign_attrs(_FillValue=0, **SCALED)
            for name, variable in dataset(digital_numbers()).items()
        }
    ),
    "Dataset, codes and floats": lambda: dataset(reflectance()).assign(
        red=codes_cube().sel(band="B04", drop=True)
    ),
    "Dataset, columns first": lambda: dataset(reflectance()).transpose("x", "y"),
    "Dataset with more in it": lambda: dataset(reflectance()).assign(
        scl=(("y", "x"), np.ones(SHAPE, np.uint8)), spatial_ref=0, series=("time", [1, 2])
    ),
    "Dataset of one variable with bands": lambda: reflectance().to_dataset(name="band_data"),
    "Dataset to_array": lambda: dataset(reflectance()).to_array(),
}


def with_axes(array):
    array["row"].attrs["axis"] = "Y"
    array["column"].attrs["standard_name"] = "projection_x_coordinate"
    return array


DIGITAL = r"digital numbers\? Divide them by 10000 and subtract the offset"

# Cubes that the model cannot take, and the hint.
REFUSED = {
    "floats of digital numbers": (lambda: digital_numbers(np.float32), DIGITAL),
    "masked floats of digital numbers": (
        lambda: reflectance() * np.float32(1e4) + 1000,
        rf"B02 of the cube holds \d{{4}}: expected reflectance, -0.2 to 3.2767; {DIGITAL}",
    ),
    "uint16": (
        digital_numbers,
        r"dtype uint16, and no size of one step of B02: .*where\(cube != 0\) / 10000 - 0.1",
    ),
    "uint16 of a file without a scale": (
        lambda: digital_numbers().assign_attrs(_FillValue=0, **UNSCALED),
        "no size of one step of B02",
    ),
    "uint8": (lambda: codes_cube().astype(np.uint8), "dtype uint8"),
    "bool": (lambda: codes_cube() > 0, "dtype bool"),
    "an offset in digital numbers": (
        lambda: digital_numbers().assign_attrs(scale_factor=1e-4, add_offset=-1000),
        "holds -(1000|999[.].*): .*Make it NaN, or name it in attrs: _FillValue",
    ),
    "a number for no data": (lambda: reflectance().fillna(-9999), "holds -9999: .*Make it NaN"),
    "infinite": (lambda: reflectance().fillna(-np.inf), "holds -inf: .*make it NaN"),
    "scaled, and says a scale still": (
        lambda: reflectance().assign_attrs(**SCALED),
        r"is reflectance already, but attrs have scale_factor 0.0001, add_offset -0.1: remove them",
    ),
    "a scale that is no number": (
        lambda: codes_cube().assign_attrs(scale_factor="some"),
        "scale_factor 'some' in attrs: expected one number",
    ),
    "scales of other bands": (
        lambda: digital_numbers().assign_attrs(scales=(1e-4,) * 4),
        "scales .*expected one number, or 6, one per band",
    ),
    "a band that is not there": (
        lambda: dataset(reflectance()).drop_vars("red"),
        "cube has the bands blue, green, nir, swir16, swir22.*missing or repeated: B04",
    ),
    "a band that is there twice": (
        lambda: reflectance().assign_coords(band=["B02", "B03", "red", "B04_10m", "B11", "B12"]),
        "missing or repeated: B04",
    ),
    "bands that are numbered": (
        lambda: reflectance().assign_coords(band=range(1, 7)),
        r"cube has the bands 1, 2.*assign_coords",
    ),
    "no names": (lambda: reflectance().drop_vars("band"), "no band names"),
    "NumPy": (lambda: reflectance().values, r'an array .*"band": \["B02", "B03", "B04", "B08"'),
    "dask": (lambda: da.zeros((6, *SHAPE)), "an array .* whose bands have no names"),
    "a list": (lambda: [[0.1]], "cube is a list: expected an xarray.DataArray"),
    "no band": (lambda: reflectance()[0], r"dimensions \('y', 'x'\): expected .band, y, x."),
    "other dims": (lambda: reflectance().rename(x="u").drop_vars("u"), r"'u'.*rename"),
    "two of a kind": (lambda: reflectance().rename(y="lon"), r"'lon', 'x'"),
    "a dim more": (lambda: reflectance().expand_dims(level=2), "'level'"),
    "a Dataset without images": (
        lambda: xr.Dataset({"ndvi": ("time", [1.0])}),
        r"variables ndvi \('time',\): expected variables of dimensions y, x",
    ),
    "no pixels": (lambda: reflectance()[:, :0], "at least 1 pixel and 1 band"),
    "a Dataset without pixels": (lambda: dataset(reflectance()[:, :0]), "at least 1 pixel"),
}


@pytest.fixture(scope="module")
def expected():
    """The map of the int16 cube, as each setting of the item says."""
    values = lspipe.detect(codes_cube(), DEMO).to_numpy()
    assert np.isnan(values).sum() == 15
    assert np.nanmin(values) < 0.1
    assert np.nanmax(values) > 0.9
    return values


def chunked(cube):
    dims = {dim: 25 for dim in cube.dims if dim not in ("band", "bands", "variable")}
    return cube.chunk(dims)


def upright(found):
    """A map as (y, x), whatever its dims are called."""
    first = str(found.dims[0])
    return found.T if first in ("x", "lon", "longitude", "column") else found


@pytest.mark.parametrize("is_lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("name", SAME)
def test_the_same_pixels_give_the_same_map_in_whatever_form_they_come(name, is_lazy, expected):
    cube = SAME[name]()
    before = cube.copy(deep=True)
    found = lspipe.detect(chunked(cube) if is_lazy else cube, DEMO)
    assert (found.chunks is not None) == is_lazy
    found = found.compute(scheduler="synchronous")
    assert found.dims == tuple(dim for dim in dims_of(cube) if dim not in ("band", "bands"))
    assert upright(found).to_numpy().tobytes() == expected.tobytes()
    for dim in found.dims:
        xr.testing.assert_identical(found[dim].variable, cube[dim].variable)
    xr.testing.assert_identical(cube, before)


def dims_of(cube):
    if isinstance(cube, xr.DataArray):
        return tuple(dim for dim in cube.dims if dim != "variable")
    return max((variable.dims for variable in cube.values()), key=len)


@pytest.mark.parametrize("is_lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_what_the_model_wants_is_refused_with_a_hint(name, is_lazy):
    make, hint = REFUSED[name]
    cube = make()
    if is_lazy and not hasattr(cube, "dims"):
        pytest.skip("there is no lazy one")
    with pytest.raises(UsageError, match=hint):
        lspipe.detect(chunked(cube) if is_lazy else cube, DEMO).compute(scheduler="synchronous")


def test_numbers_of_a_lazy_cube_are_looked_at_when_they_are_computed():
    cube = reflectance().copy()
    cube[2, 30, 60] = 5
    lazy = lspipe.detect(cube.chunk(y=20, x=20), DEMO)
    with pytest.raises(LspipeError, match="B04 of the cube holds 5: expected reflectance"):
        lazy.compute(scheduler="synchronous")


def test_a_value_that_was_no_data_in_the_file_is_a_value_after_decoding():
    cube = reflectance().copy()
    cube[:, 20, 60] = 0
    decoded = with_encoding(cube.copy(), _FillValue=0, **SCALED)
    assert lspipe.detect(decoded, DEMO)[20, 60].notnull()
    assert lspipe.detect(cube.assign_attrs(_FillValue=0), DEMO)[20, 60].isnull()


# --- files and stacks ---------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"masked": True}, {"mask_and_scale": True}])
@pytest.mark.parametrize("chunks", [None, {"y": 16, "x": 16}])
def test_a_file_of_rioxarray_is_read_as_it_says(options, chunks, tmp_path, expected):
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=6, height=SHAPE[0], width=SHAPE[1], dtype="uint16",
        nodata=0, crs="EPSG:32633", transform=Affine(10, 0, 600_000, 0, -10, 5_200_000),
    ) as file:  # fmt: skip
        file.write(digital_numbers().to_numpy())
        file.scales, file.offsets = (1e-4,) * 6, (-0.1,) * 6
        file.descriptions = COMMON
    with rioxarray.open_rasterio(path, chunks=chunks, **options) as cube:
        found = lspipe.detect(cube, DEMO).compute(scheduler="synchronous")
    assert found.to_numpy().tobytes() == expected.tobytes()
    assert found.rio.crs.to_epsg() == 32633


def stack():
    """What `odc.stac.load` gives, made into reflectance."""
    times = np.array(["2018-01-01", "2018-01-06"], "datetime64[ns]")
    one = reflectance()
    both = xr.concat([one, one / 2], "time").assign_coords(time=times)
    return dataset(both).assign_coords(spatial_ref=xr.Variable((), 32633, {"crs_wkt": WKT}))


@pytest.mark.parametrize("is_lazy", [False, True])
def test_a_stack_of_times_is_a_map_per_time(is_lazy, expected):
    cube = stack().transpose("y", "time", "x")
    found = lspipe.detect(cube.chunk(time=1, y=30) if is_lazy else cube, DEMO)
    assert found.dims == ("y", "time", "x")
    found = found.compute(scheduler="synchronous").transpose("time", "y", "x")
    assert found[0].to_numpy().tobytes() == expected.tobytes()
    assert found[1].to_numpy().tobytes() == lspipe.detect(reflectance() / 2, DEMO).values.tobytes()
    xr.testing.assert_identical(found.time.variable, cube.time.variable)
    assert found.spatial_ref.attrs["crs_wkt"] == WKT


@pytest.mark.parametrize("place", ["coordinate", "attrs", "encoding", "variable"])
def test_the_crs_is_kept_whatever_it_is_called(place):
    cube = reflectance()
    crs = xr.Variable((), 0, rasterio.crs.CRS.from_epsg(32633).to_dict() | {
        "crs_wkt": rasterio.crs.CRS.from_epsg(32633).to_wkt()
    })  # fmt: skip
    cube = cube.assign_coords(platform="sentinel-2a")  # a scalar, and no CRS
    cube = dataset(cube).assign(utm=crs) if place == "variable" else cube.assign_coords(utm=crs)
    if place == "attrs":
        cube.attrs["grid_mapping"] = "utm"
    if place == "encoding":
        cube.encoding["grid_mapping"] = "utm"
    found = lspipe.detect(cube, DEMO)
    assert found.rio.crs.to_epsg() == 32633
    assert found.rio.grid_mapping == "utm"


def test_only_a_scalar_with_a_crs_is_taken_for_one(expected):
    cube = dataset(reflectance()).assign(cloud_cover=0.3)
    # A file's own words in the attributes of a band.
    cube["red"].attrs["spatial_ref"] = WKT
    found = lspipe.detect(cube, DEMO)
    assert "cloud_cover" not in found.coords
    assert found.to_numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("limit", ["low", "high"])
def test_reflectance_up_to_its_limits_is_told_from_numbers_that_attrs_would_scale(limit):
    cube = reflectance(np.float64)
    cube[:, 30, 60] = getattr(channel_of("B04"), limit)
    with pytest.raises(UsageError, match="is reflectance already"):
        lspipe.detect(cube.assign_attrs(**SCALED), DEMO)


def test_scalar_coordinates_and_attributes_of_a_dataset_stay():
    cube = dataset(reflectance()).assign_coords(platform="sentinel-2a", band=3)
    cube.attrs = {"title": "a scene", "units": "1e-4"}
    found = lspipe.detect(cube, DEMO)
    assert found.platform == "sentinel-2a"
    assert "band" not in found.coords
    assert found.attrs["title"] == "a scene"
    assert found.attrs["units"] == "1"


# --- masks --------------------------------------------------------------------------------------

HIDDEN = np.random.default_rng(1).random(SHAPE) < 0.1

MASKS = {
    "as the cube": lambda: xr.DataArray(HIDDEN, dims=("y", "x")),
    "columns first": lambda: xr.DataArray(HIDDEN.T, dims=("x", "y")),
    "lat, lon": lambda: xr.DataArray(HIDDEN, dims=("lat", "lon")),
    "with coordinates": lambda: codes_cube()[0].drop_vars("band").copy(data=HIDDEN),
    "NumPy": lambda: HIDDEN,
    "times last": lambda: xr.DataArray(HIDDEN[..., None], dims=("lat", "lon", "time")),
}


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_a_mask_may_have_any_order_and_names_of_dims(name, is_lazy):
    cube = reflectance().expand_dims("time").transpose("band", "x", "time", "y")
    found = lspipe.detect(chunked(cube) if is_lazy else cube, DEMO, mask=MASKS[name]())
    missing = np.isnan(found.transpose("time", "y", "x").to_numpy()[0])
    np.testing.assert_array_equal(missing, HIDDEN | reflectance()[0].isnull().to_numpy())


def test_a_mask_that_is_no_mask_is_refused():
    for mask, hint in (
        (HIDDEN[0], "mask is a ndarray"),
        (xr.Dataset({"mask": (("y", "x"), HIDDEN)}), "mask is a Dataset"),
        (HIDDEN[:-1], "does not lie on the pixels"),
        (xr.DataArray(HIDDEN[None], dims=("band", "y", "x")), "expected bool"),
    ):
        with pytest.raises(UsageError, match=hint):
            lspipe.detect(reflectance(), DEMO, mask=mask)


# --- callables take what they are given ---------------------------------------------------------

SMALL = {"window": 16, "stride": 5}


@pytest.mark.parametrize("is_lazy", [False, True])
def test_a_callable_takes_arrays_and_floats_as_they_are(is_lazy):
    values = np.random.default_rng(2).normal(0, 300, (3, *SHAPE)).astype(np.float32)
    network = small_network(3)
    expected = lspipe.detect(xr.DataArray(values, dims=("band", "y", "x")), network, **SMALL)
    np.testing.assert_allclose(
        expected, probability_map(values, network, **SMALL), atol=2e-6, rtol=0
    )
    given = da.from_array(values, chunks=(1, 20, 30)) if is_lazy else values
    dims = ("y", "x", "band")
    forms = {
        "array": given,
        "times": given[None],
        "order": xr.DataArray(given, dims=("band", "y", "x")).transpose(*dims),
        "Dataset": xr.Dataset({name: (("y", "x"), given[i]) for i, name in enumerate("cab")}),
        "attrs": xr.DataArray(given, dims=("band", "y", "x"), attrs=SCALED | {"_FillValue": 0}),
    }
    for name, cube in forms.items():
        found = lspipe.detect(cube, network, **SMALL)
        assert found.dims == (("time", "y", "x") if name == "times" else ("y", "x"))
        assert found.to_numpy().tobytes() == expected.to_numpy().tobytes(), name


def test_a_callable_gets_224_px_every_22_in_eight_views():
    seen = []

    def network(batch):
        seen.append(tuple(batch.shape))
        return batch[:, :1]

    lspipe.detect(np.zeros((1, 224, 250), np.float32), network)
    # Starts 0, 22 and 26, in eight views: 24 windows, in batches of eight.
    assert seen == [(8, 1, 224, 224)] * 3


def test_variables_of_several_dtypes_are_not_mixed_for_a_callable():
    mixed = dataset(reflectance()).assign(scl=(("y", "x"), np.ones(SHAPE, np.uint8)))
    with pytest.raises(UsageError, match="scl uint8: expected one dtype; choose those"):
        lspipe.detect(mixed, small_network(7), **SMALL)
    with pytest.raises(UsageError, match=r"shape \(40, 70\)"):
        lspipe.detect(np.zeros(SHAPE), small_network(1), **SMALL)


# --- settings are the item's --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "same"),
    [
        ({}, {"window": 64, "stride": 32, "tta": "d4", "tta_merge": "max"}),
        # The overlap is kept.
        ({"window": 24}, {"window": 24, "stride": 12, "tta": "d4"}),
        ({"stride": 7}, {"window": 64, "stride": 7, "tta": "d4"}),
        ({"tta": "none", "blend": "hann"}, {"window": 64, "stride": 32, "tta": "none",
                                            "blend": "hann"}),
        ({"tta_order": "max-then-average", "tta_merge": "mean"},
         {"tta_order": "max-then-average", "tta_merge": "mean", "window": 64, "stride": 32}),
    ],
)  # fmt: skip
def test_what_is_not_given_is_the_item_s(asked, same):
    cube = reflectance()
    network = build_network(read_item(DEMO))
    # What the network of the item gets: reflectance x 4 - 0.5, clipped; no data is 0.
    values = (codes_cube().astype(np.float32).to_numpy() * np.float32(1e-4)) * 4 - np.float32(0.5)
    values = np.clip(values, -1, 2)
    values[:, :5, :3] = 0
    mask = np.zeros(SHAPE, bool)
    mask[:5, :3] = True
    found = lspipe.detect(cube, DEMO, **asked)
    expected = lspipe.detect(values, network, mask=mask, **same)
    assert found.to_numpy().tobytes() == expected.to_numpy().tobytes()


def test_settings_of_an_item_that_cannot_be_are_refused():
    for asked, hint in (
        ({"stride": 65}, "detect: stride 65.*expected"),
        ({"tta": "d2"}, "detect: tta: found 'd2', expected d4 or none"),
        ({"screen": 0.7}, "detect: screen: found 0.7, expected a probability"),
    ):
        with pytest.raises(UsageError, match=hint):
            lspipe.detect(reflectance(), DEMO, **asked)


# --- channels -----------------------------------------------------------------------------------


def packed(folder, bands, **fields):
    """An item with a small network of those channels, its path and network."""
    torch.manual_seed(3)
    network = lspipe.models.build("ghorb-unet", len(bands), filters=2)
    path = pack(
        network,
        folder,
        item_fields={
            "id": "small", "architecture": "ghorb-unet", "arguments": {"filters": 2},
            "bands": bands, "window": 16, "overlap": 0.5, "description": "a test",
            "not_for": "use", **fields,
        },
    )  # fmt: skip
    return path, network.eval()


MIXED = {
    "before:B04": (0.03, 0.3),
    "slope": (0, 60),
    "elevation": (200, 3000),
    "after:VV": (-25, 5),
    "curvature": (-8, 8),
}


def mixed_values():
    random = np.random.default_rng(8)
    return np.stack([random.uniform(*ends, SHAPE) for ends in MIXED.values()])


@pytest.mark.parametrize("kind", ["affine", "tile-minmax", "window-minmax"])
@pytest.mark.parametrize("is_lazy", [False, True])
def test_each_channel_has_its_own_unit_and_step(kind, is_lazy, tmp_path):
    low, high = np.array(list(MIXED.values())).T
    numbers = {"scale": tuple(1 / (high - low)), "offset": tuple(-low / (high - low))}
    scaling = Scaling(kind=kind, **(numbers if kind == "affine" else {}))
    path, network = packed(tmp_path, tuple(MIXED), scaling=scaling, tta="none")
    values = mixed_values()
    steps = np.array([1e-4, 0.01, 0.5, 0.002, 0.01])[:, None, None]
    cube = xr.DataArray(values, dims=("band", "y", "x"), coords={"band": list(MIXED)})
    found = lspipe.detect(cube.chunk(y=20, x=20) if is_lazy else cube, path)
    physical = np.rint(values / steps) * steps
    if kind == "affine":
        scale, offset = (np.array(numbers[name])[:, None, None] for name in ("scale", "offset"))
        physical, scaling = physical * scale + offset, None
    expected = probability_map(physical, network, window=16, stride=8, tta="none", scaling=scaling)
    np.testing.assert_allclose(found.compute(scheduler="synchronous"), expected, atol=2e-5, rtol=0)


def test_channels_that_do_not_change_are_given_once_beside_a_series(tmp_path):
    path, _ = packed(tmp_path, ("B04", "slope"), tta="none")
    red = xr.DataArray(np.random.default_rng(0).random((2, *SHAPE)), dims=("time", "y", "x"))
    slope = xr.DataArray(np.random.default_rng(1).random(SHAPE) * 60, dims=("y", "x"))
    found = lspipe.detect(xr.Dataset({"slope": slope, "red": red}), path)
    assert found.dims == ("time", "y", "x")
    for one, alone in zip(found, red, strict=True):
        same = lspipe.detect(xr.Dataset({"red": alone, "slope": slope}), path)
        assert one.to_numpy().tobytes() == same.to_numpy().tobytes()


@pytest.mark.parametrize(
    ("channel", "value", "hint"),
    [
        ("slope", 95, "degree, 0 to 90; per cent"),
        ("slope", -9999, "Make it NaN"),
        ("dem", -9999, "m, -500 to 9000; .*Make it NaN"),
        ("vv_before", 1500, "dB, -65 to 65; linear power"),
        ("vv_after", -np.inf, "make it NaN"),
        ("vv_amplitude_after", -12, "decibels"),
        ("curvature", 400, "1/100 m-1"),
    ],
)
def test_what_a_channel_cannot_hold_is_refused(channel, value, hint, tmp_path):
    path, _ = packed(tmp_path, ("B04", channel))
    values = np.zeros((2, *SHAPE))
    values[1, 3, 4] = value
    cube = xr.DataArray(values, dims=("band", "y", "x"), coords={"band": ["B04", channel]})
    with pytest.raises(UsageError, match=f"{channel} of the cube holds .*{hint}"):
        lspipe.detect(cube, path)


def test_a_channel_whose_unit_nobody_knows_takes_codes_only(tmp_path):
    path, _ = packed(tmp_path, ("B04", "aspect"))
    cube = xr.DataArray(
        np.zeros((2, *SHAPE)), dims=("band", "y", "x"), coords={"band": ["B04", "aspect"]}
    )
    with pytest.raises(UsageError, match="channel 'aspect': its unit is not known"):
        lspipe.detect(cube, path)
    assert lspipe.detect(cube.astype(np.int16), path).notnull().all()


def test_a_model_that_sees_radar_is_not_turned_unless_asked(tmp_path):
    cube = xr.DataArray(
        mixed_values()[[0, 3]], dims=("band", "y", "x"), coords={"band": ["B04", "VV"]}
    )
    path, _ = packed(tmp_path / "radar", ("B04", "VV"))
    silent = lspipe.detect(cube, path)
    once, turned = (lspipe.detect(cube, path, tta=tta) for tta in ("none", "d4"))
    assert silent.identical(once)
    assert not silent.identical(turned)
    path, _ = packed(tmp_path / "optical", ("B04", "B08"))
    optical = cube.assign_coords(band=["B04", "B08"]).clip(0, 1)
    assert lspipe.detect(optical, path).identical(lspipe.detect(optical, path, tta="d4"))


# --- the table of channels ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_code_comes_back_from_its_value(name, dtype):
    channel = CHANNELS[name]
    lowest, highest = round(channel.low / channel.step), round(channel.high / channel.step)
    assert -32767 <= lowest < highest <= 32767
    codes = np.arange(lowest, highest + 1, dtype=np.int16)[None, None]
    values = codes.astype(dtype) * dtype(channel.step)
    cube = xr.DataArray(values, dims=("band", "y", "x"))
    found = encode(cube, (name,), Encoding.of(cube, 1))
    np.testing.assert_array_equal(found, codes)


@given(st.floats(-0.1875, 3.25, width=32) | st.just(float("nan")), st.booleans())
def test_a_value_becomes_the_nearest_code_and_halves_the_even_one(value, is_half):
    value = np.floor(value * 1e4) / 1e4 + 5e-5 if is_half and value < 3.2 else value
    cube = xr.DataArray(np.full((1, 1, 1), value), dims=("band", "y", "x"))
    expected = CUBE_NODATA if np.isnan(value) else int(np.rint(value / 1e-4))
    assert encode(cube, ("B04",), Encoding.of(cube, 1)).item() == expected


def test_the_step_of_reflectance_is_said_once():
    assert {CHANNELS[band].step for band in OPTICAL_BANDS} == {REFLECTANCE_SCALE} == {1e-4}
    assert steps_of(None) == steps_of(BANDS) == np.float32(1e-4)
    np.testing.assert_array_equal(steps_of(("before:B04", "dem")), np.float32([1e-4, 0.5]))


def test_units_of_recipes_are_those_of_the_channels():
    assert {name: channel_of(name).unit for name in UNITS} == dict(UNITS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("B04", ("", "B04")),
        ("before:B04", ("before", "B04")),
        ("after:dem", ("after", "elevation")),
        ("vv_after", ("after", "VV")),
        ("during:B04", ("", "during:B04")),
    ],
)
def test_a_channel_may_stand_behind_a_date(name, expected):
    assert split_channel(name) == expected


def test_a_model_is_an_item_or_a_callable():
    for model in (None, 3):
        with pytest.raises(ModelError, match="expected the path of a model item"):
            lspipe.detect(reflectance(), model)


def test_the_examples_of_detect_are_so():
    for name in ("lspipe.inference.detect", "lspipe.schema.channels"):
        found = doctest.testmod(importlib.import_module(name))
        assert found.attempted > 0
        assert found.failed == 0
