"""The page: whole, self-contained, escaped, true to the tables, without patients."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy.stats import uniform
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    compare_fusion,
)
from skfusion._figures.style import LIGHT
from skfusion._figures.texts import true_minus
from skfusion.evaluation import calibration_summary, net_benefit_difference
from skfusion.evaluation.comparison.collecting import searches_of
from skfusion.evaluation.comparison.comparison import plan_comparison
from skfusion.evaluation.report.figures.forest import difference_forest, score_forest
from skfusion.evaluation.report.methods import methods
from skfusion.evaluation.report.report import render
from skfusion.evaluation.report.tables import calibration_table, removal_table

VOID = {"meta", "br", "hr", "img", "link", "input", "wbr"}
MINUS = "\N{MINUS SIGN}"


class Page(HTMLParser):
    """Collects tags, links and text; checks that tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.parts = Counter(), Counter(), [], []
        self.open = []
        self.feed(text.replace("<wbr>", ""))
        assert self.open == []
        self.text = " ".join("".join(self.parts).split())

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.parts.append(" ")
        for name, value in attrs:
            if name == "id":
                self.ids[value] += 1
            if name in ("src", "href", "xlink:href", "data", "srcset", "action"):
                self.links.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.parts.append(" ")

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.parts.append(data)


def cohort(n=120, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=["lesion", "age", "crp"])
    total = X.sum(axis=1).to_numpy() + rng.normal(size=n)
    X["patient_id"] = [f"MRN-{1000 + i // 2}" for i in range(n)]
    X["hospital"] = [f"site {i // 2 % 3}" for i in range(n)]
    return X, total


def fusions(names=("image", "ehr"), columns=("lesion", "age"), *, only=None, task="c"):
    parts = [(n, StandardScaler(), [c]) for n, c in zip(names, columns, strict=True)]
    if task == "r":
        return {"early": EarlyFusionRegressor(parts, estimator=LinearRegression())}
    found = {
        "early": EarlyFusionClassifier(
            parts, estimator=LogisticRegression(), absence_copies=0
        ),
        "late": LateFusionClassifier(parts, estimator=LogisticRegression()),
    }
    return found if only is None else {only: found[only]}


def compare(y=None, *, estimators=None, n=120, missing=0, **kwargs):
    X, total = cohort(n)
    X.loc[: missing - 1, "lesion"] = np.nan
    target = (total > 0).astype(int) if y is None else y(total)
    settings = {"groups": "patient_id", "random_state": 0, "cv": 3} | kwargs
    if {"test", "sites"} & set(kwargs):
        settings.pop("cv")
    elif "n_repeats" not in kwargs:
        settings["n_repeats"] = 2
    return compare_fusion(
        fusions() if estimators is None else estimators, X, target, **settings
    )


@pytest.fixture(scope="module")
def result():
    return compare(missing=10, description="Made up for a test.", smallest_gain=0.02)


@pytest.fixture(scope="module")
def page(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    result.to_html(path)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sites():
    return compare(sites="hospital", scoring=["roc_auc", "brier"], n=240)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["late", "image in late"], "names stand for several strategies"),
        (["group"], "'group' cannot be the name of a strategy"),
        (["late", "y"], "'y' cannot be the name of a strategy"),
    ],
)
def test_names_that_the_tables_cannot_hold_are_refused(names, message):
    late = fusions(only="late")["late"]
    one = LateFusionClassifier(late.modalities[:1], estimator=LogisticRegression())
    given = dict(zip(names, [late, one], strict=False))
    with pytest.raises(ValueError, match=message):
        compare(estimators=given, n_repeats=1)


@pytest.mark.long
def test_rounding_error_of_a_probability_is_no_error(result):
    from dataclasses import replace

    table = result.predictions_.copy()
    table.loc[0, "early"] = 1.0 + 1e-12
    changed = replace(result, predictions_=table)
    assert "Calibration" in render(changed)


# -- the page as a file ---------------------------------------------------------------


def test_page_is_whole_and_loads_nothing(page):
    parsed = Page(page)
    assert page.startswith("<!DOCTYPE html>")
    assert parsed.tags["script"] == parsed.tags["link"] == parsed.tags["iframe"] == 0
    assert parsed.tags["img"] == 0
    # links within the page
    assert parsed.links
    assert {link.removeprefix("#") for link in parsed.links} <= set(parsed.ids)
    assert all(link.startswith("#") for link in parsed.links)
    assert "@import" not in page
    assert not re.search(r"url\(", page)
    assert not re.search(r"https?://", page)
    assert max(parsed.ids.values()) == 1


