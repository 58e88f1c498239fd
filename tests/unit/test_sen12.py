"""Folders of Sen12Landslides: which dates and numbers become a patch, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lspipe.cli import main
from lspipe.errors import MissingExtra, SamplesError
from lspipe.models.recipes import recipe_of
from lspipe.samples import sen12, sound
from lspipe.samples.folders import open_folder
from lspipe.samples.patch_file import open_patch
from lspipe.samples.tiling import cut
from lspipe.schema import IGNORED
from tests.patches import write_sen12

BANDS = recipe_of("ghorb4").channels

SHAPE = (15, 8, 6)
"""Dates, rows, columns: not square, so that an exchange of axes shows."""

CLOUD, GREEN = 9, 4


def flat(value, dtype=np.int16, shape=SHAPE):
    return np.full(shape, value, dtype)


def bands(shape=SHAPE, names=BANDS):
    """A level of its own for each band and date: 100 x band + date."""
    dates = np.arange(shape[0], dtype=np.int16)[:, None, None]
    return {
        band: flat(1000 + 100 * number, shape=shape) + dates for number, band in enumerate(names)
    }


def patch(**more):
    return {**bands(), "SCL": flat(GREEN), "DEM": flat(700), **more}


def date_of(image, band="B02", names=BANDS):
    """Which date a channel of reflectance is of."""
    return round(float(np.nanmean(image)) * 1e4) - 1000 - 100 * names.index(band)


# --- channels -----------------------------------------------------------------------------------


def halves(mean, spread, dtype):
    """Numbers of this mean and standard deviation."""
    side = np.where(np.arange(SHAPE[2]) % 2, 1, -1)
    values = np.broadcast_to(mean + spread * side, SHAPE)
    return values.astype(dtype) if dtype == np.float32 else np.rint(values).astype(dtype)


@pytest.mark.real
def test_channel_by_channel_the_statistics_of_the_set_become_0_and_1(tmp_path, real_data):
    meta = real_data / "sen12landslides_meta"
    optics = json.loads((meta / "S12LS-LD__harmonized__s2__norm.json").read_text())["s2"]
    radar = json.loads((meta / "S12LS-LD__harmonized__norm_aligned.json").read_text())["s1asc"]
    stored = {
        name: halves(mean, optics["std"][name], np.int16) for name, mean in optics["mean"].items()
    }
    write_sen12(tmp_path, "italy_1", {**stored, "SCL": flat(GREEN)})
    backscatter = {
        name: halves(radar["mean"][name], radar["std"][name], np.float32) for name in ("VV", "VH")
    }
    write_sen12(tmp_path, "italy_1", backscatter, sensor="s1asc")
    for recipe in ("sen12", "sen12-dem", "sen12-radar", "sen12-dem:pair"):
        samples = open_folder(tmp_path, recipe)
        image, mask = samples.read("italy_1")
        assert image.shape == (len(recipe_of(recipe).channels), *SHAPE[1:])
        # Whole numbers are half a unit off at most, of a thousand.
        np.testing.assert_allclose(image.mean((1, 2)), 0, atol=1e-3)
        np.testing.assert_allclose(image.std((1, 2)), 1, atol=1e-3)
        assert samples.level == "L2A"
        assert not mask.any()


def test_rows_and_columns_are_found_by_name(tmp_path):
    stored = patch(MASK=flat(0, np.uint8))
    for values in stored.values():
        values[:, 2, 5] += 1
    write_sen12(tmp_path, "italy_1", {**stored, "SCL": flat(GREEN)})
    image, mask = sen12.folder(tmp_path, "ghorb4+dem").read("italy_1")
    assert np.argwhere(mask).tolist() == [[2, 5]]
    darker = image < image[:, 2:3, 5:6]
    assert (darker.sum((1, 2)) == 8 * 6 - 1).all()


def test_what_is_no_data_is_nan_and_has_no_label(tmp_path):
    stored = patch(MASK=flat(1, np.uint8))
    stored["B04"][:, 0, 0] = -9999
    stored["B04"][:, 0, 1] = -32768
    stored["B04"][:, 0, 2] = 7
    stored["SCL"][:, 1, 1] = 0
    write_sen12(tmp_path, "italy_1", stored, B04={"_FillValue": np.int16(7)})
    image, mask = sen12.folder(tmp_path, "ghorb4").read("italy_1")
    assert np.argwhere(np.isnan(image[2])).tolist() == [[0, 0], [0, 1], [0, 2]]
    assert np.argwhere(mask == IGNORED).tolist() == [[0, 0], [0, 1], [0, 2], [1, 1]]
    assert (mask == 1).sum() == 8 * 6 - 4


def test_decibels_become_amplitudes_and_the_descending_pass_stands_in(tmp_path):
    write_sen12(tmp_path, "italy_1", {**bands(), "SLOPE": flat(20), "CURVATURE": flat(1)})
    decibels = {"VV": flat(-20, np.float32)}
    decibels["VV"][2:] = -10
    write_sen12(tmp_path, "italy_1", decibels, sensor="s1dsc")
    plain, _ = sen12.folder(tmp_path, "vega7").read("italy_1")
    np.testing.assert_allclose(plain[-2:, 0, 0], [-10 / 15, 0], atol=1e-6)
    image, _ = sen12.folder(tmp_path, "vega7:amplitude").read("italy_1")
    scaling = recipe_of("vega7:amplitude").scaling
    amplitudes = (image[-2:, 0, 0] - np.array(scaling.offset[-2:])) / np.array(scaling.scale[-2:])
    np.testing.assert_allclose(amplitudes, [0.1, 10**-0.5], rtol=1e-5)


# --- dates --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "annotated", "clouds", "before", "after"),
    [
        (((7, 8),), True, {}, 7, 8),
        # The nearest that sees nine tenths of the patch.
        (((7, 8),), True, {7: 1, 8: 1, 9: 1}, 6, 10),
        (((7, 8),), True, {8: 0.08}, 7, 8),
        # None does: the clearest.
        (((12, 13),), True, {13: 0.5, 14: 0.3}, 12, 14),
        # All events of a patch lie between its two dates.
        (((7, 8), (9, 10)), True, {}, 7, 10),
        # Without an event: one date of each half.
        ((), False, {7: 1}, 5, 7),
    ],
    ids=["near", "cloudy", "hardly-cloudy", "clearest", "several", "none"],
)
def test_the_nearest_clear_date_on_each_side_of_the_event_is_taken(
    tmp_path, *, events, annotated, clouds, before, after
):
    stored = patch()
    if not annotated:
        stored = {name: values[:14] for name, values in stored.items()}
        before, after, clouds = 6, 8, {7: 1}
    for date, share in clouds.items():
        stored["SCL"][date].flat[: round(share * 48)] = CLOUD
    write_sen12(tmp_path, "italy_1", stored, events=events, annotated=annotated)
    with open_patch(tmp_path / "s2" / "italy_s2_1.nc") as file:
        assert (file.step("before"), file.step("after")) == (before, after)
    image, mask = sen12.folder(tmp_path, "ghorb4:pair").read("italy_1")
    assert (date_of(image[0]), date_of(image[4])) == (before, after)
    hidden = sum(round(clouds.get(date, 0) * 48) for date in {before, after})
    assert (mask == IGNORED).sum() == hidden
    single, _ = sen12.folder(tmp_path, "ghorb4").read("italy_1")
    np.testing.assert_array_equal(single, image[4:])


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ((), "pre_post_dates = nothing of 15 dates"),
        (((0, 0),), "expected a date before each event and one after it"),
        (((14, 14),), "expected a date before each event"),
        (((7, 8), (14, 15)), "expected a date before each event"),
    ],
)
def test_an_event_that_is_not_between_two_dates_is_refused(tmp_path, events, message):
    write_sen12(tmp_path, "italy_1", patch(), events=events)
    write_sen12(tmp_path, "italy_2", patch())
    samples = sen12.folder(tmp_path, "ghorb4")
    with pytest.raises(SamplesError, match=f"italy_s2_1.nc: .*{message}"):
        samples.read("italy_1")
    assert sound(samples, skip_broken=True).names == ("italy_2",)


# --- which patches ------------------------------------------------------------------------------


def write_splits(folder, name="splits.json", **parts):
    content = {
        part: [{"id": each, "s2": "s2/...", "inventory": each.split("_")[0]} for each in names]
        for part, names in parts.items()
    }
    (folder / name).write_text(json.dumps(content))


def test_the_list_of_the_set_says_what_is_trained_on_and_where(tmp_path):
    for name in ("usa_alaska_3", "italy_10", "italy_9", "nepal_1"):
        write_sen12(tmp_path, name, patch())
    plain = open_folder(tmp_path, "ghorb4")
    assert plain.names == ("italy_9", "italy_10", "nepal_1", "usa_alaska_3")
    assert plain.parts is None
    assert plain.regions["usa_alaska_3"] == "usa_alaska"
    write_splits(tmp_path, train=["italy_10"], val=["italy_9"], test=["usa_alaska_3"])
    samples = open_folder(tmp_path, "ghorb4")
    assert samples.names == ("italy_9", "italy_10", "usa_alaska_3")
    assert samples.of_part("train").names == ("italy_10",)
    assert samples.of_part("test").names == ("usa_alaska_3",)
    assert samples.of_regions(["usa"]).names == ("usa_alaska_3",)
    with pytest.raises(SamplesError, match="no patches of part other; its parts: test, train, val"):
        samples.of_part("other")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not a readable list of parts"),
        ('{"training": []}', "found training: expected lists of patches under train, val, test"),
        ('{"train": [{"s2": "s2/a_s2_1.nc"}]}', "train, entry 0: no id"),
        ('{"train": ["s2/a_s2_1.nc", "a_1"]}', "train: a_1 is listed twice"),
        (
            '{"train": ["a_1", "a_2"], "val": ["s2/a_s2_2.nc"]}',
            r"a_2: under train and under val \(1 patches\)",
        ),
        ('{"train": ["a_1", "b_7"]}', r"b_7: not in .*s2 \(1 of 2 patches\)"),
    ],
)
def test_a_list_that_cannot_be_kept_is_refused_by_name(tmp_path, content, message):
    for name in ("a_1", "a_2"):
        write_sen12(tmp_path, name, patch())
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(SamplesError, match=message) as raised:
        open_folder(tmp_path, "ghorb4")
    assert "splits.json" in str(raised.value)


def test_two_lists_are_refused(tmp_path):
    write_sen12(tmp_path, "a_1", patch())
    for name in ("splits.json", "splits_aligned.json"):
        write_splits(tmp_path, name, train=["a_1"])
    with pytest.raises(SamplesError, match=r"found splits\.json and splits_aligned\.json"):
        open_folder(tmp_path, "ghorb4")


def test_parts_are_kept_where_patches_are_joined_and_cut(tmp_path):
    shape = (3, 8, 8)
    for region in ("north", "south"):
        for number in (1, 2):
            write_sen12(tmp_path / region, f"a_{number}", bands(shape))
        write_splits(tmp_path / region, train=["a_1"], test=["a_2"])
    samples = cut(open_folder(tmp_path, "ghorb4"), 4)
    assert len(samples) == 16
    tested = samples.of_part("test").names
    assert {name.rpartition("/")[0] for name in tested} == {"north/a_2", "south/a_2"}
    (tmp_path / "south" / "splits.json").unlink()
    with pytest.raises(SamplesError, match="south: no list of parts, and other sub-folders have"):
        open_folder(tmp_path, "ghorb4")


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "attrs", "message"),
    [
        ({"B03": flat(0.2, np.float32)}, {}, "B03 is float32: expected int16, reflectance x 1e4"),
        ({}, {"B03": {"add_offset": -0.1}}, "B03 states scale 1 and offset -0.1"),
        ({"MASK": flat(2, np.uint8)}, {}, "MASK with the values 2: expected 0 and 1"),
        ({"SCL": flat(CLOUD), "B02": flat(-9999)}, {}, "no pixel has data in every channel"),
    ],
)
def test_numbers_of_another_kind_are_refused_by_name(tmp_path, changes, attrs, message):
    write_sen12(tmp_path, "italy_1", patch(**changes), **attrs)
    with pytest.raises(SamplesError, match=f"italy_s2_1.nc: {message}"):
        sen12.folder(tmp_path, "ghorb4").read("italy_1")


@pytest.mark.parametrize(("start", "is_refused"), [("2019-01-05", False), ("2022-02-01", True)])
def test_an_offset_that_is_still_there_is_seen_on_green_ground(tmp_path, start, is_refused):
    shape = (15, 16, 16)
    stored = {**bands(shape), "SCL": flat(GREEN, shape=shape)}
    write_sen12(tmp_path, "italy_1", stored, start=start)
    samples = sen12.folder(tmp_path, "ghorb4")
    if not is_refused:
        samples.read("italy_1")
        return
    with pytest.raises(SamplesError, match="B02 is about 1002 on vegetation"):
        samples.read("italy_1")
    stored["B04"] -= 900
    write_sen12(tmp_path, "italy_1", stored, start=start)
    samples.read("italy_1")


def test_radar_that_is_lacking_elsewhere_or_linear_is_refused(tmp_path):
    write_sen12(tmp_path, "italy_1", patch(SLOPE=flat(20), CURVATURE=flat(1)))
    with pytest.raises(SamplesError, match="vega7 needs vv_before, vv_after.*aligned"):
        open_folder(tmp_path, "vega7")
    linear = {"VV": flat(0.1, np.float32)}
    write_sen12(tmp_path, "italy_1", linear, sensor="s1asc")
    with pytest.raises(SamplesError, match="VV is mostly above 0: expected decibels"):
        sen12.folder(tmp_path, "vega7").read("italy_1")
    write_sen12(tmp_path, "italy_1", {"VV": -linear["VV"]}, sensor="s1asc", west=755300.0)
    with pytest.raises(SamplesError, match="italy_s1asc_1.nc: lies elsewhere along x"):
        sen12.folder(tmp_path, "vega7").read("italy_1")


def test_a_recipe_that_the_patches_do_not_hold_is_refused_before_any_is_read(tmp_path):
    write_sen12(tmp_path, "italy_1", patch())
    with pytest.raises(SamplesError, match="l4s14 needs B01, B05, .*slope, which the patch"):
        open_folder(tmp_path, "l4s14")
    with pytest.raises(SamplesError, match="tile-minmax"):
        open_folder(tmp_path, "morales10:tile-minmax")


def test_patches_of_unlike_sizes_are_refused(tmp_path):
    write_sen12(tmp_path, "italy_1", patch())
    write_sen12(tmp_path, "italy_2", {name: one[:, :5] for name, one in patch().items()})
    with pytest.raises(SamplesError, match="patches of 5 x 6 px and 8 x 6 px: expected one size"):
        sen12.folder(tmp_path, "ghorb4").arrays()


def test_a_file_that_is_no_netcdf_and_a_missing_package_are_named(tmp_path, monkeypatch):
    write_sen12(tmp_path, "italy_1", patch())
    path = tmp_path / "s2" / "italy_s2_1.nc"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SamplesError, match="italy_s2_1.nc: not a readable NetCDF patch"):
        open_folder(tmp_path, "ghorb4")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"pip install 'lspipe\[train\]'"):
        open_folder(tmp_path, "ghorb4")


# --- one command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_set(tmp_path_factory):
    """Nine small patches with a list of parts; every one of its own ground."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    names = [f"italy_{number}" for number in range(9)]
    for name in names:
        shape = (3, 16, 16)
        stored = {band: rng.integers(200, 2000, shape, dtype=np.int16) for band in BANDS}
        mask = np.zeros(shape, np.uint8)
        mask[:, 4:9, 3:11] = 1
        stored["B08"][2][mask[2] == 1] = 300
        write_sen12(root, name, {**stored, "MASK": mask, "SCL": flat(GREEN, shape=shape)})
    write_splits(root, train=names[:5], val=names[5:7], test=names[7:])
    return root


