"""Environment variables that are changed for a while."""

from __future__ import annotations

import os

import pytest

from lspipe.environment import kept


@pytest.fixture
def _variables(monkeypatch):
    monkeypatch.setenv("LSPIPE_SET", "as it was")
    monkeypatch.setenv("LSPIPE_OTHER", "as it was")
    monkeypatch.delenv("LSPIPE_UNSET", raising=False)


@pytest.mark.usefixtures("_variables")
def test_variables_are_left_as_they_were_whatever_is_done_to_them_and_others_are_not_touched():
    with pytest.raises(KeyError):
        change_and_fail()
    assert os.environ["LSPIPE_SET"] == "as it was"
    assert "LSPIPE_UNSET" not in os.environ
    assert os.environ["LSPIPE_OTHER"] == "now"


def change_and_fail():
    with kept(["LSPIPE_SET", "LSPIPE_UNSET"]):
        os.environ["LSPIPE_UNSET"] = "now"
        os.environ["LSPIPE_OTHER"] = "now"
        del os.environ["LSPIPE_SET"]
        raise KeyError
