"""Connections of sqlite that are closed at the end of each test.

Python 3.13 warns about connections that are garbage collected before they are closed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["closed_connections", "connect"]

_OPENED: list[sqlite3.Connection] = []


@pytest.fixture(autouse=True)
def closed_connections() -> Iterator[None]:
    """Close what `connect` opened. A test module imports it to use it."""
    yield
    while _OPENED:
        _OPENED.pop().close()


def connect(place: Path | str = ":memory:") -> sqlite3.Connection:
    """Open a database."""
    _OPENED.append(sqlite3.connect(place))
    return _OPENED[-1]
