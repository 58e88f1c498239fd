"""`lspipe model train`: words -> a course, its samples, and what came of it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lspipe.cli.summaries import sweep_text, trained_text
from lspipe.cli.text import duration, say, show
from lspipe.cli.transfer import ALL, Transfer
from lspipe.errors import UsageError
from lspipe.machine import check_folder
from lspipe.models.mlm import read_item
from lspipe.samples.parts import PARTS, TEST, TRAIN, WATCHED, in_part

if TYPE_CHECKING:
    import argparse

    from lspipe.samples import Samples
    from lspipe.samples.leaks import Leak
    from lspipe.train import Epoch, TrainSpec
    from lspipe.train.course import Course, Trained

OK = 0


def train(options: argparse.Namespace) -> int:
    """Train a network on labelled patches, and pack it."""
    from lspipe.models.pack import check_id
    from lspipe.train import course

    _check_words(options)
    asked, output = _course(options), Path(options.output)
    # The name is that of the folder where none was given: known before anything is read.
    check_id(asked.id)
    check_folder(options.output)
    training, watched, testing = _divided(_labelled(options, asked), options)
    validation = samples_of(options.validation, asked.recipe, options)
    validation = watched if validation is None else in_part(validation, WATCHED)
    if options.sweep:
        return _sweep(options, asked, training, validation, output)
    trained = course.train(
        asked,
        training,
        validation,
        output,
        fresh=options.fresh,
        on_epoch=_Epochs(asked.spec, validation),
        on_leak=_warn_of,
    )
    results = _transfer(trained, testing, options)
    facts = _facts(trained) | {"transfer": [asdict(result) for result in results]}
    show(options, facts, lambda: trained_text(trained, results))
    return OK


def _warn_of(leak: Leak) -> None:
    """Say where validation patches lie beside those that are trained on."""
    if leak.is_large:
        say(
            f"warning: {leak.text()}; scores on them are of the same ground, not of a new place; "
            "--split blocks keeps a block of neighbours apart"
        )


def _check_words(options: argparse.Namespace) -> None:
    """Refuse words that would do nothing together."""
    if options.fold is not None and options.split != "blocks":
        raise UsageError("--fold without --split blocks: expected both")
    if options.sweep and options.test_on is not None:
        raise UsageError("--sweep with --test-on: expected one of them; test the best one after it")
    if options.split and options.validation and options.test_on is None:
        raise UsageError(
            f"--split {options.split} with --validation: nothing is done with the rest; give "
            "--test-on, or leave one of them out"
        )


def _labelled(options: argparse.Namespace, asked: Course) -> Any:
    """Patches of a folder, or cut from a run over outlines."""
    if not options.labels:
        return samples_of(options.data, asked.recipe, options)
    from lspipe.models.architectures import TABLE
    from lspipe.samples.chips import chips

    known = TABLE.get(asked.architecture)
    window = asked.window or (known.window if known else None)
    found = chips(options.data, options.labels, recipe=asked.recipe, window=window)
    say(f"{found.source}: {len(found)} patches of {window} px")
    return found


def samples_of(folder: str | None, recipe: str, options: argparse.Namespace) -> Any:
    """The sound patches of a folder; None where none was named."""
    from lspipe.samples import sound
    from lspipe.samples.folders import open_folder

    if folder is None:
        return None
    found = open_folder(folder, recipe)
    kept = sound(found, skip_broken=options.skip_broken)
    if len(kept) < len(found):
        say(f"{folder}: {len(found) - len(kept)} of {len(found)} patches are broken and left out")
    return kept


def _divided(
    samples: Samples, options: argparse.Namespace
) -> tuple[Samples, Samples | None, Samples]:
    """Patches to train on, those that choose the epoch, and those that may be tested on."""
    from lspipe.samples.splits import split

    training, watched, testing = samples, None, samples
    if samples.parts is not None:
        training, watched, testing = _parts_of_the_set(samples, options)
    elif options.split:
        training, testing = split(samples, options.split, fold=options.fold)
        watched = testing if options.test_on is None else None
    if options.train_on:
        training = training.of_regions(options.train_on)
    if options.test_on is not None:
        chosen = _tested(testing, options)
        both = set(training.names) & {name for part in chosen.values() for name in part.names}
        if both:
            raise UsageError(
                f"--test-on {_named(options.test_on)}: {len(both)} patches are trained on too; "
                "keep some apart (--split), or name other regions"
            )
    return training, watched, testing


def _parts_of_the_set(
    samples: Samples, options: argparse.Namespace
) -> tuple[Samples, Samples | None, Samples]:
    """The parts that the set itself has: its test patches are never trained on."""
    if options.split:
        raise UsageError(
            f"--split {options.split}: {samples.source} has a list of its parts (splits.json), "
            "which says what is trained on; leave --split out, or take the list away"
        )
    listed = samples.parts or {}
    known = {listed[name] for name in samples.names}
    for part in PARTS:
        count = sum(listed[name] == part for name in samples.names)
        say(f"{samples.source}: {count} patches of part {part}")
    return (
        samples.of_part(TRAIN),
        samples.of_part(WATCHED) if WATCHED in known else None,
        samples.of_part(TEST) if TEST in known else replace(samples, names=()),
    )


def _transfer(
    trained: Trained, testing: Samples, options: argparse.Namespace
) -> tuple[Transfer, ...]:
    """Scores on each region that is to be tested on, and on all of them together."""
    from lspipe.evaluate.scoring import measure, predict
    from lspipe.samples.tiling import cut

    if options.test_on is None:
        return ()
    item = read_item(trained.item)
    return tuple(
        Transfer.of(
            measure(
                predict(item, cut(samples, item.window)),
                regions=() if region == ALL else (region,),
            ),
            architecture=item.architecture,
            trained_on=_named(options.train_on),
        )
        for region, samples in _tested(testing, options).items()
    )


def _tested(testing: Samples, options: argparse.Namespace) -> dict[str, Samples]:
    """Patches of each region that is to be tested on; all of them together where several are."""
    regions = options.test_on
    chosen = {region: testing.of_regions([region]) for region in regions}
    if len(regions) != 1:
        chosen[ALL] = testing.of_regions(regions) if regions else testing
    return chosen


def _named(regions: tuple[str, ...] | None) -> str:
    return ",".join(regions or ()) or ALL


def _course(options: argparse.Namespace) -> Course:
    """What the options ask for, on top of the protocol."""
    from lspipe.train import PROTOCOLS, TrainSpec
    from lspipe.train.course import Course

    protocol = PROTOCOLS.get(options.protocol or "")
    architecture = options.architecture or (protocol.architecture if protocol else None)
    recipe = options.recipe or (protocol.recipe if protocol else None)
    if architecture is None or recipe is None:
        raise UsageError(
            "lspipe model train: expected --architecture and --recipe, or a --protocol that has "
            "them"
        )
    if protocol is not None:
        of = f" of paper {protocol.paper}" if protocol.paper else ""
        say(f"protocol {options.protocol}{of}: {protocol.note}")
    window = options.window
    if window is None and protocol is not None:
        window = protocol.window
    return Course(
        id=options.id or Path(options.output).resolve().name,
        architecture=architecture,
        recipe=recipe,
        protocol=options.protocol or "",
        arguments=assigned(options.argument, "--argument"),
        spec=_spec(protocol.spec if protocol else TrainSpec(), options),
        window=window,
        init_from=options.init_from,
        encoder_weights=Path(options.encoder_weights) if options.encoder_weights else None,
    )


def _spec(spec: TrainSpec, options: argparse.Namespace) -> TrainSpec:
    from lspipe.spec import SpecError, read
    from lspipe.train import TrainSpec

    asked = assigned(options.set, "--set")
    fields = {**asdict(spec), **asked}
    if "epochs" in asked and fields["iterations"] is not None:
        raise UsageError(
            f"--set epochs={asked['epochs']}: this training ends after {fields['iterations']} "
            "iterations; set iterations=null too"
        )
    try:
        return read(TrainSpec, fields)
    except SpecError as error:
        raise UsageError(f"--set {error}") from error


def assigned(words: list[str] | None, option: str) -> dict[str, Any]:
    """Words "A=B" as names and values, which are read as in a workflow file."""
    import yaml

    values = {}
    for word in words or ():
        name, equals, text = word.partition("=")
        if not name or not equals:
            raise UsageError(f"{option} {word}: expected NAME=VALUE")
        try:
            values[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"{option} {word}: {' '.join(str(error).split())}") from error
        # YAML 1.1 takes 1e-3 for a word.
        if isinstance(values[name], str):
            with suppress(ValueError):
                values[name] = float(text)
    return values


def _sweep(
    options: argparse.Namespace,
    asked: Course,
    training: Samples,
    validation: Samples | None,
    output: Path,
) -> int:
    """Train every setting of paper 004's grid, each in a folder of its own; keep the best."""
    from lspipe.train import course
    from lspipe.train.protocols import sweep

    if validation is None:
        raise UsageError("--sweep: expected --validation, to find the best setting")
    rows: list[dict[str, Any]] = []
    for name, arguments, spec in sweep(asked.spec):
        say(f"--- {name}")
        one = replace(asked, arguments={**asked.arguments, **arguments}, spec=spec)
        folder = output / "sweep" / name
        trained = course.train(
            one,
            training,
            validation,
            folder,
            fresh=options.fresh,
            on_epoch=_Epochs(spec, validation),
        )
        rows.append({"setting": name, "f1": course.best_f1(trained), "item": str(trained.item)})
    rows.sort(key=lambda row: -row["f1"])
    best = Path(rows[0]["item"])
    # The item last, so that it has all that it names.
    for path in (best.with_suffix(".safetensors"), best.with_suffix(".scorecard.json"), best):
        shutil.copyfile(path, output / path.name)
    facts = {"item": str(output / best.name), "settings": rows}
    show(options, facts, lambda: sweep_text(facts))
    return OK


def _facts(trained: Trained) -> dict[str, Any]:
    return {
        "item": str(trained.item),
        "parameters": trained.parameters,
        "scorecard": trained.card and trained.card.as_json(),
        "epochs": [asdict(epoch) for epoch in trained.epochs],
    }


class _Epochs:
    """A line on stderr for each epoch."""

    def __init__(self, spec: TrainSpec, validation: Samples | None) -> None:
        self._total = spec.epochs if spec.iterations is None else None
        self._watches = validation is not None

    def __call__(self, epoch: Epoch) -> None:
        of = "" if self._total is None else f"/{self._total}"
        parts = [f"epoch {epoch.epoch}{of}", f"loss {epoch.loss:.4f}"]
        if self._watches:
            parts.append(f"validation {epoch.validation_loss:.4f}, F1 {epoch.f1:.3f}")
        parts.append(duration(epoch.seconds))
        if self._total is not None:
            parts.append(f"{duration(epoch.seconds * (self._total - epoch.epoch))} left")
        if epoch.is_best:
            parts.append("best")
        say(", ".join(parts))
