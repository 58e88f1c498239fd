"""`lspipe model adapt`: its words, what it does, and what came of it as text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lspipe.cli.text import say, show
from lspipe.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from lspipe.adapt import Adapted

OUTPUT = "models"
"""Folder of adapted models, where none is given."""


def add_arguments(model: argparse.ArgumentParser) -> None:
    """Add the words of `adapt` to the verb `model`."""
    model.add_argument(
        "decisions", nargs="?", help="adapt: GeoJSON, objects of the list with `reviewed`"
    )
    model.add_argument("--output", metavar="DIR", help=f"adapt: folder of the item ({OUTPUT})")
    model.add_argument("--epochs", type=int, metavar="N", help="adapt: how long to train")
    model.add_argument("--parent", metavar="ITEM", help="adapt: the run's model, if it was moved")


def adapt(options: argparse.Namespace) -> int:
    """Train a run's model further on what a person decided about its list."""
    run, decisions = options.item, options.decisions
    if not run or not decisions:
        raise UsageError(
            "lspipe model adapt: expected a run directory and decisions, such as: lspipe model "
            "adapt runs/demo decisions.geojson"
        )
    # Seconds of importing torch, which no other verb should wait for.
    from lspipe.adapt import GENTLE, adapt
    from lspipe.models import ModelItem

    try:
        spec = None if options.epochs is None else replace(GENTLE, epochs=options.epochs)
    except ValueError as error:
        raise UsageError(f"--epochs: {error}") from error
    adapted = adapt(
        run,
        decisions,
        output=Path(options.output or OUTPUT),
        item=ModelItem.from_file(options.parent) if options.parent else None,
        spec=spec,
        on_epoch=lambda epoch, loss: say(f"epoch {epoch}: loss {loss:.4f}"),
    )
    facts = adapted.as_json()
    show(options, facts, lambda: _text(adapted, facts))
    return 0


def _text(adapted: Adapted, facts: dict[str, Any]) -> str:
    counts = adapted.counts
    return "\n".join(
        [
            f"wrote {adapted.item}",
            f"learnt from   {counts['true']} true and {counts['false']} false objects in "
            f"{adapted.patches} windows; {counts['unsure']} unsure, {counts['unreviewed']} not "
            f"reviewed, {counts['unseen']} not seen",
            f"before        {_scores(facts['before'])}",
            f"after         {_scores(facts['after'])}",
            "note: these are the windows that it was trained on, and no evidence of skill "
            "elsewhere; run it on another place, and compare",
        ]
    )


def _scores(facts: dict[str, Any]) -> str:
    predicted, true = facts["right"] + facts["wrong"], facts["found"] + facts["missed"]
    return (
        f"objects: precision {_share(facts['precision'])} ({facts['right']} of {predicted} right), "
        f"recall {_share(facts['recall'])} ({facts['found']} of {true} found)"
    )


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.0%}"
