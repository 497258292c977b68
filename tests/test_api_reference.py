"""The reference by subject: each public name once."""

from __future__ import annotations

import importlib
import importlib.util
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def reference():
    spec = importlib.util.spec_from_file_location(
        "api_reference", ROOT / "docs" / "api_reference.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public_names(package: str) -> set[str]:
    return set(importlib.import_module(package).__all__)


def test_each_public_name_is_listed_once():
    listed = Counter(
        name
        for section in reference().SECTIONS
        for names in section.names.values()
        for name in names.split()
    )
    assert [name for name, count in listed.items() if count > 1] == []
    public = {name for face in reference().FACES for name in public_names(face)}
    assert set(listed) == public


def test_no_public_package_is_left_out():
    packages = {
        f"skfusion.{path.parent.name}"
        for path in (ROOT / "skfusion").glob("*/__init__.py")
        if not path.parent.name.startswith("_") and path.parent.name != "cli"
    }
    known = {name for face in reference().FACES for name in public_names(face)}
    for package in packages:
        assert public_names(package) <= known, package


def test_names_are_imported_from_where_they_stand():
    for section in reference().SECTIONS:
        for face, names in section.names.items():
            module = importlib.import_module(face)
            for name in names.split():
                assert name in module.__all__, (face, name)


def listed() -> list[tuple[str, str]]:
    return [
        (face, name)
        for section in reference().SECTIONS
        for face, names in section.names.items()
        for name in names.split()
    ]


def guides() -> list[Path]:
    """The pages that teach: not the reference, and not those of developers."""
    of_others = {"api.md", "architecture.md", "contributing.md", "map.md"}
    folders = (ROOT / "docs" / name for name in ("", "guide", "howto", "recipes"))
    pages = [page for folder in folders for page in folder.glob("*.md")]
    pages += (ROOT / "docs" / "examples").glob("plot_*.py")
    return [page for page in pages if page.name not in of_others]


def executed() -> str:
    """The code that runs in the tests or in the build: of pages and of the gallery."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tested = settings["tool"]["pytest"]["ini_options"]["testpaths"]
    code = []
    for page in guides():
        name = page.relative_to(ROOT).as_posix()
        text = page.read_text(encoding="utf-8")
        if page.suffix == ".py":
            code += [line for line in text.splitlines() if not line.startswith("#")]
        elif any(name == path or name.startswith(f"{path}/") for path in tested):
            code += re.findall(r"^(?:>>>|\.\.\.) .*$", text, flags=re.MULTILINE)
    return "\n".join(code)


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def test_each_public_name_is_in_the_guide_a_how_to_or_the_gallery():
    told = names_in("\n".join(page.read_text(encoding="utf-8") for page in guides()))
    missing = [f"{face}.{name}" for face, name in listed() if name not in told]
    assert not missing, "\n".join(missing)


def test_each_public_name_has_an_example_that_runs():
    used = names_in(executed())
    missing = []
    for face, name in listed():
        public = getattr(importlib.import_module(face), name)
        docstring = (public.__doc__ or "") if callable(public) else ""
        if ">>> " not in docstring and name not in used:
            missing.append(f"{face}.{name}")
    assert not missing, "\n".join(missing)


def test_examples_import_public_names_from_where_they_are_public():
    where = {name: face for face, name in listed()}
    faces = set(where.values())
    pattern = re.compile(r">>> from (skfusion[\w.]*) import (\w+(?:, \w+)*)$", re.M)
    deep = []
    for face, name in listed():
        public = getattr(importlib.import_module(face), name)
        for module, names in pattern.findall(getattr(public, "__doc__", None) or ""):
            if module not in faces and set(names.split(", ")) <= set(where):
                deep.append(f"{face}.{name}: from {module} import {names}")
    assert not deep, "\n".join(deep)


@pytest.mark.parametrize(
    "name", ["CHARLSON", "LateFusionClassifier", "delong_test", "FusionComparison"]
)
def test_executed_code_holds_what_pages_run(name):
    assert name in names_in(executed())
    assert "```" not in executed()  # prose and marks of pages do not count
