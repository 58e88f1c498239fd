"""A model and labelled patches -> scores, by the same inference as in a run.

Each patch is one window of the network. Patches side by side form a tile whose lattice has exactly
one window per patch, so that `run_block` does the rest: batches, the eight views, their merge,
unobserved pixels. Patches are in model units already, so nothing is scaled there. The probabilities
are kept as the codes that a run stores (`schema.quantise`), so that thresholds act in the same way
on scores and maps.

Covers: probabilities of patches, a threshold chosen on them, scores and their spread.
Does not cover: reading folders (`samples`), the stored document (`scorecard`).

Source: batches of 16 patches, paper 002 (section 5.3.2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import ModelError, SamplesError, UsageError
from lspipe.evaluate.metrics import Confusion, averaged, confusion, match_objects, micro
from lspipe.evaluate.reliability import above, histograms, reliability
from lspipe.evaluate.scorecard import Objects, PatchScores, Row
from lspipe.evaluate.spread import intervals
from lspipe.inference import runtimes
from lspipe.inference.block import run_block
from lspipe.inference.inputs import WINDOW_KINDS
from lspipe.inference.runtimes import from_callable
from lspipe.inference.settings import Setting
from lspipe.inference.windows import stride_of
from lspipe.models.item import ModelItem, Scaling, digest
from lspipe.models.recipes import check_item
from lspipe.schema import CODE_NODATA, IGNORED, quantise, threshold_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from lspipe.evaluate.metrics import ObjectScores
    from lspipe.inference.runtimes import Runtime
    from lspipe.models.item import Tta
    from lspipe.samples import Samples

BATCH = 16
"""Patches of a batch whose scores are averaged. Source: paper 002, section 5.3.2."""

GRID = tuple(number / 100 for number in range(1, 100))
"""Thresholds to try."""


@dataclass(frozen=True)
class Predictions:
    """Probabilities of patches, with their labels."""

    samples: Samples
    codes: tuple[NDArray[np.uint16], ...]
    """Codes of each patch, (y, x), as a run stores them: `schema.quantise`."""
    masks: tuple[NDArray[np.uint8], ...]
    """1 = landslide, 0 = none, `IGNORED`."""
    window: int
    tta: Tta
    own_threshold: float
    """Threshold of the model item; 0.5 for a callable."""
    is_of_one_view: bool = False
    """Whether each patch was one window in one view, so that these are the network's answers."""
    temperature: float = 1.0
    """That the answers have, of the model item."""


