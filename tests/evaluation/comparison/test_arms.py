"""Matched arms: the learner, its settings and searches never help a fusion."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import (
    linear,
    make_cohort,
    modalities,
    scores_of,
    three_modalities,
)
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    PolynomialFeatures,
    StandardScaler,
)

from skfusion import EarlyFusionClassifier, LateFusionClassifier, compare_fusion
from skfusion.evaluation.comparison.comparison import plan_comparison
from skfusion.evaluation.comparison.running import seeded
from skfusion.exceptions import DataWarning
from skfusion.fusion.restriction import restricted_to

ONCE = {"n_repeats": 1, "scoring": "roc_auc", "random_state": 0}


def arms_of(given, X, y, **settings):
    """Arms of a comparison by name, without a fit."""
    plan = plan_comparison(given, X, y, **{**ONCE, **settings})
    return {arm.name: arm for arm in plan.strategies}


def interaction(n, seed):
    """An outcome that no linear model reads from the record; the image is noise."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 5)), columns=["i1", "i2", "r1", "r2", "r3"])
    signs = np.sign(X["r1"] * X["r2"])
    y = (rng.random(n) < 1 / (1 + np.exp(-3 * signs))).astype(int)
    pair = [
        ("image", StandardScaler(), ["i1", "i2"]),
        ("ehr", StandardScaler(), ["r1", "r2", "r3"]),
    ]
    return pair, X, y


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.slow
def test_an_interaction_inside_the_record_is_no_help_of_fusion(seed):
    pair, X, y = interaction(220, seed)
    products = make_pipeline(PolynomialFeatures(2), LogisticRegression())
    fusions = {
        "early": EarlyFusionClassifier(pair, estimator=products),
        "late": LateFusionClassifier(pair),
    }
    result = compare_fusion(fusions, X, y, **{**ONCE, "n_repeats": 2})
    estimates = result.to_frame()["roc_auc"]["estimate"]
    assert estimates["early"] > estimates["ehr in late"] + 0.2
    assert estimates["ehr in early"] > estimates["ehr in late"] + 0.2
    assert result.verdict_.outcome != "helps"
    assert (result.tests_["outcome"] != "helps").all()


def test_baselines_of_another_learner_allow_no_statement_about_fusion():
    pair, X, y = interaction(220, 0)
    products = make_pipeline(PolynomialFeatures(2), LogisticRegression())
    fusions = {"early": EarlyFusionClassifier(pair, estimator=products)}
    weak = compare_fusion(fusions, X, y, baselines="default", **ONCE)
    assert weak.differences_["relation"].unique().tolist() == ["other"]
    tests = weak.tests_.set_index("strategy")
    assert tests.loc["early", "n_matched"] == 0
    assert tests.loc["early", "p_helps"] < 0.05
    assert weak.verdict_.outcome == "unmatched"
    assert "none of them is in the same learner" in weak.verdict_.details


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "n_noise",
    [3, 0],
)
def test_an_interaction_inside_the_record_with_the_default_learners(seed, n_noise):
    pair, X, y = interaction(400, seed)
    noise = np.random.default_rng(9).normal(size=(400, n_noise))
    names = [f"n{j}" for j in range(n_noise)]
    X = X.join(pd.DataFrame(noise, columns=names))
    pair[1] = ("ehr", StandardScaler(), [*pair[1][2], *names])
    strategies = ("single", "early", "late")
    result = compare_fusion(pair, X, y, strategies=strategies, **ONCE)
    assert result.verdict_.outcome != "helps"


@pytest.mark.long
def test_an_interaction_inside_the_image_is_no_help_of_fusion():
    # The roles are exchanged, and the learner is another one.
    _, X, y = interaction(300, 3)
    pair = [
        ("record", StandardScaler(), ["i1", "i2"]),
        ("image", StandardScaler(), ["r1", "r2", "r3"]),
    ]
    forest = ExtraTreesClassifier(15, min_samples_leaf=3)
    given = {
        "early": EarlyFusionClassifier(pair, estimator=forest),
        "record": LateFusionClassifier(pair[:1]),
        "image": LateFusionClassifier(pair[1:]),
    }
    result = compare_fusion(given, X, y, **ONCE)
    relations = result.differences_.set_index("reference")["relation"].to_dict()
    assert relations == {
        "record": "other",
        "image": "other",
        "record in early": "matched",
        "image in early": "matched",
    }
    differences = result.differences_.set_index("reference")["estimate"]
    assert differences["image"] > 0.2  # the learner
    assert abs(differences["image in early"]) < 0.1  # fusion
    assert result.verdict_.outcome != "helps"


