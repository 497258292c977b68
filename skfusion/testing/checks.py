"""The contract of the fusion estimators, one check a promise.

Every check takes a `CheckedCohort` and raises an AssertionError that says what was
promised. It raises `unittest.SkipTest` if the estimator does not offer the part that it
checks.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import SkipTest

import numpy as np
import pandas as pd
import sklearn
from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.validation import has_fit_parameter

from skfusion.testing.cohorts import (
    EHR,
    IMAGE,
    PATIENT,
    CheckedCohort,
    fitted,
    output_of,
    prepared,
)
from skfusion.testing.witnesses import FailingScaler, Memoriser, PatientWitness

__all__ = ["CHECKS"]


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Raise an AssertionError if arrays differ by more than rounding.

    Networks compute in float32, and the order of the rows changes their rounding.
    """
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def check_modalities_are_parameters(cohort: CheckedCohort) -> None:
    """Check that transformers are parameters by the name of their modality."""
    model = clone(cohort.estimator)
    params = model.get_params()
    for name, transformer, _ in model.modalities:
        assert params.get(name) is transformer, f"get_params() lacks {name!r}"
    name, transformer, _ = model.modalities[0]
    nested = [key for key in transformer.get_params() if f"{name}__{key}" in params]
    assert len(nested) == len(transformer.get_params()), f"get_params() lacks {name}__*"
    other = StandardScaler(with_mean=False)
    assert model.set_params(**{name: other}) is model, "set_params must return self"
    assert model.modalities[0][1] is other, f"set_params({name}=) has no effect"


def check_fit_changes_no_argument(cohort: CheckedCohort) -> None:
    """Check that `fit` and the predictions change neither parameters nor the data."""
    model = clone(cohort.estimator)
    before = model.get_params()
    X, y = cohort.X.copy(), cohort.y.copy()
    given = {} if cohort.patients is None else {"groups": cohort.patients.copy()}
    if not has_fit_parameter(model, "groups"):
        given = {}
    model.fit(X, y, **given)
    output_of(model, X)
    pd.testing.assert_frame_equal(X, cohort.X)
    np.testing.assert_array_equal(y, cohort.y)
    after = model.get_params()
    assert before.keys() == after.keys(), "fit changes the names of the parameters"
    for name, value in before.items():
        same = after[name] is value or repr(after[name]) == repr(value)
        assert same, f"fit changes the parameter {name!r}"
    for _, transformer, _ in model.modalities:
        fitted_names = [key for key in vars(transformer) if key.endswith("_")]
        assert not fitted_names, "fit fits the user's transformer, not a clone"


def check_rows_are_independent(cohort: CheckedCohort) -> None:
    """Check that the prediction of a row does not depend on the other rows."""
    X = with_gaps(cohort.X)
    model = fitted(cohort)
    whole = output_of(model, X)
    order = np.random.default_rng(1).permutation(len(X))
    assert_close(output_of(model, X.iloc[order]), whole[order])
    for row in (0, 1, 2, 7):
        assert_close(output_of(model, X.iloc[[row]]), whole[[row]])


def check_labels_of_rows_and_columns(cohort: CheckedCohort) -> None:
    """Check that labels of rows and the order of columns have no effect."""
    model = fitted(cohort)
    expected = output_of(model, cohort.X)
    other = cohort.X.reset_index(drop=True)[[*EHR, *IMAGE, PATIENT]].assign(site="x")
    assert_close(output_of(model, other), expected)
    y: Any = cohort.y
    if cohort.y.dtype.names is None:
        # A target whose labels are those of other rows must be read by position.
        y = pd.Series(y, index=np.roll(cohort.X.index, 1))
    again = fitted(CheckedCohort(cohort.estimator, cohort.X, y, cohort.patients))
    assert_close(output_of(again, cohort.X), expected)


