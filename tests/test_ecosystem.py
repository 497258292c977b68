"""The page on other packages: its examples run as printed, and its limits are real.

A limit is of another package, or of what the two can do together. If a release lifts
it, the test of the limit fails, and the sentence on the page goes.
"""

from __future__ import annotations

import doctest
import importlib
import re
import tomllib
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    StratifiedGroupKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skfusion
from skfusion import EarlyFusionClassifier, LateFusionClassifier
from skfusion.datasets import make_fusion_cohort

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/ecosystem.md").read_text(encoding="utf-8")
MODULES = {  # of the sections, which are named after the distributions
    "Optuna": "optuna",
    "MAPIE": "mapie",
    "imbalanced-learn": "imblearn",
    "LightGBM": "lightgbm",
    "CatBoost": "catboost",
    "distributed": "distributed",
    "fairlearn": "fairlearn",
    "skrub": "skrub",
    "TabICL": "tabicl",
}
MOST_LINES = 20
INTRODUCTION, *SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)

COHORT = make_fusion_cohort(
    300, rows_per_patient=2, missing_rate={"image": 0.2, "ehr": 0.1}, random_state=0
)
X, Y, PATIENTS = COHORT.data, COHORT.target, COHORT.groups
MODALITIES = [
    ("image", StandardScaler(), COHORT.image_columns),
    ("ehr", StandardScaler(), COHORT.ehr_columns),
]
FOLDS = StratifiedGroupKFold(3)


def package(section: str) -> str:
    return section.partition(":")[0]


def fusion(kind: type = LateFusionClassifier, **params: object):
    return kind(MODALITIES, groups="patient_id", random_state=0, **params)


def early(learner: object, **params: object):
    return fusion(EarlyFusionClassifier, estimator=learner, **params)


@pytest.fixture
def checkpoint(tmp_path):
    """Return the path of a small TabICL network with random weights."""
    pytest.importorskip("tabicl")
    torch = importlib.import_module("torch")
    network = importlib.import_module("tabicl._model.tabicl").TabICL
    config = {"max_classes": 10, "embed_dim": 16, "zero_init": False}
    for part, heads in (("col", 2), ("row", 2), ("icl", 2)):
        config |= {f"{part}_num_blocks": 1, f"{part}_nhead": heads}
    config |= {"col_num_inds": 8, "row_num_cls": 2}
    torch.manual_seed(0)
    weights = network(**config).state_dict()
    torch.save({"config": config, "state_dict": weights}, tmp_path / "random.ckpt")
    return tmp_path / "random.ckpt"


# -------------------------------------------------------------------------- the page


def test_page_has_a_section_for_every_package_of_the_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["oracles"]
    names = {re.split(r"[<>=]", requirement)[0].lower() for requirement in extra}
    # optuna-integration is in the section on Optuna
    assert {package(section).lower() for section in SECTIONS} | {
        "optuna-integration"
    } == names
    assert {package(section) for section in SECTIONS} == set(MODULES)


@pytest.mark.parametrize("section", SECTIONS, ids=package)
def test_blocks_are_short_and_of_public_names(section):
    blocks = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        lines = re.findall(r"^(?:>>>|\.\.\.) (.*\S)", block, flags=re.MULTILINE)
        assert len(lines) <= MOST_LINES
        assert max(map(len, lines)) <= 84
        assert not re.search(r"\._[a-z]", block)
        assert doctest.DocTestParser().get_examples(block)[-1].want  # it shows a result


def run(text: str, names: dict[str, object]) -> dict[str, object]:
    examples = doctest.DocTestParser().get_doctest(text, names, "page", "page", 0)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST
    report: list[str] = []
    doctest.DocTestRunner(optionflags=flags).run(
        examples, out=report.append, clear_globs=False
    )
    assert not report, "".join(report)
    return examples.globs


