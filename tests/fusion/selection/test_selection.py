"""Selectors against independent oracles, and inside the modalities of a fusion."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import (
    SelectKBest,
    VarianceThreshold,
    mutual_info_classif,
    mutual_info_regression,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import mutual_info_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler

from skfusion import EarlyFusionClassifier
from skfusion.feature_selection import GeneticSelector, GiniSelector, MRMRSelector

SELECTORS = [
    GiniSelector(),
    MRMRSelector(),
    MRMRSelector(scheme="quotient"),
    GeneticSelector(
        HistGradientBoostingClassifier(max_iter=2),
        population_size=4,
        n_generations=2,
        n_features_to_select=0.5,
        random_state=0,
    ),
]


@pytest.fixture
def data():
    """Features 0 and 3 make the class; 1 repeats 0; values are rounded, so they tie."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6)).round(1)
    y = np.digitize(X[:, 0] + 0.8 * X[:, 3] + rng.normal(0, 0.5, 300), [-0.5, 0.5])
    X[:, 1] = X[:, 0]
    return X, y, rng.integers(0, 4, 300).astype(float)


def whole(X):
    """Return values of one decimal as labels, which is what scikit-learn wants."""
    return (10 * X).round().astype(int)


@pytest.mark.parametrize("weighted", [False, True])
def test_gini_is_that_of_scikit_learns_auroc(data, weighted):
    X, y, weights = data
    weight = weights if weighted else None
    X[:40, 2] = np.nan
    selector = GiniSelector(3).fit(X, y, sample_weight=weight)
    for j, score in enumerate(selector.scores_):
        rows = ~np.isnan(X[:, j])
        given = weights[rows] if weighted else None
        ginis = [
            abs(2 * roc_auc_score(y[rows] == k, X[rows, j], sample_weight=given) - 1)
            for k in range(3)
        ]
        assert score == pytest.approx(np.mean(ginis), abs=1e-12)
    assert selector.get_support(indices=True).tolist() == [0, 1, 3]


def test_gini_of_two_classes_and_of_labels(data):
    X, y, _ = data
    labels = np.column_stack([y == 0, y == 2]).astype(int)
    two = [
        [abs(2 * roc_auc_score(label, x) - 1) for x in X.T]
        for label in (labels[:, 0], labels[:, 1])
    ]
    found = GiniSelector().fit(X, labels[:, 0])
    np.testing.assert_allclose(found.scores_, two[0])
    named = GiniSelector().fit(X, np.where(labels[:, 0], "a", "b"))
    np.testing.assert_allclose(named.scores_, two[0])
    both = GiniSelector().fit(X, labels)
    np.testing.assert_allclose(both.scores_, np.mean(two, axis=0))
    constant = GiniSelector().fit(np.column_stack([X, np.zeros(300)]), y)
    assert constant.scores_[-1] == 0
    with pytest.raises(ValueError, match="continuous"):
        GiniSelector().fit(X, X[:, 0] + 0.01)


def test_relevance_is_scikit_learns_mutual_information_of_the_bins(data):
    X, y, _ = data
    relevance = MRMRSelector(n_bins=100).fit(X, y).relevance_
    # with as many bins as values, nothing is cut
    expected = [mutual_info_score(y, x) for x in whole(X).T]
    np.testing.assert_allclose(relevance, expected, atol=1e-12)
    pytest.importorskip("sklearn", "1.7", reason="scikit-learn 1.7 has this method")
    free = np.random.default_rng(1).normal(size=(300, 2))
    cutter = KBinsDiscretizer(
        5, encode="ordinal", quantile_method="averaged_inverted_cdf"
    )
    cut = cutter.fit_transform(free)
    expected = [mutual_info_score(y, x) for x in whole(cut).T]
    found = MRMRSelector(n_bins=5).fit(free, y).relevance_
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("scheme", ["difference", "quotient"])
def test_order_is_that_of_the_formula_by_hand(data, scheme):
    X, y, _ = data
    X = X[:, [0, 1, 2, 3]]
    found = MRMRSelector(3, scheme=scheme, n_bins=100).fit(X, y).order_.tolist()
    X = whole(X)
    order = [int(np.argmax([mutual_info_score(y, x) for x in X.T]))]
    while len(order) < 3:
        scores = {}
        for j in set(range(4)) - set(order):
            relevance = mutual_info_score(y, X[:, j])
            overlap = np.mean([mutual_info_score(X[:, s], X[:, j]) for s in order])
            scores[j] = (
                relevance - overlap if scheme == "difference" else relevance / overlap
            )
        order.append(max(scores, key=scores.get))
    assert found == order
    assert order[:2] == [0, 3]  # not 1, which is more relevant and repeats 0


