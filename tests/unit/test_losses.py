"""The losses of the papers, worked by hand."""

import pytest
import torch

from lspipe.schema import IGNORED
from lspipe.train import losses
from lspipe.train.losses import LOSSES, loss_of

# Worked by hand.
TRUTH = torch.tensor([[[1, 1, 0, 0]]], dtype=torch.uint8)
PROBABILITY = torch.tensor([[[0.8, 0.4, 0.3, 0.1]]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("focal-tversky", 0.466405),
        ("bce", 0.400367),
        ("dice", 0.333333),
        ("bce-dice", (0.400367 + 0.333333) / 2),
        ("wce", 1.539802),
        ("wce-dice", 0.936568),
        ("focal-tversky-each", 0.466405),
        ("bce5", 2.001837),
        ("bce5-dice", (2.001837 + 0.333333) / 2),
    ],
)
def test_losses_equal_the_worked_example(name, expected):
    assert float(loss_of(name, PROBABILITY, TRUTH)) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_an_ignored_pixel_changes_no_loss(name):
    truth = torch.cat([TRUTH, torch.full_like(TRUTH, IGNORED)], dim=-1)
    probability = torch.cat([PROBABILITY, torch.rand(1, 1, 4)], dim=-1)
    assert loss_of(name, probability, truth) == pytest.approx(
        float(loss_of(name, PROBABILITY, TRUTH))
    )


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("label", [0, 1, IGNORED])
def test_a_certain_network_keeps_loss_and_gradient_finite(name, value, label):
    probability = torch.full((1, 2, 2), value, requires_grad=True)
    loss = loss_of(name, probability, torch.full((1, 2, 2), label, dtype=torch.uint8))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(probability.grad).all()


def test_the_larger_weight_of_tversky_is_that_of_missed_pixels():
    arguments = PROBABILITY, (TRUTH == 1).float(), torch.ones(1, 1, 4)
    index = 1 - float(losses.focal_tversky(*arguments, exponent=1))
    assert index == pytest.approx(0.638298, abs=1e-6)
    # What other libraries would give whoever copies the two numbers in the paper's order.
    swapped = losses.focal_tversky(*arguments, missed=0.3, false=0.7)
    assert float(swapped) == pytest.approx(0.407715, abs=1e-6)


def test_tversky_of_each_window_is_a_mean_over_windows_and_not_over_pixels():
    few = torch.tensor([[[0, 0, 0, 1]]], dtype=torch.uint8)
    missed = torch.tensor([[[0.0, 0.0, 0.0, 0.2]]])
    none = torch.full_like(TRUTH, IGNORED)
    truth, found = torch.cat([TRUTH, few, none]), torch.cat([PROBABILITY, missed, missed])
    alone = float(loss_of("focal-tversky", missed, few))
    assert alone == pytest.approx((1 - 0.2 / (0.2 + 0.7 * 0.8)) ** 0.75)
    each = float(loss_of("focal-tversky-each", found, truth))
    assert each == pytest.approx((0.466405 + alone) / 2, abs=2e-6)
    # Over the batch the window with more landslide weighs more.
    assert float(loss_of("focal-tversky", found, truth)) < each


def test_five_times_the_entropy_is_not_what_weighs_landslides_five_times():
    assert float(loss_of("bce5", PROBABILITY, TRUTH)) == pytest.approx(2.001837, abs=2e-6)
    assert float(loss_of("wce", PROBABILITY, TRUTH)) == pytest.approx(1.539802, abs=2e-6)


@pytest.mark.parametrize("name", ["focal-tversky", "focal-tversky-each"])
def test_a_batch_without_landslides_teaches_tversky_nothing(name):
    probability = torch.full((1, 2, 2), 0.3, requires_grad=True)
    loss = loss_of(name, probability, torch.zeros((1, 2, 2), dtype=torch.uint8))
    loss.backward()
    assert loss.item() == pytest.approx(1)
    assert torch.count_nonzero(probability.grad) == 0
