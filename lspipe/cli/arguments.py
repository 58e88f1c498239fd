"""The words of a command line to a namespace whose `verb` is the function to call."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import TYPE_CHECKING, Any, NoReturn

from lspipe import __version__
from lspipe.cli import (
    adapting,
    changing,
    chips,
    exporting,
    models,
    reviewing,
    scores,
    summarizing,
    training,
    verbs,
)
from lspipe.cli.evaluation import evaluate
from lspipe.cli.transfer import ALL
from lspipe.outputs import OUTPUTS
from lspipe.samples.parts import PARTS, TEST
from lspipe.samples.splits import FOLDS, SPLITS
from lspipe.train.protocols import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Iterator


class Parser(argparse.ArgumentParser):
    """Answers a wrong command in one line, with the nearest word that there is."""

    def error(self, message: str) -> NoReturn:
        """Print the line, and end with exit code 2."""
        self.exit(2, f"{self.prog}: {message}{self._nearest(message)}; see: {self.prog} --help\n")

    def _nearest(self, message: str) -> str:
        """Return the known word that is nearest to one that is not known."""
        found = re.search(r"unrecognized arguments: (\S+)|invalid choice: '([^']*)'", message)
        if found is None:
            return ""
        word = found[1] or found[2]
        known = [name for action in self._every_action() for name in _words(action)]
        if word in known:
            return f" ({word} belongs to a verb: write it after the verb that takes it)"
        near = difflib.get_close_matches(word, known, n=1)
        return f" (did you mean {near[0]}?)" if near else ""

    def _every_action(self) -> Iterator[argparse.Action]:
        for action in self._actions:
            yield action
            for other in action.choices.values() if isinstance(action.choices, dict) else ():
                yield from other._every_action()


def _words(action: argparse.Action) -> list[str]:
    return [*action.option_strings, *map(str, action.choices or ())]


class PrintCompletion(argparse.Action):
    """`--print-completion SHELL`: a script that completes verbs, flags and files."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> NoReturn:
        """Print it, and end."""
        try:
            import shtab
        except ImportError as error:
            # Before the verb is known, so that nothing else prints it.
            parser.exit(2, f"MissingExtra: completion needs shtab: {INSTALL} ({error})\n")
        print(shtab.complete(parser, shell=rest[1]))
        parser.exit(0)


INSTALL = "pip install 'lspipe[completion]'"


def parser() -> argparse.ArgumentParser:
    """Make the parser of all verbs."""
    root = Parser(
        prog="lspipe",
        description="From a workflow file to a map of landslides and a list of the new ones.",
        epilog="example: lspipe init my.yaml; lspipe plan my.yaml; lspipe run my.yaml",
    )
    root.add_argument("--version", action="version", version=f"lspipe {__version__}")
    root.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        help="print a script that completes words in this shell",
    )
    group = root.add_subparsers(title="verbs", metavar="VERB", required=True)
    _workflow_verbs(group)
    status = _add(group, verbs.status, "how far a run is", example="status runs/demo")
    status.add_argument("run", help="run directory")
    _review(group)
    _export(group)
    _report(group)
    _change(group)
    _evaluate_run(group)
    _summarize(group)
    _model_verbs(group)
    demo = _add(group, verbs.demo, "write a simulated archive", example="demo runs/demo-archive")
    demo.add_argument("folder", help="folder to write the archive and its workflow into")
    doctor = _add(
        group, verbs.doctor, "what this machine and installation can do", example="doctor"
    )
    doctor.add_argument(
        "--benchmark", action="store_true", help="time networks in each runtime, about a minute"
    )
    return root


