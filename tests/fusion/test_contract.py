"""What early, late and joint fusion promise alike, on images and EHR columns."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedGroupKFold,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    JointFusionClassifier,
    JointFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
)

# How the strategies are kept from training with modalities left out.
NEVER_ABSENT = {"Early": {"absence_copies": 0.0}, "Joint": {"modality_dropout": 0.0}}
CLASSIFIERS = (EarlyFusionClassifier, LateFusionClassifier, JointFusionClassifier)
REGRESSORS = (EarlyFusionRegressor, LateFusionRegressor, JointFusionRegressor)
ALL = (*CLASSIFIERS, *REGRESSORS)


def outputs(model, X):
    return model.predict_proba(X) if hasattr(model, "classes_") else model.predict(X)


@pytest.mark.parametrize("kind", ALL)
def test_prediction_of_a_row_does_not_depend_on_the_others(kind, cohort, make):
    model = make(kind).fit(cohort.X, cohort.y)
    whole = outputs(model, cohort.X)
    order = np.random.default_rng(1).permutation(len(cohort.y))
    shuffled = outputs(model, cohort.X.iloc[order])
    np.testing.assert_allclose(shuffled, whole[order], rtol=1e-4, atol=1e-5)
    single = outputs(model, cohort.X.iloc[[7]])
    np.testing.assert_allclose(single, whole[[7]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ALL)
def test_same_seed_same_model_and_pickle_keeps_it(kind, cohort, make):
    first = make(kind).fit(cohort.X, cohort.y)
    second = clone(first).fit(cohort.X, cohort.y)
    expected = outputs(first, cohort.X)
    np.testing.assert_array_equal(outputs(second, cohort.X), expected)
    restored = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(outputs(restored, cohort.X), expected)


@pytest.mark.parametrize("kind", ALL)
def test_absent_modalities_in_fit_and_prediction(kind, cohort, make):
    X = cohort.X.copy()
    X.loc[::5, "scan"] = None
    X.loc[1::10, ["age", "sex"]] = [np.nan, None]
    X.loc[35, ["scan", "age", "sex"]] = [None, np.nan, None]
    model = make(kind)
    with pytest.warns(UserWarning, match="drops 1 of 48 rows, which have no modality"):
        model.fit(X, cohort.y)
    presence = model.presence(X)
    assert list(presence.columns) == ["cxr", "ehr"]
    assert presence["cxr"].sum() == X["scan"].notna().sum()
    assert presence["ehr"].sum() == X["age"].notna().sum()
    usable = X.drop(index=35)
    assert np.isfinite(outputs(model, usable)).all()
    with pytest.warns(UserWarning, match="1 of 48 rows have no modality at all"):
        everything = outputs(model, X)
    assert np.isfinite(everything).all()
    np.testing.assert_allclose(
        np.delete(everything, 35, axis=0), outputs(model, usable), atol=1e-6
    )


@pytest.mark.filterwarnings("ignore:.*but never in the training data")
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_case_with_nothing_gets_the_class_shares(kind, cohort, make):
    y = np.where(np.arange(48) % 4 == 0, 1, 0)
    model = make(kind).fit(cohort.X, y)
    nothing = cohort.X.iloc[[0]].assign(scan=None, age=np.nan, sex=None)
    with pytest.warns(UserWarning, match="no modality at all"):
        np.testing.assert_allclose(model.predict_proba(nothing), [[0.75, 0.25]])


@pytest.mark.parametrize("kind", ALL)
def test_missing_error_names_modality_and_rows(kind, cohort, make):
    X = cohort.X.copy()
    X.loc[[3, 9], "scan"] = None
    with pytest.raises(
        ValueError, match=r"2 of 48 rows lack.*cxr absent in 2.*\[3, 9\]"
    ):
        make(kind, missing="error").fit(X, cohort.y)
    model = make(kind, missing="error").fit(cohort.X, cohort.y)
    with pytest.raises(ValueError, match="cxr absent in 2"):
        model.predict(X)


@pytest.mark.parametrize("kind", ALL)
def test_complete_case_counts_who_is_lost(kind, cohort, make):
    X = cohort.X.copy()
    X.loc[[3, 9], "scan"] = None
    model = make(kind, missing="complete_case")
    with pytest.warns(UserWarning, match=r"drops 2 of 48 rows.*cxr absent in 2"):
        model.fit(X, cohort.y)
    # with every absence refused there is none to learn either
    kept = make(kind, missing="error")
    kept.fit(X.drop(index=[3, 9]), np.delete(cohort.y, [3, 9]))
    np.testing.assert_allclose(outputs(model, cohort.X), outputs(kept, cohort.X))


@pytest.mark.parametrize("kind", ALL)
def test_unreadable_images_become_absent(kind, cohort, make, tmp_path):
    X = cohort.X.copy()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    X.at[4, "scan"] = str(broken)
    with pytest.raises(ValueError, match=r"(?s)cxr.*scan.*row position 4"):
        make(kind).fit(X, cohort.y)
    lenient = make(kind).set_params(cxr__on_error="missing")
    with pytest.warns(UserWarning, match="cannot be read"):
        lenient.fit(X, cohort.y)
    with pytest.warns(UserWarning, match="cannot be read"):
        unread = outputs(lenient, X)
    absent = X.copy()
    absent.at[4, "scan"] = None
    np.testing.assert_allclose(unread, outputs(lenient, absent), atol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_encoded_modalities_give_the_same_prediction(kind, cohort, make):
    X = cohort.X.copy()
    X.loc[::5, "scan"] = None
    model = make(kind).fit(X, cohort.y)
    encoded = model.encode_modalities(X)
    assert list(encoded) == ["cxr", "ehr"]
    assert np.isnan(encoded["cxr"][::5]).all()
    np.testing.assert_allclose(
        model.predict_encoded(encoded), outputs(model, X), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", ALL)
def test_transform_has_names_and_set_output(kind, cohort, make):
    model = make(kind).set_output(transform="pandas")
    features = model.fit(cohort.X, cohort.y).transform(cohort.X)
    assert isinstance(features, pd.DataFrame)
    assert list(features.columns) == list(model.get_feature_names_out())
    assert all(re.match("(cxr|ehr)__", name) for name in features.columns)
    assert features.index.equals(cohort.X.index)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_string_labels_and_three_classes(kind, cohort, make):
    y = np.asarray(["benign", "malignant", "unsure"])[np.arange(48) % 3]
    model = make(kind).fit(cohort.X, y)
    assert list(model.classes_) == ["benign", "malignant", "unsure"]
    proba = model.predict_proba(cohort.X)
    assert proba.shape == (48, 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    expected = model.classes_[proba.argmax(axis=1)]
    np.testing.assert_array_equal(model.predict(cohort.X), expected)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_class_weight_moves_the_probabilities(kind, cohort, make):
    y = np.where(np.arange(48) % 4 == 0, "rare", "common")
    # copies would let trees learn these labels, which are noise, by heart
    settings = NEVER_ABSENT.get(kind.__name__[:5], {})
    means = [
        make(kind, class_weight=weight, **settings)
        .fit(cohort.X, y)
        .predict_proba(cohort.X)[:, 1]
        .mean()
        for weight in (None, "balanced", {"rare": 30.0})
    ]
    assert means[0] + 0.02 < means[1] < means[2]


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_class_weight_equals_the_same_sample_weight(kind, cohort, make):
    y = np.where(np.arange(48) % 4 == 0, 1, 0)
    by_class = make(kind, class_weight={1: 3.0}).fit(cohort.X, y)
    weights = np.where(y == 1, 3.0, 1.0)
    by_row = make(kind).fit(cohort.X, y, sample_weight=weights)
    np.testing.assert_allclose(
        by_class.predict_proba(cohort.X), by_row.predict_proba(cohort.X), atol=1e-7
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_grid_search_over_modality_parameters_in_two_processes(kind, cohort, make):
    name = "max_epochs" if kind.__name__.startswith("Joint") else "class_weight"
    values = [2, 3] if name == "max_epochs" else [None, "balanced"]
    grid = {"cxr__pooling": ["mean"], "ehr__scale": [True, False], name: values}
    scores = []
    for n_jobs in (1, 2):
        search = GridSearchCV(
            make(kind), grid, cv=StratifiedGroupKFold(3), n_jobs=n_jobs
        ).fit(cohort.X, cohort.y, groups=cohort.groups)
        scores.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*scores)
    assert search.best_estimator_.modalities_[0][0] == "cxr"


@pytest.mark.parametrize("kind", ALL)
def test_cross_validate_and_pipeline(kind, cohort, make):
    pipeline = make_pipeline(FunctionTransformer(), make(kind))
    result = cross_validate(
        pipeline, cohort.X, cohort.y, cv=GroupKFold(3), groups=cohort.groups
    )
    assert np.isfinite(result["test_score"]).all()


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_calibrated_classifier(kind, cohort, make):
    calibrated = CalibratedClassifierCV(make(kind), cv=3)
    proba = calibrated.fit(cohort.X, cohort.y).predict_proba(cohort.X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)


@pytest.mark.parametrize("kind", ALL)
def test_groups_are_routed_with_and_without_routing(kind, cohort, make):
    X = cohort.X.drop(columns="patient_id")
    by_column = make(kind).fit(cohort.X, cohort.y)
    by_argument = make(kind, groups=None).fit(X, cohort.y, groups=cohort.groups)
    expected = outputs(by_column, cohort.X)
    np.testing.assert_allclose(outputs(by_argument, X), expected)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(FunctionTransformer(), make(kind, groups=None))
        routed.fit(X, cohort.y, groups=cohort.groups)
        np.testing.assert_allclose(outputs(routed[-1], X), expected)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_routing_takes_groups_and_weights_through_a_search(kind, cohort, make):
    X = cohort.X.drop(columns="patient_id")
    with sklearn.config_context(enable_metadata_routing=True):
        model = make(kind, groups=None).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=False)
        search = GridSearchCV(model, {"missing": ["auto"]}, cv=StratifiedGroupKFold(3))
        weights = np.ones(len(X))
        search.fit(X, cohort.y, groups=cohort.groups, sample_weight=weights)
    assert np.isfinite(search.best_score_)


@pytest.mark.parametrize("kind", ALL)
def test_html_and_text_repr_show_the_modalities(kind, cohort, make):
    model = make(kind)
    assert "ImageEmbedder" in repr(model)
    for state in (model, clone(model).fit(cohort.X, cohort.y)):
        page = state._repr_html_()
        assert kind.__name__ in page
        for text in ("cxr", "ehr", "ImageEmbedder", "TabularEncoder"):
            assert text in page


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.long
def test_auto_finds_images_and_leaves_identifiers_out(kind, cohort, make):
    model = make(kind, modalities="auto")
    model.fit(cohort.X, cohort.y)
    assert [(name, columns) for name, _, columns in model.modalities_] == [
        ("scan", "scan"),
        ("ehr", ["age", "sex"]),
    ]
    with pytest.warns(UserWarning, match=r"leaves out the identifier.*patient_id"):
        make(kind, modalities="auto", groups=None).fit(
            cohort.X, cohort.y, groups=cohort.groups
        )


@pytest.mark.parametrize("kind", ALL)
def test_prediction_needs_only_the_columns_of_the_modalities(kind, cohort, make):
    model = make(kind).fit(cohort.X, cohort.y)
    reordered = cohort.X[["sex", "scan", "age"]].assign(site="a")
    np.testing.assert_allclose(outputs(model, reordered), outputs(model, cohort.X))


@pytest.mark.parametrize("kind", ALL)
def test_fitted_models_declare_which_absence_they_bear(kind, cohort, make):
    gaps = cohort.X.copy()
    gaps.loc[::5, "scan"] = None
    learned = make(kind).fit(gaps, cohort.y).supports_missing_
    assert learned["cxr"] is True
    settings = NEVER_ABSENT.get(kind.__name__[:5], {})
    complete = make(kind, **settings).fit(cohort.X, cohort.y).supports_missing_
    assert complete == dict.fromkeys(["cxr", "ehr"], kind.__name__.startswith("Late"))
    strict = make(kind, missing="error").fit(cohort.X, cohort.y).supports_missing_
    assert strict == {"cxr": False, "ehr": False}
