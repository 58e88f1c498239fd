"""How often is `shipped:bare-ground` wrong where there is no landslide, and right in the simulator?

    python benchmarks/bare_ground.py            measure and print
    python benchmarks/bare_ground.py --write    and write the scorecard that comes with the model

No labelled landslides with the four bands of the model are at hand, so on real scenes only false
alarms can be counted: every marked pixel of three small places without a known landslide.

    Mol        lowland of Belgium, 2019-04-11, spring with open fields, sand pits and a town. B02,
               B04, B08 corrected by iCOR; B11 top of atmosphere, as no corrected one was published.
    Flanders   farmland, 100 x 100 px, ten monthly L2A composites; and each month with the next
    Barbellino an Alpine lake, L2A, 42 x 24 px, 2017-07-03 and 2019-07-23; and both together

Two dates go through `lspipe.compare` with its defaults; objects of 900 m2 or more are counted. In
the simulated valleys of benchmarks/demo_model.py (held-out seeds) scars are known: their pixels on
one date, and the list of new ones on two. What the simulator calls bare soil was chosen with the
same indices in mind as this model's numbers, so that says little.

Result, 2026-11-21, half a minute of one core. False objects of 900 m2 or more per km2, and share of
the area that is marked: Mol 7.1, 24 %; Flanders on one date 12.1, 24 %, new from month to month
3.2, 5.7 %; Barbellino 12.8, 7 % of 0.16 km2, new 0 in 0.06 km2. Simulated valleys: precision 2.6 %,
recall 71 % of scar pixels on one date; of two dates 69 of 84 new landslides found, 77 of 351 listed
right. A model to try lspipe with, whose list somebody has to look through, as its item says.
"""

from __future__ import annotations

import argparse
import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import rioxarray  # noqa: F401  # adds .rio
import torch
import xarray as xr
from demo_model import BANDS as SIMULATED
from demo_model import (
    HELD_OUT_SEEDS,
    SHAPE,
    masked,
    random_sky,
    reflectance,
    scars,
    score_seed,
)
from scipy import ndimage

from lspipe import __version__
from lspipe.change.compare import compare
from lspipe.change.inventory import delineate
from lspipe.cli.cards import scorecard_text
from lspipe.demo.landscape import simulate
from lspipe.demo.scene import see
from lspipe.evaluate import scorecard
from lspipe.evaluate.scorecard import FalseAlarms, ListScores, PatchScores, Scorecard
from lspipe.evaluate.scoring import score
from lspipe.inference.detect import detect
from lspipe.models import digest, read_item
from lspipe.models.bare_ground import BANDS
from lspipe.models.item import SHIPPED_FOLDER
from lspipe.models.recipes import Recipe
from lspipe.preprocess import MaskSpec, dilate, quality_of
from lspipe.samples import Samples

if TYPE_CHECKING:
    from affine import Affine

ITEM = "shipped:bare-ground"
WINDOW = 32
MIN_AREA = 900.0
PIXEL_KM2 = 1e-4
CLOUD_BLUE = 0.12
"""Corrected blue above this, in a patch of at least 5 x 5 px, is taken for cloud."""
CLOUD_RIM = 10
"""Pixels around it that are left out too."""
DARK_NEAR = 0.08
"""Corrected near infrared below this is water or the shadow of a cloud, which look alike."""
BARBELLINO = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B11", "B12")

NOT_TO_BE_READ_AS = (
    "an accuracy. Nothing here is a labelled landslide of the real world: real places have false "
    "alarms only, three of them, small, two of them Belgian lowland; recall on real landslides is "
    "not known. Where fields are ploughed between two dates the list is of fields. The simulated "
    "valleys share the spectra that the model's numbers were chosen for, and their scores are no "
    "evidence of skill."
)


MOL = "Mol, Belgium, 2019-04-11, without cloud, shadow and water"


