"""Names of sockets: what is found, and what is said about what is not."""

from __future__ import annotations

import sys
from collections import OrderedDict

import pytest

from lspipe import clusters, models, outputs
from lspipe.cube import loaders
from lspipe.errors import MissingExtra, UsageError
from lspipe.spec.plugins import resolve

KNOWN = {"ordered": "collections:OrderedDict", "gone": "collections:Nothing"}


def test_a_known_name_and_a_dotted_path_give_the_same_object():
    assert resolve("ordered", KNOWN, kind="thing") is OrderedDict
    assert resolve("collections:OrderedDict", {}, kind="thing") is OrderedDict


@pytest.mark.parametrize(
    "table", [loaders.LOADERS, clusters.KINDS, outputs.OUTPUTS, models.ARCHITECTURES]
)
def test_every_name_in_every_socket_resolves(table):
    for name in table:
        assert callable(resolve(name, table, kind="socket"))


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(UsageError, match="unknown loader 'odk'") as caught:
        resolve("odk", {"stackstac": "a:b", "odc": "a:c"}, kind="loader")
    assert "one of odc, stackstac" in str(caught.value)
    assert "package.module:thing" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone", "collections has no 'Nothing'"),
        ("collections:Nothing", "collections has no 'Nothing'"),
        ("no_such_package.here:thing", "no module 'no_such_package' on this machine"),
        ("tests.no_such_module:thing", "no module 'tests.no_such_module' on this machine"),
    ],
)
def test_a_path_that_leads_nowhere_says_which_part_is_missing(name, says):
    with pytest.raises(UsageError, match=says):
        resolve(name, KNOWN, kind="model")


@pytest.mark.parametrize(
    ("extra", "install"),
    [("cuda", "pip install 'lspipe[cuda]'"), ("", "pip install slurmy")],
)
@pytest.mark.parametrize("module", ["my_clusters", "slurmy_clusters"])
def test_a_module_that_needs_a_missing_package_says_what_to_install(
    tmp_path, monkeypatch, module, extra, install
):
    # Also where its name begins as that of the package does.
    (tmp_path / f"{module}.py").write_text("import slurmy\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(MissingExtra) as caught:
        resolve(f"{module}:thing", {}, kind="cluster", extra=extra)
    assert "needs 'slurmy'" in str(caught.value)
    assert install in str(caught.value)


def test_an_error_inside_a_users_module_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "fails_at_import.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        resolve("fails_at_import:thing", {}, kind="cluster")
