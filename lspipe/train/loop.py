"""The training loop, by Lightning: a step, the best weights, the end.

Imported only for a training, as it needs `lspipe[train]`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import signal
import threading
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as lightning
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import nn
from torch.overrides import TorchFunctionMode

from lspipe.errors import UsageError
from lspipe.schema import IGNORED
from lspipe.train import batches
from lspipe.train.checkpoints import SUFFIX, SafeCheckpoints
from lspipe.train.losses import loss_of
from lspipe.train.spec import Epoch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.train.batches import TensorPair
    from lspipe.train.spec import Pairs, TrainSpec

STATE = f"last{SUFFIX}"
"""The state after the last whole epoch."""

_KEY = "lspipe"

_RISING = 0.15
"""Share of the steps of one cycle in which the learning rate rises."""


def fit(
    network: nn.Module,
    windows: NDArray[np.float32],
    labels: NDArray[np.uint8] | NDArray[np.float32],
    spec: TrainSpec,
    *,
    validation: Pairs | None,
    folder: Path | None,
    on_epoch: Callable[[Epoch], None] | None,
) -> tuple[Epoch, ...]:
    """Train a network in place: see `lspipe.train.fit`."""
    check_pairs((windows, labels), spec)
    if validation is not None:
        check_pairs(validation, spec)
    elif spec.patience is not None:
        raise ValueError(f"patience {spec.patience}: expected validation windows to watch")
    device = next(network.parameters()).device
    course = _identity(network, (windows, labels), validation, spec)
    if spec.precision == "bf16" and _supports_channels_last(network):
        # bf16 convolutions are faster in it: a step of ghorb-resunet takes 0.74 of the time.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Lightning does not change the mode of the layers.
    network.train()
    task = _Task(network, spec, pairs=(windows, labels), course=course)
    keep = _Keep(spec, on_epoch)
    watched = None if validation is None else batches.validation(validation, spec.batch_size)
    state = None if folder is None else folder / STATE
    with _quiet(), _process_restored():
        trainer = _trainer(spec, device, folder, keep, task.epochs)
        try:
            trainer.fit(
                task,
                val_dataloaders=watched,
                ckpt_path=str(state) if state is not None and state.exists() else None,
            )
        except SystemExit:
            # Lightning turns Ctrl-C into SystemExit.
            if trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
    keep.restore_best(network)
    network.to(device).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network.eval()
    return tuple(keep.epochs)


def _supports_channels_last(network: nn.Module) -> bool:
    """Return whether all layers of a network can be trained in the format channels_last.

    oneDNN writes the gradient of a strided 1 x 1 convolution past its buffer if it has fewer
    channels than a vector holds: the process crashes, or continues with wrong weights. With torch
    2.13 it happens with 8 and 12 channels but not with 16. Source: uxlfoundation/oneDNN issue 6035.
    """
    return not any(
        isinstance(layer, nn.Conv2d)
        and layer.in_channels < _VECTOR
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        for layer in network.modules()
    )


_VECTOR = 16
"""Float32 numbers in a vector of AVX512, the widest."""


def check_pairs(pairs: Pairs, spec: TrainSpec) -> None:
    """Refuse windows and labels that do not match.

    Raises:
        ValueError: other shapes or labels, or no windows.
    """
    windows, labels = pairs
    if windows.ndim != 4 or labels.shape != (len(windows), *windows.shape[2:]):
        raise ValueError(
            f"windows {windows.shape} and labels {labels.shape}: expected (N, C, w, w) and "
            "(N, w, w)"
        )
    if not len(windows):
        raise ValueError("found no windows: expected at least one to train on")
    found = np.unique(labels[~(((labels >= 0) & (labels <= 1)) | (labels == IGNORED))])
    if found.size:
        raise ValueError(f"labels hold {found.tolist()}: expected 0, 1 and {IGNORED}")
    if spec.augmentation != "none" and windows.shape[2] != windows.shape[3]:
        raise ValueError(
            f"windows {windows.shape}: expected square ones, as augmentation "
            f"{spec.augmentation!r} turns them"
        )


class _Task(lightning.LightningModule):
    """One step of training, and one of validation."""

    def __init__(
        self,
        network: nn.Module,
        spec: TrainSpec,
        *,
        pairs: Pairs,
        course: dict[str, str],
    ) -> None:
        super().__init__()
        self.network = network
        self._spec = spec
        self._pairs = pairs
        batches_per_epoch = math.ceil(len(pairs[0]) / spec.batch_size)
        self._steps = spec.iterations or spec.epochs * batches_per_epoch
        self.epochs = math.ceil(self._steps / batches_per_epoch)
        self._course = course
        self._begin()

    def _begin(self) -> None:
        self._loss = self._shown = self._rate = 0.0
        self._began = time.perf_counter()

    def train_dataloader(self) -> Any:
        # Here, because Lightning draws the first batch of a resumed training before it sets the
        # epoch of the sampler.
        loader = batches.training(self._pairs, self._spec)
        loader.sampler.set_epoch(self.current_epoch)  # type: ignore[attr-defined]
        return loader

    def configure_optimizers(self) -> Any:
        spec = self._spec
        optimiser = torch.optim.Adam(self.network.parameters(), lr=spec.learning_rate)
        if spec.schedule == "constant":
            return optimiser
        if spec.schedule == "cosine":
            schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self._steps)
            interval = "step"
        elif spec.schedule == "one-cycle":
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimiser,
                spec.learning_rate,
                # One more, as Lightning asks for the rate after the last step.
                total_steps=self._steps + 1,
                pct_start=_RISING,
                cycle_momentum=False,
            )
            interval = "step"
        else:
            schedule = torch.optim.lr_scheduler.StepLR(
                optimiser, spec.step_epochs, spec.step_factor
            )
            interval = "epoch"
        return [optimiser], [{"scheduler": schedule, "interval": interval}]

    def on_train_epoch_start(self) -> None:
        self._begin()
        # For dropout: a resumed epoch draws the same numbers.
        torch.manual_seed(self._spec.seed * 1_000_003 + self.current_epoch)

    def training_step(self, batch: TensorPair, index: int) -> torch.Tensor:
        del index
        windows, labels = batch
        with _WholeSigmoid():
            probability = self.network(windows)[:, 0].float()
        loss = loss_of(self._spec.loss, probability, labels)
        if not torch.isfinite(loss):
            raise ValueError(
                f"epoch {self.current_epoch + 1}: the loss is {loss.item()}; lower learning_rate "
                f"({self._spec.learning_rate:g}), and check the windows for NaN"
            )
        self._loss += float(loss.detach()) * len(windows)
        self._shown += len(windows)
        (optimiser,) = self.trainer.optimizers
        self._rate = float(optimiser.param_groups[0]["lr"])
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        # Not `max_steps` of Lightning, which restarts a resumed epoch.
        if self._spec.iterations and self.global_step >= self._spec.iterations:
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        self._seen = self._watched_loss = 0.0
        self._counts = np.zeros(3, np.int64)

    def validation_step(self, batch: TensorPair, index: int) -> None:
        del index
        windows, labels = batch
        with _WholeSigmoid():
            probability = self.network(windows)[:, 0].float()
        loss = loss_of(self._spec.loss, probability, labels)
        self._watched_loss += float(loss) * len(windows)
        self._seen += len(windows)
        claimed, true = (probability > 0.5) & (labels != IGNORED), labels == 1
        self._counts += [int(x.sum()) for x in (claimed & true, claimed & ~true, ~claimed & true)]

    def on_validation_epoch_end(self) -> None:
        found, false, missed = self._counts.tolist()
        self.log("loss", self._watched_loss / self._seen)
        self.log("f1", 2 * found / max(2 * found + false + missed, 1))

    def result(self) -> dict[str, Any]:
        """Return the results of the epoch that ends."""
        return {
            "epoch": self.current_epoch + 1,
            "loss": self._loss / self._shown,
            "learning_rate": self._rate,
            "seconds": time.perf_counter() - self._began,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[_KEY] = self._course

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        found = checkpoint.get(_KEY) or {}
        other = [key for key, value in self._course.items() if found.get(key) != value]
        if other:
            lines = "; ".join(
                f"{key} {found.get(key, 'unknown')} there, {self._course[key]} here"
                for key in other
            )
            raise UsageError(
                f"another training lies in this folder ({lines}): choose another folder, or start "
                "over (fresh=True)"
            )


class _WholeSigmoid(TorchFunctionMode):
    """Computes sigmoids in float32 in any precision.

    In bfloat16 a sigmoid is exactly 1 from a logit of 7 on, and has no gradient there: a pixel that
    is wrong with certainty would stay wrong.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _SIGMOIDS:
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))