@pytest.fixture(scope="module")
def introduction():
    return run(INTRODUCTION, {})


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:fairlearn",  # it calls pandas in the old way
    # MAPIE asks a fitted model about a row of zeros, as the page says.
    "ignore:X does not have valid feature names:UserWarning",
)
@pytest.mark.parametrize("section", SECTIONS, ids=package)
def test_section_runs_as_printed(section, introduction, request):
    pytest.importorskip(MODULES[package(section)])
    names = dict(introduction)
    if package(section) == "TabICL":
        names["checkpoint"] = request.getfixturevalue("checkpoint")
    run(section, names)


# ------------------------------------------------------------------------ the limits


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # experimental, and means of no score
def test_optuna_search_needs_metadata_routing_off():
    optuna = pytest.importorskip("optuna")
    integration = pytest.importorskip("optuna_integration")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = integration.OptunaSearchCV(
        fusion(),
        {"estimator__model__C": optuna.distributions.FloatDistribution(0.01, 1)},
        cv=FOLDS,
        n_trials=2,
        scoring="roc_auc",
        random_state=0,
    )
    assert search.fit(X, Y, groups=PATIENTS).best_score_ > 0.6
    with (
        sklearn.config_context(enable_metadata_routing=True),
        pytest.raises(ValueError, match="No trials are completed"),
    ):
        search.fit(X, Y, groups=PATIENTS).best_score_  # noqa: B018


@pytest.mark.slow
def test_mapie_takes_images_with_folds_of_its_own_only():
    mapie = pytest.importorskip("mapie.classification")
    from skfusion.image import RadiomicsEncoder

    cohort = make_fusion_cohort(
        120, as_images=True, rows_per_patient=2, missing_rate=0.1, random_state=0
    )
    encoder = make_pipeline(RadiomicsEncoder(), StandardScaler())
    model = LateFusionClassifier(
        [("image", encoder, ["image"]), ("ehr", StandardScaler(), cohort.ehr_columns)],
        groups="patient_id",
    )
    rows, outcome = cohort.data, cohort.target
    split = mapie.SplitConformalClassifier(model, prefit=False)
    split.fit(rows[:60], outcome[:60])
    with pytest.raises(UserWarning, match="does not appear fitted"):
        split.conformalize(rows[60:100], outcome[60:100])
    cross = mapie.CrossConformalClassifier(model, cv=StratifiedGroupKFold(2))
    cross.fit_conformalize(rows[:100], outcome[:100], groups=cohort.groups[:100])
    _, sets = cross.predict_set(rows[100:])
    assert sets.any(axis=1).mean() > 0.8


@pytest.mark.slow
def test_mapie_fits_residuals_on_the_table_itself():
    mapie = pytest.importorskip("mapie.regression")
    scores = pytest.importorskip("mapie.conformity_scores")
    from skfusion import LateFusionRegressor

    model = LateFusionRegressor(MODALITIES, groups="patient_id")
    conformal = mapie.SplitConformalRegressor(
        model, conformity_score=scores.ResidualNormalisedScore(), prefit=False
    ).fit(X[:150], Y[:150])
    with (
        pytest.warns(UserWarning, match="valid feature names"),
        pytest.raises(ValueError, match="could not convert string to float"),
    ):
        conformal.conformalize(X[150:], Y[150:])


@pytest.mark.slow
def test_samplers_around_a_fusion():
    under = pytest.importorskip("imblearn.under_sampling").RandomUnderSampler
    over = pytest.importorskip("imblearn.over_sampling")
    sampling = pytest.importorskip("imblearn.pipeline").make_pipeline
    model = sampling(under(random_state=0), fusion())
    images = X.assign(scan=[np.zeros((3, 3))] * len(X))  # cells are kept
    probability = model.fit(images, Y).predict_proba(images)[:, 1]
    assert probability.mean() > fusion().fit(X, Y).predict_proba(X)[:, 1].mean() + 0.1
    for name, each in (("groups", PATIENTS), ("sample_weight", np.ones(len(X)))):
        with pytest.raises(ValueError, match=rf"{len(X)}"):
            model.fit(X, Y, **{f"latefusionclassifier__{name}": each})
    # every patient has one outcome, until SMOTE invents rows of them
    numbers = X.fillna(0).assign(patient_id=X["patient_id"].str[1:].astype(int))
    new, outcome = over.SMOTE(random_state=0).fit_resample(numbers, Y)
    assert pd.Series(Y).groupby(numbers["patient_id"]).nunique().max() == 1
    assert (pd.Series(outcome).groupby(new["patient_id"]).nunique() > 1).sum() > 10
    with pytest.raises(ValueError, match="could not convert string to float"):
        over.SMOTE(random_state=0).fit_resample(X.fillna(0), Y)