def _review(group: Any) -> None:
    review = _add(
        group,
        reviewing.review,
        "take in what a person decided about the list of a run",
        example="review runs/demo; lspipe review runs/demo colleague.gpkg --who Ana",
    )
    review.add_argument("run", help="run directory")
    review.add_argument(
        "file",
        nargs="?",
        help="GeoPackage, GeoJSON or GeoParquet: objects with `id` and `reviewed`, which is true, "
        "false, unsure or empty (the run's own lists)",
    )
    review.add_argument("--who", metavar="NAME", help="who decided (you)")
    chosen = review.add_mutually_exclusive_group()
    chosen.add_argument(
        "--sample",
        type=float,
        metavar="SHARE",
        help="draw this part of the list to decide about, to judge the list",
    )
    chosen.add_argument(
        "--next",
        type=int,
        metavar="N",
        help="propose landslides to decide about: those that the model is least sure of",
    )
    review.add_argument("--seed", type=int, default=0, help="of the draw (0)")


def _export(group: Any) -> None:
    export = _add(
        group,
        exporting.export,
        "write outputs of a run: no network, no inference",
        example="export runs/demo --to cog,geojson",
    )
    export.add_argument("run", help="run directory")
    export.add_argument(
        "--to",
        default="cog",
        metavar="NAMES",
        help=f"with commas: {', '.join(sorted(OUTPUTS))} (cog)",
    )
    export.add_argument("--output", metavar="FOLDER", help="where to write (RUN)")


def _evaluate_run(group: Any) -> None:
    scored = _add(
        group,
        scores.evaluate,
        "score a run against an inventory of known landslides",
        example="evaluate runs/demo --truth known.gpkg --without towns.gpkg --output scores",
    )
    scored.add_argument("run", help="run directory")
    scored.add_argument(
        "--truth",
        metavar="FILE",
        help="known landslides, polygons or points: GeoPackage, shapefile, GeoJSON, GeoParquet, "
        "KMZ, ... (what was decided with lspipe review, alone)",
    )
    scored.add_argument("--layer", metavar="NAME", help="of the file, where it has several")
    scored.add_argument(
        "--points", action="store_true", help="score by points: of a mixed file, or in polygons"
    )
    scored.add_argument(
        "--radius", type=float, metavar="M", help="a point is hit within it, metres (50)"
    )
    scored.add_argument(
        "--without",
        type=_files,
        default=(),
        metavar="A,B",
        help="files of polygons or lines, such as towns and roads, where nothing is scored",
    )
    scored.add_argument(
        "--buffer", type=float, metavar="M", help="left out on each side of a line, metres (30)"
    )
    scored.add_argument(
        "--iou", type=float, metavar="X", help="IoU from which an object is right (0.1)"
    )
    scored.add_argument(
        "--share", type=float, metavar="X", help="or share of its area in known ones (0.5)"
    )
    scored.add_argument(
        "--output", metavar="DIR", help="write scores.json, scores.gpkg and pictures (nothing)"
    )


def _files(words: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, words.split(","))))


def _change(group: Any) -> None:
    change = _add(
        group,
        changing.change,
        "compare two finished runs: no network, no inference",
        example="change runs/2023 runs/2024 --output runs/2023-2024",
    )
    change.add_argument("before", help="run directory of the earlier date")
    change.add_argument("after", help="run directory of the later date, whose settings count")
    change.add_argument("--output", required=True, metavar="DIR", help="where to write")
    change.add_argument(
        "--set", action="append", metavar="A.B=C", help="override a key of change or output"
    )


def _summarize(group: Any) -> None:
    parser = _add(
        group,
        summarizing.summarize,
        "count landslides per district, catchment or square",
        example="summarize runs/demo --by districts.gpkg --output per-district",
    )
    parser.add_argument("run", help="run directory")
    parser.add_argument("--by", metavar="FILE", help="polygons of the units")
    parser.add_argument("--layer", metavar="NAME", help="of the file, where it has several")
    parser.add_argument("--name", metavar="COLUMN", help="with the names (the first of text)")
    parser.add_argument(
        "--grid", type=float, metavar="KM", help="squares with this edge, instead of --by"
    )
    parser.add_argument("--output", metavar="FOLDER", help="write a layer, tables and a picture")


