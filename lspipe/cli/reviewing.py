"""`lspipe review`: what a person decided about a list, and is to decide next, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lspipe.cli.text import counted, entry, say, show, table
from lspipe.machine.remote import place

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from lspipe.evaluate.proposal import Proposal
    from lspipe.runs.review import Taken
    from lspipe.schema.sampled import Sample


def review(options: argparse.Namespace) -> int:
    """Take in what a person decided about the list of a run, or choose what to decide about."""
    from lspipe.runs.opened import open_run
    from lspipe.runs.review import review

    run = place(options.run)
    if options.sample is not None:
        return _draw(options, run)
    if options.next is not None:
        return _next(options, run)
    taken = review(run, options.file, who=options.who)
    for text in taken.notes:
        say(f"note: {text}")
    sample = open_run(run).sample
    facts: dict[str, Any] = {**taken.counts(), "notes": list(taken.notes)}
    if sample is not None:
        facts["sample"] = sample.as_json()
    show(options, facts, lambda: review_text(run, taken, sample))
    return 0


def _draw(options: argparse.Namespace, run: Path) -> int:
    from lspipe.evaluate.sample import draw

    sample, path = draw(run, options.sample, seed=options.seed)
    facts = {"sample": sample.as_json(), "file": str(path)}
    text = (
        f"drawn          {sample.drawn} of {counted(sample.of, 'landslide')}\n"
        f"decide in      {path}, column reviewed; then: lspipe review {run} {path}"
    )
    show(options, facts, lambda: text)
    return 0


def _next(options: argparse.Namespace, run: Path) -> int:
    from lspipe.evaluate.proposal import propose

    proposal = propose(run, options.next)
    show(options, proposal.as_json(), lambda: proposal_text(run, proposal))
    return 0


def proposal_text(run: Path, proposal: Proposal) -> str:
    """Say what to decide about next, and where."""
    if proposal.file is None:
        return "decided        all new landslides of the list: nothing is left to propose"
    rows = [["id", "tile", "place", "area m2", "confidence", "why"]]
    rows += [
        [
            str(row["id"]),
            str(row["tile"] or ""),
            f"{row['lat']:.5f} {row['lon']:.5f}",
            f"{row['area_m2']:.0f}",
            f"{row['confidence']:.2f}",
            str(row["why"]),
        ]
        for row in proposal.as_json()["next"]
    ]
    lines = [
        *table(rows, left=3),
        f"proposed       {len(proposal.rows)} of {counted(proposal.left, 'landslide')} without a "
        "decision",
        f"decide in      {proposal.file}, column reviewed; then: lspipe review {run} "
        f"{proposal.file}",
    ]
    if proposal.waiting:
        lines.append(f"waiting        {counted(proposal.waiting, 'decision')} in it to be taken in")
    return "\n".join(lines)


def review_text(run: Path, taken: Taken, sample: Sample | None = None) -> str:
    """Say what was taken in, and where it is."""
    lines = [
        f"taken in       {counted(taken.new, 'decision')}, {taken.removed} taken back",
        f"carried        {taken.carried} of {counted(taken.reviews, 'decision')} to objects of the "
        "list",
    ]
    if taken.without_object:
        lines.append(f"without object {taken.without_object}: kept for another list")
    if taken.reviews:
        lines.append(f"kept in        {run / 'reviews.parquet'}")
    if sample is not None:
        lines += entry("sample", sample_text(sample))
    return "\n".join(lines)


def sample_text(sample: Sample) -> str:
    """Say what the sample means for the whole list."""
    decided = sample.true + sample.false
    told = f"{decided} of {sample.drawn} decided"
    if sample.left or sample.unsure or sample.gone:
        told += f" ({sample.left} left, {sample.unsure} unsure, {sample.gone} not in the list)"
    if sample.interval is None or sample.precision is None:
        return told
    low, high = sample.interval
    return (
        f"{told}; {sample.precision:.0%} of the list are landslides, 95 % interval {low:.0%} to "
        f"{high:.0%}"
    )