def test_weights_of_the_bins_equal_repeated_rows(data):
    X, y, weights = data
    twice = np.repeat(np.arange(300), weights.astype(int))
    by_weight = MRMRSelector().fit(X, y, sample_weight=weights)
    by_row = MRMRSelector().fit(X[twice], y[twice])
    np.testing.assert_allclose(by_weight.relevance_, by_row.relevance_, atol=1e-12)
    np.testing.assert_array_equal(by_weight.order_, by_row.order_)


def test_a_gap_is_a_bin_of_its_own():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    X = rng.normal(size=(200, 2))
    X[y == 1, 0] = np.nan
    selector = MRMRSelector(1).fit(X, y)
    assert selector.relevance_[0] == pytest.approx(mutual_info_score(y, y))
    assert selector.transform(X).shape == (200, 1)


def test_neighbours_are_scikit_learns_estimate(data):
    X, y, weights = data
    selector = MRMRSelector(2, estimate="neighbors", random_state=0).fit(X, y)
    assert set(selector.order_) in ({0, 3}, {1, 3})  # 1 is 0 once more
    seed = np.random.RandomState(0).randint(2**31 - 1)
    np.testing.assert_allclose(
        selector.relevance_, mutual_info_classif(X, y, random_state=seed)
    )
    numbers = X[:, 0] + 0.1
    found = MRMRSelector(2, estimate="neighbors", random_state=0).fit(X, numbers)
    np.testing.assert_allclose(
        found.relevance_, mutual_info_regression(X, numbers, random_state=seed)
    )
    with pytest.warns(UserWarning, match="does not support weights, .* 210 rows"):
        selector.fit(X, y, sample_weight=weights)
    with pytest.raises(ValueError, match="NaN"):
        selector.fit(np.where(X[0, 0] == X, np.nan, X), y)


def test_regression_and_several_outputs(data):
    X, _, _ = data
    outputs = np.column_stack([X[:, 0] + 0.01, X[:, 3] + 0.01])
    assert MRMRSelector(2).fit(X, outputs).order_.tolist() == [0, 3]
    ridge = GeneticSelector(Ridge(), n_features_to_select=2, random_state=0)
    chosen = ridge.fit(X, outputs.sum(axis=1)).get_support(indices=True)
    assert chosen[-1] == 3
    assert chosen[0] in (0, 1)


@pytest.mark.slow
def test_the_genetic_search_finds_what_trying_all_sets_finds():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 8))
    y = (X[:, 2] * 1.5 + X[:, 5] + X[:, 6] * 0.7 + rng.normal(0, 1, 150) > 0).astype(
        int
    )
    cv = GroupKFold(3)
    groups = np.repeat(np.arange(50), 3)
    model = LogisticRegression()
    search = GeneticSelector(
        model, cv=cv, scoring="roc_auc", n_generations=30, patience=None, random_state=0
    ).fit(X, y, groups=groups)
    everything = {}
    for code in range(1, 2**8):
        mask = np.array([code >> j & 1 for j in range(8)], dtype=bool)
        everything[tuple(mask)] = cross_val_score(
            model, X[:, mask], y, groups=groups, cv=cv, scoring="roc_auc"
        ).mean()
    best = max(everything.values())
    assert search.best_score_ == pytest.approx(best)
    assert search.best_score_ == pytest.approx(everything[tuple(search.support_)])
    assert search.n_evaluations_ < 256
    assert (np.diff(search.history_) >= 0).all()


def test_the_genetic_search_keeps_patients_together_and_is_the_same_in_processes():
    # Feature 0 is each patient's fingerprint: it helps only where a patient is on both
    # sides of a fold.
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 4)
    y = patients % 2  # so that a neighbour's outcome tells nothing
    X = np.column_stack([patients.astype(float), y + rng.normal(0, 1, 240)])
    model = HistGradientBoostingClassifier(min_samples_leaf=1, max_iter=20)
    search = GeneticSelector(
        model, n_features_to_select=1, population_size=4, n_generations=2
    ).set_params(random_state=0, scoring="roc_auc")
    alone = sklearn.clone(search).fit(X, y)
    assert alone.get_support().tolist() == [True, False]
    grouped = sklearn.clone(search).fit(X, y, groups=patients)
    assert grouped.get_support().tolist() == [False, True]
    parallel = sklearn.clone(search).set_params(n_jobs=2).fit(X, y, groups=patients)
    np.testing.assert_array_equal(parallel.history_, grouped.history_)