def _report(group: Any) -> None:
    report = _add(
        group,
        exporting.report,
        "write a page that shows the run in a browser, offline",
        example="report runs/demo",
    )
    report.add_argument("run", help="run directory, of a run that is finished or not")
    report.add_argument("--output", metavar="FILE", help="file (RUN/report.html)")


def _model_verbs(root: Any) -> None:
    """Make the parsers of `lspipe model VERB`."""
    parser = root.add_parser(
        "model",
        help="models: list, show, check, train, chips, pack, evaluate, adapt",
        description="What can be done with models.",
        epilog="example: lspipe model show shipped:demo",
    )
    group = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    text = "models that come with lspipe, and networks of the papers"
    _add(group, models.list_models, text, example="model list", name="list")
    for name, verb, text in (
        ("show", models.show_card, "what a model is, and what was measured of it"),
        ("check", models.check, "whether a model does what its item says"),
    ):
        one = _add(group, verb, text, example=f"model {name} shipped:demo", name=name)
        one.add_argument("item", help="model item, or shipped:NAME")
        if verb is models.check:
            one.add_argument(
                "--data",
                metavar="FOLDER",
                help="labelled patches, or a run, to compare with the training data",
            )
    _train(group)
    _chips(group)
    _pack(group)
    _evaluate(group)
    adapt = _add(
        group,
        adapting.adapt,
        "train a run's model further on what a person decided about its list",
        example="model adapt runs/demo",
    )
    adapt.add_argument("run", help="run directory")
    adapt.add_argument(
        "decisions",
        nargs="?",
        help="GeoPackage, GeoJSON or GeoParquet with `reviewed` (what lspipe review took in)",
    )
    adapt.add_argument(
        "--output", metavar="DIR", default=adapting.OUTPUT, help=f"folder ({adapting.OUTPUT})"
    )
    adapt.add_argument(
        "--missed", metavar="FILE", help="outlines drawn by hand of landslides that the list lacks"
    )
    adapt.add_argument("--epochs", type=int, metavar="N", help="how long to train")
    adapt.add_argument(
        "--share",
        type=float,
        metavar="X",
        help="of the new weights, above 0 to 1 (the best for decisions that are held out)",
    )
    adapt.add_argument("--parent", metavar="ITEM", help="the run's model, if it was moved")


def _train(group: Any) -> None:
    train = _add(
        group,
        training.train,
        "labelled patches to a packed model",
        example="model train --protocol ghorb --recipe l4s-rgb --data patches/train "
        "--validation patches/validation --output models/mine",
    )
    train.add_argument(
        "--data", required=True, metavar="FOLDER", help="patches to train on, or a run directory"
    )
    train.add_argument(
        "--labels", metavar="FILE", help="outlines of all landslides, where --data is a run"
    )
    train.add_argument(
        "--validation", metavar="FOLDER", help="patches on which the best epoch is chosen"
    )
    train.add_argument(
        "--train-on", type=_regions, metavar="A,B", help="only the patches of these regions (all)"
    )
    train.add_argument(
        "--split",
        choices=tuple(SPLITS),
        help="blocks keeps neighbours apart; the rest is tested on, or is the validation",
    )
    train.add_argument(
        "--fold", type=int, metavar="N", help=f"block to keep apart, 1 to {FOLDS} ({FOLDS})"
    )
    train.add_argument(
        "--test-on",
        type=_regions,
        metavar="A,B",
        help="regions, or all, to score the model on at the end",
    )
    train.add_argument("--output", required=True, metavar="DIR", help="folder of the new model")
    train.add_argument("--id", help="its name (that of the folder)")
    train.add_argument(
        "--protocol", choices=tuple(PROTOCOLS), help="train as a paper did, or sen12"
    )
    train.add_argument("--architecture", help="network (the protocol's); see: lspipe model list")
    train.add_argument("--recipe", help="channels (the protocol's)")
    train.add_argument("--window", type=int, metavar="PX", help="cut patches into such windows")
    train.add_argument(
        "--set", action="append", metavar="A=B", help="a field of the training, such as epochs=40"
    )
    train.add_argument(
        "--argument", action="append", metavar="A=B", help="of the network, such as filters=32"
    )
    first = train.add_mutually_exclusive_group()
    first.add_argument("--init-from", metavar="ITEM", help="begin from the weights of a model")
    first.add_argument(
        "--encoder-weights", metavar="FILE", help="begin from a pretrained encoder, safetensors"
    )
    train.add_argument(
        "--sweep", action="store_true", help="all 54 settings of paper 004; the best is packed"
    )
    train.add_argument("--skip-broken", action="store_true", help="leave broken patches out")
    train.add_argument("--fresh", action="store_true", help="begin anew")


