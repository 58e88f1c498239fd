"""What a spec promises: one bound, the same from Python, from a file and in the schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lspipe.spec import (
    Bounds,
    Count,
    Items,
    Named,
    Probability,
    Spec,
    SpecError,
    fits,
    plugin,
    read,
    schema,
    words,
)  # fmt: skip

TABLE = {"one": "package.one:start", "two": "package.two:start"}


@dataclass(frozen=True, kw_only=True)
class Inner(Spec):
    """A section within one."""

    edge: Count | Literal["auto"] = "auto"
    """In pixels."""


@dataclass(frozen=True, kw_only=True)
class Sample(Spec):
    """One key of each kind."""

    share: Probability | None = None
    below: Annotated[float, Bounds(gt=0, lt=1)] = 0.5
    kind: Annotated[str, plugin(TABLE, "start")] = "one"
    names: Annotated[tuple[Literal["a", "b"], ...], Items(least=1, unique=True)] = ("a",)
    corner: tuple[float, Annotated[float, Bounds(ge=-90, le=90)]] = (0, 0)
    code: Annotated[str, Named(pattern="^[A-Z]+$", other="capital letters")] = "A"
    inner: Inner = Inner()


GOOD = [
    {}, {"share": 0}, {"share": 1.0}, {"share": None}, {"below": 1e-9}, {"kind": "two"},
    {"kind": "my.own_module:Thing"}, {"names": ["b", "a"]}, {"corner": [200, -90]}, {"code": "BC"},
    {"inner": {}}, {"inner": {"edge": 1}}, {"inner": {"edge": "auto"}},
]  # fmt: skip

BAD = [
    # What is written, where it is wrong, and what is expected.
    ({"share": 1.01}, "share", "a probability, 0 to 1"),
    ({"share": "0.5"}, "share", "a probability, 0 to 1"),
    ({"share": True}, "share", "a probability, 0 to 1"),
    ({"below": 0}, "below", "a number, above 0 to below 1"),
    ({"below": 1}, "below", "a number, above 0 to below 1"),
    ({"kind": "three"}, "kind", 'one, two or "package.module:start"'),
    ({"kind": "my.module"}, "kind", 'one, two or "package.module:start"'),
    ({"kind": "a b:c"}, "kind", 'one, two or "package.module:start"'),
    ({"names": []}, "names", "a list, each a or b, 1 or more of them, none twice"),
    ({"names": ["a", "a"]}, "names", "none twice"),
    ({"names": ["a", "c"]}, "names.1", "a or b"),
    ({"corner": [0]}, "corner", "a list of 2: a number; a number, -90 to 90"),
    ({"corner": [0, 91]}, "corner.1", "a number, -90 to 90"),
    ({"code": "aB"}, "code", "capital letters"),
    ({"inner": {"edge": 0}}, "inner.edge", "a whole number, 1 or more, or auto"),
    ({"inner": {"edge": 1.5}}, "inner.edge", "a whole number, 1 or more, or auto"),
    ({"inner": {"edge": True}}, "inner.edge", "a whole number, 1 or more, or auto"),
    ({"inner": 3}, "inner", "keys and values (edge)"),
    ({"inner": None}, "inner", "found nothing, expected keys and values (edge)"),
]


def python(content):
    """The same from Python, where a section is a spec already."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    inner = content.get("inner")
    return Sample(**values | ({"inner": Inner(**inner)} if isinstance(inner, dict) else {}))


def is_marked(content):
    return bool(list(jsonschema.Draft202012Validator(schema(Sample)).iter_errors(content)))


@pytest.mark.parametrize("content", GOOD, ids=str)
def test_what_fits_is_taken_from_python_from_a_file_and_by_an_editor(content):
    assert read(Sample, content) == python(content)
    assert not is_marked(content)


@pytest.mark.parametrize(("content", "where", "expected"), BAD, ids=str)
def test_what_does_not_fit_is_refused_in_the_same_words_everywhere(content, where, expected):
    with pytest.raises(SpecError) as of_file:
        read(Sample, content)
    assert str(of_file.value).startswith(f"{where}: found ")
    assert str(of_file.value).endswith(expected)
    assert is_marked(content)
    with pytest.raises(ValueError, match="found") as of_python:
        python(content)
    assert str(of_python.value).endswith(expected)
    assert str(of_python.value).split(":")[0] in {where, where.removeprefix("inner.")}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_without_an_end_is_within_no_bounds(value):
    for attempt in (lambda: read(Sample, {"below": value}), lambda: Sample(below=value)):
        with pytest.raises(ValueError, match=f"below: found {value}, expected a finite value"):
            attempt()


def test_every_wrong_key_is_named_and_a_misspelt_one_first():
    with pytest.raises(SpecError) as caught:
        read(Sample, {"share": 2, "below": 2, "nmes": ["a"], "inner": {"edge": 0}})
    assert str(caught.value).splitlines() == [
        "nmes: unknown key (did you mean 'names'?)",
        "also wrong: below, inner.edge, share",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"kind": "onee"}, "'onee' (did you mean 'one'?), expected"),
        ({"names": ["ab"]}, "'ab' (did you mean 'b'?), expected"),
        ({"names": "a"}, "found 'a', expected a list"),
        ({"kind": "zzz"}, "found 'zzz', expected"),
    ],
)
def test_the_nearest_name_is_suggested_where_there_is_one(content, says):
    with pytest.raises(SpecError) as caught:
        read(Sample, content)
    assert says in str(caught.value)


def test_a_long_value_is_cut_in_a_message():
    with pytest.raises(SpecError) as caught:
        read(Sample, {"code": "x" * 1000})
    assert len(str(caught.value)) < 160


def test_a_line_end_is_part_of_a_text():
    with pytest.raises(SpecError, match="code: found"):
        read(Sample, {"code": "AB\n"})


def test_what_is_not_plain_is_refused():
    circle: dict[str, object] = {}
    circle["share"] = circle
    with pytest.raises(SpecError, match="not plain keys and values"):
        read(Sample, circle)


@given(st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["auto", "", "1"]) | st.booleans())
def test_python_and_a_file_agree_on_every_value(value):
    def is_taken(attempt):
        try:
            attempt()
        except ValueError:
            return False
        return True

    whole = isinstance(value, float) and value.is_integer()  # JSON writes it as such
    for key in ("share", "below"):
        in_python = is_taken(lambda key=key: Sample(**{key: value}))
        assert in_python == is_taken(lambda key=key: read(Sample, {key: value}))
    if not whole:
        assert is_taken(lambda: Inner(edge=value)) == is_taken(lambda: read(Inner, {"edge": value}))


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int32])
def test_whole_numbers_of_numpy_are_whole_numbers(kind):
    assert Inner(edge=kind(3)).edge == 3
    assert fits(np.float32(0.5), Probability)
    assert not fits(np.float32(0.5), Count)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (Bounds(ge=1), "a number, 1 or more"),
        (Bounds(gt=0), "a number, above 0"),
        (Bounds(le=9), "a number, 9 or less"),
        (Bounds(lt=0.5), "a number, below 0.5"),
        (Bounds(ge=0, lt=0.5), "a number, 0 to below 0.5"),
        (Bounds(gt=0, le=1, noun="a share"), "a share, above 0 to 1"),
    ],
)
def test_bounds_are_put_in_words(bounds, expected):
    assert words(Annotated[float, bounds]) == expected


def test_words_of_an_annotation_leave_none_out():
    assert words(Probability | None) == "a probability, 0 to 1"
