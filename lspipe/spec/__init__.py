"""What a person may write: frozen specs, whose annotations hold their bounds and choices.

    rules     ends of numbers, names, lengths of lists, in annotations
    values    `Spec`; a value and an annotation -> whether it fits, and what is expected
    files     plain values -> a spec; a spec -> its JSON Schema
    plugins   a name, or "package.module:thing", to an object

Each bound is written once and used three times: a call from Python is checked without pydantic
(`detect` needs only NumPy, xarray and torch), a file is read by pydantic and refused in the same
words, and an editor gets the bounds as JSON Schema.

See also: `models/section.py`, which reads model items, for `detect` too, without pydantic.
"""

from lspipe.spec.files import SpecError, read, schema
from lspipe.spec.rules import Bounds, Count, Items, Named, Pixels, Probability, Shown, plugin
from lspipe.spec.values import Spec, check, fits, words

__all__ = [
    "Bounds", "Count", "Items", "Named", "Pixels", "Probability", "Shown", "Spec", "SpecError",
    "check", "fits", "plugin", "read", "schema", "words",
]  # fmt: skip
