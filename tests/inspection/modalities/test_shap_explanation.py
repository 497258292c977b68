"""What a user of shap does first, on explanations of modalities."""

from __future__ import annotations

import copy
import pickle
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from scipy.special import logit
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    ModalityImportance,
)
from skfusion.exceptions import DataWarning
from skfusion.fusion.survival import CoxRidge
from skfusion.inspection import ModalityExplanation
from skfusion.inspection.models import class_log_odds, scale_of_risk

shap = pytest.importorskip("shap", reason="the extra explain is not installed")
mpl.use("Agg")

CLASSES = np.array(["benign", "cancer", "cyst", "normal"])
# Calls of shap 0.51 that numpy and matplotlib will drop.
of_shap = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::PendingDeprecationWarning",
    "ignore::FutureWarning",
)


@pytest.fixture(autouse=True)
def _close():
    yield
    pyplot.close("all")


def cohort(n_modalities, n_classes, n_cases=150):
    """Cases of modalities m0, m1, ... of two columns, m0 absent in some."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n_cases, 2 * n_modalities)))
    X.columns = [f"c{j}" for j in range(2 * n_modalities)]
    score = X["c0"] + X["c2"] + rng.normal(size=n_cases)
    X.loc[::5, ["c0", "c1"]] = np.nan
    cuts = np.quantile(score, np.arange(1, n_classes) / n_classes)
    return X, CLASSES[np.digitize(score, cuts)]


def modalities_of(X):
    return [
        (f"m{i}", StandardScaler(), [f"c{2 * i}", f"c{2 * i + 1}"])
        for i in range(X.shape[1] // 2)
    ]


def fitted(n_modalities, n_classes, **options):
    X, y = cohort(n_modalities, n_classes)
    options = {"estimator": LogisticRegression(), **options}
    model = EarlyFusionClassifier(modalities_of(X), random_state=0, **options)
    return model.fit(X[:100], y[:100]), X, y


@pytest.fixture(scope="module")
def called():
    """Results of the shap line, by numbers of modalities and classes."""
    found = {}
    for n_modalities in (2, 8):
        for n_classes in (2, 4):
            model, X, y = fitted(n_modalities, n_classes)
            importance = ModalityImportance(
                model,
                background=X[:100],
                n_background=8,
                pos_label="cancer" if n_classes == 2 else None,
            )
            patients = np.repeat(np.arange(25), 2)
            found[n_modalities, n_classes] = importance(
                X[100:], y[100:], groups=patients
            )
    return found


SIZES = [(2, 2), (2, 4), (8, 2), (8, 4)]
PLOTS = {
    "bar": lambda e: shap.plots.bar(e, show=False),
    "bar of cohorts": lambda e: shap.plots.bar(
        {"with": e[e.presence["m0"]], "without": e[~e.presence["m0"]]}, show=False
    ),
    "bar of a case": lambda e: shap.plots.bar(e[0], show=False),
    "beeswarm": lambda e: shap.plots.beeswarm(e, order=e.abs.max(0), show=False),
    "waterfall": lambda e: shap.plots.waterfall(e[0], show=False),
    "heatmap": lambda e: shap.plots.heatmap(e, show=False),
    "scatter": lambda e: shap.plots.scatter(e[:, "m0"], color=e[:, "m1"], show=False),
    "violin": lambda e: shap.plots.violin(e, show=False),
    "force": lambda e: shap.plots.force(e[0], matplotlib=True, show=False),
    "decision": lambda e: shap.plots.decision(
        float(e.base_values[0]),
        e.values,
        features=e.display_data,
        feature_names=list(e.feature_names),
        show=False,
    ),
}


@of_shap
@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(
    "size",
    [(2, 2)] + [pytest.param(size, marks=pytest.mark.slow) for size in SIZES[1:]],
    ids=str,
)
def test_plots_of_shap_draw_it_as_it_is(called, size, plot):
    found = called[size]
    PLOTS[plot](found[..., "cancer"] if size[1] > 2 else found)
    axis = pyplot.gcf().axes[0]
    drawn = [*axis.patches, *axis.collections, *axis.lines, *axis.images]
    assert drawn
    pyplot.gcf().canvas.draw()
    widths = [patch.get_window_extent().width for patch in axis.patches]
    assert np.isfinite(widths).all()


@of_shap
def test_waterfall_of_shap_says_what_was_there(called):
    found = called[2, 2]
    case = int(np.flatnonzero(~found.presence["m0"])[0])
    axis = shap.plots.waterfall(found[case], show=False)
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert {"absent = m0", "present = m1"} <= set(names)


@of_shap
def test_plots_of_shap_draw_names_with_signs_of_formulae(called):
    found = called[2, 2].explanation
    names = ("a $ b_{ $", "cost_in_$_(US$)")
    given = replace(
        found,
        modalities=names,
        presence=found.presence.set_axis(names, axis=1),
        interactions={names: found.interactions["m0", "m1"]},
    ).to_shap()
    for plot in (shap.plots.bar, shap.plots.beeswarm):
        plot(given, show=False)
        pyplot.gcf().canvas.draw()
        pyplot.close("all")
    np.testing.assert_array_equal(given[:, names[1]].values, found.values[:, 1])
    assert list(given[:, [names[1]]].presence.columns) == [names[1]]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_is_an_explanation_of_shap(called, size):
    found = called[size]
    n_modalities, n_classes = size
    outputs = (4,) if n_classes > 2 else ()
    assert isinstance(found, shap.Explanation)
    assert found.values.shape == (50, n_modalities, *outputs)
    assert found.base_values.shape == (50, *outputs)
    assert found.feature_names == [f"m{i}" for i in range(n_modalities)]
    assert found.output_names == (list(CLASSES) if outputs else None)
    there = found.presence.to_numpy()
    assert (found.display_data == np.where(there, "present", "absent")).all()
    assert (found.data == there).all()
    total = found.base_values + found.values.sum(axis=1)
    np.testing.assert_allclose(total, found.explanation.predictions)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_what_belongs_to_a_case_is_indexed_with_it(called, size):
    found = called[size]
    whole = found.explanation
    mask = found.presence["m0"].to_numpy()
    for rows in (mask, slice(10), [4, 4, 1], slice(None, None, -7)):
        part = found[rows]
        assert type(part) is type(found)
        np.testing.assert_array_equal(part.values, whole.values[rows])
        np.testing.assert_array_equal(part.presence, whole.presence.to_numpy()[rows])
        np.testing.assert_array_equal(part.outcome, whole.outcome[rows])
        np.testing.assert_array_equal(part.patients, whole.patients[rows])
        pair = part.interactions["m0", "m1"]
        np.testing.assert_array_equal(pair, whole.interactions["m0", "m1"][rows])
    twice = found[mask][2:5]
    np.testing.assert_array_equal(twice.values, whole.values[mask][2:5])
    assert len(twice.share()) == size[0]


@pytest.mark.parametrize("n_modalities", [2, 8])
def test_one_of_several_classes_is_chosen(called, n_modalities):
    found = called[n_modalities, 4]
    whole = found.explanation
    for one in (found[..., "cancer"], found[:, :, 1], found[:, :, "cancer"]):
        np.testing.assert_array_equal(one.values, whole.values[..., 1])
        assert one.output == one.explanation.output == "log-odds of cancer"
        pair = whole.interactions["m0", "m1"]
        np.testing.assert_array_equal(one.interactions["m0", "m1"], pair[:, 1])
        expected = whole.share(per_class=True, n_resamples=20).loc["cancer"]
        pd.testing.assert_frame_equal(one.share(n_resamples=20), expected)
    case = found[3, :, "cyst"]
    np.testing.assert_array_equal(case.values, whole.values[3, :, 2])
    assert case.interactions["m0", "m1"] == whole.interactions["m0", "m1"][3, 2]
    assert found[3, "m1", "cyst"].values == whole.values[3, 1, 2]
    with pytest.raises(KeyError, match="'cat' is not among"):
        found[..., "cat"]


def test_modalities_are_chosen(called):
    found = called[8, 2]
    two = found[:, ["m3", "m1"]]
    np.testing.assert_array_equal(two.values, found.explanation.values[:, [3, 1]])
    assert list(two.presence.columns) == ["m3", "m1"]
    assert set(two.interactions) == {("m1", "m3")}
    whole = found.share()
    assert two.share().equals(whole.loc[["m1", "m3"]])  # among all modalities


def test_operations_of_shap_leave_no_wrong_share(called):
    found = called[2, 2]
    assert np.allclose(found.abs.mean(0).values, np.abs(found.values).mean(axis=0))
    for changed in (found.abs, found + 1.0, found.mean(0), found.max(1)):
        with pytest.raises(ValueError, match="changed by an operation"):
            changed.share()
    assert len(found.sample(5).presence) == 5
    assert found.cohorts(np.where(found.presence["m0"], "x", "y")) is not None
    with pytest.raises(IndexError, match="3 indices"):
        found[0, 0, 0]
    with pytest.raises(IndexError, match="mask has the shape"):
        found[np.ones(3, dtype=bool)]


def test_shares_have_limits_by_patient_and_numbers(called):
    table = called[2, 2].share()
    assert list(table.columns) == ["share", "low", "high", "n_present", "n_patients"]
    assert table["share"].sum() == pytest.approx(1.0)
    assert (table["low"] < table["share"]).all()
    assert table["n_present"].tolist() == [40, 50]
    assert table["n_patients"].tolist() == [25, 25]
    single = called[2, 2].share(groups=np.arange(50))
    assert single["n_patients"].tolist() == [50, 50]
    assert not np.allclose(single["low"], table["low"])
    with pytest.raises(ValueError, match="groups has 3 ids"):
        called[2, 2].share(groups=[0, 1, 2])
    with pytest.raises(ValueError, match="groups is missing in 1 of 50 cases"):
        called[2, 2].share(groups=[np.nan, *"a" * 49])


def test_saved_explanations_hold_no_cases(called):
    found = called[2, 2]
    assert len(found[:9].features("m1")) == 9
    for other in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        np.testing.assert_array_equal(other[:3].values, found[:3].values)
        with pytest.raises(ValueError, match="a copied or saved explanation"):
            other.features("m1")
    shown = repr(found), repr(found.explanation)
    assert shown == (
        "ModalityShapExplanation(50 cases, 2 modalities, log-odds of cancer)",
        "ModalityExplanation(50 cases, 2 modalities, log-odds of cancer)",
    )


def test_features_and_modalities_are_one_step_apart():
    model, X, _ = fitted(2, 4, estimator=XGBClassifier(n_estimators=5, n_jobs=1))
    found = ModalityImportance(model, background=X[:100], n_background=8)(X[100:])
    inside = found[10:30].features("m1")
    assert inside.feature_names[:2] == ["c2", "c3"]
    assert inside.output_names == list(CLASSES)
    np.testing.assert_array_equal(inside.data[:, 0], X["c2"][110:130])
    assert inside[0, :, "cancer"].shape == (3,)
    beside = found.share(method="treeshap_sum")
    assert list(beside.columns)[-1] == "treeshap_sum"
    assert beside["treeshap_sum"].sum() == pytest.approx(1.0)
    assert beside.drop(columns="treeshap_sum").equals(found.share())
    with pytest.raises(ValueError, match="'m7' is not a modality"):
        found.features("m7")


def test_sum_of_treeshap_needs_trees():
    model, X, _ = fitted(2, 2)
    importance = ModalityImportance(
        model, background=X[:100], n_background=8, pos_label="cancer"
    )
    with pytest.raises(ValueError, match="needs one model of trees"):
        importance(X[100:]).share(method="treeshap_sum")


def test_the_game_needs_no_shap(monkeypatch):
    model, X, _ = fitted(2, 2)
    importance = ModalityImportance(
        model, background=X[:100], n_background=8, pos_label="cancer"
    )
    monkeypatch.setitem(sys.modules, "shap", None)  # an import raises an error
    monkeypatch.delitem(sys.modules, "skfusion.inspection.shap_objects", raising=False)
    found = importance.explain(X[100:])[:5]
    assert list(found.share().index) == ["m0", "m1"]
    with pytest.raises(ImportError, match=r"skfusion\[explain\]"):
        importance(X[100:])
    with pytest.raises(ImportError, match=r"skfusion\[explain\]"):
        found.features("m1")


# -- names of scales and classes --------------------------------------------------


def test_log_odds_of_several_classes_are_log_odds():
    model, X, _ = fitted(2, 4)
    found = ModalityImportance(model, background=X[:100], n_background=8).explain(
        X[100:]
    )
    proba = model.predict_proba(X[100:])
    np.testing.assert_allclose(found.predictions, logit(proba), atol=1e-9)
    one = ModalityImportance(
        model, background=X[:100], n_background=8, pos_label="cyst"
    ).explain(X[100:])
    assert (one.output, one.classes) == ("log-odds of cyst", None)
    np.testing.assert_allclose(one.values, found.values[..., 2])
    assert class_log_odds(np.array([[1.0, 0.0, 0.0]])).round(1).tolist() == [
        [27.6, -27.6, -27.6]
    ]


@pytest.mark.parametrize("output", ["link", "proba"])
def test_the_explained_class_of_two_is_chosen(output):
    model, X, _ = fitted(2, 2)

    def explain(pos_label):
        return ModalityImportance(
            model,
            background=X[:100],
            n_background=8,
            output=output,
            pos_label=pos_label,
        ).explain(X[100:])

    with pytest.warns(DataWarning, match="last one in alphabetical order, 'cancer'"):
        last = explain(None)
    assert last.output.endswith(" of cancer")
    first = explain("benign")
    assert first.output.endswith(" of benign")
    np.testing.assert_allclose(first.values, -last.values, atol=1e-12)
    assert "of benign" in first.plot().ax_.get_xlabel()
    with pytest.raises(ValueError, match=r"classes are \['benign', 'cancer'\]"):
        explain("dead")


@pytest.mark.parametrize("pos_label", ["benign", "cancer"])
def test_a_report_of_either_class_is_above_chance(pos_label):
    model, X, y = fitted(2, 2)
    importance = ModalityImportance(
        model, background=X[:100], n_background=8, pos_label=pos_label
    )
    report = importance.report(X[100:], y[100:], cv=None, n_repeats=1)
    assert report.reliance.output == f"log-odds of {pos_label}"
    assert not any("not above chance" in pitfall for pitfall in report.pitfalls)


def test_a_class_of_numbers_is_refused():
    X, _ = cohort(2, 2)
    model = EarlyFusionRegressor(modalities_of(X), estimator=LinearRegression())
    model.fit(X[:80], np.arange(80.0))
    found = ModalityImportance(model, background=X[:80]).explain(X[90:])
    assert found.output == "prediction (unit of y)"
    with pytest.raises(ValueError, match="pos_label=1 chooses a class"):
        ModalityImportance(model, background=X[:80], pos_label=1).explain(X[90:])


def test_cox_predicts_a_log_hazard():
    assert scale_of_risk(CoxRidge()) == "log hazard"


# -- several models ---------------------------------------------------------------


def test_strategies_are_on_one_scale():
    early, X, y = fitted(2, 2)
    late = LateFusionClassifier(modalities_of(X), cv=2, random_state=0)
    late.fit(X[:100], y[:100])
    importance = ModalityImportance(
        early, background=X[:100], n_background=8, pos_label="cancer"
    )
    table = importance.table(X[100:], estimators={"early": early, "late": late})
    assert table.index.names == ["model", "modality"]
    assert table["share"].groupby("model").sum().tolist() == pytest.approx([1.0, 1.0])
    assert set(table["output"]) == {"log-odds of cancer"}
    # The estimator itself comes first, if it is not among them.
    other = importance.table(X[100:], estimators={"late": late})
    assert other.index.unique("model").tolist() == ["EarlyFusionClassifier", "late"]
    np.testing.assert_allclose(other["share"], table["share"])
    one = EarlyFusionClassifier(modalities_of(X)[1:], estimator=LogisticRegression())
    one.fit(X[:100], y[:100])
    with pytest.raises(ValueError, match="has the modalities"):
        importance.table(X[100:], estimators={"early": early, "one": one})


def test_explanations_are_sliced_by_cases():
    model, X, y = fitted(2, 2)
    found = ModalityImportance(
        model, background=X[:100], n_background=8, pos_label="cancer"
    ).explain(X[100:], y[100:])
    assert isinstance(found, ModalityExplanation)
    assert (len(found), len(found[2:9]), len(found[3])) == (50, 7, 1)
    part = found[[5, 7]]
    np.testing.assert_array_equal(part.coalition_values, found.coalition_values[[5, 7]])
    assert part.presence.index.tolist() == X.index[[105, 107]].tolist()
    assert part[1:].features("m1").rows.tolist() == [0]
    with pytest.raises(IndexError, match="by cases only"):
        found[0, 1]
    with pytest.raises(ValueError, match="only one output"):
        found.select_output("cancer")
