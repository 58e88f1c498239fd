"""`lspipe model adapt`: what it does, and what came of it as text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lspipe.cli.text import counted, say, show
from lspipe.errors import UsageError
from lspipe.models.mlm import read_item

if TYPE_CHECKING:
    import argparse

    from lspipe.train.adapt import Adapted

OUTPUT = "models"
"""Folder of adapted models, where none is given."""


def adapt(options: argparse.Namespace) -> int:
    """Train a run's model further on what a person decided about its list."""
    # Seconds of importing torch, which no other verb should wait for.
    from lspipe.train.adapt import adapt
    from lspipe.train.further import GENTLE

    try:
        spec = None if options.epochs is None else replace(GENTLE, epochs=options.epochs)
    except ValueError as error:
        raise UsageError(f"--epochs: {error}") from error
    adapted = adapt(
        options.run,
        options.decisions,
        output=options.output,
        item=read_item(options.parent) if options.parent else None,
        missed=options.missed,
        spec=spec,
        share=options.share,
        on_epoch=lambda done: say(f"epoch {done.epoch}: loss {done.loss:.4f}"),
    )
    facts = adapted.as_json()
    show(options, facts, lambda: _text(adapted, facts))
    return 0


def _text(adapted: Adapted, facts: dict[str, Any]) -> str:
    counts = adapted.counts
    return "\n".join(
        [
            _outcome(adapted),
            f"learnt from   {counts['true']} true and {counts['false']} false objects"
            f"{_drawn(counts['drawn'])} in {adapted.patches} windows; {counts['unsure']} unsure, "
            f"{counts['unreviewed']} not reviewed, {counts['unseen']} not seen",
            *_held_out(adapted),
            f"before        {_scores(facts['before'])}",
            *_learnt(adapted, facts),
        ]
    )


def _outcome(adapted: Adapted) -> str:
    if adapted.item is None:
        return "nothing was written: where nothing was learnt from, the model is as good as it is"
    return f"wrote {adapted.item}, with {adapted.share:.0%} new weights"


def _held_out(adapted: Adapted) -> list[str]:
    if not adapted.held_out:
        return []
    scores = ", ".join(f"{share:.0%} {f1:.3f}" for share, f1 in adapted.held_out.items())
    return [f"held out      F1 of pixels by share of new weights: {scores}"]


def _learnt(adapted: Adapted, facts: dict[str, Any]) -> list[str]:
    if adapted.item is None:
        return []
    return [
        f"after         {_scores(facts['after'])}",
        "note: these are the windows that it was trained on, and no evidence of skill "
        "elsewhere; run it on another place, and compare",
    ]


def _drawn(count: int) -> str:
    return f" and {counted(count, 'drawn outline')}" if count else ""


def _scores(facts: dict[str, Any]) -> str:
    predicted, true = facts["right"] + facts["wrong"], facts["found"] + facts["missed"]
    return (
        f"objects: precision {_share(facts['precision'])} ({facts['right']} of {predicted} right), "
        f"recall {_share(facts['recall'])} ({facts['found']} of {true} found)"
    )


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.0%}"
