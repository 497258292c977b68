"""Figures of a comparison: their numbers, their names, and reading them in grey."""

from __future__ import annotations

import warnings
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figure_texts import cut_or_overlapping
from matplotlib import pyplot
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    LateFusionClassifier,
    compare_fusion,
)
from skfusion._figures.style import DARK, LIGHT, STRATEGY_MARKS, contrast
from skfusion.evaluation.report.figures.forest import forest_of
from skfusion.evaluation.report.figures.marks import strategy_marks
from skfusion.evaluation.report.figures.page_figures import (
    CORNERS,
    figure_of,
    marker_path,
)
from skfusion.evaluation.report.figures.panels import decision_plot, roc_plot
from skfusion.evaluation.report.figures.ticks import round_values

mpl.use("Agg")

LONG = "computed_tomography_pulmonary_angiogram"
SIGNS = "cost_in_$_(US$) and 100% of a\\b_{ <x>"
CHINESE = "胸部影像学检查报告"


@pytest.fixture(autouse=True)
def _close():
    yield
    pyplot.close("all")


def compared(names=("image", "ehr"), *, scoring=("roc_auc", "brier"), n=300, **kwargs):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n, len(names)))).rename(columns="x{}".format)
    y = (X.sum(axis=1) + rng.normal(size=n) > 0).astype(int)
    X["patient_id"] = np.arange(n) // 2
    parts = [(name, StandardScaler(), [f"x{j}"]) for j, name in enumerate(names)]
    learner = LogisticRegression()
    estimators = {
        "early": EarlyFusionClassifier(parts, estimator=learner),
        "late": LateFusionClassifier(parts, estimator=learner),
    }
    settings = {"cv": 3, "n_repeats": 1, "random_state": 0} | kwargs
    return compare_fusion(
        estimators, X, y, groups="patient_id", scoring=list(scoring), **settings
    )


@pytest.fixture(scope="module")
def result():
    return compared()


@pytest.fixture(scope="module")
def long_named():
    return compared((LONG, SIGNS, CHINESE))


def subgroups(result, **kwargs):
    sex = np.where(np.arange(result.cohort_["n_rows"]) // 2 % 2, "f", "m")
    rare = np.where(np.arange(len(sex)) < 12, "rare", "frequent")
    return result.by_group({"sex": sex, "kind of scanner": rare}, **kwargs)


def texts_of(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


# -- the accessor ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["scores", "differences", "forest", "roc", "pr", "calibration", "decision"]
)
def test_call_and_method_are_the_same_figure(result, kind):
    by_call = result.plot(kind=kind)
    by_name = getattr(result.plot, kind)()
    assert texts_of(by_call) == texts_of(by_name)
    assert len(texts_of(by_call)) > 5


def test_options_are_passed_and_unknown_ones_refused(result):
    figure = result.plot(kind="roc", strategies=["late"])
    assert len(figure.axes) == 1
    with pytest.raises(ValueError, match="kind must be one of"):
        result.plot(kind="rock")
    with pytest.raises(ValueError, match="metrics=.*Leave it out"):
        result.plot(["roc_auc"], kind="roc")
    with pytest.raises(ValueError, match="are not strategies"):
        result.plot.roc(["joint"])
    with pytest.raises(ValueError, match="shows one metric"):
        result.plot.forest(["roc_auc", "brier"])
    assert "roc" in repr(result.plot)


def test_other_tasks_say_why_there_is_no_curve():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(90, 2)), columns=["a", "b"])
    parts = [("one", StandardScaler(), ["a"]), ("two", StandardScaler(), ["b"])]
    y = np.digitize(X.sum(axis=1), [-1, 1])
    found = compare_fusion(
        {"late": LateFusionClassifier(parts, estimator=LogisticRegression())},
        *(X, y),
        cv=2,
        n_repeats=1,
        scoring="roc_auc_ovr",
        random_state=0,
    )
    for kind in ("roc", "pr", "calibration", "decision"):
        with pytest.raises(ValueError, match="needs an outcome of two classes"):
            found.plot(kind=kind)
    assert found.plot.forest().axes


