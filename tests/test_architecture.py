"""The structure of the package, read from its source."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "skfusion"
MOST_MODULES = 14
# Wings beside each other: none imports another, however indirectly.
SIBLINGS = (
    ("image", "ehr", "datasets"),
    ("fusion.early", "fusion.late", "fusion.joint", "fusion.selection"),
    ("inspection.features", "inspection.images"),
    ("image.embedding", "image.radiomics"),
    ("image.cells", "image.networks"),
    ("ehr.sources", "ehr.tabular"),
    ("ehr.codes", "ehr.measurements"),
)


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a module imports, those for type checkers apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found & set(MODULES)


GRAPH = {name: imports_of(path) - {name} for name, path in MODULES.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one node (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def reachable(start: set[str]) -> set[str]:
    seen, todo = set(start), list(start)
    while todo:
        for other in GRAPH[todo.pop()] - seen:
            seen.add(other)
            todo.append(other)
    return seen


def within(wing: str) -> set[str]:
    return {name for name in MODULES if name.startswith(f"skfusion.{wing}.")}


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}}) == [["b", "c"]]


def test_no_circle_among_modules():
    assert sum(map(len, GRAPH.values())) > 300  # the graph is there
    assert circles(GRAPH) == []


def test_no_circle_among_folders():
    """Modules beside a folder of the same level stand for themselves."""
    folders = {path.parent for path in MODULES.values() if path.name == "__init__.py"}

    def wing(name: str) -> str:
        path = MODULES[name]
        inner = [folder for folder in folders if folder.parent == path.parent]
        return name if inner else name.rpartition(".")[0]

    graph: dict[str, set[str]] = defaultdict(set)
    for name, others in GRAPH.items():
        graph[wing(name)] |= {wing(other) for other in others} - {wing(name)}
    for node in {other for others in graph.values() for other in others}:
        graph.setdefault(node, set())
    assert circles(graph) == []


def test_no_folder_holds_too_many_modules():
    counts: dict[str, int] = defaultdict(int)
    for path in MODULES.values():
        if path.name != "__init__.py":
            counts[path.parent.relative_to(ROOT).as_posix()] += 1
    assert {f: n for f, n in counts.items() if n > MOST_MODULES} == {}


@pytest.mark.parametrize("siblings", SIBLINGS, ids="|".join)
def test_sibling_wings_are_independent(siblings):
    for wing in siblings:
        members = within(wing)
        assert members, wing
        seen = reachable(members)
        for other in siblings:
            if other != wing:
                assert seen & within(other) == set(), f"{wing} reaches {other}"


def test_paths_in_the_page_of_the_architecture_exist():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:skfusion|tests|docs|benchmarks)/[\w./]*)`", page)
    assert len(named) >= 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_functions_that_the_page_of_the_architecture_names_exist():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    pairs = re.findall(r"`(skfusion/[\w/]+\.py)`:\s+`([\w.]+)`", page)
    assert pairs
    for file, name in pairs:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        body: list[ast.stmt] = tree.body
        for part in name.split("."):
            known = {}
            for node in body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    known[node.name] = node
                elif isinstance(node, ast.Assign):
                    known |= {ast.unparse(target): node for target in node.targets}
                elif isinstance(node, ast.AnnAssign):
                    known[ast.unparse(node.target)] = node
            assert part in known, f"{file} has no {name}"
            body = getattr(known[part], "body", [])


def test_the_page_of_the_architecture_asks_ten_questions():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    questions = page.partition("## Where would I add")[2]
    rows = [line for line in questions.splitlines() if line.startswith("| a")]
    assert sum("`skfusion/" in row and "`tests/" in row for row in rows) >= 10
