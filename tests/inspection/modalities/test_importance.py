"""The games through early, late and joint fusion: truths, absences, encoding once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from known_models import noise_image_cohort
from scipy.special import logit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    PolynomialFeatures,
    StandardScaler,
)

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    ImageEmbedder,
    JointFusionClassifier,
    JointFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
    ModalityImportance,
)
from skfusion.image import Preprocessing
from skfusion.survival import (
    EarlyFusionSurvival,
    JointFusionSurvival,
    LateFusionSurvival,
)

RAW = FunctionTransformer()
TWO = [("image", RAW, ["a", "b"]), ("ehr", RAW, ["c", "d"])]
JOINT = {"max_epochs": 25, "hidden_dims": (16, 16), "random_state": 0}


def cohort(n_cases=400, seed=0, formula=None):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n_cases, 4)), columns=list("abcd"))
    margin = 2 * X["a"] + X["c"] if formula is None else formula(X)
    y = (rng.random(n_cases) < 1 / (1 + np.exp(-margin))).astype(int)
    return X, y.to_numpy() if hasattr(y, "to_numpy") else y


def fusions(modalities=TWO, **joint):
    linear = make_pipeline(StandardScaler(), LogisticRegression())
    return {
        "early": EarlyFusionClassifier(modalities, estimator=linear),
        "late": LateFusionClassifier(
            modalities, estimator=linear, aggregation="product"
        ),
        "joint": JointFusionClassifier(modalities, **{**JOINT, **joint}),
    }


STRATEGIES = ["early", "late", "joint"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_predictions_are_explained_and_add_up(strategy):
    X, y = cohort()
    model = fusions()[strategy].fit(X[:300], y[:300])
    importance = ModalityImportance(model, background=X[:300], n_background=40)
    found = importance.explain(X[300:], y[300:])
    p = model.predict_proba(X[300:])[:, 1]
    np.testing.assert_allclose(found.predictions, np.log(p / (1 - p)), atol=1e-10)
    assert (found.modalities, found.output) == (("image", "ehr"), "log-odds of 1")
    assert found.share()["share"]["image"] == pytest.approx(2 / 3, abs=0.12)
    score = importance.score(X[300:], y[300:])
    assert score.coalition_scores["image + ehr"] == pytest.approx(
        roc_auc_score(y[300:], p), abs=1e-12
    )
    assert score.low[0] > 0.1


@pytest.mark.parametrize("options", [{"join": "pool"}, {"balance": "replicate"}])
def test_joins_of_early_fusion_are_explained(options):
    X, y = cohort()
    model = EarlyFusionClassifier(TWO, estimator=LogisticRegression(), **options)
    model.fit(X[:300], y[:300])
    found = ModalityImportance(model, background=X[:300]).explain(X[300:])
    p = model.predict_proba(X[300:])[:, 1]
    np.testing.assert_allclose(found.predictions, np.log(p / (1 - p)), atol=1e-10)
    assert (found.share()["share"] > 0.1).all()


@pytest.mark.parametrize("strategy", ["early", "late"])
def test_log_odds_that_add_up_do_not_interact(strategy):
    X, y = cohort()
    model = fusions()[strategy].fit(X[:300], y[:300])
    importance = ModalityImportance(model, background=X[:300], n_background=40)
    assert importance.explain(X[300:]).interaction_share() < 1e-12


def test_late_mean_of_probabilities_does_not_interact_as_probabilities():
    X, y = cohort()
    model = LateFusionClassifier(TWO).fit(X[:300], y[:300])
    proba = ModalityImportance(
        model, background=X[:300], n_background=40, output="proba"
    ).explain(X[300:])
    assert proba.interaction_share() < 1e-12  # no warning of what is not there


@pytest.mark.slow
def test_exclusive_or_is_an_interaction():
    # what the image says depends on the record, and each alone says nothing
    def xor(X):
        return 6 * np.sign(X["a"] * X["c"])

    X, y = cohort(2000, formula=xor)
    models = {
        "early": EarlyFusionClassifier(TWO, random_state=0),
        "joint": JointFusionClassifier(
            TWO, max_epochs=40, hidden_dims=(32, 32), random_state=0
        ),
    }
    for model in models.values():
        model.fit(X[:1500], y[:1500])
        importance = ModalityImportance(model, background=X[:1500])
        found = importance.explain(X[1500:])
        assert found.interaction_share() >= 0.93
        score = importance.score(X[1500:], y[1500:])
        assert (score.low > 0.1).all()
        assert abs(score.coalition_scores["image"] - 0.5) < 0.08


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.long
def test_noise_image_adds_nothing(strategy):
    X, y, images, records = noise_image_cohort(1600, 0, n_image=64)
    modalities = [("image", RAW, images), ("ehr", RAW, records)]
    model = fusions(modalities)[strategy].fit(X[:800], y[:800])
    importance = ModalityImportance(model, background=X[:800], n_background=50)
    score = importance.score(X[800:], y[800:])
    assert score.estimate[0] <= (0.01 if strategy == "late" else 0.02)
    assert score.low[1] > 0.15
    assert importance.explain(X[800:]).share()["share"]["image"] < 0.5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_modality_that_is_not_used_gets_nothing(strategy):
    X, y = cohort()
    X["constant"] = 1.0
    third = [*TWO, ("empty", RAW, ["constant"])]
    model = fusions(third)[strategy].fit(X[:300], y[:300])
    found = ModalityImportance(model, background=X[:300], n_background=20).explain(
        X[300:]
    )
    assert np.abs(found.values[:, 2]).max() < 1e-12


# -- absences ---------------------------------------------------------------------


def test_absent_modalities_are_explained():
    X, y = cohort(600)
    X.loc[::5, ["a", "b"]] = np.nan
    X.loc[1::7, ["c", "d"]] = np.nan
    X = X[X.notna().any(axis=1)]
    y = y[X.index]
    model = LateFusionClassifier(
        TWO, estimator=LogisticRegression(), aggregation="product"
    ).fit(X[:400], y[:400])
    found = ModalityImportance(model, background=X[:400]).explain(X[400:])
    assert found.presence.equals(model.presence(X[400:]))
    p = model.predict_proba(X[400:])[:, 1]
    np.testing.assert_allclose(found.predictions, np.log(p / (1 - p)), atol=1e-10)
    assert found.presence.index.equals(X.index[400:])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_native_removal_leaves_modalities_out(strategy):
    X, y = cohort()
    model = fusions()[strategy]
    if strategy == "early":
        model.set_params(absence_copies=0.3)
    model.fit(X[:300], y[:300])
    found = ModalityImportance(model, removal="native").explain(X[300:])
    alone = X[300:].copy()
    alone[["c", "d"]] = np.nan
    p = model.predict_proba(alone)[:, 1]
    np.testing.assert_allclose(
        found.coalition_values[:, 1], np.log(p / (1 - p)), atol=1e-6
    )
    np.testing.assert_allclose(
        found.base_values, np.log(y[:300].mean() / (1 - y[:300].mean())), atol=1e-6
    )


def test_native_removal_is_refused_where_it_was_never_learned():
    X, y = cohort()
    models = [
        EarlyFusionClassifier(TWO, absence_copies=0, random_state=0),
        JointFusionClassifier(TWO, modality_dropout=0.0, **JOINT),
        LateFusionClassifier(TWO, missing="error"),
    ]
    for model in models:
        importance = ModalityImportance(model.fit(X, y), removal="native")
        with pytest.raises(
            ValueError, match=r"never trained with \['image', 'ehr'\] absent"
        ):
            importance.explain(X)


# -- other tasks and shapes -------------------------------------------------------


@pytest.mark.parametrize("n_modalities", [1, 2, 3, 7])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_any_number_of_modalities(strategy, n_modalities):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 7)), columns=list("abcdefg"))
    y = (X.sum(axis=1) > 0).astype(int)
    modalities = [(f"m{j}", RAW, ["abcdefg"[j]]) for j in range(n_modalities)]
    model = fusions(modalities, max_epochs=3)[strategy].fit(X[20:], y[20:])
    found = ModalityImportance(model, n_background=5).explain(X[:20])
    p = model.predict_proba(X[:20])[:, 1]
    np.testing.assert_allclose(found.predictions, np.log(p / (1 - p)), atol=1e-9)
    assert found.values.shape == (20, n_modalities)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_several_classes(strategy):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(600, 4)), columns=list("abcd"))
    y = np.array(["x", "y", "z"])[
        np.digitize(X["a"] + X["c"] + rng.normal(size=600), [-0.6, 0.6])
    ]
    model = fusions()[strategy].fit(X[:400], y[:400])
    importance = ModalityImportance(model, background=X[:400], n_background=30)
    found = importance.explain(X[400:])
    assert found.classes == ("x", "y", "z")
    proba = model.predict_proba(X[400:])
    np.testing.assert_allclose(found.predictions, logit(proba), atol=1e-8)
    score = importance.score(X[400:], y[400:])
    assert score.coalition_scores["image + ehr"] == pytest.approx(
        roc_auc_score(y[400:], proba, multi_class="ovr")
    )
    assert (score.low > 0.05).all()


@pytest.mark.parametrize(
    "model",
    [
        EarlyFusionRegressor(TWO, estimator=Ridge()),
        LateFusionRegressor(TWO, aggregation="stacking", cv=2),
        JointFusionRegressor(TWO, **JOINT),
    ],
    ids=STRATEGIES,
)
def test_numbers(model):
    X, _ = cohort()
    y = (2 * X["a"] + X["c"]).to_numpy()
    importance = ModalityImportance(model.fit(X[:300], y[:300]), background=X[:300])
    found = importance.explain(X[300:])
    np.testing.assert_allclose(found.predictions, model.predict(X[300:]), atol=1e-8)
    assert found.share()["share"]["image"] == pytest.approx(2 / 3, abs=0.1)
    score = importance.score(X[300:], y[300:], n_resamples=50)
    assert score.scoring == "R²"
    assert score.low[0] > score.high[1]


@pytest.mark.parametrize(
    ("model", "scale"),
    [
        (EarlyFusionSurvival(TWO, cv=None, random_state=0), "log hazard"),
        (LateFusionSurvival(TWO, cv=2, random_state=0), "standardised risk"),
        (JointFusionSurvival(TWO, **JOINT), "negative mean time to the event"),
    ],
    ids=STRATEGIES,
)
@pytest.mark.long
def test_risks(model, scale):
    pytest.importorskip("sksurv")
    X, _ = cohort()
    time = np.exp(-(2 * X["a"] + X["c"]).to_numpy() / 2)
    event = np.random.default_rng(1).random(400) < 0.8
    y = np.array(
        list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)]
    )
    importance = ModalityImportance(model.fit(X[:300], y[:300]), background=X[:300])
    found = importance.explain(X[300:], y[300:])
    np.testing.assert_allclose(found.predictions, model.predict(X[300:]), atol=1e-8)
    assert found.output == scale
    if not isinstance(model, LateFusionSurvival):  # whose members count the same
        assert found.share()["share"]["image"] > 0.5
    score = importance.score(X[300:], y[300:], n_resamples=30)
    assert score.coalition_scores["none"] == 0.5
    assert score.estimate[0] > score.estimate[1] > 0


def test_labels():
    X, _ = cohort(600)
    y = np.column_stack([X["a"] > 0, X["c"] > 0]).astype(int)
    model = EarlyFusionClassifier(TWO, estimator=LogisticRegression())
    importance = ModalityImportance(model.fit(X[:400], y[:400]), background=X[:400])
    found = importance.explain(X[400:])
    p = model.predict_proba(X[400:])
    np.testing.assert_allclose(found.predictions, np.log(p / (1 - p)), atol=1e-6)
    per_label = found.share(per_class=True)
    assert per_label.loc[(0, "image"), "share"] > 0.8
    assert per_label.loc[(1, "ehr"), "share"] > 0.8
    score = importance.score(X[400:], y[400:])
    assert score.estimate.sum() == pytest.approx(0.5, abs=0.02)
    with pytest.raises(ValueError, match="does not support multilabel outcomes"):
        importance.score(X[400:], y[400:], scoring="accuracy")


def test_search_around_a_fusion():
    X, y = cohort()
    search = GridSearchCV(
        LateFusionClassifier(TWO), {"aggregation": ["mean", "max"]}, cv=2
    ).fit(X[:300], y[:300])
    found = ModalityImportance(search, background=X[:300]).explain(X[300:])
    inner = ModalityImportance(search.best_estimator_, background=X[:300])
    np.testing.assert_array_equal(found.values, inner.explain(X[300:]).values)


def test_pipeline_that_ends_in_a_fusion():
    X, y = cohort()
    step = FunctionTransformer(lambda frame: frame.assign(a=frame["a"] * 2))
    model = make_pipeline(step, LateFusionClassifier(TWO)).fit(X[:300], y[:300])
    found = ModalityImportance(model, background=X[:300]).explain(X[300:])
    p = model.predict_proba(X[300:])[:, 1]
    np.testing.assert_allclose(found.predictions, np.log(p / (1 - p)), atol=1e-9)


def test_frames_of_polars():
    polars = pytest.importorskip("polars")
    X, y = cohort()
    model = LateFusionClassifier(TWO).fit(X[:300], y[:300])
    importance = ModalityImportance(model, background=X[:300])
    found = importance.explain(polars.from_pandas(X[300:])).values
    np.testing.assert_array_equal(found, importance.explain(X[300:]).values)


def test_single_modality():
    X, y = cohort()
    model = EarlyFusionClassifier(
        [("all", PolynomialFeatures(), list("abcd"))], estimator=LogisticRegression()
    ).fit(X[:300], y[:300])
    importance = ModalityImportance(model, background=X[:300])
    found = importance.explain(X[300:])
    assert found.share()["share"].to_dict() == {"all": 1.0}
    assert found.interaction_share() == 0.0
    assert importance.score(X[300:], y[300:]).estimate[0] > 0.2


# -- encoding once ----------------------------------------------------------------


class Counting(torch.nn.Module):
    """A net that counts the images it is shown."""

    seen = 0
    preprocessing = Preprocessing(32, (0.5,) * 3, (0.25,) * 3)

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 5, stride=4)
        self.last = torch.nn.Conv2d(4, 4, 3)

    def forward(self, x):
        Counting.seen += len(x)
        return self.last(torch.relu(self.first(x)))


def image_cohort(n_cases=60):
    rng = np.random.default_rng(0)
    y = np.arange(n_cases) % 2
    images = rng.integers(0, 200, (n_cases, 32, 32)) + 50 * y[:, None, None]
    return (
        pd.DataFrame(
            {"scan": list(images.astype(np.uint8)), "age": rng.normal(60, 9, n_cases)}
        ),
        y,
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("n_background", [5, 30])
@pytest.mark.long
def test_each_image_is_encoded_once(strategy, n_background):
    X, y = image_cohort()
    torch.manual_seed(0)
    embedder = ImageEmbedder(Counting(), input_size=32, trainable="all", store=None)
    modalities = [("scan", embedder, "scan"), ("age", StandardScaler(), ["age"])]
    model = fusions(modalities, max_epochs=1)[strategy]
    model.fit(X[:40], y[:40])
    Counting.seen = 0
    model.encode_modalities(X[:1])
    probes = Counting.seen - 1  # which find out what shape the embedding has
    Counting.seen = 0
    importance = ModalityImportance(model, background=X[:40], n_background=n_background)
    found = importance.explain(X[40:])
    assert Counting.seen == 20 + n_background + 2 * probes
    # the same as asking the model about mixed rows of the table, as far as float32 goes
    others = importance._prepare(X[40:])[0].background
    assert len(others["scan"]) == n_background
    rng = np.random.RandomState(0)
    drawn = X[:40].iloc[np.sort(rng.choice(40, n_background, replace=False))]
    Counting.seen = 0
    for i in range(3):
        mixed = drawn.assign(age=X["age"].iloc[40 + i])
        p = model.predict_proba(mixed)[:, 1]
        assert found.coalition_values[i, 2] == pytest.approx(
            np.log(p / (1 - p)).mean(), abs=1e-5
        )
    assert Counting.seen == 3 * (n_background + probes)


def test_missing_column():
    X, y = cohort()
    model = LateFusionClassifier(TWO).fit(X, y)
    with pytest.raises(ValueError, match="modality 'ehr' needs column 'd'"):
        ModalityImportance(model).explain(X.drop(columns="d"))


def test_unfitted():
    from sklearn.exceptions import NotFittedError

    X, _ = cohort()
    with pytest.raises(NotFittedError):
        ModalityImportance(LateFusionClassifier(TWO)).explain(X)


def test_early_learner_without_probabilities():
    from sklearn.svm import LinearSVC

    X, y = cohort()
    model = EarlyFusionClassifier(TWO, estimator=LinearSVC()).fit(X[:300], y[:300])
    with pytest.raises(TypeError, match="CalibratedClassifierCV"):
        ModalityImportance(model).explain(X[300:])
