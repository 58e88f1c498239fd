"""Channel recipes of the papers: which channels, in which order, unit and scaling. Data, not code.

A model item may name its recipe (`lspipe:recipe`). Its bands are then compared with the recipe's by
name, because nothing else would notice DEM before slope, or band 8A where band 9 should be.

Source: the five papers; docs/method.md, Channels of the papers. Where a paper is silent, the note
names what was taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from lspipe.errors import ModelError, UsageError
from lspipe.models.item import Scaling
from lspipe.models.readings import read_otherwise
from lspipe.models.section import nearest
from lspipe.schema import DATES, is_pair, source_of, split_channel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lspipe.models.item import ModelItem

Level = Literal["L1C", "L2A", "none"]
"""Product that the reflectances are of: top of atmosphere, surface, or not Sentinel-2 at all."""

LEVELS: dict[Level, str] = {
    "L1C": "L1C (top of atmosphere)",
    "L2A": "L2A (surface)",
    "none": "no level",
}

PAIR = "pair"
"""Reading of any recipe: its bands on two dates."""

UNITS = {
    "slope": "degree",
    "dem": "m",
    "curvature": "1/100 m-1",
    "plan_curvature": "1/100 m-1",
    "profile_curvature": "1/100 m-1",
    "vv_before": "dB",
    "vv_after": "dB",
    "vv_amplitude_before": "1",
    "vv_amplitude_after": "1",
}
"""Units of channels that are no reflectances; a name of a band means reflectance, 0..1.

Slope after Horn 1981; curvature is the total one after Zevenbergen and Thorne 1987, positive where
convex, unless it is called plan or profile. An amplitude of VV is the square root of gamma0
(docs/method.md, Terrain and radar)."""

L4S_DIVISORS = (
    1111.81236406, 824.63171476, 663.41636217, 445.17289745, 645.8582926, 1547.73508126,
    1960.44401001, 1941.32229668, 674.07572865, 9.04787384, 1113.98338755, 519.90397929,
    20.29228266, 772.83144788,
)  # fmt: skip
"""What each channel of Landslide4Sense was divided by: DN of L1C without ESA's offset of 2022,
slope in degrees, elevation in metres. A fixed vector, not the means of the data.
Source: github.com/iarai/Landslide4Sense-2022, issue 4."""

DN_PER_REFLECTANCE = 1e4


@dataclass(frozen=True)
class Recipe:
    """The channels of a network, as its paper had them."""

    name: str
    paper: str
    channels: tuple[str, ...]
    """Canonical names in the order of the network."""
    level: Level
    scaling: Scaling
    note: str
    """What the paper leaves open, and what was taken."""

    @property
    def base(self) -> str:
        """Name of the recipe of which this is a reading, or which this has terrain besides."""
        return base_of(self.name)

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each channel, before scaling."""
        return tuple(UNITS.get(channel, "reflectance") for channel in self.channels)

    def with_channels(self, *more: str) -> Recipe:
        """This recipe with terrain channels behind its own, in their own units.

        Raises:
            UsageError: a channel that is no terrain, or is there already; a recipe with a scaling
                of its own, which has no rule for terrain.
        """
        if self.scaling.kind != "identity":
            raise UsageError(f"recipe {self.name} takes no further channels, ghorb4 does")
        for channel in more:
            if channel not in ("slope", "dem") or (*self.channels, *more).count(channel) > 1:
                raise UsageError(
                    f"recipe {self.name} with {channel!r}: expected slope or dem, each once"
                )
        divisors = {"slope": L4S_DIVISORS[12], "dem": L4S_DIVISORS[13]}
        scale = (*(1.0 for _ in self.channels), *(1 / divisors[channel] for channel in more))
        return Recipe(
            name="+".join((self.name, *more)),
            paper=self.paper,
            channels=(*self.channels, *more),
            level=self.level,
            scaling=Scaling(kind="affine", scale=scale, offset=(0.0,) * len(scale)),
            note=self.note,
        )


_L4S = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12",
    "slope", "dem",
)  # fmt: skip


def _l4s_scale(channels: Sequence[str]) -> tuple[float, ...]:
    """Reflectance to h5 units: DN / divisor; slope and elevation are divided as they are."""
    divisors = dict(zip(_L4S, L4S_DIVISORS, strict=True))
    return tuple(
        (1.0 if channel in UNITS else DN_PER_REFLECTANCE) / divisors[channel]
        for channel in channels
    )


def _l4s(name: str, paper: str, channels: tuple[str, ...], note: str) -> Recipe:
    scaling = Scaling(kind="affine", scale=_l4s_scale(channels), offset=(0.0,) * len(channels))
    return Recipe(name, paper, channels, "L1C", scaling, note)


_YALI_SCALING = (
    "The text stretches each image to 0..1, its code all channels together, its configuration not "
    "at all: the values are taken as the files have them."
)

_RGB = ("B04", "B03", "B02")


