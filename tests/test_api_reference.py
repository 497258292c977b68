"""The reference by subject: each public name once."""

from __future__ import annotations

import importlib
import importlib.util
from collections import Counter
from pathlib import Path

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
