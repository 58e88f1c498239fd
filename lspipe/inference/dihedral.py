"""The eight symmetries of a square (D4): turn an image, and turn it back.

Element k is an optional transpose followed by optional flips of rows and of columns; element 0
is the identity. The inverse flips first and transposes last. Works on the last two axes
of NumPy arrays and torch tensors, square or not; torch is not imported here.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Protocol, Self, TypeVar, cast

import numpy as np

ELEMENTS = tuple(range(8))
"""All elements; 0 is the identity."""

_ROWS, _COLUMNS = -2, -1

# Whether element k transposes, flips rows, flips columns.
_STEPS = tuple(product((False, True), repeat=3))


class _Image(Protocol):
    """The method that NumPy arrays and torch tensors share."""

    def swapaxes(self, axis0: int, axis1: int, /) -> Self: ...


_ImageT = TypeVar("_ImageT", bound=_Image)


def apply(element: int, image: _ImageT) -> _ImageT:
    """Turn an image by one element of D4.

    Args:
        element: 0..7.
        image: (..., rows, columns), any dtype.

    Returns:
        The turned image, rows and columns swapped if the element transposes; often a view.
    """
    transposes, *flips = _STEPS[element]
    turned = image.swapaxes(_ROWS, _COLUMNS) if transposes else image
    return _flip(turned, *flips)


def invert(element: int, image: _ImageT) -> _ImageT:
    """Undo `apply` of the same element."""
    transposes, *flips = _STEPS[element]
    unflipped = _flip(image, *flips)
    return unflipped.swapaxes(_ROWS, _COLUMNS) if transposes else unflipped


def _flip(image: _ImageT, rows: bool, columns: bool) -> _ImageT:
    axes = tuple(axis for axis, is_flipped in ((_ROWS, rows), (_COLUMNS, columns)) if is_flipped)
    if not axes:
        return image
    if isinstance(image, np.ndarray):
        return cast("_ImageT", np.flip(image, axes))
    # Only tensors are left; torch is not imported just for the annotation.
    tensor: Any = image
    return cast("_ImageT", tensor.flip(axes))