def test_same_result_same_page(result, page, tmp_path):
    result.to_html(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_page_markdown_and_json_hold_no_patient(page, result):
    for text in (page, result.to_markdown(), result.to_json(), result.summary()):
        assert "MRN" not in text
        for value in result.predictions_["late"].dropna().iloc[:20]:
            assert f"{value:.5f}" not in text


def test_names_are_escaped():
    estimators = fusions(("<img src=x>", "a | b"), only="late")
    result = compare(
        lambda total: np.where(total > 0, "a <script>bad()</script>", "<& b"),
        estimators=estimators,
        scoring="roc_auc",
        description="<i>caveat</i>",
        n_repeats=1,
    )
    text = render(result, title="<b>Heading</b>")
    parsed = Page(text)
    assert parsed.tags["script"] == parsed.tags["img"] == parsed.tags["i"] == 0
    assert "<b>Heading" not in text
    assert "&lt;script&gt;bad()&lt;/script&gt;" in text
    assert "&lt;b&gt;Heading&lt;/b&gt;" in text
    assert "<i>caveat</i>" in parsed.text
    marked = result.to_markdown()
    assert "<" not in marked.replace("\\<", "")
    assert "a \\| b" in marked


def test_missing_jinja_is_named(result, tmp_path, monkeypatch):
    import sys

    for name in list(sys.modules):
        if name.partition(".")[0] == "jinja2":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"'jinja2'.*skfusion\[report\]"):
        result.to_html(tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


# -- what a reader sees ---------------------------------------------------------------


def test_page_says_what_the_tables_say(page, result):
    text = Page(page).text
    frame = result.to_frame()
    for name in result.strategies_.index:
        for metric in ("roc_auc", "average_precision", "brier"):
            estimate, low, high = frame.loc[name, metric]
            assert f"{estimate:.3f} {low:.3f} to {high:.3f}" in text
    for row in result.differences_.to_dict("records"):
        limits = f"{row['low']:+.3f} to {row['high']:+.3f}".replace("-", MINUS)
        assert limits in text
    for row in result.tests_.to_dict("records"):
        assert f"{row['detectable']:.3f}" in text
        assert f"{row['n_needed']:,.0f}" in text
    assert "120 rows 60 patients" in text
    assert "image 110 91.7%" in text
    assert "3 \N{MULTIPLICATION SIGN} 2 folds and repetitions" in text


def test_verdict_comes_first_and_the_caveat_directly_below(page, result):
    text = Page(page).text
    order = [
        result.verdict_.headline + " " + true_minus(result.verdict_.details),
        "Before you use this result",
        "Made up for a test.",
        "The cohort",
        "image is absent in 10 of 120 rows.",
        "Scores",
        "Differences of each fusion",
        "All differences",
        "ROC curves",
        "Precision-recall curves",
        "Good calibration",
        "Decision curves of",
        "What it is about, and methods",
        "Settings of the comparison",
        "Reporting checklist",
    ]
    places = [text.index(part) for part in order[:3]]
    below = text.index("The cohort 120")  # the contents name the sections too
    places += [text.index(part, below) for part in order[3:]]
    assert places == sorted(places)


def test_warnings_of_the_run_stand_below_the_verdict():
    X, total = cohort()
    with pytest.warns(UserWarning, match="patient_id"):
        result = compare_fusion(
            fusions(only="late"),
            X,
            (total > 0).astype(int),
            scoring="roc_auc",
            cv=3,
            n_repeats=1,
            random_state=0,
        )
    warned = [note for note in result.notes_ if note.startswith("Warning: ")]
    assert warned
    text = Page(render(result)).text
    details = text.index(true_minus(result.verdict_.details))
    below = text[details : text.index("The cohort")]
    for note in warned:
        assert " ".join(note.removeprefix("Warning: ").split()) in below


def test_p_values_are_those_of_the_primary_score_only(page, result):
    text = Page(page).text
    after = text.index("All differences")
    table = text[after : text.index("ROC curves", after)]
    # each of the 8 rows has one p-value
    assert (
        len(
            re.findall(
                r"(?:< 0\.001|(?<![+\d" + MINUS + r".])[01]\.\d\d\d?)(?= |$)", table
            )
        )
        == 8
    )
    assert "Only the first score" not in text
    assert table.count("same learner") >= 4
    assert table.count("another learner") == 4


@pytest.mark.parametrize(
    ("kwargs", "present", "absent"),
    [
        (
            {"n_repeats": 2},
            [
                *("models that are trained in this way", "0 to 8%", "Nadeau", "2/3"),
                *("inner folds", "All rates are of rows"),
            ],
            ["these fitted models", "DeLong"],
        ),
        (
            {"test": 0.5},
            [
                "these fitted models",
                "none of them was trained on",
                "DeLong",
                "Obuchowski",
            ],
            ["0 to 8%", "Nadeau", "repetition"],
        ),
        (
            {"sites": "hospital", "n": 240},
            ["all sites but one", "equal weights", "There is no confidence interval"],
            ["0 to 8%", "Nadeau", "DeLong"],
        ),
    ],
)
@pytest.mark.long
def test_methods_follow_the_design(kwargs, present, absent):
    result = compare(scoring="roc_auc", **kwargs)
    text = Page(render(result)).text
    methods = text[text.index("Differences of each fusion") :]
    assert all(part in methods for part in present)
    own = methods.replace(true_minus(result.verdict_.text), "")
    assert not [part for part in absent if part in own]


class Steep(LogisticRegression):
    """A candidate of a search that is an estimator."""


@pytest.mark.parametrize("groups", ["patient_id", None])
def test_methods_name_what_searches_try(result, groups):
    X, total = cohort(80)
    X = X.drop(columns=["hospital"] + ["patient_id"] * (groups is None))
    early, late = fusions()["early"], fusions()["late"]
    given = {
        "early": early,
        "late": GridSearchCV(late, {"estimator__C": [*range(1, 12)]}, cv=3),
        "base": RandomizedSearchCV(
            early, {"estimator__C": uniform()}, scoring="accuracy", cv=KFold(4)
        ),
        "fixed": early,
    }
    grid = {"estimator": [LogisticRegression(), Steep()], "estimator__C": [0.01, None]}
    plan = plan_comparison(
        *(given, X, (total > 0).astype(int)),
        groups=groups,
        search={"early": grid},
        scoring="brier",
        baselines=["base"],
        random_state=0,
    )
    searches = searches_of(plan.strategies, plan.study)
    by_patient = " by patient" if groups else ""
    expected = {
        "early": "estimator (LogisticRegression, Steep), estimator__C (0.01, None), by "
        f"the Brier score on 5 inner folds{by_patient}",
        "late": "estimator__C (1 to 11, 11 values), by the default score of the "
        f"estimator on 3 inner folds{by_patient}",
        "base": "estimator__C (from a distribution), by accuracy on 4 inner folds"
        f"{by_patient}",
    }
    assert [one["strategy"] for one in searches] == list(expected)
    own = [one for one in searches if one["strategy"] != "base"]
    searched = replace(result, settings_={**result.settings_, "searches": own})
    text = dict(methods(searched))["Single modalities"]
    for one in searches:
        words = f"{one['grid']}, by {one['score']} on {one['folds']}"
        assert words == expected[one["strategy"]]
        assert (words in text) == (one in own)


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"margin": 0.05}, "not inferior (0.050)"),
        ({"primary": "late"}, "descriptive, because another fusion was declared"),
        ({"quick": True, "n_repeats": "auto"}, "The comparison was a quick one"),
    ],
)
@pytest.mark.long
def test_claims_are_shown(kwargs, expected):
    result = compare(scoring="roc_auc", **kwargs)
    assert expected in Page(render(result)).text
    assert ("No margin was declared" in result.to_markdown()) == (
        "margin" not in kwargs
    )


