"""Read a raster with the GDAL that pyogrio ships, which is newer than rasterio's.

Run as a program in a process of its own (two GDALs in one process share global names):

    python gdal_raster.py 'ZARR:"/path/store.zarr":/tile/probability:0'

prints JSON: driver, shape, geotransform, epsg, nodata, scale, names of classes, and the pixels.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import pyogrio


def _library() -> ctypes.CDLL:
    folder = Path(pyogrio.__file__).parent.parent / "pyogrio.libs"
    # pyogrio must be imported first: its loader finds the libraries that GDAL itself needs.
    library = ctypes.CDLL(str(next(folder.glob("libgdal*"))))
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    signatures = {
        "GDALOpen": (pointer, [text, ctypes.c_int]),
        "GDALGetDatasetDriver": (pointer, [pointer]),
        "GDALGetDriverShortName": (text, [pointer]),
        "GDALGetProjectionRef": (text, [pointer]),
        "GDALGetRasterXSize": (ctypes.c_int, [pointer]),
        "GDALGetRasterYSize": (ctypes.c_int, [pointer]),
        "GDALGetRasterCount": (ctypes.c_int, [pointer]),
        "GDALGetRasterBand": (pointer, [pointer, ctypes.c_int]),
        "GDALGetRasterNoDataValue": (ctypes.c_double, [pointer, pointer]),
        "GDALGetRasterScale": (ctypes.c_double, [pointer, pointer]),
        "GDALGetRasterCategoryNames": (ctypes.POINTER(text), [pointer]),
        "GDALGetGeoTransform": (ctypes.c_int, [pointer, pointer]),
        "CPLGetLastErrorMsg": (text, []),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.GDALAllRegister()
    return library


def read(source: str) -> dict[str, object]:
    """Open a raster and return what GDAL says of its first band."""
    gdal = _library()
    dataset = gdal.GDALOpen(source.encode(), 0)
    if not dataset:
        raise SystemExit(f"GDAL cannot open {source}: {gdal.CPLGetLastErrorMsg().decode()}")
    columns, rows = gdal.GDALGetRasterXSize(dataset), gdal.GDALGetRasterYSize(dataset)
    transform = (ctypes.c_double * 6)()
    assert gdal.GDALGetGeoTransform(dataset, transform) == 0
    band = gdal.GDALGetRasterBand(dataset, 1)
    found = ctypes.c_int()
    nodata = gdal.GDALGetRasterNoDataValue(band, ctypes.byref(found))
    has_nodata = bool(found.value)
    scale = gdal.GDALGetRasterScale(band, ctypes.byref(found))
    buffer = (ctypes.c_double * (rows * columns))()
    code = gdal.GDALRasterIO(
        ctypes.c_void_p(band), 0, 0, 0, columns, rows, buffer, columns, rows, 7, 0, 0
    )  # 7 = GDT_Float64
    assert code == 0, gdal.CPLGetLastErrorMsg()
    return {
        "driver": gdal.GDALGetDriverShortName(gdal.GDALGetDatasetDriver(dataset)).decode(),
        "bands": gdal.GDALGetRasterCount(dataset),
        "shape": [rows, columns],
        "transform": list(transform),
        "wkt": gdal.GDALGetProjectionRef(dataset).decode(),
        "nodata": nodata if has_nodata else None,
        "scale": scale,
        "classes": _texts(gdal.GDALGetRasterCategoryNames(band)),
        "pixels": [list(buffer[row * columns : (row + 1) * columns]) for row in range(rows)],
    }


def _texts(found: object) -> list[str]:
    """Return the texts of a list that ends with a null pointer."""
    texts: list[str] = []
    while found and found[len(texts)] is not None:
        texts.append(found[len(texts)].decode())
    return texts


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1])))  # noqa: T201
