"""Builders that are killed, or that race, leave a whole store or none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import kill_builds
import pytest

import skfusion

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.timeout(300),
]
KINDS = ["frame", "omop", "mimic", "fhir", "prepare"]
slow = pytest.mark.slow


def run(what, kind, folder, seed, number):
    if kind in ("omop", "mimic"):
        pytest.importorskip("duckdb")
    done = subprocess.run(
        [
            sys.executable,
            kill_builds.__file__,
            what,
            kind,
            folder,
            str(seed),
            str(number),
        ],
        env={**os.environ, "PYTHONPATH": str(Path(skfusion.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_kills", [2, pytest.param(25, marks=slow)])
def test_a_killed_builder_leaves_all_or_nothing(kind, n_kills, tmp_path):
    facts = run("kill", kind, tmp_path, n_kills, n_kills)
    assert facts["left"] == []
    assert facts["absent"] + facts["whole"] == n_kills
    if n_kills > 2:
        assert facts["killed"] > n_kills / 2
        assert facts["leftovers"] > 0  # There was something to remove.


@pytest.mark.parametrize(
    ("kind", "n_rounds"),
    [("frame", 3), *(pytest.param(kind, 10, marks=slow) for kind in KINDS)],
)
def test_builders_that_race_end_in_one_store(kind, n_rounds, tmp_path):
    assert run("race", kind, tmp_path, 0, n_rounds) == {"failed": 0, "left": []}
