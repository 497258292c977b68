"""The surroundings of every test, those inside the docstrings of skfusion included.

Set here rather than in ``tests/`` because ``pytest skfusion`` reads this file too.
"""

from __future__ import annotations

import ast
import doctest
import functools
import inspect
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# One thread a process: on few cores the nets' threads slow each other down, and sums
# in another order would differ in the last digit. Read when torch or numpy loads.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["MPLBACKEND"] = "Agg"

# Pages whose examples take more than 5 seconds each, marked `long` as such tests are.
LONG_PAGES = {"comparison.md", "importance.md", "events.md", "coming_from_shap.md"}

_cache = pytest.StashKey[str]()
_from_module = doctest.DocTestFinder._from_module


def _defined_in(finder: Any, module: ModuleType | None, thing: Any) -> bool:
    """Find the examples of public classes in the module that defines them.

    Their `__module__` is the package that exports them, which is frozen so that pickles
    survive a move of the module; doctest would look for them there. The functions that
    a dataclass or a named tuple generates do not know the module either.
    """
    source = getattr(module, "__file__", None)
    if source is not None and inspect.isclass(thing):
        return thing.__qualname__.partition(".")[0] in _classes_of(source)
    return bool(_from_module(finder, module, thing))


@functools.cache
def _classes_of(source: str) -> frozenset[str]:
    """Return the names of the classes that a file of Python defines, at any depth."""
    tree = ast.parse(Path(source).read_text(encoding="utf-8"))
    found = (node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return frozenset(found)


doctest.DocTestFinder._from_module = _defined_in  # type: ignore[method-assign]


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # a worker of pytest-xdist inherits the folder of the main process
    folder = tempfile.mkdtemp(prefix="skfusion-test-cache-")
    config.stash[_cache] = folder
    os.environ["SKFUSION_CACHE"] = folder  # never the user's own cache


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.name in LONG_PAGES:
            item.add_marker("long")


def pytest_unconfigure(config: pytest.Config) -> None:
    if _cache in config.stash:
        shutil.rmtree(config.stash[_cache], ignore_errors=True)
