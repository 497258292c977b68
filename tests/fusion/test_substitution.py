"""`EarlyFusion` in place of a `Pipeline` in the meta-estimators of scikit-learn.

Without absence copies, early fusion is a `ColumnTransformer` and a learner. A
meta-estimator must not tell them apart, with metadata routing on and off: the same
predictions, the same weights and groups for the learner, the same type of error.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import (
    OneVsOneClassifier,
    OneVsRestClassifier,
    OutputCodeClassifier,
)
from sklearn.multioutput import (
    ClassifierChain,
    MultiOutputClassifier,
    MultiOutputRegressor,
    RegressorChain,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils.fixes import parse_version

from skfusion import EarlyFusionClassifier, EarlyFusionRegressor
from skfusion.cohort import relative_weights

LOG: list[tuple] = []


def relative(weights):
    """Scale weights as every fit of a fusion does, here in the learners alone too."""
    if weights is None:
        return None
    return relative_weights(np.asarray(weights, dtype=np.float64), "test")


class RecordingClassifier(LogisticRegression):
    """Logistic regression that records what its fit gets."""

    def fit(self, X, y, sample_weight=None):
        sample_weight = relative(sample_weight)
        LOG.append((np.asarray(X), sample_weight, None))
        return super().fit(X, y, sample_weight)


class RecordingRegressor(Ridge):
    """Ridge regression that records what its fit gets."""

    def fit(self, X, y, sample_weight=None):
        sample_weight = relative(sample_weight)
        LOG.append((np.asarray(X), sample_weight, None))
        return super().fit(X, y, sample_weight)


class PatientClassifier(LogisticRegression):
    """Logistic regression that also takes groups."""

    def fit(self, X, y, sample_weight=None, groups=None):
        sample_weight = relative(sample_weight)
        LOG.append((np.asarray(X), sample_weight, groups))
        return super().fit(X, y, sample_weight)


class PatientRegressor(Ridge):
    """Ridge regression that also takes groups."""

    def fit(self, X, y, sample_weight=None, groups=None):
        sample_weight = relative(sample_weight)
        LOG.append((np.asarray(X), sample_weight, groups))
        return super().fit(X, y, sample_weight)


class WeightedPipeline(Pipeline):
    """Pipeline whose `fit` has the weights in its signature, as a learner has.

    Without routing, bagging and boosting look there for weights.
    """

    def fit(self, X, y=None, sample_weight=None):
        if sample_weight is None:
            return super().fit(X, y)
        with sklearn.config_context(enable_metadata_routing=True):
            request_weights(self)
            return super().fit(X, y, sample_weight=sample_weight)


def request_weights(pipeline):
    pipeline["t"].transformers[0][1].set_fit_request(sample_weight=True)
    pipeline["m"].set_fit_request(sample_weight=True)
    pipeline["m"].set_score_request(sample_weight=True)


rng = np.random.default_rng(0)
N_ROWS = 72
X = rng.normal(size=(N_ROWS, 3))
NUMBERS = X[:, 0] + X[:, 1] ** 2 + 0.3 * rng.normal(size=N_ROWS)
LABELS = (np.median(NUMBERS) < NUMBERS).astype(int)
GROUPS = np.repeat(np.arange(24), 3)
WEIGHTS = rng.uniform(0.5, 2.0, N_ROWS)
THREE = np.digitize(NUMBERS, np.quantile(NUMBERS, [0.3, 0.7]))
SOME = np.where(np.arange(N_ROWS) % 4 == 1, -1, LABELS)
TWO_LABELS = np.column_stack([LABELS, (X[:, 2] > 0).astype(int)])
TWO_NUMBERS = np.column_stack([NUMBERS, X[:, 2] ** 2])

GROUPED = GroupKFold(3)
META = {
    "pipeline": (lambda e: Pipeline([("m", e)]), LABELS),
    "grid": (lambda e: GridSearchCV(e, {}, cv=GROUPED), LABELS),
    "random": (lambda e: RandomizedSearchCV(e, {}, n_iter=1, cv=GROUPED), LABELS),
    "halving grid": (
        lambda e: HalvingGridSearchCV(
            e, {}, cv=GROUPED, min_resources=N_ROWS, random_state=0
        ),
        LABELS,
    ),
    "halving random": (
        lambda e: HalvingRandomSearchCV(
            e,
            {},
            n_candidates=1,
            cv=GROUPED,
            min_resources=N_ROWS,
            random_state=0,
        ),
        LABELS,
    ),
    "calibration": (lambda e: CalibratedClassifierCV(e, cv=3), LABELS),
    "calibration by patient": (lambda e: CalibratedClassifierCV(e, cv=GROUPED), LABELS),
    "one calibration": (
        lambda e: CalibratedClassifierCV(e, cv=3, ensemble=False),
        LABELS,
    ),
    "tuned threshold": (lambda e: TunedThresholdClassifierCV(e, cv=3), LABELS),
    "fixed threshold": (
        lambda e: FixedThresholdClassifier(
            e, threshold=0.4, response_method="predict_proba"
        ),
        LABELS,
    ),
    "stacking": (lambda e: StackingClassifier([("e", e)], cv=3), LABELS),
    "hard voting": (lambda e: VotingClassifier([("e", e), ("f", e)]), LABELS),
    "soft voting": (lambda e: VotingClassifier([("e", e)], voting="soft"), THREE),
    "bagging": (
        lambda e: BaggingClassifier(e, n_estimators=3, random_state=0),
        LABELS,
    ),
    "bagging of columns": (
        lambda e: BaggingClassifier(
            e, n_estimators=2, bootstrap=False, max_features=1.0, random_state=0
        ),
        THREE,
    ),
    "boosting": (lambda e: AdaBoostClassifier(e, n_estimators=2), LABELS),
    "one versus rest": (lambda e: OneVsRestClassifier(e), THREE),
    "one versus one": (lambda e: OneVsOneClassifier(e), THREE),
    "output code": (lambda e: OutputCodeClassifier(e, random_state=0), THREE),
    "outputs": (lambda e: MultiOutputClassifier(e), TWO_LABELS),
    "chain": (lambda e: ClassifierChain(e), TWO_LABELS),
    "self-training": (lambda e: SelfTrainingClassifier(e, max_iter=2), SOME),
    "selection": (
        lambda e: Pipeline([("s", SelectFromModel(e)), ("m", LogisticRegression())]),
        LABELS,
    ),
    "elimination": (
        lambda e: Pipeline([("s", RFE(e)), ("m", LogisticRegression())]),
        LABELS,
    ),
    "grid of calibration": (
        lambda e: GridSearchCV(CalibratedClassifierCV(e, cv=2), {}, cv=GROUPED),
        LABELS,
    ),
    "target": (
        lambda e: TransformedTargetRegressor(e, transformer=StandardScaler()),
        NUMBERS,
    ),
    "stacking numbers": (
        lambda e: StackingRegressor([("e", e)], final_estimator=Ridge(), cv=3),
        NUMBERS,
    ),
    "voting numbers": (lambda e: VotingRegressor([("e", e)]), NUMBERS),
    "bagging numbers": (
        lambda e: BaggingRegressor(e, n_estimators=3, random_state=0),
        NUMBERS,
    ),
    "outputs numbers": (lambda e: MultiOutputRegressor(e), TWO_NUMBERS),
    "chain numbers": (lambda e: RegressorChain(e), TWO_NUMBERS),
    "grid numbers": (lambda e: GridSearchCV(e, {}, cv=GROUPED), NUMBERS),
}


# Without routing, these look for weights in the signature of `fit`, AdaBoost always.
WEIGH_ROWS = {"bagging", "bagging of columns", "bagging numbers", "boosting"}
# These read `coef_`, which neither a pipeline nor a fusion has.
REFUSED = {"selection", "elimination"}


def pair(columns, *, regression, patients=False, weighted=False):
    """Return early fusion and the pipeline that is equivalent to it."""
    kind = EarlyFusionRegressor if regression else EarlyFusionClassifier
    learner = RecordingRegressor() if regression else RecordingClassifier()
    if patients:
        learner = PatientRegressor() if regression else PatientClassifier()
    transformers = [
        ("p", StandardScaler(), columns[:2]),
        ("q", "passthrough", columns[2:]),
    ]
    fusion = kind(transformers, estimator=learner, absence_copies=0, missing="error")
    steps = [("t", ColumnTransformer(transformers)), ("m", learner)]
    return fusion, clone((WeightedPipeline if weighted else Pipeline)(steps))


def both(name, *, columns=(0, 1, 2), **options):
    """Return a meta-estimator around each of the two, and its outcome."""
    make, y = META[name]
    regression = np.issubdtype(y.dtype, np.floating)
    return [make(m) for m in pair(list(columns), regression=regression, **options)], y


def both_requesting(name):
    """Return them with requests of weights and groups."""
    make, y = META[name]
    regression = np.issubdtype(y.dtype, np.floating)
    fusion, pipeline = pair([0, 1, 2], regression=regression, patients=True)
    fusion.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    request_weights(pipeline)
    pipeline["m"].set_fit_request(groups=True)
    return [make(fusion), make(pipeline)], y


def outcome(model, rows, y, **metadata):
    """Return the predictions and what the learner got, or the type of the error."""
    LOG.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(rows, y, **metadata)
            found = [np.asarray(model.predict(rows), dtype=float)]
            if hasattr(model, "predict_proba"):
                found.append(np.asarray(model.predict_proba(rows), dtype=float))
        except Exception as error:
            return type(error), []
    return found, list(LOG)


def compare(models, *arguments, **metadata):
    """Compare the outcomes and return what the learner got, or the type of error."""
    (found, got), (expected, wanted) = [
        outcome(clone(model), *arguments, **metadata) for model in models
    ]
    if isinstance(expected, type) or isinstance(found, type):
        # A search passes the error about requests on, or says that all fits failed.
        assert isinstance(found, type)
        assert isinstance(expected, type)
        assert issubclass(found, expected)
        return found
    # A fusion rounds the weights that it scales to 32 bits.
    atol = 1e-12 if all(weights is None for _, weights, _ in wanted) else 1e-8
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)
    assert len(got) == len(wanted) > 0
    for (X_got, w_got, g_got), (X_wanted, w_wanted, g_wanted) in zip(
        got, wanted, strict=True
    ):
        np.testing.assert_allclose(X_got, X_wanted, rtol=0, atol=atol)
        assert (w_got is None) == (w_wanted is None)
        if w_wanted is not None:
            np.testing.assert_allclose(w_got, w_wanted, rtol=1e-9)
        assert (g_got is None) == (g_wanted is None)
        if g_wanted is not None:  # Patients are numbered anew in a fusion.
            np.testing.assert_array_equal(
                pd.factorize(g_got)[0], pd.factorize(g_wanted)[0]
            )
    return got


def groups_for(models):
    """Return the groups where the splitter of a search needs them."""
    return {"groups": GROUPS} if "cv=GroupKFold" in repr(models[0]) else {}


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("name", META)
@pytest.mark.long
def test_predictions_are_the_same(name, routing):
    weighted = name == "boosting" or (name in WEIGH_ROWS and not routing)
    models, y = both(name, weighted=weighted)
    refused = name in REFUSED or (name == "calibration by patient" and not routing)
    with sklearn.config_context(enable_metadata_routing=routing):
        got = compare(models, X, y, **groups_for(models))
    assert isinstance(got, type) is refused


# They pass no groups on, or ask for requests of their own.
NO_GROUPS = {"stacking", "stacking numbers"}
NO_REQUESTS = {"boosting", "self-training", "grid of calibration"}
if parse_version(sklearn.__version__) >= parse_version("1.9"):
    NO_REQUESTS.add("tuned threshold")


@pytest.mark.parametrize("name", META)
@pytest.mark.long
def test_requested_weights_and_groups_reach_the_learner(name):
    with sklearn.config_context(enable_metadata_routing=True):
        models, y = both_requesting(name)
        got = compare(models, X, y, sample_weight=WEIGHTS, groups=GROUPS)
        if name in REFUSED | NO_GROUPS | NO_REQUESTS:
            assert isinstance(got, type)
        else:
            assert all(w is not None and g is not None for _, w, g in got)
        got = compare(models, X, y, sample_weight=WEIGHTS)
        if name in NO_GROUPS:
            assert all(w is not None and g is None for _, w, g in got)


# Their `fit` has no weights, or needs the names of steps.
NO_WEIGHTS = {
    "pipeline",
    "tuned threshold",
    "fixed threshold",
    "one versus rest",
    "one versus one",
    "output code",
    "chain",
    "self-training",
    "calibration by patient",
}


@pytest.mark.parametrize("name", META)
def test_weights_reach_the_learner_without_routing(name):
    models, y = both(name, weighted=True)
    got = compare(models, X, y, sample_weight=WEIGHTS, **groups_for(models))
    if name in REFUSED | NO_WEIGHTS:
        assert isinstance(got, type)
    else:
        assert all(w is not None for _, w, _ in got)


# Bagging without a request draws the rows by their weights.
TAKES_UNREQUESTED = {"bagging", "bagging of columns", "bagging numbers"}


@pytest.mark.parametrize("name", META)
def test_unrequested_weights_are_refused(name):
    with sklearn.config_context(enable_metadata_routing=True):
        models, y = both(name)
        got = compare(models, X, y, sample_weight=WEIGHTS, **groups_for(models))
    assert isinstance(got, type) is (name not in TAKES_UNREQUESTED)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("name", META)
@pytest.mark.long
def test_types_of_errors_are_the_same(name, routing):
    weighted = name == "boosting" or (name in WEIGH_ROWS and not routing)
    models, y = both(name, weighted=weighted)
    groups = groups_for(models)
    gone = y.astype(float)
    gone[0] = np.nan
    frame = pd.DataFrame(X[:, :2], columns=["a", "b"])
    by_name, _ = both(name, columns=("a", "b", "c"), weighted=weighted)
    with sklearn.config_context(enable_metadata_routing=routing):
        for broken, rows, target in (
            (models, X, gone),
            (models, X[:-1], y),
            (models, X[:, :2], y),
            (by_name, frame, y),  # No column c.
            (by_name, X, y),  # No names.
        ):
            assert isinstance(compare(broken, rows, target, **groups), type)
        if groups:
            assert isinstance(compare(models, X, y), type)
