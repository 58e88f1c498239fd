"""Folders of items as people have them: copies, links, side files, and where their assets are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lspipe.errors import CatalogError
from lspipe.search.acquisitions import to_item
from lspipe.search.addresses import locate
from lspipe.search.item_files import read_items


def item(id_="a", href="bands/B04.tif", *, link=None, **facts):
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": id_,
        "geometry": None,
        "properties": {"datetime": "2018-06-01T10:00:00Z", **facts},
        "assets": {"red": {"href": href}},
        "links": [] if link is None else [{"rel": "self", "href": link}],
    }


def write(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(item() if content is None else content), encoding="utf-8")
    return path


def ids(path):
    return [content["id"] for content, _ in read_items(path)]


# --- which files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store", "._a.json", ".a.json", "__MACOSX/._a.json", "__MACOSX/a.json", "Thumbs.db",
        "desktop.ini", "a.json~", "#a.json#", ".ipynb_checkpoints/a.json", ".git/a.json",
        "a.json.part", "a.json.bak",
    ],
)  # fmt: skip
def test_what_systems_and_editors_leave_is_passed_over(name, tmp_path):
    write(tmp_path / "good.json", item("good"))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"\x00\x05\x16\x07 no JSON")
    assert ids(tmp_path) == ["good"]


def test_a_folder_with_a_dot_is_read_where_it_is_asked_for(tmp_path):
    write(tmp_path / ".cache" / "a.json")
    assert ids(tmp_path / ".cache") == ["a"]


def test_linked_folders_are_followed_once_and_in_no_loop(tmp_path):
    archive, here = tmp_path / "archive", tmp_path / "here"
    write(archive / "one" / "a.json")
    here.mkdir()
    (here / "linked").symlink_to(archive)
    (here / "again").symlink_to(archive / "one")
    (archive / "loop").symlink_to(archive)
    (archive / "one" / "up").symlink_to(here)
    assert ids(here) == ["a"]
    assert ids(archive) == ["a"]


def test_a_link_to_nothing_is_an_error_that_names_it(tmp_path):
    write(tmp_path / "a.json")
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere.json")
    with pytest.raises(CatalogError, match=r"gone\.json: cannot be read as STAC items: .*No such"):
        ids(tmp_path)


@pytest.mark.parametrize("content", [b"", b" \n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["cut.json", "cut.ndjson"])
def test_an_empty_file_is_an_error_that_names_it(name, content, tmp_path):
    write(tmp_path / "a.json")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CatalogError, match=f"{name}: .*the file is empty"):
        ids(tmp_path)


def test_a_folder_named_like_a_file_is_a_folder(tmp_path):
    write(tmp_path / "S2A.json" / "a.json")
    assert ids(tmp_path) == ["a"]


# --- what is in them ----------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("name", ["a.json", "a.ndjson"])
def test_every_unicode_is_read_with_or_without_its_mark(name, encoding, tmp_path):
    text = json.dumps(item(title="Palena, Región de Los Lagos"), ensure_ascii=False)
    (tmp_path / name).write_bytes(text.encode(encoding))
    [(content, _)] = read_items(tmp_path / name)
    assert content["properties"]["title"] == "Palena, Región de Los Lagos"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_a_line_feed_ends_a_line(end, tmp_path):
    title = "a\u2028b\u2029c\u0085d"
    lines = [json.dumps(item(name, title=title), ensure_ascii=False) for name in "ab"]
    (tmp_path / "a.ndjson").write_bytes((end.join(lines) + end + end).encode())
    contents = [content for content, _ in read_items(tmp_path / "a.ndjson")]
    assert [content["id"] for content in contents] == ["a", "b"]
    assert contents[0]["properties"]["title"] == title


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "a.ndjson").write_text(json.dumps(item()) + '\n\n{"type": \n')
    with pytest.raises(CatalogError, match=r"a\.ndjson: .*line 3: "):
        ids(tmp_path / "a.ndjson")


def test_a_list_of_items_holds_items(tmp_path):
    write(tmp_path / "a.json", [item("a"), item("b"), 3])
    assert ids(tmp_path / "a.json") == ["a", "b"]


@pytest.mark.parametrize("id_", [None, 7, ""])
def test_an_item_without_a_name_does_no_harm(id_):
    content = item() | {"id": id_}
    if id_ is None:
        del content["id"]
    assert isinstance(to_item(content).id, str)


# --- where the assets are -----------------------------------------------------------------------


def located(href, file, link=None):
    content = item(href=href, link=link)
    made = to_item(content)
    locate(made, content, file)
    return made.assets["red"].href


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


LINKS = [None, "https://stac.example.org/collections/s2/items/a", "../elsewhere/a.json", "/a.json"]


@pytest.mark.parametrize("link", LINKS)
def test_files_are_found_from_the_items_file_whatever_its_self_link(link, tmp_path):
    band, file = touch(tmp_path / "bands/B04.tif"), tmp_path / "items/a.json"
    file.parent.mkdir()
    for href in ("../bands/B04.tif", "./../bands/B04.tif", str(band), band.as_uri()):
        assert located(href, file, link) == str(band)
    missing = tmp_path / "bands/B05.tif"
    for href in ("../bands/B05.tif", str(missing), missing.as_uri()):
        assert located(href, file, link) == str(missing)
    for href in ("https://host/a%20b.tif", "s3://bucket/a.tif", "/vsizip/a.zip/a%20b.tif"):
        assert located(href, file, link) == href


NAMES = ["my data", "100%", "a%20b", "a#1", "a?b=c", "plain", "Región", "a+b", "a&b;c", "%41"]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_found_plain_and_as_a_uri(name, tmp_path):
    band, file = touch(tmp_path / name / "B04.tif"), tmp_path / "a.json"
    uri = band.as_uri()
    quoted = uri.removeprefix(tmp_path.as_uri() + "/")
    hrefs = [f"{name}/B04.tif", quoted, str(band), uri, uri.replace("file:///", "file:/"),
             uri.replace("file:///", "FILE://localhost/"), f"file://{band}"]  # fmt: skip
    assert [located(href, file) for href in hrefs] == [str(band)] * len(hrefs)


def test_of_two_readings_a_plain_path_is_the_name_and_a_uri_is_a_uri(tmp_path):
    plain, decoded = touch(tmp_path / "a%20b.tif"), touch(tmp_path / "a b.tif")
    assert located("a%20b.tif", tmp_path / "a.json") == str(plain)
    assert located(f"file://{tmp_path}/a%20b.tif", tmp_path / "a.json") == str(decoded)


def test_a_query_behind_a_path_is_no_name(tmp_path):
    band = touch(tmp_path / "my data/B04.tif")
    assert located("my%20data/B04.tif?versionId=3#x", tmp_path / "a.json") == str(band)


def test_a_file_that_is_not_there_yet_is_the_uri_it_ought_to_be(tmp_path):
    assert located("my%20data/B04.tif", tmp_path / "a.json") == str(tmp_path / "my data/B04.tif")


@pytest.mark.parametrize("is_beside_link", [True, False])
def test_a_linked_item_finds_its_bands_on_either_side(is_beside_link, tmp_path):
    write(tmp_path / "archive/a.json")
    link = tmp_path / "here/a.json"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "archive/a.json")
    band = touch(tmp_path / ("here" if is_beside_link else "archive") / "bands/B04.tif")
    assert located("bands/B04.tif", link) == str(band)


def test_the_way_up_from_a_linked_folder_is_that_of_the_folder_itself(tmp_path):
    band = touch(tmp_path / "archive/bands/B04.tif")
    (tmp_path / "archive/items").mkdir()
    (tmp_path / "items").symlink_to(tmp_path / "archive/items")
    assert located("../bands/B04.tif", tmp_path / "items/a.json") == str(band)


@pytest.mark.parametrize(
    "href",
    [
        "C:\\data\\B04.tif",
        "C:/data/B04.tif",
        "c:\\B04.tif",
        "\\\\server\\share\\B04.tif",
        "file:///C:/data/B04.tif",
        "file://C:/data/B04.tif",
    ],
)
def test_a_path_of_windows_is_refused_by_name(href, tmp_path):
    with pytest.raises(CatalogError, match="red of a: found .*a path of Windows") as failure:
        located(href, tmp_path / "a.json")
    assert repr(href) in str(failure.value)
    assert "a.json" in str(failure.value)


def test_a_relative_path_of_windows_is_read(tmp_path):
    band = touch(tmp_path / "bands/B04.tif")
    assert located("..\\bands\\B04.tif", tmp_path / "items/a.json") == str(band)


def test_a_file_of_another_machine_is_refused_by_name(tmp_path):
    with pytest.raises(CatalogError, match="red of a: .*a file of the machine 'nas'"):
        located("file://nas/share/B04.tif", tmp_path / "a.json")


def test_addresses_do_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    band = touch(tmp_path / "items/bands/B04.tif")
    monkeypatch.chdir(tmp_path)
    assert located("bands/B04.tif", Path("items/a.json")) == str(band)
    assert Path(located("bands/B05.tif", Path("items/a.json"))).is_absolute()