# -- settings reach the matched singles ----------


def imbalanced(seed, n=600):
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=[0.8, 0.15, 0.05])
    X = pd.DataFrame(
        {"image": rng.normal(size=n), "meta": rng.normal(size=n) + 1.5 * y}
    )
    pair = [
        ("image", StandardScaler(), ["image"]),
        ("meta", StandardScaler(), ["meta"]),
    ]
    return pair, X, y


@pytest.mark.parametrize("seed", [0, 1])
def test_class_weights_reach_the_singles_of_late_fusion(seed):
    pair, X, y = imbalanced(seed)
    late = LateFusionClassifier(pair, class_weight="balanced")
    settings = {**ONCE, "scoring": "balanced_accuracy"}
    result = compare_fusion({"late": late}, X, y, **settings)
    alone = LateFusionClassifier(pair[1:], class_weight="balanced")
    by_hand = compare_fusion({"meta": alone}, X, y, **settings)
    found = scores_of(result, "meta in late", "balanced_accuracy")
    expected = scores_of(by_hand, "meta", "balanced_accuracy")
    np.testing.assert_allclose(found, expected)
    assert found.mean() > 0.55  # 0.37 without weights
    assert result.verdict_.outcome != "helps"


def test_class_weights_reach_the_singles_of_early_fusion():
    # Of two classes, and the weights are given for each class.
    pair, X, y = imbalanced(2)
    y = (y > 1).astype(int)
    early = EarlyFusionClassifier(
        pair, estimator=LogisticRegression(), class_weight={0: 1.0, 1: 12.0}
    )
    settings = {**ONCE, "scoring": "balanced_accuracy"}
    result = compare_fusion({"early": early}, X, y, **settings)
    found = scores_of(result, "meta in early", "balanced_accuracy")
    assert found.mean() > 0.7  # 0.5 without weights
    assert result.verdict_.outcome != "helps"


LEARNER = LogisticRegression(C=0.037)
FUSIONS = {
    "estimator": EarlyFusionClassifier(modalities(), estimator=LEARNER),
    "estimators of members": LateFusionClassifier(
        modalities(), estimator=LEARNER, aggregation="stacking", cv=3
    ),
    "calibration": LateFusionClassifier(modalities(), calibration="sigmoid", cv=3),
    "final calibration": LateFusionClassifier(
        modalities(), final_calibration="sigmoid", cv=3
    ),
    "weights": LateFusionClassifier(
        modalities(), aggregation="weighted", weights={"image": 3, "ehr": 1}
    ),
    "votes": LateFusionClassifier(modalities(), aggregation="vote"),
    "class weights": LateFusionClassifier(modalities(), class_weight={0: 1, 1: 3}),
    "missing": EarlyFusionClassifier(
        modalities(), estimator=LEARNER, missing="complete_case"
    ),
}


# Their inner folds are drawn with other seeds, or they predict no absent modality.
APART = ("calibration", "missing")


def settings_of(estimator):
    """Parameters without those of the modalities."""
    found = estimator.get_params(deep=False)
    found.pop("modalities")
    return {name: repr(value) for name, value in found.items()}


@pytest.mark.parametrize("name", FUSIONS)
def test_settings_of_a_fusion_are_those_of_its_singles(name):
    X, y = make_cohort(60, per_patient=1)
    given = FUSIONS[name]
    arms = arms_of({"fusion": given}, X, y)
    for single in ("image", "ehr"):
        arm = arms[f"{single} in fusion"]
        assert (arm.role, arm.modality, arm.fusion) == ("single", single, "fusion")
        if arm.estimator is None:  # a member of the fusion itself
            assert isinstance(given, LateFusionClassifier)
            continue
        assert type(arm.estimator) is type(given)
        assert settings_of(arm.estimator) == settings_of(given)
        kept = [n for n, t, _ in arm.estimator.modalities if t != "drop"]
        assert kept == [single]


