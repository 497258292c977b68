"""No count of 1 to 9 patients or rows in the page, in Markdown or in JSON."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skfusion import LateFusionClassifier, compare_fusion
from skfusion.evaluation.report.counts import shown_cohort, shown_sizes
from skfusion.evaluation.report.report import render
from skfusion.evaluation.report.tables import fold_table, modality_table, site_table

# Numbers that count neither patients nor rows.
OTHERS = {"seed", "n_folds", "n_repeats", "repeat", "fold", "n_matched", "df"}
# About 7 rows of a test set, and the 5 rows without an image.
NUMBER = re.compile(r"(?<![\w.,:<-])[1-9] (?:of [\d,]+ )?(?:rows|patients|events)\b")


def compare(n=36, n_events=9, absent=5, **kwargs):
    rng = np.random.default_rng(0)
    y = (np.arange(n) % (n // n_events) == 0).astype(int)
    X = pd.DataFrame(rng.normal(size=(n, 2)), columns=["lesion", "age"])
    X["lesion"] += y
    X.loc[1:absent, "lesion"] = np.nan
    X["site"] = np.where(np.arange(n) % 9 < 2, "small", "large")
    parts = [
        ("image", StandardScaler(), ["lesion"]),
        ("ehr", StandardScaler(), ["age"]),
    ]
    late = LateFusionClassifier(parts, estimator=LogisticRegression())
    settings = {"scoring": ["roc_auc", "brier"], "random_state": 0} | kwargs
    return compare_fusion({"late": late}, X, y, **settings)


@pytest.fixture(scope="module", params=["folds", "test", "sites"])
def result(request):
    design = {
        "folds": {"cv": 4, "n_repeats": 2},
        "test": {"test": np.arange(28, 36)},
        "sites": {"sites": "site"},
    }[request.param]
    if request.param == "sites":
        with pytest.warns(UserWarning, match="2 of 2 sites have fewer than 30"):
            return compare(**design)
    return compare(**design)


def small_numbers(value, path=()):
    """Yield the paths of integers from 1 to 9."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key not in OTHERS:
                yield from small_numbers(part, (*path, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from small_numbers(part, (*path, number))
    elif isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10:
        yield path


def test_json_has_no_small_count(result):
    found = json.loads(result.to_json())
    assert list(small_numbers(found)) == []
    assert list(small_numbers({"n": 3, "parts": [{"m": 9}]})) == [
        ("n",),
        ("parts", 0, "m"),
    ]
    cohort = found["cohort"]
    assert cohort["classes"][1]["n"] == "<10"
    assert cohort["classes"][0]["n"] == "withheld"
    assert cohort["modalities"][0]["n_present"] == ">26"
    assert cohort["modalities"][1]["n_present"] == 36
    for row in found["folds"]:
        if isinstance(row["n_test"], str):
            assert row["n_train"] == "withheld"


def test_sentences_have_no_small_count(result):
    assert NUMBER.search("image is absent in 5 of 36 rows.")
    assert NUMBER.search(" ".join(result.notes_))
    for text in (result.to_markdown(), result.to_json(), render(result)):
        text = re.sub(r"(?:fewer|less|more) than \d+ \w+", "", text)
        assert NUMBER.findall(text) == []
    assert "absent in <10 of 36 rows" in result.to_json()


def cells_of(table, names):
    places = [k for k, name in enumerate(table.columns) if name in names]
    assert places
    return [row[k].text for row in table.rows for k in places]


def test_tables_have_no_small_count(result):
    image, ehr = modality_table(result).rows
    assert (image[1].text, image[1].small) == (">26", "")
    assert (ehr[1].text, ehr[1].small) == ("36", "100.0%")
    tables = [fold_table(result)]
    if result.settings_["design"] == "sites":
        tables.append(site_table(result))
    for table in tables:
        sizes = cells_of(table, {"#Training rows", "#Test rows"})
        assert not any(text.isdigit() and 0 < int(text) < 10 for text in sizes)
        assert {"<10", "withheld"} & set(sizes)


def test_prevalence_does_not_reveal_the_events(result):
    page = render(result)
    assert "25.0%" not in page


def test_large_counts_stay():
    result = compare(n=120, n_events=40, absent=20, cv=3, n_repeats=1)
    found = json.loads(result.to_json())
    assert [each["n"] for each in found["cohort"]["classes"]] == [80, 40]
    assert {row["n_test"] for row in found["folds"]} == {40}
    assert found["cohort"]["modalities"][0]["n_present"] == 100
    pd.testing.assert_frame_equal(
        shown_sizes(result.folds_), result.folds_, check_dtype=False
    )
    assert shown_cohort(result.cohort_) == result.cohort_
