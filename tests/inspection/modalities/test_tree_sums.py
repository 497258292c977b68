"""Mean outputs of tree ensembles against the enumeration of all mixed rows.

The enumeration asks the learner itself for the rows of the definition: for each
coalition, each case with each background case.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy.special import logit
from sklearn.base import clone
from sklearn.datasets import make_friedman1
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor, XGBRFRegressor

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    ModalityImportance,
)
from skfusion.fusion.survival import XGBoostSurvival
from skfusion.inspection.modalities.withheld import tree_sums
from skfusion.inspection.models import class_log_odds
from skfusion.inspection.shapley import all_coalitions
from skfusion.survival import EarlyFusionSurvival

N_TRAIN, N, K = 120, 9, 7
COLUMNS = {"ct": ["a", "b"], "ehr": ["c", "d"], "note": ["e"]}
TRIPLES = [(name, FunctionTransformer(), part) for name, part in COLUMNS.items()]
XGB = {"n_estimators": 8, "max_depth": 3, "n_jobs": 1, "random_state": 0}

# Sums of a few float32 leaves, relative to the outputs.
BOUND = 1e-5


@pytest.fixture(scope="module")
def cohort():
    """A cohort with missing values, ties and a noisy outcome."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(150, 5)), columns=list("abcde"))
    X["d"] = X["d"].round(1)
    margin = X["a"] + X["c"] * X["e"] - X["d"] + rng.normal(size=150)
    X.loc[rng.random(150) < 0.2, "a"] = np.nan
    X.loc[rng.random(150) < 0.2, "d"] = np.nan
    return X, margin.to_numpy()


@pytest.fixture
def used(monkeypatch):
    """Sum over trees for any number of rows, and record whether it was done."""
    record = []
    means = tree_sums._Game.means

    # FEWEST_ROWS and LEVEL_TIME would choose mixed rows, which take less time here.
    def recorded(self, coalitions, averaged):
        record.append("sum" if averaged else "pairs")
        return means(self, coalitions, averaged)

    monkeypatch.setattr(tree_sums, "FEWEST_ROWS", 0)
    monkeypatch.setattr(tree_sums, "LEVEL_TIME", 1e9)
    monkeypatch.setattr(tree_sums._Game, "means", recorded)
    return record


def enumerated(ask, own, other, columns):
    """Average a function of a table over background rows, for each coalition."""
    coalitions = all_coalitions(len(columns))
    shape = (len(coalitions), len(own), len(other))
    mixed = np.empty((*shape, own.shape[1]))
    for number, members in enumerate(coalitions):
        for name, inside in zip(columns, members, strict=True):
            part = [own.columns.get_loc(column) for column in columns[name]]
            source = own.to_numpy()[:, None] if inside else other.to_numpy()[None]
            mixed[number][..., part] = source[..., part]
    rows = pd.DataFrame(mixed.reshape(-1, own.shape[1]), columns=own.columns)
    outputs = np.asarray(ask(rows), dtype=float).reshape(*shape, -1)
    return np.moveaxis(outputs.mean(axis=2), 0, 1)


def log_odds(P):
    P = np.asarray(P, dtype=np.float64)
    if P.shape[1] > 2:
        return class_log_odds(P)
    return logit(np.clip(P[:, 1], 1e-12, 1 - 1e-12))


