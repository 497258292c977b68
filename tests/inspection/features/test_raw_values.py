"""Values, classes and scales of explanations by features, as a reader sees them."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from scipy.special import expit, logit, softmax
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from xgboost import XGBClassifier, XGBRegressor

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    TabularEncoder,
    explain_features,
)
from skfusion.exceptions import DataWarning
from skfusion.inspection.features.raw_values import raw_values
from skfusion.survival import EarlyFusionSurvival, LateFusionSurvival

shap = pytest.importorskip("shap", reason="the extra explain is not installed")
mpl.use("Agg")

IMAGE = ["i0", "i1", "i2"]
RECORD = ["age", "sex", "sex_at_birth", "creatinine", "smoker"]
QUICK = {"n_estimators": 5, "max_depth": 3, "n_jobs": 1, "random_state": 0}
SPLIT = 120


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    n = 160
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=IMAGE)
    X["age"] = rng.integers(20, 95, n).astype(float)
    X["sex"] = rng.choice(["f", "m"], n)
    X["sex_at_birth"] = rng.choice(["f", "m", "x"], n)
    X["creatinine"] = rng.gamma(4, 0.3, n).round(2)
    X["smoker"] = (rng.random(n) < 0.3).astype(object)
    X.loc[::9, "creatinine"] = np.nan
    X.loc[5::10, IMAGE] = np.nan
    X.loc[8::10, RECORD] = np.nan
    score = X["age"].fillna(55) / 15 + X["i0"].fillna(0) + rng.normal(size=n)
    y = np.array(["cancer", "healthy", "unsure"])[
        np.digitize(score, np.quantile(score, [1 / 3, 2 / 3]))
    ]
    return X, y


ENCODERS = {
    "tabular": TabularEncoder(),
    "scikit-learn": make_column_transformer(
        (StandardScaler(), ["age", "creatinine"]),
        (
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            ["sex", "sex_at_birth", "smoker"],
        ),
    ),
}


def fusion(strategy, encoder, **options):
    modalities = [
        ("image", make_pipeline(StandardScaler(), PCA(2)), IMAGE),
        ("ehr", ENCODERS[encoder], RECORD),
    ]
    return strategy(modalities, random_state=0, **options)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("strategy", [EarlyFusionClassifier, LateFusionClassifier])
def test_values_are_those_of_the_table(cohort, strategy, encoder):
    X, y = cohort
    two = np.where(y == "cancer", "cancer", "healthy")
    options = {} if strategy is LateFusionClassifier else {"estimator": XGBClassifier()}
    model = fusion(strategy, encoder, **options).fit(X[:SPLIT], two[:SPLIT])
    X = X[SPLIT:]
    found = explain_features(model, X, background=X, pos_label="cancer")["ehr"]
    names = [name.rpartition("__")[2] for name in found.feature_names]
    table = X.iloc[found.rows]
    there = table["age"].notna().to_numpy()
    for name in ("age", "creatinine"):
        j = names.index(name)
        np.testing.assert_array_equal(found.data[:, j], table[name])
        np.testing.assert_array_equal(
            found.display_data[:, j].astype(float), table[name]
        )
    for column, category in (
        ("sex", "f"),
        ("sex_at_birth", "x"),
        ("sex_at_birth", "m"),
    ):
        j = names.index(f"{column}_{category}")
        shown = found.display_data[there, j]
        np.testing.assert_array_equal(shown, table[column][there])
        np.testing.assert_array_equal(
            found.data[there, j], table[column][there] == category
        )


def test_what_is_no_column_keeps_its_values(cohort):
    X, y = cohort
    two = np.where(y == "cancer", "cancer", "healthy")
    model = fusion(EarlyFusionClassifier, "tabular", estimator=XGBClassifier(**QUICK))
    model.fit(X[:SPLIT], two[:SPLIT])
    found = explain_features(model, X[SPLIT:], pos_label="cancer")["image"]
    assert found.feature_names == ["pca0", "pca1", "present"]
    Z = model.estimator_input(X[SPLIT:])  # what the trees got, in float32
    names = list(model.get_feature_names_out())
    np.testing.assert_array_equal(found.data[:, 0], Z[:, names.index("image__pca0")])
    there = X[SPLIT:]["i0"].notna().to_numpy()
    shown = np.where(there, "present", "absent")
    np.testing.assert_array_equal(found.display_data[:, 2], shown)


def test_values_are_as_precise_as_the_table():
    table = pd.DataFrame({"age": [87.123456789, 50.0], "note": ["a", "b"]})
    names = np.array(["age", "pc0"], dtype=object)
    inputs = np.array([[1.5, 0.1], [-0.4, 0.2]], dtype=np.float32)
    data, display = raw_values(names, inputs, table)
    assert data[0, 0] == display[0, 0] == 87.123456789
    assert data[:, 1].tolist() == inputs[:, 1].tolist()
    texts = np.array([["a", "b"], ["c", "d"]], dtype=object)
    assert raw_values(names, texts, table[["note"]])[0].tolist() == texts.tolist()


def test_names_that_only_look_like_a_column():
    table = pd.DataFrame({"stage": [1, 2, 3], "note": ["a b", "b", "c"]})
    inputs = np.array([[0.0, 0.3, 1.2], [1.0, 0.9, -0.2], [0.0, 0.1, 0.0]])
    names = np.array(["stage_2.0", "note_b", "stage^2"])
    data, display = raw_values(names, inputs, table)
    assert display[:, 0].tolist() == ["1", "2", "3"]  # a category that is a number
    np.testing.assert_array_equal(data[:, 1:], inputs[:, 1:])  # weights of words
    # A category is only taken for one if it lies where the column has it.
    wrong, _ = raw_values(np.array(["stage_3"]), inputs[:, :1], table)
    np.testing.assert_array_equal(wrong, inputs[:, :1])


def test_missing_flags_say_what_they_are():
    table = pd.DataFrame({"sodium": [140.0, np.nan, 138.0]})
    inputs = np.array([[-0.5], [2.0], [-0.5]])  # standardised
    for name in ("sodium_missing", "missingindicator_sodium"):
        data, display = raw_values(np.array([name]), inputs, table)
        assert display[:, 0].tolist() == ["observed", "missing", "observed"]
        assert data[:, 0].tolist() == [0.0, 1.0, 0.0]


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::PendingDeprecationWarning",
    "ignore::FutureWarning",
)
@pytest.mark.parametrize("method", ["auto", "columns"])
def test_rows_without_the_modality_leave_no_empty_picture(cohort, method):
    X, y = cohort
    two = np.where(y == "cancer", "cancer", "healthy")
    model = fusion(LateFusionClassifier, "tabular").fit(X[:SPLIT], two[:SPLIT])
    part = X[SPLIT:140]
    found = explain_features(
        model, part, background=X[:20], pos_label="cancer", method=method
    )
    for name, column in (("image", "i0"), ("ehr", "age")):
        there = np.flatnonzero(part[column].notna())
        assert found[name].rows.tolist() == there.tolist()
        assert np.isfinite(found[name].values).all()
        shap.plots.bar(found[name], show=False)
        widths = [patch.get_width() for patch in pyplot.gca().patches]
        assert np.isfinite(widths).all()
        assert max(map(abs, widths)) > 0
        pyplot.close("all")
    assert found["ehr"][3:5].rows.tolist() == found["ehr"].rows[3:5].tolist()


# -- classes and scales -----------------------------------------------------------


@pytest.mark.parametrize(
    "strategy", [EarlyFusionClassifier, LateFusionClassifier, None], ids=str
)
def test_outputs_have_the_names_of_the_classes(cohort, strategy):
    X, y = cohort
    if strategy is None:
        table = X[IMAGE].fillna(0.0)
        model = GaussianNB().fit(table, y)
        found = explain_features(
            model, table[:9], modalities={"image": IMAGE}, n_background=5
        )["image"]
    else:
        learner = XGBClassifier(**QUICK)
        model = fusion(strategy, "tabular", estimator=learner).fit(X, y)
        found = explain_features(model, X[:40])["image"]
    assert found.output_names == ["cancer", "healthy", "unsure"]
    one = found[0, :, "healthy"]
    np.testing.assert_array_equal(one.values, found.values[0, :, 1])


def test_the_class_of_features_is_chosen(cohort):
    X, y = cohort
    two = np.where(y == "cancer", "cancer", "healthy")
    for learner, scale in (
        (XGBClassifier(**QUICK), "log-odds"),
        (RandomForestClassifier(5, random_state=0), "probability"),
    ):
        model = fusion(EarlyFusionClassifier, "tabular", estimator=learner).fit(X, two)
        with pytest.warns(DataWarning, match="last one in alphabetical order"):
            last = explain_features(model, X[:9])["ehr"]
        first = explain_features(model, X[:9], pos_label="cancer")["ehr"]
        assert (last.output, first.output) == (
            f"{scale} of healthy",
            f"{scale} of cancer",
        )
        np.testing.assert_allclose(first.values, -last.values)
        total = first.base_values + first.values.sum(axis=1)
        proba = model.predict_proba(X[:9])[:, 0]
        expected = proba if scale == "probability" else logit(proba)
        np.testing.assert_allclose(total, expected, atol=1e-4)
    with pytest.raises(ValueError, match="is not a class of the model"):
        explain_features(model, X[:9], pos_label="dead")


@pytest.mark.parametrize(
    ("learner", "scale", "undo"),
    [
        (XGBClassifier(**QUICK), "score before softmax", lambda s: softmax(s, axis=1)),
        (
            LogisticRegression(max_iter=1000),
            "score before softmax",
            lambda s: softmax(s, axis=1),
        ),
        (RandomForestClassifier(5, random_state=0), "probability", np.asarray),
        (GaussianNB(), "log-odds", expit),
    ],
    ids=["trees", "linear", "forest", "columns"],
)
def test_scales_of_several_classes_are_what_they_are_called(
    cohort, learner, scale, undo
):
    X, y = cohort
    table = X[["i0", "i1"]].fillna(0.0)
    model = learner.fit(
        table, np.unique(y, return_inverse=True)[1] if scale.startswith("score") else y
    )
    found = explain_features(
        model, table[:12], modalities={"image": ["i0", "i1"]}, background=table
    )["image"]
    assert found.output == scale
    total = found.base_values + found.values.sum(axis=1)
    if scale == "log-odds":  # the mean of log-odds over the background
        full = logit(model.predict_proba(table[:12]))
        np.testing.assert_allclose(total, full, atol=1e-6)
    else:
        np.testing.assert_allclose(
            undo(total), model.predict_proba(table[:12]), atol=1e-4
        )


@pytest.mark.parametrize(
    ("learner", "scale"),
    [
        (Ridge(), "prediction (unit of y)"),
        (XGBRegressor(**QUICK), "prediction (unit of y)"),
        (XGBRegressor(**QUICK, objective="count:poisson"), "log of the prediction"),
        (PoissonRegressor(), "prediction (unit of y)"),  # explained by its columns
    ],
    ids=["linear", "trees", "counts", "columns"],
)
def test_scales_of_numbers(cohort, learner, scale):
    X, _ = cohort
    model = EarlyFusionRegressor(
        [("image", StandardScaler(), IMAGE)],
        estimator=learner,
        absence_copies=0,
        random_state=0,
    )
    y = np.random.default_rng(0).poisson(3.0, len(X))
    X = X.assign(**{name: X[name].fillna(0.0) for name in IMAGE})
    model.fit(X, y)
    assert explain_features(model, X[:9], background=X[:20])["image"].output == scale
    with pytest.raises(ValueError, match="predicts numbers"):
        explain_features(model, X[:9], pos_label=1)


@pytest.mark.parametrize("strategy", [EarlyFusionSurvival, LateFusionSurvival])
def test_scale_of_risks(cohort, strategy):
    X, _ = cohort
    rng = np.random.default_rng(0)
    y = np.array(
        list(zip(rng.random(len(X)) < 0.8, rng.exponential(size=len(X)), strict=True)),
        dtype=[("event", bool), ("time", float)],
    )
    X = X.assign(i0=X["i0"].fillna(0.0), i1=0.5, i2=X["i0"].fillna(0.0) ** 2)
    model = strategy(
        [("image", StandardScaler(), ["i0"]), ("other", StandardScaler(), ["i2"])],
        cv=2,
        random_state=0,
    ).fit(X, y)
    found = explain_features(model, X[:9])["image"]
    assert found.output == "log hazard"
    np.testing.assert_array_equal(found.data[:, 0], X["i0"][:9])
