"""Loss and F1 of each epoch -> a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lspipe.evaluate.figures import check_installed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lspipe.train.spec import Epoch

# Colours for readers with red-green colour blindness. Source: Okabe and Ito 2008.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#666666"


def draw(epochs: Sequence[Epoch], path: Path, *, title: str) -> None:
    """Write a PNG: loss of training and of validation, F1 of validation, the epoch that was kept.

    Args:
        epochs: at least one.
        path: of the picture.
        title: of the picture.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    check_installed()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left: Any = figure.subplots()
    numbers = [epoch.epoch for epoch in epochs]
    marker = "o" if len(epochs) == 1 else None
    left.plot(numbers, [e.loss for e in epochs], color=_BLUE, label="loss, training", marker=marker)
    lines = list(left.lines)
    left.set_xlabel("epoch")
    left.set_ylabel("loss")
    if epochs[0].validation_loss is not None:
        validation = [e.validation_loss for e in epochs]
        lines += left.plot(
            numbers, validation, color=_ORANGE, label="loss, validation", marker=marker
        )
        right = left.twinx()
        scores = [e.f1 for e in epochs]
        lines += right.plot(
            numbers, scores, color=_GREEN, linestyle="--", label="F1, validation", marker=marker
        )
        right.set_ylabel("F1 at 0.5")
        right.set_ylim(0, 1)
        kept = max(epoch.epoch for epoch in epochs if epoch.is_best)
        lines.append(
            left.axvline(kept, color=_GREY, linewidth=1, linestyle=":", label=f"kept: epoch {kept}")
        )
    # Last, as a limit ends the automatic scaling.
    left.set_ylim(bottom=0)
    left.xaxis.get_major_locator().set_params(integer=True)
    left.legend(
        handles=lines,
        loc="upper center",
        ncols=len(lines),
        bbox_to_anchor=(0.5, -0.14),
        frameon=False,
        fontsize="small",
    )
    left.set_title(title)
    figure.savefig(path, dpi=120)
