"""The workers of a run, as its client knows them."""

from __future__ import annotations

from lspipe.clusters import INFERENCE_SLOT, ClusterSpec, ExecutionSpec
from lspipe.clusters.admission import Worker
from lspipe.runs.crew import Crew
from lspipe.runs.events import ignore
from lspipe.runs.handshake import Verdict


def crew_of(tmp_path, *threads, readers=0):
    """A crew of workers with a slot and so many threads each, and others that only read."""
    crew = Crew(
        None,
        cluster=ClusterSpec(),
        execution=ExecutionSpec(),
        model=None,
        run=tmp_path,
        report=ignore,
    )
    slots = [INFERENCE_SLOT] * len(threads) + [{}] * readers
    for number, slot in enumerate(slots):
        count = threads[number] if slot else 2
        crew._present[str(number)] = Worker(str(number), slot, count, f"process {number}")
        crew._known[str(number)] = Verdict(reading="", computing="", answer=None)
    return crew


def test_a_block_is_in_flight_for_each_thread_that_computes_and_one_is_ready(tmp_path):
    assert crew_of(tmp_path, 2, 2).room == 6
    assert crew_of(tmp_path, 4, 2).room == 8
    # Others may have one thread, or many; how much memory they have nobody said.
    assert crew_of(tmp_path, 1, 64).room == 3 + 5
    assert crew_of(tmp_path, 2, readers=3).room == 3
    assert crew_of(tmp_path).room == 0