# -- numbers --------------------------------------------------------------------------


def test_roc_curve_is_that_of_the_table(result):
    figure = result.plot.roc()
    for axis, name in zip(figure.axes, ["early", "late"], strict=True):
        frame = result.roc_curve(name)
        drawn = [line.get_ydata() for line in axis.lines]
        assert any(np.array_equal(y, frame["sensitivity"]) for y in drawn)
        reference = result.tests_.set_index("strategy").loc[name, "reference"]
        other = result.roc_curve(reference)
        assert any(np.array_equal(y, other["sensitivity"]) for y in drawn)
        (band,) = axis.collections
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.max() == pytest.approx(frame["high"].max())
        row = result.to_frame().loc[name, "roc_auc"]
        assert f"AUROC {row['estimate']:.2f}" in " ".join(texts_of(axis))


def test_operating_point_is_marked_where_the_table_has_it(result):
    table = result.operating_point(sensitivity=0.8)
    figure = result.plot.roc(operating_point=table)
    for axis, name in zip(figure.axes, ["early", "late"], strict=True):
        row = table.set_index("strategy").loc[name]
        (cross,) = [line for line in axis.lines if line.get_marker() == "+"]
        assert cross.get_xdata()[0] == pytest.approx(1 - row["specificity"])
        assert cross.get_ydata()[0] == pytest.approx(row["sensitivity"])
    assert "operating point" in texts_of(figure)


def test_prevalence_is_a_line(result):
    axis = result.plot.pr().axes[0]
    positive = result.cohort_["classes"][1]["n"] / result.cohort_["n_rows"]
    assert any(np.allclose(line.get_ydata(), positive) for line in axis.lines)


def test_decision_curve_has_treat_all_and_none(result):
    cuts = [0.2, 0.4]
    table = result.net_benefit(cuts)
    figure = result.plot.decision(cuts)
    own = table[table["strategy"] == "early"]
    drawn = [np.asarray(line.get_ydata()) for line in figure.axes[0].lines]
    for column in ("net_benefit", "net_benefit_reference", "treat_all"):
        assert any(np.allclose(y, own[column]) for y in drawn if len(y) == 2)
    assert any(np.allclose(y, 0) for y in drawn)
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"treat all", "treat none", "early", "late"} <= legend


@pytest.mark.long
def test_calibration_has_a_curve_or_its_reason_and_a_distribution():
    few = texts_of(compared(n=120).plot.calibration(["early"]))
    assert "expected at least 100 of each" in " ".join(few).replace("\n", " ")
    many = compared(n=900, scoring=["roc_auc"], cv=2)
    figure = many.plot.calibration(["late"])
    curve = many.calibration_curve("late")
    axis = figure.axes[0]
    assert any(np.array_equal(line.get_ydata(), curve.observed) for line in axis.lines)
    row = many.calibration().set_index("strategy").loc["late"]
    assert f"slope {row['slope']:.2f}" in " ".join(texts_of(axis))
    bars = axis.child_axes[0].patches
    assert len(bars) == 40


def test_small_counts_of_a_distribution_are_not_drawn(result):
    frame = result.risk_distribution("early", n_bins=20)
    part = result.predictions_
    events = np.histogram(part.loc[part["y"] == 1, "early"], np.linspace(0, 1, 21))[0]
    is_small = (events > 0) & (events < 10)
    assert is_small.any()
    np.testing.assert_array_equal(frame["events"].isna(), is_small)
    np.testing.assert_array_equal(frame.loc[~is_small, "events"], events[~is_small])
    bars = result.plot.calibration(["early"]).axes[0].child_axes[0].patches[:20]
    heights = np.array([bar.get_height() for bar in bars])
    assert set(heights[is_small]) == {10.0}
    with pytest.raises(ValueError, match="n_bins"):
        result.risk_distribution("early", n_bins=0)
    with pytest.raises(ValueError, match="not one of the strategies"):
        result.risk_distribution("joint")


