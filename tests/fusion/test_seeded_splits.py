"""The `random_state` of a fusion seeds the splitters inside it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupShuffleSplit,
    KFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder
from sklearn.tree import DecisionTreeClassifier

from skfusion import EarlyFusionClassifier, LateFusionClassifier
from skfusion.fusion import ModelFeatures

rng = np.random.default_rng(0)
X = pd.DataFrame({"a": rng.normal(size=80), "b": rng.normal(size=80)})
X["ward"] = rng.choice(list("uvwxyz"), 80)
Y = (X["a"] + X["b"] + rng.normal(size=80) > 0).to_numpy().astype(int)
TREE = DecisionTreeClassifier(max_depth=3, random_state=0)
PLAIN = [("a", StandardScaler(), ["a"]), ("b", StandardScaler(), ["b"])]


def early(estimator=None, transformer=None):
    modalities = PLAIN
    if transformer is not None:
        modalities = [("a", transformer, ["a"]), ("b", StandardScaler(), ["b"])]
    estimator = estimator or LogisticRegression()
    return EarlyFusionClassifier(modalities, estimator=estimator, random_state=0)


SHUFFLED = KFold(4, shuffle=True)


class Smoothed(CalibratedClassifierCV):
    """Classifier of a user, whose splitter is not called `cv`."""

    def __init__(self, estimator=None, splitter=None):
        super().__init__(estimator)
        self.splitter = splitter

    def fit(self, X, y):
        fitted = CalibratedClassifierCV(self.estimator, cv=self.splitter).fit(X, y)
        self.__dict__.update(fitted.__dict__)
        return self


MODELS = {
    "late": LateFusionClassifier(
        PLAIN,
        estimator=TREE,
        aggregation="stacking",
        cv=StratifiedGroupKFold(4, shuffle=True),
        random_state=0,
    ),
    "model features": early(transformer=ModelFeatures(TREE, cv=SHUFFLED)),
    "inside transformers": early(
        transformer=ColumnTransformer([("m", ModelFeatures(TREE, cv=SHUFFLED), ["a"])])
    ),
    "calibration": early(
        CalibratedClassifierCV(TREE, cv=StratifiedKFold(4, shuffle=True))
    ),
    "inside voting": early(
        VotingClassifier(
            [("c", CalibratedClassifierCV(TREE, cv=ShuffleSplit(3)))], voting="soft"
        )
    ),
    "by patient": early(CalibratedClassifierCV(TREE, cv=GroupShuffleSplit(3))),
    "splitter under another name": early(Smoothed(TREE, SHUFFLED)),
    "candidate learners": early(
        GridSearchCV(
            Pipeline([("m", TREE)]),
            {"m": [CalibratedClassifierCV(TREE, cv=SHUFFLED)]},
            cv=3,
        )
    ),
    "candidate forests": early(
        GridSearchCV(Pipeline([("m", TREE)]), {"m": [RandomForestClassifier(5)]}, cv=3)
    ),
    "candidate splitters": early(
        GridSearchCV(
            CalibratedClassifierCV(TREE), {"cv": [ShuffleSplit(3), SHUFFLED]}, cv=3
        )
    ),
    "target encoder": EarlyFusionClassifier(
        [("ward", TargetEncoder(), ["ward"]), ("b", StandardScaler(), ["b"])],
        estimator=TREE,
        random_state=0,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_of_a_fusion_reaches_splitters(name):
    model = MODELS[name]
    groups = np.arange(80) if name in ("late", "by patient") else None
    before = repr(model)
    first = clone(model).fit(X, Y, groups=groups).predict_proba(X)
    again = clone(model).fit(X, Y, groups=groups).predict_proba(X)
    np.testing.assert_array_equal(first, again)
    other = clone(model).set_params(random_state=1).fit(X, Y, groups=groups)
    assert np.abs(other.predict_proba(X) - first).max() > 1e-6
    assert repr(model) == before


def test_a_seed_of_the_user_is_kept():
    seeded = CalibratedClassifierCV(TREE, cv=KFold(4, shuffle=True, random_state=5))
    first, second = (
        early(seeded).set_params(random_state=seed).fit(X, Y).predict_proba(X)
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert repr(SHUFFLED) == repr(KFold(4, shuffle=True))
