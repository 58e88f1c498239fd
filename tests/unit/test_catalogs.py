"""`catalogs`: the same facts, however a catalogue spells them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier, Event
from types import SimpleNamespace

import pystac
import pytest

from lspipe import catalogs
from lspipe.catalogs import signing
from lspipe.errors import CatalogError, MissingExtra
from lspipe.search.acquisitions import to_item

L1C_PRODUCT = "S2A_MSIL1C_20200717T221941_N0209_R029_T01LAC_20200717T234135"


def item(id_="X", assets=(), links=(), collection=None, **properties):
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": id_,
        "collection": collection,
        "geometry": {"type": "Point", "coordinates": [0, 0]},
        "bbox": [0, 0, 0, 0],
        "properties": {"datetime": "2018-03-31T23:59:59.999Z", **properties},
        "assets": {key: {"href": f"{key}.tif"} for key in assets},
        "links": [{"rel": "self", "href": href} for href in links],
    }


@pytest.fixture(scope="module")
def real_items(real_data):
    folder = real_data / "stac_items"
    entries = json.loads((folder / "manifest.json").read_text())
    by_id = {}
    for path in sorted(folder.glob("*/*/*.json")):
        content = json.loads(path.read_text())
        by_id[path.parts[-3], path.parts[-2], content["id"]] = content
    return [(entry, by_id[entry["api"], entry["collection"], entry["id"]]) for entry in entries]


# --- asset names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["red", "red_20m", "red_60m"], {"B04": "red"}),  # stactools: suffixed = resampled
        (["red-jp2", "red"], {"B04": "red"}),  # Earth Search: the COG before its twin
        (["red-jp2"], {"B04": "red-jp2"}),
        (["B04_20m", "B04_10m", "B04_60m"], {"B04": "B04_10m"}),  # CDSE: suffix = pixel size
        (["B8A_60m", "B8A_20m", "SCL_60m", "SCL_20m"], {"B8A": "B8A_20m", "SCL": "SCL_20m"}),
        (["B01_20m", "B01_60m"], {"B01": "B01_60m"}),
        (["B04_20m", "B04_60m"], {}),  # only resampled copies: the band is not there
        (["B04", "B04_10m"], {"B04": "B04"}),
        (["nir", "nir08", "nir09"], {"B08": "nir", "B8A": "nir08", "B09": "nir09"}),
        (["visual", "TCI_10m", "AOT", "aot_10m", "WVP_10m", "preview", "B99", "thumbnail"], {}),
        (["scl", "B12", "swir22", "B02"], {"B02": "B02", "B12": "B12", "SCL": "scl"}),
    ],
)
def test_each_band_is_found_once_at_its_native_size(keys, expected):
    assert catalogs.band_assets(item(assets=keys)) == expected
    assert list(catalogs.band_assets(item(assets=keys))) == list(expected)  # in product order


@pytest.mark.real
def test_real_items_have_every_band_at_its_native_pixel_size(real_items):
    checked = 0
    for entry, content in real_items:
        if not (entry["collection"] or "").startswith(("sentinel-2-l", "sentinel-2-c1", "s2-")):
            continue
        found = catalogs.band_assets(content)
        for band, key in found.items():
            asset = content["assets"][key]
            transform = asset.get("proj:transform")
            if transform is not None:
                assert transform[0] == catalogs.NATIVE_RESOLUTION[band], (entry["id"], key)
                checked += 1
        if found:
            is_l1c = "l1c" in entry["collection"]
            expected = set(catalogs.NATIVE_RESOLUTION) - ({"SCL"} if is_l1c else {"B10"})
            assert set(found) == expected, entry["id"]
    assert checked > 400


# --- where an item comes from -------------------------------------------------------------------


@pytest.mark.real
def test_every_real_item_is_known_by_its_catalogue(real_items):
    expected = {
        "earth-search-v0": "earth-search",
        "earth-search-v1": "earth-search",
        "planetary-computer": "planetary-computer",
        "cdse": "cdse",
        "other": "generic",
        "planetary-computer-staging": "generic",
    }
    for entry, content in real_items:
        assert catalogs.catalog_of(content).name == expected[entry["api"]], entry["id"]


def test_a_copy_on_disk_keeps_its_catalogue_through_its_properties():
    copy = item(assets=["red"], **{"earthsearch:boa_offset_applied": False})
    assert catalogs.catalog_of(copy).name == "earth-search"
    assert catalogs.catalog_of(item(assets=["B04"])) is catalogs.GENERIC


def test_facts_are_read_without_touching_the_network(monkeypatch):
    # pystac follows root links when an address is asked for politely.
    def refuse(*_args, **_kwargs):
        raise AssertionError("network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    content = item(assets=["B04"], links=["https://planetarycomputer.microsoft.com/x"])
    content["links"].append({"rel": "root", "href": "https://planetarycomputer.microsoft.com/"})
    found = pystac.Item.from_dict(content)
    assert catalogs.catalog_of(found).name == "planetary-computer"
    assert catalogs.band_assets(found) == {"B04": "B04"}


# --- what an item tells -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (item(**{"s2:processing_baseline": "05.09"}), (5, 9)),
        (item(**{"s2:processing_baseline": 5.09}), (5, 9)),  # a table made it a number
        (item(**{"sentinel:processing_baseline": "02.14"}), (2, 14)),
        (item(**{"processing:version": "05.00"}), (5, 0)),
        (item(**{"s2:processing_baseline": "99.99"}), (99, 99)),
        (item(**{"s2:processing_baseline": "N0400"}), (4, 0)),
        (item(**{"processing:version": "2.11.0"}), None),  # a version of something else
        (item("S2B_MSIL2A_20200322T074609_N0500_R135_T36NYH_20230612T214223"), (5, 0)),
        # Planetary Computer leaves the baseline out of the id
        (item("S2B_MSIL2A_20220612T182919_R027_T24XWR_20220613T123251"), None),
        (
            item(**{"s2:product_uri": f"{L1C_PRODUCT}.SAFE"}),
            (2, 9),
        ),
        (item(), None),
    ],
)  # fmt: skip
def test_baselines_are_integers(content, expected):
    assert catalogs.baseline(content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (item(**{"grid:code": "MGRS-18GYS"}), "18GYS"),
        (item(**{"s2:mgrs_tile": "35XQA"}), "35XQA"),
        (
            item(**{"mgrs:utm_zone": 1, "mgrs:latitude_band": "L", "mgrs:grid_square": "AC"}),
            "01LAC",
        ),
        (
            item(**{
                "sentinel:utm_zone": 20, "sentinel:latitude_band": "E", "sentinel:grid_square": "PT"
            }),
            "20EPT",
        ),
        (item("S2A_MSIL2A_20190101T000001_R116_T58UFE_20201007T214651"), "58UFE"),
        (item("S2B_20EPT_20250731_0_L2A"), "20EPT"),
        (item("S2A_1LAC_20200717_0_L2A"), "01LAC"),
        (item("S2B_T24MVV_20250731T130245_L2A"), "24MVV"),
        (item("S1A_IW_GRDH_1SDV_20210809T173953"), None),  # "1SDV" reads as zone 1
        (item(**{"grid:code": "CDEM-S90W171"}), None),
        (item(), None),
    ],
)  # fmt: skip
def test_tiles_are_five_characters(content, expected):
    assert catalogs.mgrs_tile(content) == expected


def test_platform_is_lower_case_and_no_satellite_is_left_out():
    assert catalogs.platform(item(platform="Sentinel-2B")) == "sentinel-2b"
    assert catalogs.platform(item("S2D_T24MVV_20270731T130245_L2A")) == "sentinel-2d"
    assert catalogs.platform(item()) is None
    assert catalogs.is_sentinel2(item(platform="Sentinel-2C"))
    assert not catalogs.is_sentinel2(item(platform="sentinel-1a"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (item("S2A_18GYS_20180131_0_L2A"), "L2A"),
        (item(L1C_PRODUCT), "L1C"),
        (item("X", **{"s2:product_type": "S2MSI1C"}), "L1C"),
        (item("X", **{"processing:level": "Level-2A"}), "L2A"),
        # What the item says of itself beats the name of its collection.
        (item("X", collection="sentinel-2-l1c", **{"processing:level": "L2A"}), "L2A"),
        (item("X", collection="sentinel-2-l1c"), "L1C"),
        (item("S2A_18GYS_20180131"), None),
        (item("S2C_31TCA", **{"processing:level": "L3"}), None),
    ],
)
def test_the_level_is_told_however_it_is_written(content, expected):
    assert catalogs.level(content) == expected


def test_real_items_are_of_the_level_of_their_collection(real_items):
    told = {(content["collection"][-3:], catalogs.level(content)) for _, content in real_items}
    assert {("l2a", "L2A"), ("l1c", "L1C")} <= told
    assert not {("l2a", "L1C"), ("l1c", "L2A"), ("l2a", None), ("l1c", None)} & told


def test_sensing_time_is_utc():
    expected = datetime(2018, 3, 31, 23, 59, 59, 999000, tzinfo=UTC)
    assert catalogs.sensing_time(item()) == expected
    assert catalogs.sensing_time(item(datetime="2018-04-01T01:59:59.999+02:00")) == expected
    range_ = item(datetime=None, start_datetime="2018-03-31T23:59:59.999")
    assert catalogs.sensing_time(range_) == expected
    with pytest.raises(CatalogError, match="X: no datetime"):
        catalogs.sensing_time(item(datetime=None))


def test_the_datatake_is_the_same_in_every_catalogue():
    for content in (
        item(**{"s2:datatake_id": "GS2A_20190101T000001_018417_N02.12"}),
        item(**{"eopf:datatake_id": "GS2A_20190101T000001_018417_N05.00"}),
        item("S2A_MSIL2A_20190101T000001_R116_T58UFE_20201007T214651"),
    ):
        assert catalogs.datatake_start(content) == "20190101T000001"


@pytest.mark.real
def test_real_facts_agree_with_the_manifest(real_items):
    for entry, content in real_items:
        for form in (content, to_item(content)):
            if catalogs.is_sentinel2(form) and entry["baseline"] is not None:
                written = "{:02d}.{:02d}".format(*catalogs.baseline(form))
                assert written == entry["baseline"], entry["id"]
            assert catalogs.sensing_time(form) == catalogs.read_time(entry["datetime"])
    tiles = {catalogs.mgrs_tile(c) for _, c in real_items if catalogs.is_sentinel2(c)}
    assert None not in tiles


# --- signing ------------------------------------------------------------------------------------


PLANETARY = catalogs.CATALOGS["planetary-computer"]
BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/x.tif"


@pytest.fixture
def signer(monkeypatch):
    """The package that asks Planetary Computer, without its network."""
    asked = []
    cache = {}

    def get_token(account, container, **tries):
        asked.append((account, container, tries))
        fresh = SimpleNamespace(token=f"se=then&sig=of-{len(asked)}")
        return cache.setdefault(f"{account}/{container}", fresh)

    sas = SimpleNamespace(TOKEN_CACHE=cache, get_token=get_token, asked=asked)
    monkeypatch.setitem(sys.modules, "planetary_computer", SimpleNamespace(sas=sas))
    return sas


def test_only_planetary_computer_addresses_are_signed(monkeypatch):
    monkeypatch.setitem(sys.modules, "planetary_computer", None)  # import fails
    with pytest.raises(MissingExtra, match=r"lspipe\[planetary-computer\]"):
        catalogs.sign(BLOB, PLANETARY)
    assert catalogs.sign("/archive/x.tif", PLANETARY) == "/archive/x.tif"
    elsewhere = "https://host/x.tif?from=blob.core.windows.net"
    assert catalogs.sign(elsewhere, PLANETARY) == elsewhere
    for other in (catalogs.CATALOGS["cdse"], catalogs.CATALOGS["earth-search"], catalogs.GENERIC):
        assert catalogs.sign("https://host/x.tif?a=b", other) == "https://host/x.tif?a=b"


def test_a_signature_is_kept_until_it_is_refused(signer):
    first = catalogs.sign(BLOB, PLANETARY)
    assert first == f"{BLOB}?se=then&sig=of-1"
    assert catalogs.sign(BLOB.replace("x.tif", "y/z.tif"), PLANETARY).endswith(
        "z.tif?se=then&sig=of-1"
    )
    assert catalogs.sign(BLOB, PLANETARY, refused=first).endswith("sig=of-3")
    assert [place[:2] for place in signer.asked] == [("sentinel2l2a01", "sentinel2-l2")] * 3
    assert catalogs.sign("/archive/x.tif", PLANETARY, refused="/archive/x.tif") == "/archive/x.tif"


def test_bands_that_are_refused_together_share_the_next_signature(signer):
    refused = catalogs.sign(BLOB, PLANETARY)
    first = catalogs.sign(BLOB, PLANETARY, refused=refused)
    assert catalogs.sign(BLOB, PLANETARY, refused=refused) == first != refused
    assert [token.token in first for token in signer.TOKEN_CACHE.values()] == [True]


def ten_at_once(function):
    """Call it in ten threads that begin together; return what each returned or raised."""
    together = Barrier(10)

    def call(_):
        together.wait()
        try:
            return function()
        except catalogs.UnsignedError as error:
            return str(error)

    with ThreadPoolExecutor(10) as pool:
        return list(pool.map(call, range(10)))


def test_bands_that_are_read_together_ask_for_one_signature(signer):
    def get_token(_account, container, **_tries):
        if container not in signer.TOKEN_CACHE:
            signer.asked.append(container)
            time.sleep(0.1)  # as long as a network takes, so that the others have come
            signer.TOKEN_CACHE[container] = SimpleNamespace(token=f"sig={len(signer.asked)}")
        return signer.TOKEN_CACHE[container]

    signer.get_token = get_token
    assert ten_at_once(lambda: catalogs.sign(BLOB, PLANETARY)) == [f"{BLOB}?sig=1"] * 10
    again = ten_at_once(lambda: catalogs.sign(BLOB, PLANETARY, refused=f"{BLOB}?sig=1"))
    assert again == [f"{BLOB}?sig=2"] * 10


def test_bands_that_wait_for_a_signature_fail_with_the_one_that_asked(signer):
    def get_token(*_args, **_tries):
        signer.asked.append("in vain")
        time.sleep(1)  # as long as tries take, so that the others have come
        raise OSError("too many 503 error responses")

    signer.get_token = get_token
    told = ten_at_once(lambda: catalogs.sign(BLOB, PLANETARY))
    assert set(told) == {"its link cannot be signed: the signer answers HTTP 503"}
    assert len(signer.asked) == 1
    with pytest.raises(catalogs.UnsignedError):
        catalogs.sign(BLOB, PLANETARY)
    assert len(signer.asked) == 2  # later it is asked again


def test_who_waited_while_one_failed_uses_what_another_got_since(signer, monkeypatch):
    # It begins at 0 and fails at 5; another begins at 6; one that began at 1 comes last.
    moments = iter([0, 5, 6, 1])
    monkeypatch.setattr(signing, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    monkeypatch.setattr(signing, "_desks", {})
    get_token, signer.get_token = signer.get_token, refused_by_the_signer
    with pytest.raises(catalogs.UnsignedError):
        catalogs.sign(BLOB, PLANETARY)
    signer.get_token = get_token
    assert catalogs.sign(BLOB, PLANETARY) == catalogs.sign(BLOB, PLANETARY)


def refused_by_the_signer(*_args, **_tries):
    raise OSError("too many 503 error responses")


def test_a_container_that_is_refused_holds_up_no_other(signer):
    is_asked, may_fail = Event(), Event()

    def get_token(_account, container, **_tries):
        if container == "sentinel-1-rtc":
            is_asked.set()
            assert may_fail.wait(60)
            raise OSError("too many 403 error responses")
        return SimpleNamespace(token="sig=kept")  # noqa: S106 - made up

    signer.get_token = get_token
    other = BLOB.replace("sentinel2-l2", "sentinel-1-rtc")
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(catalogs.sign, other, PLANETARY)
        assert is_asked.wait(60)
        assert catalogs.sign(BLOB, PLANETARY) == f"{BLOB}?sig=kept"
        may_fail.set()
        with pytest.raises(catalogs.UnsignedError, match="HTTP 403"):
            refused.result()


def test_a_link_that_came_with_its_signature_is_signed_when_it_is_refused(signer):
    signed = f"{BLOB}?st=a&se=b&sp=rl&sig=old"
    assert catalogs.sign(signed, PLANETARY) == signed
    assert signer.asked == []
    assert catalogs.sign(signed, PLANETARY, refused=signed) == f"{BLOB}?se=then&sig=of-1"


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (OSError("Max retries exceeded (too many 503 error responses)"), "answers HTTP 503"),
        (ConnectionRefusedError("https://signer/?key=hunter2"), "cannot be reached"),
        (ValueError("input_value={'token': 'sig=hunter2'}"), "answer is no token"),
        (TypeError("argument after ** must be a mapping, not list"), "answer is no token"),
    ],
)
def test_a_signer_that_fails_is_said_without_what_is_secret(signer, failure, said):
    def get_token(*_args, **_tries):
        raise failure

    signer.get_token = get_token
    with pytest.raises(
        catalogs.UnsignedError, match=f"cannot be signed: the signer.* {said}"
    ) as caught:
        catalogs.sign(BLOB, PLANETARY)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_importing_needs_numpy_only():
    heavy = ("pystac", "dask", "xarray", "geopandas", "shapely", "rasterio", "scipy", "pydantic")
    code = (
        "import sys, lspipe.errors, lspipe.schema\n"
        "before = set(sys.modules)\n"
        "import lspipe.catalogs, lspipe.preprocess\n"
        f"print([n for n in {heavy} if n in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
