"""What sees nothing but padding is not computed, and nothing else is left out."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from lspipe.inference.runtimes.capture import snapshot
from lspipe.inference.runtimes.taps import dead_taps, without_dead_taps
from lspipe.models import build


def seen_by(features, *, taps, dilation, stride, padding):
    """Which taps are given a feature at some place, counted one by one."""
    places = (features + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    return [
        any(
            0 <= place * stride + tap * dilation - padding < features
            for place in range(max(0, places))
        )
        for tap in range(taps)
    ]


axes = {
    "features": st.integers(1, 20),
    "taps": st.integers(1, 7),
    "dilation": st.integers(1, 24),
    "stride": st.integers(1, 3),
    "padding": st.integers(0, 60),
}


@given(**axes)
def test_only_taps_that_see_nothing_are_left_out(features, **axis):
    assume(features + 2 * axis["padding"] > axis["dilation"] * (axis["taps"] - 1))
    dead = dead_taps(features, **axis)
    seen = seen_by(features, **axis)
    assert not any(seen[:dead])
    assert not any(seen[len(seen) - dead :])
    # The next one of an end is seen, or there is no padding to take away with it, or no next one.
    more = dead + 1
    assert (
        any(seen[:more])
        or any(seen[len(seen) - more :])
        or more * axis["dilation"] > axis["padding"]
        or more > len(seen) // 2
        # Longer steps may jump over all features; a tap that does is computed for nothing.
        or axis["stride"] > features
    )


@given(
    groups=st.sampled_from([1, 2, 4]),
    size=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    dilation=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    stride=st.integers(1, 2),
    kernel=st.sampled_from([(3, 3), (3, 5), (1, 3)]),
    bias=st.booleans(),
)
def test_the_result_is_that_of_all_taps(size, kernel, dilation, **other):
    torch.manual_seed(0)
    # As many features as before.
    padding = tuple(rate * (taps // 2) for rate, taps in zip(dilation, kernel, strict=True))
    whole = nn.Conv2d(4, 4, kernel, padding=padding, dilation=dilation, **other).eval()
    features = torch.randn(2, 4, *size)
    with torch.inference_mode():
        expected = whole(features)
        found = snapshot(whole)(features)
    assert type(whole) is nn.Conv2d  # the copy has changed, not the network
    assert found.shape == expected.shape
    # The same sum in another order.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_network_of_paper_000_answers_the_same():
    torch.manual_seed(0)
    network = build("deeplabv3plus-resnet50", 10).eval()
    window = torch.rand(1, 10, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(snapshot(network)(window), network(window), rtol=0, atol=1e-6)


def test_the_outer_rates_of_an_atrous_pyramid_are_products():
    for rate, dead in ((2, 0), (12, 0), (13, 0), (14, 1), (24, 1), (36, 1)):
        assert dead_taps(14, taps=3, dilation=rate, stride=1, padding=rate) == dead


@pytest.mark.parametrize(
    "kept",
    [
        nn.Conv2d(2, 2, 3, padding=1),
        nn.Conv2d(2, 2, 3, padding=20, dilation=20, padding_mode="reflect"),
        nn.Conv2d(2, 2, 3, padding="same", dilation=20),
        type("Other", (nn.Conv2d,), {})(2, 2, 3, padding=20, dilation=20),
    ],
    ids=["not dilated", "padded with pixels", "padded by name", "of another kind"],
)
def test_other_convolutions_are_left_alone(kept):
    kind = type(kept)
    assert type(without_dead_taps(kept)) is kind
