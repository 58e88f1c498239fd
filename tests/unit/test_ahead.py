"""Threads that work ahead: in order, not far, and no further than a failure."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from lspipe.machine.ahead import in_order


def test_results_come_in_the_order_of_the_items_whichever_ends_first():
    second_ended = threading.Event()

    def work(number):
        if number == 0:
            assert second_ended.wait(30)
        if number == 1:
            second_ended.set()
        return number

    # The first waits for the second: both are worked on at once.
    assert list(in_order(work, range(5), at_once=2)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("at_once", "taken"), [(1, 1), (3, 4)])
def test_only_a_few_items_are_taken_ahead_of_the_one_that_is_asked_for(at_once, taken):
    numbers, seen = count(), []
    results = in_order(
        lambda number: number,
        (seen.append(number) or number for number in numbers),
        at_once=at_once,
    )
    assert next(results) == 0
    assert len(seen) == taken
    results.close()


def test_a_wait_ends_at_once_where_what_is_done_meanwhile_fails():
    ends = threading.Event()

    def give_up():
        raise TimeoutError("nobody is left")

    # The call goes on for a minute: it is not waited for.
    results = in_order(lambda _: ends.wait(60), range(3), at_once=2, meanwhile=give_up)
    with pytest.raises(TimeoutError, match="nobody is left"):
        next(results)
    assert not ends.is_set()
    ends.set()


def test_results_are_the_same_where_something_is_done_meanwhile():
    looks = []

    def work(number):
        until = time.monotonic() + 30
        while number == 0 and not looks and time.monotonic() < until:
            time.sleep(0.01)
        return number

    found = list(in_order(work, range(4), at_once=2, meanwhile=lambda: looks.append(1)))
    assert found == [0, 1, 2, 3]
    assert looks


def test_the_first_failure_in_order_is_raised_and_what_follows_is_not_begun():
    begun, has_second_failed = [], threading.Event()

    def work(number):
        begun.append(number)
        if number == 0:
            assert has_second_failed.wait(30)
            raise ValueError("the first")
        has_second_failed.set()
        raise ValueError("a later one")

    with pytest.raises(ValueError, match="the first"):
        list(in_order(work, range(100), at_once=2))
    assert set(begun) <= {0, 1}


def test_kept_threads_work_for_the_next_too_and_stay_within_their_number():
    lock, at_work, most = threading.Lock(), set(), []

    def work(_):
        name = threading.current_thread().name
        with lock:
            at_work.add(name)
            most.append(len(at_work))
        time.sleep(0.01)
        with lock:
            at_work.remove(name)
        return name

    # By name: any of the eight may be the first that is free.
    with ThreadPoolExecutor(8, thread_name_prefix="kept") as kept:
        for _ in range(2):
            names = list(in_order(work, range(9), at_once=3, kept=kept))
            assert all(name.startswith("kept") for name in names)
    assert max(most) <= 3


def test_kept_threads_are_left_free_where_a_call_failed():
    begun, ended = [], []
    has_begun, may_end = threading.Event(), threading.Event()

    def work(number):
        begun.append(number)
        if number == 0:
            assert has_begun.wait(30)
            raise ValueError("the first")
        has_begun.set()
        assert may_end.wait(30)
        ended.append(number)

    with ThreadPoolExecutor(2) as kept:
        threading.Timer(0.1, may_end.set).start()
        with pytest.raises(ValueError, match="the first"):
            list(in_order(work, range(9), at_once=2, kept=kept))
        # What had begun has ended, and nothing else was begun.
        assert ended == [1]
        assert kept.submit(len, "two").result(30) == 3
        assert sorted(begun) == [0, 1]
