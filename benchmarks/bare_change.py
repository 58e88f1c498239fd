"""How often is `shipped:bare-change` wrong where there is no landslide, and right in the simulator?

    python benchmarks/bare_change.py            measure and print
    python benchmarks/bare_change.py --write    and write the scorecard that comes with the model

No labelled landslides on two dates of Sentinel-2 are at hand, so on real scenes only false alarms
are counted: every new object of 900 m2 or more, between two dates of places without a known one.

    Inn        fields in Upper Austria, L2A, 578 x 379 px, 2021-06-17 and 2021-09-25; and back
    Flanders   farmland, 100 x 100 px, ten monthly L2A composites, each with the next
    Barbellino an Alpine lake, L2A, 42 x 24 px, 2017-07-03 and 2019-07-23; and back
    Mol        one day of Belgian lowland, top of atmosphere and corrected by iCOR: the same ground
               twice, so all that differs is the air; and back

Beside it what the same places give by subtracting two maps of one date: `shipped:bare-ground` (it
needs B02 and B11, which the Inn lacks), `shipped:l4s-rgb`, and a threshold of NDVI (0.4). Cold
Springs is a burn, which a list of landslides should not hold: what share of it is marked. In the
simulated valleys of benchmarks/demo_model.py (held-out seeds) the new scars are known.

Result, 2026-12-01, objects per km2 (bare-change, NDVI, l4s-rgb of version 3, then bare-ground where
it can be run): Inn 0.78, 3.56, 1.28; back 0.96, 5.61, 2.19; Flanders 0.56, 3.56, 1.78, 3.22;
Barbellino 0 both ways; Mol 0, 0, 0.93; back 0, 11.7, 0.06. Of the burn of Cold Springs
bare-change marks 0 %, bare-ground 64 %, NDVI 60 %. Simulator: 69 of 84 found and 78 of 78 listed
right; bare-ground 69 and 77 of 351; NDVI 72 and 76 of 275.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import rioxarray  # noqa: F401  # adds .rio
import torch
import xarray as xr
from affine import Affine
from bare_ground import BARBELLINO
from demo_model import HELD_OUT_SEEDS, SHAPE, masked, random_sky
from demo_model import reflectance as simulated_reflectance

from lspipe import __version__
from lspipe.change.compare import compare
from lspipe.change.inventory import delineate
from lspipe.cli.cards import scorecard_text
from lspipe.demo.grid import EPSG, NORTH, WEST
from lspipe.demo.landscape import simulate
from lspipe.demo.scene import see
from lspipe.demo.truth import outlines
from lspipe.evaluate import scorecard
from lspipe.evaluate.scorecard import FalseAlarms, ListScores, Scorecard
from lspipe.evaluate.truth import score_list
from lspipe.inference.detect import detect
from lspipe.models import digest, read_item
from lspipe.models.item import SHIPPED_FOLDER
from lspipe.preprocess import MaskSpec, dilate, quality_of

ITEM = "shipped:bare-change"
MIN_AREA = 900.0
PIXEL_KM2 = 1e-4
SIMULATED = ("B02", "B03", "B04", "B08", "B11", "B12")
UNCLEAR = 0b111001
"""Bits of Landsat Collection 1 pixel_qa: fill, cloud shadow, snow, cloud."""

NOT_TO_BE_READ_AS = (
    "an accuracy. Nothing here is a labelled landslide of the real world: real places have false "
    "alarms only, few, small, and most of them farmland. Recall on real landslides is not known. "
    "One condition of the formula, the near infrared within a factor of 2, was thought of after a "
    "look at the fields of the Inn, so its count there is no independent measure. What the "
    "simulator calls debris is bright, as the formula expects it."
)


@dataclass(frozen=True)
class Date:
    """One date of a place: reflectance by band, what is hidden, and its grid of 10 m."""

    bands: dict[str, np.ndarray]
    hidden: np.ndarray
    transform: Affine
    epsg: int

    def cube(self, names: tuple[str, ...], date: str = "") -> xr.DataArray:
        """Reflectance (band, y, x); bands are named "date:band" if a date is given."""
        values = np.stack([self.bands[name] for name in names]).astype(np.float32)
        # Some masked numbers are no reflectance.
        values = np.clip(np.where(self.hidden, np.nan, values), -0.2, 3.2)
        named = [f"{date}:{name}" if date else name for name in names]
        return xr.DataArray(values, dims=("band", "y", "x"), coords={"band": named})

    def on_grid(self, found: xr.DataArray) -> xr.DataArray:
        rows, columns = (np.arange(length) for length in found.shape)
        edge = self.transform.a
        return (
            found.assign_coords(
                x=self.transform.c + edge * (columns + 0.5),
                y=self.transform.f - edge * (rows + 0.5),
            )
            .rio.write_crs(self.epsg)
            .rio.write_transform(self.transform)
        )


Pair = tuple[Date, Date]


def pair_change(before: Date, after: Date) -> xr.Dataset:
    """What a run of `shipped:bare-change` would compare: 0 before, the map of the pair after."""
    both = [before.cube(("B04", "B08"), "before"), after.cube(("B04", "B08"), "after")]
    cube = xr.concat(both, dim="band")
    hidden = xr.DataArray(before.hidden | after.hidden, dims=("y", "x"))
    found = after.on_grid(detect(cube, ITEM, mask=hidden))
    return compare(xr.zeros_like(found).where(found.notnull()), found)


def subtracted(model: str) -> object:
    """The change of two maps of one date by a shipped model."""
    item = read_item(model)
    is_network = item.weights is not None

    def change(before: Date, after: Date) -> xr.Dataset | None:
        if not set(item.bands) <= set(before.bands):
            return None
        # A network in half-overlapping windows, once: eight views and 90 % take hours on a CPU.
        settings = {"stride": item.window // 2, "tta": "none"} if is_network else {}
        maps = []
        for date in (before, after):
            hidden = xr.DataArray(date.hidden, dims=("y", "x"))
            maps.append(date.on_grid(detect(date.cube(item.bands), model, mask=hidden, **settings)))
        below = min(0.3, item.threshold)
        return compare(*maps, threshold=item.threshold, before_below=below)

    return change


def ndvi_change(before: Date, after: Date) -> xr.Dataset:
    """The change of two maps of NDVI: 0.5 at 0.4, as steep as in tests/pixel_models.py."""
    maps = []
    for date in (before, after):
        red, near = (np.maximum(date.bands[name], 0) for name in ("B04", "B08"))
        ndvi = (near - red) / np.maximum(near + red, 1e-3)
        found = np.where(date.hidden, np.nan, 1 / (1 + np.exp(-15 * (0.4 - ndvi))))
        maps.append(date.on_grid(xr.DataArray(found.astype(np.float32), dims=("y", "x"))))
    return compare(*maps)


METHODS = {
    "bare-change": pair_change,
    "bare-ground": subtracted("shipped:bare-ground"),
    "l4s-rgb": subtracted("shipped:l4s-rgb"),
    "NDVI 0.4": ndvi_change,
}


def alarms(data: str, pairs: list[Pair], method: str) -> FalseAlarms | None:
    """New objects of all pairs of a place together; None where a band is missing."""
    area = marked = objects = 0
    for before, after in pairs:
        change = METHODS[method](before, after)
        if change is None:
            return None
        table = delineate(change, min_area_m2=MIN_AREA)
        new = table[table["status"].isin(["new", "grown"])]
        area += int((change["before"] + change["after"]).notnull().sum())
        marked += int(new["n_px"].sum())
        objects += len(new)
    return FalseAlarms(
        data=data,
        dates=2,
        threshold=read_item("shipped:l4s-rgb" if method == "l4s-rgb" else ITEM).threshold,
        area_km2=round(area * PIXEL_KM2, 4),
        marked_km2=round(marked * PIXEL_KM2, 4),
        objects=objects,
        min_area_m2=MIN_AREA,
    )


# --- places -------------------------------------------------------------------------------------


def inn(data: Path) -> Pair:
    with rasterio.open(data / "s2_l2a_pair_inn_2021" / "inference-img.tif") as file:
        numbers, transform, epsg = file.read() * 1e-4, file.transform, file.crs.to_epsg()
    clear = np.zeros(numbers.shape[1:], bool)
    names = ("B04", "B03", "B02", "B08")
    june, september = (dict(zip(names, part, strict=True)) for part in (numbers[:4], numbers[4:]))
    return Date(june, clear, transform, epsg), Date(september, clear, transform, epsg)


def mol(data: Path) -> Pair:
    folder, dates = data / "s2_l1c_mol_20190411", []
    for kind in ("ref_input", "ref_check_icor"):
        bands = {}
        for band in ("B02", "B03", "B04", "B08"):
            with rasterio.open(folder / f"{kind}_S2_{band}.tif") as file:
                # Negative numbers are wrapped around in the corrected files: very bright.
                bands[band] = np.minimum(file.read(1), 32767).astype(np.float32) * 1e-4
                transform, epsg = file.transform, file.crs.to_epsg()
        dates.append(Date(bands, np.zeros(bands["B04"].shape, bool), transform, epsg))
    return dates[0], dates[1]


def flanders(data: Path) -> list[Date]:
    path = data / "s1s2dem_worldcereal" / "worldcereal_preprocessed_inputs.nc"
    names = ("B02", "B03", "B04", "B08", "B11")
    with xr.open_dataset(path, engine="h5netcdf") as months:
        raw = np.stack([months[f"S2-L2A-{band}"].values for band in names], axis=1)
        x, y = float(months["x"][0]), float(months["y"][0])
    transform = Affine(10, 0, x - 5, 0, -10, y + 5)
    return [
        Date(dict(zip(names, month * 1e-4, strict=True)), missing, transform, 32631)
        for month in raw
        if not (missing := (month == 65535).any(axis=0)).all()
    ]


def barbellino(data: Path) -> Pair:
    folder, spec, dates = data / "s2_pair_barbellino", MaskSpec(), []
    for day in ("20170703", "20190723"):
        with rasterio.open(folder / f"S2A2A_{day}_022_Barbellino_BOA_10.tif") as file:
            numbers, transform = file.read(), file.transform
        with rasterio.open(folder / f"S2A2A_{day}_022_Barbellino_SCL_10.tif") as file:
            classes = np.kron(file.read(1), np.ones((2, 2), np.uint8))
        bands = dict(zip(BARBELLINO, numbers * 1e-4, strict=True))
        hidden = dilate(quality_of(classes, spec.scl), spec.dilate_px) != 0
        dates.append(Date(bands, hidden, transform, 32632))
    return dates[0], dates[1]


def cold_springs(data: Path) -> tuple[Pair, np.ndarray]:
    """Landsat 8, whose pixels are of 30 m, and True inside the perimeter of the burn."""
    folder, dates = data / "landsat8_pair_coldsprings_2016", []
    for name in ("pre_20160707", "post_20160723"):
        bands = {}
        for band, number in (("B02", 2), ("B03", 3), ("B04", 4), ("B08", 5), ("B11", 6)):
            (path,) = (folder / name).glob(f"*_sr_band{number}_crop.tif")
            with rasterio.open(path) as file:
                bands[band] = file.read(1) * 1e-4
                transform, epsg = file.transform, file.crs.to_epsg()
        (path,) = (folder / name).glob("*_pixel_qa_crop.tif")
        with rasterio.open(path) as file:
            hidden = (file.read(1) & UNCLEAR) != 0
        dates.append(Date(bands, hidden, transform, epsg))
    (path,) = (folder / "perimeter").glob("*.shp")
    burn = gpd.read_file(path).to_crs(dates[0].epsg).geometry
    inside = rasterio.features.rasterize(burn, hidden.shape, transform=transform).astype(bool)
    return (dates[0], dates[1]), inside


def valley(seed: int) -> tuple[Pair, gpd.GeoDataFrame]:
    """Both dates of a simulated valley, and its new landslides."""
    landscape, dates = simulate(SHAPE, seed=seed), []
    for number in (0, 1):
        sky = random_sky(np.random.default_rng((seed, number)))
        scene = see(landscape, number, sky, seed=seed * 10 + number)
        bands = dict(zip(SIMULATED, simulated_reflectance(scene), strict=True))
        dates.append(Date(bands, masked(scene), Affine(10, 0, WEST, 0, -10, NORTH), EPSG))
    truth = gpd.GeoDataFrame.from_features(outlines(landscape.new), crs=4326)
    return (dates[0], dates[1]), truth


# --- what is measured ---------------------------------------------------------------------------


def simulated(method: str) -> ListScores:
    scores = []
    for seed in HELD_OUT_SEEDS:
        pair, truth = valley(seed)
        scores.append(score_list(delineate(METHODS[method](*pair), min_area_m2=MIN_AREA), truth))
    return ListScores(
        data="simulated valleys, six seeds, before and after",
        known=sum(score.known for score in scores),
        found=sum(score.found for score in scores),
        listed=sum(score.listed for score in scores),
        right=sum(score.right for score in scores),
    )


def burnt(data: Path, method: str) -> str:
    """Shares of new pixels inside the burn of Cold Springs, and outside of it."""
    pair, inside = cold_springs(data)
    change = METHODS[method](*pair)
    seen = (change["before"] + change["after"]).notnull().values
    new = np.isin(change["state"].values, (1, 4))
    return f"{new[seen & inside].mean():.1%} of the burn, {new[seen & ~inside].mean():.1%} outside"


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    shared = os.environ.get("LSPIPE_TEST_DATA", root.parent / "shared" / "data")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the scorecard of the model")
    parser.add_argument("--data", type=Path, default=Path(shared), help="folder of real scenes")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    fields, lake, air = inn(asked.data), barbellino(asked.data), mol(asked.data)
    places = {
        "fields along the Inn, June to September 2021": [fields],
        "fields along the Inn, September to June (dates exchanged)": [fields[::-1]],
        "farmland of Flanders, each monthly composite with the next": list(
            pairwise(flanders(asked.data))
        ),
        "Lake Barbellino, Alps, July 2017 to July 2019": [lake],
        "Lake Barbellino, July 2019 to July 2017 (dates exchanged)": [lake[::-1]],
        "Mol, Belgium, one day: top of atmosphere to corrected": [air],
        "Mol, Belgium, one day: corrected to top of atmosphere": [air[::-1]],
    }
    kept = []
    for place, pairs in places.items():
        for method in METHODS:
            found = alarms(place, pairs, method)
            if found is None:
                continue
            kept += [found] if method == "bare-change" else []
            print(
                f"{place}: {method}: {found.objects} objects in {found.area_km2:.2f} km2, "
                f"{found.objects / found.area_km2:.2f} per km2, marked "
                f"{found.marked_km2 * 100:.1f} ha, {found.marked_km2 / found.area_km2:.2%}",
                flush=True,
            )
    # The network knows the top of the atmosphere; its own scorecard says more.
    formulas = [method for method in METHODS if method != "l4s-rgb"]
    listed = {method: simulated(method) for method in formulas}
    for method, one in listed.items():
        print(
            f"simulator: {method}: found {one.found} of {one.known}, "
            f"right {one.right} of {one.listed}"
        )
        print(f"Cold Springs: {method}: {burnt(asked.data, method)}", flush=True)
    item = read_item(ITEM)
    card = Scorecard(
        model=item.id,
        sha256=digest(item),
        lspipe=__version__,
        command="python benchmarks/bare_change.py --write",
        false_alarms=tuple(kept),
        lists=(listed["bare-change"],),
        not_to_be_read_as=NOT_TO_BE_READ_AS,
    )
    print(scorecard_text(card))
    if asked.write:
        path = SHIPPED_FOLDER / "bare-change.scorecard.json"
        scorecard.write(card, path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
