"""Suppression of small counts: nothing of 1 to 9 is shown, or follows from a total."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from skfusion.evaluation.statistics.disclosure import (
    count_text,
    shown_counts,
    without_small_counts,
)


def possible(shown, total):
    """All values that each small count can have, given the total and the rule."""
    known = sum(n for n in shown if not isinstance(n, str))
    hidden = [text for text in shown if isinstance(text, str)]
    rest = total - known
    n_large = hidden.count("withheld")
    found = set()
    for values in itertools.product(range(1, 10), repeat=hidden.count("<10")):
        left = rest - sum(values)
        if (left == 0 and not n_large) or (n_large and left >= 10 * n_large):
            found.add(values)
    return [set(column) for column in zip(*found, strict=True)]


@pytest.mark.parametrize("seed", range(60))
def test_small_counts_could_be_any(seed):
    rng = np.random.default_rng(seed)
    counts = rng.choice([0, 1, 5, 9, 10, 11, 12, 20, 300], rng.integers(2, 6)).tolist()
    shown = shown_counts(counts)
    assert not any(0 < n < 10 for n in shown if not isinstance(n, str))
    for n, text in zip(counts, shown, strict=True):
        assert (text == "<10") == (0 < n < 10)
        assert isinstance(text, str) or text == n
    n_small = sum(0 < n < 10 for n in counts)
    every = [text for n, text in zip(counts, shown, strict=True) if n]
    if n_small and any(not isinstance(text, str) for text in every):
        assert possible(shown, sum(counts)) == [set(range(1, 10))] * n_small


def test_a_large_count_next_to_one_small_one_is_withheld():
    # 11 and 1 add up to 12, so the small one could only be 1 or 2
    assert shown_counts([11, 1, 500]) == ["withheld", "<10", "withheld"]
    assert shown_counts([40, 1, 500]) == ["withheld", "<10", 500]
    assert shown_counts([9, 9, 500]) == ["<10", "<10", "withheld"]
    assert shown_counts([3, 4], 0) == [3, 4]
    assert shown_counts([]) == []


def test_texts_of_counts():
    assert count_text(3) == "<10"
    assert count_text(0, 5) == "0"
    assert count_text(1000, 1000) == "1,000"
    assert count_text(997, 1000) == ">990"
    assert count_text(4, 8) == "<10"
    assert count_text(4, min_cell=3) == "4"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("absent in 3 of 1,200 rows.", "absent in <10 of 1,200 rows."),
        ("1 patient, 2 test rows", "<10 patient, <10 test rows"),
        (
            "drops 5 of 60 rows, first at row position(s) [1, 2].",
            "drops <10 of 60 rows.",
        ),
        ("12 of 60 rows; 0 rows", "12 of 60 rows; 0 rows"),
        ("fewer than 5 patients", "fewer than 5 patients"),
        ("10 x 5 folds by patient", "10 x 5 folds by patient"),
        ("0.3 of 8 patients", "0.3 of <10 patients"),
        ("5 folds, 1,005 rows", "5 folds, 1,005 rows"),
        ("a gain of 0.05 took 9 patients", "a gain of 0.05 took <10 patients"),
    ],
)
def test_sentences_lose_small_counts_only(text, expected):
    assert without_small_counts(text) == expected
