"""Figures with names of users: long, in other scripts, and with signs of formulae."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figure_texts import cut_or_overlapping
from matplotlib import pyplot
from matplotlib.colors import to_rgb
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from skfusion._figures.style import DARK, LIGHT, contrast, ink_on
from skfusion._figures.texts import (
    LAST_RESORT,
    format_number,
    text_width,
    wrap_name,
    wrap_names,
    wrap_sentence,
)
from skfusion.exceptions import FallbackWarning
from skfusion.inspection import (
    FoldImportance,
    ModalityExplanation,
    ModalityReport,
    ModalityScores,
)
from skfusion.inspection.modalities.provenance import Provenance
from skfusion.inspection.modalities.results import named_pairs
from skfusion.inspection.shapley import all_coalitions, exact_plan, interaction_matrix

mpl.use("Agg")

# Without this font, of matplotlib 3.11, a drawing warns of each letter.
HAS_BOXES = LAST_RESORT in {font.name for font in fontManager.ttflist}

LONG = [
    "computed_tomography_pulmonary_angiogram",
    "laboratory results of the first 24 hours",
    "cost_in_$_(US$) and 100% of a\\b_{ <x>",
    "m" * 40,
    "vital_signs_measured_by_the_bedside_nurse",
    "electrocardiogram (12 leads, at rest)",
    "demographics",
    "medication_before_admission_by_class_XYZ",
]
CHINESE = [
    "\u80f8\u90e8CT",
    "\u7535\u5b50\u75c5\u5386",
    "\u751f\u547d\u4f53\u5f81",
    "\u5fc3\u7535\u56fe",
    "\u75c5\u7406\u62a5\u544a",
    "\u4eba\u53e3\u7edf\u8ba1",
    "\u7528\u836f\u8bb0\u5f55",
    "\u5f71\u50cf",
]
CLASS = "malignant_melanoma of the skin ($ulcerated$)"


@pytest.fixture(autouse=True)
def _close():
    yield
    pyplot.close("all")


def explanation(names, n_classes=2, n_cases=30):
    rng = np.random.default_rng(0)
    n = len(names)
    outputs = () if n_classes == 2 else (n_classes,)
    table = rng.normal(size=(2**n, n_cases, *outputs))
    table[0] = table[0, 0]
    pairs = np.tensordot(interaction_matrix(n), table, axes=1)
    classes = (CLASS, *map(str, range(1, n_classes)))
    return ModalityExplanation(
        values=np.moveaxis(exact_plan(n).shapley(table), 0, 1),
        base_values=np.asarray(table[0, 0]),
        modalities=tuple(names),
        output=f"log-odds of {CLASS}" if n_classes == 2 else "log-odds",
        scale="link",
        classes=None if n_classes == 2 else classes,
        coalition_values=np.moveaxis(table, 0, 1),
        interactions=named_pairs(tuple(names), pairs) if n > 1 else {},
        standard_errors=None,
        presence=pd.DataFrame(rng.random((n_cases, n)) < 0.8, columns=list(names)),
        outcome=np.where(rng.random(n_cases) < 0.5, CLASS, "benign"),
        patients=np.arange(n_cases) // 2,
    )


def scores(names):
    n = len(names)
    values = np.linspace(0.5, 0.9, 2**n) - 0.05 * (all_coalitions(n).sum(axis=1) == 1)
    estimate = exact_plan(n).shapley(values)
    return ModalityScores(
        game="performance",
        scoring="AUROC (one vs rest)",
        modalities=tuple(names),
        estimate=estimate,
        low=estimate - 0.1,
        high=estimate + 0.1,
        standard_errors=np.full(n, 0.05),
        method="DeLong",
        confidence_level=0.95,
        coalition_scores=pd.Series(values, index=[f"set {k}" for k in range(2**n)]),
        coalitions=all_coalitions(n),
        coalition_low=values - 0.05,
        coalition_high=values + 0.05,
        coalition_present=np.arange(2**n) * 10,
        n_cases=10 * 2**n,
        interactions={
            pair: float(value)
            for pair, value in named_pairs(
                tuple(names), interaction_matrix(n) @ values
            ).items()
        },
        drop_one=np.zeros(n),
    )


KINDS = ["share", "waterfall", "beeswarm", "interactions"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("names", "n_classes"),
    [
        (LONG[:1], 2),
        (LONG[:2], 4),
        (LONG, 2),
        pytest.param(["m0"], 4, marks=pytest.mark.slow),
        pytest.param(["a", "b"], 2, marks=pytest.mark.slow),
    ],
    ids=["1 long", "2 long, 4 classes", "8 long", "1 short", "2 short"],
)
def test_no_name_is_cut(names, n_classes, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display = explanation(names, n_classes).plot(kind)
        assert cut_or_overlapping(display.figure_) == []
    assert display.ax_.get_window_extent().width > 0.3 * display.figure_.bbox.width


@pytest.mark.parametrize("kind", ["bars", "interactions", "subsets"])
@pytest.mark.parametrize("names", [LONG[:2], LONG[:4], LONG, ["a", "b"]], ids=len)
@pytest.mark.long
def test_no_name_or_number_of_scores_is_cut(names, kind):
    assert cut_or_overlapping(scores(names).plot(kind).figure_) == []


def folds(names, strategies):
    """Importance over five models of each strategy."""
    rng = np.random.default_rng(0)
    places = [(s, f, m) for s in strategies for f in range(5) for m in names]
    models = pd.DataFrame(places, columns=["strategy", "fold", "modality"])
    models["share"] = rng.random(len(models)) / len(names)
    models["contribution"] = rng.normal(0.05, 0.05, len(models))
    models["null_share"] = 0.1
    models["repeat"], models["n_patients"] = 0, 10
    scores = models.drop_duplicates(["strategy", "fold"]).assign(score=0.8)
    index = pd.MultiIndex.from_product(
        [strategies, names], names=["strategy", "modality"]
    )
    counts = pd.DataFrame({"n_present": 50, "n_patients": 50}, index=index)
    what = f"log-odds of {CLASS}"
    return FoldImportance(
        models,
        scores,
        "AUROC (one vs rest)",
        what,
        "held-out rows of each fold",
        counts,
    )


@pytest.mark.parametrize("kind", ["share", "contribution"])
@pytest.mark.parametrize("strategies", [["early"], ["early", "a strategy " * 4]])
@pytest.mark.parametrize("names", [LONG[:2], LONG, ["a", "b"], CHINESE[:1]], ids=len)
@pytest.mark.long
def test_no_name_or_number_of_folds_is_cut(names, strategies, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)  # no font on some machines
        if not HAS_BOXES:
            warnings.filterwarnings("ignore", "Glyph ", UserWarning)
        figure = folds(names, strategies).plot(kind).figure_
        assert cut_or_overlapping(figure) == []


@pytest.mark.parametrize("names", [LONG[:2], LONG], ids=len)
def test_null_shares_fit_beside_long_names(names):
    found = explanation(names)
    rng = np.random.default_rng(0)
    nulls = {name: rng.normal(size=(2, *found.values.shape)) for name in names}
    display = replace(found, null_values=nulls).plot("share")
    assert cut_or_overlapping(display.figure_) == []
    assert len(display.ax_.collections[0].get_offsets()) == len(names)


@pytest.mark.parametrize("names", [["a", "b"], LONG[:2], LONG], ids=len)
@pytest.mark.long
def test_no_text_of_the_panels_of_a_report_is_cut(names):
    found = scores(names)
    shares = pd.DataFrame({"estimate": found.estimate, "low": 0.0, "high": 1.0})
    report = ModalityReport(
        explanation(names), found, found, shares, shares, Provenance(30, 0)
    )
    figure = report.plot()
    assert len(figure.axes) == 3
    figure.canvas.draw()
    for axis in figure.axes:
        box = axis.xaxis.label.get_window_extent()
        assert box.x0 > -2
        assert box.x1 < figure.bbox.width + 2
        others = [a.xaxis.label.get_window_extent() for a in figure.axes if a != axis]
        assert not any(box.overlaps(other) for other in others)


@pytest.mark.parametrize("n_modalities", [2, 3])
def test_outcomes_of_long_names(n_modalities):
    figure = explanation(LONG[:n_modalities]).plot("outcome").figure_
    assert cut_or_overlapping(figure) == []


@pytest.mark.parametrize("kind", KINDS)
def test_letters_without_a_font_are_one_warning(kind, caplog):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        display = explanation(CHINESE).plot(kind)
        display.figure_.canvas.draw()
    caught = [w for w in caught if HAS_BOXES or "Glyph " not in str(w.message)]
    told = [str(warning.message) for warning in caught]
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    if told:  # no installed font has them
        assert len(told) == 1
        assert "Install a font" in told[0]
        assert issubclass(caught[0].category, FallbackWarning)
        assert any(name.startswith("2. ") for name in names)
    else:
        assert any(CHINESE[1] in name for name in names)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_names_are_no_formulae():
    display = explanation(LONG).plot("share")
    shown = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert shown[2].replace("\n", " ") == LONG[2]
    assert not any(
        text.get_parse_math()
        for text in display.ax_.findobj(lambda artist: isinstance(artist, Text))
    )


def test_texts_of_the_user_stay_formulae():
    figure, axis = pyplot.subplots(layout="constrained")
    title = axis.set_title("$x_1$")
    explanation(["a", "b"]).plot("share", ax=axis)
    assert title.get_parse_math()
    assert title.get_text() == "$x_1$"
    figure.canvas.draw()


def test_captions_say_how_many_and_of_what():
    found = explanation(["image", "ehr"], 4)
    axis = found.plot("share").ax_
    caption = axis.get_title(loc="left").replace("\n", " ")
    assert caption.startswith("15 patients. 95% intervals: bootstrap over patients")
    n_present = found.presence["image"].sum()
    assert f"present in {n_present} of 30" in axis.texts[0].get_text()
    caption = found.plot("waterfall", case=3, case_label="P 7").ax_.get_title("left")
    assert caption.startswith("P 7, outcome ")
    assert "is the first of 4 outputs" in caption.replace("\n", " ")
    chosen = found.plot("waterfall", case=3, output="2").ax_
    assert "outputs" not in chosen.get_title("left")
    assert chosen.child_axes[0].get_xlabel() == "probability"
    one = found[:1].plot("share").ax_  # no interval of one case
    assert one.get_title("left") == "1 patients"


def test_signs_of_interactions_are_colours():
    found = scores(["a", "b"])
    axis = found.plot("interactions").ax_
    (image,) = axis.images
    value = found.interactions["a", "b"]
    assert value > 0 > -value
    higher, lower = image.cmap(image.norm(value)), image.cmap(image.norm(-value))
    assert higher[2] > higher[0]  # blue
    assert lower[0] > lower[2]  # vermilion
    assert image.norm(0.0) == 0.5
    for text in axis.texts:
        row, column = int(text.get_position()[1]), int(text.get_position()[0])
        cell = image.cmap(image.norm(image.get_array()[row, column]))
        assert contrast(text.get_color(), cell) >= 4.5


def test_dark_figures_have_light_texts():
    with pyplot.style.context("dark_background"):
        axis = explanation(["image", "ehr"]).plot("share").ax_
    texts = [axis.xaxis.label, *axis.get_yticklabels(), *axis.texts]
    assert min(contrast(text.get_color(), "black") for text in texts) > 4.5


def test_given_axes_are_kept_and_their_texts_fit():
    figure, axis = pyplot.subplots(figsize=(3.5, 2.6), layout="constrained")
    display = explanation(LONG[:2]).plot("share", ax=axis)
    assert display.ax_ is axis
    assert cut_or_overlapping(figure) == []


# -- the helpers ------------------------------------------------------------------


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_are_told_apart(theme):
    for text in (theme.ink, theme.secondary):
        assert contrast(text, theme.surface) >= 4.5
    for mark in (theme.towards, theme.away):
        assert contrast(mark, theme.surface) >= 3
        assert contrast(ink_on(mark), mark) >= 4.5
    assert to_rgb(theme.towards)[2] > to_rgb(theme.towards)[0]
    assert to_rgb(theme.away)[0] > to_rgb(theme.away)[2]


def test_names_are_wrapped_at_good_places():
    assert wrap_name("chest_xray") == "chest_xray"
    lines = wrap_name(LONG[1]).split("\n")
    assert lines == ["laboratory results of", "the first 24 hours"]
    assert "".join(wrap_name("m" * 40).split("\n")) == "m" * 40
    long = wrap_name("x" * 200).split("\n")
    assert [len(line) for line in long] == [22, 22, 22]
    assert long[-1].endswith("\N{HORIZONTAL ELLIPSIS}")
    # A Chinese letter is as wide as two.
    assert max(map(len, wrap_name("\u80f8" * 30).split("\n"))) == 11


def test_cut_names_that_look_equal_are_numbered():
    names = ["x" * 90 + "1", "x" * 90 + "2", "ehr"]
    first, second, third = wrap_names(names)
    assert (first[:3], second[:3], third) == ("1. ", "2. ", "ehr")


def test_sentences_fit_the_width():
    text = "share of contributions to the log-odds of " + "m" * 60
    lines = wrap_sentence(text, 2.0, 8.0).split("\n")
    assert len(lines) > 2
    assert max(text_width(line, 8.0) for line in lines) < 2.3


def test_numbers_have_the_minus_sign_of_the_axes():
    assert format_number(-0.126) == "\N{MINUS SIGN}0.13"
    assert format_number(-0.0001, sign=True) == "0.00"
