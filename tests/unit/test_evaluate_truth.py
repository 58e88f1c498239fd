"""A list compared with the landslides that are known."""

from types import SimpleNamespace

import geopandas as gpd
import pytest
import shapely

from lspipe.errors import WorkflowError
from lspipe.evaluate.truth import known_landslides, score_list

WEST, NORTH, EPSG = 699960, 5200000, 32718


def square(x, y, size):
    return shapely.box(x, y, x + size, y + size)


def table(*outlines, status="new"):
    return gpd.GeoDataFrame({"status": [status] * len(outlines)}, geometry=list(outlines), crs=EPSG)


KNOWN = [square(WEST, NORTH, 100), square(WEST + 500, NORTH, 100)]
SMALL_INSIDE = square(WEST + 10, NORTH + 10, 20)
JUST_TOO_LITTLE = square(WEST + 91, NORTH, 100)
JUST_ENOUGH = square(WEST + 80, NORTH, 100)  # IoU 0.111
ELSEWHERE = square(WEST + 2000, NORTH, 100)


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (table(*KNOWN), (2, 2, 2, 2)),
        (table(SMALL_INSIDE), (1, 2, 1, 1)),
        (table(JUST_ENOUGH, SMALL_INSIDE), (1, 2, 2, 2)),
        (table(JUST_TOO_LITTLE, ELSEWHERE), (0, 2, 0, 2)),
        (table(*KNOWN, status="persistent"), (0, 2, 0, 0)),
        (table(*KNOWN, status="detected"), (2, 2, 2, 2)),
        (table(*KNOWN).drop(columns="status"), (2, 2, 2, 2)),
        (table(shapely.box(WEST, NORTH, WEST + 600, NORTH + 100)), (2, 2, 1, 1)),
        (table(), (0, 2, 0, 0)),
    ],
)
def test_matches_are_counted_by_overlap_or_by_share_inside(listed, expected):
    truth = table(*KNOWN).drop(columns="status").to_crs(4326)
    assert score_list(listed, truth) == (*expected, 0)


@pytest.mark.parametrize(
    ("gaps", "hidden"),
    [
        ([], 0),
        ([square(WEST + 490, NORTH, 200)], 1),
        # Two dates, of which each hides the same.
        ([shapely.box(WEST + 500, NORTH, WEST + 545, NORTH + 100)] * 2, 0),
        # Two that hide half and a little together.
        (
            [
                shapely.box(WEST + 500, NORTH, WEST + 530, NORTH + 100),
                shapely.box(WEST + 575, NORTH, WEST + 610, NORTH + 100),
            ],
            1,
        ),
        # A landslide that was found is not hidden, whatever lies over it.
        ([square(WEST, NORTH, 100)], 0),
    ],
)
def test_a_known_landslide_that_could_not_be_seen_is_counted_as_such(gaps, hidden):
    unobserved = table(*gaps).to_crs(4326)
    score = score_list(table(KNOWN[0]), table(*KNOWN), unobserved)
    assert score == (1, 2, 1, 1, hidden)


def asked(path):
    return SimpleNamespace(truth=path)


def test_a_workflow_without_a_truth_has_none():
    assert known_landslides(asked(None)) is None


def test_known_landslides_are_read_with_their_crs(tmp_path):
    table(*KNOWN).to_file(tmp_path / "known.gpkg")
    read = known_landslides(asked(tmp_path / "known.gpkg"))
    assert (len(read), read.crs.to_epsg()) == (2, EPSG)


def write_points(path):
    table(*KNOWN).set_geometry(table(*KNOWN).centroid).to_file(path)


def write_without_crs(path):
    table(*KNOWN).set_crs(None, allow_override=True).to_file(path)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("gone.geojson", lambda _: None, "which is no file"),
        ("text.geojson", lambda path: path.write_text("no map"), "which cannot be read"),
        ("points.gpkg", write_points, "with Point, expected polygons"),
        ("table.csv", lambda path: path.write_text("a,b\n1,2\n"), "with no shapes"),
        ("nowhere.shp", write_without_crs, "without a CRS"),
    ],
)
def test_a_truth_that_cannot_be_used_is_refused_with_its_key(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(WorkflowError, match=f"evaluate.truth: found {tmp_path / name}.*{message}"):
        known_landslides(asked(tmp_path / name))