def test_sites_have_their_table_and_no_interval(sites):
    text = Page(render(sites)).text
    folds = sites.folds_[sites.folds_["metric"] == "roc_auc"]
    for row in folds[folds["strategy"] == "early"].to_dict("records"):
        other = folds[
            (folds["strategy"] == sites.tests_["reference"][0])
            & (folds["fold"] == row["fold"])
        ]["score"].iloc[0]
        gain = f"{row['score'] - other:+.3f}".replace("-", MINUS)
        sizes = f"{row['site']} {row['patients_train']} {row['patients_test']}"
        assert f"{sizes} {row['score']:.3f} {gain}" in text
    assert "nan" not in text.lower().split()
    assert "3 sites are too few for a test" in text
    forest = difference_forest(sites, sites.metrics_[0])
    assert all(
        len(row.dots) == 3 and row.low is None
        for _, rows in forest.groups
        for row in rows
    )


@pytest.mark.parametrize(
    ("target", "kwargs", "expected"),
    [
        (lambda t: 10 * t, {"estimators": fusions(task="r")}, "mean target (SD"),
        (lambda t: np.digitize(t, [-1, 1]), {}, "classes, of"),
        (
            lambda t: np.column_stack([t > 0, t > 1]).astype(int),
            {},
            "labels, positive in",
        ),
    ],
)
def test_other_tasks(target, kwargs, expected):
    kwargs.setdefault("estimators", fusions(only="early"))
    result = compare(target, n_repeats=1, **kwargs)
    page = Page(render(result))
    assert expected in page.text
    assert "Good calibration" not in page.text
    json.loads(result.to_json())
    with pytest.raises(ValueError, match="calibration needs an outcome of two classes"):
        result.calibration()


