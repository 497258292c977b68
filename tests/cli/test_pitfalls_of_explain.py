"""Pitfalls of several models, which the command explain prints once per kind."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace

from skfusion.cli.explain import PITFALLS, _shared_pitfalls
from skfusion.inspection.modalities.report import Pitfall


def report(*pitfalls):
    return SimpleNamespace(pitfalls=list(pitfalls))


def test_each_kind_is_printed_once_with_its_remedy():
    few = [Pitfall(f"There are only {n} cases.", "few") for n in (12, 13)]
    lines = _shared_pitfalls(
        [
            report(few[0], Pitfall("Correlated.", "correlated"), few[0]),
            report(few[1], "A warning about the cases."),
            report(),
        ]
    )
    assert lines[0].startswith("In 1 of 3 models: Predictions from single modalities")
    assert "--test PART --refit" in lines[0]
    assert lines[1].startswith("In 2 of 3 models: There are few test cases")
    assert "--cv 3" in lines[1]
    assert lines[2] == "In 1 of 3 models: There were further remarks."
    assert "--json" in lines[3]
    assert len(lines) == 4
    assert _shared_pitfalls([report(), report()]) == []


def test_the_kind_survives_a_copy():
    for kind in PITFALLS:
        pitfall = Pitfall("Some sentences.", kind)
        for again in (pickle.loads(pickle.dumps(pitfall)), copy.deepcopy(pitfall)):
            assert (again, again.kind) == ("Some sentences.", kind)
