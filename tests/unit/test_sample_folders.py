"""A folder of patches with regions: which layout it has, and which patch lies where."""

import h5py
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from lspipe.errors import SamplesError, UsageError
from lspipe.evaluate.scoring import predict
from lspipe.inference.inputs import model_units
from lspipe.models import Scaling
from lspipe.models.recipes import Recipe, recipe_of
from lspipe.samples import Samples
from lspipe.samples.folders import open_folder
from lspipe.samples.splits import (
    FOLDS,
    blocks,
    original_number,
    quarter,
    random_split,
    split,
    three_to_two,
)
from lspipe.samples.tiling import cut


def write_pictures(folder, numbers):
    rng = np.random.default_rng(0)
    for part, bands in (("images", 3), ("masks", 1)):
        (folder / part).mkdir(parents=True)
        for number in numbers:
            path = folder / part / f"{part[:-1]}_{number}.png"
            with rasterio.open(
                path, "w", driver="PNG", count=bands, height=16, width=16, dtype="uint8"
            ) as file:
                file.write(rng.integers(0, 2, (bands, 16, 16), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path):
    write_pictures(tmp_path, (1, 2, 10))
    return tmp_path


def write_regions(folder, text):
    (folder / "regions.csv").write_text(text)


# --- layouts and regions ------------------------------------------------------------------------


def test_the_layout_of_a_folder_is_seen(folder, tmp_path_factory):
    assert open_folder(folder, "l4s-rgb").names == ("1", "2", "10")
    other = tmp_path_factory.mktemp("l4s")
    for part, key in (("img", "image"), ("mask", "mask")):
        (other / part).mkdir()
        with h5py.File(other / part / f"{key}_7.h5", "w") as file:
            file["mask" if part == "mask" else "img"] = 0
    samples = open_folder(other, "l4s14")
    assert (samples.names, samples.recipe.name) == (("7",), "l4s14")


def test_a_list_says_where_each_patch_lies(folder):
    assert open_folder(folder, "l4s-rgb").regions is None
    write_regions(folder, "name,region\n1,Taiwan\n10,China\n2,Taiwan\n")
    samples = open_folder(folder, "l4s-rgb")
    assert samples.of_regions(["Taiwan"]).names == ("1", "2")


def test_sub_folders_are_regions(tmp_path):
    write_pictures(tmp_path / "Taiwan", (1, 2))
    write_pictures(tmp_path / "China", (1,))
    (tmp_path / "notes").mkdir()
    samples = open_folder(tmp_path, "l4s-rgb")
    assert samples.names == ("China/1", "Taiwan/1", "Taiwan/2")
    (image, mask) = samples.read("Taiwan/2")
    assert (image.shape, mask.shape) == ((3, 16, 16), (16, 16))
    assert samples.of_regions(["China"]).names == ("China/1",)


@pytest.mark.real
def test_parts_of_the_real_set_are_regions(real_data):
    samples = open_folder(real_data / "l4s_rgb", "l4s-rgb")
    assert len(samples.of_regions(["train"])) == 1197
    part = samples.of_regions(["validation"])
    assert len(part) == 339
    assert part.read(part.names[0])[0].shape == (3, 128, 128)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: found nothing: expected name,region"),
        ("patch;where\n", "line 1: found patch;where"),
        ("name,region\n1\n", "line 2: found '1': expected a name and a region"),
        ("name,region\n1,\n", "line 2: found '1,'"),
        ("name,region\n1,A\n1,B\n", "line 3: 1 has a region already"),
        ("name,region\n1,A\n2,A\n10,A\n11,A\n", r"11: no such patches \(1 of 4\)"),
        ("name,region\n1,A\n", r"lacks 2, 10 \(2 of 3 patches\)"),
    ],
)
def test_a_bad_list_of_regions_is_refused_by_name(folder, text, message):
    write_regions(folder, text)
    with pytest.raises(SamplesError, match=message) as raised:
        open_folder(folder, "l4s-rgb")
    assert str(folder / "regions.csv") in str(raised.value)