def test_forest_has_the_numbers_beside_the_rows(result):
    figure = result.plot.forest()
    table = result.differences_.query("metric == 'roc_auc' and relation == 'matched'")
    shown = " ".join(texts_of(figure))
    for row in table.to_dict("records"):
        text = f"{row['estimate']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
        assert text.replace("-", "\N{MINUS SIGN}") in shown
    assert result.plot.forest(["brier"]).axes[0].xaxis_inverted()
    assert not figure.axes[0].xaxis_inverted()


def test_subgroups_show_estimates_and_reasons(result):
    frame = subgroups(result)
    figure = result.plot.subgroups(frame, strategy="late")
    own = frame[(frame["strategy"] == "late") & frame["difference"].notna()]
    drawn = [line.get_xdata() for line in figure.axes[0].lines]
    for row in own.to_dict("records"):
        limits = (row["difference_low"], row["difference_high"])
        assert any(np.allclose(x, limits) for x in drawn if len(x) == 2)
    shown = " ".join(texts_of(figure)).replace("\n", " ")
    assert "fewer than 10 patients with an event" in shown
    with pytest.raises(ValueError, match="strategy"):
        result.plot.subgroups(frame, strategy="joint")
    with pytest.raises(ValueError, match="lacks the columns"):
        result.plot.learning(pd.DataFrame({"strategy": ["late"]}))


@pytest.mark.long
def test_scores_without_a_modality_and_with_fewer_patients():
    found = compared(n=160, scoring=["roc_auc"])
    missing = found.missing_curve("image", [0.0, 0.5, 1.0], n_repeats=1)
    learning = found.learning_curve([0.5, 1.0])
    for figure, frame in (
        (found.plot.missing(missing), missing),
        (found.plot.learning(learning), learning),
    ):
        for axis, name in zip(figure.axes, ["early", "late"], strict=True):
            own = frame[(frame["strategy"] == name) & frame["estimate"].notna()]
            drawn = [np.asarray(line.get_ydata()) for line in axis.lines]
            assert any(np.array_equal(y, own["estimate"]) for y in drawn)
        markers = [line.get_marker() for line in figure.axes[0].lines]
        assert len(set(markers)) == len(markers) == 3
    by_name = found.plot.missing("image", rates=[0.0, 0.5, 1.0], n_repeats=1)
    assert texts_of(by_name) == texts_of(found.plot(kind="missing", missing=missing))


# -- names ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["scores", "differences", "forest", "roc", "pr", "calibration", "decision"]
)
@pytest.mark.filterwarnings("ignore:No installed font")
@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_are_whole_and_no_formulae(long_named, kind):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="constrained_layout")
        figure = long_named.plot(kind=kind)
        assert cut_or_overlapping(figure) == []
    texts = [text for text in figure.findobj(Text) if "$" in text.get_text()]
    assert not any(text.get_parse_math() for text in texts)
    if kind in ("scores", "differences", "forest"):
        assert texts
        shown = "".join("".join(texts_of(figure)).split())
        assert "computed_tomography_pulmonary_angiogram" in shown


def test_dark_figures_have_light_texts(result):
    with pyplot.style.context("dark_background"):
        for kind in ("forest", "roc", "calibration"):
            axis = result.plot(kind=kind).axes[0]
            labels = [*axis.get_yticklabels(), axis.xaxis.label, *axis.texts]
            for text in labels:
                assert contrast(text.get_color(), "black") > 4.5


def test_minus_signs_are_the_same_everywhere(result):
    for kind in ("forest", "differences"):
        for text in texts_of(result.plot(kind=kind)):
            assert "-0" not in text


