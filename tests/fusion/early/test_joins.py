"""Joins of early fusion: their formulas, what they can learn, and what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfusion import EarlyFusionClassifier, EarlyFusionRegressor, LateFusionClassifier
from skfusion.blocks import Blocks
from skfusion.datasets import make_fusion_cohort
from skfusion.fusion.early.joins import Pool
from skfusion.survival import EarlyFusionSurvival


def xor_cohort(n_samples, seed):
    """Two numbers whose signs agree or not; neither alone says anything."""
    X = np.random.default_rng(seed).normal(size=(n_samples, 2))
    return pd.DataFrame(X, columns=["a", "b"]), (X.prod(axis=1) > 0).astype(int)


XOR = [("a", StandardScaler(), ["a"]), ("b", StandardScaler(), ["b"])]


def scores_on_xor(model):
    model.fit(*xor_cohort(4000, 0))
    X, y = xor_cohort(20_000, 1)
    return roc_auc_score(y, model.predict_proba(X)[:, 1]), model.score(X, y)


@pytest.mark.parametrize("join", ["concat", "gated"])
@pytest.mark.parametrize("balance", [None, "scale", "replicate"])
def test_xor_across_modalities_is_learned_by_early_fusion(join, balance):
    model = EarlyFusionClassifier(XOR, join=join, balance=balance, random_state=0)
    if join == "gated":  # the unit learns the product, so a linear model will do
        model.set_params(estimator=LogisticRegression())
    auroc, accuracy = scores_on_xor(model)
    assert auroc > 0.98
    assert accuracy > 0.95


def test_xor_is_not_learned_by_late_fusion():
    model = LateFusionClassifier(XOR, aggregation="stacking", random_state=0)
    assert abs(scores_on_xor(model)[0] - 0.5) < 0.02


@pytest.mark.parametrize("pooling", ["mean", "sum", "max", "min"])
def test_pooling_loses_as_much_of_xor_as_theory_says(pooling):
    """The best that can be done with a + b, or the larger of them, is 3/4.

    For standard normal a and b, s = a + b and d = a - b are independent and equally
    distributed, and the signs agree where \\|s\\| > \\|d\\|. P(y = 1 \\| s) is then
    uniform on [0, 1]: accuracy E max(U, 1 - U) = 3/4, AUROC 5/6. A largest value
    below 0 says that the signs agree (1/4 of the rows); above 0 the best guess is
    that they differ, right in 1/2 of all rows.
    """
    model = EarlyFusionClassifier(
        XOR,
        join="pool",
        join_params={"pooling": pooling},
        absence_copies=0.0,
        random_state=0,
    )
    auroc, accuracy = scores_on_xor(model)
    # On 20,000 new rows, three standard errors are 0.01. Boosted trees come near the
    # best from below, and how near depends on the release of XGBoost.
    assert 3 / 4 - 0.03 < accuracy < 3 / 4 + 0.01
    if pooling in ("mean", "sum"):
        assert 5 / 6 - 0.03 < auroc < 5 / 6 + 0.01


def test_pooling_of_signs_keeps_xor():
    """What is pooled decides: of +1 and -1, a mean of 0 says that they differ."""
    signs = FunctionTransformer(np.sign)
    model = EarlyFusionClassifier(
        [("a", signs, ["a"]), ("b", signs, ["b"])], join="pool", random_state=0
    )
    assert scores_on_xor(model)[1] == 1.0


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [[2, 20], [5, 7], [3, 8]]),
        ("sum", [[4, 40], [5, 7], [3, 16]]),
        ("max", [[3, 30], [5, 7], [3, 9]]),
        ("min", [[1, 10], [5, 7], [3, 7]]),
    ],
)
def test_pooling_takes_what_is_there(pooling, expected):
    gap = np.nan
    left = np.array([[1.0, 10], [gap, gap], [gap, 7]])
    right = np.array([[3.0, 30], [5, 7], [3, 9]])
    nothing = np.full((3, 2), gap)
    here = np.array([[True, True, False], [False, True, False], [True, True, False]])
    blocks = Blocks({"left": left, "right": right, "third": nothing}, here)
    np.testing.assert_array_equal(Pool(pooling).fit(blocks).transform(blocks), expected)
    empty = Blocks({"left": nothing, "right": nothing}, np.zeros((3, 2), dtype=bool))
    assert np.isnan(Pool(pooling).fit(empty).transform(empty)).all()


def test_the_pooled_vector_is_what_the_estimator_gets():
    X, y = xor_cohort(50, 0)
    X.loc[:9, "a"] = np.nan
    learner = HistGradientBoostingClassifier(max_iter=2)
    model = EarlyFusionClassifier(XOR, estimator=learner, join="pool").fit(X, y)
    a, b = (StandardScaler().fit_transform(X[[name]])[:, 0] for name in "ab")
    joined = model.transform(X)
    np.testing.assert_allclose(joined[:, 0], np.where(np.isnan(a), b, (a + b) / 2))
    assert list(model.get_feature_names_out()) == ["joined0", "a__present"]
    np.testing.assert_array_equal(joined[:, 1], np.arange(50) >= 10)


def test_unequal_widths_are_named_with_the_remedy():
    cohort = make_fusion_cohort(60, random_state=0)
    image = ("image", StandardScaler(), cohort.image_columns)
    ehr = ("ehr", StandardScaler(), cohort.ehr_columns)
    model = EarlyFusionClassifier([image, ehr], join="pool")
    with pytest.raises(ValueError, match=r"image has 40, ehr has 8.*PCA\(8\)"):
        model.fit(cohort.data, cohort.target)
    reduced = make_pipeline(StandardScaler(), PCA(8))
    model.set_params(image=reduced).fit(cohort.data, cohort.target)
    assert model.join_.get_feature_names_out().tolist()[-1] == "joined7"


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"join": "gatd"}, ValueError, "Did you mean 'gated'"),
        ({"join": "concat", "join_params": {"n": 1}}, ValueError, "options are: none"),
        (
            {"join": "pool", "join_params": {"poolin": "max"}},
            ValueError,
            "Did you mean 'pooling'",
        ),
        (
            {"join": "pool", "join_params": {"pooling": "median"}},
            ValueError,
            "must be one of",
        ),
        (
            {"join": Pool(), "join_params": {"pooling": "max"}},
            ValueError,
            "given Pool dir",
        ),
        ({"join": Pool}, TypeError, "or an object with"),
        ({"join": StandardScaler}, TypeError, "or an object with"),
        ({"join": 3}, TypeError, "got int"),
        (
            {"join": "gated", "join_params": {"n_units": 0}},
            ValueError,
            "n_units must be an integer of 1 or more",
        ),
        (
            {"join": "gated", "join_params": {"weight_decay": -1.0}},
            ValueError,
            "weight_decay must be a number of 0 or more",
        ),
    ],
)
def test_impossible_joins_are_refused(settings, error, match):
    with pytest.raises(error, match=match):
        EarlyFusionClassifier(XOR, **settings).fit(*xor_cohort(20, 0))


class Products(BaseEstimator):
    """A join of one's own: the product of two blocks of one column."""

    def __init__(self, power: int = 1) -> None:
        self.power = power

    def fit(self, blocks, y, **learning):
        assert set(learning) == {"names", "target", "sample_weight", "random_state"}
        self.n_rows_ = len(y)
        return self

    def transform(self, blocks):
        a, b = blocks.arrays.values()
        return (a * b) ** self.power

    def get_feature_names_out(self):
        return ["a times b"]