def alone(estimator, name, X, y, result, *, groups=None):
    """Predictions of a fusion of one modality, fitted apart on the same folds."""
    table = result.predictions_[result.predictions_["repeat"] == 0]
    found = np.empty(len(X))
    for fold in table["fold"].unique():
        test = table.loc[table["fold"] == fold, "row"].to_numpy()
        train = np.setdiff1d(np.arange(len(X)), test)
        model = seeded(restricted_to(estimator, [name]), 0)
        ids = {} if groups is None else {"groups": groups[train]}
        with warnings.catch_warnings():  # of rows without the only modality
            warnings.simplefilter("ignore", DataWarning)
            model.fit(X.iloc[train], y[train], **ids)
            found[test] = model.predict_proba(X.iloc[test])[:, 1]
    return found


@pytest.mark.parametrize("name", [name for name in FUSIONS if name not in APART])
@pytest.mark.long
def test_singles_are_the_fusion_fitted_on_one_modality(name):
    X, y = make_cohort(60, per_patient=1)
    X.iloc[:12, 1] = np.nan
    given = FUSIONS[name]
    result = compare_fusion({"fusion": given}, X, y, cv=3, **ONCE)
    for single in ("image", "ehr"):
        np.testing.assert_allclose(
            result.predictions_[f"{single} in fusion"],
            alone(given, single, X, y, result),
            # Class weights are scaled by the mean of other rows.
            atol=2e-3 if name == "class weights" else 1e-9,
        )


# -- members of late fusion ----------


