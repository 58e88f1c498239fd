"""Probabilities of a network, made more or less sure by its temperature."""

from __future__ import annotations

import torch


def tempered(probability: torch.Tensor, temperature: float | None) -> torch.Tensor:
    """Divide the log-odds of probabilities by a temperature.

    For a network that ends in a sigmoid this is its sigmoid of the logits over the temperature.
    What is exactly 0 or 1 stays so.

    Args:
        probability: any shape, 0..1.
        temperature: above 0; above 1 = less sure. None = nothing is changed, not a bit.

    Examples:
        >>> tempered(torch.tensor([0.0, 0.5, 0.9, 1.0]), 2.0)
        tensor([0.0000, 0.5000, 0.7500, 1.0000])
    """
    if temperature is None:
        return probability
    return torch.sigmoid(torch.logit(probability) / temperature)
