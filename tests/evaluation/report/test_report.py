"""The page: whole, self-contained, escaped, true to the tables, without patients."""

from __future__ import annotations

import re
import sys
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

from skfusion import compare_fusion

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects tags, attributes, ids and text; checks that tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.text = Counter(), Counter(), [], []
        self.open = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids[value] += 1
            if name in ("src", "href", "xlink:href", "data", "srcset", "action"):
                self.links.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def compare(y=None, *, names=("image", "ehr"), **kwargs):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 2)), columns=["lesion", "age"])
    total = X.sum(axis=1) + rng.normal(size=120)
    X["patient_id"] = [f"MRN-{1000 + i // 2}" for i in range(120)]
    X.loc[:9, "lesion"] = np.nan
    pair = [
        (names[0], StandardScaler(), ["lesion"]),
        (names[1], StandardScaler(), ["age"]),
    ]
    target = (total > 0).astype(int) if y is None else y(total)
    return compare_fusion(
        pair,
        X,
        target,
        groups="patient_id",
        strategies=("single", "late"),
        random_state=0,
        **kwargs,
    )


@pytest.fixture(scope="module")
def result():
    return compare()


@pytest.fixture(scope="module")
def page(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    result.to_html(path)
    return path.read_text(encoding="utf-8")


def test_page_is_whole_and_loads_nothing(page):
    parsed = Page(page)
    assert page.startswith("<!DOCTYPE html>")
    assert parsed.tags["script"] == parsed.tags["link"] == parsed.tags["iframe"] == 0
    assert all(link.startswith("#") for link in parsed.links)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    # addresses only as the names of XML vocabularies
    addresses = set(re.findall(r'https?://[^"\s]+', page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_every_score_has_its_figures_and_every_id_is_unique(page):
    parsed = Page(page)
    assert parsed.tags["svg"] == 6  # scores and differences of three metrics
    assert max(parsed.ids.values()) == 1
    referenced = {link[1:] for link in parsed.links}
    referenced |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert referenced
    assert referenced <= set(parsed.ids)


def test_page_says_what_the_tables_say(page, result):
    text = " ".join(" ".join(Page(page).text).split())
    frame = result.to_frame()
    for name in result.strategies_.index:
        for metric in ("roc_auc", "average_precision", "brier"):
            estimate, low, high = frame.loc[name, metric]
            assert f"{estimate:.3f} {low:.3f} to {high:.3f}" in text
    for row in result.differences_.to_dict("records"):
        assert f"{row['estimate']:+.3f}".lstrip("+-") in text
        assert f"{row['low']:+.3f}".replace("-", "\N{MINUS SIGN}") in text
    assert result.verdict_.headline in text
    assert result.verdict_.details in text
    assert "120 rows 60 patients" in text
    assert "image 110 91.7%" in text
    assert result.notes_[0] in text
    assert "seed 0" in text


def test_page_holds_no_patient(page, result):
    assert "MRN" not in page
    assert "MRN" not in result.summary()
    assert f"{result.oof_['late'].iloc[0]:.6f}" not in page


def test_names_are_escaped():
    result = compare(
        lambda total: np.where(total > 0, "a <script>bad()</script>", "<& b"),
        names=("<img src=x>", "ehr"),
        scoring="roc_auc",
    )
    from skfusion.evaluation.report.report import render

    page = render(result, title="<b>Title</b>")
    parsed = Page(page)
    assert parsed.tags["script"] == parsed.tags["img"] == 0
    assert "<b>Title" not in page
    assert "&lt;script&gt;bad()&lt;/script&gt;" in page
    assert "&lt;b&gt;Title&lt;/b&gt;" in page


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (lambda total: 10 * total, "mean target (SD"),
        (lambda total: np.digitize(total, [-1, 1]), "classes, of"),
    ],
)
def test_other_tasks(target, expected, tmp_path):
    compare(target).to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    Page(page)
    assert expected in page


def test_comparison_without_fusion(tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    pair = [("one", StandardScaler(), ["a"]), ("two", StandardScaler(), ["b"])]
    y = rng.integers(0, 2, 60)
    result = compare_fusion(pair, X, y, strategies="single", random_state=0)
    result.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert Page(page).tags["svg"] == 3
    assert "Not tested whether fusion helps" in page


def test_same_result_same_page(result, page, tmp_path):
    result.to_html(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_missing_package_is_named(result, package, tmp_path, monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"'{package}'.*skfusion\[report\]"):
        result.to_html(tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_plot_draws_estimates_and_intervals(result):
    from matplotlib import pyplot

    figure = result.plot()
    assert [axis.get_title() for axis in figure.axes] == [
        *("AUROC", "Average precision", "Brier score (lower is better)")
    ]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["image alone", "ehr alone", "late fusion"]
    frame = result.to_frame()["roc_auc"]
    drawn = [line.get_xdata() for line in figure.axes[0].lines]
    for row in frame.to_numpy():
        assert any(np.allclose(x, row[1:]) for x in drawn if len(x) == 2)
        assert any(np.allclose(x, row[:1]) for x in drawn if len(x) == 1)
    pyplot.close(figure)


def test_plot_of_one_metric_and_of_none_known(result):
    from matplotlib import pyplot

    figure = result.plot(["brier"])
    assert len(figure.axes) == 1
    pyplot.close(figure)
    with pytest.raises(ValueError, match="'f1' was not computed"):
        result.plot(["f1"])
