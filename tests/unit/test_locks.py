"""One process at a time in a run directory, on one machine and between several."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest

from lspipe.errors import StoreError
from lspipe.runs import store
from lspipe.runs.store import locks
from lspipe.runs.store.locks import Holder

ELSEWHERE = Holder("another-host", 4711, "nonce", "2026-11-29T10:00:00+00:00")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(locks, "SECONDS_BETWEEN_BEATS", 0.05)
    monkeypatch.setattr(locks, "SECONDS_TO_WATCH", 0.4)
    monkeypatch.setattr(locks, "SECONDS_TO_SETTLE", 0.1)


def write(run, holder, beat=0, age=0.0):
    last = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()
    path = run / ".lock"
    path.touch()
    # In place: a reader must not find it empty, which says that nobody works.
    with path.open("r+b") as file:
        line = json.dumps(asdict(holder) | {"beat": beat, "last": last}).encode()
        file.write(line.ljust(511) + b"\n")


def beating(run, holder, seconds):
    """Beat as a process of another machine does."""

    def work():
        until, beat = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            write(run, holder, beat := beat + 1)
            time.sleep(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture(params=[True, False], ids=["flock", "no locks"])
def has_locks(request, monkeypatch):
    if not request.param:

        def refuse(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
    return request.param


@pytest.mark.usefixtures("has_locks")
def test_the_file_says_who_works_and_that_it_lives(tmp_path):
    with store.lock(tmp_path):
        found = store.holder(tmp_path)
        assert (found.host, found.process) == (socket.gethostname(), os.getpid())
        until = time.monotonic() + 10
        while store.holder(tmp_path).beat < 3:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert (tmp_path / ".lock").read_bytes() == b""
    assert store.holder(tmp_path) is None


@pytest.mark.usefixtures("has_locks")
def test_a_directory_in_which_another_machine_works_is_refused(tmp_path):
    write(tmp_path, ELSEWHERE)
    thread = beating(tmp_path, ELSEWHERE, 2)
    try:
        with pytest.raises(StoreError, match="in use by process 4711 on another-host"):
            store.lock(tmp_path).__enter__()
    finally:
        thread.join()


@pytest.mark.usefixtures("has_locks")
def test_what_another_machine_left_when_it_was_killed_is_taken_over(tmp_path, caplog):
    write(tmp_path, ELSEWHERE, age=9999)
    with store.lock(tmp_path):
        assert store.holder(tmp_path).process == os.getpid()
    assert "process 4711 on another-host did not say that it ended" in caplog.text


def test_without_locks_what_a_dead_process_of_this_machine_left_is_taken_at_once(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(fcntl, "flock", _no_locks)
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    write(tmp_path, Holder(socket.gethostname(), dead.pid, "nonce", ""))
    with store.lock(tmp_path):
        pass
    assert caplog.text == ""


def _no_locks(*_):
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def test_without_locks_the_later_of_two_that_take_it_at_once_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", _no_locks)
    monkeypatch.setattr(locks.time, "sleep", lambda _: write(tmp_path, ELSEWHERE, beat=1))
    with pytest.raises(StoreError, match="in use by process 4711"):
        store.lock(tmp_path).__enter__()


def test_a_file_system_without_locks_is_not_called_in_use(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", _no_locks)
    with store.lock(tmp_path):
        assert store.is_locked(tmp_path)
    assert not store.is_locked(tmp_path)


def test_another_trouble_with_the_disk_is_told_as_it_is(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Stale file handle"):
        store.lock(tmp_path).__enter__()


@pytest.mark.parametrize(("age", "is_locked"), [(1, True), (30, True), (90, False), (-90, False)])
def test_status_tells_a_live_run_of_another_machine_from_a_dead_one(tmp_path, age, is_locked):
    write(tmp_path, ELSEWHERE, age=age)
    assert store.is_locked(tmp_path) is is_locked


def test_what_an_earlier_lspipe_wrote_in_the_file_is_no_obstacle(tmp_path):
    (tmp_path / ".lock").write_text("process 17 on somewhere")
    with store.lock(tmp_path):
        pass


def test_a_process_that_lost_the_directory_does_not_beat_into_that_of_the_other(tmp_path, caplog):
    with store.lock(tmp_path):
        write(tmp_path, ELSEWHERE, beat=7)
        until = time.monotonic() + 10
        while "took this directory over" not in caplog.text:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert json.loads((tmp_path / ".lock").read_text())["nonce"] == "nonce"
