"""docs/architecture.md shows the rooms, arrows and layers that the code has."""

import re
import tomllib

import grimp
import pytest
from grimp import ImportGraph

from conftest import ROOT

PACKAGE = "headhunt_svc"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
Arrow = tuple[str, str]


def diagram() -> str:
    (block,) = re.findall(r"```mermaid\n(.*?)```", PAGE, flags=re.DOTALL)
    return str(block)


def arrows(kind: str) -> set[Arrow]:
    """`a ==> b & c` is an arrow of a to b and one to c."""
    lines = re.findall(rf"^ +(\w+) {kind} (.+)$", diagram(), flags=re.MULTILINE)
    return {(source, target) for source, targets in lines for target in targets.split(" & ")}


def table(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without the table's own two first lines."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def way() -> set[str]:
    """The modules that the table of the way names."""
    files = [re.fullmatch(r"`([\w/]+)\.py`", row[0]) for row in table("The way of one video")]
    return {f"{PACKAGE}.{file[1].replace('/', '.')}" for file in files if file is not None}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


@pytest.fixture(scope="module")
def modules() -> ImportGraph:
    return grimp.build_graph(PACKAGE, cache_dir=None)


@pytest.fixture(scope="module")
def rooms(modules: ImportGraph) -> ImportGraph:
    """Who imports whom, room by room. A room is a folder of the package; the files beside them are vocabulary."""
    folders = {room(m) for m in modules.modules if m.count(".") > 1}
    graph = ImportGraph()
    for name in folders:
        graph.add_module(name)
    for module in modules.modules:
        for imported in modules.find_modules_directly_imported_by(module):
            source, target = room(module), room(imported)
            if source != target and {source, target} <= folders:
                graph.add_import(importer=source, imported=target)
    return graph


def imports(graph: ImportGraph) -> set[Arrow]:
    return {(m, target) for m in graph.modules for target in graph.find_modules_directly_imported_by(m)}


def follows(graph: ImportGraph, arrow: Arrow) -> bool:
    """Whether another room that `source` imports leads to `target` as well."""
    source, target = arrow
    between = graph.find_modules_directly_imported_by(source) - {target}
    return any(target in graph.find_upstream_modules(m) for m in between)


def test_the_diagram_has_every_room(rooms: ImportGraph) -> None:
    assert set(re.findall(r"^ +(\w+)\[", diagram(), flags=re.MULTILINE)) == rooms.modules
    assert {row[0].strip("`/") for row in table("Rooms")} == rooms.modules


def test_thick_arrows_are_the_imports_between_the_modules_of_the_way(modules: ImportGraph) -> None:
    assert way() <= modules.modules
    taken = {
        (room(m), room(imported))
        for m in way()
        for imported in modules.find_modules_directly_imported_by(m) & way()
        if room(m) != room(imported)
    }
    assert arrows("==>") == taken


def test_thin_arrows_are_all_other_imports_that_do_not_follow(rooms: ImportGraph) -> None:
    needed = {arrow for arrow in imports(rooms) if not follows(rooms, arrow)}
    assert arrows("-->") == needed - arrows("==>")


def test_the_layers_are_those_that_import_linter_checks() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (c["layers"] for c in contracts if c["type"] == "layers")
    (block,) = re.findall(r"```text\n(cli\n.*?)```", PAGE, flags=re.DOTALL)
    assert block.splitlines() == [layer.replace(f"{PACKAGE}.", "") for layer in layers]