def found_in(pixels: np.ndarray, hidden: np.ndarray, transform: Affine, epsg: int) -> xr.DataArray:
    """Probability of reflectance (4, y, x), on its grid."""
    rows, columns = np.arange(pixels.shape[1]), np.arange(pixels.shape[2])
    # Some masked numbers are no reflectance, and the model is one of single pixels.
    seen = np.where(hidden, np.nan, pixels).astype(np.float32)
    cube = xr.DataArray(seen, dims=("band", "y", "x"), coords={"band": list(BANDS)})
    mask = xr.DataArray(hidden, dims=("y", "x"))
    found = detect(cube, ITEM, mask=mask, window=WINDOW, stride=WINDOW, tta="none")
    found = found.assign_coords(x=transform.c + 10 * columns + 5, y=transform.f - 10 * rows - 5)
    return found.rio.write_crs(epsg).rio.write_transform(transform)


def one_date(data: str, maps: list[xr.DataArray], threshold: float) -> FalseAlarms:
    """False alarms of maps of one place, all of their areas together."""
    return FalseAlarms(
        data=data,
        dates=1,
        threshold=threshold,
        area_km2=round(sum(int(np.isfinite(one).sum()) for one in maps) * PIXEL_KM2, 4),
        marked_km2=round(sum(int((one > threshold).sum()) for one in maps) * PIXEL_KM2, 4),
        objects=sum(len(delineate(one, min_area_m2=MIN_AREA, threshold=threshold)) for one in maps),
        min_area_m2=MIN_AREA,
    )


def two_dates(
    data: str, pairs: list[tuple[xr.DataArray, xr.DataArray]], threshold: float
) -> FalseAlarms:
    """What became bare between two dates, all pairs together."""
    area = marked = objects = 0
    for before, after in pairs:
        table = delineate(compare(before, after, threshold=threshold), min_area_m2=MIN_AREA)
        new = table[table["status"] == "new"]
        area += int((np.isfinite(before.values) & np.isfinite(after.values)).sum())
        marked += int(new["n_px"].sum())
        objects += len(new)
    return FalseAlarms(
        data=data,
        dates=2,
        threshold=threshold,
        area_km2=round(area * PIXEL_KM2, 4),
        marked_km2=round(marked * PIXEL_KM2, 4),
        objects=objects,
        min_area_m2=MIN_AREA,
    )


def mol(data: Path, threshold: float) -> list[FalseAlarms]:
    pixels, hidden, transform, epsg = mol_scene(data)
    return [one_date(MOL, [found_in(pixels, hidden, transform, epsg)], threshold)]


def mol_scene(data: Path) -> tuple[np.ndarray, np.ndarray, Affine, int]:
    """Reflectance of the model's bands at the surface, what is cloud, shadow or water, the grid."""
    folder = data / "s2_l1c_mol_20190411"
    bands = []
    for band in BANDS:
        kind = "ref_input" if band == "B11" else "ref_check_icor"
        with rasterio.open(folder / f"{kind}_S2_{band}.tif") as file:
            # Negative numbers are wrapped around in the files, four pixels in blue: very bright.
            bands.append(np.minimum(file.read(1), 32767).astype(np.float32) * 1e-4)
            transform, epsg = file.transform, file.crs.to_epsg()
    pixels = np.stack(bands)
    blue, _, near, _ = pixels
    # A roof is bright too, but small.
    cloud = ndimage.binary_opening(blue > CLOUD_BLUE, np.ones((5, 5)))
    cloud = ndimage.binary_dilation(cloud, iterations=CLOUD_RIM)
    return pixels, cloud | (near < DARK_NEAR), transform, epsg