@pytest.mark.slow
def test_survival_cohort():
    X, total = cohort(160)
    rng = np.random.default_rng(0)
    time, censored = rng.exponential(np.exp(-total)), rng.exponential(2, len(total))
    y = np.array(
        list(zip(time < censored, np.minimum(time, censored), strict=True)),
        dtype=[("event", bool), ("time", float)],
    )
    parts = [
        ("image", StandardScaler(), ["lesion"]),
        ("ehr", StandardScaler(), ["age"]),
    ]
    result = compare_fusion(
        *(parts, X, y),
        groups="patient_id",
        strategies=("single", "early"),
        scoring="concordance",
        cv=2,
        n_repeats=1,
        random_state=0,
    )
    text = Page(render(result)).text
    n_events = int(y["event"].sum())
    assert f"{n_events} events ({n_events / 160:.1%} of the rows)" in text
    assert f"{n_events} have an event and {160 - n_events} are censored" in text
    assert "Harrell's index" in text


def test_comparison_without_fusion():
    X, total = cohort(60)
    parts = [("one", StandardScaler(), ["lesion"]), ("two", StandardScaler(), ["age"])]
    result = compare_fusion(
        *(parts, X, (total > 0).astype(int)),
        strategies="single",
        groups="patient_id",
        cv=2,
        n_repeats=1,
        random_state=0,
    )
    text = Page(render(result)).text
    assert "Not tested whether fusion helps" in text
    assert "Differences of each fusion" not in text
    assert json.loads(result.to_json())["tests"] == []
    with pytest.raises(ValueError, match="needs a fusion and a single modality"):
        result.net_benefit()
    with pytest.raises(ValueError, match="no difference to plot"):
        result.plot(kind="differences")


@pytest.mark.long
def test_three_modalities_show_what_each_adds():
    estimators = fusions(("a", "b", "胸部影像"), ("lesion", "age", "crp"), only="late")
    result = compare(estimators=estimators, scoring="roc_auc")
    table = removal_table(result)
    assert [row[0].text for row in table.rows] == ["a", "b", "胸部影像"]
    without = result.differences_[result.differences_["relation"] == "without"]
    # Holm: the smallest of three p-values is multiplied by 3
    smallest = without["p"].idxmin()
    place = list(without.index).index(smallest)
    expected = min(1.0, 3 * without["p"].min())
    shown = table.rows[place][-1].text.removeprefix("< ")
    assert float(shown) == pytest.approx(max(expected, 0.001), abs=5e-3)
    text = Page(render(result)).text
    assert "胸部影像" in text
    assert "What each modality adds to the others" in text
    shown = [
        row.kind
        for _, rows in score_forest(result, result.metrics_[0]).groups
        for row in rows
    ]
    assert shown == ["single"] * 3 + ["fusion"]