@pytest.mark.slow
def test_balanced_ensembles_are_learners_and_do_not_go_around_a_fusion():
    ensemble = pytest.importorskip("imblearn.ensemble")
    forest = ensemble.BalancedRandomForestClassifier(n_estimators=5, random_state=0)
    assert early(forest).fit(X, Y).score(X, Y) > 0.6
    bagging = ensemble.BalancedBaggingClassifier(early(forest), n_estimators=2)
    numbers = X.assign(patient_id=X["patient_id"].str[1:].astype(int))
    with pytest.raises(ValueError, match="'patient_id', which X does not have"):
        bagging.fit(numbers, Y)


@pytest.mark.slow
def test_any_name_reaches_lightgbm_unless_members_return_dataframes():
    lightgbm = pytest.importorskip("lightgbm")
    trees = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1)
    odd = {name: f'"{name}": [mg/dL], {{x}}' for name in COHORT.ehr_columns}
    table = X.rename(columns=odd)

    def modalities(**output: str) -> list[tuple[str, object, list[str]]]:
        scaler = StandardScaler().set_output(**output) if output else StandardScaler()
        columns = COHORT.image_columns, list(odd.values())
        return [(n, scaler, c) for n, c in zip(("image", "ehr"), columns, strict=True)]

    for kind in (EarlyFusionClassifier, LateFusionClassifier):
        model = kind(modalities(), estimator=trees, groups="patient_id").fit(table, Y)
        assert model.predict_proba(table)[:, 1].std() > 0
    frames = modalities(transform="pandas")
    EarlyFusionClassifier(frames, estimator=trees, groups="patient_id").fit(table, Y)
    bare = [modalities()[0], ("ehr", trees, list(odd.values()))]
    for members in (frames, bare):
        model = LateFusionClassifier(members, estimator=trees, groups="patient_id")
        with pytest.raises(lightgbm.basic.LightGBMError, match="JSON"):
            model.fit(table, Y)


@pytest.mark.slow
def test_lightgbm_learns_absent_modalities_while_it_stops_early():
    lightgbm = pytest.importorskip("lightgbm")
    trees = lightgbm.LGBMClassifier(early_stopping_round=5, n_jobs=1, verbose=-1)
    model = early(trees).fit(X, Y)
    assert model.supports_missing_ == {"image": True, "ehr": True}
    assert 0 < model.estimator_.best_iteration_ < 100


@pytest.mark.slow
def test_categories_of_catboost():
    catboost = pytest.importorskip("catboost")
    silence = {"n_estimators": 3, "verbose": 0, "allow_writing_files": False}
    listed = catboost.CatBoostClassifier(cat_features=["ward"], **silence)
    with pytest.raises(RuntimeError, match="cat_features"):
        clone(listed)
    trees = catboost.CatBoostClassifier(cat_features=("ward",), **silence)
    table = X.assign(ward=np.where(Y == 1, "A", "B"))
    table.loc[::5, "ward"] = None  # within a record
    model = LateFusionClassifier(
        [MODALITIES[0], ("ehr", trees, [*COHORT.ehr_columns, "ward"])],
        groups="patient_id",
    )
    with pytest.raises(catboost.CatBoostError, match="NaN values should be converted"):
        model.fit(table, Y)
    model.fit(table.fillna({"ward": "unknown"}), Y)
    joined = X.assign(ward=Y)
    trees.set_params(cat_features=("ehr__ward",))
    model = EarlyFusionClassifier(
        [MODALITIES[0], ("ehr", "passthrough", [*COHORT.ehr_columns, "ward"])],
        estimator=trees,
        groups="patient_id",
    )
    with pytest.raises(catboost.CatBoostError, match="must be integer or string"):
        model.fit(joined, Y)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:fairlearn")