def check_same_seed_same_result(cohort: CheckedCohort) -> None:
    """Check that the same seed gives the same model, whatever ran before."""
    expected = output_of(fitted(cohort), cohort.X)
    np.random.seed(7)  # noqa: NPY002  (the global state is what is tested)
    np.random.random_sample(3)  # noqa: NPY002
    np.testing.assert_array_equal(output_of(fitted(cohort), cohort.X), expected)


def check_global_random_state_is_untouched(cohort: CheckedCohort) -> None:
    """Check that the global generator of numpy is neither used nor seeded."""
    np.random.seed(7)  # noqa: NPY002  (the global state is what is tested)
    before = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    output_of(fitted(cohort), cohort.X)
    after = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    same = np.array_equal(before["key"], after["key"]) and before["pos"] == after["pos"]
    assert same, "the estimator uses or seeds numpy's global random state"


def check_same_result_in_threads(cohort: CheckedCohort) -> None:
    """Check that fits in threads at the same time give the result of one alone."""
    expected = output_of(fitted(cohort), cohort.X)
    found = Parallel(n_jobs=4, backend="threading")(
        delayed(_fit_and_predict)(cohort) for _ in range(4)
    )
    for output in found:
        np.testing.assert_array_equal(output, expected)


def check_same_result_in_processes(cohort: CheckedCohort) -> None:
    """Check that a fit in another process gives the same result."""
    expected = output_of(fitted(cohort), cohort.X)
    found = Parallel(n_jobs=2, backend="loky")(
        delayed(_fit_and_predict)(cohort) for _ in range(2)
    )
    for output in found:
        np.testing.assert_array_equal(output, expected)


def _fit_and_predict(cohort: CheckedCohort) -> np.ndarray:
    return output_of(fitted(cohort), cohort.X)


def check_pickle(cohort: CheckedCohort) -> None:
    """Check that a fitted model survives pickle."""
    model = fitted(cohort)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(output_of(copy, cohort.X), output_of(model, cohort.X))