def compare(model, X, ask, *, columns=COLUMNS, modalities=None, bound=BOUND, **options):
    own, other = X[N_TRAIN : N_TRAIN + N], X[:K]
    importance = ModalityImportance(
        model, modalities=modalities, background=other, n_background=K, **options
    )
    found = importance.explain(own).coalition_values
    expected = enumerated(ask, own, other, columns)
    if found.ndim == 2:
        expected = expected[..., 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def fitted_table(learner, X, y, columns=COLUMNS):
    learner.fit(X[:N_TRAIN], y[:N_TRAIN])
    return {"model": learner, "modalities": columns, "columns": columns}


# -- learners ----------------------------------------------------------------------

# XGBoost 3.4 warns that it will drop them.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:`XGBRF\w+` is deprecated:FutureWarning",
    r"ignore:.*`booster=(dart|gblinear)` is deprecated:UserWarning",
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    BOOSTED_FOREST = XGBRFRegressor(**XGB)
BINARY = {
    "xgboost": XGBClassifier(**XGB),
    "dart": XGBClassifier(**XGB, booster="dart", rate_drop=0.5),
    "lossguide": XGBClassifier(**XGB, grow_policy="lossguide", max_leaves=5),
    "missing": XGBClassifier(**XGB, missing=0.5),
    "constant": XGBClassifier(**XGB, min_child_weight=1e9),
    "forest": RandomForestClassifier(5, random_state=0),
    "tree": DecisionTreeClassifier(max_depth=4),
    "histogram": HistGradientBoostingClassifier(max_iter=5),
    "search": GridSearchCV(XGBClassifier(**XGB), {"max_depth": [2, 3]}, cv=2),
}


@pytest.mark.filterwarnings("ignore:The predicted probability is 0 or 1")
@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("output", ["link", "proba"])
def test_classifiers(name, n_classes, output, cohort, used):
    X, margin = cohort
    y = np.digitize(margin, [0.0, 1.0][: n_classes - 1])
    learner = clone(BINARY[name]).fit(X[:N_TRAIN], y[:N_TRAIN])
    learner = FrozenEstimator(learner) if name == "xgboost" else learner
    model = {"model": learner, "modalities": COLUMNS}

    def ask(rows):
        P = learner.predict_proba(rows)
        if output == "link":
            return log_odds(P)
        return P[:, 1] if n_classes == 2 else P

    compare(**model, X=X, ask=ask, output=output)
    # XGBoost 3.4 writes dart in another form, which is left to mixed rows.
    assert len(used) == 1 or (name == "dart" and not used)


def test_gradient_boosting_of_scikit_learn(cohort, used):
    X, margin = cohort
    X = X.fillna(0.0)
    for loss in ("log_loss", "exponential"):
        learner = GradientBoostingClassifier(n_estimators=5, loss=loss)
        model = fitted_table(learner, X, margin > 0)
        compare(
            **model, X=X, ask=lambda rows, f=learner: log_odds(f.predict_proba(rows))
        )
    learner = GradientBoostingRegressor(n_estimators=5, init="zero")
    compare(**fitted_table(learner, X, margin), X=X, ask=learner.predict)
    assert used == ["sum", "pairs", "sum"]


@pytest.mark.parametrize(
    ("learner", "way", "n_outputs"),
    [
        (XGBRegressor(**XGB), "sum", 1),
        (XGBRegressor(**XGB), "sum", 2),
        (XGBRegressor(**XGB, objective="reg:absoluteerror"), "sum", 2),
        (XGBRegressor(**XGB, objective="reg:tweedie"), "pairs", 1),
        (XGBRegressor(**XGB, objective="count:poisson", base_score=3.0), "pairs", 1),
        (BOOSTED_FOREST, "sum", 1),
        (RandomForestRegressor(5, random_state=0), "sum", 2),
        (ExtraTreesRegressor(5, random_state=0), "sum", 1),
        (DecisionTreeRegressor(), "sum", 1),
        (HistGradientBoostingRegressor(max_iter=5), "sum", 2),
        (HistGradientBoostingRegressor(max_iter=5, loss="poisson"), "pairs", 2),
    ],
)
def test_regressors(learner, way, n_outputs, cohort, used):
    X, margin = cohort
    y = np.abs(margin)[:, None] ** np.arange(1, n_outputs + 1)
    y = y[:, 0] if n_outputs == 1 else y
    model = EarlyFusionRegressor(TRIPLES, estimator=learner, random_state=0)
    model.fit(X[:N_TRAIN], y[:N_TRAIN])
    compare(model, X, model.predict, bound=BOUND * y.max())
    assert used == [way]


def test_stopping_early_uses_the_best_rounds(cohort, used):
    X, margin = cohort
    y = margin > 0
    learner = XGBClassifier(**{**XGB, "n_estimators": 60}, early_stopping_rounds=2)
    rest = slice(N_TRAIN - 40, N_TRAIN)
    learner.fit(X[:80], y[:80], eval_set=[(X[rest], y[rest])], verbose=False)
    assert learner.best_iteration + 1 < learner.get_booster().num_boosted_rounds()
    compare(
        learner,
        X,
        lambda rows: log_odds(learner.predict_proba(rows)),
        modalities=COLUMNS,
    )
    assert len(used) == 1


@pytest.mark.parametrize("loss", ["cox", "aft"])
def test_survival(loss, cohort, used):
    X, margin = cohort
    times = np.array(
        list(zip(margin < 1, np.exp(-margin), strict=True)),
        dtype=[("event", bool), ("time", float)],
    )
    learner = XGBoostSurvival(loss=loss, n_estimators=8)
    model = EarlyFusionSurvival(TRIPLES, estimator=learner, random_state=0)
    model.fit(X[:N_TRAIN], times[:N_TRAIN])
    compare(model, X, model.predict)
    assert used == ["sum"]


# -- fusions -----------------------------------------------------------------------


@pytest.mark.parametrize("absence_copies", [0, "auto"])
def test_presence_flags_of_early_fusion(absence_copies, cohort, used):
    X, margin = cohort
    X = X.copy()
    X.loc[::4, ["c", "d"]] = np.nan
    model = EarlyFusionClassifier(
        TRIPLES,
        estimator=XGBClassifier(**XGB),
        absence_copies=absence_copies,
        random_state=0,
    ).fit(X[:N_TRAIN], np.where(margin > 0, "ill", "well")[:N_TRAIN])
    compare(
        model,
        X,
        lambda rows: log_odds(model.predict_proba(rows))[:, None] * -1,
        pos_label="ill",
    )
    assert len(used) == 1


@pytest.mark.filterwarnings("ignore:.*no modality at all")
@pytest.mark.filterwarnings("ignore:.*never in the training data")
def test_mixed_rows_without_any_modality_have_the_average(cohort, used):
    X, margin = cohort
    X = X.copy()
    X.loc[1, list("ab")] = np.nan
    X.loc[N_TRAIN, list("cde")] = np.nan
    model = EarlyFusionRegressor(
        TRIPLES, estimator=XGBRegressor(**XGB), random_state=0
    ).fit(X[:N_TRAIN], margin[:N_TRAIN])
    compare(model, X, model.predict)
    assert used == ["pairs"]


def test_several_labels(cohort, used):
    X, margin = cohort
    labels = np.column_stack([margin > 0, margin > 1]).astype(int)
    for learner in (XGBClassifier(**XGB), HistGradientBoostingClassifier(max_iter=5)):
        model = EarlyFusionClassifier(TRIPLES, estimator=learner, random_state=0)
        model.fit(X[:N_TRAIN], labels[:N_TRAIN])
        compare(model, X, lambda rows, f=model: logit(f.predict_proba(rows)))
    assert len(used) == 2


def test_a_score_uses_the_same_sums(cohort, used, monkeypatch):
    X, margin = cohort
    model = EarlyFusionClassifier(
        TRIPLES, estimator=XGBClassifier(**XGB), random_state=0
    ).fit(X[:N_TRAIN], margin[:N_TRAIN] > 0)
    importance = ModalityImportance(model, background=X[:K], n_background=K)
    rows, y = X[N_TRAIN:], margin[N_TRAIN:] > 0
    by_sums = importance.score(rows, y, scoring="neg_brier_score")
    assert len(used) == 1
    monkeypatch.setattr(tree_sums, "FEWEST_ROWS", 10**9)
    by_rows = importance.score(rows, y, scoring="neg_brier_score")
    assert len(used) == 1
    np.testing.assert_allclose(
        by_sums.subsets()["score"], by_rows.subsets()["score"], atol=1e-6
    )


def test_a_function_of_predictions(cohort, used):
    X, margin = cohort
    learner = XGBRegressor(**XGB)
    model = fitted_table(learner, X, margin)
    compare(**model, X=X, ask=lambda rows: learner.predict(rows) ** 2, output=np.square)
    assert used == ["pairs"]


# -- numbers of rows and of modalities -----------------------------------------------


@pytest.mark.parametrize("n_modalities", [1, 2, 8, 9])
@pytest.mark.parametrize("objective", ["reg:squarederror", "reg:logistic"])
def test_numbers_of_modalities_and_rows(n_modalities, objective, used, monkeypatch):
    X, y = make_friedman1(150, n_features=n_modalities + 5, random_state=0)
    X = pd.DataFrame(X).add_prefix("x")
    columns = {
        f"m{j}": list(part)
        for j, part in enumerate(np.array_split(X.columns, n_modalities))
    }
    learner = XGBRegressor(**XGB, objective=objective).fit(X[:100], y[:100] / 30)
    if n_modalities == 2:  # blocks of a few rows, instead of all rows at once
        monkeypatch.setattr(tree_sums, "CHUNK_ROWS", 3 * K)
        monkeypatch.setattr(tree_sums, "CHUNK_BYTES", 4096)
    importance = ModalityImportance(
        learner, modalities=columns, background=X[:K], n_background=K, max_exact=9
    )
    cases = X[100:101] if n_modalities == 9 else X[100:120]
    found = importance.explain(cases).coalition_values
    expected = enumerated(learner.predict, cases, X[:K], columns)[..., 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.ptp(found, axis=1).min() > 0
    if n_modalities > 1:  # of one modality, no coalition is between none and all
        assert used == ["sum" if objective == "reg:squarederror" else "pairs"]


def test_sampled_permutations_of_many_modalities(used, monkeypatch):
    X, y = make_friedman1(120, n_features=20, random_state=0)
    columns = {f"m{j}": [j] for j in range(20)}
    learner = XGBRegressor(**XGB).fit(X[:100], y[:100])
    importance = ModalityImportance(
        learner, modalities=columns, background=X[:K], n_permutations=3, random_state=0
    )
    by_sums = importance.explain(X[100:]).values
    assert used == ["sum"]
    monkeypatch.setattr(tree_sums, "FEWEST_ROWS", 10**9)
    by_rows = importance.explain(X[100:]).values
    np.testing.assert_allclose(by_sums, by_rows, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*are also in the background")
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10**6), depth=st.integers(1, 6), step=st.sampled_from([0, 1])
)
def test_random_trees(seed, depth, step):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 4)).astype(rng.choice(["f4", "f8"]))
    # Values on the thresholds, and beside them by the last bit of float32.
    X = np.where(rng.random(X.shape) < 0.5, X.round(step), X)
    X[rng.random(X.shape) < 0.2] = np.nan
    learner = XGBRegressor(n_estimators=4, max_depth=depth, n_jobs=1, reg_lambda=0)
    learner.fit(X[:40], rng.normal(size=40))
    near = np.nextafter(X[:40].astype("f4"), np.float32(9)).astype(X.dtype)
    cases = np.concatenate([X[40:], near[:10]])
    columns = {"x": [3, 0], "y": [1], "z": [2]}
    importance = ModalityImportance(
        learner, modalities=columns, background=X[:K], n_background=K
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_sums, "FEWEST_ROWS", 0)
        patch.setattr(tree_sums, "LEVEL_TIME", 1e9)
        found = importance.explain(cases).coalition_values
    tables = (pd.DataFrame(part) for part in (cases, X[:K]))
    expected = enumerated(lambda t: learner.predict(t.to_numpy()), *tables, columns)
    np.testing.assert_allclose(found, expected[..., 0], rtol=0, atol=1e-5)


