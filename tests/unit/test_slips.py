"""Each classic slip is made, and found by its name; sound data of another region are left alone."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio

from lspipe.models import Scaling
from lspipe.models.recipes import L4S_DIVISORS, other_level, recipe_of
from lspipe.models.slips import compare_with_training, slips, unseen
from lspipe.models.statistics import Statistics
from lspipe.samples import l4s, pictures
from lspipe.schema import OPTICAL_BANDS


def model(recipe="", bands=(), scaling=None):
    """What is asked of a model item."""
    known = recipe_of(recipe) if recipe else None
    return SimpleNamespace(
        id="a-model",
        bands=bands or known.channels,
        scaling=scaling or known.scaling,
        recipe=recipe,
    )


# Median reflectance of a landscape of forest, meadows and rock, at the top of the atmosphere and at
# the surface; degrees and metres (Landslide4Sense; Barbellino, real data).
MIDDLES = (1000, 760, 640, 430, 660, 1610, 2030, 2030, 790, 10, 1170, 540, 25, 1275)
TOP = dict(zip(recipe_of("l4s14").channels, MIDDLES, strict=True))
AIR = {"B01": 700, "B02": 500, "B03": 200, "B04": 80}
SPREAD = {"B01": 0.08, "B02": 0.12, "B03": 0.2, "slope": 0.4, "dem": 0.6}


def landscape(bands, seed=0, level="L1C"):
    """Made-up pixels (C, 64, 64): reflectance, degrees, metres; every seed is another region."""
    rng = np.random.default_rng(seed)
    region = rng.uniform(0.95, 1.05)
    layers = []
    for band in (name.rpartition(":")[2] for name in bands):
        middle = TOP[band] if band in TOP else TOP["B08"]
        values = middle * region * rng.lognormal(0, SPREAD.get(band, 0.3), (64, 64))
        if level == "L2A":
            values = np.maximum(values - AIR.get(band, 0), 100)
        layers.append(values / (1e4 if band in OPTICAL_BANDS else 1))
    return np.array(layers)


def scaled(raw, scaling):
    if scaling.kind == "identity":
        return raw
    scale, offset = (np.array(part)[:, None, None] for part in (scaling.scale, scaling.offset))
    units = raw * scale + offset
    return units if scaling.clip is None else units.clip(*scaling.clip)


def optical(item):
    return np.array([band in OPTICAL_BANDS for band in item.bands])[:, None, None]


def exchange(raw, item, first, second):
    i, j = item.bands.index(first), item.bands.index(second)
    order = list(range(len(raw)))
    order[i], order[j] = j, i
    return raw[order]


L4S, YALI6, MORALES = model("l4s14"), model("yali6"), model("morales10")
GHORB, PAIR = model("ghorb4"), model("ghorb4:pair")


def exchanged(item, first, second):
    return lambda raw: exchange(raw, item, first, second)


NUMBERS, OFFSET = "digital numbers instead of reflectance", "above training: the offset of 2022"

SLIPS = {
    "slope before dem": (L4S, exchanged(L4S, "slope", "dem"), "slope and dem look exchanged"),
    "infrared for blue": (YALI6, exchanged(YALI6, "B02", "B08"), "B02 and B08 look exchanged"),
    "infrared for blue, L2A": (MORALES, exchanged(MORALES, "B02", "B08"), "B02 and B08 look exch"),
    "infrared for red": (GHORB, exchanged(GHORB, "B04", "B08"), "B04 and B08 look exchanged"),
    "L2A for L1C": (L4S, None, "L2A in a model of L1C"),
    "L1C for L2A": (MORALES, None, "L1C in a model of L2A"),
    "numbers": (GHORB, lambda raw: raw * 1e4, NUMBERS),
    "numbers, clipped": (MORALES, lambda raw: raw * 1e4, NUMBERS),
    "reflectance": (
        L4S,
        lambda raw: np.where(optical(L4S), raw / 1e4, raw),
        "reflectance instead of digital numbers",
    ),
    "offset left": (L4S, lambda raw: raw + 0.1 * optical(L4S), OFFSET),
    "offset left, four bands": (GHORB, lambda raw: raw + 0.1, OFFSET),
    "offset left, two dates": (PAIR, lambda raw: raw + 0.1, OFFSET),
    "numbers, two dates": (PAIR, lambda raw: raw * 1e4, NUMBERS),
    "offset left, clipped": (MORALES, lambda raw: raw + 0.1, OFFSET),
    "offset twice": (YALI6, lambda raw: raw - 0.1 * optical(YALI6), "was subtracted twice"),
}
"""Per slip: the model, what it makes of raw pixels (None = the other level), what is said."""


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_is_found_by_name_and_sound_data_have_none(name):
    item, made, said = SLIPS[name]
    level = recipe_of(item.recipe).level
    other = {"L1C": "L2A", "L2A": "L1C"}[level]

    def statistics(seed, make=lambda raw: raw, of=level):
        return Statistics.of([scaled(make(landscape(item.bands, seed, of)), item.scaling)])

    trained = statistics(0)
    for seed in (1, 2, 3):
        assert slips(trained, statistics(seed), item) == []
        found = statistics(seed, of=other) if made is None else statistics(seed, made)
        (text,) = slips(trained, found, item)
        assert said in text


def test_channels_in_reverse_are_found_pair_by_pair():
    trained, found = (Statistics.of([landscape(GHORB.bands, seed, "L2A")]) for seed in (0, 1))
    assert slips(trained, found, GHORB) == []
    found = Statistics.of([landscape(GHORB.bands, 1, "L2A")[::-1]])
    first, second = slips(trained, found, GHORB)
    assert first.startswith("B02 and B08 look exchanged")
    assert second.startswith("B03 and B04 look exchanged")


def test_data_of_the_level_of_the_recipe_are_of_no_other():
    statistics = [Statistics.of([scaled(landscape(L4S.bands, 0, level), L4S.scaling)])
                  for level in ("L2A", "L1C")]  # fmt: skip
    # Trained on L2A by mistake: that L1C is brighter is no mistake of the data.
    assert slips(*statistics, L4S) == []


@pytest.mark.parametrize(
    "kind", ["window-max", "window-minmax", "window-minmax-all", "tile-minmax"]
)
def test_a_scaling_by_its_own_values_says_what_it_hides(kind):
    assert "cannot be recognised" in unseen(Scaling(kind=kind))


def test_a_fixed_scaling_hides_only_what_it_clips():
    assert unseen(L4S.scaling) == unseen(Scaling()) == ""
    assert "end at 0 and 1" in unseen(MORALES.scaling)


def test_a_level_that_is_not_the_models_is_said():
    assert "recipe l4s14, which is of L1C" in other_level(L4S, "L2A")
    assert "is given L1C (top of atmosphere)" in other_level(MORALES, "L1C")
    for item, level in (
        (L4S, "L1C"),
        (L4S, "none"),
        (model(bands=("B02",), scaling=Scaling()), "L2A"),
    ):
        assert other_level(item, level) == ""


def test_statistics_of_another_model_are_refused():
    four = Statistics.of([landscape(GHORB.bands)])
    with pytest.raises(ValueError, match="4 channels: expected 6, those of a-model"):
        slips(four, four, YALI6)


# --- real data ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def patches(real_data):
    """Four patches of Landslide4Sense, of four regions, in the units of the set."""
    files = sorted((real_data / "l4s_h5").glob("*.h5"))
    return [np.moveaxis(l4s._array(path, "img", l4s.SHAPE), -1, 0) for path in files]


def raw_l4s(image):
    """Digital numbers, degrees, metres."""
    return image * np.array(L4S_DIVISORS)[:, None, None]


def units_l4s(raw):
    return raw / np.array(L4S_DIVISORS)[:, None, None]


@pytest.mark.real
def test_four_real_regions_are_no_slips_of_each_other(patches):
    every = [Statistics.of([patch]) for patch in patches]
    for trained, found in combinations(every, 2):
        assert slips(trained, found, L4S) == slips(found, trained, L4S) == []
    for patch in every:
        assert slips(Statistics.of(patches), patch, L4S) == []


@pytest.mark.real
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: exchange(raw, L4S, "slope", "dem"), "slope and dem look exchanged"),
        (lambda raw: exchange(raw, L4S, "B02", "B08"), "B02 and B08 look exchanged"),
        (lambda raw: np.where(optical(L4S), raw * 1e4, raw), "digital numbers instead of"),
        (lambda raw: np.where(optical(L4S), raw / 1e4, raw), "reflectance instead of"),
        (lambda raw: raw + 1000 * optical(L4S), "was not subtracted"),
        (lambda raw: raw - 1000 * optical(L4S), "was subtracted twice"),
    ],
)
def test_slips_are_found_in_a_real_patch_of_another_region(patches, change, said):
    trained = Statistics.of(patches[1:2])
    found = Statistics.of([units_l4s(change(raw_l4s(patches[2])))])
    (text,) = slips(trained, found, L4S)
    assert said in text


@pytest.mark.real
def test_the_level_of_a_real_scene_is_known_by_its_blue_bands(real_data):
    folder = real_data / "s2_pair_barbellino"
    # Neither file names its bands; both begin with 1 to 8, and end with 11 and 12.
    item = model(
        bands=("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12"),
        scaling=Scaling(),
    )

    def statistics(day, product):
        with rasterio.open(
            folder / f"S2A{product}_{day}_022_Barbellino_{LEVELS[product]}_10.tif"
        ) as file:
            pixels = file.read()
        return Statistics.of([pixels[[*range(8), -2, -1]].astype(np.float64) / 1e4])

    before, after = "20170703", "20190723"
    for day, other in ((before, after), (after, before)):
        top, surface = (statistics(day, product) for product in LEVELS)
        (text,) = slips(top, statistics(other, "2A"), item)
        assert "L2A in a model of L1C" in text
        (text,) = slips(surface, statistics(other, "1C"), item)
        assert "L1C in a model of L2A" in text
        for same, product in ((top, "1C"), (surface, "2A")):
            assert slips(same, statistics(other, product), item) == []


LEVELS = {"1C": "TOA", "2A": "BOA"}


@pytest.mark.real
def test_pictures_with_two_channels_exchanged_are_found(real_data):
    samples = pictures.folder(real_data / "l4s_rgb" / "train")
    images = [samples.read(name)[0] for name in samples.names[::4]]
    item, half = model("l4s-rgb"), len(images) // 2
    trained, found = Statistics.of(images[:half]), Statistics.of(images[half:])
    assert slips(trained, found, item) == []
    found = Statistics.of(image[[1, 0, 2]] for image in images[half:])
    facts = compare_with_training(trained, found, item)
    assert facts["slips"] == [
        "B04 and B03 look exchanged: each has the values that the model knows of the other"
    ]
    assert "shares of the largest of their own window" in facts["unseen"]
