"""Saved comparisons: the same results again, nothing executed, damage found."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import LATE, linear, make_cohort, modalities
from sklearn.linear_model import LinearRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV

from skfusion import EarlyFusionRegressor, compare_fusion
from skfusion.evaluation import load_comparison
from skfusion.evaluation.comparison.analyses.archive import FRAMES


def compare(X=None, y=None, given=None, **kwargs):
    if X is None:
        X, y = make_cohort(80)
        kwargs = {"groups": "patient_id"} | kwargs
    settings = {"n_repeats": 2, "cv": 2, "random_state": 0} | kwargs
    if given is None:
        given, settings["strategies"] = modalities(), LATE
    return compare_fusion(given, X, y, **settings)


def through_a_file(result, tmp_path):
    path = tmp_path / "comparison.zip"
    result.save(path)
    assert [part.name for part in tmp_path.iterdir()] == ["comparison.zip"]
    return load_comparison(path)


def check_equal(again, result):
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name))
    assert again.verdict_ == result.verdict_
    assert again.cohort_ == result.cohort_
    assert again.settings_ == result.settings_
    assert again.notes_ == result.notes_
    assert again.context_ is None
    assert again.summary() == result.summary()
    assert again.to_json() == result.to_json()
    assert again.to_markdown() == result.to_markdown()


@pytest.fixture(scope="module")
def result():
    return compare(smallest_gain=0.02)


def test_results_are_the_same(result, tmp_path):
    again = through_a_file(result, tmp_path)
    check_equal(again, result)
    pd.testing.assert_frame_equal(again.calibration(), result.calibration())
    pd.testing.assert_frame_equal(again.net_benefit(), result.net_benefit())
    pd.testing.assert_frame_equal(again.roc_curve("late"), result.roc_curve("late"))
    table = again.operating_point(cost=3)
    pd.testing.assert_frame_equal(table, result.operating_point(cost=3))
    sex = {"sex": np.arange(160) // 2 % 2}
    pd.testing.assert_frame_equal(again.by_group(sex), result.by_group(sex))
    pd.testing.assert_frame_equal(again.table_one(sex), result.table_one(sex))
    assert [metric.heading for metric in again.metrics_] == [
        metric.heading for metric in result.metrics_
    ]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("final_estimator", ["late"]),
        ("missing_curve", ["image"]),
        ("learning_curve", []),
        ("table_one", []),
        ("by_group", ["age"]),
    ],
)
def test_what_needs_the_cohort_is_refused(result, tmp_path, method, arguments):
    again = through_a_file(result, tmp_path)
    with pytest.raises(ValueError, match="loaded without its|does not have its cohort"):
        getattr(again, method)(*arguments)


def test_equal_results_give_equal_files(result, tmp_path):
    result.save(tmp_path / "a.zip")
    result.save(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize("kind", ["text", "boolean", "regression", "sites", "search"])
@pytest.mark.slow
def test_other_outcomes_and_designs(kind, tmp_path):
    X, y = make_cohort(80)
    X["site"] = X["patient_id"].to_numpy() % 3
    kwargs = {"groups": "patient_id", "scoring": "roc_auc"}
    if kind == "text":
        y, kwargs["pos_label"] = np.where(y == 1, "sick <é>", "well"), "sick <é>"
    elif kind == "boolean":
        y = y.astype(bool)
    elif kind == "regression":
        early = EarlyFusionRegressor(modalities(), estimator=LinearRegression())
        y = X["age"].to_numpy() * 1e-3
        kwargs |= {"given": {"early": early}, "scoring": None}
    elif kind == "sites":
        kwargs |= {"sites": "site", "cv": None}
    elif kind == "search":
        grid = {"estimator__C": [0.1, 1.0]}
        kwargs["given"] = {"early": GridSearchCV(linear(), grid, cv=2)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*sites have fewer than 30 patients")
        result = compare(X, y, **kwargs)
    again = through_a_file(result, tmp_path)
    check_equal(again, result)
    if kind == "sites":
        assert isinstance(again.tests_["by_site"].iloc[0], tuple)
    if kind == "search":
        assert len(again.chosen_)


def test_functions_of_users_are_not_in_the_file(tmp_path):
    scoring = {"hits": make_scorer(accuracy_score), "AUC": "roc_auc"}
    result = compare(scoring=scoring)
    again = through_a_file(result, tmp_path)
    check_equal(again, result)
    with pytest.raises(ValueError, match="given by the user and is not in the file"):
        again.metrics_[0].score(None, None, None, None)


def rewrite(path, parts):
    """Replace parts of an archive."""
    with zipfile.ZipFile(path) as file:
        found = {name: file.read(name) for name in file.namelist()}
    found |= parts
    with zipfile.ZipFile(path, "w") as file:
        for name, content in found.items():
            if content is not None:
                file.writestr(name, content)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


def with_digest(path, name, content):
    with zipfile.ZipFile(path) as file:
        manifest = json.loads(file.read("manifest.json"))
    manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
    return {
        "manifest.json": json.dumps(manifest),
        name: content,
    }


def test_pickles_are_not_executed(result, tmp_path):
    path = tmp_path / "comparison.zip"
    result.save(path)
    with zipfile.ZipFile(path) as file:
        assert all(name.endswith((".json", ".npz")) for name in file.namelist())
        with np.load(io.BytesIO(file.read("scores_.npz"))) as arrays:
            n_rows, names = len(result.scores_), list(arrays.files)
    buffer = io.BytesIO()
    cells = np.array([Bomb()] * n_rows, dtype=object)
    np.savez(buffer, **dict.fromkeys(names, cells))
    rewrite(path, with_digest(path, "scores_.npz", buffer.getvalue()))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_comparison(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="it is not a zip archive"):
        load_comparison(path)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"result.json": b"{}"}, "a part of it is damaged"),
        ({"tests_.npz": None}, "a part of it is damaged"),
        ({"manifest.json": b"[]"}, "no manifest of a comparison"),
        ({"manifest.json": None}, "no manifest of a comparison"),
        ({"manifest.json": b'{"format": "x"}'}, "no manifest of a comparison"),
        (
            {"manifest.json": b'{"format": "skfusion comparison", "version": 2,'
             b' "sha256": {}}'},
            "version 2 of the format",
        ),
        (
            {"manifest.json": b'{"format": "skfusion comparison", "version": 1,'
             b' "sha256": {}}'},
            "a part of it is missing",
        ),
    ],
)  # fmt: skip
def test_damage_is_found(result, tmp_path, parts, message):
    path = tmp_path / "comparison.zip"
    result.save(path)
    rewrite(path, parts)
    with pytest.raises(ValueError, match=message):
        load_comparison(path)


def test_a_table_that_is_missing_is_found(result, tmp_path):
    path = tmp_path / "comparison.zip"
    result.save(path)
    with zipfile.ZipFile(path) as file:
        about = json.loads(file.read("result.json"))
    del about["frames"]["tests_"]
    content = json.dumps(about).encode()
    rewrite(path, with_digest(path, "result.json", content))
    with pytest.raises(ValueError, match="a part of it is missing"):
        load_comparison(path)


def test_a_file_that_is_absent_or_cannot_be_written(result, tmp_path):
    with pytest.raises(FileNotFoundError):
        load_comparison(tmp_path / "none.zip")
    with pytest.raises(FileNotFoundError):
        result.save(tmp_path / "none" / "comparison.zip")


def test_labels_that_cannot_be_saved_are_refused(result, tmp_path):
    from dataclasses import replace

    dates = pd.Series(pd.to_datetime(["2020-01-01"] * len(result.predictions_)))
    wrong = replace(result, predictions_=result.predictions_.assign(y=dates))
    with pytest.raises(TypeError, match="predictions_ contains an object of type Time"):
        wrong.save(tmp_path / "comparison.zip")
    assert list(tmp_path.iterdir()) == []
