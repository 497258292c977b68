"""Image, record and note with known likelihood ratios: fusion reaches the optimum."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, LateFusionClassifier, TextEmbedder
from skfusion.evaluation import estimate_aurocs

N_WORDS = 12
SHARE = 0.62  # of words of the first list in notes of positive cases
LISTS = (
    ("fever", "sepsis", "effusion", "worse", "dyspnoea"),
    ("stable", "normal", "clear", "improved", "afebrile"),
)
VOCABULARY = [*LISTS[0], *LISTS[1], "the"]
SHIFTS = {"image": 0.9, "record": 0.7}  # distances of the class means, in deviations
RATIO = np.log(SHARE / (1 - SHARE))  # of a word, log-likelihood


class WordCounts:
    """Counts of the words of a vocabulary, an encoder of any user."""

    fingerprint = f"counts of {VOCABULARY}"

    def __call__(self, texts):
        return np.array(
            [[text.split().count(word) for word in VOCABULARY] for text in texts]
        )


def cohort(n, seed):
    """Cases of both classes: each modality is independent given the outcome."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2)
    columns = {}
    for name, shift in SHIFTS.items():
        direction = np.ones(4) / 2
        values = rng.normal(size=(n, 4)) + shift * (y - 0.5)[:, None] * direction
        columns |= {f"{name}{i}": values[:, i] for i in range(4)}
    first = rng.random((n, N_WORDS)) < np.where(y, SHARE, 1 - SHARE)[:, None]
    words = rng.integers(0, 5, (n, N_WORDS))
    columns["note"] = [
        " ".join(
            LISTS[0 if is_first else 1][k] for is_first, k in zip(f, w, strict=True)
        )
        for f, w in zip(first, words, strict=True)
    ]
    ratio = RATIO * (2 * first.sum(axis=1) - N_WORDS)
    for name, shift in SHIFTS.items():
        ratio += shift * sum(columns[f"{name}{i}"] for i in range(4)) / 2
    return pd.DataFrame(columns), y, ratio


def optimum(shifts, with_note=True):
    """AUROC of the log-likelihood ratio: a sum of normal and binomial parts.

    The ratio of a normal part with distance d is normal, with means of +-d^2/2 and
    variance d^2. The ratio of a note is a multiple of its number of first words.
    """
    variance = sum(d**2 for d in shifts)
    k = np.arange(N_WORDS + 1)
    if not with_note:
        return norm.cdf(np.sqrt(variance / 2))
    pairs = np.outer(binom.pmf(k, N_WORDS, SHARE), binom.pmf(k, N_WORDS, 1 - SHARE))
    difference = 2 * RATIO * (k[:, None] - k)
    return (pairs * norm.cdf((variance + difference) / np.sqrt(2 * variance))).sum()


def modalities(store):
    parts = [
        (name, StandardScaler(), [f"{name}{i}" for i in range(4)]) for name in SHIFTS
    ]
    return [*parts, ("note", TextEmbedder(WordCounts(), store=store), "note")]


@pytest.mark.long
def test_the_formula_is_that_of_the_cohort():
    _, y, ratio = cohort(200_000, 5)
    assert abs(roc_auc_score(y, ratio) - optimum(SHIFTS.values())) < 0.003


@pytest.mark.parametrize(
    "make",
    [
        lambda parts: EarlyFusionClassifier(parts, estimator=LogisticRegression()),
        lambda parts: LateFusionClassifier(
            parts, estimator=LogisticRegression(), aggregation="stacking", cv=4
        ),
    ],
    ids=["early", "late"],
)
@pytest.mark.long
def test_fusion_reaches_the_optimum(make, tmp_path):
    X, y, _ = cohort(4000, 0)
    new, outcome, _ = cohort(4000, 1)
    model = make(modalities(tmp_path)).fit(X, y)
    found = estimate_aurocs(outcome, [model.predict_proba(new)[:, 1]])
    error = np.sqrt(found.covariance[0, 0])
    best = optimum(SHIFTS.values())
    without_note = optimum(SHIFTS.values(), with_note=False)
    assert error < 0.01
    assert abs(found.values[0] - best) < 3 * error
    assert found.values[0] > without_note + 3 * error  # the note counts