def _chips(group: Any) -> None:
    cut = _add(
        group,
        chips.chips,
        "cut labelled patches from a run, over an inventory, into a folder",
        example="model chips runs/demo --labels landslides.gpkg --to patches/demo",
    )
    cut.add_argument("run", help="run directory, planned or finished")
    cut.add_argument(
        "--labels",
        required=True,
        metavar="FILE",
        help="outlines of all landslides of the area: GeoPackage, GeoJSON, GeoParquet, ...",
    )
    cut.add_argument("--to", required=True, metavar="FOLDER", help="folder to make")
    cut.add_argument(
        "--layout",
        choices=("sen12", "l4s"),
        default="sen12",
        help="NetCDF of both dates as Sen12Landslides has it (sen12), or HDF5 as Landslide4Sense",
    )
    cut.add_argument("--window", type=int, default=128, metavar="PX", help="edge of a patch (128)")
    cut.add_argument(
        "--bands", type=_files, metavar="A,B", help="channels to write, of layout sen12 (all)"
    )
    cut.add_argument(
        "--background",
        type=float,
        default=1.0,
        metavar="N",
        help="patches without a landslide per patch with one (1)",
    )
    cut.add_argument("--seed", type=int, default=0, help="of their places (0)")
    cut.add_argument(
        "--group", metavar="COLUMN", help="of the outlines, with a region for each, as an event"
    )


def _pack(group: Any) -> None:
    pack = _add(
        group,
        models.pack,
        "weights that were trained elsewhere to a model",
        example="model pack unet.safetensors --architecture ghorb-unet --recipe ghorb4 "
        "--window 64 --output models --id mine --description '...' --not-for '...'",
    )
    pack.add_argument("weights", help="state_dict, safetensors")
    pack.add_argument("--architecture", required=True, help="see: lspipe model list")
    pack.add_argument("--recipe", required=True, help="channels, their order and scaling")
    pack.add_argument("--window", type=int, required=True, metavar="PX", help="edge of a window")
    pack.add_argument("--output", required=True, metavar="DIR", help="folder of the item")
    pack.add_argument("--id", required=True, help="name of the model")
    pack.add_argument("--description", required=True, help="what it is, and was trained on")
    pack.add_argument("--not-for", required=True, help="what it must not be used for")
    pack.add_argument("--threshold", type=float, default=0.5, help="landslide above it (0.5)")
    pack.add_argument(
        "--threshold-sensitive", type=float, metavar="T", help="a lower one, to miss fewer"
    )
    pack.add_argument(
        "--temperature", type=float, metavar="T", help="divides log-odds; see model evaluate"
    )
    pack.add_argument("--argument", action="append", metavar="A=B", help="of the network")
    pack.add_argument(
        "--data", metavar="FOLDER", help="labelled patches it was trained on, for its statistics"
    )
    pack.add_argument("--skip-broken", action="store_true", help="leave broken patches out")
    pack.add_argument(
        "--scorecard", metavar="FILE", help="what `model evaluate --write` wrote of these weights"
    )


