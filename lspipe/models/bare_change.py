"""Vegetated ground that became bare between two dates: a pair model without weights.

A pixel is likely a new landslide where all of this holds, from red (B04) and near infrared (B08):

    loss          (NDVI_before - NDVI_after) / sqrt(NDVI_before + NDVI_after)  above 0.4
    brightening   red_after - red_before                                       above 0.05
    vegetated     NDVI_before                                                  above 0.5
    bare          NDVI_after                                                   below 0.2
    as bright     |ln(near_after / near_before)|                               below ln 2

Each condition becomes z, its distance from the limit in widths (positive where it holds), and

    p = 1 / (1 + exp(-z_1) + ... + exp(-z_5))

so p rises with each z, is 0.5 at a limit where the others hold by far, and near 0 where one fails.

The loss is HazMapper's relative difference of NDVI (rdNDVI, there in percent and negative). It
is brighter in red, as vegetation absorbs red and mineral ground does not; a shadow darkens it. The
limits of NDVI are those of full vegetation and of bare soil. The last condition holds for debris,
which is about as bright in the near infrared as what it covered; moist soil under a crop, burnt
ground, water and shadow are much darker afterwards, most clouds and snow much brighter.

Covers: a first list of new landslides from any archive. Does not cover: slope, which acts through
flags and masks; what became bare by hand on dry bright ground, such as felled forest.

Source: rdNDVI, Scheip and Wegmann 2021 (doi 10.5194/nhess-21-1495-2021); brightening in red, Fayne
et al. 2019 (SLIP, doi 10.1175/EI-D-17-0022.1); NDVI of soil and vegetation, Sobrino et al. 2004
(doi 10.1016/j.rse.2004.02.003). The factor of 2, the limits of loss and brightening, and the widths
were chosen: docs/pair-models.md.
"""

from __future__ import annotations

import math

import torch
from torch import nn

BANDS = ("before:B04", "before:B08", "after:B04", "after:B08")
"""Channels in order: red and near infrared of the date before, then of the date after."""

# Widths: what a quantity of unchanged ground differs by between two clear dates, roughly.
_NDVI_WIDTH = 0.02
_LOSS_WIDTH = 1 / 30
_RED_WIDTH = 0.01
_NEAR_WIDTH = 0.1

# Sums of reflectance below this are deep shadow or clear water, where an index is noise over
# nothing: Sen2Cor aims at 0.05 rho + 0.005 per band.
_DARK = 0.02

# Of two dates without vegetation the loss is 0, and not 0 / 0.
_LEAST_NDVI = 0.05


class BareChange(nn.Module):
    """The change of each pixel by itself: window, overlap and TTA change nothing.

    Args:
        in_channels: 4, for the bands of `BANDS`.
        loss: least relative difference of NDVI.
        brightening: least gain of reflectance in red.
        vegetated: least NDVI before.
        bare: largest NDVI after.
        factor: how many times brighter or darker the near infrared may be afterwards.

    Raises:
        ValueError: another number of channels.
    """

    def __init__(
        self,
        in_channels: int = len(BANDS),
        *,
        loss: float = 0.4,
        brightening: float = 0.05,
        vegetated: float = 0.5,
        bare: float = 0.2,
        factor: float = 2.0,
    ) -> None:
        super().__init__()
        if in_channels != len(BANDS):
            raise ValueError(f"found {in_channels} channels: expected {', '.join(BANDS)}")
        self.loss = loss
        self.brightening = brightening
        self.vegetated = vegetated
        self.bare = bare
        self.factor = factor

    def forward(self, reflectance: torch.Tensor) -> torch.Tensor:
        """Turn (N, 4, w, w) surface reflectance into (N, 1, w, w) probabilities, never NaN."""
        # Below 0 is what the atmospheric correction left over in shadow; ratios of it mean nothing.
        red, near, red_after, near_after = reflectance.clamp(min=0).unbind(dim=1)
        before, after = _ndvi(red, near), _ndvi(red_after, near_after)
        loss = (before - after) / (before + after).clamp(min=_LEAST_NDVI).sqrt()
        brighter = near_after.clamp(min=_DARK / 2).log() - near.clamp(min=_DARK / 2).log()
        conditions = torch.stack(
            [
                (loss - self.loss) / _LOSS_WIDTH,
                (red_after - red - self.brightening) / _RED_WIDTH,
                (before - self.vegetated) / _NDVI_WIDTH,
                (self.bare - after) / _NDVI_WIDTH,
                (math.log(self.factor) - brighter.abs()) / _NEAR_WIDTH,
            ],
            dim=1,
        )
        return torch.sigmoid(-torch.logsumexp(-conditions, dim=1, keepdim=True))


def _ndvi(red: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
    """NDVI, at least 0, that fades to 0 instead of dividing by nothing."""
    return ((near - red) / (near + red).clamp(min=_DARK)).clamp(min=0)
