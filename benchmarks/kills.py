"""Kills: does a run that is killed at any moment, again and again, end in the same bytes?

A small world (a tile of 240 px, 9 blocks on each of two dates, change, list) runs on a local
cluster of one worker. Each run is killed by SIGKILL of its whole process group, once to three
times, at moments drawn by a seed from the length of an undisturbed run; then the same command runs
to its end. Every file of arrays and lists is compared by its sha256 with the undisturbed run.

A moment is anywhere: while the plan is written, the store is laid out, workers start, a block is
written, the list is made. How far the run was is counted from its log.

    python benchmarks/kills.py              # 50 runs, about half an hour on two cores
    python benchmarks/kills.py --runs 5
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from harness import describe, machine, write_result

from tests.worlds import World, environment, fingerprints, make_world

RUNS = 50
MOST_KILLS = 3
"""Of one run."""

COMMAND = """
import sys
from lspipe.cli import main
from tests.forking import forking
with forking():
    sys.exit(main(["run", sys.argv[1]]))
"""
"""`lspipe run`, whose worker is forked and need not import anew."""


def start(world: World) -> subprocess.Popen[bytes]:
    """Start the run as the leader of a process group."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(world.workflow)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
    )


def finish(world: World) -> float:
    """Run to the end; return the seconds."""
    began = time.perf_counter()
    process = start(world)
    _, told = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"a run failed with {process.returncode}: {told.decode()[-2000:]}")
    return time.perf_counter() - began


def kill(world: World, after: float) -> bool:
    """Start the run and kill it after some seconds; False if it ended before."""
    process = start(world)
    try:
        process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def place(world: World) -> str:
    """How far a run is, from what lies in its directory."""
    if not (world.run / "run.json").exists():
        return "before its plan was written"
    log = world.run / "log.jsonl"
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    last = text.rpartition('"event": "start"')[2] if '"event": "start"' in text else None
    if last is None:
        return "before its first block was submitted"
    if "listing landslides" in last:
        return "after its last block"
    return "between its blocks" if text.count('"event": "block"') else "before a block was done"


def main() -> None:
    """Kill and compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no run after these")
    options = parser.parse_args()
    # Not a secret: the same seed draws the same moments.
    draw, began = random.Random(options.seed), time.monotonic()  # noqa: S311
    print(describe(machine()))
    runs, same, kills, places = 0, 0, 0, Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(
            Path(folder),
            cluster={"kind": "local", "workers": 1},
            execution={"block": 80, "retries": 0},
        )
        seconds = finish(world)
        expected = fingerprints(world.run)
        print(f"undisturbed: {seconds:.1f} s, {len(expected)} files", flush=True)
        while runs < options.runs and time.monotonic() - began < 60 * options.minutes:
            shutil.rmtree(world.run)
            runs += 1
            for _ in range(draw.randint(1, MOST_KILLS)):
                if kill(world, draw.uniform(0, seconds)):
                    kills += 1
                    places[place(world)] += 1
            finish(world)
            is_same = fingerprints(world.run) == expected
            same += is_same
            print(
                f"run {runs}: {kills} kills so far, {'same' if is_same else 'OTHER'} bytes",
                flush=True,
            )
    result = {
        "seed": options.seed,
        "runs": runs,
        "equal": same,
        "kills": kills,
        "files": len(expected),
    }
    print(result, dict(places))
    write_result("kills", {**result, "killed": dict(places.most_common())})
    if same < runs:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
