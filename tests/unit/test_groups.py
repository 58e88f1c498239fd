"""What a file of tests sets up is set up once: its tests are run in one process, in their order."""

from __future__ import annotations

import pytest

run_here: list[int] = []


@pytest.mark.parametrize("turn", range(20))
def test_the_tests_of_a_file_are_run_by_one_process(turn):
    assert run_here[-1:] in ([], [turn - 1])
    run_here.append(turn)
