"""Labels with one value in all rows, in one fold or in one modality."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    JointFusionClassifier,
    LateFusionClassifier,
    compare_fusion,
)
from skfusion.fusion import ModelFeatures, TrainingSettings

rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(80, 2)), columns=["a", "b"])
NOISE = rng.normal(size=(80, 2))
VARYING = (X.to_numpy() + 0.5 * NOISE > 0).astype(int)
MODALITIES = [("a", StandardScaler(), ["a"]), ("b", StandardScaler(), ["b"])]
ALL_ROWS = r"label\(s\) \[1\] \(columns of y\) have one value in all 80 rows"
ONE_FIT = (
    r"In modality 'a' \(and in 'b'\): .* label\(s\) \[1\] .* in the 64 rows on which"
)


def with_label(column):
    """Return the labels with a column between the two that vary."""
    return np.column_stack([VARYING[:, 0], column, VARYING[:, 1]])


def one_case():
    return with_label((np.arange(80) == 7).astype(int))


def make(kind, **settings):
    if kind is JointFusionClassifier:
        training = TrainingSettings(validation_fraction=0)
        settings = {"max_epochs": 20, "training": training, **settings}
    elif kind is EarlyFusionClassifier:
        settings = {"estimator": LogisticRegression(), **settings}
    return kind(MODALITIES, random_state=0, **settings)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("settings", [{}, {"class_weight": "balanced"}])
@pytest.mark.parametrize(
    "kind", [EarlyFusionClassifier, LateFusionClassifier, JointFusionClassifier]
)
def test_a_label_with_one_value_is_predicted_as_this_value(kind, settings, value):
    model = make(kind, **settings)
    with pytest.warns(UserWarning, match=rf"{kind.__name__}: {ALL_ROWS}"):
        model.fit(X, with_label(np.full(80, value)))
    proba = model.predict_proba(X)
    assert (proba[:, 1] == value).all()
    assert (model.predict(X)[:, 1] == value).all()
    assert roc_auc_score(VARYING[:, 0], proba[:, 0]) > 0.6


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_the_other_labels_are_those_of_a_fit_without_it(kind):
    with pytest.warns(UserWarning, match=ALL_ROWS):
        found = make(kind).fit(X, with_label(np.zeros(80, int)))
    expected = make(kind).fit(X, VARYING)
    np.testing.assert_allclose(
        found.predict_proba(X)[:, [0, 2]], expected.predict_proba(X), atol=1e-12
    )


@pytest.mark.parametrize(
    "kind", [EarlyFusionClassifier, LateFusionClassifier, JointFusionClassifier]
)
def test_nothing_is_learned_if_all_labels_have_one_value(kind):
    with pytest.raises(ValueError, match="all 2 labels .* nothing to classify"):
        make(kind).fit(X, np.tile([0, 1], (80, 1)))


@pytest.mark.parametrize(
    "kind", [EarlyFusionClassifier, LateFusionClassifier, JointFusionClassifier]
)
def test_a_rare_label_does_not_end_a_cross_validation(kind):
    rare = one_case()
    with pytest.warns(UserWarning, match=r"label\(s\) \[1\] .* all 60 rows"):
        proba = cross_val_predict(
            make(kind), X, rare, cv=KFold(4), method="predict_proba"
        )
    assert np.isfinite(proba).all()
    assert (proba[:20, 1] == 0).all()  # fitted without the single case
    assert (proba[20:, 1] > 0).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"aggregation": "stacking"},
        {"aggregation": "weighted"},
        {"aggregation": "stacking", "estimator": RandomForestClassifier(5)},
        {"aggregation": "mean", "calibration": "isotonic"},
    ],
)
def test_a_label_that_is_constant_in_an_inner_fold(settings):
    model = make(LateFusionClassifier, **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, one_case())
    messages = [str(warning.message) for warning in caught]
    assert sum("in the 64 rows on which" in text for text in messages) == 1
    assert np.isfinite(model.predict_proba(X)).all()
    assert roc_auc_score(VARYING[:, 0], model.predict_proba(X)[:, 0]) > 0.7


def test_the_warning_names_the_modalities_and_a_remedy():
    with pytest.warns(UserWarning, match=f"{ONE_FIT}.*Use fewer folds"):
        make(LateFusionClassifier, aggregation="stacking").fit(X, one_case())


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_a_rare_label_is_not_calibrated_and_the_others_are(method):
    model = make(LateFusionClassifier, calibration=method)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, one_case())
    messages = [str(warning.message) for warning in caught]
    assert sum(r"label(s) [1], which are not calibrated" in m for m in messages) == 2
    proba = model.predict_proba(X)
    alone = make(LateFusionClassifier, calibration=method).fit(X, VARYING)
    np.testing.assert_allclose(proba[:, [0, 2]], alone.predict_proba(X), atol=1e-9)
    raw = make(LateFusionClassifier).fit(X, one_case()).predict_proba(X)
    np.testing.assert_allclose(proba[:, 1], raw[:, 1], atol=1e-12)


def test_a_constant_label_is_not_calibrated_and_warns_once():
    model = make(
        LateFusionClassifier, calibration="sigmoid", final_calibration="isotonic"
    )
    with pytest.warns(UserWarning, match=ALL_ROWS) as caught:
        model.fit(X, with_label(np.ones(80, int)))
    assert len(caught) == 1
    assert (model.predict_proba(X)[:, 1] == 1).all()


@pytest.mark.parametrize("scoring", ["roc_auc", "f1_macro"])
def test_a_scorer_of_weights_reads_the_labels_that_vary(scoring):
    settings = {"aggregation": "weighted", "weights": scoring}
    found = make(LateFusionClassifier, **settings)
    with pytest.warns(UserWarning, match=ALL_ROWS) as caught:
        found.fit(X, with_label(np.zeros(80, int)))
    assert len(caught) == 1
    expected = make(LateFusionClassifier, **settings).fit(X, VARYING)
    np.testing.assert_allclose(found.weights_, expected.weights_)


def test_a_scorer_of_the_user_reads_all_labels():
    def last(truth, predicted):
        return roc_auc_score(truth[:, 2], predicted[:, 2])

    scorer = make_scorer(last, response_method="predict_proba")
    model = make(LateFusionClassifier, aggregation="weighted", weights=scorer)
    with pytest.warns(UserWarning, match=ALL_ROWS):
        model.fit(X, with_label(np.zeros(80, int)))
    assert model.weights_[1] > model.weights_[0]  # the last label depends on "b"


@pytest.mark.filterwarnings("ignore:Only one class is present")
@pytest.mark.filterwarnings("ignore:.*have one value in all")
def test_weights_by_a_scorer_that_is_undefined():
    scorer = make_scorer(roc_auc_score, response_method="predict_proba")
    model = make(LateFusionClassifier, aggregation="weighted", weights=scorer)
    with pytest.raises(ValueError, match="gives NaN for the members' predictions"):
        model.fit(X, with_label(np.zeros(80, int)))


def test_a_label_that_is_constant_where_a_modality_is_present():
    gaps = X.copy()
    label = (np.arange(80) < 10).astype(int)
    gaps.loc[:9, "b"] = np.nan  # every case of the label lacks "b"
    model = make(LateFusionClassifier)
    with pytest.warns(UserWarning, match=r"In modality 'b': .* in the 70 rows"):
        model.fit(gaps, with_label(label))
    assert roc_auc_score(VARYING[:, 1], model.predict_proba(X)[:, 2]) > 0.7
    assert (model.predict_proba(X[["a", "b"]].assign(a=np.nan))[:, 1] == 0).all()


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
@pytest.mark.parametrize(
    "estimator",
    [
        MultiOutputClassifier(LogisticRegression()),
        make_pipeline(StandardScaler(), MultiOutputClassifier(LogisticRegression())),
        StackingClassifier([("linear", LogisticRegression())], cv=2),
    ],
)
def test_learners_of_several_outputs(kind, estimator):
    with pytest.warns(UserWarning, match=ALL_ROWS):
        found = make(kind, estimator=estimator).fit(X, with_label(np.ones(80, int)))
    assert (found.predict_proba(X)[:, 1] == 1).all()
    assert roc_auc_score(VARYING[:, 0], found.predict_proba(X)[:, 0]) > 0.7


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_a_chain_of_labels_is_one_learner(kind):
    chain = ClassifierChain(LogisticRegression())
    model = make(kind, estimator=chain).fit(X, VARYING)
    assert model.predict_proba(X).shape == (80, 2)
    assert roc_auc_score(VARYING[:, 0], model.predict_proba(X)[:, 0]) > 0.7


def test_a_frozen_learner_of_several_outputs_is_used_as_it_is():
    several = MultiOutputClassifier(LogisticRegression()).fit(X[["a"]], VARYING)
    model = LateFusionClassifier(
        [("a", FunctionTransformer(), ["a"])], estimator=FrozenEstimator(several)
    ).fit(X, 1 - VARYING)
    expected = [proba[:, 1] for proba in several.predict_proba(X[["a"]])]
    np.testing.assert_allclose(model.predict_proba(X), np.column_stack(expected))


def test_models_in_modalities_name_the_modality():
    linear = LogisticRegression()
    model = EarlyFusionClassifier(
        [("a", ModelFeatures(linear), ["a"]), MODALITIES[1]], estimator=linear
    )
    with pytest.warns(UserWarning, match=ALL_ROWS) as caught:
        model.fit(X, with_label(np.zeros(80, int)))
    assert [str(warning.message).split(": ")[0] for warning in caught] == [
        "EarlyFusionClassifier",
        "In modality 'a'",
    ]
    with pytest.warns(UserWarning, match=r"In modality 'a': ModelFeatures: .* 64 rows"):
        model.fit(X, one_case())


@pytest.mark.filterwarnings("ignore:.*have one value in all:UserWarning")
def test_a_comparison_of_labels_needs_each_value_in_each_fold():
    models = {"late": make(LateFusionClassifier)}
    with pytest.raises(ValueError, match="1 of 3 labels of y are the same in all 80"):
        compare_fusion(models, X, with_label(np.zeros(80, int)))
    with pytest.raises(ValueError, match="AUROC, mean over labels .* is nan on fold"):
        compare_fusion(models, X, one_case(), n_repeats=1)
