"""Paths in an object store, with obstore's store in memory behind them."""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from obstore.store import MemoryStore

from lspipe import outputs
from lspipe.cube.loaders import raster_file
from lspipe.errors import MissingExtra, RemoteError, StoreError, UsageError
from lspipe.evaluate.shapes import read_shapes
from lspipe.machine import bucket as buckets
from lspipe.machine import check_place, copies, remote
from lspipe.machine.remote import RemotePath, place
from lspipe.models.mlm import read_item
from lspipe.runs import handshake, store
from lspipe.runs.copied_log import CopiedLog
from lspipe.runs.events import BlockDone, Note
from lspipe.runs.jobs import BlockResult
from lspipe.runs.log import Log, read_log
from lspipe.runs.store import leases, locks
from lspipe.runs.store.groups import source
from lspipe.runs.store.holders import this_process
from lspipe.samples.chips import read_polygons
from lspipe.search.addresses import _joined
from lspipe.search.item_files import read_items
from lspipe.search.places import item_path

ITEM = {"type": "Feature", "stac_version": "1.0.0", "assets": {}, "id": "a"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> RemotePath:
    """A run directory in an empty bucket, which lives in memory."""
    bucket = MemoryStore()
    monkeypatch.setattr(remote, "bucket_of", lambda *_, **__: bucket)
    monkeypatch.setattr(locks, "SECONDS_BETWEEN_BEATS", 0.05)
    monkeypatch.setattr(locks, "SECONDS_TO_WATCH", 0.4)
    return RemotePath("s3://maps/runs/valley")


# --- as text --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["runs/a", "/runs/a", "s3/a", "a:b", "../s3:x"])
def test_what_is_no_address_is_a_path_of_this_machine(text):
    assert place(text) == Path(text)
    assert not remote.is_remote(place(text))


@pytest.mark.parametrize(
    ("text", "shown", "key"),
    [
        ("s3://maps/runs/a", "s3://maps/runs/a", "runs/a"),
        ("s3://maps/runs//a/", "s3://maps/runs/a", "runs/a"),
        ("gs://maps", "gs://maps", ""),
        ("az://maps/", "az://maps", ""),
    ],
)
def test_an_address_is_a_bucket_and_a_key(text, shown, key):
    path = place(text)
    assert (str(path), path.key) == (shown, key)
    assert path == place(shown)
    assert place(path) is path
    assert pickle.loads(pickle.dumps(path)) == path  # noqa: S301 as dask sends it


@pytest.mark.parametrize("text", ["s3://", "s3:///a", "s3://maps/../a"])
def test_an_address_that_leads_nowhere_is_refused(text):
    with pytest.raises(UsageError, match="expected SCHEME|found \\.\\."):
        place(text)


def test_an_address_that_was_made_a_path_is_refused_with_what_to_do():
    with pytest.raises(UsageError, match="give it as a text"):
        check_place(Path("s3://maps/runs"))


@pytest.mark.parametrize(
    "ask",
    [
        lambda path: path.name,
        lambda path: path.stem,
        lambda path: path.suffix,
        lambda path: path.parent.name,
        lambda path: (path / "x" / "y.json").name,
        lambda path: path.joinpath("x", "y").parent.name,
        lambda path: path.with_name("x.y").name,
        lambda path: path.match("*.tar.*"),
        lambda path: (path / "x").relative_to(path.parent),
    ],
)
def test_its_parts_are_those_of_a_path(ask):
    assert ask(RemotePath("s3://maps/runs/a.tar.gz")) == ask(PurePosixPath("/runs/a.tar.gz"))


def test_no_library_takes_an_address_for_a_file():
    with pytest.raises(TypeError):
        os.fspath(RemotePath("s3://maps/runs"))


def test_without_obstore_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    buckets.bucket_of.cache_clear()
    with pytest.raises(MissingExtra, match=r"lspipe\[objectstore\]"):
        RemotePath("s3://maps/runs").exists()


def test_a_worker_without_obstore_says_what_it_lacks(run, monkeypatch):
    (run / ".hello-1").write_text("1")
    assert handshake._echo(run, "1")[1] == ""
    monkeypatch.setitem(sys.modules, "obstore", None)
    name, why = handshake._echo(run, "1")
    assert name == ""
    assert "pip install 'lspipe[objectstore]'" in why


# --- objects --------------------------------------------------------------------------------------


def test_a_folder_is_there_as_long_as_something_lies_below_it(run):
    file = run / "layers" / "a.tif"
    assert not run.exists()
    file.write_bytes(b"pixels")
    assert run.exists()
    assert run.is_dir()
    assert not run.is_file()
    assert file.is_file()
    assert not file.is_dir()
    assert not (run / "layer").exists()  # a prefix of a name is no folder
    assert [*run.iterdir()] == [run / "layers"]
    assert [*(run / "layers").glob("*.tif")] == [file]
    assert [*run.rglob("*")] == [file]
    assert file.stat().st_size == 6
    file.replace(run / "b.tif").unlink()
    assert not run.exists()
    file.unlink(missing_ok=True)


def test_what_is_not_there_is_said_as_of_a_file(run, tmp_path):
    copy = tmp_path / "copy"
    for ask in (run.read_bytes, run.stat, lambda: run.download(copy)):
        with pytest.raises(FileNotFoundError, match="s3://maps/runs/valley"):
            ask()
    assert not copy.exists()
    with pytest.raises(StoreError, match="is s3://maps/runs/valley a run directory"):
        store.read_json(run / "run.json")


def test_a_document_is_read_as_it_was_written(run):
    content = {"name": "valley", "é": [1, None]}
    store.write_json(run / "run.json", content)
    assert store.read_json(run / "run.json") == content
    assert [path.name for path in run.iterdir()] == ["run.json"]


def test_an_object_is_replaced_only_by_who_knows_its_version(run):
    path = run / ".lock"
    first = path.write_if(b"a", None)
    assert path.write_if(b"b", None) is None
    second = path.write_if(b"b", first)
    assert second is not None
    assert path.write_if(b"c", first) is None
    assert path.read_version() == (b"b", second)


# --- files of this machine ------------------------------------------------------------------------


def test_a_folder_of_outputs_is_stored_with_all_that_is_below_it(run):
    (run / "layers" / "mine.tif").write_bytes(b"of a person")
    with outputs.whole(run / "layers") as partial:
        (partial / "more").mkdir(parents=True)
        (partial / "a.tif").write_bytes(b"a")
        (partial / "more" / "b.tif").write_bytes(b"b")
        assert copies.beside(partial) == run
        assert not (run / "layers" / "a.tif").exists()
    assert not partial.exists()
    assert copies.beside(partial) == partial.parent
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*"))
    assert names == ["layers/a.tif", "layers/mine.tif", "layers/more/b.tif"]


def test_an_output_that_fails_stores_nothing(run):
    def write():
        with outputs.whole(run / "list.csv") as partial:
            partial.write_text("half of")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert not run.exists()


def test_a_copy_on_this_machine_is_there_for_the_while(run):
    (run / "a.gpkg").write_bytes(b"a")
    with copies.local(run / "a.gpkg") as file:
        assert (file.name, file.read_bytes()) == ("a.gpkg", b"a")
    assert not file.exists()


# --- the lock -------------------------------------------------------------------------------------


def test_the_holder_is_told_and_lets_go(run):
    with store.lock(run):
        assert store.holder(run).process == os.getpid()
    assert store.holder(run) is None
    assert (run / ".lock").read_bytes() == b""
    with store.lock(run):
        assert store.is_locked(run)


def test_of_two_processes_the_second_is_refused(run):
    with (
        store.lock(run),
        pytest.raises(StoreError, match=f"in use by process {os.getpid()}"),
        store.lock(run),
    ):
        pass


def test_of_many_that_come_at_once_one_gets_it(run):
    got, at_once, end = [], threading.Barrier(6), threading.Event()

    def work():
        at_once.wait()
        try:
            with store.lock(run):
                got.append(threading.get_ident())
                end.wait(5)
        except StoreError:
            pass

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    threading.Timer(1, end.set).start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_one_that_another_machine_left_is_taken_after_watching(run):
    gone = replace(this_process(), host="another-host", nonce="gone")
    (run / ".lock").write_bytes(gone.as_bytes())
    assert store.holder(run) == gone  # it was heard of a moment ago
    with store.lock(run):
        assert store.holder(run).nonce != "gone"


def test_one_that_was_killed_here_is_taken_at_once(run, monkeypatch):
    monkeypatch.setattr(locks, "SECONDS_TO_WATCH", 1e6)
    (run / ".lock").write_bytes(replace(this_process(), process=2**22 + 1).as_bytes())
    assert store.holder(run) is None
    with store.lock(run):
        assert store.is_locked(run)


def test_who_lost_the_directory_does_not_empty_the_lock_of_another(run, caplog):
    with store.lock(run):
        (run / ".lock").write_bytes(replace(this_process(), nonce="other").as_bytes())
        threading.Event().wait(0.3)
    assert "another process took this directory over" in caplog.text
    assert store.holder(run).nonce == "other"


def test_a_lost_answer_to_the_own_write_is_no_other_process(run, monkeypatch):
    stored = RemotePath.write_if

    def lossy(self, content, version):
        stored(self, content, version)

    monkeypatch.setattr(RemotePath, "write_if", lossy)
    own = this_process()
    version = leases._take(run / ".lock", own, run, watch=0)
    assert (run / ".lock").read_version()[1] == version


# --- the log --------------------------------------------------------------------------------------


def block(number):
    return BlockDone(BlockResult("18GYS", 0, (0, number), 1, 1, 0, 1.0))


def test_a_log_goes_on_where_an_earlier_call_ended(run):
    path = run / "log.jsonl"
    for text in ("first", "second"):
        log = Log(path, lambda _: None)
        log(Note(text))
        assert [event["text"] for event in read_log(path)][-1] == text
        log.close()
    assert [event["text"] for event in read_log(path)] == ["first", "second"]


def test_lines_of_blocks_are_stored_by_and_by_and_all_at_the_end(run, monkeypatch):
    counts = []
    upload = RemotePath.upload
    monkeypatch.setattr(
        RemotePath, "upload", lambda self, file: counts.append(self) or upload(self, file)
    )
    log = Log(run / "log.jsonl", lambda _: None)
    for number in range(50):
        log(block(number))
    assert len(counts) <= 1
    log.close()
    assert len(read_log(run / "log.jsonl")) == 50
    assert not log._copied.file.exists()


def test_a_log_that_cannot_be_stored_now_is_stored_later(run, monkeypatch, caplog):
    upload, fails = RemotePath.upload, [True]

    def refuse(self, file):
        if fails:
            fails.pop()
            raise remote.failed(self, "written", OSError("503"))
        upload(self, file)

    monkeypatch.setattr(RemotePath, "upload", refuse)
    log = Log(run / "log.jsonl", lambda _: None)
    log(Note("a"))
    assert "cannot be written (503)" in caplog.text
    log.close()
    assert [event["text"] for event in read_log(run / "log.jsonl")] == ["a"]


def test_a_line_that_a_kill_cut_off_is_ended_first(run):
    (run / "log.jsonl").write_text('{"event": "note", "text": "a"}\n{"event": "no')
    log = Log(run / "log.jsonl", lambda _: None)
    log(Note("b"))
    log.close()
    assert [event["text"] for event in read_log(run / "log.jsonl")] == ["a", "b"]


def test_an_earlier_log_is_copied_whole(run):
    (run / "log.jsonl").write_text("a\nb\n")
    copied = CopiedLog(run / "log.jsonl")
    assert copied.file.read_text() == "a\nb\n"
    copied.close()


# --- items ----------------------------------------------------------------------------------------


def test_items_are_read_from_a_folder_and_a_file_of_the_store(run):
    (run / "b.json").write_text(json.dumps(ITEM | {"id": "b"}))
    (run / "more" / "a.ndjson").write_text(json.dumps(ITEM) + "\n")
    (run / ".hidden" / "c.json").write_text(json.dumps(ITEM | {"id": "c"}))
    (run / "notes.txt").write_text("no items")
    found = [(item["id"], str(file.relative_to(run))) for item, file in read_items(run)]
    assert found == [("b", "b.json"), ("a", "more/a.ndjson")]
    assert item_path("s3://maps/runs/valley/b.json", Path("here")) == run / "b.json"
    assert [item["id"] for item, _ in read_items(run / "b.json")] == ["b"]


@pytest.mark.parametrize(
    ("href", "address"),
    [
        ("B02.tif", "s3://maps/items/B02.tif"),
        ("../scenes/B02.tif", "s3://maps/scenes/B02.tif"),
        ("/data/B02.tif", "/data/B02.tif"),
    ],
)
def test_a_relative_asset_lies_beside_its_item_in_the_store(href, address):
    assert _joined("s3://maps/items", href) == address


# --- what is told ---------------------------------------------------------------------------------


def test_what_may_be_secret_is_not_in_an_error():
    error = OSError("PUT https://me:word@a.org/b?sig=secret failed\n\nDebug source:\nsecret")
    text = str(remote.failed("s3://maps/a", "written", error))
    assert "PUT https://a.org/b" in text
    assert "secret" not in text
    assert "word" not in text


def test_an_error_of_the_store_is_one_of_a_disk_too_and_comes_back_from_a_worker():
    error = pickle.loads(pickle.dumps(RemoteError("s3://maps: cannot be read")))  # noqa: S301 ours
    assert isinstance(error, OSError)
    assert (str(error), error.errno) == ("s3://maps: cannot be read", None)


@pytest.mark.parametrize("root", ["s3://maps", "gs://maps", "az://maps"])
def test_arrays_of_each_kind_of_store_are_told_and_sent_by_their_address(monkeypatch, root):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "somebody")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "aHVudGVyMg==")
    opened = source(place(f"{root}/runs/detections.zarr"))
    sent = pickle.dumps(opened)
    assert str(pickle.loads(sent)) == str(opened) == f"{root}/runs/detections.zarr"  # noqa: S301 ours
    assert b"aHVudGVyMg" not in sent


