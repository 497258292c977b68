"""Cases whose answer is known, by every strategy and every estimator around it.

The models know the patients of their rows, of whom each has two.
"""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from known_models import Formula, noise_image_cohort
from scipy.special import logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    LateFusionRegressor,
    ModalityImportance,
)
from skfusion.evaluation.statistics.bootstrap import resampled_rows
from skfusion.exceptions import DataWarning
from skfusion.image import Preprocessing
from skfusion.inspection.modalities.coalitions import coalition_table
from skfusion.inspection.modalities.scoring import ask_for, make_scoring
from skfusion.inspection.shapley import exact_plan

TWO = {"image": ["a", "b"], "ehr": ["c", "d"]}
STRATEGIES = ("early", "late", "joint")
AROUND = {
    "bare": lambda model: model,
    "pipeline": lambda model: make_pipeline("passthrough", model),
    "search": lambda model: GridSearchCV(model, {"missing": ["auto"]}, cv=2),
    "calibrated": lambda model: CalibratedClassifierCV(model, cv=2),
}
EVERY = [
    pytest.param(
        strategy,
        around,
        # Networks around which others are fitted take seconds each.
        marks=[pytest.mark.slow] if strategy == "joint" and around != "bare" else [],
        id=f"{around} {strategy}",
    )
    for strategy in STRATEGIES
    for around in AROUND
]


def triples(columns):
    return [(name, FunctionTransformer(), part) for name, part in columns.items()]


def fusion(strategy, columns=TWO, **options):
    options = {"groups": "pid", "random_state": 0, **options}
    linear = make_pipeline(StandardScaler(), LogisticRegression())
    if strategy == "joint":
        options = {"max_epochs": 3, "hidden_dims": (8,), **options}
        return JointFusionClassifier(triples(columns), **options)
    if strategy == "late":
        return LateFusionClassifier(triples(columns), estimator=linear, **options)
    options = {"absence_copies": 0, **options}
    return EarlyFusionClassifier(triples(columns), estimator=linear, **options)


def cohort(n_patients=120, seed=0, formula=lambda x: 1.5 * x["a"] + x["c"]):
    """Two rows of each patient, which are alike."""
    rng = np.random.default_rng(seed)
    of_patients = np.repeat(rng.normal(size=(n_patients, 4)), 2, axis=0)
    X = pd.DataFrame(
        of_patients + 0.3 * rng.normal(size=of_patients.shape), columns=list("abcd")
    )
    p = 1 / (1 + np.exp(-formula(pd.DataFrame(of_patients, columns=list("abcd")))))
    y = np.repeat(rng.random(n_patients), 2) < p
    X["pid"] = np.repeat(np.arange(n_patients), 2)
    X["constant"] = 1.0
    return X, y.to_numpy().astype(int)


TRAIN = slice(0, 160)
NEW = slice(160, 240)


@functools.cache
def fitted(strategy, around, with_constant=False):
    X, y = cohort()
    columns = {**TWO, "unused": ["constant"]} if with_constant else TWO
    model = AROUND[around](fusion(strategy, columns))
    return model.fit(X[TRAIN], y[TRAIN])


def importance_of(model, **options):
    X, _ = cohort()
    options = {"background": X[TRAIN], "n_background": 15, **options}
    return ModalityImportance(model, **options)


# -- A1: many columns count as one -------------------------------------------------


@pytest.mark.parametrize("kind", [EarlyFusionRegressor, LateFusionRegressor])
@pytest.mark.parametrize("around", ["bare", "pipeline", "search", "target"])
def test_a1_many_columns_get_no_more_than_one(kind, around):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(600, 41))).rename(columns=lambda j: f"x{j}")
    many = list(X.columns[1:])
    y = (X["x0"] + X[many].sum(axis=1) / np.sqrt(40)).to_numpy()
    X["pid"] = np.arange(600) // 2
    extra = {"absence_copies": 0} if kind is EarlyFusionRegressor else {}
    model = kind(
        triples({"one": ["x0"], "many": many}),
        estimator=LinearRegression(),
        groups="pid",
        **extra,
    )
    wrap = {
        **AROUND,
        "target": lambda model: TransformedTargetRegressor(model),
    }[around]
    model = wrap(model).fit(X[:400], y[:400])
    found = ModalityImportance(model, background=X[:400], n_background=50).explain(
        X[400:]
    )
    share = found.share()
    assert share["share"]["many"] == pytest.approx(0.5, abs=0.03)
    assert (share["n_patients"] == 100).all()