def predict(
    model: Any,
    samples: Samples,
    *,
    tta: Tta | None = None,
    window: int | None = None,
    batch_size: int = 8,
    device: str = "auto",
    on_patches: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict every patch with a model.

    Args:
        model: a `ModelItem` of the same recipe as the samples, or a callable or torch module
            (N, C, w, w) -> (N, 1, w, w) in the model units of the samples.
        samples: in the model units of their recipe.
        tta: "d4" or "none"; None = that of the item, "d4" if it has none. The views are merged as
            the item defines.
        window: None = each patch is one window, as in training; else windows of this edge cover
            each patch, with the overlap of the item.
        batch_size: patches in one call of the network.
        device: "auto", "cpu" or "cuda".
        on_patches: called after each batch with the number of patches done.

    Raises:
        ModelError: the item has another recipe, or not the scaling of its recipe.
        SamplesError: no patches, a broken one, or one that is not square.
        InferenceError: the network failed.
    """
    if not len(samples):
        raise SamplesError(f"{samples.source}: no patches")
    if window is not None and samples.recipe.scaling.kind in WINDOW_KINDS:
        raise SamplesError(
            f"{samples.source}: each patch is scaled by its own values, a window of {window} px "
            "has others: cut the patches first (samples.tiling.cut)"
        )
    item = model if isinstance(model, ModelItem) else None
    if item is not None:
        check_units(item, samples)
    views: Tta = tta or (item.tta if item is not None and item.tta else "d4")
    predictor = PatchPredictor(
        runtime=_runtime(model, device),
        setting=_setting(
            window=1 if window is None else window,
            stride=1,
            tta=views,
            tta_merge=(item and item.tta_merge) or "max",
            tta_order=(item and item.tta_order) or "average-then-max",
            batch_size=batch_size,
        ),
        window=window,
        overlap=(item and item.overlap) or 0.0,
    )
    codes: list[NDArray[np.uint16]] = []
    masks: list[NDArray[np.uint8]] = []
    sizes = set()
    for images, labels in _batches(samples, batch_size):
        codes += predictor(images, samples)
        masks += labels
        sizes.add(window or images[0].shape[1])
        if on_patches is not None:
            on_patches(len(codes))
    return Predictions(
        samples=samples,
        codes=tuple(codes),
        masks=tuple(masks),
        window=max(sizes),
        tta=views,
        own_threshold=0.5 if item is None else item.threshold,
        is_of_one_view=views == "none" and window is None,
        temperature=(item and item.temperature) or 1.0,
    )


def check_units(item: ModelItem, samples: Samples) -> None:
    """Refuse a model with other channels or units than the samples.

    Patches hold values after the scaling of their recipe, and are not scaled again: an item with
    another scaling would get other input than in a run.

    Raises:
        ModelError: names the difference.
    """
    if item.recipe != samples.recipe.name:
        raise ModelError(
            f"{item.path}: lspipe:recipe: found {item.recipe or 'none'}: {samples.source} is in "
            f"the channels and units of {samples.recipe.name}"
        )
    expected = samples.recipe.scaling
    same = (item.scaling.kind, item.scaling.clip) == (expected.kind, expected.clip) and all(
        len(a) == len(b) and np.allclose(a, b, rtol=1e-6, atol=0)
        for a, b in ((item.scaling.scale, expected.scale), (item.scaling.offset, expected.offset))
    )
    if not same:
        raise ModelError(
            f"{item.path}: lspipe:scaling: is not that of recipe {item.recipe}, which the patches "
            f"of {samples.source} have: expected {expected}"
        )


def choose_threshold(
    probabilities: Iterable[NDArray[Any]],
    masks: Iterable[NDArray[np.uint8]],
    *,
    grid: Sequence[float] = GRID,
) -> float:
    """Return the threshold with the best F1 of all pixels. For validation patches only.

    Its F1 is optimistic on the patches that it is chosen on. Of equally good thresholds the one
    nearest to 0.5 is returned.

    Args:
        probabilities: (y, x) each, float 0..1 with NaN = not observed, or codes of a run.
        masks: (y, x) each, 1 = landslide, 0 = none, `IGNORED`.
        grid: thresholds to try.

    Raises:
        SamplesError: no landslide pixel in the patches.
    """
    counts = histograms(probabilities, masks)
    there = int(counts[1].sum())
    if there == 0:
        raise SamplesError(
            "no landslide pixel in the patches: a threshold cannot be chosen on them"
        )
    higher = above(counts)
    best, best_f1 = grid[0], -1.0
    for threshold in sorted(grid, key=lambda value: abs(value - 0.5)):
        false, found = (int(count) for count in higher[:, threshold_code(threshold)])
        f1 = Confusion(found, false, there - found).f1
        if f1 > best_f1:
            best, best_f1 = threshold, f1
    return best


def measure(
    predictions: Predictions,
    *,
    threshold: float | None = None,
    choose: bool = False,
    regions: Sequence[str] = (),
    left_out: int = 0,
    continued: float | None = None,
    seed: int = 0,
) -> PatchScores:
    """Score the predictions of a model on patches.

    Args:
        predictions: of `predict`.
        threshold: landslide where the probability is above it; None = that of the model.
        choose: choose the threshold on these patches instead.
        regions: of the samples, for the record.
        left_out: number of broken patches that were left out, for the record.
        continued: share of the patches that continue one that was trained on, for the record.
        seed: of the bootstrap.

    Raises:
        UsageError: a threshold outside 0..1, or together with `choose`.
        SamplesError: no pixel to count.
    """
    if choose and threshold is not None:
        raise UsageError(f"threshold {threshold} together with choose: expected one of them")
    whence: Any = "model item" if threshold is None else "given"
    limit = predictions.own_threshold if threshold is None else threshold
    if choose:
        whence = "chosen on these patches"
        limit = choose_threshold(predictions.codes, predictions.masks)
    patches = list(_scored_patches(predictions, threshold_code(limit)))
    counts = [one.counts for one in patches]
    total = sum(counts, Confusion(0, 0, 0))
    pixels = total.total
    if pixels == 0:
        raise SamplesError(f"{predictions.samples.source}: no pixel is both observed and labelled")
    return PatchScores(
        data=predictions.samples.source,
        regions=tuple(regions),
        patches=len(counts),
        left_out=left_out,
        continued=continued,
        pixels=pixels,
        landslide_share=(total.true_positive + total.false_negative) / pixels,
        window=predictions.window,
        tta=predictions.tta,
        threshold=limit,
        threshold_from=whence,
        micro=Row.of(micro(counts)),
        batch_mean=Row.of(averaged(_summed(counts, BATCH))),
        batch=BATCH,
        intervals=intervals(counts, seed=seed),
        objects=Objects(
            right=sum(one.objects.right for one in patches),
            wrong=sum(one.objects.wrong for one in patches),
            found=sum(one.objects.found for one in patches),
            missed=sum(one.objects.missed for one in patches),
            iou=_mean_iou([one.objects for one in patches]),
        ),
        reliability=reliability(
            histograms(predictions.codes, predictions.masks),
            is_of_one_view=predictions.is_of_one_view,
            temperature=predictions.temperature,
        ),
    )


def _mean_iou(objects: Sequence[ObjectScores]) -> float | None:
    """Return the mean IoU of the right objects of all patches; None without any."""
    with_right = [one for one in objects if one.right]
    if not with_right:
        return None
    total = sum(one.jaccard_mean * one.right for one in with_right)
    return total / sum(one.right for one in with_right)


def score(
    model: Any,
    samples: Samples,
    *,
    tta: Tta | None = None,
    threshold: float | None = None,
    choose: bool = False,
    **settings: Any,
) -> PatchScores:
    """Predict and measure; arguments and errors are those of `predict` and `measure`."""
    return measure(predict(model, samples, tta=tta, **settings), threshold=threshold, choose=choose)


# --- parts --------------------------------------------------------------------------------------


def _runtime(model: Any, device: str) -> Runtime:
    if not isinstance(model, ModelItem):
        return from_callable(model, device=device)
    check_item(model)
    return runtimes.load(model.reference, digest(model), device=device, precision="fp32")


def _setting(**settings: Any) -> Setting:
    try:
        return Setting(**settings)
    except ValueError as error:
        raise UsageError(f"predict: {error}") from error


@dataclass(frozen=True)
class PatchPredictor:
    """Predicts patches with a model and its settings."""

    runtime: Runtime
    setting: Setting
    """All settings but the window and the stride."""
    window: int | None
    overlap: float

    def __call__(
        self, images: list[NDArray[np.float32]], samples: Samples
    ) -> list[NDArray[np.uint16]]:
        """Return the codes of patches of one size."""
        height, width = images[0].shape[1:]
        if self.window is not None:
            stride = stride_of(self.window, self.overlap)
            return [self._codes(image, self.window, stride) for image in images]
        if height != width:
            raise SamplesError(
                f"{samples.source}: patches of {height} x {width} px: expected square ones, as a "
                "patch is one window of the network"
            )
        row = self._codes(np.concatenate(images, axis=2), height, height)
        return np.split(row, len(images), axis=1)

    def _codes(self, image: NDArray[np.float32], window: int, stride: int) -> NDArray[np.uint16]:
        height, width = image.shape[1:]
        found = run_block(
            image,
            origin=(0, 0),
            tile_shape=(height, width),
            core=(slice(0, height), slice(0, width)),
            runtime=self.runtime,
            setting=replace(self.setting, window=window, stride=stride),
            # In model units already.
            scaling=Scaling(),
        )
        return quantise(found)


def _batches(
    samples: Samples, size: int
) -> Iterator[tuple[list[NDArray[np.float32]], list[NDArray[np.uint8]]]]:
    """Yield consecutive patches of one shape, at most `size` at a time."""
    for _, group in groupby(samples, key=lambda pair: pair[0].shape):
        images: list[NDArray[np.float32]] = []
        labels: list[NDArray[np.uint8]] = []
        for image, mask in group:
            images.append(image)
            labels.append(mask)
            if len(images) == size:
                yield images, labels
                images, labels = [], []
        if images:
            yield images, labels


@dataclass(frozen=True)
class ScoredPatch:
    """Pixel counts and object scores of one patch, against its labels."""

    counts: Confusion
    objects: Any


def _scored_patches(predictions: Predictions, limit: int) -> Iterator[ScoredPatch]:
    for codes, mask in zip(predictions.codes, predictions.masks, strict=True):
        counted = (codes != CODE_NODATA) & (mask != IGNORED)
        claimed, there = (codes > limit) & counted, (mask == 1) & counted
        yield ScoredPatch(
            counts=confusion(claimed, there, counted=counted),
            objects=match_objects(claimed, there),
        )


def _summed(counts: Sequence[Confusion], size: int) -> list[Confusion]:
    """Return the counts of batches of patches, in order; the last one may be smaller."""
    return [
        sum(counts[first : first + size], Confusion(0, 0, 0))
        for first in range(0, len(counts), size)
    ]
