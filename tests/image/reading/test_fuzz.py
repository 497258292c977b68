"""Damaged files of every format give an image or ImageReadError, nothing else.

They are read in processes with 4 GB of address space, from real files and from small
ones that were made for the test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).parents[2] / "helpers" / "fuzz_images.py"
CASES_PER_CHILD = 500
LARGEST_PEAK = 2000  # MB
LONGEST = 10  # seconds

pytest.importorskip("skimage")
pytest.importorskip("tifffile")


def fuzz(seed: int, n_cases: int) -> dict:
    """Read damaged files in another process, which may not end abnormally."""
    paths = [str(CHILD.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    found = subprocess.run(
        [sys.executable, CHILD, str(seed), str(n_cases)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST * 60,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([".", *paths])},
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return json.loads(found.stdout.splitlines()[-1])


def check(found: dict, n_cases: int) -> None:
    assert not found["unexpected"]
    assert found["read"] + found["refused"] == n_cases
    assert found["peak"] < LARGEST_PEAK
    assert found["slowest"][0] < LONGEST


@pytest.mark.long
def test_damaged_files():
    found = fuzz(0, 600)
    check(found, 600)
    assert found["n_seeds"] > 100
    assert found["read"] > 100
    assert found["refused"] > 100


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 41))
def test_many_damaged_files(seed):
    check(fuzz(seed, CASES_PER_CHILD), CASES_PER_CHILD)