def flanders(data: Path, threshold: float) -> list[FalseAlarms]:
    path = data / "s1s2dem_worldcereal" / "worldcereal_preprocessed_inputs.nc"
    with xr.open_dataset(path, engine="h5netcdf") as months:
        raw = np.stack([months[f"S2-L2A-{band}"].values for band in BANDS], axis=1)
        x, y = float(months["x"][0]), float(months["y"][0])
    transform = rasterio.Affine(10, 0, x - 5, 0, -10, y + 5)
    maps = []
    for month in raw:
        missing = (month == 65535).any(axis=0)
        if not missing.all():
            maps.append(found_in(month * 1e-4, missing, transform, 32631))
    return [
        one_date("farmland of Flanders, ten monthly composites", maps, threshold),
        two_dates(
            "farmland of Flanders, each composite with the next",
            list(pairwise(maps)),
            threshold,
        ),
    ]


def barbellino(data: Path, threshold: float) -> list[FalseAlarms]:
    folder, spec, maps = data / "s2_pair_barbellino", MaskSpec(), []
    for day in ("20170703", "20190723"):
        with rasterio.open(folder / f"S2A2A_{day}_022_Barbellino_BOA_10.tif") as file:
            numbers, transform = file.read(), file.transform
        with rasterio.open(folder / f"S2A2A_{day}_022_Barbellino_SCL_10.tif") as file:
            classes = np.kron(file.read(1), np.ones((2, 2), np.uint8))
        pixels = np.stack([numbers[BARBELLINO.index(band)] for band in BANDS]) * 1e-4
        hidden = dilate(quality_of(classes, spec.scl), spec.dilate_px) != 0
        maps.append(found_in(pixels, hidden, transform, 32632))
    return [
        one_date("Lake Barbellino, Alps, two summer days", maps, threshold),
        two_dates("Lake Barbellino, Alps, 2017 to 2019", [(maps[0], maps[1])], threshold),
    ]


def valleys() -> Samples:
    """Each date of each held-out valley as one patch; what is masked is no data."""

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        seed, date = map(int, name.split("/"))
        landscape = simulate(SHAPE, seed=seed)
        rng = np.random.default_rng((seed, date))
        scene = see(landscape, date, random_sky(rng), seed=seed * 10 + date)
        pixels = reflectance(scene)[[SIMULATED.index(band) for band in BANDS]]
        pixels[:, masked(scene)] = np.nan
        return pixels.astype(np.float32), scars(landscape, date).astype(np.uint8)

    item = read_item(ITEM)
    recipe = Recipe("", "", BANDS, "L2A", item.scaling, "the bands of the model")
    names = tuple(f"{seed}/{date}" for seed in HELD_OUT_SEEDS for date in (0, 1))
    return Samples(
        source="simulated valleys, six seeds, two dates", recipe=recipe, names=names, read=read
    )


def simulated() -> tuple[PatchScores, ListScores]:
    scores = score(read_item(ITEM), valleys(), window=WINDOW)
    total = np.zeros(4, int)
    for seed in HELD_OUT_SEEDS:
        counts, _ = score_seed(seed, ITEM)
        total += counts
    found, planted, right, listed = total.tolist()
    return scores, ListScores(
        data="simulated valleys, six seeds, before and after",
        known=planted,
        found=found,
        listed=listed,
        right=right,
    )


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    shared = os.environ.get("LSPIPE_TEST_DATA", root.parent / "shared" / "data")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the scorecard of the model")
    parser.add_argument("--data", type=Path, default=Path(shared), help="folder of real scenes")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    item = read_item(ITEM)
    alarms = [
        one for place in (mol, flanders, barbellino) for one in place(asked.data, item.threshold)
    ]
    scores, listed = simulated()
    card = Scorecard(
        model=item.id,
        sha256=digest(item),
        lspipe=__version__,
        command="python benchmarks/bare_ground.py --write",
        patches=(scores,),
        false_alarms=tuple(alarms),
        lists=(listed,),
        not_to_be_read_as=NOT_TO_BE_READ_AS,
    )
    print(scorecard_text(card))
    if asked.write:
        path = SHIPPED_FOLDER / "bare-ground.scorecard.json"
        scorecard.write(card, path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