def test_a_join_of_ones_own_is_cloned_searched_and_used():
    X, y = xor_cohort(200, 0)
    join = Products(power=2)  # the sign is lost
    model = EarlyFusionClassifier(XOR, estimator=LogisticRegression(), join=join)
    search = GridSearchCV(model, {"join__power": [2, 1]}, cv=3).fit(X, y)
    assert search.best_params_ == {"join__power": 1}
    assert search.best_score_ > 0.9
    assert search.best_estimator_.join_.n_rows_ == 200
    assert not hasattr(join, "n_rows_")
    assert search.best_estimator_.get_feature_names_out().tolist() == ["a times b"]


class Flat(Products):
    def transform(self, blocks):
        return super().transform(blocks)[:, 0]


def test_a_join_that_gives_no_rows_is_told_so():
    with pytest.raises(
        ValueError, match=r"join Flat must return .* \(20, n_features\)"
    ):
        EarlyFusionClassifier(XOR, estimator=LogisticRegression(), join=Flat()).fit(
            *xor_cohort(20, 0)
        )


@pytest.mark.parametrize(
    ("join", "join_params"), [("pool", None), ("gated", {"n_units": 4, "max_iter": 50})]
)
def test_joins_serve_every_task(join, join_params):
    X, _ = xor_cohort(300, 0)
    settings = {"join": join, "join_params": join_params, "random_state": 0}
    numbers = np.column_stack([X.a + X.b, 3 * (X.a + X.b) + 1])
    model = EarlyFusionRegressor(XOR, estimator=LinearRegression(), **settings)
    assert model.fit(X, numbers).score(X, numbers) > 0.95
    labels = (numbers > [0, 2]).astype(int)
    model = EarlyFusionClassifier(XOR, **settings).fit(X, labels)
    assert roc_auc_score(labels, model.predict_proba(X)) > 0.95
    times = np.zeros(300, dtype=[("event", bool), ("time", float)])
    times["event"] = np.arange(300) % 4 > 0
    times["time"] = np.exp(-numbers[:, 0])
    model = EarlyFusionSurvival(XOR, cv=None, **settings)
    assert model.fit(X, times).score(X, times) > 0.9
