"""Parts of the page: cohort, results that are passed, checklist, all numbers."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, LateFusionClassifier, compare_fusion
from skfusion._figures.texts import true_minus
from skfusion.evaluation.report.checklist import ITEMS, checklist
from skfusion.evaluation.report.cohort_tables import (
    absence_table,
    characteristics_table,
)
from skfusion.evaluation.report.extras import audit_part, importance_part
from skfusion.evaluation.report.given_tables import frame_table
from skfusion.evaluation.report.methods import abstract
from skfusion.evaluation.report.report import render

MINUS = "\N{MINUS SIGN}"


def compared(n=400, *, lacking=40, events_only=False, **kwargs):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n, 2)), columns=["lesion", "age"])
    y = (X.sum(axis=1) + rng.normal(size=n) > 0).astype(int)
    X["patient_id"] = np.arange(n) // 2
    gone = np.flatnonzero(y == 1)[:lacking] if events_only else np.arange(lacking)
    X.loc[gone, "lesion"] = np.nan
    parts = [("ct", StandardScaler(), ["lesion"]), ("ehr", StandardScaler(), ["age"])]
    learner = LogisticRegression()
    fusions = {
        "early": EarlyFusionClassifier(parts, estimator=learner),
        "late": LateFusionClassifier(parts, estimator=learner),
    }
    settings = {"cv": 5, "n_repeats": 1, "random_state": 0} | kwargs
    return compare_fusion(fusions, X, y, groups="patient_id", **settings)


@pytest.fixture(scope="module")
def result():
    return compared()


@pytest.fixture(scope="module")
def given(result):
    sex = np.where(np.arange(400) // 2 % 2, "f", "m")
    return {
        "operating_point": result.operating_point(sensitivity=0.9),
        "subgroups": result.by_group({"sex": sex}),
        "missing": result.missing_curve("ct", [0, 0.5, 1], n_repeats=1),
        "learning": result.learning_curve([0.5, 1]),
        "table_one": result.table_one(),
    }


@pytest.fixture(scope="module")
def page(result, given):
    return render(result, **given)


def text_of(page):
    body = page.partition("</style>")[2].replace("<wbr>", "")
    body = re.sub(r"<svg.*?</svg>", " ", body, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", " ", body)
    return " ".join(text.replace("&lt;", "<").replace("&gt;", ">").split())


class Importance:
    """Object with a frame and a plot."""

    sentences = {"ct": "The model relies on <b>ct</b>."}
    pitfalls = ["Intervals hold for many patients."]

    def __init__(self, frame):
        self.frame = frame

    def to_frame(self):
        return self.frame

    def plot(self):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(3, 2))
        figure.subplots().set_title("importance of $ct_{x}$", parse_math=False)
        return figure


def shares():
    index = pd.Index(["ct", "ehr"], name="modality")
    columns = {"share": [0.61, 0.39], "low_cases": [0.5, 0.3], "high_cases": [0.7, 0.5]}
    return pd.DataFrame(columns | {"n_present": [360, 4]}, index=index)


# -- opening --------------------------------------------------------------------------


@pytest.mark.long
def test_three_sentences_say_what_was_asked_and_found(result, page):
    text = abstract(result)
    assert text.count(". ") + 1 == 3
    assert text in text_of(page)
    scores = result.to_frame()["roc_auc"]["estimate"]
    for value in (
        scores[["early", "late"]].max(),
        scores.drop(["early", "late"]).max(),
    ):
        assert f"{value:.3f}" in text
    assert "ct and ehr predicts class 1" in text
    assert "400 rows of 200 patients" in text


# -- who lacks a modality -------------------------------------------------------------


def test_absences_are_counted_by_class(result):
    table = absence_table(result)
    y = result.predictions_.sort_values("row")["y"].to_numpy()
    n_events = int(y[:40].sum())
    row = [cell.text for cell in table.rows[0]]
    assert row == ["ct", "40", str(n_events), str(40 - n_events)]
    assert table.rows[0][2].small == f"{n_events / y.sum():.1%}"
    assert table.rows[-1][0].text == "at least one modality"


@pytest.mark.filterwarnings("ignore:compare_fusion, 'early' warned")
@pytest.mark.parametrize(("lacking", "events_only"), [(4, False), (60, True)])
@pytest.mark.long
def test_small_counts_of_absences_are_withheld(lacking, events_only):
    found = compared(lacking=lacking, events_only=events_only, n_repeats=1, cv=3)
    text = json.dumps(found.cohort_["absences"])
    page = text_of(render(found))
    if not events_only:
        assert found.cohort_["absences"][0]["n_absent"] == "<10"
        assert found.cohort_["absences"][0]["events"] == "withheld"
        assert "ct <10 withheld withheld" in page
        assert not re.search(r"\b[1-9]\b", text)
    else:  # no row of the other class lacks it, which is a 0 and not small
        assert found.cohort_["absences"][0]["others"]["n"] == 0
    assert absence_table(compared(lacking=0, n_repeats=1, cv=3)) is None


@pytest.mark.long
def test_characteristics_name_what_is_missing(result, page, given):
    text = text_of(page)
    table = given["table_one"]
    for row in table.to_dict("records"):
        assert row["variable"] in text
        assert true_minus(str(row["overall"])) in text
    from dataclasses import replace

    alone = text_of(render(replace(result, context_=None)))
    assert "There is no table of the cohort" in alone


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ("<10", "withheld"),
            ('"<10" is a count from 1 to 9', '"withheld" is a value'),
        ),
        (("<5 (<10%)", "12"), ('"<5" is a count from 1 to 4',)),
        (("1234", "12 (4.0%)"), ()),
    ],
)
def test_the_caption_of_characteristics_explains_what_is_hidden(result, cells, said):
    frame = pd.DataFrame(
        {
            "variable": ["<10 years", "withheld"],
            "level": ["", ""],
            "missing": [0, 0],
            "overall": cells,
        }
    )
    caption = characteristics_table(result, frame)[0].caption
    for words in said:
        assert words in caption
    assert ("is a count" in caption) == any("<" in cell for cell in cells)
    assert ("withheld" in caption) == ("withheld" in cells)
    assert ('"<10"' in caption) == ("<10" in cells)


# -- parts that are passed ------------------------------------------------------------


@pytest.mark.long
def test_page_has_the_sections_that_were_given_and_no_other(result, page):
    bare = render(result)
    for anchor in ("missing", "subgroups", "learning"):
        assert f'<h2 id="{anchor}">' in page
        assert f'<h2 id="{anchor}">' not in bare
    assert "No operating point was declared" in bare
    assert "No operating point was declared" not in page
    assert "Operating point for a sensitivity of at least 0.9" in page


@pytest.mark.long
def test_thresholds_are_those_of_the_decision_curve(result):
    page = render(result, thresholds=[0.1, 0.25])
    text = text_of(page)
    assert "was not declared before" in text_of(render(result))
    assert "was not declared before" not in text
    shown = text[text.index("Net benefit at some thresholds") :]
    row = result.net_benefit([0.1, 0.25]).query("strategy == 'late'").iloc[1]
    numbers = [row["net_benefit"], row["net_benefit_reference"], row["treat_all"]]
    expected = " ".join(f"{number:.3f}" for number in numbers).replace("-", MINUS)
    assert f"late 0.25 {expected}" in shown


@pytest.mark.long
def test_event_that_was_not_declared_is_said():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 2)), columns=["lesion", "age"])
    y = np.where(X.sum(axis=1) + rng.normal(size=120) > 0, "embolism", "none")
    parts = [("ct", StandardScaler(), ["lesion"]), ("ehr", StandardScaler(), ["age"])]
    late = LateFusionClassifier(parts, estimator=LogisticRegression())
    settings = {"scoring": "roc_auc", "cv": 3, "n_repeats": 1, "random_state": 0}
    unknown = compare_fusion({"late": late}, X, y, **settings)
    known = compare_fusion({"late": late}, X, y, pos_label="embolism", **settings)
    assert "Class none counts as the event" in text_of(render(unknown))
    assert "counts as the event" not in text_of(render(known))
    assert "predicts class embolism" in abstract(known)


def test_captions_say_what_is_counted(given, page, result):
    row = given["operating_point"].iloc[0]
    counts = f"400 rows of 200 patients, of which {row['n_event_rows']} rows of "
    shown = text_of(page)
    assert f"not of patients: {counts}{row['n_events']} patients" in shown
    assert "counts as a patient of each" not in shown  # sex is that of a patient
    side = {"side": np.arange(400) % 2}
    shown = text_of(render(result, subgroups=result.by_group(side)))
    assert "counts as a patient of each" in shown


def test_notebook_shows_the_verdict_and_the_scores(result):
    shown = result._repr_html_()
    assert result.verdict_.headline in shown
    assert f"{result.to_frame().loc['late', ('roc_auc', 'estimate')]:.3f}" in shown


@pytest.mark.long
def test_importance_is_shown_with_its_picture(result):
    page = render(result, importance=Importance(shares()))
    text = text_of(page)
    assert "ct 0.610 0.500 to 0.700 360" in text
    assert "ehr 0.390 0.300 to 0.500 <10" in text
    assert "relies on <b>ct</b>." in text  # escaped in the page
    assert "<b>ct</b>" not in page
    assert "Pitfall: Intervals hold" in text
    (picture,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    svg = base64.b64decode(picture).decode("utf-8")
    assert "importance of $ct_{x}$" in svg


def test_ranges_over_models_are_written_with_their_means():
    frame = pd.DataFrame({
        "modality": ["ct"], "share": [0.61], "share_lowest": [0.5],
        "share_highest": [0.7], "n_models": [5], "n_present": [7],
    })  # fmt: skip
    table = frame_table(frame, "", owner="importance")
    assert [(cell.text, cell.small) for cell in table.rows[0]] == [
        *(("ct", ""), ("0.610", "0.500 to 0.700"), ("5", ""), ("<10", ""))
    ]


@pytest.mark.long
def test_page_needs_no_matplotlib(result, monkeypatch):
    import sys

    for name in list(sys.modules):
        if name.partition(".")[0] == "matplotlib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "ROC curves" in render(result)
    with pytest.raises(ImportError, match=r"'matplotlib'.*skfusion\[report\]"):
        result.plot.roc()


def test_two_levels_of_columns_are_a_table_each():
    frame = pd.concat({"reliance": shares(), "drop_one": shares()}, axis=1)
    part = importance_part(Importance(frame))
    assert [table.caption for table in part.tables] == ["Reliance.", "Drop one."]


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: importance_part(shares()), TypeError, "has no|must have"),
        (lambda: importance_part(object()), TypeError, "must have a method to_frame"),
        (lambda: audit_part(3), TypeError, "audit must have a method to_frame"),
        (
            lambda: frame_table(pd.DataFrame({"a": range(300)}), "", owner="audit"),
            ValueError,
            "300 rows, expected a summary",
        ),
    ],
)
def test_other_objects_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_frames_of_other_methods_are_refused(result, given):
    with pytest.raises(ValueError, match=r"lacks the columns .*missing_curve"):
        render(result, missing=given["learning"])
    with pytest.raises(ValueError, match=r"learning lacks the columns"):
        render(result, learning=given["missing"])
    with pytest.raises(TypeError, match="must be the DataFrame"):
        render(result, operating_point={"sensitivity": 0.9})
    with pytest.raises(ValueError, match="has no rows"):
        render(result, missing=given["missing"].iloc[:0])


@pytest.mark.long
def test_audit_is_shown_with_or_without_findings(result):
    class Audit:
        rows = [{"check": "rows twice", "severity": "warning", "n_rows": 12, "x": None}]

        def to_frame(self):
            return pd.DataFrame(self.rows)

    text = text_of(render(result, audit=Audit()))
    assert "rows twice warning 12 \N{EN DASH}" in text
    Audit.rows = []
    assert "The audit found nothing to report." in text_of(
        render(result, audit=Audit())
    )


# -- checklist ------------------------------------------------------------------------


def test_items_are_ticked_only_where_computed(result, page):
    numbers = [item[0] for item in ITEMS]
    assert len(numbers) == len(set(numbers))
    assert {int(re.match(r"\d+", number)[0]) for number in numbers} == set(range(1, 28))
    bare = {row.number: row for row in checklist(result, ["cohort"]).rows}
    full = {row.number: row for row in checklist(
        result, ["cohort", "characteristics", "subgroups", "missing", "operating"]
    ).rows}  # fmt: skip
    for number in ("20b", "23a"):
        assert bare[number].state != "done"
        assert full[number].state == "done"
    for number in ("14", "15", "27a"):
        assert bare[number].state == "author"
        assert full[number].state == "part"
    for number in ("1", "3c", "8a", "17", "18a", "19", "25"):
        assert full[number].state == "author"
    for row in full.values():
        assert bool(row.anchor) == (row.state != "author")
        assert row.note or row.state != "part"
        if row.anchor:
            assert f'id="{row.anchor}"' in page


# -- every number ---------------------------------------------------------------------


def triples_of(result, given):
    """Return all estimates with their limits, as texts of two and three decimals."""
    frames = [result.scores_, result.differences_, result.tests_]
    frames += [result.calibration(), result.net_benefit()]
    frames += [given[name] for name in ("operating_point", "subgroups")]
    frames += [given["missing"], given["learning"]]
    parts = ("intercept", "slope", "in_the_large", "observed_expected", "threshold")
    parts += ("sensitivity", "specificity", "ppv", "npv", "difference", "interaction")
    names = [(part, f"{part}_low", f"{part}_high") for part in parts]
    names += [("estimate", "low", "high"), ("difference", "low", "high")]
    found = set()
    for frame in frames:
        for triple in names:
            if set(triple) <= set(frame):
                values = frame[list(triple)].astype(float).dropna().to_numpy()
                for decimals in (2, 3):
                    found |= {texts(row, decimals) for row in values}
    return found


def texts(row, decimals):
    shown = [f"{abs(value):.{decimals}f}" for value in row]
    signs = [
        "-" if value < 0 and float(text) else ""
        for value, text in zip(row, shown, strict=True)
    ]
    return tuple(sign + text for sign, text in zip(signs, shown, strict=True))


def test_every_interval_of_the_page_is_one_of_the_results(result, given, page):
    known = triples_of(result, given)
    text = text_of(page).replace(MINUS, "-").replace("+", "")
    number = r"(-?\d+\.\d+)"
    shown = re.findall(rf"(?<![\w.]){number} \(?{number} to {number}(?![\d.])", text)
    svg = re.findall(r'<p class="fact">(.*?)</p>', page)
    assert len(svg) >= 6
    assert len(shown) > 120
    assert [triple for triple in shown if triple not in known] == []
    # a digit that is changed would be noticed
    other = {digit: str((int(digit) + 5) % 10) for digit in "0123456789"}
    changed = [(first[:-1] + other[first[-1]], *rest) for first, *rest in shown]
    assert sum(triple in known for triple in changed) < 0.05 * len(changed)
