"""Labelled patches for tests, written as the sets that lspipe reads write theirs."""

import h5netcdf
import h5py
import numpy as np
import rasterio

from lspipe.models.recipes import L4S_DIVISORS

# A plausible patch: digital numbers, degrees, metres.
RAW = np.array([1100, 900, 750, 600, 800, 1600, 2000, 2100, 800, 10, 1500, 800, 25, 1200.0])


def patch(rng):
    """As in the set: whole digital numbers, and a slope that is that of the elevation."""
    raw = RAW * rng.uniform(0.5, 1.5, (128, 128, 1))
    rows, columns = np.mgrid[:128, :128] / 20
    raw[..., 13] = 1200 + 300 * np.sin(rows) * np.cos(columns * 1.3)
    raw[..., 12] = np.degrees(np.arctan(np.hypot(*np.gradient(raw[..., 13], 10))))
    raw[..., :12] = np.round(raw[..., :12])
    return raw / L4S_DIVISORS


PATCH = patch(np.random.default_rng(1))


def write_h5(path, key, array):
    with h5py.File(path, "w") as file:
        file[key] = array


def write_picture(path, array, *, names=(), **profile):
    """Write bands (band, y, x), described by names if there are some; PNG by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = array.shape
    profile |= {"driver": "PNG" if path.suffix == ".png" else "GTiff", "dtype": array.dtype}
    with rasterio.open(path, "w", count=count, height=height, width=width, **profile) as file:
        file.write(array)
        if names:
            file.descriptions = names


def write_sen12(folder, name, variables, *, sensor="s2", events=((1, 2),), annotated=True, **more):
    """Write a NetCDF patch as Sen12Landslides has it: dimensions (time, x, y), dates a month apart.

    `variables` are (time, y, x), with a mask of zeros if there is none; `more`: their attributes.
    """
    region, _, number = name.rpartition("_")
    count, height, width = next(iter(variables.values())).shape
    variables = {"MASK": np.zeros((count, height, width), np.uint8), **variables}
    start = more.pop("start", "2019-01-05")
    attrs = {
        "annotated": str(annotated),
        "event_date": ",".join("2019-03-01" for _ in events),
        "pre_post_dates": ",".join(str({"pre": pre, "post": post}) for pre, post in events),
        "satellite": sensor,
        "crs": "EPSG:32632",
        **more.pop("attrs", {}),
    }
    axes = {
        "time": 30 * np.arange(count),
        "x": more.pop("west", 755200.0) + 10 * np.arange(width),
        "y": 4882000.0 - 10 * np.arange(height),
    }
    (folder / sensor).mkdir(parents=True, exist_ok=True)
    with h5netcdf.File(folder / sensor / f"{region}_{sensor}_{number}.nc", "w") as file:
        file.dimensions = {axis: len(values) for axis, values in axes.items()}
        for axis, values in axes.items():
            file.create_variable(axis, (axis,), data=values)
        file.variables["time"].attrs["units"] = f"days since {start} 00:00:00"
        for key, values in variables.items():
            own = dict(more.get(key, {}))
            fill = own.pop("_FillValue", None)
            stored = file.create_variable(
                key, ("time", "x", "y"), data=values.swapaxes(1, 2), fillvalue=fill
            )
            stored.attrs.update(own)
        file.attrs.update(attrs)
