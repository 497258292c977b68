"""Features inside a modality against shap, formulas and enumeration."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import shap
from corner_images import SIZE, corner_cohort
from scipy.special import logit
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from xgboost import XGBClassifier, XGBRegressor

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    LateFusionRegressor,
    TabularEncoder,
    explain_features,
)
from skfusion.datasets import make_fusion_cohort
from skfusion.image import Preprocessing
from skfusion.survival import EarlyFusionSurvival, XGBoostSurvival

QUICK = {"n_estimators": 20, "max_depth": 3, "n_jobs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def cohort():
    return make_fusion_cohort(200, random_state=0)


@pytest.fixture(scope="module")
def new():
    return make_fusion_cohort(12, random_state=1).data


@pytest.fixture(scope="module")
def modalities(cohort):
    return [
        ("image", StandardScaler(), cohort.image_columns),
        ("ehr", StandardScaler(), cohort.ehr_columns),
    ]


def total(explanation):
    return explanation.base_values + explanation.values.sum(axis=1)


@pytest.mark.parametrize(
    ("learner", "scale"),
    [
        (XGBClassifier(**QUICK), logit),
        (HistGradientBoostingClassifier(max_iter=10, random_state=0), logit),
        (RandomForestClassifier(10, random_state=0), np.asarray),
    ],
)
def test_trees_agree_with_tree_shap(cohort, new, modalities, learner, scale):
    model = EarlyFusionClassifier(modalities, estimator=learner, random_state=0)
    model.fit(cohort.data, cohort.target)
    found = explain_features(model, new)
    oracle = shap.TreeExplainer(model.estimator_)(model.transform(new)).values
    oracle = oracle[..., 1] if oracle.ndim == 3 else oracle
    names = model.get_feature_names_out()
    for name, explanation in found.items():
        own = [j for j, full in enumerate(names) if full.startswith(f"{name}__")]
        assert explanation.values == pytest.approx(oracle[:, own], abs=1e-6)
        assert explanation.feature_names == [names[j].split("__", 1)[1] for j in own]
        predicted = scale(model.predict_proba(new)[:, 1])
        assert total(explanation) == pytest.approx(predicted, abs=1e-5)


def test_early_stopping_is_minded(cohort, new):
    columns = {"image": cohort.image_columns, "ehr": cohort.ehr_columns}
    X = cohort.data[cohort.image_columns + cohort.ehr_columns]
    model = XGBClassifier(
        **{**QUICK, "n_estimators": 60, "learning_rate": 1.0}, early_stopping_rounds=2
    )
    model.fit(
        X[:100],
        cohort.target[:100],
        eval_set=[(X[100:], cohort.target[100:])],
        verbose=False,
    )
    assert model.best_iteration < 50
    cases = new[X.columns]
    found = explain_features(model, cases, modalities=columns)
    predicted = logit(model.predict_proba(cases)[:, 1])
    assert total(found["ehr"]) == pytest.approx(predicted, abs=1e-5)


def test_linear_models_agree_with_linear_shap(cohort, new, modalities):
    learner = make_pipeline(StandardScaler(), LogisticRegression())
    model = EarlyFusionClassifier(modalities, estimator=learner)
    model.fit(cohort.data, cohort.target)
    found = explain_features(model, new, background=cohort.data)
    scaler, line = model.estimator_
    masker = shap.maskers.Independent(
        scaler.transform(model.transform(cohort.data)), max_samples=1000
    )
    oracle = shap.LinearExplainer(line, masker)(scaler.transform(model.transform(new)))
    both = np.hstack([found["image"].values, found["ehr"].values])
    assert both == pytest.approx(oracle.values, abs=1e-9)
    assert total(found["ehr"]) == pytest.approx(
        logit(model.predict_proba(new)[:, 1]), abs=1e-9
    )


def test_late_members_are_explained_by_themselves(cohort, new, modalities):
    model = LateFusionClassifier(
        [
            (
                modalities[0][0],
                make_pipeline(StandardScaler(), XGBClassifier(**QUICK)),
                modalities[0][2],
            ),
            modalities[1],
        ],
        calibration={"ehr": "sigmoid"},
        cv=2,
        random_state=0,
    ).fit(cohort.data, cohort.target)
    X = new.copy()
    X.loc[[1, 4], cohort.ehr_columns] = np.nan
    found = explain_features(model, X, background=cohort.data)
    image = model.encode_modalities(X)["image"][:, 1]
    assert total(found["image"]) == pytest.approx(logit(image), abs=1e-5)
    assert found["ehr"].rows.tolist() == [i for i in range(12) if i not in (1, 4)]
    assert len(found["image"]) == 12
    member = model.modalities_[1][1]  # whose answer is calibrated afterwards
    rows = [0, 2, 3]
    uncalibrated = member.predict_proba(X.iloc[rows][cohort.ehr_columns])[:, 1]
    assert total(found["ehr"][[0, 1, 2]]) == pytest.approx(
        logit(uncalibrated), abs=1e-9
    )
    assert found["ehr"].feature_names == cohort.ehr_columns


@pytest.mark.parametrize("strategy", [EarlyFusionClassifier, LateFusionClassifier])
def test_several_classes_have_an_axis_of_their_own(new, modalities, strategy):
    data = make_fusion_cohort(200, task="multiclass", random_state=0)
    learner = XGBClassifier(**QUICK)
    model = strategy(modalities, estimator=learner, random_state=0)
    model.fit(data.data, data.target)
    for name, explanation in explain_features(model, new).items():
        n_features = explanation.values.shape[1]
        assert explanation.values.shape == (12, n_features, 3)
        if strategy is LateFusionClassifier:
            proba = model.encode_modalities(new)[name]
        else:
            proba = model.predict_proba(new)
        # margins are known up to one constant a row
        gap = total(explanation) - np.log(proba)
        assert gap == pytest.approx(np.repeat(gap[:, :1], 3, axis=1), abs=1e-5)


@pytest.mark.parametrize(
    "learner",
    [
        XGBRegressor(**QUICK),
        LinearRegression(),
        RandomForestRegressor(10, random_state=0),
        PoissonRegressor(),
    ],
)
@pytest.mark.parametrize("strategy", [EarlyFusionRegressor, LateFusionRegressor])
def test_numbers_add_up(cohort, new, modalities, learner, strategy):
    y = cohort.data["ehr_0"].to_numpy() ** 2 + cohort.target
    small = [modalities[1]]
    model = strategy(small, estimator=learner, random_state=0).fit(cohort.data, y)
    found = explain_features(model, new, background=cohort.data, n_background=10)
    assert total(found["ehr"]) == pytest.approx(model.predict(new), rel=1e-5)


@pytest.mark.parametrize("loss", ["cox", "aft"])
def test_risks_add_up(cohort, new, modalities, loss):
    times = np.exp(-cohort.data["ehr_4"].to_numpy())
    y = np.array([(True, t) for t in times], dtype=[("event", bool), ("time", float)])
    learner = XGBoostSurvival(loss=loss, n_estimators=20)
    model = EarlyFusionSurvival(modalities, estimator=learner, cv=None, random_state=0)
    found = explain_features(model.fit(cohort.data, y), new)
    assert total(found["ehr"]) == pytest.approx(model.predict(new), abs=1e-4)
    assert np.abs(found["ehr"].values).mean(axis=0).argmax() == 4


@pytest.fixture(scope="module")
def mixed():
    """A joint net on an image and three columns of two kinds."""
    data = corner_cohort(32, seed=0).drop(columns="outcome")
    data["sex"] = np.random.default_rng(0).choice(["f", "m"], len(data))
    embedder = ImageEmbedder(Counting(), input_size=SIZE, trainable="head", store=None)
    model = JointFusionClassifier(
        [("scan", embedder, "scan"), ("ehr", TabularEncoder(), ["age", "crp", "sex"])],
        max_epochs=3,
        random_state=0,
    )
    return model.fit(data, np.arange(32) % 2), data


class Counting(nn.Module):
    """Counts, over all its copies, the grey images that it is shown.

    The images with which a network is tried when it is built have colours.
    """

    n_images = 0
    preprocessing = Preprocessing(32, (0.5,) * 3, (0.25,) * 3)

    def forward(self, x):
        is_grey = (x == x[:, :1]).flatten(1).all(dim=1)
        Counting.n_images += int((is_grey & (x.flatten(1).std(dim=1) > 1e-3)).sum())
        return x.mean(dim=(2, 3))


@pytest.mark.slow
def test_columns_agree_with_enumeration(mixed):
    model, data = mixed
    columns = ["age", "crp", "sex"]
    background = data.iloc[4:9]
    cases = data.iloc[:2]

    def worth(case: pd.DataFrame, known: tuple) -> float:
        rows = pd.concat([case] * len(background), ignore_index=True)
        for column in set(columns) - set(known):
            rows[column] = background[column].to_numpy()
        return logit(model.predict_proba(rows)[:, 1]).mean()

    found = explain_features(model, cases, modalities=["ehr"], background=background)
    for i in range(2):
        case = cases.iloc[[i]]
        expected = dict.fromkeys(columns, 0.0)
        for order in permutations(columns):
            for k, column in enumerate(order):
                step = worth(case, order[: k + 1]) - worth(case, order[:k])
                expected[column] += step / 6
        assert found["ehr"].values[i] == pytest.approx(
            list(expected.values()), abs=1e-5
        )
        assert found["ehr"].base_values[i] == pytest.approx(worth(case, ()), abs=1e-5)


def test_columns_encode_the_other_modalities_once(mixed):
    model, data = mixed
    Counting.n_images = 0
    explain_features(model, data[:8], modalities=["ehr"], background=data)
    assert Counting.n_images == 8


@pytest.mark.slow
def test_columns_of_a_linear_model_are_its_linear_values(cohort, new, modalities):
    learner = make_pipeline(StandardScaler(), LogisticRegression())
    for strategy in (EarlyFusionClassifier, LateFusionClassifier):
        model = strategy(modalities, estimator=learner).fit(cohort.data, cohort.target)
        options = {"modalities": ["ehr"], "background": cohort.data[:20]}
        linear = explain_features(model, new, **options)["ehr"]
        columns = explain_features(model, new, method="columns", **options)["ehr"]
        assert columns.values == pytest.approx(linear.values, abs=1e-8)
        assert columns.base_values == pytest.approx(linear.base_values, abs=1e-8)
        # sampled, because there are 40; exact still, because nothing interacts
        image = {**options, "modalities": ["image"], "background": cohort.data[:3]}
        linear = explain_features(model, new[:1], **image)["image"]
        columns = explain_features(model, new[:1], method="columns", **image)["image"]
        assert columns.values == pytest.approx(linear.values, abs=1e-7)


def test_steps_that_mix_features_fall_back_on_columns(cohort, new, modalities):
    learner = make_pipeline(PCA(3, random_state=0), LogisticRegression())
    model = EarlyFusionClassifier([modalities[1]], estimator=learner)
    model.fit(cohort.data, cohort.target)
    found = explain_features(model, new, n_background=5)["ehr"]
    assert found.feature_names == cohort.ehr_columns
    assert total(found) == pytest.approx(logit(model.predict_proba(new)[:, 1]))
    with pytest.raises(ValueError, match="method='linear' does not support"):
        explain_features(model, new, method="linear")


@pytest.mark.parametrize("options", [{"balance": "replicate"}, {"join": "gated"}])
def test_features_of_any_join_go_to_their_modality(cohort, new, modalities, options):
    learner = LogisticRegression(max_iter=1000)
    model = EarlyFusionClassifier(
        modalities, estimator=learner, random_state=0, **options
    ).fit(cohort.data, cohort.target)
    found = explain_features(model, new[:2], background=cohort.data, n_background=2)
    predicted = logit(model.predict_proba(new[:2])[:, 1])
    for name, columns in (("image", 40), ("ehr", 8)):
        assert found[name].shape[1] % columns == 0
        assert total(found[name]) == pytest.approx(predicted, abs=1e-7)


def test_any_model_of_a_table_can_be_explained(cohort, new):
    columns = {"image": cohort.image_columns[:3], "ehr": cohort.ehr_columns[:2]}
    names = [*columns["image"], *columns["ehr"]]
    X, cases = cohort.data[names], new[names]
    tree = XGBClassifier(**QUICK).fit(X, cohort.target)
    bayes = make_pipeline(
        make_column_transformer((StandardScaler(), names)), GaussianNB()
    ).fit(X, cohort.target)
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2)
    search.fit(X, cohort.target)
    for model in (tree, bayes, search):
        found = explain_features(
            model, cases, modalities=columns, background=X, n_background=10
        )
        predicted = logit(model.predict_proba(cases)[:, 1])
        assert list(found) == ["image", "ehr"]
        assert found["ehr"].feature_names == columns["ehr"]
        for explanation in found.values():
            assert total(explanation) == pytest.approx(predicted, abs=1e-5)
    array = GaussianNB().fit(X.to_numpy(), cohort.target)
    by_number = explain_features(
        array, cases.to_numpy(), modalities={"ehr": [3, 4]}, background=X.to_numpy()
    )
    assert by_number["ehr"].values.shape == (12, 2)


def test_searches_and_pipelines_around_a_fusion_are_opened(cohort, new, modalities):
    inner = EarlyFusionClassifier(
        modalities, estimator=XGBClassifier(**QUICK), random_state=0
    )
    wanted = explain_features(inner.fit(cohort.data, cohort.target), new)
    search = GridSearchCV(inner, {"estimator__max_depth": [3]}, cv=2)
    steps = make_pipeline(search).fit(cohort.data, cohort.target)
    for model in (search.fit(cohort.data, cohort.target), steps[-1]):
        found = explain_features(model, new)
        assert found["ehr"].values == pytest.approx(wanted["ehr"].values)


def test_same_seed_same_values(cohort, new, modalities):
    model = LateFusionClassifier(modalities, random_state=0)
    model.fit(cohort.data, cohort.target)
    options = {
        "modalities": ["image"],
        "method": "columns",
        "n_background": 3,
        "background": cohort.data,
    }
    first, again, other = (
        explain_features(model, new[:2], random_state=seed, **options)["image"].values
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_shap_plots_take_the_result(cohort, new, modalities):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    model = EarlyFusionClassifier(modalities, estimator=XGBClassifier(**QUICK))
    found = explain_features(model.fit(cohort.data, cohort.target), new)["ehr"]
    shap.plots.bar(found, show=False)
    shap.plots.waterfall(found[0], show=False)
    pyplot.close("all")


def test_bad_input_is_named(cohort, new, modalities):
    model = EarlyFusionClassifier(modalities, estimator=XGBClassifier(**QUICK))
    with pytest.raises(ValueError, match="not fitted yet"):
        explain_features(model, new)
    model.fit(cohort.data, cohort.target)
    with pytest.raises(ValueError, match="method must be one of"):
        explain_features(model, new, method="kernel")
    with pytest.raises(ValueError, match="'mri' is not a modality of EarlyFusion"):
        explain_features(model, new, modalities=["mri"])
    with pytest.raises(ValueError, match="needs column 'ehr_3'"):
        explain_features(model, new.drop(columns="ehr_3"))
    plain = XGBClassifier(**QUICK).fit(cohort.data[["ehr_0"]], cohort.target)
    with pytest.raises(ValueError, match="Pass modalities="):
        explain_features(plain, new[["ehr_0"]])
    with pytest.raises(ValueError, match="'ehr_9', which X does not have"):
        explain_features(plain, new[["ehr_0"]], modalities={"ehr": ["ehr_9"]})
    late = LateFusionClassifier(modalities).fit(cohort.data, cohort.target)
    empty = new.copy()
    empty[cohort.ehr_columns] = np.nan
    with pytest.raises(ValueError, match="'ehr' is absent in all 12 rows"):
        explain_features(late, empty)
