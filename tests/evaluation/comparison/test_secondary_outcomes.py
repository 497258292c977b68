"""Secondary analyses of outcomes that are not two known classes."""

from __future__ import annotations

import numpy as np
import pytest
from comparison_cohorts import LATE, make_cohort, modalities

from skfusion import compare_fusion

SETTINGS = {"strategies": LATE, "cv": 2, "n_repeats": 1, "random_state": 0}


@pytest.fixture(scope="module")
def cohort():
    X, _ = make_cohort(120, per_patient=1)
    return X, X.sum(axis=1).to_numpy() + np.random.default_rng(0).normal(size=120)


def test_classes_of_which_none_is_known_as_positive(cohort):
    X, total = cohort
    y = np.where(total > 0, "cancer", "healthy")
    result = compare_fusion(modalities(), X, y, scoring="roc_auc", **SETTINGS)
    with pytest.raises(ValueError, match="'cancer' and 'healthy'. Pass pos_label="):
        result.operating_point(sensitivity=0.9)
    with pytest.raises(ValueError, match="by_group depends on which class is positive"):
        result.by_group("age", "average_precision")
    assert result.by_group("age")["estimate"].notna().any()
    known = compare_fusion(modalities(), X, y, pos_label="cancer", **SETTINGS)
    rate = known.operating_point(sensitivity=0.9)["sensitivity"]
    assert rate.between(0.7, 1).all()


METHODS = {
    "by_group": ["age"],
    "missing_curve": ["image"],
    "learning_curve": [],
    "roc_curve": ["late"],
    "precision_recall_curve": ["late"],
    "operating_point": [0.9],
}


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "survival"])
@pytest.mark.long
def test_other_outcomes_are_refused_in_words(cohort, kind):
    X, total = cohort
    y = np.digitize(total, [-0.7, 0.7])
    if kind == "multilabel":
        y = np.column_stack([total > 0, total > 0.5]).astype(int)
    elif kind == "survival":
        y = np.zeros(len(X), dtype=[("event", bool), ("time", float)])
        y["event"], y["time"] = np.arange(len(X)) % 3 > 0, np.exp(-total)
    scoring = "concordance" if kind == "survival" else None
    result = compare_fusion(modalities(), X, y, scoring=scoring, **SETTINGS)
    for method, arguments in METHODS.items():
        with pytest.raises(ValueError, match=f"{method} .*but the outcome is {kind}"):
            getattr(result, method)(*arguments)
    found = result.table_one(["age"])
    names = {"survival": ["censored", "event"], "multiclass": ["0", "1", "2"]}
    assert list(found.columns[4:-1]) == names.get(kind, [])
    counts = found.iloc[0][names.get(kind, [])].astype(int)
    assert counts.sum() == (0 if kind == "multilabel" else 120)
    assert found["smd"].notna().any() == (kind == "survival")