@pytest.mark.parametrize("absent", [0, 25])
@pytest.mark.parametrize("per_patient", [1, 2])
def test_members_are_late_fusions_of_one_modality(per_patient, absent):
    X, y = make_cohort(80 // per_patient, per_patient=per_patient)
    X.iloc[:absent, 0] = np.nan
    groups = X.get("patient_id")
    late = LateFusionClassifier(modalities())
    result = compare_fusion({"late": late}, X, y, groups=groups, cv=3, **ONCE)
    table = result.predictions_
    ids = None if groups is None else groups.to_numpy()
    members = {
        name: alone(late, name, X, y, result, groups=ids) for name in ("image", "ehr")
    }
    for name, expected in members.items():
        np.testing.assert_allclose(table[f"{name} in late"], expected, rtol=1e-12)
    both = np.mean(list(members.values()), axis=0)[absent:]
    np.testing.assert_allclose(table["late"][absent:], both, rtol=1e-12)
    assert result.strategies_.loc["ehr in late", "estimator"] == (
        "member of LateFusionClassifier"
    )
    assert result.strategies_.loc["late", "learner"] == "LogisticRegression"


def test_searched_late_fusion_has_fitted_singles():
    X, y = make_cohort(60, per_patient=1)
    late = LateFusionClassifier(modalities(), estimator=LogisticRegression())
    arms = arms_of({"late": late}, X, y, search={"late": {"estimator__C": [0.1, 1]}})
    for arm in arms.values():
        assert isinstance(arm.estimator, GridSearchCV)
        assert arm.estimator.param_grid == {"estimator__C": [0.1, 1]}


# -- searches ----------

SEARCHES = {
    "grid": lambda fusion: GridSearchCV(
        fusion, {"estimator__C": [0.1, 1.0], "image__with_std": [True, False]}, cv=2
    ),
    "random": lambda fusion: RandomizedSearchCV(
        fusion, {"estimator__C": [0.1, 1.0, 10.0]}, n_iter=2, cv=2
    ),
    "calibrated search": lambda fusion: CalibratedClassifierCV(
        GridSearchCV(fusion, {"estimator__C": [0.1, 1.0]}, cv=2), cv=2
    ),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_singles_are_searched_as_the_fusion(name):
    X, y = make_cohort(60, per_patient=1)
    arms = arms_of({"tuned": SEARCHES[name](linear())}, X, y)
    fusion = arms["tuned"].estimator
    for single, keys in (
        ("image", {"estimator__C", "image__with_std"}),
        ("ehr", {"estimator__C"}),
    ):
        estimator = arms[f"{single} in tuned"].estimator
        assert type(estimator) is type(fusion)
        inner = getattr(estimator, "estimator", None)
        search = inner if name == "calibrated search" else estimator
        if name == "grid":
            assert set(search.param_grid) == keys
        elif name == "random":
            assert search.n_iter == 2
            assert search.param_distributions == {"estimator__C": [0.1, 1.0, 10.0]}
        else:
            assert search.param_grid == {"estimator__C": [0.1, 1.0]}
        assert search.cv == 2


@pytest.mark.long
def test_search_of_the_comparison_reaches_the_singles():
    X, y = make_cohort(120, per_patient=1, noise=0.3)
    grid = {"estimator__C": [1e-6, 1.0]}
    result = compare_fusion(
        {"early": linear(), "fixed": linear()},
        X,
        y,
        cv=2,
        search={"early": grid},
        **{**ONCE, "scoring": "neg_log_loss"},
    )
    chosen = result.chosen_
    searched = ["image in early", "ehr in early", "early"]
    assert chosen["strategy"].unique().tolist() == searched
    assert len(chosen) == 6
    assert chosen["parameter"].unique().tolist() == ["estimator__C"]
    assert chosen["value"].unique().tolist() == ["1.0"]
    table = result.predictions_
    for name in ("", "image in ", "ehr in "):
        np.testing.assert_allclose(table[f"{name}early"], table[f"{name}fixed"])


# -- drop-one ----------


@pytest.fixture(scope="module")
def three():
    rng = np.random.default_rng(5)
    X = pd.DataFrame(rng.normal(size=(150, 3)), columns=["scan", "labs", "notes"])
    y = (X["scan"] + X["labs"] + 0.3 * rng.normal(size=150) > 0).astype(int)
    return X, y.to_numpy()


@pytest.mark.parametrize("kind", ["early", "late"])
def test_three_modalities_are_left_out_one_by_one(three, kind):
    X, y = three
    fusion = {
        "early": linear(three_modalities()),
        "late": LateFusionClassifier(three_modalities(), estimator=LEARNER),
    }[kind]
    result = compare_fusion({kind: fusion}, X, y, cv=3, **ONCE)
    roles = result.strategies_["role"]
    names = ("scan", "labs", "notes")
    assert roles.index.tolist() == [
        *(f"{name} in {kind}" for name in names),
        kind,
        *(f"{kind} without {name}" for name in names),
    ]
    assert roles.tolist() == ["single"] * 3 + ["fusion"] + ["without"] * 3
    drop = result.differences_[result.differences_["relation"] == "without"]
    drop = drop.set_index("reference")["estimate"]
    assert drop[f"{kind} without scan"] > 0.1
    assert abs(drop[f"{kind} without notes"]) < 0.05
    pair = restricted_to(fusion, ["scan", "labs"])
    by_hand = compare_fusion({"pair": pair}, X, y, cv=3, baselines=None, **ONCE)
    np.testing.assert_allclose(
        result.predictions_[f"{kind} without notes"], by_hand.predictions_["pair"]
    )
    # A fusion without a modality is no reference of the verdict.
    assert result.tests_["n_matched"].tolist() == [3]
    assert result.tests_["reference"].iloc[0].endswith(f" in {kind}")


# -- baselines ----------


def test_declared_baselines_of_plain_pipelines():
    X, y = make_cohort(150, per_patient=1, noise=0.2)
    plain = make_pipeline(StandardScaler(), LogisticRegression())

    def only(column):
        take = FunctionTransformer(lambda frame: frame[[column]])
        return make_pipeline(take, clone(plain))

    def both(frame):
        return frame[["lesion", "age"]]

    given = {
        "image": only("lesion"),
        "record": only("age"),
        "all": make_pipeline(FunctionTransformer(both), plain),
    }
    result = compare_fusion(given, X, y, baselines=["image", "record"], **ONCE)
    roles = result.strategies_["role"].to_dict()
    assert roles == {"image": "single", "record": "single", "all": "fusion"}
    assert result.differences_["relation"].tolist() == ["matched"] * 2
    assert result.verdict_.outcome == "helps"
    none = compare_fusion(given, X, y, baselines=None, **ONCE)
    assert none.verdict_.outcome == "untested"


def test_default_baselines_are_late_fusions_of_one_modality():
    X, y = make_cohort(60, per_patient=1)
    arms = arms_of({"early": linear()}, X, y, baselines="default")
    assert list(arms) == ["image", "ehr", "early"]
    for name in ("image", "ehr"):
        assert isinstance(arms[name].estimator, LateFusionClassifier)
        assert [n for n, *_ in arms[name].estimator.modalities] == [name]
