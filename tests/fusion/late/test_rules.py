"""The rules of late fusion within the estimators, and settings that make no sense."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import percentileofscore
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skfusion import LateFusionClassifier, LateFusionRegressor


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    X = pd.DataFrame(rng.normal(size=(120, 4)) + 0.8 * y[:, None], columns=list("abcd"))
    return X, y, rng.integers(0, 40, 120)


MODALITIES = [
    ("ab", StandardScaler(), ["a", "b"]),
    ("cd", StandardScaler(), ["c", "d"]),
]


def test_settings_that_make_no_sense(table):
    X, y, _ = table
    with pytest.raises(ValueError, match="got 'medain'. Did you mean 'median'"):
        LateFusionClassifier(MODALITIES, aggregation="medain").fit(X, y)
    with pytest.raises(
        ValueError,
        match="aggregation='vote' combines classes, and the target has none",
    ):
        LateFusionRegressor(MODALITIES, aggregation="vote").fit(X, y)
    with pytest.raises(ValueError, match=r"does not use them.*'weighted', 'weighted_v"):
        LateFusionClassifier(MODALITIES, weights=[1, 2]).fit(X, y)
    for weights, words in (
        ([1, 2, 3], r"2 numbers.*got shape \(3,\)"),
        ([-1, 2], "0 or more"),
        ([np.nan, 2], "0 or more"),
        ([0, 0], "not all 0"),
        ({"ab": 1}, "name every modality once"),
        ("rock_auc", "must be numbers, None, a scorer or .*got 'rock_auc'"),
        ("roc_auc_ovo_weighted", None),  # suits any number of classes
    ):
        for aggregation in ("weighted", "weighted_vote"):
            model = LateFusionClassifier(
                MODALITIES, aggregation=aggregation, weights=weights, random_state=0
            )
            if words is None:
                assert model.fit(X, y).weights_.sum() == pytest.approx(1)
                continue
            with pytest.raises(ValueError, match=words):
                model.fit(X, y)
    with pytest.raises(
        TypeError, match="KNeighborsClassifier does not support sample_w"
    ):
        LateFusionClassifier(
            MODALITIES, estimator=KNeighborsClassifier(), class_weight="balanced"
        ).fit(X, y)


class NeverFitted(ClassifierMixin, BaseEstimator):
    """A classifier that fails the test if anybody fits it."""

    def fit(self, X, y):
        raise AssertionError("fitted although the settings make no sense")

    def predict_proba(self, X):
        raise AssertionError

    predict = predict_proba


@pytest.mark.parametrize("aggregation", LateFusionClassifier._rules)
def test_members_without_probabilities_are_refused_before_anything_is_fitted(
    table, aggregation
):
    X, y, _ = table
    members = [
        ("ab", NeverFitted(), ["a", "b"]),
        ("cd", make_pipeline(StandardScaler(), LinearSVC()), ["c", "d"]),
    ]
    model = LateFusionClassifier(members, aggregation=aggregation)
    if "vote" in aggregation:
        model.set_params(calibration={"cd": "sigmoid"})
    asks = "calibration='sigmoid'" if "vote" in aggregation else f"'{aggregation}'"
    with pytest.raises(
        TypeError,
        match=f"modality 'cd'.*LinearSVC has no predict_p.*{asks} needs.*Wrap",
    ):
        model.fit(X, y)


def test_a_meta_model_without_probabilities(table):
    X, y, _ = table
    members = [("ab", NeverFitted(), ["a", "b"]), ("cd", NeverFitted(), ["c", "d"])]
    model = LateFusionClassifier(
        members, aggregation="stacking", final_estimator=LinearSVC()
    )
    with pytest.raises(TypeError, match="final_estimator=LinearSVC has no predict_p"):
        model.fit(X, y)


@pytest.mark.parametrize(
    "settings",
    [
        {"aggregation": "vote"},
        {"aggregation": "weighted_vote", "weights": [3, 1, 1]},
        {"aggregation": "weighted_vote"},
        {"aggregation": "weighted_vote", "weights": "accuracy"},
        {"aggregation": "vote", "final_calibration": "sigmoid"},
    ],
)
def test_votes_of_members_that_only_decide(table, settings):
    X, y, _ = table
    y = np.where(y == 1, "ill", "well")
    svm = make_pipeline(StandardScaler(), LinearSVC())
    members = [("ab", svm, ["a", "b"]), ("c", svm, ["c"]), ("d", svm, ["d"])]
    model = LateFusionClassifier(members, random_state=0, **settings).fit(X, y)
    choices = np.stack(
        [clone(svm).fit(X[cols], y).predict(X[cols]) for _, _, cols in members], axis=1
    )
    np.testing.assert_array_equal(model.transform(X), choices == "well")
    if settings == {"aggregation": "vote"}:
        majority = (choices == "well").mean(axis=1) > 0.5
        np.testing.assert_array_equal(model.predict(X) == "well", majority)
    assert model.score(X, y) > 0.6


def test_votes_on_labels_of_members_that_only_decide(table):
    X, y, _ = table
    labels = np.column_stack([y, X["a"] > 0.4]).astype(int)
    members = [(name, LinearSVC(), [name]) for name in X]
    model = LateFusionClassifier(members, aggregation="vote").fit(X, labels)
    assert model.predict_proba(X).shape == (120, 2)
    assert (model.predict(X)[:, 0] == y).mean() > 0.6


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda P, present: P[:, 0] * 2, r"'<lambda>' leaves \[0, 1\] in 60 of 120"),
        (lambda P, present: P[:, 0] / 2, "does not sum to 1 over the classes in 120"),
        (lambda P, present: P[:, 0, 1], r"shape \(120, 2\), got \(120,\)"),
        (lambda P, present: P.mean(axis=1), "is not finite in 1 of 120 rows"),
    ],
)
def test_a_function_that_returns_no_probabilities(table, rule, words):
    X, y, _ = table
    X = X.copy()
    if "finite" in words:
        X.loc[7, ["a", "b"]] = np.nan
    model = LateFusionClassifier(MODALITIES, aggregation=rule).fit(X, y)
    if "leaves" in words:
        count = (model.transform(X)[:, 0] != 0.5).sum()  # one class is above a half
        words = words.replace("60", str(count))
    with pytest.raises(ValueError, match=words):
        model.predict(X)


def test_a_second_fit_with_another_rule_forgets_the_first(table):
    X, y, _ = table
    model = LateFusionClassifier(
        MODALITIES, aggregation="weighted", calibration="sigmoid", random_state=0
    ).fit(X, y)
    model.set_params(aggregation="mean", calibration=None).fit(X, y)
    assert not hasattr(model, "weights_")
    assert not hasattr(model, "calibrators_")
    parts = model.transform(X)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], parts.mean(axis=1))


SUBSETS = [list(s) for size in (1, 2, 3) for s in combinations("abc", size)]
FOLDS = list(KFold(4).split(np.zeros(120)))
GIVEN = {"a": 0.5, "b": 0.3, "c": 0.2}


def mean_log_odds(P, present):
    """Average log-probabilities: a rule of one's own."""
    return softmax(np.nanmean(np.log(P), axis=1), axis=1)