def _vega(*more: str) -> Recipe:
    """Reflectance; slope / 90; curvature / 4, where it is steep; VV of -25..5 dB as -1..1."""
    steps = {
        "slope": (1 / 90, 0.0),
        "curvature": (1 / 4, 0.0),
        "vv_before": (1 / 15, 10 / 15),
        "vv_after": (1 / 15, 10 / 15),
    }
    channels = (*_RGB, *more)
    scale, offset = zip(*(steps.get(channel, (1.0, 0.0)) for channel in channels), strict=True)
    return Recipe(
        f"vega{len(channels)}",
        "004",
        channels,
        "none",
        Scaling(kind="affine", scale=scale, offset=offset, clip=(-1.0, 1.0)),
        "The paper's pictures are 12.5 m colour images of a map service, for which Sentinel-2 is a "
        "substitute here, in another unit (reflectance, not 0..255). Neither "
        "the order of the colours, nor the kind of curvature, nor the unit of VV is stated: red, "
        "green, blue; total curvature; decibels.",
    )


_SEN12_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")

_SEN12 = {
    "B02": (1492.460803079884, 2434.8134937939612),
    "B03": (1668.730647890988, 2290.7904722430744),
    "B04": (1583.2866793142525, 2293.2641273525105),
    "B05": (2063.5090515315183, 2192.0721896556997),
    "B06": (3109.718959426561, 1882.4372227711422),
    "B07": (3443.423924837933, 1824.5817336258483),
    "B08": (3550.890886289872, 1857.805470128811),
    "B8A": (3642.1824771215047, 1752.7824968277644),
    "B11": (2272.761661766008, 1118.005421919931),
    "B12": (1509.372043777249, 1044.686810267096),
    "elevation": (763.3738460301755, 638.6952281165422),
    "VV": (-9.309921745422201, 3.48675473624339),
}
"""Mean and standard deviation of each channel of Sen12Landslides over all dates, clouds among them:
digital numbers without ESA's offset, metres, decibels of the ascending pass.
Source: github.com/PaulH97/Sen12Landslides, tasks/harmonized/S12LS-LD (s2/norm.json; of VV,
norm_aligned.json)."""


def _sen12(name: str, channels: tuple[str, ...], note: str) -> Recipe:
    """Standardised by the statistics that come with the set."""
    steps = []
    for channel in channels:
        mean, spread = _SEN12[split_channel(channel)[1]]
        unit = 1.0 if channel in UNITS else DN_PER_REFLECTANCE
        steps.append((unit / spread, -mean / spread))
    scale, offset = zip(*steps, strict=True)
    scaling = Scaling(kind="affine", scale=scale, offset=offset)
    return Recipe(name, "", channels, "L2A", scaling, note)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "morales10",
            "000",
            ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
            "L2A",
            Scaling(kind="affine", scale=(1.0,) * 10, offset=(0.0,) * 10, clip=(0.0, 1.0)),
            "All bands but 1, 9 and 10; the order is not stated: ascending. 'Indexed to 0..1' is "
            "read as reflectance clipped to 0..1, not as a stretch of each patch.",
        ),
        _l4s(
            "l4s14",
            "001",
            _L4S,
            "Band 8A was dropped at data collection, so B1..B12 are these twelve. The released "
            "baseline applies a further affine step, which does not standardise.",
        ),
        _l4s("yali14", "002", _L4S, f"The channels of l4s14. {_YALI_SCALING}"),
        _l4s(
            "yali6",
            "002",
            ("B02", "B03", "B04", "B08", "slope", "dem"),
            "Six of the channels of l4s14. The text has R, G, B, NIR; the code B, G, R, NIR. "
            f"{_YALI_SCALING}",
        ),
        Recipe(
            "ghorb4",
            "003",
            ("B02", "B03", "B04", "B08"),
            "L2A",
            Scaling(),
            "The text speaks of slope and elevation, for which the tables of layers leave no room; "
            "`with_channels` adds them.",
        ),
        _vega(),
        _vega("slope", "curvature"),
        _vega("slope", "curvature", "vv_before", "vv_after"),
        Recipe(
            "l4s-rgb",
            "001",
            _RGB,
            "L1C",
            Scaling(kind="window-max", scale=_l4s_scale(_RGB)),
            "Three channels of l4s14, divided by the largest value of the window besides, as the "
            "colour pictures of that set are.",
        ),
        _sen12(
            "sen12",
            _SEN12_BANDS,
            "No paper's: the ten bands of Sen12Landslides, standardised by the statistics that "
            "come with it.",
        ),
        _sen12(
            "sen12-dem",
            (*_SEN12_BANDS, "dem"),
            "No paper's: sen12, and the elevation.",
        ),
        _sen12(
            "sen12-radar",
            (
                *(f"{date}:{band}" for date in DATES for band in _SEN12_BANDS),
                "dem",
                "vv_before",
                "vv_after",
            ),
            "No paper's: sen12-dem of two dates, and VV of both, standardised as the ascending "
            "pass of the set.",
        ),
    )
}


