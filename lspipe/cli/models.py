"""The short verbs of `lspipe model`: list, show, check, pack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lspipe.cli.evaluation import card_of
from lspipe.cli.summaries import check_text, models_text, scores_lines
from lspipe.cli.text import say, show
from lspipe.cli.training import assigned, samples_of
from lspipe.errors import UsageError
from lspipe.machine.remote import place
from lspipe.models.mlm import read_item
from lspipe.samples.parts import TRAIN, in_part

if TYPE_CHECKING:
    import argparse

    from lspipe.models.recipes import Recipe
    from lspipe.models.statistics import Statistics

OK = 0


def list_models(options: argparse.Namespace) -> int:
    """List what comes with lspipe, and what can be trained."""
    from lspipe import models

    facts = models.listed()
    show(options, facts, lambda: models_text(facts))
    return OK


def show_card(options: argparse.Namespace) -> int:
    """Show the card of a model."""
    from lspipe.cli.cards import card_text
    from lspipe.models.recipes import recipe_of

    item = _item(options.item)
    known, problem = card_of(item)
    note = recipe_of(item.recipe).note if item.recipe else ""
    facts = {
        "id": item.id,
        **item.facts(),
        "recipe": {"name": item.recipe, "note": note},
        "training": dict(item.training),
        "statistics": item.statistics and item.statistics.as_json(),
        "scorecard": known and known.as_json(),
    }
    shown = card_text(item, recipe_note=note)
    show(options, facts, lambda: "\n".join([shown, *scores_lines(known, problem)]))
    return OK


def check(options: argparse.Namespace) -> int:
    """Run a model once, and report what is wrong with it."""
    from lspipe.inference import soundness as card

    item = _item(options.item)
    # What is asked of the data comes first: the network takes a while.
    data = _compared_data(item, options.data) if options.data else []
    problems = card.check(item)
    found = {"problems": problems} | ({"data": data} if data else {})
    show(options, found, lambda: check_text(options.item, problems, data))
    has_slip = any(compared["slips"] for compared in data)
    return UsageError.exit_code if problems or has_slip else OK


def _compared_data(item: Any, folder: str) -> list[dict[str, Any]]:
    """Compare a folder of patches, or each date of a run, with the training data of a model."""
    if item.statistics is None:
        raise UsageError(
            f"{item.path}: lspipe:statistics: missing, so there is nothing to compare {folder} "
            "with; pack the model with --data, the patches that it was trained on"
        )
    if (place(folder) / "run.json").exists():
        return _compared_run(item, folder)
    return [_compared_patches(item, folder)]


def _compared_run(item: Any, folder: str) -> list[dict[str, Any]]:
    from lspipe.models.slips import compare_with_training
    from lspipe.models.statistics import Statistics
    from lspipe.runs.frozen import FrozenRun
    from lspipe.runs.guard import read_again

    compared = []
    for name, values in read_again(FrozenRun.of(folder), item):
        if not values.size:
            say(f"{folder}: {name}: nothing was observed at the places that were read")
            continue
        found = Statistics.of([values[:, None]])
        facts = compare_with_training(item.statistics, found, item)
        compared.append({"folder": f"{folder}: {name}", **facts})
    return compared


def _compared_patches(item: Any, folder: str) -> dict[str, Any]:
    from lspipe.models.slips import compare_with_training
    from lspipe.models.statistics import Statistics
    from lspipe.samples.folders import open_folder

    if not item.recipe:
        raise UsageError(
            f"{item.path}: lspipe:recipe: missing, so the units of {folder} are unknown"
        )
    samples = open_folder(folder, item.recipe)
    found = Statistics.of(image for image, _ in samples)
    compared = compare_with_training(item.statistics, found, item, samples.level)
    return {"folder": folder, **compared}


def pack(options: argparse.Namespace) -> int:
    """Write a model item for weights that were trained elsewhere."""
    from lspipe.evaluate import scorecard
    from lspipe.models import pack as packing
    from lspipe.models.recipes import recipe_of

    recipe = recipe_of(options.recipe)
    fields = {
        "id": options.id,
        "architecture": options.architecture,
        "arguments": assigned(options.argument, "--argument"),
        "bands": recipe.channels,
        "recipe": recipe.name,
        "scaling": recipe.scaling,
        "window": options.window,
        "threshold": options.threshold,
        "threshold_sensitive": options.threshold_sensitive,
        "temperature": options.temperature,
        "description": options.description,
        "not_for": options.not_for,
    }
    network = packing.from_file(options.weights, item_fields=fields)
    card = scorecard.from_file(Path(options.scorecard)).as_json() if options.scorecard else None
    # Last, as all patches are read.
    if options.data:
        fields["statistics"] = _statistics(options, recipe)
    item = packing.pack(network, options.output, item_fields=fields, scorecard=card)
    show(options, {"item": str(item)}, lambda: f"{item}\nnext: lspipe model check {item}")
    return OK


def _statistics(options: argparse.Namespace, recipe: Recipe) -> Statistics:
    """Count the patches that a model was trained on, as a training of lspipe does."""
    from lspipe.train.course import read_windows, statistics_of

    samples = in_part(samples_of(options.data, recipe.name, options), TRAIN)
    return statistics_of(*read_windows(samples, recipe, options.window))


def _item(reference: str) -> Any:
    from lspipe.models.recipes import check_item

    item = read_item(reference)
    check_item(item)
    return item
