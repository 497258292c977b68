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


def run(what, kinds, folder, seed, number):
    """Return the facts by kind, from one process, because its start takes seconds."""
    if "omop" in kinds or "mimic" in kinds:
        pytest.importorskip("duckdb")
    done = subprocess.run(
        [
            sys.executable,
            kill_builds.__file__,
            what,
            ",".join(kinds),
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


@pytest.mark.parametrize(
    ("kinds", "n_kills"),
    [
        (["frame", "omop", "prepare"], 2),
        *(pytest.param([kind], 25, marks=slow) for kind in KINDS),
    ],
)
@pytest.mark.long
def test_a_killed_builder_leaves_all_or_nothing(kinds, n_kills, tmp_path):
    for facts in run("kill", kinds, tmp_path, n_kills, n_kills).values():
        assert facts["left"] == []
        assert facts["absent"] + facts["whole"] == n_kills
        if n_kills > 2:
            assert facts["killed"] > n_kills / 4
            assert facts["leftovers"] > 0  # There was something to remove.


@pytest.mark.parametrize(
    ("kinds", "n_rounds"),
    [
        (["frame", "prepare"], 2),
        *(pytest.param([kind], 10, marks=slow) for kind in KINDS),
    ],
)
@pytest.mark.long
def test_builders_that_race_end_in_one_store(kinds, n_rounds, tmp_path):
    for facts in run("race", kinds, tmp_path, 0, n_rounds).values():
        assert facts == {"failed": 0, "left": []}