@pytest.mark.long
def test_declared_baselines_are_not_called_matched():
    parts = fusions(only="late")["late"].modalities
    estimators = fusions(only="late") | {
        name: LateFusionClassifier([part], estimator=LogisticRegression())
        for name, part in zip(("one", "two"), parts, strict=True)
    }
    result = compare(
        estimators=estimators, baselines=["one", "two"], scoring="roc_auc", n_repeats=1
    )
    text = Page(render(result)).text
    assert "The user declared the single modalities as baselines" in text
    assert text.count("declared baseline") >= 3
    assert "in its own learner, that is" not in text
    searches = [{"strategy": "one", "grid": "C (1)", "score": "x", "folds": "folds"}]
    tuned = replace(result, settings_={**result.settings_, "searches": searches})
    assert ": C (1), by x on folds)" in dict(methods(tuned))["Single modalities"]
    assert "from a single modality in its own learner" not in text


@pytest.mark.long
def test_calibration_of_many_singles_is_folded():
    estimators = fusions(("a", "b", "c"), ("lesion", "age", "crp"), only="late")
    result = compare(estimators=estimators, scoring="roc_auc", n_repeats=1)
    main = calibration_table(result, main=True)
    others = calibration_table(result, main=False)
    names = [row[0].text for row in main.rows + others.rows]
    labels = result.strategies_["label"]
    assert names[:2] == [labels[result.tests_["reference"][0]], "late"]
    assert set(names) == set(labels[result.strategies_["role"] != "without"])
    assert "Calibration of the other single modalities" in render(result)
    # three folds have no test, in a sentence of one full stop
    assert "There is no test, because there are 3 scores" in result.verdict_.details
    assert ".." not in result.verdict_.details


# -- geometry -------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [0, 2])
def test_forest_is_to_scale_and_better_is_right(result, metric):
    chosen = result.metrics_[metric]
    forest = difference_forest(result, chosen)
    table = result.differences_[result.differences_["metric"] == chosen.name]
    rows = [row for _, part in forest.groups for row in part]
    assert {row.kind for row in rows} >= {"matched"}
    sign = 1 if chosen.greater_is_better else -1
    for row in rows:
        value = float(row.text.split(" ")[0].replace(MINUS, "-"))
        if abs(value) > 0.002:
            assert (row.middle > forest.line) == (sign * value > 0)
        assert row.low < row.middle < row.high
        assert 0 <= row.low <= row.high <= 100
    # equal differences have equal distances
    scale = [
        (row.middle - forest.line) / float(row.text.split(" ")[0].replace(MINUS, "-"))
        for row in rows
        if abs(float(row.text.split(" ")[0].replace(MINUS, "-"))) > 0.05
    ]
    assert len(scale) >= 2 or metric
    np.testing.assert_allclose(scale, scale[0] if scale else 0, rtol=0.03)
    assert all(3 <= place <= 97 for place, _ in forest.ticks)
    assert len(table) >= len(rows)


def test_best_single_of_another_learner_is_open(result):
    forest = difference_forest(result, result.metrics_[0])
    best = [
        row for _, rows in forest.groups for row in rows if "best of all" in row.label
    ]
    assert len(best) == 2
    assert sorted(row.kind for row in best) == ["matched", "other"]


# -- calibration and net benefit ------------------------------------------------------


def test_calibration_pools_test_sets_and_counts_patients_once(result):
    table = result.calibration().set_index("strategy")
    part = result.predictions_
    found = calibration_summary(part["y"], part["early"], groups=part["group"])
    assert table.loc["early", "slope"] == pytest.approx(found.slope.estimate)
    assert table.loc["early", "slope_low"] == pytest.approx(found.slope.low)
    # two repetitions of the same patients are not twice as many patients
    once = part[part["repeat"] == 0]
    first = calibration_summary(once["y"], once["early"], groups=once["group"])
    widths = [f.slope.high - f.slope.low for f in (found, first)]
    assert widths[0] == pytest.approx(widths[1], rel=0.15)


@pytest.mark.long
def test_calibration_knows_the_positive_class():
    numbers = compare(scoring="roc_auc", estimators=fusions(only="early"))
    words = compare(
        lambda total: np.where(total > 0, "malignant", "zero"),
        pos_label="malignant",
        scoring="roc_auc",
        estimators=fusions(only="early"),
    )
    pd.testing.assert_frame_equal(numbers.calibration(), words.calibration())


