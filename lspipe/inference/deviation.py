"""How far the answers for a pixel lie apart: over the views, and over the networks of an ensemble.

The standard deviation of the probabilities of all views of all networks, each after its overlaps
were averaged and before views are merged. Two sums per pixel are kept, so that nothing is run
twice. It says how much an answer depends on how the network was asked; not how often it is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class Deviation:
    """The standard deviation of maps of one block that are added one by one.

    Examples:
        >>> found = Deviation()
        >>> for probability in (0.2, 0.6):
        ...     found.add(torch.tensor([[probability]]))
        >>> found.result((1, 1)).round(3)
        array([[0.2]], dtype=float32)
    """

    count: int = 0
    _total: torch.Tensor | None = None
    _squares: torch.Tensor | None = None

    def add(self, probability: torch.Tensor) -> None:
        """Add a map (y, x) of a view, which is not kept."""
        # float64: the difference of two large sums is to be known to 1e-8.
        values = probability.to(torch.float64)
        if self._total is None or self._squares is None:
            self._total, self._squares = torch.zeros_like(values), torch.zeros_like(values)
        self.count += 1
        self._total += values
        self._squares += values.square_()

    def result(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the deviation, float32 of this shape, 0..0.5; NaN if nothing was added."""
        if self._total is None or self._squares is None:
            return np.full(shape, np.nan, np.float32)
        variance = self._squares / self.count - (self._total / self.count).square()
        found: NDArray[np.float32] = variance.clamp_(min=0).sqrt_().float().cpu().numpy()
        return found
