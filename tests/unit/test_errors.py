"""The exception tree: what a shell script and a log see of an error."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lspipe import errors
from lspipe.errors import LoadError, LspipeError, first_few, without_query

CLASSES = {
    name: thing
    for name, thing in vars(errors).items()
    if isinstance(thing, type) and issubclass(thing, LspipeError)
}

EXIT_CODES = {
    # As in README.md: 1 unforeseen or a server out of reach, 2 usage, 3 blocks, 4 nothing found.
    "LspipeError": 1, "CatalogError": 1, "ClusterError": 1, "RemoteError": 1,
    "UsageError": 2, "WorkflowError": 2, "AreaError": 2, "RadiometryError": 2, "ModelError": 2,
    "SamplesError": 2, "DecisionsError": 2, "MissingExtra": 2, "StoreError": 2,
    "BlockError": 3, "LoadError": 3, "UnfitAsset": 3, "InferenceError": 3, "DeviceError": 3,
    "NothingFound": 4,
}  # fmt: skip


def test_every_error_has_the_exit_code_of_its_kind():
    assert {name: kind.exit_code for name, kind in CLASSES.items()} == EXIT_CODES


def test_the_drawn_tree_is_the_tree_of_the_classes():
    drawn = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"^(?P<lead>[ │├└─]{4,})(?P<name>[A-Z]\w+)", line)
        if match and match["name"] in CLASSES:
            drawn.append((len(match["lead"]) // 4 - 1, match["name"]))
    parents: dict[int, str] = {}
    for depth, name in drawn:
        parents[depth] = name
        parent = CLASSES[name].__bases__[0]
        assert parent.__name__ == (parents[depth - 1] if depth else "Exception"), name
    assert {name for _, name in drawn} == set(CLASSES)


@given(st.lists(st.text("abc"), max_size=9), st.integers(1, 9))
def test_a_message_names_the_first_and_counts_each_of_the_others(names, most):
    *listed, last = first_few(names, most, between="; ").split("; ")
    if len(names) <= most:
        assert [*listed, last] == (names or [""])
    else:
        assert (listed, last) == (names[:most], f"and {len(names) - most} more")


def test_a_load_error_survives_the_way_from_a_worker():
    error = LoadError("S2A_18GYS_20170115_0_L2A", "swir16", "HTTP 403 after 3 tries")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 our own
        assert type(twin) is LoadError
        assert (twin.item, twin.asset, twin.reason) == (error.item, error.asset, error.reason)
    assert str(error) == "swir16 of S2A_18GYS_20170115_0_L2A: HTTP 403 after 3 tries"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a/b.tif?sig=SECRET&se=2026", "https://host/a/b.tif"),
        ("https://user:SECRET@host:8443/a", "https://host:8443/a"),
        ("https://user@name:SECRET@host/a", "https://host/a"),
        ("https://host/a#token=SECRET", "https://host/a"),
        ("s3://bucket/key?versionId=SECRET", "s3://bucket/key"),
        ("/vsicurl/https://user:SECRET@host/a?SECRET", "/vsicurl/https://host/a"),
        # No URL: a path may hold any of these characters, and is shown as it is.
        ("/data/what?/a#b@c.tif", "/data/what?/a#b@c.tif"),
        ("items.json", "items.json"),
        ("", ""),
    ],
)
def test_credentials_are_cut_off_urls_and_paths_are_left_alone(url, shown):
    assert without_query(url) == shown


@given(
    user=st.text("abc:@-._~%", max_size=8),
    query=st.text("abc=&?#/:@", max_size=12),
    path=st.text("abc/._-", max_size=12),
)
def test_no_secret_ever_survives(user, query, path):
    secret = "S3CR3T"  # noqa: S105 that is the point
    for url in (f"https://{user}{secret}@host/{path}", f"https://host/{path}?{query}{secret}"):
        assert secret not in without_query(url)
        assert without_query(url).startswith("https://host/")
    assert without_query(without_query(url)) == without_query(url)