def test_reductions_need_a_learner_that_takes_weights():
    reductions = pytest.importorskip("fairlearn.reductions")
    sex = np.repeat(["F", "M"], len(X) // 2)

    def reduced(model: object):
        constraint = reductions.DemographicParity()
        reduction = reductions.ExponentiatedGradient(model, constraint, max_iter=2)
        return reduction.fit(X, Y, sensitive_features=sex)

    with pytest.raises(TypeError, match="does not support sample_weight"):
        reduced(early(KNeighborsClassifier()))
    fair = reduced(early(LogisticRegression()))
    draws = [fair.predict(X, random_state=0) for _ in range(2)]
    assert np.array_equal(*draws)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:fairlearn")
def test_joint_fusion_inside_mapie_and_fairlearn():
    mapie = pytest.importorskip("mapie.classification")
    reductions = pytest.importorskip("fairlearn.reductions")
    pytest.importorskip("torch")
    from skfusion import JointFusionClassifier

    model = fusion(JointFusionClassifier, max_epochs=3)
    conformal = mapie.CrossConformalClassifier(model, cv=FOLDS)
    conformal.fit_conformalize(X[:200], Y[:200], groups=PATIENTS[:200])
    _, sets = conformal.predict_set(X[200:])
    assert sets[np.arange(100), Y[200:], 0].mean() > 0.7
    fair = reductions.GridSearch(model, reductions.DemographicParity(), grid_size=2)
    fair.fit(X, Y, sensitive_features=np.tile(["F", "M"], len(X) // 2))
    assert len(fair.predictors_) == 2


@pytest.mark.slow
def test_skrub_is_seeded_and_a_plan_takes_patients():
    skrub = pytest.importorskip("skrub")
    rng = np.random.default_rng(0)
    table = X.assign(text=[f"day {day} of {len(X)}" for day in rng.permutation(300)])
    table.loc[X["ehr_0"].isna(), "text"] = None
    encoder = skrub.TableVectorizer(
        high_cardinality=skrub.StringEncoder(n_components=3)
    )
    record = ("ehr", encoder, [*COHORT.ehr_columns, "text"])
    model = LateFusionClassifier(
        [MODALITIES[0], record], groups="patient_id", random_state=0
    )
    first, second = (clone(model).fit(table, Y).predict_proba(table) for _ in range(2))
    assert np.array_equal(first, second)
    plan = skrub.X(table).skb.apply(model, y=skrub.y(Y))
    given = {"groups": PATIENTS, "cv": FOLDS, "scoring": "roc_auc"}
    scores = plan.skb.cross_validate(**given)["test_score"]
    assert np.allclose(scores, cross_val_score(model, table, Y, **given))


@pytest.mark.slow
def test_tabicl_takes_no_weights(checkpoint):
    tabicl = pytest.importorskip("tabicl")
    network = tabicl.TabICLClassifier(
        n_estimators=1, model_path=checkpoint, allow_auto_download=False, device="cpu"
    )
    for model in (early(network), fusion(estimator=network)):
        probability = model.fit(X, Y).predict_proba(X)
        assert probability[:, 1].std() > 0
        with pytest.raises(TypeError, match="does not support sample_weight"):
            model.set_params(class_weight="balanced").fit(X, Y)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [False, True])
def test_joint_nets_are_the_same_in_workers_of_dask(processes):
    distributed = pytest.importorskip("distributed")
    joint = fusion(skfusion.JointFusionClassifier, max_epochs=3)
    arguments = {"groups": PATIENTS, "cv": FOLDS, "method": "predict_proba"}
    alone = cross_val_predict(joint, X, Y, **arguments)
    importlib.import_module("torch").rand(3)  # another program with torch
    workers = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": None}
    with (
        distributed.Client(processes=processes, **workers),
        joblib.parallel_config(backend="dask"),
    ):
        shared = cross_val_predict(joint, X, Y, n_jobs=3, **arguments)
    np.testing.assert_array_equal(shared, alone)