def trimmed(P, present):
    """Take the middle between least and most: a rule of one's own for numbers."""
    return (np.nanmin(P, axis=1) + np.nanmax(P, axis=1)) / 2


CLASS_RULES = [*LateFusionClassifier._rules, mean_log_odds]
NUMBER_RULES = [*LateFusionRegressor._rules, trimmed]


def outcome(kind: str, strength: np.ndarray) -> np.ndarray:
    thirds = np.digitize(strength, np.quantile(strength, [1 / 3, 2 / 3]))
    return {
        "two classes": (strength > 0).astype(int),
        "three classes": thirds,
        "labels": np.column_stack([strength > 0, thirds == 1]).astype(int),
        "number": strength,
        "numbers": np.column_stack([strength, -2 * strength]),
    }[kind]


def ask(model, X):
    return getattr(model, "predict_proba", model.predict)(X)


@pytest.mark.parametrize(
    ("kind", "aggregation"),
    [
        *product(["two classes"], CLASS_RULES),
        *product(["number"], NUMBER_RULES),
        *(
            pytest.param(kind, rule, marks=pytest.mark.slow)
            for kind, rule in [
                *product(["three classes", "labels"], CLASS_RULES),
                *product(["numbers"], NUMBER_RULES),
            ]
        ),
    ],
)
def test_every_rule_predicts_from_any_subset_as_it_would_alone(kind, aggregation):
    rng = np.random.default_rng(0)
    strength = rng.normal(size=120)
    X = pd.DataFrame(strength[:, None] + rng.normal(size=(120, 3)), columns=list("abc"))
    y = outcome(kind, strength)
    regression = kind.startswith("number")
    estimator = LateFusionRegressor if regression else LateFusionClassifier

    def build(names, weights):
        return estimator(
            [(name, StandardScaler(), [name]) for name in names],
            estimator=Ridge() if regression else LogisticRegression(),
            aggregation=aggregation,
            weights={n: weights[n] for n in names} if weights else None,
            cv=FOLDS,
        )

    weighted = aggregation in ("weighted", "weighted_vote")
    full = build("abc", GIVEN if weighted else None).fit(X, y)
    for names in SUBSETS:
        some = X.copy()
        some.loc[:, [name for name in "abc" if name not in names]] = np.nan
        found = ask(full, some)
        assert np.isfinite(found).all()
        if aggregation == "stacking":  # the meta-model itself differs
            assert np.corrcoef(found.reshape(120, -1)[:, 0], strength)[0, 1] ** 2 > 0.1
            continue
        alone = ask(build(names, GIVEN if weighted else None).fit(X, y), X)
        np.testing.assert_allclose(found, alone, atol=1e-12)
        if kind.endswith("classes"):
            np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize("weights", [None, "accuracy", "neg_log_loss"])
