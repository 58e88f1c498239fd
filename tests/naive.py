"""The definition of a probability map, as plainly as it can be said: the expected answer of tests.

Written apart from lspipe: NumPy in float64, one window after the other, no blocks, no batches. Only
the network is torch.
"""

from __future__ import annotations

import numpy as np
import torch

VIEWS = [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]


def turn(image, view):
    turns, mirrored = view
    image = np.rot90(image, turns, axes=(-2, -1))
    return image[..., ::-1] if mirrored else image


def turn_back(image, view):
    turns, mirrored = view
    image = image[..., ::-1] if mirrored else image
    return np.rot90(image, -turns, axes=(-2, -1))


def starts(length, window, stride):
    """0, stride, 2 stride ... while start + window < length, and a last one at length - window."""
    found, start = [], 0
    while start + window < length:
        found.append(start)
        start += stride
    return [*found, length - window]


def weights(window, blend):
    if blend == "uniform":
        return np.ones((window, window))
    edge = np.sin(np.pi * (np.arange(window) + 0.5) / window) ** 2
    return edge[:, None] * edge[None, :]


def in_model_units(window, observed, scaling, tile_range):
    """Reflectance (C, w, w) of one window to model units; the statistics see observed pixels."""
    seen = window[:, observed]
    result = np.empty_like(window)
    for band in range(len(window)):
        x = window[band]
        if scaling.kind == "identity":
            result[band] = x
        elif scaling.kind == "affine":
            result[band] = x * scaling.scale[band] + scaling.offset[band]
            if scaling.clip:
                result[band] = np.clip(result[band], *scaling.clip)
        elif scaling.kind == "window-max":
            peak = seen.max()
            result[band] = x / (peak if peak > 0 else 1)
        else:
            low, high = {
                "tile-minmax": lambda band=band: tile_range[band],
                "window-minmax": lambda band=band: (seen[band].min(), seen[band].max()),
                "window-minmax-all": lambda: (seen.min(), seen.max()),
            }[scaling.kind]()
            result[band] = (x - low) / ((high - low) if high > low else 1)
    return result


def probability_map(
    pixels,
    network,
    *,
    window,
    stride,
    mask=None,
    tta="d4",
    tta_merge="max",
    tta_order="average-then-max",
    blend="uniform",
    scaling=None,
    fill=0.0,
    fill_masked=False,
):
    """Pixels (C, y, x), float (NaN) or int16 (-32768), to float64 (y, x), NaN = not observed."""
    rows, columns = pixels.shape[1:]
    missing = pixels == -32768 if pixels.dtype == np.int16 else np.isnan(pixels)
    values = pixels.astype(float) * (1e-4 if pixels.dtype == np.int16 else 1)
    mask = np.zeros((rows, columns), bool) if mask is None else mask
    observed = ~missing.any(axis=0) & ~mask
    tile_range = [
        (b[observed].min(), b[observed].max()) if observed.any() else None for b in values
    ]
    fills = np.broadcast_to(fill, len(pixels))

    room = [(0, max(0, window - rows)), (0, max(0, window - columns))]
    values, missing = (np.pad(a, [(0, 0), *room], mode="reflect") for a in (values, missing))
    hidden = np.pad(mask, room, mode="reflect")
    known = np.pad(observed, room)
    size = known.shape

    views = VIEWS if tta == "d4" else VIEWS[:1]
    sums = np.zeros((len(views), *size))
    merged_sum, total = np.zeros(size), np.zeros(size)
    weight = weights(window, blend)
    join = {"max": np.max, "mean": np.mean}[tta_merge]
    for row in starts(size[0], window, stride):
        for column in starts(size[1], window, stride):
            place = (slice(row, row + window), slice(column, column + window))
            if not known[place].any():
                continue
            image = values[:, *place]
            if scaling is not None:
                image = in_model_units(image, known[place], scaling, tile_range)
            gone = missing[:, *place] | (hidden[place] if fill_masked else False)
            image = np.where(gone, fills[:, None, None], image)
            turned = np.stack([turn(image, view) for view in views]).astype(np.float32)
            with torch.inference_mode():
                answers = network(torch.from_numpy(turned)).double().numpy()[:, 0]
            upright = [turn_back(answer, view) for answer, view in zip(answers, views, strict=True)]
            for i, answer in enumerate(upright):
                sums[i][place] += answer * weight
            merged_sum[place] += join(upright, axis=0) * weight
            total[place] += weight
    with np.errstate(invalid="ignore", divide="ignore"):
        result = (
            join(sums / total, axis=0) if tta_order == "average-then-max" else merged_sum / total
        )
    return np.where(observed, result[:rows, :columns], np.nan)


class ExactSquash(torch.nn.Module):
    """Any number to 0..1 by operations that IEEE 754 rounds alike in and out of vector registers.

    torch's sigmoid rounds the last numbers of a tensor otherwise (docs/numerics.md), which only
    windows of a multiple of 8 pixels never show.
    """

    def forward(self, answer):
        return 0.5 + 0.5 * (answer / (1 + answer.abs()))


def small_network(channels, seed=0, last=ExactSquash):
    """A network that sees direction, neighbours and the window's rim."""
    generator = torch.Generator().manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(channels, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(4, 1, 5, padding=2),
        last(),
    ).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)
    return network
