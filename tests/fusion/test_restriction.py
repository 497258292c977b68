"""Estimators around a fusion, restricted to some of its modalities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfusion import EarlyFusionClassifier, LateFusionClassifier
from skfusion.fusion.restriction import fusions_within, restricted_to

MODALITIES = [
    ("image", StandardScaler(), ["a", "b"]),
    ("ehr", StandardScaler(), ["c"]),
    ("notes", StandardScaler(), ["d"]),
]


@pytest.fixture
def fusion():
    return EarlyFusionClassifier(MODALITIES, estimator=LogisticRegression())


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 4)), columns=list("abcd"))
    return X, (X["a"] + rng.normal(size=60) > 0).astype(int)


def kept_of(estimator):
    """Return the modalities that are left in the only fusion of an estimator."""
    (fusion,) = fusions_within(estimator).values()
    return [name for name, part, _ in fusion.modalities if part != "drop"]


def wrappers(fusion):
    pipeline = Pipeline([("same", FunctionTransformer()), ("fusion", fusion)])
    return {
        "": fusion,
        "fusion__": pipeline,
        "estimator__": CalibratedClassifierCV(fusion),
        "estimator__fusion__": TunedThresholdClassifierCV(pipeline),
        "estimator__estimator__fusion__": GridSearchCV(
            CalibratedClassifierCV(pipeline), {}
        ),
    }


@pytest.mark.parametrize("prefix", list(wrappers(None)))
def test_every_wrapper_is_kept(fusion, prefix):
    given = wrappers(fusion)[prefix]
    assert list(fusions_within(given)) == [prefix]
    restricted = restricted_to(given, ["ehr"])
    assert type(restricted) is type(given)
    assert kept_of(restricted) == ["ehr"]
    assert kept_of(given) == ["image", "ehr", "notes"]  # unchanged


def test_the_model_sees_the_modality_only(fusion, cohort):
    X, y = cohort
    restricted = restricted_to(wrappers(fusion)["estimator__"], ["ehr"]).fit(X, y)
    alone = CalibratedClassifierCV(
        EarlyFusionClassifier(MODALITIES[1:2], estimator=LogisticRegression())
    ).fit(X, y)
    changed = X.assign(a=0.0, b=9.0, d=-1.0)
    np.testing.assert_allclose(
        restricted.predict_proba(changed), alone.predict_proba(X), rtol=1e-12
    )


def test_fitted_estimators_are_restricted(fusion, cohort):
    fitted = Pipeline([("fusion", fusion)]).fit(*cohort)
    assert kept_of(restricted_to(fitted, ["notes", "image"])) == ["image", "notes"]


def test_automatic_modalities_are_those_of_the_fit(cohort):
    fusion = EarlyFusionClassifier("auto", estimator=LogisticRegression())
    with pytest.raises(ValueError, match="resolved in fit"):
        restricted_to(fusion, ["ehr"])
    assert kept_of(restricted_to(fusion.fit(*cohort), ["ehr"])) == ["ehr"]


def test_candidates_of_dropped_modalities_go(fusion):
    pipeline = Pipeline([("fusion", fusion)])
    grid = [
        {"fusion__image__with_mean": [True, False], "fusion__estimator__C": [1, 2]},
        {"fusion__ehr": [StandardScaler(), "passthrough"], "fusion__image": ["drop"]},
        {"fusion__modalities": [MODALITIES, MODALITIES[:2]]},
    ]
    spaces = restricted_to(GridSearchCV(pipeline, grid), ["ehr"]).param_grid
    assert spaces[0] == {"fusion__estimator__C": [1, 2]}
    assert list(spaces[1]) == ["fusion__ehr"]
    for triples in spaces[2]["fusion__modalities"]:
        assert [name for name, part, _ in triples if part != "drop"] == ["ehr"]


def test_no_more_candidates_are_drawn_than_there_are(fusion, cohort):
    space = {"image__with_mean": [True, False], "estimator__C": [0.1, 1, 10]}
    search = RandomizedSearchCV(fusion, space, n_iter=6, random_state=0, cv=2)
    restricted = restricted_to(search, ["ehr"])
    assert restricted.n_iter == 3
    restricted.fit(*cohort)  # scikit-learn warns of more draws than candidates


def test_several_fusions_are_restricted_together(fusion):
    late = LateFusionClassifier(MODALITIES[:2])
    voting = VotingClassifier([("early", fusion), ("late", late)])
    restricted = restricted_to(voting, ["image"])
    for part in fusions_within(restricted).values():
        assert [n for n, step, _ in part.modalities if step != "drop"] == ["image"]
    assert set(fusions_within(restricted)) == {"early__", "late__"}
    bagged = restricted_to(BaggingClassifier(late), ["ehr"])
    assert kept_of(bagged) == ["ehr"]


def test_what_cannot_be_restricted_is_refused(fusion, cohort):
    mixed = VotingClassifier([("early", fusion), ("plain", LogisticRegression())])
    with pytest.raises(ValueError, match="'plain' in estimators has no list of modali"):
        restricted_to(mixed, ["ehr"])
    with pytest.raises(ValueError, match="no fusion with a list of modalities"):
        restricted_to(LogisticRegression(), ["ehr"])
    with pytest.raises(ValueError, match="frozen"):
        restricted_to(FrozenEstimator(fusion.fit(*cohort)), ["ehr"])
    for names in (["cxr"], []):
        with pytest.raises(ValueError, match="must be some of"):
            restricted_to(fusion, names)


def test_an_encoder_is_left_without_networks():
    pytest.importorskip("torch")
    from skfusion import JointFusionClassifier

    joint = JointFusionClassifier(MODALITIES, encoders="networks")
    assert restricted_to(joint, ["ehr"]).encoders == "all"
    joint = JointFusionClassifier(MODALITIES, encoders=["image"])
    assert restricted_to(joint, ["image", "ehr"]).encoders == ["image"]
    assert restricted_to(joint, ["ehr"]).encoders == "all"
    joint = JointFusionClassifier(MODALITIES, encoders=["image", "ehr"])
    assert restricted_to(joint, ["ehr"]).encoders == ["ehr"]
