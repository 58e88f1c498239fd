"""Submitting: how much is in flight, what is retried, what a failure stops and what it does not."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import dask
import pytest
from distributed import Client, Scheduler, SpecCluster, Worker, get_worker
from distributed.scheduler import KilledWorker

from lspipe.errors import ClusterError, InferenceError, LoadError, ModelError
from lspipe.machine import kept_environment
from lspipe.runs import stream
from lspipe.runs.events import Failure
from lspipe.runs.stream import BlockTasks, Endings, compute
from lspipe.runs.tries import Tries
from tests.crews import Everyone


@pytest.fixture(scope="module")
def client():
    """Two workers of one thread in this process; not the default client, which is not to matter."""
    with own_client() as running:
        yield running


def own_client():
    return Client(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        dashboard_address="127.0.0.1:0",
        set_as_default=False,
    )


# What blocks do. At the top of the module, where workers, which are threads here, share its state.

TRIES: Counter[str] = Counter()
ENTERED, RELEASE, GATE = threading.Event(), threading.Event(), threading.Event()


@dataclass(frozen=True)
class Done:
    """As much of a `BlockResult` as counting needs."""

    name: str


def name(tile, column):
    return Done(f"{tile}{column}")


def unreadable_in_the_middle(tile, column):
    if column == 1:
        raise LoadError("S2A_18GYS", "swir16", "HTTP 404")
    return name(tile, column)


def out_of_memory(tile, column):
    raise InferenceError(f"window at row 0, column {column} of {tile}: out of memory")


def unforeseen(tile, column):
    raise ZeroDivisionError(f"{tile}{column}")


def fails_twice(tile, column):
    TRIES[tile] += 1
    if TRIES[tile] <= 2:
        raise LoadError("S2A_18GYS", "red", "HTTP 503")
    return name(tile, column)


def needs(read):
    return Done(f"needs {read.name}")


def wrong_model(tile, column):
    raise ModelError(f"demo.safetensors: sha256 differs ({tile}{column})")


def waits(tile, column):
    ENTERED.set()
    RELEASE.wait(30)
    return name(tile, column)


def gated(tile, column):
    GATE.wait(30)
    return name(tile, column)


def batch(tile, work=name, *, step=0, count=3, on_build=lambda: None):
    """A batch of `count` blocks, each of which does `work(tile, column)`."""

    def build(slot):
        del slot
        on_build()
        return [dask.delayed(work, pure=False)(tile, column) for column in range(count)]

    return BlockTasks(tile, blocks_of(count, step=step), build)


def blocks_of(count, *, step=0):
    return tuple((step, (0, column)) for column in range(count))


def run(client, batches, *, retries=0, max_in_flight=None):
    events = []
    outcome = compute(
        client,
        batches,
        crew=Everyone(client),
        retries=retries,
        max_in_flight=max_in_flight,
        report=lambda event: events.append((event.kind, getattr(event, "result", event).__dict__)),
    )
    return outcome, events


def test_every_block_is_done_and_reported_once(client):
    outcome, events = run(client, [batch("A"), batch("B")])
    assert (outcome.done, outcome.failures) == (6, [])
    assert {event for event, _ in events} == {"block"}
    assert sorted(facts["name"] for _, facts in events) == ["A0", "A1", "A2", "B0", "B1", "B2"]


def test_a_block_that_is_submitted_is_named_as_one_that_is_done(client, caplog):
    with caplog.at_level(logging.INFO, logger="lspipe"):
        run(client, [batch("18GYS", step=1, count=2)])
    told = [record.message for record in caplog.records if "submitted" in record.message]
    assert told == [f"block (0, {column}) of 18GYS, date 2: submitted" for column in (0, 1)]


def test_no_batches_end_at_once(client):
    outcome, events = run(client, [])
    assert (outcome.done, outcome.failures, events) == (0, [], [])


@pytest.mark.parametrize(
    ("limit", "first"),
    # Auto is three blocks for each of two workers.
    [(1, [0]), (4, [0, 3]), (None, [0, 3]), (7, [0, 3, 6])],
)
def test_no_batch_is_built_while_enough_blocks_are_in_flight(client, limit, first):
    submitted = ended = 0
    in_flight = []

    def on_build():
        nonlocal submitted
        in_flight.append(submitted - ended)
        submitted += 3

    def report(_):
        nonlocal ended
        ended += 1

    batches = [batch("A", step=step, on_build=on_build) for step in range(6)]
    outcome = compute(
        client,
        batches,
        crew=Everyone(client),
        retries=0,
        max_in_flight=limit,
        report=report,
    )
    assert (outcome.done, len(in_flight)) == (18, 6)
    # What there is room for is submitted at once, and never more.
    assert in_flight[: len(first)] == first
    assert max(in_flight) < (limit or 6)


def test_a_reason_to_stop_ends_it_and_no_other_batch_is_built(client):
    built, done = [], []
    batches = [batch("A", step=step, on_build=lambda: built.append(1)) for step in range(9)]
    outcome = compute(
        client,
        batches,
        crew=Everyone(client),
        retries=0,
        max_in_flight=1,
        report=lambda event: done.append(event.kind),
        why_stop=lambda: "all is spent" if done.count("block") >= 4 else "",
    )
    assert (outcome.stopped, outcome.is_over_budget) == ("all is spent", True)
    assert (outcome.done, done[-1]) == (4, "note")
    assert len(built) == 2


def test_a_reason_to_stop_after_the_last_block_is_none(client):
    events = []
    outcome = compute(
        client,
        [batch("A")],
        crew=Everyone(client),
        retries=0,
        max_in_flight=None,
        report=events.append,
        why_stop=lambda: "all is spent" if len(events) == 3 else "",
    )
    assert (outcome.done, outcome.stopped, outcome.is_over_budget) == (3, "", False)


def test_batches_start_in_their_order(client):
    built = []
    batches = [
        batch("A", step=step, on_build=lambda step=step: built.append(step)) for step in range(4)
    ]
    run(client, batches, max_in_flight=1)
    assert built == [0, 1, 2, 3]


def test_a_failed_block_is_recorded_and_the_others_go_on(client):
    outcome, events = run(
        client,
        [
            batch("A", unreadable_in_the_middle, step=1),
            batch("B", out_of_memory, count=1),
            batch("C", unforeseen, count=1),
            batch("D"),
        ],
    )
    assert outcome.done == 2 + 3
    assert sorted(outcome.failures, key=lambda failure: failure.tile) == [
        Failure("A", 1, (0, 1), "swir16 of S2A_18GYS: HTTP 404"),
        Failure("B", 0, (0, 0), "window at row 0, column 0 of B: out of memory"),
        Failure("C", 0, (0, 0), "ZeroDivisionError: C0"),
    ]
    told = [facts["failure"] for kind, facts in events if kind == "failure"]
    assert told == outcome.failures
    assert {str(failure) for failure in told} >= {"block (0, 0) of C: ZeroDivisionError: C0"}


@pytest.mark.parametrize(("retries", "done"), [(2, 1), (1, 0)])
def test_a_block_is_tried_again_as_often_as_asked(client, retries, done):
    tile = f"tried again {retries} times"
    outcome, _ = run(client, [batch(tile, fails_twice, count=1)], retries=retries)
    assert TRIES[tile] == retries + 1
    assert (outcome.done, len(outcome.failures)) == (done, 1 - done)


def test_a_read_that_a_block_needs_is_tried_again_too(client):
    def build(slot):
        del slot
        read = dask.delayed(fails_twice, pure=False)("a read", 0)
        return [dask.delayed(needs, pure=False)(read)]

    outcome, events = run(client, [BlockTasks("A", blocks_of(1), build)], retries=2)
    assert (outcome.done, outcome.failures) == (1, [])
    assert events == [("block", {"name": "needs a read0"})]


def test_what_two_blocks_need_is_made_once_though_the_second_is_submitted_later(client):
    def sharing(tile, work, *, on_build=lambda: None):
        def build(slot):
            del slot
            on_build()
            shared = dask.delayed(counted, pure=False)("shared", dask_key_name="shared-by-two")
            read = dask.delayed(str, pure=False)(shared)
            return [dask.delayed(work, pure=False)(read, 0), shared]

        return BlockTasks(tile, blocks_of(1), build)

    ENTERED.clear()
    RELEASE.clear()
    later = sharing("B", name, on_build=RELEASE.set)
    batches = [batch("first", enters, count=1), sharing("A", released), later]
    outcome, _ = run(client, batches, max_in_flight=2)
    assert (outcome.done, outcome.failures) == (3, [])
    assert TRIES["shared"] == 1


def counted(name):
    TRIES[name] += 1
    ENTERED.set()
    return name


def enters(tile, column):
    """End once what is shared was made, and read."""
    ENTERED.wait(30)
    time.sleep(0.5)
    return name(tile, column)


def released(tile, column):
    """Go on once the next block is submitted."""
    RELEASE.wait(30)
    return name(tile, column)


def test_other_blocks_go_on_while_one_rests_before_its_next_try(client, monkeypatch):
    monkeypatch.setattr(Tries, "wait", lambda *_: 1.0)
    began = time.monotonic()
    outcome, events = run(
        client, [batch("rests", fails_twice, count=1), batch("A"), batch("B")], retries=2
    )
    assert (outcome.done, outcome.failures) == (7, [])
    assert time.monotonic() - began >= 2
    assert events[-1][1]["name"] == "rests0"


def is_written(_, column):
    """Fail at first; say on which worker it was, while the slot there was taken."""
    ENTERED.wait(30)
    TRIES[f"written {column}"] += 1
    if TRIES[f"written {column}"] == 1:
        raise OSError(5, "Input/output error")
    return Done(get_worker().name)


def test_a_block_is_written_beside_the_slot_and_not_by_those_who_only_read():
    def build(slot):
        del slot
        with dask.annotate(resources={"inference": 1}):
            computed = dask.delayed(waits, pure=False)("A", 0)
        with dask.annotate(resources={"inference": 0}):
            written = [dask.delayed(is_written, pure=False)("A", column) for column in range(3)]
        return [computed, *written]

    def report(event):
        told.append(event.result.name)
        if len(told) == 3:
            RELEASE.set()

    told = []
    ENTERED.clear()
    RELEASE.clear()
    with one_slot_and_a_reader() as client:
        outcome = compute(
            client,
            [BlockTasks("A", blocks_of(4), build)],
            crew=Everyone(client),
            retries=1,
            max_in_flight=None,
            report=report,
        )
    assert (outcome.done, outcome.failures) == (4, [])
    assert told == ["fit"] * 3 + ["A0"]


@contextmanager
def one_slot_and_a_reader():
    host = {"host": "127.0.0.1"}
    kinds = {"reader": host, "fit": {**host, "nthreads": 2, "resources": {"inference": 1}}}
    with (
        SpecCluster(
            {name: {"cls": Worker, "options": options} for name, options in kinds.items()},
            {"cls": Scheduler, "options": {**host, "dashboard_address": "127.0.0.1:0"}},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_what_no_block_can_escape_stops_the_run(client):
    built = []
    batches = [
        batch("A", wrong_model, count=1),
        batch("B", on_build=lambda: built.append("B")),
    ]
    with pytest.raises(ModelError, match="sha256 differs"):
        run(client, batches, max_in_flight=1)
    assert built == []


def test_blocks_in_flight_are_given_up_when_the_run_stops(client):
    batches = [
        # Keeps one worker busy; the other meets the error meanwhile.
        batch("A", waits, count=1),
        batch("B", wrong_model, count=1, on_build=lambda: ENTERED.wait(30)),
    ]
    try:
        with pytest.raises(ModelError):
            run(client, batches)
        assert ENTERED.is_set()
        assert not [key for key in client.futures if key.startswith("waits")]
    finally:
        RELEASE.set()


def test_results_that_died_with_their_worker_before_they_were_fetched_are_computed_again():
    names = []

    def report(event):
        names.append(event.result.name)
        if len(names) == 1:
            lose_a_worker(client)

    GATE.set()
    with own_client() as client:
        outcome = compute(
            client,
            [batch("A", gated, count=6)],
            crew=Everyone(client),
            retries=2,
            max_in_flight=None,
            report=report,
        )
    assert (outcome.done, outcome.failures) == (6, [])
    assert sorted(names) == ["A0", "A1", "A2", "A3", "A4", "A5"]


def lose_a_worker(client):
    """Let every block be finished, then take away the worker that holds most of them."""
    blocks = [client.futures[key] for key in client.futures if key.startswith("gated")]
    until(lambda: all(block.status == "finished" for block in blocks))
    held = client.has_what()
    GATE.clear()
    client.run_on_scheduler(remove_worker, max(held, key=lambda address: len(held[address])))
    until(lambda: any(block.status == "lost" for block in blocks))
    threading.Timer(0.5, GATE.set).start()


def test_results_that_no_worker_is_left_to_compute_again_are_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(stream, "SECONDS_TO_FETCH", 0.2)

    class Complaining(Everyone):
        def look(self):
            if not self.computing:
                raise ClusterError("no worker is connected")

    def report(event):
        del event
        blocks = [client.futures[key] for key in client.futures if key.startswith("gated")]
        until(lambda: all(block.status == "finished" for block in blocks))
        for address in client.nthreads():
            client.run_on_scheduler(remove_worker, address)

    GATE.set()
    with own_client() as client, pytest.raises(ClusterError, match="no worker is connected"):
        compute(
            client,
            [batch("A", gated, count=6)],
            crew=Complaining(client),
            retries=0,
            max_in_flight=None,
            report=report,
        )


async def remove_worker(address, dask_scheduler):
    await dask_scheduler.remove_worker(address, stimulus_id="test")


@pytest.mark.parametrize("limit", [None, 6])
def test_a_cluster_that_goes_away_stops_the_run_and_fails_no_block(limit):
    told = []

    def report(event):
        told.append(event.kind)
        client.cluster.close()

    with (
        own_client() as client,
        pytest.raises(ClusterError, match="the same command resumes the run"),
    ):
        compute(
            client,
            [batch("A", count=6)],
            crew=Everyone(client),
            retries=2,
            max_in_flight=limit,
            report=report,
        )
    assert set(told) == {"block"}


def until(holds, timeout=30):
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_that_dies_again_and_again_is_explained():
    error = KilledWorker("block-A", SimpleNamespace(address="tcp://127.0.0.1:1"), 3)
    assert stream.reason_of(error).startswith("its worker died repeatedly")
    assert "smaller execution.block" in stream.reason_of(error)


# --- workers that die ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mortal():
    """A worker that is a process of its own, and is replaced where it dies."""
    settings = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.nanny.pre-spawn-environ": {"PYTHONWARNINGS": "ignore"},
    }
    with (
        # Dask leaves it in this process, too.
        kept_environment(["PYTHONWARNINGS"]),
        dask.config.set(settings),
        Client(
            n_workers=1,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            set_as_default=False,
            silence_logs=logging.CRITICAL,
        ) as running,
    ):
        yield running
        # A cluster that is closed while its worker starts waits for it in vain.
        nannies = running.cluster.workers.values()
        until(lambda: all(nanny.status.name == "running" for nanny in nannies))
        running.wait_for_workers(1, timeout=30)


def sharing_a_deadly_read(folder, *, deaths, blocks):
    """A batch of blocks that all need one read, which kills its worker so many times."""

    # Defined here, so that the worker needs no module of the tests.
    def read():
        import os

        tries = len(list(folder.iterdir()))
        (folder / str(tries)).touch()
        if tries < deaths:
            os._exit(1)
        return "pixels"

    def block(pixels, column):
        from types import SimpleNamespace

        return SimpleNamespace(name=f"{pixels} {column}")

    def build(slot):
        del slot
        pixels = dask.delayed(read, pure=False)()
        return [dask.delayed(block, pure=False)(pixels, column) for column in range(blocks)]

    return BlockTasks("A", blocks_of(blocks), build)


def test_blocks_that_share_a_read_which_killed_its_worker_are_each_done_once(mortal, tmp_path):
    batch_of_two = sharing_a_deadly_read(tmp_path, deaths=1, blocks=2)
    outcome, events = run(mortal, [batch_of_two])
    assert (outcome.done, outcome.failures) == (2, [])
    assert sorted(facts["name"] for _, facts in events) == ["pixels 0", "pixels 1"]
    # The second one had it from the first.
    assert len(list(tmp_path.iterdir())) == 2


# --- tiles --------------------------------------------------------------------------------------


def noted(tile):
    return Done(f"end of {tile}")


def fails(tile):
    raise ZeroDivisionError(tile)


def end_tiles(client, batches, *, tiles, end=noted):
    told = []
    outcome = compute(
        client,
        batches,
        crew=Everyone(client),
        retries=0,
        max_in_flight=None,
        report=lambda event: told.append((event.kind, event.facts().get("tile"))),
        endings=Endings(frozenset(tiles), lambda tile: partial(end, tile)),
    )
    return outcome, told


def test_a_tile_is_ended_after_its_last_block_of_all_dates(client):
    batches = [batch("A", step=0), batch("B"), batch("A", unforeseen, step=1)]
    outcome, told = end_tiles(client, batches, tiles=["A", "B"])
    assert (outcome.done, len(outcome.failures)) == (6, 3)
    # One that has failed blocks is ended too.
    assert {("tile", "A"), ("tile", "B")} <= set(told)
    assert told.index(("tile", "A")) > max(
        number for number, (kind, _) in enumerate(told) if kind == "failure"
    )


@pytest.mark.parametrize("takes_slot", [True, False])
def test_a_tile_is_ended_after_all_reads_where_it_takes_no_slot(client, monkeypatch, takes_slot):
    asked, submit = [], client.submit
    monkeypatch.setattr(client, "submit", lambda *a, **k: asked.append(k) or submit(*a, **k))
    compute(
        client,
        [],
        crew=Everyone(client),
        retries=0,
        max_in_flight=None,
        report=lambda _: None,
        endings=Endings(frozenset("A"), lambda tile: partial(noted, tile), takes_slot),
    )
    (one,) = asked
    # Blocks have 0, -1, -2 ... in their turn.
    assert (one["priority"] < -1_000_000) == (not takes_slot)


def test_tiles_without_blocks_to_do_are_ended_alone(client):
    outcome, told = end_tiles(client, [], tiles=["A", "B"])
    assert outcome.done == 0
    assert sorted(told) == [("tile", "A"), ("tile", "B")]


def test_a_tile_that_cannot_be_ended_is_told_and_no_failure(client):
    outcome, told = end_tiles(client, [batch("A")], tiles=["A"], end=fails)
    assert (outcome.done, outcome.failures) == (3, [])
    assert told[-1] == ("note", None)