KEY_OF_AZURE = {"AZURE_STORAGE_ACCOUNT_NAME": "me", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {}),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"},
            {
                "AWS_S3_ENDPOINT": "127.0.0.1:9000",
                "AWS_HTTPS": "NO",
                "AWS_VIRTUAL_HOSTING": "FALSE",
            },
        ),
        (
            {"AWS_ENDPOINT_URL": "https://s3.example.org/"},
            {
                "AWS_S3_ENDPOINT": "s3.example.org",
                "AWS_HTTPS": "YES",
                "AWS_VIRTUAL_HOSTING": "FALSE",
            },
        ),
        ({"GOOGLE_BASE_URL": "https://a.org"}, {"CPL_GS_ENDPOINT": "https://a.org/"}),
        ({"GOOGLE_SKIP_SIGNATURE": "true"}, {"GS_NO_SIGN_REQUEST": "YES"}),
        (
            {"STORAGE_EMULATOR_HOST": "127.0.0.1:9000"},
            {"CPL_GS_ENDPOINT": "http://127.0.0.1:9000/", "GS_NO_SIGN_REQUEST": "YES"},
        ),
        (
            KEY_OF_AZURE,
            {"AZURE_STORAGE_ACCOUNT": "me", "AZURE_STORAGE_ACCESS_KEY": "a2V5"},
        ),
        (
            {"AZURE_STORAGE_ACCOUNT": "me", "AZURE_STORAGE_ENDPOINT": "https://a.org/me/"},
            {"AZURE_STORAGE_ACCOUNT": "me", "CPL_AZURE_ENDPOINT": "https://a.org/me"},
        ),
    ],
)
def test_gdal_reads_from_the_server_that_obstore_writes_to(monkeypatch, variables, expected):
    for name in (name for names in buckets.ENDPOINTS.values() for name in names):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert buckets.gdal_settings() == expected


