"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what reads the folder of real data."""
    for item in items:
        if "skfusion_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what was collected out of later garbage collections, which are slow."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Start every test from the same state of the global generators."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - scikit-learn's checks draw from this one
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def skfusion_data() -> Path:
    """Folder of the real data sets, from the environment variable SKFUSION_DATA."""
    value = os.environ.get("SKFUSION_DATA")
    if not value:
        pytest.skip("SKFUSION_DATA is not set: it names the folder of real data sets")
    folder = Path(value)
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA does not name a folder")
    return folder
