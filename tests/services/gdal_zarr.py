"""Read a raster with rasterio, in the environment of whoever runs this.

    python gdal_zarr.py PIXELS.npy 'ZARR:"/path/store.zarr":/tile/probability'

prints JSON: GDAL's version, driver, shape, EPSG, geotransform, nodata, scale, dtype; the pixels
(band, y, x) go into the file.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import rasterio


def read(pixels: str, source: str) -> dict[str, object]:
    """Write the pixels of a raster to a file, and return what rasterio says of it."""
    with rasterio.open(source) as raster:
        np.save(pixels, raster.read())
        return {
            "gdal": rasterio.__gdal_version__,
            "driver": raster.driver,
            "shape": [raster.count, *raster.shape],
            "epsg": raster.crs.to_epsg(),
            "transform": list(raster.transform)[:6],
            "nodata": raster.nodata,
            "scale": raster.scales[0],
            "dtype": raster.dtypes[0],
        }


if __name__ == "__main__":
    print(json.dumps(read(*sys.argv[1:])))  # noqa: T201
