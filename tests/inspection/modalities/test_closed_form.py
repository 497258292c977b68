"""Values of coalitions against the enumeration of all mixed rows.

The enumeration is that of the definition: for each coalition, each case with each
background case, through `predict_encoded` or the estimator of a table.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from xgboost import XGBClassifier

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
    ModalityImportance,
)
from skfusion.exceptions import DataWarning
from skfusion.fusion.survival import CoxRidge
from skfusion.inspection.modalities.coalitions import coalition_table
from skfusion.inspection.models import (
    FusionModel,
    TableModel,
    find_model,
    make_output,
)
from skfusion.inspection.shapley import all_coalitions
from skfusion.survival import EarlyFusionSurvival

N, K, M = 24, 6, 3
COLUMNS = {"ct": ["a", "b"], "ehr": ["c", "d"], "note": ["e"]}
TRIPLES = [(name, FunctionTransformer(), part) for name, part in COLUMNS.items()]
LINEAR = make_pipeline(StandardScaler(), LogisticRegression())


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(150, 5)), columns=list("abcde"))
    margin = X["a"] + X["c"] * X["e"] - X["d"]
    return X, (margin + rng.normal(size=150) > 0).to_numpy().astype(int)


def enumerated(model, cases, background, finish):
    """Average the outputs over all mixed rows, coalition by coalition."""
    found, _ = find_model(model, None if hasattr(model, "modalities") else COLUMNS)
    own, other = (found.encode(table)[0] for table in (cases, background))
    first, second = np.repeat(np.arange(N), K), np.tile(np.arange(K), N)

    def rows(part, numbers):
        if isinstance(part, np.ndarray):
            return part[numbers]
        return part.iloc[numbers].reset_index(drop=True)

    values = []
    for members in all_coalitions(M)[:-1]:
        mixed = {
            name: rows(own[name], first) if inside else rows(other[name], second)
            for name, inside in zip(COLUMNS, members, strict=True)
        }
        outputs = np.asarray(finish(found, mixed), dtype=float).reshape(N, K, -1)
        values.append(outputs.mean(axis=1))
    whole = np.asarray(finish(found, own), dtype=float).reshape(N, -1)
    return np.array([*values, whole])


def log_odds(found, mixed):
    predicted = found.predict(mixed)
    return logit(np.clip(predicted, 1e-12, 1 - 1e-12))


def second_log_odds(found, mixed):
    return log_odds(found, mixed)[:, [1]]


def numbers(found, mixed):
    return found.predict(mixed)


@pytest.fixture
def asked(monkeypatch):
    """Count the rows that models are asked for."""
    count = [0]
    for kind in (FusionModel, TableModel):
        predict, margins = kind.predict, kind.margins

        def counted(self, rows, *args, _ask=predict):
            answer = _ask(self, rows, *args)
            count[0] += len(answer)
            return answer

        def also_counted(self, rows, *args, _ask=margins):
            before = count[0]
            answer = _ask(self, rows, *args)
            count[0] = before + len(answer)
            return answer

        monkeypatch.setattr(kind, "predict", counted)
        monkeypatch.setattr(kind, "margins", also_counted)
    return count


def check(model, cohort, asked, finish, *, closed, bound, cases=None, **options):
    X, _ = cohort
    background = X[:K] if "background" not in options else options.pop("background")
    cases = X[100 : 100 + N] if cases is None else cases
    modalities = None if hasattr(model, "modalities") else COLUMNS
    importance = ModalityImportance(
        model, modalities=modalities, background=background, n_background=K, **options
    )
    asked[0] = 0
    explanation = importance.explain(cases)
    every = (2**M - 2) * N * K
    few = (M + 1) * (N + K)
    assert asked[0] == few if closed else asked[0] >= every
    values = explanation.coalition_values
    expected = enumerated(model, cases, background, finish)
    expected = np.moveaxis(expected, 0, 1)
    if expected.shape[-1] == 1:
        expected = expected[..., 0]
    assert values.shape == expected.shape
    np.testing.assert_allclose(values, expected, rtol=0, atol=bound)


# -- additive outputs --------------------------------------------------------------

# Log-odds are computed from probabilities, whose rounding is relative to 1.
BOUND = 1e-12


@pytest.mark.parametrize(
    "learner",
    [
        LogisticRegression(),
        LINEAR,
        make_pipeline(MinMaxScaler(clip=True), PCA(3), LogisticRegression()),
    ],
    ids=["bare", "scaled", "components"],
)
@pytest.mark.parametrize("balance", [None, "scale", "replicate"])
def test_linear_learners_of_early_fusion(learner, balance, cohort, asked):
    X, y = cohort
    model = EarlyFusionClassifier(
        TRIPLES, estimator=learner, balance=balance, random_state=0
    ).fit(X[:100], y[:100])
    check(model, cohort, asked, second_log_odds, closed=True, bound=BOUND)


@pytest.mark.parametrize("kind", [EarlyFusionRegressor, LateFusionRegressor])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_linear_predictions_of_numbers(kind, n_outputs, cohort, asked):
    X, _ = cohort
    y = X[["a", "c"]].to_numpy()[:100, :n_outputs].squeeze() ** 2
    model = kind(TRIPLES, estimator=Ridge(), random_state=0).fit(X[:100], y)
    check(model, cohort, asked, numbers, closed=True, bound=1e-13)


@pytest.mark.parametrize("rule", ["bayes", "product", "stacking"])
def test_late_fusion_of_log_odds(rule, cohort, asked):
    X, y = cohort
    model = LateFusionClassifier(
        TRIPLES, estimator=LINEAR, aggregation=rule, random_state=0
    ).fit(X[:100], y[:100])
    check(model, cohort, asked, second_log_odds, closed=True, bound=BOUND)


@pytest.mark.parametrize("weights", [None, [0.5, 0.3, 0.2]])
def test_averages_of_probabilities(weights, cohort, asked):
    X, y = cohort
    model = LateFusionClassifier(
        TRIPLES,
        estimator=LINEAR,
        aggregation="mean" if weights is None else "weighted",
        weights=weights,
        random_state=0,
    ).fit(X[:100], y[:100])

    def second(found, mixed):
        return found.predict(mixed)[:, [1]]

    check(model, cohort, asked, second, closed=True, bound=1e-14, output="proba")


def test_several_labels(cohort, asked):
    X, y = cohort
    labels = np.column_stack([y, (X["b"] > 0).to_numpy(int), np.zeros(150, int)])
    model = EarlyFusionClassifier(TRIPLES, estimator=LINEAR, random_state=0)
    with pytest.warns(UserWarning, match="one value"):
        model.fit(X[:100], labels[:100])
    with pytest.warns(DataWarning, match="0 or 1 in 24 of 24"):
        check(model, cohort, asked, log_odds, closed=True, bound=BOUND)


def test_the_log_hazard_of_cox(cohort, asked):
    X, y = cohort
    times = np.array(
        list(zip(y[:100] == 1, np.arange(1.0, 101.0), strict=True)),
        dtype=[("event", bool), ("time", float)],
    )
    model = EarlyFusionSurvival(TRIPLES, estimator=CoxRidge(), random_state=0)
    model.fit(X[:100], times)
    check(model, cohort, asked, numbers, closed=True, bound=1e-13)


def test_a_pipeline_of_a_table(cohort, asked):
    X, y = cohort
    X = X.assign(e=np.where(X["e"] > 0, "yes", "no"))
    X.loc[::7, "a"] = np.nan
    steps = ColumnTransformer(
        [
            (
                "number",
                make_pipeline(SimpleImputer(), PowerTransformer()),
                list("abcd"),
            ),
            ("text", OneHotEncoder(), ["e"]),
        ]
    )
    model = make_pipeline(steps, LogisticRegression()).fit(X[:100], y[:100])
    check(model, (X, y), asked, second_log_odds, closed=True, bound=BOUND)


def test_the_decision_function_of_a_table(cohort, asked):
    X, y = cohort
    y = y + (X["b"] > 1).to_numpy(int)  # of three classes
    model = make_pipeline(StandardScaler(), LinearSVC()).fit(X[:100], y[:100])

    def decision(found, mixed):
        return found.margins(mixed)

    check(model, (X, y), asked, decision, closed=True, bound=1e-13)


def test_absent_modalities_are_a_term_of_early_fusion(cohort, asked):
    X, y = cohort
    X = X.copy()
    X.loc[::3, ["c", "d"]] = np.nan
    model = EarlyFusionClassifier(TRIPLES, estimator=LINEAR, random_state=0)
    model.fit(X[:100], y[:100])
    check(model, (X, y), asked, second_log_odds, closed=True, bound=BOUND)


def test_a_score_uses_the_same_values(cohort, asked):
    X, y = cohort
    model = EarlyFusionClassifier(TRIPLES, estimator=LINEAR, random_state=0)
    model.fit(X[:100], y[:100])
    importance = ModalityImportance(model, background=X[:K], n_background=K)
    asked[0] = 0
    importance.score(X[100:], y[100:])
    assert asked[0] == (M + 1) * (50 + K)


# -- outputs that are not additive -------------------------------------------------


class OddLogisticRegression(LogisticRegression):
    """A subclass, whose predictions could be anything."""

    def predict_proba(self, X):
        """Return probabilities that know an interaction."""
        odd = np.where((X[:, 0] > 0) & (X[:, 2] > 0), 0.1, 0.0)
        return super().predict_proba(X) * (1 - odd[:, None]) + odd[:, None] / 2


class RowNorm(TransformerMixin, BaseEstimator):
    """A step of the user."""

    def fit(self, X, y=None):
        """Learn nothing."""
        return self

    def transform(self, X):
        """Divide by the norm of each row."""
        return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "learner",
    [
        OddLogisticRegression(),
        make_pipeline(PolynomialFeatures(2), LogisticRegression()),
        make_pipeline(PCA(3), PowerTransformer(), LogisticRegression()),
        make_pipeline(RowNorm(), LogisticRegression()),
        make_pipeline(
            FunctionTransformer(lambda X: X * X[:, [0]]), LogisticRegression()
        ),
    ],
    ids=["subclass", "products", "bent components", "norm", "function"],
)
def test_other_learners_are_enumerated(learner, cohort, asked):
    X, y = cohort
    model = EarlyFusionClassifier(TRIPLES, estimator=learner, random_state=0)
    model.fit(X[:100], y[:100])
    check(model, cohort, asked, second_log_odds, closed=False, bound=1e-12)


@pytest.mark.parametrize("absence_copies", [0, "auto"])
def test_trees_are_enumerated_to_the_bit(absence_copies, cohort, asked):
    X, y = cohort
    trees = XGBClassifier(n_estimators=5, max_depth=3)
    model = EarlyFusionClassifier(
        TRIPLES, estimator=trees, absence_copies=absence_copies, random_state=0
    ).fit(X[:100], y[:100])
    check(model, cohort, asked, second_log_odds, closed=False, bound=0.0)


def test_several_chunks_and_some_coalitions_are_enumerated_to_the_bit(
    cohort, asked, monkeypatch
):
    X, y = cohort
    trees = XGBClassifier(n_estimators=5, max_depth=3)
    model = EarlyFusionClassifier(TRIPLES, estimator=trees, random_state=0)
    model.fit(X[:100], y[:100])
    importance = ModalityImportance(model, background=X[:K], n_background=K)
    whole = importance.explain(X[100:]).coalition_values
    monkeypatch.setattr(
        "skfusion.inspection.modalities.withheld.mixing.CHUNK_ROWS", 5 * K
    )
    check(model, cohort, asked, second_log_odds, closed=False, bound=0.0)
    cases, plan = importance._prepare(X[100:])
    some = np.array([0, 6, 1, 5, 7])
    part = replace(plan, coalitions=plan.coalitions[some])
    table = coalition_table(cases, part, make_output(cases.model, "link").ask)
    np.testing.assert_array_equal(table[..., 0].T, whole[:, some])


def test_averages_of_probabilities_have_no_additive_log_odds(cohort, asked):
    X, y = cohort
    model = LateFusionClassifier(TRIPLES, estimator=LINEAR, random_state=0)
    model.fit(X[:100], y[:100])
    check(model, cohort, asked, second_log_odds, closed=False, bound=0.0)


def test_three_classes_have_no_additive_log_odds(cohort, asked):
    X, y = cohort
    y = y + (X["b"] > 1).to_numpy(int)
    model = EarlyFusionClassifier(TRIPLES, estimator=LINEAR, random_state=0)
    model.fit(X[:100], y[:100])

    def finish(found, mixed):
        P = found.predict(mixed)
        return np.log(P) - np.log(P.sum(axis=1, keepdims=True) - P)

    check(model, (X, y), asked, finish, closed=False, bound=1e-12)


def test_an_average_of_the_members_that_are_present_is_enumerated(cohort, asked):
    X, _ = cohort
    X = X.copy()
    X.loc[101:110, "e"] = np.nan
    model = LateFusionRegressor(TRIPLES, estimator=LinearRegression(), random_state=0)
    model.fit(X[:100], X["a"].to_numpy()[:100])
    check(model, (X, None), asked, numbers, closed=False, bound=0.0)


@pytest.mark.filterwarnings("ignore:.*never in the training data")
def test_a_mixed_row_without_any_modality_is_enumerated(cohort, asked):
    X, y = cohort
    X = X.copy()
    X.loc[101, list("ab") + list("cd")] = np.nan
    X.loc[2, "e"] = np.nan
    model = EarlyFusionClassifier(TRIPLES, estimator=LINEAR, random_state=0)
    model.fit(X[10:100], y[10:100])
    with pytest.warns(UserWarning, match="no modality at all"):
        # The expected values are asked for rows of the average, which warns.
        check(model, (X, y), asked, second_log_odds, closed=False, bound=1e-12)


def test_log_odds_that_are_clipped_are_enumerated(cohort, asked):
    X, y = cohort
    model = EarlyFusionClassifier(
        TRIPLES, estimator=LogisticRegression(), random_state=0
    ).fit(X[:100], y[:100])
    wide = X.copy()
    wide.loc[100, "a"] = 100.0
    with pytest.warns(DataWarning, match="0 or 1 in 1 of 24"):
        check(model, (wide, y), asked, second_log_odds, closed=False, bound=1e-12)


def test_a_model_that_is_not_its_sum_is_enumerated(cohort, asked, monkeypatch):
    X, y = cohort
    trees = XGBClassifier(n_estimators=20, max_depth=3)
    model = EarlyFusionClassifier(TRIPLES, estimator=trees, random_state=0)
    model.fit(X[:100], y[:100])
    monkeypatch.setattr(
        "skfusion.inspection.modalities.withheld.additive.is_additive", lambda *_: True
    )
    check(model, cohort, asked, second_log_odds, closed=False, bound=0.0)