# -- marks ----------------------------------------------------------------------------


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_marks_are_told_apart_without_colour(theme):
    looks = {
        (mark.marker, mark.filled, mark.dashes) for mark in STRATEGY_MARKS.values()
    }
    assert len(looks) == len(STRATEGY_MARKS)
    for first, second in combinations(STRATEGY_MARKS.values(), 2):
        assert (first.marker, first.filled) != (second.marker, second.filled)
    for name in ("single", "early", "joint", "late"):
        colour = getattr(theme, name)
        # late fusion is 2.98 on white, for marks with an edge in ink only
        assert contrast(colour, theme.surface) >= 2.9
    assert contrast(theme.single, theme.surface) >= 4.5


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]


def lab_of(colour, vision):
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    x, y, z = np.cbrt(np.array(TO_XYZ) @ seen / [0.95047, 1.0, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("vision", VISION)
def test_strategies_are_told_apart_with_any_colour_vision(theme, vision):
    names = ("single", "early", "joint", "late")
    colours = [lab_of(getattr(theme, name), vision) for name in names]
    for first, second in combinations(colours, 2):
        assert np.linalg.norm(first - second) > 14


def test_strategies_differ_in_grey():
    names = ("single", "early", "joint", "late")
    light = sorted(lab_of(getattr(LIGHT, name), "normal")[0] for name in names)
    assert np.diff(light).min() > 7


def test_strategies_of_a_kind_differ_and_unknown_ones_have_a_mark(result):
    from dataclasses import replace

    table = result.strategies_.copy()
    extra = table.loc[["early", "late", "late"]].copy()
    extra.index = pd.Index(["early again", "a stack", "late again"], name="strategy")
    extra["estimator"] = ["Pipeline", "StackingClassifier", "LateFusionClassifier"]
    changed = replace(result, strategies_=pd.concat([table, extra]))
    marks = strategy_marks(changed)
    fusions = ["early", "late", "early again", "a stack", "late again"]
    assert marks["early"] == "early"
    assert marks["late"] == "late"
    assert len({marks[name] for name in fusions}) == 5
    assert marks["image in early"] == "single"


# -- the page draws the same ----------------------------------------------------------


def test_page_draws_the_points_of_the_table(result):
    figure = figure_of(roc_plot(result, ["late"]))
    (panel,) = figure.panels
    (line,) = [s for s in panel.shapes if s.kind == "line"]
    points = np.array([pair.split() for pair in line.d[1:].split("L")], dtype=float)
    frame = result.roc_curve("late")
    x, y = 100 * frame["false_positive_rate"], 100 - 100 * frame["sensitivity"]
    np.testing.assert_allclose(points, np.column_stack([x, y]), atol=0.01)
    assert [item.label for item in figure.key][-1] == "chance"
    assert line.dash


def test_lines_end_at_the_axes(result):
    figure = figure_of(decision_plot(result, thresholds=[0.1, 0.3, 0.6, 0.9]))
    for panel in figure.panels:
        for shape in panel.shapes:
            points = [pair.split() for pair in shape.d[1:].split("L")]
            heights = [float(y) for _, y in points]
            assert all(-4 <= y <= 104 for y in heights)


def test_every_mark_has_a_path():
    for name, mark in STRATEGY_MARKS.items():
        assert mark.marker == "o" or mark.marker in CORNERS
        assert marker_path(name).endswith("Z")


def test_rows_without_an_estimate_have_no_mark():
    nothing = {"label": "x", "text": "too few", "estimate": np.nan}
    rows = [nothing | {"low": np.nan, "high": np.nan}]
    rows.append({"label": "y", "text": "0.1", "estimate": 0.1, "low": 0.0, "high": 0.2})
    forest = forest_of("h", [("g", rows)], "late", reference=0.0)
    first, second = forest.groups[0][1]
    assert first.middle is None
    assert first.low is None
    assert second.low < second.middle < second.high


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0.0, 0.5), ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        ((-0.02, 0.03), ["\N{MINUS SIGN}0.02", "\N{MINUS SIGN}0.01", "0.00"]),
        ((0, 1000), ["0", "200", "400"]),
    ],
)
def test_ticks_are_round(ends, expected):
    texts = [text for _, text in round_values(*ends)]
    assert texts[: len(expected)] == expected