@pytest.mark.parametrize("aggregation", ["weighted", "weighted_vote"])
def test_learned_weights_are_used_as_given_ones_are(table, aggregation, weights):
    X, y, _ = table
    settings = {"aggregation": aggregation, "cv": FOLDS}
    learned = LateFusionClassifier(MODALITIES, weights=weights, **settings).fit(X, y)
    given = LateFusionClassifier(MODALITIES, weights=learned.weights_, **settings)
    X = X.copy()
    X.loc[::3, ["a", "b"]] = np.nan
    np.testing.assert_allclose(
        learned.predict_proba(X), given.fit(table[0], y).predict_proba(X)
    )


def test_weights_learned_by_a_score_reach_a_higher_one():
    """A member that is loud and one that is right: the AUROC minds the order only."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    X = pd.DataFrame(
        {"a": y + rng.normal(0, 1.5, 600), "b": y + rng.normal(0, 1.2, 600)}
    )
    members = [("a", GaussianNB(), ["a"]), ("b", LogisticRegression(C=1e-3), ["b"])]
    scores = {}
    for weights in (None, "roc_auc"):
        model = LateFusionClassifier(
            members, aggregation="weighted", weights=weights, random_state=0
        ).fit(X, y)
        scores[weights] = roc_auc_score(y, model.predict_proba(X)[:, 1])
    assert scores["roc_auc"] > scores[None] + 0.005


@pytest.mark.long
def test_a_row_is_predicted_alone_as_in_a_batch(table):
    X, y, _ = table
    for aggregation in LateFusionClassifier._rules:
        model = LateFusionClassifier(
            MODALITIES, aggregation=aggregation, random_state=0
        ).fit(X, y)
        batch = model.predict_proba(X)[:3]
        single = [model.predict_proba(X.iloc[[i]])[0] for i in range(3)]
        np.testing.assert_allclose(batch, single, atol=1e-12)


def test_ranks_are_those_among_out_of_fold_predictions(table):
    X, y, _ = table
    model = LateFusionClassifier(
        MODALITIES, estimator=LogisticRegression(), aggregation="rank", cv=FOLDS
    ).fit(X, y)
    shares = []
    for _, member, columns in model.modalities_:
        seen = cross_val_predict(
            clone(member), X[columns], y, cv=FOLDS, method="predict_proba"
        )[:, 1]
        new = member.predict_proba(X[columns])[:, 1]
        shares.append((percentileofscore(seen, new, kind="mean") * 1.2 + 0.5) / 121)
    np.testing.assert_allclose(
        model.predict_proba(X)[:, 1], np.mean(shares, axis=0), atol=1e-12
    )