@pytest.mark.filterwarnings("ignore:.*as a patient id has:UserWarning")
@pytest.mark.parametrize("routing", [False, True])
def test_a_fusion_hands_patients_to_a_selector_in_a_pipeline(routing):
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 4)
    y = patients % 2  # so that a neighbour's outcome tells nothing
    X = pd.DataFrame({"finger": patients * 1.0, "crp": y + rng.normal(0, 1, 240)})
    search = GeneticSelector(
        HistGradientBoostingClassifier(min_samples_leaf=1, max_iter=20),
        n_features_to_select=1,
        population_size=4,
        n_generations=2,
        scoring="roc_auc",
    )
    modalities = [("ehr", make_pipeline(StandardScaler(), search), ["finger", "crp"])]
    model = EarlyFusionClassifier(
        modalities, estimator=LogisticRegression(), random_state=0
    )
    with sklearn.config_context(enable_metadata_routing=routing):
        model.fit(X, y, groups=patients)
    assert list(model.get_feature_names_out()) == ["ehr__crp"]


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda s: str(s)[:30])
def test_gaps_names_and_the_way_back(data, selector):
    X, y, _ = data
    X[:30, 4] = np.nan
    frame = pd.DataFrame(X, columns=list("abcdef"))
    fitted = sklearn.clone(selector).fit(frame, y)
    kept = fitted.get_support(indices=True)
    assert len(kept) == 3
    assert list(fitted.get_feature_names_out()) == [frame.columns[j] for j in kept]
    small = fitted.transform(frame)
    np.testing.assert_array_equal(small, X[:, kept])
    back = fitted.inverse_transform(small)
    np.testing.assert_array_equal(back[:, kept], X[:, kept])
    assert (np.delete(back, kept, axis=1) == 0).all()


@pytest.mark.parametrize("selector", SELECTORS[:2] + SELECTORS[-1:])
@pytest.mark.parametrize("wanted", [0, -1, 1.5, 0.0, True, "3"])
def test_a_number_of_features_that_is_none(data, selector, wanted):
    X, y, _ = data
    bad = sklearn.clone(selector).set_params(n_features_to_select=wanted)
    with pytest.raises(ValueError, match="n_features_to_select must be a number"):
        bad.fit(X, y)


def test_more_features_than_there_are_are_all(data):
    X, y, _ = data
    with pytest.warns(
        UserWarning, match="=9 is greater than the number of features, 6"
    ):
        assert GiniSelector(9).fit(X, y).get_support().all()


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (MRMRSelector(scheme="ratio"), "scheme must be one of"),
        (MRMRSelector(estimate="kernel"), "estimate must be one of"),
        (MRMRSelector(n_bins=1), "n_bins must be an integer of 2 or more"),
        (MRMRSelector(n_neighbors=0), "n_neighbors must be an integer of 1"),
        (GeneticSelector(population_size=1), "population_size must be an integer of 2"),
        (GeneticSelector(n_generations=0.5), "n_generations must be an integer of 1"),
        (GeneticSelector(patience=0), "patience must be an integer of 1"),
        (GeneticSelector(mutation_rate=2), r"mutation_rate must be a number from 0"),
        (GeneticSelector(crossover_rate=-1), "crossover_rate must be a number"),
        (GeneticSelector(n_elite=30), "n_elite=30 must be smaller than"),
        (GeneticSelector(cv=1), "cv=1 folds need at least 2"),
        (
            GeneticSelector(scoring=lambda *_: np.nan, random_state=0),
            "in the inner folds must be finite, got nan",
        ),
    ],
)
def test_parameters_out_of_range(data, selector, message):
    X, y, _ = data
    with pytest.raises(ValueError, match=message):
        selector.fit(X, y)


def test_scikit_learns_own_reductions_inside_a_modality_and_a_search(data):
    X, y, _ = data
    X = pd.DataFrame(X, columns=list("abcdef"))
    steps = make_pipeline(VarianceThreshold(), StandardScaler(), SelectKBest())
    steps.steps[-1] = ("selector", steps[-1])
    lda = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())
    modalities = [("cxr", steps, list("abc")), ("ehr", lda, list("def"))]
    model = EarlyFusionClassifier(
        modalities, estimator=LogisticRegression(), random_state=0
    )
    grid = [
        {"cxr__selector": [SelectKBest(mutual_info_classif)], "cxr__selector__k": [2]},
        {"cxr__selector": [PCA()], "cxr__selector__n_components": [1, 2]},
        {"cxr__selector": [GiniSelector()], "cxr__selector__n_features_to_select": [2]},
        {"cxr__selector": [MRMRSelector()], "cxr__selector__scheme": ["quotient"]},
    ]
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 5
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0
    widths = {
        name: len(block[0])
        for name, block in search.best_estimator_.encode_modalities(X).items()
    }
    assert widths["ehr"] == 2  # three classes have two discriminants
    assert widths["cxr"] in (1, 2)
