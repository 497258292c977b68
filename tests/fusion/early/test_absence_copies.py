"""Copies of rows with a modality hidden: what they hold, and what they are good for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skfusion import EarlyFusionClassifier
from skfusion.cohort import TrainingData
from skfusion.datasets import make_fusion_cohort
from skfusion.fusion.early.absence_copies import (
    add_absence_copies,
    copy_weight,
    sources_of_copies,
)
from skfusion.fusion.early.joins import stacked


def rows(presence, weight=None):
    n = len(presence)
    return TrainingData(
        pd.DataFrame({"a": range(n)}), np.arange(n), weight, None, presence
    )


def test_copies_share_the_modalities_of_their_row_between_them():
    presence = np.ones((200, 4), dtype=bool)
    presence[:50, 0] = False
    presence[50:60, 1:] = False  # one modality left: no copy
    arrays = {name: np.full((200, 2), float(j)) for j, name in enumerate("abcd")}
    for j, block in enumerate(arrays.values()):
        block[~presence[:, j]] = np.nan
    weight = np.linspace(1, 3, 200)
    data = add_absence_copies(
        rows(presence, weight), 0.25, LogisticRegression(), np.random.RandomState(0)
    )
    sources = sources_of_copies(presence)
    np.testing.assert_array_equal(data.y, sources)  # the target numbers the rows
    flags = data.presence[:, :0]
    joined = stacked(arrays, sources, data.presence, flags)
    assert not arrays  # nothing else holds the blocks
    assert len(data.y) == 200 + 2 * 190
    np.testing.assert_array_equal(data.y[200:390], data.y[390:])
    one, other = data.presence[200:390], data.presence[390:]
    assert one.any(axis=1).all()
    assert other.any(axis=1).all()
    assert not (one & other).any()
    np.testing.assert_array_equal(one | other, presence[data.y[200:390]])
    # shares of every size, and no modality is favoured
    assert set(one[presence[data.y[200:390]].all(axis=1)].sum(axis=1)) == {1, 2, 3}
    assert (np.abs(one.mean(axis=0) - 0.5 * presence.mean(axis=0)) < 0.15).all()
    for j in range(4):
        block = joined[:, 2 * j : 2 * j + 2]
        np.testing.assert_array_equal(np.isnan(block).all(axis=1), ~data.presence[:, j])
        assert (block[data.presence[:, j]] == j).all()
    np.testing.assert_allclose(data.sample_weight[:200], weight)
    np.testing.assert_allclose(data.sample_weight[200:], 0.25 * weight[data.y[200:]])


def test_a_number_beyond_float32_names_its_row_once():
    X = pd.DataFrame({"a": np.arange(12.0), "b": 1.0, "c": np.arange(12.0)})
    y = np.arange(12) % 2
    model = EarlyFusionClassifier(
        [("x", "passthrough", ["a"]), ("ehr", "passthrough", ["b", "c"])],
        estimator=RandomForestClassifier(5, random_state=0),
        absence_copies=1.0,
    ).fit(X, y)
    X.loc[3, "c"] = 1e39
    message = r"modality 'ehr': .* in 1 of 12 rows, in feature\(s\) 'c', .* \[3\]"
    for call in (lambda: model.fit(X, y), lambda: model.predict(X)):
        with pytest.raises(ValueError, match=message):
            call()
    other = model.set_params(estimator=KNeighborsClassifier(3))
    assert other.fit(X, y).predict(X).shape == (12,)  # which computes in float64


def test_of_two_modalities_each_copy_has_one():
    presence = np.ones((30, 2), dtype=bool)
    data = add_absence_copies(
        rows(presence), 1.0, LogisticRegression(), np.random.RandomState(0)
    )
    np.testing.assert_array_equal(data.presence[30:].sum(axis=0), [30, 30])
    np.testing.assert_array_equal(data.sample_weight, np.ones(90))


def test_an_estimator_without_weights_gets_none():
    presence = np.ones((20, 2), dtype=bool)
    data = add_absence_copies(
        rows(presence), 0.5, KNeighborsClassifier(), np.random.RandomState(0)
    )
    assert data.sample_weight is None
    assert len(data.y) == 60


@pytest.mark.parametrize(
    ("estimator", "weight"),
    [
        (DecisionTreeClassifier(), 1.0),
        (LogisticRegression(), 0.0),
        (GridSearchCV(DecisionTreeClassifier(), {"max_depth": [2, 3]}, cv=3), 0.0),
    ],
)
def test_auto_asks_for_nan_and_for_no_second_split(estimator, weight):
    assert copy_weight("auto", estimator, owner="me") == weight
    assert copy_weight(0.1, estimator, owner="me") == 0.1


@pytest.mark.parametrize("value", [1.5, -0.1, "always", None, True])
def test_impossible_weights_are_refused(value, cohort, make):
    with pytest.raises(
        ValueError, match="absence_copies must be a number from 0 to 1 or 'auto'"
    ):
        make(EarlyFusionClassifier, absence_copies=value).fit(cohort.X, cohort.y)


@pytest.fixture(scope="module")
def trained():
    cohort, test = (make_fusion_cohort(1500, random_state=seed) for seed in (0, 1))
    modalities = [
        ("image", StandardScaler(), cohort.image_columns),
        ("ehr", StandardScaler(), cohort.ehr_columns),
    ]
    models = {
        share: EarlyFusionClassifier(
            modalities, absence_copies=share, random_state=0
        ).fit(cohort.data, cohort.target)
        for share in ("auto", 0.0)
    }
    models["ehr alone"] = EarlyFusionClassifier(modalities[1:], random_state=0).fit(
        cohort.data, cohort.target
    )
    return models, test


def auroc(model, X, y):
    return roc_auc_score(y, model.predict_proba(X)[:, 1])


def test_without_images_the_record_is_still_used(trained):
    models, test = trained
    gone = test.data.copy()
    gone[test.image_columns] = np.nan
    alone = auroc(models["ehr alone"], test.data, test.target)
    with_copies = auroc(models["auto"], gone, test.target)
    # the standard error of a difference is about 0.004 with 1,500 rows
    assert with_copies > alone - 0.01
    with pytest.warns(UserWarning, match="was never trained with these"):
        without = auroc(models[0.0], gone, test.target)
    assert with_copies > without


def test_complete_rows_lose_little(trained):
    models, test = trained
    scores = [auroc(models[share], test.data, test.target) for share in ("auto", 0.0)]
    assert scores[0] > scores[1] - 0.01
    assert models["auto"].supports_missing_ == {"image": True, "ehr": True}
    assert models[0.0].supports_missing_ == {"image": False, "ehr": False}
    names = list(models["auto"].get_feature_names_out())
    assert names[-2:] == ["image__present", "ehr__present"]
    assert models["auto"].transform(test.data).shape == (1500, 50)