def test_a_folder_that_leaves_a_choice_is_refused(folder):
    write_pictures(folder / "Taiwan", (1,))
    with pytest.raises(SamplesError, match="patches in images/ and in Taiwan/images/ too"):
        open_folder(folder, "l4s-rgb")
    write_regions(folder / "Taiwan", "name,region\n1,A\n")
    for part in ("images", "masks"):
        (folder / part).rename(folder / f"old-{part}")
    with pytest.raises(SamplesError, match="Taiwan is a region itself"):
        open_folder(folder, "l4s-rgb")
    (folder / "Taiwan" / "regions.csv").unlink()
    (folder / "Taiwan" / "img").mkdir()
    with pytest.raises(SamplesError, match=r"Taiwan: found img/ and images/: expected one"):
        open_folder(folder, "l4s-rgb")


def test_an_address_is_told_to_be_one():
    with pytest.raises(SamplesError, match="^s3://maps/patches: found an address, expected a fold"):
        open_folder("s3://maps/patches", "l4s14")


def test_a_folder_without_patches_is_refused(tmp_path):
    with pytest.raises(SamplesError, match="no such folder: expected img/ or images/"):
        open_folder(tmp_path / "gone", "l4s-rgb")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(SamplesError, match="found pictures: expected img/ or images/"):
        open_folder(tmp_path, "l4s-rgb")
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    with pytest.raises(SamplesError, match=r"images: no patches"):
        open_folder(tmp_path, "l4s-rgb")


# --- splits -------------------------------------------------------------------------------------

NAMES = tuple(str(number) for number in range(10))
REGIONS = {name: "A" if int(name) < 5 else "B" for name in NAMES}


def test_areas_are_cut_in_two_not_sprinkled():
    assert quarter(NAMES, REGIONS).train == ("0", "1", "5", "6")
    assert three_to_two(NAMES, REGIONS).train == ("0", "1", "2", "5", "6", "7")
    assert three_to_two(NAMES).test == ("6", "7", "8", "9")
    with pytest.raises(SamplesError, match=r"9: no region is known \(1 of 10 patches\)"):
        quarter(NAMES, dict.fromkeys(NAMES[:-1], "A"))