_SIGMOIDS = {torch.sigmoid, torch.Tensor.sigmoid, torch.nn.functional.sigmoid}


class _Keep(Callback):
    """Keeps the best weights and reports every epoch; a part of the state on disk."""

    def __init__(self, spec: TrainSpec, on_epoch: Callable[[Epoch], None] | None) -> None:
        self._watch = spec.watch
        self._on_epoch = on_epoch
        self.epochs: list[Epoch] = []
        self._best: dict[str, torch.Tensor] = {}
        self._score: float | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        # If patience has ended the training already: Lightning would run one more epoch.
        del pl_module
        for stopping in trainer.early_stopping_callbacks:
            if stopping.wait_count >= stopping.patience:
                trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        watched = trainer.callback_metrics
        loss, f1 = (float(watched[key]) if key in watched else None for key in ("loss", "f1"))
        score = loss if self._watch == "loss" else f1
        is_best = score is not None and self._is_better(score)
        if is_best:
            self._score = score
            weights = pl_module.network.state_dict()
            self._best = {name: value.detach().cpu().clone() for name, value in weights.items()}
        epoch = Epoch(**pl_module.result(), validation_loss=loss, f1=f1, is_best=is_best)
        self.epochs.append(epoch)
        if self._on_epoch is not None:
            self._on_epoch(epoch)

    def _is_better(self, score: float) -> bool:
        if self._score is None:
            return True
        return score < self._score if self._watch == "loss" else score > self._score

    def restore_best(self, network: nn.Module) -> None:
        """Load the best weights into a network; without validation it keeps the last ones."""
        if self._best:
            network.load_state_dict(self._best)

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs": [dataclasses.asdict(epoch) for epoch in self.epochs],
            "best": self._best,
            "score": self._score,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs = [Epoch(**epoch) for epoch in state_dict["epochs"]]
        self._best, self._score = state_dict["best"], state_dict["score"]


