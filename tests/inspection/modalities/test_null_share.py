"""The share of a modality that was shuffled among patients before the fit."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from known_models import noise_image_cohort
from matplotlib import pyplot
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    ModalityImportance,
)
from skfusion.exceptions import DataWarning
from skfusion.inspection.modalities.null_share import NullCases

mpl.use("Agg")
TWO = [("image", StandardScaler(), ["a", "b"]), ("ehr", StandardScaler(), ["c", "d"])]


def early(**options):
    return EarlyFusionClassifier(
        TWO, estimator=LogisticRegression(), absence_copies=0, **options
    )


def cohort(n_cases=160, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n_cases, 4)), columns=list("abcd"))
    y = (1.5 * X["a"] + X["c"] + rng.normal(size=n_cases) > 0).astype(int)
    return X, y.to_numpy()


def test_noise_has_the_share_that_noise_has():
    X, y, images, records = noise_image_cohort(600, 0, n_image=40)
    modalities = [("image", StandardScaler(), images), ("ehr", "passthrough", records)]
    tree = DecisionTreeClassifier(max_depth=6, random_state=0)
    model = EarlyFusionClassifier(modalities, estimator=tree, absence_copies=0)
    model.fit(X[:300], y[:300])
    importance = ModalityImportance(
        model, background=X[:300], n_background=20, output="proba"
    )
    found = importance.explain(X[300:], null_from=(X[:300], y[:300]))
    table = found.share()
    assert list(table)[-1] == "null_share"
    assert table["share"]["image"] > 0.2  # an overfitted model relies on noise
    assert table["null_share"]["image"] == pytest.approx(
        table["share"]["image"], abs=0.15
    )
    assert table["null_share"]["ehr"] < 0.6 * table["share"]["ehr"]


@pytest.mark.long
def test_null_shares_are_those_of_a_cohort_that_was_shuffled_before():
    X, y = cohort()
    train, new = X[:100], X[100:]
    importance = ModalityImportance(
        early().fit(train, y[:100]), background=train, n_background=100
    )
    found = importance.explain(new, null_from=(train, y[:100]), n_shuffles=1)
    rng = np.random.RandomState([0, 1, 0])  # the record, its first shuffle
    shuffled = [part.copy() for part in (train, new)]
    for part in shuffled:
        order = rng.permutation(len(part))
        part[["c", "d"]] = part[["c", "d"]].to_numpy()[order]
    again = early().fit(shuffled[0], y[:100])
    expected = ModalityImportance(again, background=shuffled[0]).explain(shuffled[1])
    np.testing.assert_allclose(found.null_values["ehr"][0], expected.values)
    for kind in ("centred_abs", "variance", "abs"):
        share = expected.share(kind)["share"]["ehr"]
        assert found.share(kind)["null_share"]["ehr"] == pytest.approx(share)


@pytest.mark.parametrize("as_array", [False, True])
def test_whole_patients_are_shuffled(as_array):
    patients = np.array([7, 7, 7, 2, 2, 5])
    table = pd.DataFrame({"a": patients, "b": np.arange(6), "c": list("uvwxyz")})
    table = table[["a", "b"]].to_numpy() if as_array else table
    rows = NullCases(table, None, patients)
    column = 1 if as_array else "b"
    drawn = [rows.shuffled((column,), np.random.RandomState(k)) for k in range(20)]
    for found in drawn:
        assert isinstance(found, np.ndarray) is as_array
        frame = pd.DataFrame(np.asarray(found)[:, :2], columns=["a", "b"])
        donors = patients[frame["b"].astype(int)]
        # Rows of a patient come from one patient, and of each patient to one.
        pairs = set(zip(patients.tolist(), donors.tolist(), strict=True))
        assert len(pairs) == 3
        assert (frame["a"] == patients).all()
    orders = {tuple(np.asarray(found)[:, 1]) for found in drawn}
    assert len(orders) > 3
    assert list(np.asarray(table)[:, 1]) == list(range(6))  # the user's own table


@pytest.mark.parametrize("around", ["pipeline", "calibrated", "plain", "late"])
@pytest.mark.long
def test_models_of_every_kind_have_null_shares(around):
    X, y = cohort()
    X["pid"] = np.arange(160) // 2
    train, new = X[:100], X[100:]
    columns = {"image": ["a", "b"], "ehr": ["c", "d"]}
    models = {
        "pipeline": make_pipeline(early(groups="pid")),
        "calibrated": CalibratedClassifierCV(early(groups="pid"), cv=2),
        "plain": make_pipeline(StandardScaler(), LogisticRegression()),
        "late": LateFusionClassifier(TWO, groups="pid"),
    }
    plain = around == "plain"
    given = {"modalities": columns} if plain else {}
    fitted = models[around].fit(train[list("abcd")] if plain else train, y[:100])
    importance = ModalityImportance(fitted, background=train, n_background=20, **given)
    groups = {"groups": "pid"} if plain else {}
    found = importance.explain(new, null_from=(train, y[:100]), n_shuffles=2, **groups)
    table = found.share()
    assert table["null_share"].between(0, 1).all()
    assert (table["null_share"] < table["share"] + 0.1).all()
    assert table["null_share"].sum() < 1


def test_null_values_follow_an_index_and_are_drawn():
    X, y = cohort()
    y = np.array(["ill", "well", "worse"])[(X["a"] > 0).astype(int) + (X["c"] > 1)]
    importance = ModalityImportance(
        early().fit(X[:100], y[:100]), background=X[:100], n_background=20
    )
    called = importance(X[100:], null_from=(X[:100], y[:100]), n_shuffles=2)
    part = called[:20, :, "worse"]
    table = part.share()
    whole = called.share(per_class=True)
    assert whole["null_share"].notna().all()
    values = called.explanation.null_values["image"][:, :20, :, 2]
    centred = np.abs(values - values.mean(axis=1, keepdims=True)).mean(axis=1)
    expected = (centred / centred.sum(axis=1, keepdims=True))[:, 0].mean()
    assert table["null_share"]["image"] == pytest.approx(expected)
    axis = called.plot("share").ax_
    ticks = [part.get_offsets() for part in axis.collections if len(part.get_offsets())]
    drawn = np.asarray(ticks[0])[:, 0]
    assert drawn == pytest.approx(called.share()["null_share"].to_numpy())
    assert "shuffled among patients" in axis.get_legend().get_texts()[0].get_text()
    pyplot.close("all")
    without = importance.explain(X[100:])
    assert "null_share" not in without.share()
    assert without.plot("share").ax_.get_legend() is None
    pyplot.close("all")


@pytest.mark.parametrize("n_jobs", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_numbers_have_null_shares(n_jobs):
    X, _ = cohort()
    y = 2 * X["a"] + X["c"]
    model = EarlyFusionRegressor(TWO, estimator=Ridge(), absence_copies=0)
    importance = ModalityImportance(
        model.fit(X[:100], y[:100]), background=X[:100], n_background=20, n_jobs=n_jobs
    )
    table = importance.explain(X[100:], null_from=(X[:100], y[:100])).share()
    # A linear model of pure signal does not rely on what belongs to others.
    assert (table["null_share"] < 0.3).all()


def test_modalities_that_share_a_column_have_none():
    X, y = cohort()
    modalities = [*TWO, ("both", StandardScaler(), ["b", "c"]), ("own", PCA(1), ["d2"])]
    modalities[1] = ("ehr", StandardScaler(), ["d"])
    X["d2"] = X["d"]
    model = EarlyFusionClassifier(
        modalities, estimator=LogisticRegression(), absence_copies=0
    ).fit(X[:100], y[:100])
    importance = ModalityImportance(model, background=X[:100], n_background=20)
    with pytest.warns(DataWarning, match=r"2 of 4 .* \['image', 'both'\]"):
        found = importance.explain(X[100:], null_from=(X[:100], y[:100]), n_shuffles=1)
    table = found.share()
    assert table["null_share"].isna().to_dict() == {
        "image": True,
        "ehr": False,
        "both": True,
        "own": False,
    }
    found.plot("share")
    pyplot.close("all")


def test_what_cannot_be_fitted_again_is_refused():
    X, y = cohort()
    given = (X[:100], y[:100])
    frozen = CalibratedClassifierCV(FrozenEstimator(early().fit(*given)), cv=2)
    with pytest.raises(ValueError, match="frozen estimator cannot be fitted again"):
        ModalityImportance(frozen.fit(*given)).explain(X[100:], null_from=given)
    stepped = make_pipeline(FunctionTransformer(lambda X: X * 2), early()).fit(*given)
    with pytest.raises(ValueError, match="a step before the fusion"):
        ModalityImportance(stepped).explain(X[100:], null_from=given)
    importance = ModalityImportance(early().fit(*given), background=X[:100])
    with pytest.raises(ValueError, match="n_shuffles must be"):
        importance.explain(X[100:], null_from=given, n_shuffles=0)
    with pytest.raises(ValueError, match="no null share"):
        importance.explain(X[100:], null_from=(X[:100], np.zeros(100)))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        importance.explain(X[100:], null_from=(X[:90], y[:100]))
