"""Bare ground from two indices: a model without weights, so that any event can be run at once.

A pixel is likely bare where it has little green vegetation (low NDVI) and looks like soil rather
than water, snow or cloud (high BSI):

    NDVI = (B08 - B04) / (B08 + B04)
    BSI  = ((B11 + B04) - (B08 + B02)) / ((B11 + B04) + (B08 + B02))
    p    = 1 / (1 + exp(-(bias + bsi_weight * BSI + ndvi_weight * max(NDVI, 0))))

Covers: a first look, two-date runs (ground that *became* bare), tests of the whole pipeline.
Does not cover: what kind of bare ground it is. Fields, river bars, quarries and roads are bare.

Source: NDVI, Rouse et al. 1974; BSI, Rikimaru et al. 2002, with Sentinel-2 bands.
"""

from __future__ import annotations

import torch
from torch import nn

BANDS = ("B02", "B04", "B08", "B11")
"""Channels in order: blue, red, near infrared, short-wave infrared 1."""

# Sums of reflectance below this are deep shadow or clear water, where an index is noise over
# nothing: Sen2Cor aims at 0.05 rho + 0.005 per band, which four dark bands add up to 0.02.
_DARK = 0.02


class BareGround(nn.Module):
    """A fixed logistic of NDVI and BSI, per pixel: window, overlap and TTA change nothing.

    The defaults put typical surface reflectances where they belong (test_bare_ground.py): fresh
    scars (NDVI 0.10..0.20, BSI 0.10..0.20) above 0.6; forest, grass, water, snow and cloud below
    0.1; a pixel without information in the indices (both 0) at 0.27, below both thresholds of the
    two-date rule.

    Args:
        in_channels: 4, for the bands of `BANDS`.
        bias: value of the exponent where both indices are 0.
        bsi_weight: per unit of BSI. Large, because snow, cloud and water have a low NDVI too.
        ndvi_weight: per unit of NDVI, negative.

    Raises:
        ValueError: another number of channels.
    """

    def __init__(
        self,
        in_channels: int = len(BANDS),
        *,
        bias: float = -1.0,
        bsi_weight: float = 30.0,
        ndvi_weight: float = -6.0,
    ) -> None:
        super().__init__()
        if in_channels != len(BANDS):
            raise ValueError(f"found {in_channels} channels: expected {', '.join(BANDS)}")
        self.bias = bias
        self.bsi_weight = bsi_weight
        self.ndvi_weight = ndvi_weight

    def forward(self, reflectance: torch.Tensor) -> torch.Tensor:
        """Turn (N, 4, w, w) surface reflectance into (N, 1, w, w) probabilities, never NaN."""
        # Below 0 is what the atmospheric correction left over in shadow; ratios of it mean nothing.
        blue, red, near, short = reflectance.clamp(min=0).unbind(dim=1)
        # Water and shadow have NDVI down to -1, and are not more like soil than soil is.
        ndvi = _ratio(near - red, near + red).clamp(min=0)
        bsi = _ratio((short + red) - (near + blue), (short + red) + (near + blue))
        exponent = self.bias + self.bsi_weight * bsi + self.ndvi_weight * ndvi
        return torch.sigmoid(exponent).unsqueeze(1)


def _ratio(difference: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """A normalised difference that fades to 0 instead of dividing by nothing."""
    return difference / total.clamp(min=_DARK)