class _State(ModelCheckpoint):
    FILE_EXTENSION = SUFFIX


def _trainer(
    spec: TrainSpec, device: torch.device, folder: Path | None, keep: _Keep, epochs: int
) -> lightning.Trainer:
    callbacks: list[Callback] = [keep]
    if spec.patience is not None:
        mode = "min" if spec.watch == "loss" else "max"
        callbacks.append(EarlyStopping(spec.watch, patience=spec.patience, mode=mode))
    if folder is not None:
        callbacks.append(
            _State(
                folder, filename=STATE.removesuffix(SUFFIX), enable_version_counter=False,
                save_on_train_epoch_end=True,
            )
        )  # fmt: skip
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision="bf16-mixed" if spec.precision == "bf16" else "32-true",
        max_epochs=epochs,
        callbacks=callbacks,
        # One process, also if a batch system has prepared several.
        plugins=[LightningEnvironment(), SafeCheckpoints()],
        enable_checkpointing=folder is not None,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic="warn",
    )


def _identity(
    network: nn.Module, pairs: Pairs, validation: Pairs | None, spec: TrainSpec
) -> dict[str, str]:
    """Return the facts that must be equal to resume a training."""
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    first = hashlib.sha256()
    for value in network.state_dict().values():
        first.update(value.detach().cpu().contiguous().numpy().tobytes())
    return {
        **{
            f"spec.{key}": str(value)
            for key, value in dataclasses.asdict(spec).items()
            # They decide which windows are given, which is another entry.
            if key not in ("exchanged", "unchanged")
        },
        "network": hashlib.sha256(str(shapes).encode()).hexdigest()[:12],
        "first weights": first.hexdigest()[:12],
        "windows": _digest(pairs),
        "validation": "none" if validation is None else _digest(validation),
    }


def _digest(pairs: Pairs) -> str:
    total = hashlib.sha256()
    for array in pairs:
        total.update(str(array.shape).encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()[:12]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the advice of Lightning, which is for authors of training loops."""
    names = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric")
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _process_restored() -> Iterator[None]:
    """Restore the process afterwards: random numbers, determinism, handler of Ctrl-C."""
    is_main = threading.current_thread() is threading.main_thread()
    on_interrupt = signal.getsignal(signal.SIGINT)
    was_strict = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was_strict, warn_only=only_warned)
            if is_main:
                signal.signal(signal.SIGINT, on_interrupt)