# -- what is left to mixed rows -----------------------------------------------------


class OddTrees(XGBClassifier):
    """A subclass, whose predictions could be anything."""

    def predict_proba(self, X, **options):
        """Return probabilities that are halved."""
        return super().predict_proba(X, **options) / 2 + 0.25


def test_other_learners_are_enumerated(cohort, used):
    X, margin = cohort
    y = margin > 0
    for learner in (OddTrees(**XGB), XGBClassifier(n_estimators=8, booster="gblinear")):
        model = EarlyFusionClassifier(TRIPLES, estimator=learner, random_state=0)
        model.fit(X.fillna(0.0)[:N_TRAIN], y[:N_TRAIN])
        compare(
            model,
            X.fillna(0.0),
            lambda rows, f=model: log_odds(f.predict_proba(rows)),
            bound=1e-12,
        )
    vectors = XGBRegressor(**XGB, multi_strategy="multi_output_tree")
    table = fitted_table(vectors, X, np.column_stack([margin, margin**2]))
    compare(**table, X=X, ask=vectors.predict, bound=1e-12)
    late = LateFusionClassifier(TRIPLES, estimator=XGBClassifier(**XGB), random_state=0)
    late.fit(X[:N_TRAIN], y[:N_TRAIN])
    compare(late, X, lambda rows: log_odds(late.predict_proba(rows)), bound=1e-12)
    assert used == []