def base_of(name: str) -> str:
    """Return the name of a recipe without its readings and terrain channels."""
    return name.partition(":")[0].partition("+")[0]


def recipe_of(name: str) -> Recipe:
    """Return a recipe by its name, with terrain ("ghorb4+slope") or readings ("vega3:bgr") too.

    With "pair" among the readings ("ghorb4:pair"), its bands of two dates, before and after.

    Raises:
        UsageError: no such recipe, or no such reading of it.

    >>> recipe_of("l4s-rgb:pair").channels[2:5]
    ('before:B02', 'after:B04', 'after:B03')
    """
    whole, _, readings = name.partition(":")
    kept = [one for one in readings.split(",") if one != PAIR]
    if kept != readings.split(","):
        return _paired(recipe_of(":".join([whole, *([",".join(kept)] if kept else [])])), name)
    base, *more = whole.split("+")
    if base not in RECIPES:
        raise UsageError(
            f"unknown recipe {name!r}{nearest(base, RECIPES)}: expected one of {', '.join(RECIPES)}"
        )
    recipe = RECIPES[base].with_channels(*more) if more else RECIPES[base]
    return _read_otherwise(recipe, readings) if ":" in name else recipe


def _paired(recipe: Recipe, name: str) -> Recipe:
    """Return the bands of a recipe on the date before, then after, then what has no date."""
    if is_pair(recipe.channels):
        raise UsageError(f"recipe {name}: {recipe.name} has channels of two dates already")
    bands = [i for i, each in enumerate(recipe.channels) if source_of(each) == "scenes"]
    others = [i for i in range(len(recipe.channels)) if i not in bands]
    order = [*bands, *bands, *others]
    scale, offset = recipe.scaling.scale, recipe.scaling.offset
    return replace(
        recipe,
        name=name,
        channels=(
            *(f"{date}:{recipe.channels[i]}" for date in DATES for i in bands),
            *(recipe.channels[i] for i in others),
        ),
        scaling=replace(
            recipe.scaling,
            scale=tuple(scale[i] for i in order) if scale else (),
            offset=tuple(offset[i] for i in order) if offset else (),
        ),
        note=f"{recipe.note} Of two dates, which no paper did.",
    )


def _read_otherwise(recipe: Recipe, readings: str) -> Recipe:
    channels, scaling, note = read_otherwise(
        recipe.name, readings.split(","), recipe.channels, recipe.scaling
    )
    return replace(
        recipe,
        name=f"{recipe.name}:{readings}",
        channels=channels,
        scaling=scaling,
        note=f"{recipe.note} Read otherwise here: {note}",
    )


def level_of(name: str) -> Level:
    """Return the product that a recipe is of; "none" of no recipe ("").

    Raises:
        UsageError: no such recipe.
    """
    return recipe_of(name).level if name else "none"


def other_level(item: ModelItem, level: Level) -> str:
    """Report data of another level than those of the model's recipe; "" where they are of the same.

    Args:
        item: the model.
        level: of the data; "none" where it is not known.
    """
    wanted = level_of(item.recipe)
    if "none" in (wanted, level) or wanted == level:
        return ""
    return (
        f"{item.id} is of recipe {item.recipe}, which is of {LEVELS[wanted]}, and is given "
        f"{LEVELS[level]}: the blue bands differ by the light of the air (B01, B02)"
    )


def check_item(item: ModelItem) -> None:
    """Refuse a model whose channels are not those of the recipe it names.

    Raises:
        ModelError: a channel is elsewhere, or another one (named); or there is no such recipe.
    """
    if not item.recipe:
        return
    try:
        check_channels(item.recipe, item.bands)
    except UsageError as error:
        raise ModelError(f"{item.path}: {error}") from error


def check_channels(name: str, bands: Sequence[str]) -> None:
    """Compare the channels of a model with those of its recipe, by name and order.

    Raises:
        ModelError: a channel is elsewhere, or another one (named).
        UsageError: no such recipe.
    """
    recipe = recipe_of(name)
    if tuple(bands) == recipe.channels:
        return
    if sorted(bands) == sorted(recipe.channels):
        at = next(i for i, (a, b) in enumerate(zip(bands, recipe.channels, strict=True)) if a != b)
        raise ModelError(
            f"channels in another order than recipe {name}: found {bands[at]} as channel {at + 1}, "
            f"expected {recipe.channels[at]} ({' '.join(recipe.channels)})"
        )
    lacking = [channel for channel in recipe.channels if channel not in bands]
    foreign = [band for band in bands if band not in recipe.channels]
    parts = [
        f"{word} {', '.join(names)}"
        for word, names in (("lacks", lacking), ("has besides", foreign))
        if names
    ]
    raise ModelError(
        f"channels are not those of recipe {name}: {'; '.join(parts) or 'one is there twice'}; "
        f"expected {' '.join(recipe.channels)}"
    )