# -- A2 and A3: formulae -----------------------------------------------------------


def formula_model(formula, columns, around):
    model = EarlyFusionRegressor(
        triples(columns), estimator=Formula(formula), absence_copies=0, groups="pid"
    )
    wraps = {**AROUND, "target": lambda model: TransformedTargetRegressor(model)}
    return wraps[around](model)


@pytest.mark.parametrize("around", ["bare", "pipeline", "search", "target"])
def test_a2_the_game_of_groups_is_not_a_sum_of_columns(around):
    def formula(x):
        return 6 * x[:, 1] * x[:, 2] * x[:, 3]

    model = formula_model(formula, {"abc": ["a", "b", "c"], "d": ["d"]}, around)
    background = pd.DataFrame(np.zeros((4, 4)), columns=list("abcd")).assign(
        pid=[0, 0, 1, 1]
    )
    case = pd.DataFrame(np.ones((2, 4)), columns=list("abcd")).assign(pid=7)
    model.fit(background, np.arange(4.0))
    found = ModalityImportance(model, background=background).explain(case)
    np.testing.assert_allclose(found.values, [[3.0, 3.0]] * 2, atol=1e-12)


@pytest.mark.parametrize("around", ["bare", "pipeline", "search", "target"])
def test_a3_product_over_a_full_background(around):
    def formula(x):
        return (x[:, 0] + x[:, 1] + 1) * (x[:, 3] + 0.5)

    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    grid = np.hstack([np.repeat(first, 6, axis=0), np.tile(second, (6, 1))])
    background = pd.DataFrame(grid, columns=list("abcd")).assign(pid=np.arange(36) // 2)
    model = formula_model(formula, TWO, around).fit(background, np.arange(36.0))
    new = pd.DataFrame(rng.normal(size=(5, 4)), columns=list("abcd")).assign(pid=99)
    found = ModalityImportance(model, background=background).explain(new)
    left, right = new["a"] + new["b"] + 1, new["d"] + 0.5
    mean_left = first.sum(axis=1).mean() + 1
    mean_right = second[:, 1].mean() + 0.5
    expected = (left - mean_left) * (right + mean_right) / 2
    np.testing.assert_allclose(found.values[:, 0], expected, atol=1e-12)
    pair = (left - mean_left) * (right - mean_right)
    np.testing.assert_allclose(found.interactions["image", "ehr"], pair, atol=1e-12)


# -- A4, A7: efficiency and what is not used ---------------------------------------


@pytest.mark.parametrize(("strategy", "around"), EVERY)
def test_a4_contributions_add_up(strategy, around):
    X, _ = cohort()
    model = fitted(strategy, around)
    found = importance_of(model).explain(X[NEW])
    p = model.predict_proba(X[NEW])[:, 1]
    # Networks predict in single precision, and their probabilities are rounded.
    tolerance = 1e-4 if strategy == "joint" else 1e-8
    np.testing.assert_allclose(found.predictions, logit(p), atol=tolerance)
    total = found.base_values + found.values.sum(axis=1)
    np.testing.assert_allclose(total, found.coalition_values[:, -1], atol=1e-10)
    assert found.patients.max() + 1 == 40
    proba = importance_of(model, output="proba").explain(X[NEW])
    np.testing.assert_allclose(proba.predictions, p, atol=1e-6)


@pytest.mark.parametrize(("strategy", "around"), EVERY)
def test_a7_what_is_not_used_gets_nothing(strategy, around):
    X, y = cohort()
    importance = importance_of(fitted(strategy, around, with_constant=True))
    found = importance.explain(X[NEW])
    assert found.modalities == ("image", "ehr", "unused")
    assert np.abs(found.values[:, 2]).max() < 1e-12
    assert np.abs(found.interactions["image", "unused"]).max() < 1e-12
    score = importance.score(X[NEW], y[NEW])
    assert score.method == "Obuchowski, by patient"
    assert abs(score.estimate[2]) < 1e-12
    assert abs(score.drop_one[2]) < 1e-12
    assert score.low[2] < 0 < score.high[2]  # never an interval of no width
    assert (score.estimate[:2] > 0).all() or strategy == "joint"


# -- A5, A6: other code ------------------------------------------------------------


@pytest.mark.parametrize("around", ["bare", "calibrated"])
@pytest.mark.parametrize("strategy", ["early", "late"])
def test_a5_four_modalities_are_those_of_shapiq(strategy, around):
    exact = pytest.importorskip("shapiq.game_theory.exact")
    X, y = cohort()
    columns = {name: [name] for name in "abcd"}
    model = AROUND[around](fusion(strategy, columns)).fit(X[TRAIN], y[TRAIN])
    found = importance_of(model).explain(X[160:163])
    for values, contributions, table in zip(
        found.values, found.interactions["a", "b"], found.coalition_values, strict=True
    ):
        computer = exact.ExactComputer(
            n_players=4,
            game=lambda sets, table=table: table[np.asarray(sets) @ 2 ** np.arange(4)],
        )
        shapley = computer("SV", order=1)
        for j in range(4):
            assert values[j] == pytest.approx(shapley[(j,)], abs=1e-10)
        pair = computer("SII", order=2)[(0, 1)]
        assert contributions == pytest.approx(pair, abs=1e-10)


@pytest.mark.parametrize("around", list(AROUND))
@pytest.mark.parametrize("strategy", ["early", "late"])
@pytest.mark.long
def test_a6_two_groups_are_those_of_the_partition_explainer(strategy, around):
    shap = pytest.importorskip("shap")
    X, _ = cohort()
    model = fitted(strategy, around)
    columns = [*TWO["image"], *TWO["ehr"]]

    def ask(values):
        cases = pd.DataFrame(values, columns=columns).assign(pid=0)
        return model.predict_proba(cases)[:, 1]

    tree = np.array([[0, 1, 0.1, 2], [2, 3, 0.1, 2], [4, 5, 1.0, 4]])
    background = X[columns][TRAIN].iloc[:12]
    masker = shap.maskers.Partition(background.to_numpy(), clustering=tree)
    explainer = shap.PartitionExplainer(ask, masker)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = explainer(X[columns][160:163].to_numpy(), max_evals=100, silent=True)
    ours = importance_of(model, background=X[TRAIN].iloc[:12], output="proba").explain(
        X[160:163]
    )
    groups = theirs.values.reshape(3, 2, 2).sum(axis=2)
    np.testing.assert_allclose(ours.values, groups, atol=1e-6)


# -- A8, A9: interactions ----------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("around", list(AROUND))
def test_a8_an_exclusive_or_is_an_interaction(around):
    xgboost = pytest.importorskip("xgboost")
    X, y = cohort(1000, formula=lambda x: 6 * np.sign(x["a"] * x["c"]))
    model = EarlyFusionClassifier(
        triples(TWO),
        estimator=xgboost.XGBClassifier(n_estimators=100, max_depth=4, n_jobs=1),
        groups="pid",
        absence_copies=0,
    )
    model = AROUND[around](model).fit(X[:1600], y[:1600])
    importance = ModalityImportance(model, background=X[:1600], n_background=50)
    assert importance.explain(X[1600:]).interaction_share() > 0.85
    score = importance.score(X[1600:], y[1600:])
    assert (score.low > 0.05).all()
    assert abs(score.coalition_scores["image"] - 0.5) < 0.1


@pytest.mark.parametrize("around", ["bare", "pipeline", "search"])
def test_a9_what_adds_up_in_log_odds_interacts_in_probabilities_only(around):
    X, _ = cohort()
    model = fitted("early", around)
    assert importance_of(model).explain(X[NEW]).interaction_share() < 1e-12
    proba = importance_of(model, output="proba").explain(X[NEW])
    with pytest.warns(DataWarning, match="can come from the scale"):
        assert 0.01 < proba.interaction_share() < 0.2


@pytest.mark.parametrize("around", ["bare", "pipeline", "search"])
def test_a9_what_adds_up_in_probabilities_is_not_warned_of(around):
    X, _ = cohort()
    model = fitted("late", around)  # the mean of probabilities
    proba = importance_of(model, output="proba").explain(X[NEW])
    assert proba.interaction_share() < 1e-12
    assert importance_of(model).explain(X[NEW]).interaction_share() > 1e-6


# -- A10, A11: an image of pure noise ----------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("around", list(AROUND))
@pytest.mark.parametrize("strategy", ["early", "late"])
def test_a10_and_a11_noise_is_relied_on_and_contributes_nothing(strategy, around):
    xgboost = pytest.importorskip("xgboost")
    contributions, covered = [], 0
    for seed in range(3):
        X, y, images, records = noise_image_cohort(800, seed, n_image=64)
        X["pid"] = np.arange(800) // 2
        trees = xgboost.XGBClassifier(n_estimators=60, max_depth=3, n_jobs=1)
        kinds = {"early": EarlyFusionClassifier, "late": LateFusionClassifier}
        extra = {"absence_copies": 0} if strategy == "early" else {}
        model = kinds[strategy](
            triples({"image": images, "ehr": records}),
            estimator=trees,
            groups="pid",
            random_state=0,
            **extra,
        )
        model = AROUND[around](model).fit(X[:400], y[:400])
        importance = ModalityImportance(model, background=X[:400], n_background=25)
        score = importance.score(X[400:], y[400:])
        contributions.append(score.estimate)
        covered += int(score.low[0] < 0 < score.high[0])
        assert importance.explain(X[400:]).share()["share"]["image"] > 0.1
    image, record = np.mean(contributions, axis=0)
    assert abs(image) < 0.05 if strategy == "early" else image < 0.01
    assert 0.15 < record < 0.42
    assert covered >= 2 or strategy == "late"


# -- A12: intervals ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "around"), [part for part in EVERY if "bare" not in part.id]
)
@pytest.mark.slow
def test_a12_errors_are_those_of_a_bootstrap_of_patients(strategy, around):
    X, y = cohort()
    importance = importance_of(fitted(strategy, around))
    found = importance.score(X[NEW], y[NEW])
    assert found.n_patients == 40
    cases, plan = importance._prepare(X[NEW])
    scored = make_scoring(cases.model, y[NEW], None)
    table = coalition_table(cases, plan, ask_for(cases.model, scored))
    patients = X["pid"][NEW].to_numpy() - 80
    draws = []
    for rows in resampled_rows(80, patients, 300, np.random.RandomState(0)):
        positive = y[NEW][rows]
        values = [roc_auc_score(positive, part[rows, -1]) for part in table[1:]]
        draws.append(exact_plan(2).shapley(np.array([0.5, *values])))
    ratio = found.standard_errors / np.std(draws, axis=0, ddof=1)
    assert ((ratio > 0.8) & (ratio < 1.25)).all()