def test_one_command_trains_on_the_set_and_never_on_its_test_patches(
    whole_set, tmp_path, capsys, monkeypatch
):
    from lspipe.train import course

    given = []

    def stop(asked, training, validation, *_, **__):
        given.extend([asked.recipe, training.names, validation.names])
        raise SamplesError("far enough")

    monkeypatch.setattr(course, "train", stop)
    words = ["--data", str(whole_set), "--protocol", "sen12", "--recipe", "ghorb4:pair"]
    assert main(["model", "train", *words, "--output", str(tmp_path / "mine")]) == 2
    train, watched = ([f"italy_{n}" for n in numbers] for numbers in (range(5), (5, 6)))
    assert given == ["ghorb4:pair", tuple(train), tuple(watched)]
    told = capsys.readouterr().err
    assert "2 patches of part test" in told
    assert told.rstrip().endswith("far enough")
    # A validation of one's own takes the place of that of the set.
    more = [
        "--validation",
        str(whole_set),
        "--train-on",
        "italy",
        "--output",
        str(tmp_path / "a-b"),
    ]
    given.clear()
    assert main(["model", "train", *words, *more]) == 2
    assert given[1:] == [tuple(train), tuple(watched)]


def test_a_model_is_scored_on_the_test_patches_of_the_set(whole_set, capsys):
    words = ["model", "evaluate", "shipped:l4s-rgb", "--data", str(whole_set), "--tta", "none"]
    for more, count in (([], 2), (["--part", "train"], 5)):
        assert main([*words, *more, "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["patches"][0]["patches"] == count
        assert (" ".join(more) in facts["command"]) == bool(more) or not more


def test_another_split_of_a_set_with_parts_is_refused(whole_set, tmp_path, capsys):
    words = ["--data", str(whole_set), "--protocol", "ghorb", "--output", str(tmp_path / "other")]
    assert main(["model", "train", *words, "--split", "random"]) == 2
    assert "has a list of its parts (splits.json)" in capsys.readouterr().err