@pytest.mark.parametrize(
    ("root", "variables", "expected"),
    [
        ("s3://maps", {"AWS_ENDPOINT_URL": "https://a.org/"}, {"endpoint": "https://a.org"}),
        ("gs://maps", {"GOOGLE_BASE_URL": "https://a.org"}, {"base_url": "https://a.org"}),
        ("gs://maps", {"STORAGE_EMULATOR_HOST": "a:1"}, {"base_url": "http://a:1"}),
        ("az://maps", KEY_OF_AZURE, {"account_name": "me"}),
        ("az://maps", {"AZURE_STORAGE_ACCOUNT": "me"}, {"account_name": "me"}),
        (
            "az://maps",
            KEY_OF_AZURE | {"AZURE_STORAGE_ENDPOINT": "http://a.org/me"},
            {"endpoint": "http://a.org/me"},
        ),
    ],
)
def test_a_bucket_is_that_of_the_server_in_the_environment(monkeypatch, root, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    buckets.bucket_of.cache_clear()
    made = buckets.bucket_of(root)
    buckets.bucket_of.cache_clear()
    assert made.config.items() >= expected.items()
    named = str(expected.get("endpoint") or expected.get("base_url") or "")
    assert bool(made.client_options.get("allow_http")) == named.startswith("http://")


def test_a_version_is_told_to_a_store_by_all_that_is_known_of_it():
    assert remote.Version('"a"', None).as_mode() == {"e_tag": '"a"'}
    # Google's store compares the number, and refuses a write without one.
    assert remote.Version('"a"', "7").as_mode() == {"e_tag": '"a"', "version": "7"}


def test_an_address_is_refused_where_only_a_file_can_be_read():
    for read in (read_polygons, read_shapes, read_item):
        with pytest.raises(UsageError, match="s3://maps/mine.gpkg: found an address.*copy it here"):
            read("s3://maps/mine.gpkg")


@pytest.mark.parametrize(
    ("href", "opened"),
    [
        ("s3://maps/B02.tif", "s3://maps/B02.tif"),
        ("gs://maps/B02.tif", "/vsigs/maps/B02.tif"),
        ("az://maps/a b.tif", "/vsiaz/maps/a b.tif"),
        ("https://a.org/B02.tif", "https://a.org/B02.tif"),
        ("/data/B02.tif", "/data/B02.tif"),
    ],
)
def test_gdal_opens_an_address_by_the_name_of_its_file_system(href, opened):
    assert raster_file.opened_as(href) == opened
