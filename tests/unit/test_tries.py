"""What failed blocks tell: what is tried again, which worker is given up, when all is."""

from __future__ import annotations

import pytest

from lspipe.clusters.admission import Fault
from lspipe.errors import InferenceError, LoadError, UnfitAsset
from lspipe.runs.tries import (
    EQUAL_IN_A_ROW,
    EQUAL_ON_ONE_WORKER,
    FIRST_WAIT,
    LONGEST_WAIT,
    Tries,
    kind_of,
)

SLOW_DOWN = LoadError("S2A", "red", "HTTP response code: 503")
BROKEN = OSError(5, "Input/output error")


def fail(tries, block, error, *, worker="a", run, key=None):
    return tries.may_try_again(block, error, Fault(key or block, run, (worker,)))


def test_a_block_has_one_try_and_its_retries():
    tries = Tries(2)
    assert [fail(tries, 1, BROKEN, run=run) for run in range(3)] == [True, True, False]


def test_blocks_that_need_one_read_share_its_tries():
    tries = Tries(1)
    # One run of the read fails two blocks, and so does the next.
    told = [fail(tries, block, BROKEN, run=run, key="read") for run in (7, 9) for block in (1, 2)]
    assert told == [True, True, False, False]


def test_a_file_that_is_unfit_is_not_read_again():
    assert not fail(Tries(3), 1, UnfitAsset("S2A", "red", "float32"), run=1)


def test_a_worker_is_given_up_once_others_did_what_it_failed():
    tries = Tries(3)
    for block in range(EQUAL_ON_ONE_WORKER):
        assert fail(tries, block, BROKEN, worker="bad", run=block)
    told = [tries.succeeded(block) for block in range(EQUAL_ON_ONE_WORKER)]
    assert told[:-1] == [{}] * (EQUAL_ON_ONE_WORKER - 1)
    assert told[-1].keys() == {"bad"}
    assert "3 blocks that others did" in told[-1]["bad"]


def test_a_damaged_scene_is_no_fault_of_the_workers_that_read_it():
    tries = Tries(3)
    for run, worker in enumerate("abcabcabc"):
        fail(tries, run, LoadError("S2A", "red", "HTTP 404"), worker=worker, run=run)
    assert tries.succeeded("another block") == {}


def test_failures_of_different_kinds_are_counted_apart():
    tries = Tries(3)
    for block, text in enumerate(["one thing", "another", "a third"]):
        fail(tries, block, InferenceError(text), worker="unlucky", run=block)
    assert [tries.succeeded(block) for block in range(3)] == [{}] * 3


@pytest.mark.parametrize(
    ("errors", "steps", "stops"),
    [
        (["No route"] * EQUAL_IN_A_ROW, 3, True),
        # One damaged scene: its own date only.
        (["No route"] * EQUAL_IN_A_ROW, 1, False),
        (["No route"] * (EQUAL_IN_A_ROW - 1), 3, False),
        (["No route", "No memory"] * EQUAL_IN_A_ROW, 3, False),
    ],
)
def test_a_run_stops_where_blocks_of_many_dates_fail_alike(errors, steps, stops):
    tries = Tries(0)
    told = [
        tries.given_up(number, InferenceError(text), step=number % steps, workers=2)
        for number, text in enumerate(errors)
    ]
    assert bool(told[-1]) == stops
    assert not any(told[:-1])


def test_a_full_disk_stops_a_run_of_one_date_too():
    tries = Tries(0)
    full = OSError(28, "No space left on device")
    told = [tries.given_up(n, full, step=0, workers=2) for n in range(EQUAL_IN_A_ROW)]
    assert "No space left on device" in told[-1]
    assert "run the same command again" in told[-1]


def test_a_block_that_is_done_shows_that_not_all_fail():
    tries = Tries(0)
    for number in range(20):
        assert not tries.given_up(number, BROKEN, step=number, workers=2)
        if number % 4 == 3:
            tries.succeeded("another")


def test_with_many_workers_more_blocks_fail_before_a_run_stops():
    tries = Tries(0)
    told = [tries.given_up(number, BROKEN, step=number, workers=8) for number in range(16)]
    assert [bool(each) for each in told] == [False] * 15 + [True]


def test_errors_that_differ_in_numbers_and_scenes_only_are_of_one_kind():
    one = LoadError("S2A_18GYS_20180120", "red", "HTTP 503 at byte 1024")
    two = LoadError("S2B_18GYT_20180125", "nir", "HTTP 503 at byte 77")
    assert kind_of(one) == kind_of(two)
    assert kind_of(one) != kind_of(LoadError("S2A_18GYS_20180120", "red", "timed out"))


def test_each_try_of_a_read_waits_about_twice_as_long_and_never_the_same():
    tries, fault = Tries(9), None
    for run in range(9):
        fault = Fault("read", run, ("a",))
        assert tries.may_try_again(1, SLOW_DOWN, fault)
        waits = [tries.wait(SLOW_DOWN, fault) for _ in range(50)]
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2**run)
        assert longest / 2 <= min(waits) < max(waits) <= longest
        assert len(set(waits)) == 50


def test_what_another_moment_does_not_mend_is_tried_again_at_once():
    tries, fault = Tries(3), Fault("block", 1, ("a",))
    assert tries.may_try_again(1, BROKEN, fault)
    assert tries.wait(BROKEN, fault) == 0
