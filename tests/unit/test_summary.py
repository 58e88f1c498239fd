"""What a run adds up over all its calls."""

from __future__ import annotations

import json

from lspipe.runs import summary


def block(index, windows, run, tile="18GYS", step=0):
    facts = {"tile": tile, "step": step, "index": index, "windows": windows, "windows_run": run}
    return json.dumps({"time": "2026-11-21T00:00:00.000+00:00", "event": "block", **facts})


def test_windows_are_added_up_over_killed_calls_and_blocks_done_twice(tmp_path):
    lines = [
        json.dumps({"time": "2026-11-21T00:00:00.000+00:00", "event": "start", "total": 4}),
        block([0, 0], 10, 10),
        block([0, 1], 20, 5),
        block([0, 0], 30, 3, step=1),
        # A kill cut this line off; the next call did the block again, and (0, 1) too.
        block([0, 0], 99, 99, tile="18GYT")[:-20],
        block([0, 0], 40, 4, tile="18GYT"),
        block([0, 1], 21, 6),
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert summary._windows(summary._blocks_of(tmp_path)) == {
        "needed": 10 + 21 + 30 + 40,
        "run": 10 + 6 + 3 + 4,
    }


def test_a_run_without_blocks_ran_no_windows(tmp_path):
    assert summary._windows(summary._blocks_of(tmp_path)) == {"needed": 0, "run": 0}
