"""Which module uses each of the nine packages that lspipe is required to be built on.

The table is the list; it is compared with the imports in the source, so that a package that is
installed for nothing, or that creeps into another stage, fails here.
"""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

import lspipe

ROOT = Path(lspipe.__file__).parent

USED_BY = {
    # package: (name of its import, modules of lspipe that use it when they run)
    "dask": (
        "dask",
        "cli.__init__ clusters.__init__ clusters.kubernetes clusters.local clusters.slurm "
        "cube.beside cube.kernels cube.loaders cube.masked cube.masking "
        "cube.offsets cube.scene cube.terrain inference.detect inference.map_overlap "
        "outputs.layers outputs.report runs.frozen runs.guard runs.hiring runs.plan runs.worker",
    ),
    "distributed": (
        "distributed",
        "clusters.address clusters.admission clusters.cuda clusters.kubernetes clusters.local "
        "clusters.slurm clusters.timing runs.stream",
    ),
    "xarray": (
        "xarray",
        "change.classified change.compare change.inventory cube.loaders cube.opening cube.pairs "
        "inference.given outputs.layers runs.store samples.chip_netcdf samples.patch_file",
    ),
    "rioxarray": ("rioxarray", "change.grids"),
    "zarr": ("zarr", "runs.store"),
    "torch": (
        "torch",
        "inference.batches inference.block inference.cut_and_add inference.detect "
        "inference.deviation inference.inputs inference.masking inference.overlap "
        "inference.runtimes inference.soundness inference.temperature "
        "models.__init__ models.architectures models.bare_change models.bare_ground "
        "models.encoders models.torchvision "
        "train.batches train.checkpoints train.course train.further "
        "train.looks train.loop train.mixture",
    ),
    "stackstac": ("stackstac", "cube.loaders"),
    "pystac-client": ("pystac_client", "search.paging search.server"),
    "odc-stac": ("odc.stac", "cube.loaders"),
}


def module_of(path: Path) -> str:
    """Room and module (or folder of modules) that a file belongs to, such as "runs.store"."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts[:2])


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def statements(tree: ast.AST):
    """Every node but those under `if TYPE_CHECKING:`, which never run."""
    for node in ast.iter_child_nodes(tree):
        if not is_type_checking(node):
            yield node
            yield from statements(node)


def imported(tree: ast.AST, package: str) -> dict[str, str]:
    """Names that a module binds to a package or something in it, and what they are bound to."""
    names = {}
    for node in statements(tree):
        if isinstance(node, ast.Import):
            found = [(alias.asname or alias.name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found = [(a.asname or a.name, f"{node.module}.{a.name}") for a in node.names]
        else:
            continue
        names |= {bound: name for bound, name in found if f"{name}.".startswith(f"{package}.")}
    return names


def uses(tree: ast.AST, names: dict[str, str]) -> bool:
    """Whether a module does something with what it imported."""
    for node in statements(tree):
        if isinstance(node, ast.Name) and node.id in {name.partition(".")[0] for name in names}:
            return True
        # rioxarray is used by what it adds to xarray.
        if "rioxarray" in names and isinstance(node, ast.Attribute) and node.attr == "rio":
            return True
    return False


@cache
def modules() -> list[tuple[str, ast.AST]]:
    """Every file and where it belongs; to read them takes most of the time of these tests."""
    paths = sorted(ROOT.rglob("*.py"))
    return [(module_of(path), ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def users(package: str) -> set[str]:
    found = set()
    for module, tree in modules():
        names = imported(tree, package)
        if names and uses(tree, names):
            found.add(module)
    return found


@pytest.mark.parametrize("package", USED_BY)
def test_every_required_package_is_used_where_the_table_says(package: str) -> None:
    name, expected = USED_BY[package]
    found = users(name)
    assert found, f"{package} is required and nothing uses it"
    assert sorted(found) == expected.split(), "mend the table of this test"


def test_every_required_package_is_a_dependency() -> None:
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {text.split(">")[0].strip() for text in project["dependencies"]}
    assert set(USED_BY) <= names


def test_an_import_without_a_use_does_not_count() -> None:
    tree = ast.parse("import stackstac\nfrom dask import array as da\nprint(da.ones(3))")
    assert not uses(tree, imported(tree, "stackstac"))
    assert uses(tree, imported(tree, "dask"))
    for_types = ast.parse("if TYPE_CHECKING:\n    import zarr\ndef f(x: zarr.Array): ...")
    assert not imported(for_types, "zarr")
    accessor = ast.parse("import rioxarray\nprint(map.rio.crs)")
    assert uses(accessor, imported(accessor, "rioxarray"))