@pytest.mark.long
def test_curve_needs_a_hundred_of_each(result, page):
    curve = result.calibration_curve("early")
    assert len(curve.predicted) == 0
    assert curve.reason in Page(page).text
    many = compare(n=700, estimators=fusions(only="early"), scoring="roc_auc", cv=2)
    curve = many.calibration_curve("early")
    assert len(curve.predicted) >= 5
    assert curve.n_cases.sum() == 700
    text = render(many)
    # filled squares of early fusion, at the points of the curve
    assert text.count('<path class="marker m-early" transform="translate(') == len(
        curve.predicted
    )
    with pytest.raises(ValueError, match="'none' is not one of the strategies"):
        many.calibration_curve("none")


def test_net_benefit_is_that_of_the_statistics(result):
    table = result.net_benefit([0.3, 0.5])
    assert table["thresholds_given"].all()
    assert len(table) == 4
    part = result.predictions_[result.predictions_["repeat"] == 0]
    reference = result.tests_.set_index("strategy").loc["late", "reference"]
    found = net_benefit_difference(
        *(part["y"], part["late"], part[reference], [0.3, 0.5]),
        groups=part["group"],
        n_resamples=1000,
        random_state=0,
    )
    own = table[table["strategy"] == "late"]
    np.testing.assert_allclose(own["difference"], found.difference)
    np.testing.assert_allclose(own["low"], found.low)
    gain = own["net_benefit"] - own["net_benefit_reference"]
    np.testing.assert_allclose(own["difference"], gain, atol=1e-12)


def test_net_benefit_without_thresholds_says_so(result):
    table = result.net_benefit(prevalence=0.1)
    assert not table["thresholds_given"].any()
    assert table["threshold"].between(0.05, 0.5).all()
    assert set(table["prevalence"]) == {0.1}


# -- Markdown and JSON ----------------------------------------------------------------


def test_markdown_has_tables_of_equal_width(result):
    text = result.to_markdown()
    assert text.startswith(f"## {result.verdict_.headline}")
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(cells) == 1
    assert "Made up for a test." in text
    assert "0 to 8%" in text


def test_json_is_strict_and_complete(result, sites):
    for found in (result, sites):
        read = json.loads(found.to_json(), parse_constant=pytest.fail)
        assert read["verdict"]["outcome"] == found.verdict_.outcome
        assert len(read["differences"]) == len(found.differences_)
        assert read["differences"][0]["estimate"] == found.differences_["estimate"][0]
        assert "predictions" not in read
        assert read["notes"] == found.notes_
    assert read["differences"][0]["low"] is None


# -- figures --------------------------------------------------------------------------


def test_plot_draws_estimates_and_intervals(result):
    from matplotlib import pyplot

    figure = result.plot()
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        *("AUROC", "Average precision", "Brier score (lower is better)")
    ]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == list(result.strategies_["label"])
    frame = result.to_frame()["roc_auc"]
    drawn = [line.get_xdata() for line in figure.axes[0].lines]
    for row in frame.to_numpy():
        assert any(np.allclose(x, row[1:]) for x in drawn if len(x) == 2)
        assert any(np.allclose(x, row[:1]) for x in drawn if len(x) == 1)
    pyplot.close(figure)


def test_plot_of_differences_fills_matched_ones(result):
    from matplotlib import pyplot

    figure = result.plot(["roc_auc", "brier"], kind="differences")
    first, second = figure.axes
    assert not first.xaxis_inverted()
    assert second.xaxis_inverted()
    fills = {
        line.get_markerfacecolor() for line in first.lines if len(line.get_xdata()) == 1
    }
    # filled in the colour of each fusion, and open
    assert fills == {LIGHT.early, LIGHT.late, LIGHT.surface}
    labels = [label.get_text() for label in first.get_yticklabels()]
    assert len(labels) == len(set(labels))
    pyplot.close(figure)


def test_plot_of_one_metric_and_of_none_known(result):
    from matplotlib import pyplot

    figure = result.plot(["brier"])
    assert len(figure.axes) == 1
    pyplot.close(figure)
    with pytest.raises(ValueError, match="'f1'"):
        result.plot(["f1"])
    with pytest.raises(ValueError, match="kind"):
        result.plot(kind="bars")