def test_a_random_split_is_that_of_its_seed_and_loses_none():
    first, again, other = (random_split(NAMES, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(first.train) == 8
    assert set(first.train) | set(first.test) == set(NAMES)


@given(count=st.integers(FOLDS, 60), is_by_region=st.booleans())
def test_each_patch_is_tested_on_in_one_block_and_trained_on_in_the_others(count, is_by_region):
    names = tuple(f"patch {number}" for number in range(count))
    # Regions of many sizes, whose patches do not follow each other.
    regions = {name: str(min(n % 11, 7)) for n, name in enumerate(names)} if is_by_region else None
    if regions is not None and len(set(regions.values())) < FOLDS:
        return
    folds = [blocks(names, regions, fold=number) for number in range(1, FOLDS + 1)]
    assert sorted(name for one in folds for name in one.test) == sorted(names)
    for one in folds:
        assert one.test
        assert not set(one.train) & set(one.test)
        assert set(one.train) | set(one.test) == set(names)
        if regions is None:  # neighbours
            first = names.index(one.test[0])
            assert names[first : first + len(one.test)] == one.test
        else:
            assert not {regions[n] for n in one.train} & {regions[n] for n in one.test}


def test_blocks_of_regions_have_about_as_many_patches():
    sizes = {"a": 9, "b": 5, "c": 4, "d": 4, "e": 3, "f": 2, "g": 1}
    regions = {f"{name}{n}": name for name, size in sizes.items() for n in range(size)}
    names = tuple(regions)
    assert [len(blocks(names, regions, fold=n).test) for n in range(1, 6)] == [9, 5, 5, 4, 5]


@pytest.mark.parametrize("fold", [0, 6])
def test_a_block_that_is_not_there_is_refused(fold):
    with pytest.raises(UsageError, match=f"fold {fold}: expected 1 to 5"):
        blocks(NAMES, fold=fold)


def test_fewer_regions_than_blocks_are_refused():
    with pytest.raises(SamplesError, match=r"found 2 regions \(A, B\), expected 5 or more"):
        blocks(NAMES, REGIONS)


def test_a_block_without_a_landslide_is_refused():
    empty, scar = np.zeros((8, 8), np.uint8), np.eye(8, dtype=np.uint8)
    samples = Samples(
        source="here",
        recipe=recipe_of("l4s-rgb"),
        names=NAMES,
        read=lambda name: (np.ones((3, 8, 8), np.float32), empty if int(name) > 7 else scar),
    )
    assert split(samples, "blocks", fold=4)[1].names == ("6", "7")
    with pytest.raises(SamplesError, match="block 5 has no landslide in its 2 patches"):
        split(samples, "blocks")
    with pytest.raises(UsageError, match="fold 2 with split random: expected split blocks"):
        split(samples, "random", fold=2)


def test_places_in_a_list_sorted_by_name_are_numbers_on_the_ground():
    # Pictures of the published copy, and the original files whose pixels they have.
    places = {5: 1002, 2886: 3597, 3156: 42}
    assert {place: original_number(place) for place in places} == places


def test_samples_are_split_with_their_regions(folder):
    write_regions(folder, "name,region\n1,A\n2,A\n10,A\n")
    train, test = split(open_folder(folder, "l4s-rgb"), "three-to-two")
    assert (train.names, test.names) == (("1", "2"), ("10",))
    write_regions(folder, "name,region\n1,A\n2,B\n10,C\n")
    with pytest.raises(SamplesError, match="leaves 3 to train on and 0 to test on"):
        split(open_folder(folder, "l4s-rgb"), "quarter")


# --- windows ------------------------------------------------------------------------------------


def patches_of(scaling, images):
    recipe = Recipe("made-up", "", ("B04", "B03"), "none", scaling, "")
    masks = {name: (image[0] > 0.5).astype(np.uint8) for name, image in images.items()}
    return Samples(
        "made up", recipe, tuple(images), lambda name: (images[name], masks[name]),
        regions=dict.fromkeys(images, "here"),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["identity", "window-max", "window-minmax", "window-minmax-all"])
def test_windows_of_patches_are_what_a_run_would_show_of_the_same_ground(kind):
    rng = np.random.default_rng(5)
    raw = rng.uniform(0.1, 0.9, (2, 2, 16, 16)).astype(np.float32)
    raw[0, :, 3, 4] = np.nan
    scaling = Scaling(kind=kind)

    def shown(image):
        observed = ~np.isnan(image).any(0)
        units = model_units(np.nan_to_num(image)[None], scaling, observed=observed[None, None])[0]
        return np.where(np.isnan(image), np.nan, units)

    patches = patches_of(scaling, {str(n): shown(image) for n, image in enumerate(raw)})
    windows = cut(patches, 8)
    assert len(windows) == 8
    assert windows.names[:3] == ("0/0-0", "0/0-8", "0/8-0")
    assert set(windows.regions.values()) == {"here"}
    for number, image in enumerate(raw):
        for row, column in ((0, 0), (0, 8), (8, 0), (8, 8)):
            part = image[:, row : row + 8, column : column + 8]
            found, mask = windows.read(f"{number}/{row}-{column}")
            np.testing.assert_allclose(found, shown(part), rtol=1e-5)
            assert mask.shape == (8, 8)
    assert cut(patches, 16) is patches
    with pytest.raises(SamplesError, match="a multiple of 12 px"):
        cut(patches, 12)
    if kind != "identity":
        with pytest.raises(SamplesError, match="cut the patches first"):
            predict(lambda batch: batch[:, :1], patches, window=8)