# -- A13: two that say the same ----------------------------------------------------


@pytest.mark.parametrize("around", list(AROUND))
@pytest.mark.parametrize(
    "strategy", ["early", "late", pytest.param("joint", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_a13_of_two_that_say_the_same_each_gets_half(strategy, around):
    rng = np.random.default_rng(0)
    latent = np.repeat(rng.normal(size=150), 2)
    X = pd.DataFrame(
        latent[:, None] + 0.1 * rng.normal(size=(300, 4)), columns=list("abcd")
    )
    y = (np.repeat(rng.random(150), 2) < 1 / (1 + np.exp(-2 * latent))).astype(int)
    X["pid"] = np.arange(300) // 2
    if strategy == "joint":
        around_it = AROUND[around](fusion("joint", max_epochs=25, lr=0.01))
    else:
        around_it = AROUND[around](fusion(strategy))
    found = ModalityImportance(around_it.fit(X, y)).refit(X, y, cv=3)
    assert np.abs(found.drop_one).max() < 0.03  # leave-one-out: both useless
    assert (found.estimate > 0.1).all()
    assert found.interactions["image", "ehr"] < -0.2
    auroc = found.coalition_scores["image + ehr"]
    assert found.estimate.sum() == pytest.approx(auroc - 0.5, abs=1e-12)
    table = found.subsets()
    assert (table["low_refits"].dropna() < auroc).all()


# -- A14: encode once --------------------------------------------------------------


class Counting(torch.nn.Module):
    """A net that counts the images it is shown."""

    seen = 0
    preprocessing = Preprocessing(16, (0.5,) * 3, (0.25,) * 3)

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3, stride=4)

    def forward(self, x):
        Counting.seen += len(x)
        return torch.relu(self.first(x))


@pytest.mark.parametrize(
    ("strategy", "around"), [part for part in EVERY if "joint" not in part.id]
)
@pytest.mark.long
def test_a14_an_image_is_encoded_once_for_any_background(strategy, around):
    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    images = rng.integers(0, 200, (48, 16, 16)) + 50 * y[:, None, None]
    X = pd.DataFrame(
        {"scan": list(images.astype(np.uint8)), "age": rng.normal(size=48)}
    )
    X["pid"] = np.arange(48) // 2
    torch.manual_seed(0)
    embedder = ImageEmbedder(Counting(), input_size=16, store=None)
    modalities = [("scan", embedder, "scan"), ("age", StandardScaler(), ["age"])]
    kinds = {"early": EarlyFusionClassifier, "late": LateFusionClassifier}
    model = kinds[strategy](
        modalities, estimator=LogisticRegression(), groups="pid", random_state=0
    )
    model = AROUND[around](model).fit(X[:32], y[:32])
    n_fusions = 2 if around == "calibrated" else 1  # of the two folds
    counts = {}
    for n_background in (4, 24):
        Counting.seen = 0
        importance = ModalityImportance(
            model, background=X[:32], n_background=n_background
        )
        importance.explain(X[32:])
        counts[n_background] = Counting.seen
    assert counts[24] - counts[4] == 20 * n_fusions
    mixed_rows = 16 * 24 * 3  # of which a naive game would encode each
    assert 10 * counts[24] < mixed_rows * n_fusions


# -- A15: what was never learned ---------------------------------------------------


@pytest.mark.parametrize(("strategy", "around"), EVERY)
def test_a15_native_removal_is_for_models_that_learned_absences(strategy, around):
    X, _ = cohort()
    importance = importance_of(fitted(strategy, around), removal="native")
    if strategy != "early":  # members are left out, and networks learn dropout
        assert np.isfinite(importance.explain(X[NEW]).values).all()
        return
    with pytest.raises(ValueError, match="never trained with"):
        importance.explain(X[NEW])


@pytest.mark.parametrize("around", list(AROUND))
def test_a15_models_that_learned_absences_leave_modalities_out(around):
    X, y = cohort()
    model = AROUND[around](fusion("early", absence_copies=0.5)).fit(X[TRAIN], y[TRAIN])
    found = importance_of(model, removal="native").explain(X[NEW])
    without = X[NEW].assign(a=np.nan, b=np.nan)
    p = model.predict_proba(without)[:, 1]
    record = found.coalition_values[:, 2]
    np.testing.assert_allclose(record, logit(p), atol=1e-8)


def test_numbers_of_ridge_are_additive_by_every_strategy():
    X, _ = cohort()
    y = (2 * X["a"] + X["c"]).to_numpy()
    for kind, extra in (
        (EarlyFusionRegressor, {"absence_copies": 0}),
        (LateFusionRegressor, {}),
    ):
        model = kind(triples(TWO), estimator=Ridge(), groups="pid", **extra)
        found = importance_of(model.fit(X[TRAIN], y[TRAIN])).explain(X[NEW])
        assert found.interaction_share() < 1e-12
        predicted = model.predict(X[NEW])
        np.testing.assert_allclose(found.predictions, predicted, atol=1e-10)
