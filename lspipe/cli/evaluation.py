"""`lspipe model evaluate`: a model scored on labelled patches; prints and writes the scorecard."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lspipe.cli.progress import PatchProgress
from lspipe.cli.text import counted, say, show
from lspipe.errors import UsageError
from lspipe.samples.parts import TEST, TRAIN, in_part

if TYPE_CHECKING:
    import argparse

    from lspipe.evaluate.scorecard import Scorecard
    from lspipe.models import ModelItem
    from lspipe.samples import Samples

OK = 0

_SHOWN = 5
"""Broken patches that are named; the others are counted."""


def evaluate(options: argparse.Namespace) -> int:
    """Score a model on labelled patches."""
    from lspipe import __version__, models
    from lspipe.cli.cards import scorecard_text
    from lspipe.evaluate import scorecard
    from lspipe.evaluate.published import rows_of
    from lspipe.models.recipes import check_item
    from lspipe.models.weights import build_network

    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise UsageError(f"--threshold {options.threshold:g}: expected a probability, 0 to 1")
    if options.batch_size < 1:
        raise UsageError(f"--batch-size {options.batch_size}: expected 1 or more")
    item = models.read_item(options.item)
    check_item(item)
    if not item.recipe:
        raise UsageError(
            f"{item.path}: names no channel recipe (lspipe:recipe), so the channels and units that "
            "its patches must have are not known"
        )
    if options.write:
        scorecard.check_writable(options.write)
    # Before the folder is looked through: weights that were changed are found at once.
    build_network(item)
    samples, left_out = _samples(options, item)
    continued = _continued(options, item, samples)
    card = scorecard.Scorecard(
        model=item.id,
        sha256=models.digest(item),
        lspipe=__version__,
        command=_command(options),
        patches=_scores(options, item, samples, left_out, continued),
        not_to_be_read_as=scorecard.limits_of(item),
    )
    if options.write:
        scorecard.write(card, options.write)
        say(f"wrote {options.write}")
    window = card.patches[0].window
    published = rows_of(item.architecture, item.recipe, patch=window, tested_on=options.regions)
    facts = {**card.as_json(), "published": [asdict(row) for row in published]}
    show(options, facts, lambda: scorecard_text(card, published))
    return OK


def card_of(item: ModelItem) -> tuple[Scorecard | None, str]:
    """The scorecard of an item, or why it cannot be shown; (None, "") where it has none."""
    from lspipe.errors import ModelError
    from lspipe.evaluate import scorecard

    try:
        return scorecard.read(item), ""
    except ModelError as error:
        return None, str(error)


def _samples(options: argparse.Namespace, item: ModelItem) -> tuple[Samples, int]:
    """The sound patches that are asked for, and how many broken ones were left out."""
    from lspipe.evaluate.scoring import check_units
    from lspipe.samples import sound
    from lspipe.samples.folders import open_folder
    from lspipe.samples.tiling import cut

    found = in_part(open_folder(options.data, item.recipe), options.part)
    if found.parts is not None:
        say(f"{found.source}: scored on its part {options.part}")
    check_units(item, found)
    if options.regions:
        found = found.of_regions(options.regions)
    if options.window is not None:
        found = cut(found, options.window)
    say(f"{found.source}: looking through {counted(len(found), 'patch', 'patches')}")
    kept = sound(found, skip_broken=options.skip_broken)
    broken = [name for name in found.names if name not in set(kept.names)]
    if broken:
        more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        count = counted(len(broken), "broken patch", "broken patches")
        say(f"left out {count}: {', '.join(broken[:_SHOWN])}{more}")
    return kept, len(broken)


def _continued(options: argparse.Namespace, item: ModelItem, samples: Samples) -> float | None:
    """The share of the patches that lie beside those that were trained on; None = not known."""
    from lspipe.samples.folders import open_folder
    from lspipe.samples.leaks import leak
    from lspipe.samples.tiling import cut

    if options.trained_on is None:
        return None
    training = in_part(open_folder(options.trained_on, item.recipe), TRAIN)
    found = leak(training if options.window is None else cut(training, options.window), samples)
    say(("warning: " if found.is_large else "") + found.text())
    return found.share


def _scores(
    options: argparse.Namespace,
    item: ModelItem,
    samples: Samples,
    left_out: int,
    continued: float | None,
) -> tuple[Any, ...]:
    """Scores for each way of showing the patches that is asked for."""
    from lspipe.evaluate.scoring import measure, predict

    ways: dict[str | None, tuple[Any, ...]] = {"both": ("none", "d4"), None: (None,)}
    scores = []
    for tta in ways.get(options.tta, (options.tta,)):
        progress = PatchProgress(len(samples))
        predictions = predict(
            item, samples, tta=tta, batch_size=options.batch_size, on_patches=progress.report
        )
        scores.append(
            measure(
                predictions,
                threshold=options.threshold,
                choose=options.choose_threshold,
                regions=options.regions,
                left_out=left_out,
                continued=continued,
            )
        )
    return tuple(scores)


def _command(options: argparse.Namespace) -> str:
    """What reproduces the scores; paths as they were given."""
    words = ["lspipe", "model", "evaluate", str(options.item), "--data", str(Path(options.data))]
    for name in ("window", "tta", "threshold"):
        value = getattr(options, name)
        if value is not None:
            words += [f"--{name}", str(value)]
    if options.trained_on:
        words += ["--trained-on", str(Path(options.trained_on))]
    if options.part != TEST:
        words += ["--part", options.part]
    if options.regions:
        words += ["--regions", ",".join(options.regions)]
    for name in ("choose_threshold", "skip_broken"):
        if getattr(options, name):
            words.append(f"--{name.replace('_', '-')}")
    return shlex.join(words)