def check_refit_equals_a_new_fit(cohort: CheckedCohort) -> None:
    """Check that a second fit forgets the first."""
    half = cohort.rows(np.arange(len(cohort.y) // 2))
    model = fitted(cohort)
    given = {}
    if half.patients is not None and has_fit_parameter(model, "groups"):
        given["groups"] = half.patients
    model.fit(half.X, half.y, **given)
    np.testing.assert_array_equal(
        output_of(model, cohort.X), output_of(fitted(half), cohort.X)
    )


def check_failed_refit_keeps_the_model(cohort: CheckedCohort) -> None:
    """Check that a fit that fails leaves the model of before."""
    modalities = [("image", StandardScaler(), IMAGE), ("ehr", FailingScaler(), EHR)]
    cohort = CheckedCohort(
        prepared(cohort.estimator, modalities), cohort.X, cohort.y, cohort.patients
    )
    model = fitted(cohort)
    expected = output_of(model, cohort.X)
    worse = cohort.X.copy()
    worse[IMAGE] += 50
    worse[EHR] += 1e6
    given = {}
    if cohort.patients is not None and has_fit_parameter(model, "groups"):
        given["groups"] = cohort.patients
    for X, y in ((worse, cohort.y), (cohort.X.tail(5), cohort.y)):
        try:
            model.fit(X, y, **given)
        except Exception:
            pass
        else:
            raise AssertionError("fit accepts what a transformer or a length refuses")
        np.testing.assert_array_equal(output_of(model, cohort.X), expected)


def check_absent_modalities_at_prediction(cohort: CheckedCohort) -> None:
    """Check that rows are predicted without one of the modalities."""
    model = fitted(cohort)
    expected = output_of(model, cohort.X)
    X = with_gaps(cohort.X)
    found = output_of(model, X)
    assert np.isfinite(found).all(), "a prediction is NaN where a modality is absent"
    complete = X[[*IMAGE, *EHR]].notna().all(axis=1).to_numpy()
    assert_close(found[complete], expected[complete])
    if is_classifier(model):
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def check_absent_modalities_at_fit(cohort: CheckedCohort) -> None:
    """Check that training rows may lack a modality, and gaps teach nothing."""
    X = with_gaps(cohort.X)
    model = fitted(CheckedCohort(cohort.estimator, X, cohort.y, cohort.patients))
    assert np.isfinite(output_of(model, X)).all(), "a prediction is NaN after gaps"
    for (name, transformer, _), columns in zip(
        model.modalities_, (IMAGE, EHR), strict=True
    ):
        present = X[columns].dropna()
        expected = StandardScaler().fit(present).mean_
        np.testing.assert_allclose(
            _scaler_of(transformer).mean_,
            expected,
            err_msg=f"the transformer of {name!r} must learn from the rows in which "
            "the modality is present",
        )


def _scaler_of(part: Any) -> StandardScaler:
    """Return the scaler of a modality, which a member of late fusion begins with."""
    while not isinstance(part, StandardScaler):
        if not hasattr(part, "steps"):
            raise SkipTest("modalities_ does not hold the fitted transformers")
        part = part.steps[0][1]
    return part


def check_presence(cohort: CheckedCohort) -> None:
    """Check that `presence` says which modalities a row has."""
    model = _offering(fitted(cohort), "presence")
    X = with_gaps(cohort.X)
    found = model.presence(X)
    assert list(found.columns) == ["image", "ehr"], "a column for each modality"
    assert found.index.equals(X.index), "presence keeps the index"
    for name, columns in (("image", IMAGE), ("ehr", EHR)):
        expected = X[columns].notna().any(axis=1).to_numpy()
        np.testing.assert_array_equal(found[name].to_numpy(), expected)


def check_encoded_modalities(cohort: CheckedCohort) -> None:
    """Check that the model by hand, from blocks to predictions, is the model."""
    model = _offering(fitted(cohort), "encode_modalities", "predict_encoded")
    X = with_gaps(cohort.X)
    blocks = model.encode_modalities(X)
    assert list(blocks) == ["image", "ehr"], "a block for each modality, in order"
    for name, columns in (("image", IMAGE), ("ehr", EHR)):
        absent = X[columns].isna().all(axis=1).to_numpy()
        block = np.asarray(blocks[name], dtype=float)
        assert np.isnan(block[absent]).all(), "the block of an absent modality is NaN"
        assert np.isfinite(block[~absent]).all(), "the block of a present one is not"
    found = np.asarray(model.predict_encoded(blocks), dtype=float)
    assert_close(found, output_of(model, X))


def check_patients_stay_on_one_side(cohort: CheckedCohort) -> None:
    """Check that no inner split has rows of one patient on both sides."""
    if not has_fit_parameter(cohort.estimator, "groups"):
        raise SkipTest("fit has no parameter groups")
    X, model, log = _with_witness(cohort)
    model.fit(X, cohort.y, groups=cohort.patients)
    leaks = PatientWitness.LOGS.pop(log)
    assert not leaks, (
        f"{len(leaks)} rows were held out while other rows of their patients were not"
    )


def check_cross_fitting(cohort: CheckedCohort) -> None:
    """Check that what combines the members learns from rows that they do not know.

    A member that knows its training rows by heart and one that guesses them give the
    same predictions for all rows held out, and so must the estimator for new rows.
    """
    if not is_classifier(cohort.estimator):
        raise SkipTest("the check needs a classifier")
    X = cohort.X.assign(row=np.arange(len(cohort.y), dtype=float))
    new = X.assign(row=X["row"] + len(X))
    outputs: list[np.ndarray] = []
    for remembers in (True, False):
        notes = ("notes", Memoriser(remembers), ["row"])
        model = prepared(cohort.estimator, [notes, ("ehr", StandardScaler(), EHR)])
        try:
            model = fitted(replace(cohort, estimator=model, X=X))
        except TypeError:
            reason = "the estimator takes no classifier as a modality"
            raise SkipTest(reason) from None
        outputs.append(output_of(model, new))
    assert np.allclose(outputs[0], outputs[1], rtol=1e-6), (
        "a member that knows its training rows by heart changes the predictions of new "
        "rows: what combines the members has learned from rows that they knew"
    )


def check_patients_are_no_feature(cohort: CheckedCohort) -> None:
    """Check that the column of patients has no effect and may be left out."""
    if "groups" not in cohort.estimator.get_params(deep=False):
        raise SkipTest("the estimator has no parameter groups")
    model = clone(cohort.estimator).set_params(groups=PATIENT)
    model.fit(cohort.X, cohort.y)
    expected = output_of(model, cohort.X)
    assert_close(output_of(fitted(cohort), cohort.X), expected)
    others = cohort.X.assign(**{PATIENT: cohort.X[PATIENT].to_numpy()[::-1]})
    assert_close(output_of(model, others), expected)
    without = cohort.X.drop(columns=PATIENT)
    assert_close(output_of(model, without), expected)


def check_sample_weights_count(cohort: CheckedCohort) -> None:
    """Check that weights move the predictions, and equal weights do not."""
    if not has_fit_parameter(cohort.estimator, "sample_weight"):
        raise SkipTest("fit has no parameter sample_weight")
    if cohort.y.dtype.names:
        raise SkipTest("the check needs classes or numbers")
    expected = output_of(fitted(cohort), cohort.X)
    ones = output_of(fitted(cohort, sample_weight=np.ones(len(cohort.y))), cohort.X)
    assert_close(ones, expected)
    high = cohort.y == "sick" if is_classifier(cohort.estimator) else cohort.y > 0
    weights = np.where(high, 20.0, 0.2)
    moved = output_of(fitted(cohort, sample_weight=weights), cohort.X)
    column = -1 if expected.ndim == 2 else slice(None)
    assert np.mean(moved[..., column]) > np.mean(expected[..., column]) + 0.01, (
        "weights of 20 on one side do not move the predictions towards it"
    )


def check_classes(cohort: CheckedCohort) -> None:
    """Check that `classes_` are sorted, and the probabilities in their order."""
    if not is_classifier(cohort.estimator):
        raise SkipTest("the estimator is no classifier")
    # The first label of the data is the last in order.
    first = np.flatnonzero(cohort.y == "sick")[0]
    model = fitted(cohort.rows(np.roll(np.arange(len(cohort.y)), -first)))
    assert list(model.classes_) == ["fit", "sick"], "classes_ must be sorted"
    assert set(model.predict(cohort.X)) <= {"fit", "sick"}, "predict returns labels"
    if not hasattr(model, "predict_proba"):
        raise SkipTest("the estimator predicts no probabilities")
    proba = model.predict_proba(cohort.X)
    sick = cohort.y == "sick"
    assert proba[sick, 1].mean() > proba[~sick, 1].mean(), (
        "the columns of predict_proba are not in the order of classes_"
    )
    np.testing.assert_array_equal(
        model.predict(cohort.X), model.classes_[proba.argmax(axis=1)]
    )


def check_feature_names(cohort: CheckedCohort) -> None:
    """Check that names of features begin with the name of their modality."""
    model = _offering(fitted(cohort), "transform", "get_feature_names_out")
    names = list(model.get_feature_names_out())
    assert len(set(names)) == len(names), "names of features must be unique"
    assert all(name.startswith(("image__", "ehr__")) for name in names), (
        f"names of features must begin with their modality, got {names[:3]}"
    )
    assert np.asarray(model.transform(cohort.X)).shape == (len(cohort.X), len(names))
    if hasattr(model, "set_output"):
        frame = model.set_output(transform="pandas").transform(cohort.X)
        assert list(frame.columns) == names, "set_output gives the names"
        assert frame.index.equals(cohort.X.index), "set_output keeps the index"


def check_missing_column(cohort: CheckedCohort) -> None:
    """Check that a column that is not there is an error that names it."""
    model = fitted(cohort)
    message = None
    try:
        output_of(model, cohort.X.drop(columns=EHR[0]))
    except (ValueError, KeyError) as error:
        message = str(error)
    assert message is not None, "a prediction without a column is accepted"
    assert EHR[0] in message, "the error must name the column"


def check_features_of_the_input(cohort: CheckedCohort) -> None:
    """Check that `n_features_in_` and `feature_names_in_` are those of X."""
    model = fitted(cohort)
    assert model.n_features_in_ == cohort.X.shape[1], (
        f"n_features_in_ is {model.n_features_in_}, X has {cohort.X.shape[1]} columns"
    )
    np.testing.assert_array_equal(model.feature_names_in_, list(cohort.X.columns))


def check_metadata_routing(cohort: CheckedCohort) -> None:
    """Check that routing takes patients to `fit`, through a search and a pipeline."""
    if not has_fit_parameter(cohort.estimator, "groups"):
        raise SkipTest("fit has no parameter groups")
    with sklearn.config_context(enable_metadata_routing=True):
        X, model, log = _with_witness(cohort)
        routing = model.get_metadata_routing()
        assert routing.fit.requests.get("groups") is not None, (
            "fit must request groups, so that a pipeline passes them"
        )
        pipeline = make_pipeline(FunctionTransformer(), model)
        grid = {f"{type(model).__name__.lower()}__ehr__with_std": [True]}
        search = GridSearchCV(pipeline, grid, cv=GroupKFold(2), error_score="raise")
        search.fit(X, cohort.y, groups=cohort.patients)
    leaks = PatientWitness.LOGS.pop(log)
    assert not leaks, "patients do not reach the inner splits through a search"
    assert np.isfinite(output_of(search, X)).all()


def _with_witness(cohort: CheckedCohort) -> tuple[pd.DataFrame, Any, str]:
    """Return a cohort and a model whose first modality notes what it is asked."""
    log = f"{id(cohort)}"
    PatientWitness.LOGS[log] = []
    number = np.unique(np.asarray(cohort.patients), return_inverse=True)[1]
    X = cohort.X.assign(row=np.arange(len(number), dtype=float), number=number * 1.0)
    modalities = [
        ("image", PatientWitness(log), ["row", "number", IMAGE[0]]),
        ("ehr", StandardScaler(), EHR),
    ]
    return X, prepared(cohort.estimator, modalities), log


def with_gaps(X: pd.DataFrame) -> pd.DataFrame:
    """Return a copy in which each modality is absent in some rows, never both."""
    X = X.copy()
    X.loc[X.index[1::5], IMAGE] = np.nan
    X.loc[X.index[2::5], EHR] = np.nan
    return X


def _offering(model: Any, *methods: str) -> Any:
    """Return a model, or skip the check if it lacks a method."""
    for method in methods:
        if not hasattr(model, method):
            raise SkipTest(f"the estimator has no {method}")
    return model


#: All checks, in the order in which they run.
CHECKS: tuple[Callable[[CheckedCohort], None], ...] = (
    check_modalities_are_parameters,
    check_fit_changes_no_argument,
    check_features_of_the_input,
    check_classes,
    check_labels_of_rows_and_columns,
    check_missing_column,
    check_rows_are_independent,
    check_absent_modalities_at_prediction,
    check_absent_modalities_at_fit,
    check_presence,
    check_encoded_modalities,
    check_feature_names,
    check_same_seed_same_result,
    check_global_random_state_is_untouched,
    check_same_result_in_threads,
    check_same_result_in_processes,
    check_pickle,
    check_refit_equals_a_new_fit,
    check_failed_refit_keeps_the_model,
    check_patients_stay_on_one_side,
    check_patients_are_no_feature,
    check_cross_fitting,
    check_sample_weights_count,
    check_metadata_routing,
)
