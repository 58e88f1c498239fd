"""Training that learns the same thing every time, stopped or not, and leaves no pickle behind."""

import json

import numpy as np
import pytest
import safetensors
import torch
from torch import nn

from lspipe.errors import UsageError
from lspipe.inference import dihedral
from lspipe.models import build
from lspipe.train import IGNORED, PROTOCOLS, TrainSpec, batches, fit, looks
from lspipe.train.protocols import VEGA_GRID, sweep


def bright_spots(count=24, window=16, seed=3):
    """Windows whose bright pixels are the landslides."""
    rng = np.random.default_rng(seed)
    windows = rng.normal(0, 0.3, (count, 2, window, window)).astype(np.float32)
    labels = (windows[:, 0] > 0.25).astype(np.uint8)
    return windows, labels


def small_network():
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(4, 1, 1), nn.Sigmoid()
    )


def weights_of(network):
    return torch.cat([part.flatten() for part in network.state_dict().values()])


def test_fit_learns_what_can_be_learnt():
    network = small_network()
    spec = TrainSpec(epochs=40, batch_size=8, learning_rate=0.05)
    epochs = fit(network, *bright_spots(), spec)
    windows, labels = bright_spots()
    with torch.inference_mode():
        right = (network(torch.from_numpy(windows))[:, 0] > 0.5).numpy() == labels
    assert len(epochs) == 40
    assert epochs[0].learning_rate > epochs[-1].learning_rate > 0
    assert epochs[-1].loss < 0.5 * epochs[0].loss
    assert right.mean() > 0.95


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    def weights(seed):
        network = small_network()
        fit(network, *bright_spots(), TrainSpec(epochs=2, batch_size=8, seed=seed))
        return weights_of(network)

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_training_leaves_the_random_numbers_of_the_caller_alone():
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    network = nn.Sequential(nn.Conv2d(2, 1, 1), nn.Sigmoid())
    torch.manual_seed(9)
    fit(network, *bright_spots(), TrainSpec(epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_a_network_in_eval_mode_is_trained_like_one_that_is_not():
    def weights(network):
        fit(network, *bright_spots(), TrainSpec(epochs=2, batch_size=8))
        return weights_of(network)

    assert torch.equal(weights(small_network().eval()), weights(small_network()))


def test_fit_tells_every_epoch_and_leaves_the_network_in_eval_mode():
    told = []
    network = small_network()
    epochs = fit(network, *bright_spots(), TrainSpec(epochs=3), on_epoch=told.append)
    assert told == list(epochs)
    assert [epoch.epoch for epoch in told] == [1, 2, 3]
    assert not network.training


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_a_training_that_was_stopped_ends_in_the_same_weights(tmp_path, schedule):
    spec = TrainSpec(
        epochs=6, batch_size=8, learning_rate=0.02, schedule=schedule, step_epochs=2, gain=0.1
    )
    through, stopped = small_network(), small_network()
    whole = fit(through, *bright_spots(), spec, validation=bright_spots(seed=4))

    def stop(epoch):
        if epoch.epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(
            stopped, *bright_spots(), spec,
            validation=bright_spots(seed=4), folder=tmp_path, on_epoch=stop,
        )  # fmt: skip
    resumed = small_network()
    told = []
    both = fit(
        resumed, *bright_spots(), spec,
        validation=bright_spots(seed=4), folder=tmp_path, on_epoch=told.append,
    )  # fmt: skip
    # The fourth epoch was stopped before its state was written.
    assert [epoch.epoch for epoch in told] == [4, 5, 6]
    assert torch.equal(weights_of(resumed), weights_of(through))
    assert both[-1].is_best
    assert [epoch.loss for epoch in both] == [epoch.loss for epoch in whole]


def test_another_training_in_the_folder_is_refused_and_says_what_differs(tmp_path):
    fit(small_network(), *bright_spots(), TrainSpec(epochs=1), folder=tmp_path)
    with pytest.raises(UsageError, match=r"spec.loss bce-dice there, dice here"):
        fit(small_network(), *bright_spots(), TrainSpec(epochs=1, loss="dice"), folder=tmp_path)
    with pytest.raises(UsageError, match="windows"):
        fit(small_network(), *bright_spots(seed=8), TrainSpec(epochs=1), folder=tmp_path)


@pytest.mark.parametrize(
    ("first", "then"),
    [(bright_spots(seed=4), bright_spots(seed=6)), (bright_spots(seed=4), None),
     (None, bright_spots(seed=4))],
    ids=["other patches", "none any more", "some at last"],
)  # fmt: skip
def test_other_validation_patches_are_another_training(tmp_path, first, then):
    # The epoch that is kept would be chosen half by these and half by those.
    spec = TrainSpec(epochs=1, batch_size=8)
    fit(small_network(), *bright_spots(), spec, validation=first, folder=tmp_path)
    with pytest.raises(UsageError, match=r"another training lies in this folder \(validation "):
        fit(small_network(), *bright_spots(), spec, validation=then, folder=tmp_path)


def test_other_first_weights_or_another_network_are_another_training(tmp_path):
    spec = TrainSpec(epochs=1, batch_size=8)
    fit(small_network(), *bright_spots(), spec, folder=tmp_path)
    moved = small_network()
    with torch.no_grad():
        moved[0].bias += 0.1
    with pytest.raises(UsageError, match=r"folder \(first weights "):
        fit(moved, *bright_spots(), spec, folder=tmp_path)


def test_the_state_is_tensors_and_json_and_a_foreign_file_is_refused(tmp_path):
    fit(small_network(), *bright_spots(), TrainSpec(epochs=1), folder=tmp_path)
    (state,) = tmp_path.iterdir()
    with safetensors.safe_open(state, framework="pt") as file:
        json.loads(file.metadata()["state"])
        assert len(list(file.keys())) > 4
    state.write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(UsageError, match="not the state of a training"):
        fit(small_network(), *bright_spots(), TrainSpec(epochs=1), folder=tmp_path)


def test_the_best_epoch_on_validation_is_kept_and_patience_ends_the_training():
    # Labels of validation are the opposite: every epoch is worse than the one before.
    windows, labels = bright_spots()
    network = small_network()
    spec = TrainSpec(epochs=30, batch_size=8, learning_rate=0.05, patience=3)
    epochs = fit(network, windows, labels, spec, validation=(windows, 1 - labels))
    assert len(epochs) < 30
    best = max(epoch.epoch for epoch in epochs if epoch.is_best)
    assert len(epochs) == best + 3
    again = small_network()
    fit(again, windows, labels, spec, validation=(windows, 1 - labels))
    assert torch.equal(weights_of(network), weights_of(again))
    lowest = min(epoch.validation_loss for epoch in epochs)
    assert epochs[best - 1].validation_loss == lowest


def test_validation_f1_is_that_of_all_pixels():
    windows, labels = bright_spots()
    network = nn.Sequential(nn.Conv2d(2, 1, 1), nn.Sigmoid())
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[0, 0] = 10.0
        network[0].bias.fill_(-2.0)
    spec = TrainSpec(epochs=1, learning_rate=1e-12, watch="f1")
    (epoch,) = fit(network, windows, labels, spec, validation=(windows, labels))
    claimed, true = windows[:, 0] > 0.2, labels == 1
    expected = 2 * (claimed & true).sum() / (claimed.sum() + true.sum())
    assert epoch.f1 == pytest.approx(expected, abs=1e-6)


def test_ignored_pixels_are_counted_in_no_f1():
    windows, labels = bright_spots()
    network = nn.Sequential(nn.Conv2d(2, 1, 1), nn.Sigmoid())
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[0, 0] = 10.0
        network[0].bias.fill_(-2.0)
    # All that the network claims wrongly, and some of what it finds, says nothing.
    claimed = windows[:, 0] > 0.2
    unclear = labels.copy()
    unclear[claimed & (labels == 0)] = IGNORED
    unclear[:3] = IGNORED
    spec = TrainSpec(epochs=1, learning_rate=1e-12, watch="f1")
    (epoch,) = fit(network, windows, labels, spec, validation=(windows, unclear))
    assert epoch.f1 == 1


def test_every_window_is_shown_once_an_epoch_in_an_order_of_its_own():
    draws = batches.Draws(10, TrainSpec(batch_size=4))
    first = [draw.chosen.tolist() for draw in draws]
    draws.set_epoch(1)
    second = [draw.chosen.tolist() for draw in draws]
    for order in (first, second):
        assert sorted(index for chosen in order for index in chosen) == list(range(10))
    assert first != second
    assert len(draws) == len(first) == 3


def test_windows_and_labels_are_turned_together():
    windows, labels = bright_spots()
    windows[:, 1] = labels
    for kind in ("d4", "flips-rotations"):
        spec = TrainSpec(batch_size=24, augmentation=kind, seed=2)
        for shown, truth in batches.training((windows, labels), spec):
            counted = truth != IGNORED
            near = (shown[:, 1] > 0.5) == (truth == 1)
            # Rotations interpolate windows, and take the nearest label.
            assert near[counted].float().mean() > (0.999 if kind == "d4" else 0.8)


def test_a_rotation_by_a_right_angle_is_that_of_the_grid_and_what_comes_in_says_nothing():
    windows, labels = (torch.from_numpy(array) for array in bright_spots(2))
    turned, truth = batches.rotated(windows, labels, 90.0)
    assert torch.allclose(turned, torch.rot90(windows, 1, (2, 3)), atol=1e-5)
    assert torch.equal(truth, torch.rot90(labels, 1, (1, 2)))
    _, oblique = batches.rotated(windows, labels, 45.0)
    assert (oblique[:, 0, 0] == IGNORED).all()
    assert (oblique[:, 8, 8] != IGNORED).all()


def test_gains_change_channels_one_by_one_within_their_bounds():
    pairs = (np.ones((3, 2, 8, 8), np.float32), np.zeros((3, 8, 8), np.uint8))
    spec = TrainSpec(batch_size=3, augmentation="none", gain=0.2)
    ((shown, _),) = batches.training(pairs, spec)
    factors = shown.amax((2, 3))
    assert torch.equal(factors, shown.amin((2, 3)))
    assert len(factors.unique()) == 6
    assert ((factors >= 0.8) & (factors <= 1.2)).all()


def test_haze_is_taken_from_each_channel_in_one_share_of_its_window():
    rng = np.random.default_rng(3)
    windows = (rng.random((40, 2, 8, 8)) * 0.5 + [[[[0.3]], [[0.1]]]]).astype(np.float32)
    pairs = (windows, np.zeros((40, 8, 8), np.uint8))
    spec = TrainSpec(batch_size=40, augmentation="none", haze=0.8)
    ((shown, _),) = batches.training(pairs, spec)
    highest, darkest = windows.max((1, 2, 3)), windows.min((2, 3))
    assert np.allclose(shown.amax((1, 2, 3)), highest, rtol=1e-6)
    # What was done to the darkest pixels says which share it was, by either channel.
    ratio = shown.amin((2, 3)).numpy() / shown.numpy().max((2, 3))
    shares = (darkest - ratio * windows.max((2, 3))) / (darkest * (1 - ratio))
    assert np.allclose(shares[:, 0], shares[:, 1], atol=1e-4)
    assert (shares > -1e-6).all()
    assert (shares < 0.8).all()
    assert shares.max() > 0.6
    assert shares.min() < 0.2


def test_haze_is_taken_before_a_rotation_brings_in_what_was_not_seen():
    windows = np.full((4, 1, 16, 16), 0.5, np.float32)
    windows[:, :, 8, 8] = 1
    pairs = (windows, np.zeros((4, 16, 16), np.uint8))
    spec = TrainSpec(batch_size=4, augmentation="flips-rotations", haze=1.0)
    ((shown, _),) = batches.training(pairs, spec)
    # Near the middle, where a rotation brings in nothing.
    assert (shown[:, 0, 8, 4] < 0.5).all()


def test_a_dark_channel_has_no_haze():
    windows = torch.rand(3, 2, 8, 8) + 0.1
    windows[:, 0, 0, 0] = 0
    windows[:, 1, 0, 0] = -0.01
    assert torch.equal(looks.cleared(windows, torch.full((3, 1, 1, 1), 0.7)), windows)


def test_a_window_that_would_be_nothing_without_haze_stays_as_it_is():
    flat = torch.full((2, 3, 4, 4), 0.4)
    flat[1, 0, 0, 0] = 0.5
    clear = looks.cleared(flat, torch.ones(2, 1, 1, 1))
    assert torch.equal(clear[0], flat[0])
    assert clear[1].max() == 0.5
    assert clear[1].sum() == 0.5


def test_one_cycle_rises_and_falls():
    spec = TrainSpec(
        epochs=10, batch_size=8, schedule="one-cycle", learning_rate=0.02, augmentation="none"
    )
    epochs = fit(small_network(), *bright_spots(), spec)
    rates = [epoch.learning_rate for epoch in epochs]
    highest = int(np.argmax(rates))
    assert rates[highest] == pytest.approx(0.02, rel=0.1)
    assert highest <= 2
    assert rates[highest:] == sorted(rates[highest:], reverse=True)
    assert rates[-1] < 0.001


@pytest.mark.parametrize(("iterations", "expected"), [(2, 1), (5, 2), (6, 2)])
def test_iterations_end_a_training_in_the_middle_of_an_epoch(iterations, expected):
    spec = TrainSpec(iterations=iterations, batch_size=8, schedule="constant")
    epochs = fit(small_network(), *bright_spots(), spec, validation=bright_spots(seed=4))
    assert [epoch.epoch for epoch in epochs] == list(range(1, expected + 1))
    assert all(epoch.f1 is not None for epoch in epochs)


@pytest.mark.parametrize("validation", [None, bright_spots(seed=4)], ids=["alone", "watched"])
def test_iterations_that_were_stopped_end_in_the_same_weights(tmp_path, validation):
    spec = TrainSpec(iterations=8, batch_size=8, learning_rate=0.02)
    through, stopped, resumed = small_network(), small_network(), small_network()
    whole = fit(through, *bright_spots(), spec, validation=validation)

    def stop(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    facts = {"validation": validation, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, *bright_spots(), spec, on_epoch=stop, **facts)
    both = fit(resumed, *bright_spots(), spec, **facts)
    assert torch.equal(weights_of(resumed), weights_of(through))
    assert [epoch.loss for epoch in both] == [epoch.loss for epoch in whole]


def test_a_training_that_patience_ended_is_finished(tmp_path):
    windows, labels = bright_spots()
    spec = TrainSpec(epochs=30, batch_size=8, learning_rate=0.05, patience=2)
    facts = {"validation": (windows, 1 - labels), "folder": tmp_path}
    first = fit(small_network(), windows, labels, spec, **facts)
    told = []
    again = fit(small_network(), windows, labels, spec, on_epoch=told.append, **facts)
    assert told == []
    assert again == first


@pytest.mark.parametrize(("filters", "is_channels_last"), [(12, False), (16, True)])
def test_bf16_is_channels_last_unless_a_narrow_stride_would_break_memory(filters, is_channels_last):
    network = build("ghorb-resunet", 2, filters=filters)
    seen = set()
    strided = network.encoder[2].residual[2]
    strided.register_forward_hook(
        lambda layer, *_: seen.add(layer.weight.is_contiguous(memory_format=torch.channels_last))
    )
    fit(network, *bright_spots(2), TrainSpec(epochs=1, precision="bf16"))
    assert seen == {is_channels_last}
    assert strided.weight.is_contiguous()


def test_a_pixel_that_is_wrong_with_certainty_is_unlearnt_in_bf16():
    windows = np.ones((8, 1, 8, 8), np.float32)
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Sigmoid())
    with torch.no_grad():
        network[0].weight.fill_(12.0)
        network[0].bias.zero_()
    spec = TrainSpec(epochs=30, learning_rate=0.5, loss="bce", precision="bf16")
    fit(network, windows, np.zeros((8, 8, 8), np.uint8), spec)
    with torch.inference_mode():
        assert network(torch.ones(1, 1, 1, 1)).item() < 0.5


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_name_a_network_a_recipe_and_a_window_that_exist(name):
    from lspipe.models.architectures import TABLE
    from lspipe.models.recipes import recipe_of

    protocol = PROTOCOLS[name]
    assert protocol.paper in {"", TABLE[protocol.architecture].paper}
    assert recipe_of(protocol.recipe).paper == protocol.paper


def test_the_sweep_of_paper_004_has_54_settings_and_holds_its_best_one():
    settings = list(sweep(PROTOCOLS["vega"].spec))
    assert len(settings) == len({name for name, *_ in settings}) == 54
    assert any(
        arguments == {"filters": 64} and spec == PROTOCOLS["vega"].spec
        for _, arguments, spec in settings
    )
    assert set(VEGA_GRID) == {"filters", "learning_rate", "batch_size"}


@pytest.mark.parametrize(
    ("windows", "labels", "message"),
    [
        (np.zeros((2, 3, 8, 8), np.float32), np.zeros((2, 8, 9), np.uint8), r"\(2, 8, 9\)"),
        (np.zeros((0, 3, 8, 8), np.float32), np.zeros((0, 8, 8), np.uint8), "no windows"),
        (np.zeros((1, 3, 8, 8), np.float32), np.full((1, 8, 8), 2, np.uint8), r"labels hold \[2\]"),
        (np.zeros((1, 2, 8, 9), np.float32), np.zeros((1, 8, 9), np.uint8), "square"),
        (np.full((1, 2, 8, 8), np.nan, np.float32), np.zeros((1, 8, 8), np.uint8), "loss is nan"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(windows, labels, message):
    with pytest.raises(ValueError, match=message):
        fit(small_network(), windows, labels, TrainSpec(epochs=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0}, {"loss": "mse"}, {"patience": 0},
        {"schedule": "linear"}, {"augmentation": "cutmix"}, {"gain": 1.0}, {"iterations": 0},
        {"haze": 1.5}, {"haze": -0.1}, {"precision": "fp8"}, {"watch": "iou"}, {"step_factor": 0},
    ],
)  # fmt: skip
def test_a_spec_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        TrainSpec(**wrong)


def test_patience_without_validation_is_refused():
    with pytest.raises(ValueError, match="validation"):
        fit(small_network(), *bright_spots(), TrainSpec(patience=2))


def test_turns_of_the_draws_are_elements_of_d4():
    turns = {draw.turn for draw in batches.Draws(400, TrainSpec(batch_size=4))}
    assert turns == set(dihedral.ELEMENTS)
