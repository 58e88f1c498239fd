"""The lowest versions that pyproject.toml allows, as constraints for pip.

`make test-lowest` installs them and runs the tests, so that every lower bound is one that works.
What a dependency asks for in its turn is left to pip, which takes the newest that fits.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# On Linux the old releases of torch on PyPI are CUDA builds of several GB: it stays the tested one.
AS_TESTED = ("torch",)


def lowest(project: dict) -> dict[str, str]:
    """Name and lowest version of what a project needs, its extras too.

    Raises:
        ValueError: two extras name different lowest versions of one package.
    """
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found: dict[str, str] = {}
    for text in (text for group in groups for text in group):
        # Without the marker of the machines that it is for.
        requirement = text.partition(";")[0].strip()
        name, *bound = re.split(r"\s*>=\s*", requirement, maxsplit=1)
        if not bound:
            continue
        version = bound[0].split(",")[0]
        if found.setdefault(name, version) != version:
            raise ValueError(f"pyproject.toml: {name} is >={found[name]} and >={version}")
    return found


def tested(name: str) -> str:
    """Version of a package in the set that the tests ran with."""
    lines = (ROOT / "constraints-cpu.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{name}==")).partition("==")[2]


if __name__ == "__main__":
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    versions = lowest(tomllib.loads(text)["project"])
    versions |= {name: tested(name) for name in AS_TESTED}
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in sorted(versions.items()))
