"""What `auto` takes, of made-up runtimes and by a made-up clock, as real ones are never equal."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from lspipe import detect
from lspipe.errors import InferenceError, ModelError
from lspipe.inference import windows
from lspipe.inference.runtimes import available, choice, from_callable
from lspipe.inference.runtimes.choice import SHARE, Choice, Work, choose
from lspipe.inference.settings import TOO_LITTLE
from tests import runtime_contract as contract

BATCH = 4
A_TILE = Work(passes=100_000, batch_size=BATCH, channels=2, window=64)


@dataclass
class Machine:
    """Runtimes that take some seconds to open and per batch, of which each moves the clock."""

    batch: dict[str, float]
    opening: dict[str, float] = field(default_factory=dict)
    answers: dict[str, float] = field(default_factory=dict)
    failing: dict[str, Exception] = field(default_factory=dict)
    device: str = "cpu"
    now: float = 0.0
    calls: list[str] = field(default_factory=list)

    def clock(self):
        return self.now

    def open_as(self, name):
        self.now += self.opening.get(name, 0.0)
        return Fake(self, name, torch.device(self.device))

    def choose(self, work=A_TILE):
        return choose(self.open_as, work, clock=self.clock)


@dataclass
class Fake:
    machine: Machine
    name: str
    device: torch.device
    precision: str = "fp32"
    bands = None

    def __call__(self, batch):
        self.machine.now += self.machine.batch[self.name]
        self.machine.calls.append(self.name)
        if self.name in self.machine.failing:
            raise self.machine.failing[self.name]
        return batch[:, 0] * 0 + self.machine.answers.get(self.name, 0.5)


@pytest.fixture(autouse=True)
def runtimes_here(monkeypatch):
    """Whatever is installed where the tests run."""
    found = {"eager": "", "compiled": "", "openvino": "", "cudagraph": "needs a GPU"}
    monkeypatch.setattr(choice, "available", lambda *_, **__: found)
    return found


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"eager": 1.0, "openvino": 0.5, "compiled": 0.6}, "openvino"),
        ({"eager": 1.0, "openvino": 0.9, "compiled": 0.5}, "compiled"),
        ({"eager": 1.0, "openvino": 1.1, "compiled": 1.4}, "eager"),
        # Noise of a few percent decides nothing: eager stays, and so does who comes before.
        ({"eager": 1.0, "openvino": 0.96, "compiled": 0.96}, "eager"),
        ({"eager": 1.0, "openvino": 0.6, "compiled": 0.56}, "openvino"),
    ],
)
def test_the_runtime_that_is_clearly_ahead_is_taken(seconds, expected):
    found = Machine(seconds).choose()
    assert found.runtime.name == expected
    for name, each in seconds.items():
        assert f"{name} {1000 * each / BATCH:.3g}" in found.why


def test_what_preparing_takes_counts_against_what_it_saves():
    seconds = {"eager": 1.0, "openvino": 0.8, "compiled": 1.0}
    # 25 000 batches save 5000 s.
    assert Machine(seconds, opening={"openvino": 2000}).choose().runtime.name == "openvino"
    slow = Machine(seconds, opening={"openvino": 4500}).choose()
    assert slow.runtime.name == "eager"
    assert "openvino 200 after 4501 s to prepare" in slow.why


@pytest.mark.parametrize(
    "work",
    [
        Work(passes=2400, batch_size=4, channels=2, window=64),
        Work(passes=400, batch_size=4, channels=2, window=512),
        Work(passes=0, batch_size=4, channels=2, window=64),
    ],
    ids=["few pixels", "few batches", "none"],
)
def test_nothing_is_measured_for_little_work(work):
    machine = Machine({"eager": 1.0, "openvino": 0.1, "compiled": 0.1})
    found = machine.choose(work)
    assert (found.runtime.name, found.why) == ("eager", TOO_LITTLE)
    assert machine.calls == []


def test_what_is_not_worth_trying_is_not_even_imported(monkeypatch):
    monkeypatch.setattr(choice, "available", lambda *_, **__: pytest.fail("looks for OpenVINO"))
    machine = Machine({"eager": 0.01})
    assert machine.choose(Work(passes=2500, batch_size=4, channels=2, window=64)).why == TOO_LITTLE
    assert machine.calls == ["eager", "eager"]


@pytest.mark.parametrize("passes", [2500, 5_000, 20_000, 100_000, 1_000_000])
@pytest.mark.parametrize("each", [0.001, 0.02, 0.5, 3.0])
def test_measuring_takes_a_small_part_of_the_work(passes, each):
    opening = dict(choice.SECONDS_TO_PREPARE)
    seconds = dict.fromkeys(("eager", "openvino", "compiled"), each)
    machine = Machine(seconds, opening=opening)
    work = Work(passes=passes, batch_size=BATCH, channels=2, window=64)
    found = machine.choose(work)
    assert machine.now <= SHARE * each * work.batches
    tried = {name for name in opening if name in machine.calls}
    left_out = {name for name in opening if f"{name} not tried" in found.why}
    assert not tried & left_out
    assert found.why == TOO_LITTLE or tried | left_out == set(opening)


def test_long_work_is_worth_trying_all_and_shorter_work_the_one_that_is_soon_ready():
    seconds = {"eager": 1.0, "openvino": 0.5, "compiled": 0.1}
    assert Machine(seconds).choose().runtime.name == "compiled"
    shorter = Work(passes=2500, batch_size=BATCH, channels=2, window=64)
    found = Machine(seconds).choose(shorter)
    assert found.runtime.name == "openvino"
    assert "compiled not tried, as preparing it would take about 40 s" in found.why


@pytest.mark.parametrize(
    "error",
    [
        ModelError("runtime 'openvino' cannot take this network (no such operation)\nmore"),
        RuntimeError("runtime 'openvino' cannot take this network (no such operation)"),
    ],
)
def test_a_runtime_that_cannot_take_the_network_is_left_out_with_a_note(error):
    seconds = {"eager": 1.0, "openvino": 0.1, "compiled": 0.5}
    found = Machine(seconds, failing={"openvino": error}).choose()
    assert found.runtime.name == "compiled"
    assert found.why.endswith("runtime 'openvino' cannot take this network (no such operation)")


@pytest.mark.parametrize(
    ("answer", "is_taken"), [(0.50001, True), (0.501, False), (math.nan, False)]
)
def test_a_runtime_with_other_answers_is_not_taken(answer, is_taken):
    seconds = {"eager": 1.0, "openvino": 0.1, "compiled": 1.0}
    found = Machine(seconds, answers={"openvino": answer}).choose()
    assert (found.runtime.name == "openvino") == is_taken
    assert ("openvino not taken, as its answers differ by" in found.why) != is_taken


def test_a_runtime_that_does_not_work_here_is_named_with_what_would_help(runtimes_here):
    runtimes_here["openvino"] = "needs the package openvino: pip install it"
    seconds = {"eager": 1.0, "openvino": 0.1, "compiled": 0.5}
    machine = Machine(seconds)
    found = machine.choose()
    assert found.runtime.name == "compiled"
    assert "openvino does not work here: needs the package openvino: pip install it" in found.why
    assert "openvino" not in machine.calls


def test_a_network_that_fails_is_left_to_its_first_window():
    machine = Machine({"eager": 1.0}, failing={"eager": InferenceError("returned a tuple")})
    assert machine.choose() == Choice(machine.open_as("eager"), "")


def test_on_a_gpu_nothing_is_measured():
    machine = Machine({"eager": 1.0}, device="cuda")
    assert (machine.choose().runtime.name, machine.calls) == ("eager", [])


def test_real_runtimes_are_compared_and_answer_alike(monkeypatch):
    contract.need("openvino")
    monkeypatch.setattr(choice, "available", available)
    monkeypatch.setattr(choice, "SECONDS_TO_PREPARE", {"openvino": 0.0})
    monkeypatch.setattr(choice, "SECONDS_PER_PIXEL", 1.0)
    network = contract.small_network()
    work = Work(passes=10**9, batch_size=2, channels=contract.CHANNELS, window=contract.WINDOW)
    found = choose(lambda name: from_callable(network, device="cpu", runtime=name), work)
    assert re.match(r"eager [\d.]+, openvino [\d.]+ after \d+ s to prepare \(ms per win", found.why)
    batch = contract.windows(2)
    expected = from_callable(network, device="cpu", runtime="eager")(batch)
    torch.testing.assert_close(
        found.runtime(batch), expected, atol=contract.TOLERANCE["fp32"], rtol=0
    )


# --- lspipe.detect ------------------------------------------------------------------------------

SHAPE = (2, 60, 40)
LATTICE = {"window": 16, "stride": 8}


class First(nn.Module):
    """Answers with its first channel."""

    def forward(self, batch):
        return batch[:, :1]


@pytest.fixture
def asked(monkeypatch):
    """What `detect` asks, which is answered with OpenVINO."""
    works = []

    def choose(open_as, work):
        works.append(work)
        return Choice(open_as("openvino"), "asked")

    monkeypatch.setattr("lspipe.inference.detect.choose", choose)
    return works


def test_detect_counts_the_windows_of_an_array_and_computes_with_the_choice(asked, monkeypatch):
    opened = []

    def opens(network, *, runtime, **options):
        opened.append(runtime)
        return from_callable(network, **options, runtime="eager")

    monkeypatch.setattr("lspipe.inference.detect.from_callable", opens)
    pixels = np.full(SHAPE, 0.25, np.float32)
    found = detect(pixels, First(), **LATTICE, tta="d4", batch_size=4)
    assert float(found.min()) == float(found.max()) == 0.25
    assert opened == ["auto", "openvino"]
    count = math.prod(len(windows.origins(side, 16, 8)) for side in SHAPE[1:])
    assert asked == [Work(passes=8 * count, batch_size=4, channels=2, window=16)]
    detect(pixels, First(), **LATTICE, tta="none", batch_size=4)
    assert asked[1].passes == count


@pytest.mark.parametrize(
    ("network", "options"),
    [(First(), {"runtime": "eager"}), (lambda batch: batch[:, :1], {})],
    ids=["asked for by name", "a function"],
)
def test_detect_leaves_what_is_asked_for_and_functions_alone(asked, network, options):
    # A function may do more than compute; a graph of it would not.
    detect(np.zeros(SHAPE, np.float32), network, **LATTICE, **options)
    assert asked == []


def test_detect_of_a_lazy_array_chooses_nothing(asked):
    lazy = detect_lazily()
    assert asked == []
    assert float(lazy.max()) == 0.0


def detect_lazily():
    import dask.array
    import xarray as xr

    pixels = xr.DataArray(
        dask.array.zeros(SHAPE, np.float32, chunks=(2, 30, 40)), dims=("band", "y", "x")
    )
    return detect(pixels, First(), **LATTICE).compute(scheduler="synchronous")