def _evaluate(group: Any) -> None:
    scored = _add(
        group,
        evaluate,
        "score a model on labelled patches",
        example="model evaluate models/my.json --data patches --tta both",
    )
    scored.add_argument("item", help="model item")
    scored.add_argument("--data", required=True, metavar="FOLDER", help="labelled patches")
    scored.add_argument(
        "--trained-on",
        metavar="FOLDER",
        help="patches that it was trained on: says how many of --data continue one of these",
    )
    scored.add_argument(
        "--window", type=int, metavar="PX", help="cut patches into windows first (as they are)"
    )
    scored.add_argument(
        "--tta", choices=("d4", "none", "both"), help="views of each patch (the item's)"
    )
    limit = scored.add_mutually_exclusive_group()
    limit.add_argument(
        "--threshold", type=float, metavar="T", help="landslide above T (the item's)"
    )
    limit.add_argument(
        "--choose-threshold",
        action="store_true",
        help="take the threshold with the best F1 on these patches; for validation only",
    )
    scored.add_argument(
        "--regions",
        "--test-on",
        type=_regions,
        default=(),
        metavar="A,B",
        help="only the patches of these regions (all)",
    )
    scored.add_argument(
        "--part",
        choices=PARTS,
        default=TEST,
        help="of a folder with a list of parts, splits.json: the one to score on (test)",
    )
    scored.add_argument(
        "--skip-broken", action="store_true", help="leave out patches that cannot be used"
    )
    scored.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="patches at a time (8)"
    )
    scored.add_argument("--write", metavar="FILE", help="write the scorecard, JSON")


def _workflow_verbs(group: Any) -> None:
    init = _add(group, verbs.init, "write a commented workflow", example="init my.yaml")
    init.add_argument("path", nargs="?", default="workflow.yaml", help="file (workflow.yaml)")
    validate = _add(group, verbs.validate, "check a workflow", example="validate my.yaml")
    _add(group, verbs.schema, "print the JSON Schema of workflows", example="schema > schema.json")
    plan = _add(group, verbs.plan, "say what a run would do, and cost", example="plan my.yaml")
    run = _add(group, verbs.run, "run, or go on with a run", example="run my.yaml --limit 4")
    for verb in (validate, plan, run):
        verb.add_argument("workflow", help="workflow file")
        verb.add_argument(
            "--set", action="append", metavar="A.B=C", help="override a key; may be repeated"
        )
    for verb in (plan, run):
        verb.add_argument("--output", metavar="DIR", help="run directory (the workflow's)")
    run.add_argument("--fresh", action="store_true", help="search again and start over")
    run.add_argument("--tiles", nargs="+", metavar="TILE", help="only these tiles")
    run.add_argument(
        "--bounds",
        nargs=4,
        type=float,
        metavar=("W", "S", "E", "N"),
        help="only blocks touching this box, degrees",
    )
    run.add_argument(
        "--limit", type=int, metavar="N", help="at most N places: blocks, on all dates"
    )
    run.add_argument("--only-failed", action="store_true", help="only blocks that failed last time")


def _regions(words: str) -> tuple[str, ...]:
    """Names of regions; none means all of them."""
    names = tuple(filter(None, map(str.strip, words.split(","))))
    if not names:
        raise argparse.ArgumentTypeError(f"{words!r}: expected names of regions, or {ALL}")
    return () if names == (ALL,) else names


def _add(
    group: Any, verb: Any, text: str, *, example: str, name: str = ""
) -> argparse.ArgumentParser:
    """Add a verb, named as its function if not otherwise, with its help and an example."""
    added: argparse.ArgumentParser = group.add_parser(
        name or verb.__name__,
        help=text,
        description=text.capitalize() + ".",
        epilog=f"example: lspipe {example}",
    )
    added.set_defaults(verb=verb)
    added.add_argument("--json", action="store_true", help="facts as JSON, for machines")
    added.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="tell what is decided and done, with times; -vv: libraries too",
    )
    return added