def test_categories_are_enumerated(cohort, used):
    X, margin = cohort
    X = X.assign(d=X["d"].fillna(0).round().astype(int).astype("category"))
    for learner in (
        XGBClassifier(**XGB, enable_categorical=True),
        HistGradientBoostingClassifier(max_iter=3, categorical_features=[3]),
    ):
        model = fitted_table(learner, X, margin > 0)
        own, other = X[N_TRAIN : N_TRAIN + N], X[:K]
        importance = ModalityImportance(
            model["model"], modalities=COLUMNS, background=other, n_background=K
        )
        importance.explain(own)
    assert used == []


def test_trees_that_do_not_give_the_predictions_are_enumerated(
    cohort, used, monkeypatch
):
    X, margin = cohort
    learner = XGBRegressor(**XGB)
    model = fitted_table(learner, X, margin)
    read = tree_sums.read_trees

    def damaged(learner):
        found = read(learner)
        found.trees.threshold[:] += 0.3
        return found

    monkeypatch.setattr(tree_sums, "read_trees", damaged)
    compare(**model, X=X, ask=learner.predict, bound=1e-12)
    assert used == []


def test_few_rows_are_enumerated_to_the_bit(cohort):
    X, margin = cohort
    learner = XGBRegressor(**XGB)
    model = fitted_table(learner, X, margin)
    compare(**model, X=X, ask=learner.predict, bound=1e-12)


def test_extreme_log_odds_are_those_of_rounded_probabilities(used):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(150, 5)), columns=list("abcde"))
    y = ((X["a"] > 0) & (X["c"] > 0)).to_numpy()
    learner = XGBClassifier(
        **{**XGB, "n_estimators": 40, "learning_rate": 1.0, "reg_lambda": 0.0},
        min_child_weight=0,
    )
    model = fitted_table(learner, X, y)
    P = learner.predict_proba(X[N_TRAIN : N_TRAIN + N])
    assert (P == 1).any()  # whose log-odds are clipped
    with pytest.warns(UserWarning, match="0 or 1 in"):
        compare(
            **model,
            X=X,
            ask=lambda rows: log_odds(learner.predict_proba(rows)),
            bound=3.0,
        )
    assert used == ["pairs"]
