"""Finished fits on disk: killed and started again, damaged, or of another run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import linear, make_cohort, modalities
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.preprocessing import StandardScaler

import skfusion
from skfusion import EarlyFusionClassifier, LateFusionClassifier, compare_fusion
from skfusion.exceptions import FallbackWarning

SETTINGS = {"cv": 2, "n_repeats": 1, "scoring": "roc_auc", "random_state": 0}
DAMAGED = "the checkpoint is damaged"
ALL = 6  # fits: a fusion and its two singles on two folds


class Counting(ClassifierMixin, BaseEstimator):
    """A logistic regression that appends a line to a file in each fit."""

    def __init__(self, path=None, C=1.0):
        self.path = path
        self.C = C

    def fit(self, X, y):
        with open(self.path, "a") as file:
            file.write("fit\n")
        self.model_ = LogisticRegression(C=self.C).fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X)

    def predict(self, X):
        return self.model_.predict(X)


@pytest.fixture(scope="module")
def cohort():
    return make_cohort(60, noise=0.5)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "fits.txt"


def n_fits(log):
    return len(log.read_text().splitlines()) if log.exists() else 0


def counted(log, **settings):
    """A fusion whose fits, and those of its singles, are counted."""
    given = modalities()
    return {"early": EarlyFusionClassifier(given, estimator=Counting(log, **settings))}


def compare(X, y, given, **settings):
    return compare_fusion(
        given, X, y, **{"groups": "patient_id", **SETTINGS, **settings}
    )


def check_equal(a, b):
    """Check that two results are the same to the last bit, times aside."""
    for name in ("predictions_", "scores_", "differences_", "tests_", "chosen_"):
        first, second = getattr(a, name), getattr(b, name)
        pd.testing.assert_frame_equal(first, second, check_exact=True)
    folds = [result.folds_.drop(columns="seconds") for result in (a, b)]
    pd.testing.assert_frame_equal(*folds, check_exact=True)
    assert a.verdict_ == b.verdict_
    # The second result may also say that files were damaged, which is its own note.
    said = [note for note in b.notes_ if DAMAGED not in note]
    assert a.notes_ == said
    assert a.summary() == replace(b, notes_=said).summary()


def test_finished_fits_are_not_repeated(cohort, log, tmp_path):
    X, y = cohort
    folder = tmp_path / "new" / "folder"
    first = compare(X, y, counted(log), checkpoint=folder)
    assert n_fits(log) == ALL
    again = compare(X, y, counted(log), checkpoint=str(folder))
    assert n_fits(log) == ALL
    check_equal(first, again)
    without = compare(X, y, counted(log))
    assert n_fits(log) == 2 * ALL
    check_equal(first, without)
    # More repetitions need the new fits only.
    compare(X, y, counted(log), checkpoint=folder, n_repeats=2)
    assert n_fits(log) == 3 * ALL


@pytest.mark.parametrize(
    "change",
    [
        {"X": "value"},
        {"X": "column of no modality"},
        {"y": "label"},
        {"random_state": 1},
        {"cv": 3},
        {"groups": None},
        {"C": 0.5},
        {"scoring": ["roc_auc", "accuracy"]},
    ],
    ids=lambda change: "-".join(map(str, *change.items())).replace(" ", "_"),
)
def test_fits_of_another_run_are_not_read(cohort, log, tmp_path, change):
    X, y = cohort
    X, y = X.copy(), y.copy()
    X["site"] = "north"
    settings = {"checkpoint": tmp_path / "fits", "groups": X["patient_id"].to_numpy()}
    features = X.drop(columns="patient_id")
    compare(features, y, counted(log), **settings)
    assert n_fits(log) == ALL
    estimator = {}
    if "C" in change:
        estimator = change
    elif change.get("X") == "value":
        features.iloc[5, 0] += 1e-9
    elif "X" in change:
        features.iloc[5, 2] = "south"
    elif "y" in change:
        y[5] = 1 - y[5]
    else:
        settings |= change
    compare(features, y, counted(log, **estimator), **settings)
    assert n_fits(log) == ALL + (9 if "cv" in change else ALL)


def test_another_fold_is_not_read(cohort, log, tmp_path):
    X, y = cohort
    patient = pd.factorize(X["patient_id"])[0]
    folds = [
        (np.flatnonzero(patient % 3 != k), np.flatnonzero(patient % 3 == k))
        for k in range(3)
    ]
    settings = {"checkpoint": tmp_path / "fits"}
    compare(X, y, counted(log), cv=folds, **settings)
    assert n_fits(log) == 9
    train, test = folds[2]
    folds[2] = (train[2:], test)  # one patient less in the training set
    compare(X, y, counted(log), cv=folds, **settings)
    assert n_fits(log) == 9 + 3
    folds = folds[:2]  # fewer test sets, all of them known
    compare(X, y, counted(log), cv=folds, **settings)
    assert n_fits(log) == 12


DAMAGES = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "last byte": lambda data: data[:-1],
    "other bytes": lambda data: b"\x00" * len(data),
    "text": lambda data: b"not a file of numbers",
    "a pickle": lambda data: b"\x80\x04\x95\x00\x00\x00\x00N.",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.slow
def test_damaged_files_are_computed_again(cohort, log, tmp_path, damage):
    X, y = cohort
    folder = tmp_path / "fits"
    first = compare(X, y, counted(log), checkpoint=folder)
    files = sorted(folder.iterdir())
    assert len(files) == ALL
    for file in files[:2]:
        file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.warns(FallbackWarning, match=DAMAGED):
        again = compare(X, y, counted(log), checkpoint=folder)
    assert n_fits(log) == ALL + 2
    assert sum(DAMAGED in note for note in again.notes_) == 1
    check_equal(first, again)
    whole = compare(X, y, counted(log), checkpoint=folder)  # without a warning
    assert n_fits(log) == ALL + 2
    assert whole.notes_ == first.notes_


def test_an_array_file_of_something_else_is_computed_again(cohort, log, tmp_path):
    X, y = cohort
    folder = tmp_path / "fits"
    first = compare(X, y, counted(log), checkpoint=folder)
    files = sorted(folder.iterdir())
    for number, arrays in enumerate(({"other": np.arange(3)}, {"about": "no json"})):
        with open(files[number], "wb") as file:
            np.savez(file, **arrays)
    with open(files[2], "wb") as file:
        np.save(file, np.arange(3))
    (folder / "notes.txt").write_text("a file of the user")
    (folder / ".abc.1.tmp").write_bytes(b"left by a kill")
    with pytest.warns(FallbackWarning, match=DAMAGED):
        again = compare(X, y, counted(log), checkpoint=folder)
    check_equal(first, again)
    assert n_fits(log) == ALL + 3


def test_a_file_with_a_flipped_byte_is_not_read(cohort, log, tmp_path):
    X, y = cohort
    folder = tmp_path / "fits"
    settings = {"checkpoint": folder, "baselines": None}
    first = compare(X, y, counted(log), **settings)
    file = sorted(folder.iterdir())[0]
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    # The headers of the archive are at the beginning and the end.
    places = {*range(60), *range(len(whole) - 60, len(whole))}
    places |= set(rng.integers(0, len(whole), 40).tolist())
    from skfusion.evaluation.comparison.checkpoint import Checkpoint

    reader = Checkpoint(folder)
    assert reader.read(file.stem) is not None
    for place in sorted(places):
        flipped = bytearray(whole)
        flipped[place] ^= 0xFF
        file.write_bytes(bytes(flipped))
        with pytest.warns(FallbackWarning, match=DAMAGED):
            assert reader.read(file.stem) is None
    file.write_bytes(whole)
    assert reader.read(file.stem) is not None
    check_equal(first, compare(X, y, counted(log), **settings))
    assert n_fits(log) == 2  # no baselines


@pytest.mark.long
def test_all_parts_of_a_fit_are_kept(cohort, tmp_path):
    # Members of late fusion, predicted labels of text, chosen parameters, warnings.
    X, y = cohort
    X = X.copy()
    X.iloc[:20, 0] = np.nan
    text = np.where(y == 1, "sick", "healthy")
    given = {
        "late": LateFusionClassifier(modalities()),
        "early": GridSearchCV(
            linear(), {"estimator__C": [0.01, 1.0]}, cv=GroupKFold(2)
        ),
    }
    settings = {
        "scoring": ["roc_auc", "f1", "balanced_accuracy"],
        "pos_label": "healthy",
        "checkpoint": tmp_path / "fits",
    }
    first, again = (compare(X, text, given, **settings) for _ in range(2))
    assert len(first.chosen_) == 3 * 2
    check_equal(first, again)
    settings.pop("checkpoint")
    check_equal(first, compare(X, text, given, **settings))


def test_a_folder_that_is_a_file(cohort, tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(NotADirectoryError, match="checkpoint must be a folder"):
        compare(*cohort, {"early": linear()}, checkpoint=path)


def test_estimators_that_cannot_be_recognised(cohort, tmp_path):
    from sklearn.preprocessing import FunctionTransformer

    X, y = cohort
    given = [
        ("image", FunctionTransformer(lambda x: x), ["lesion"]),
        ("ehr", StandardScaler(), ["age"]),
    ]
    with pytest.raises(TypeError, match="checkpoint needs the estimator of"):
        compare(X, y, {"early": linear(given)}, checkpoint=tmp_path / "fits")


# -- killed in the middle ----------

SCRIPT = """
    import sys, time
    sys.path.insert(0, {helpers!r})
    import numpy as np
    from comparison_cohorts import make_cohort, modalities
    from slow_learner import SlowLearner
    from skfusion import EarlyFusionClassifier, compare_fusion

    X, y = make_cohort(60, noise=0.5)
    learner = SlowLearner({log!r}, seconds={seconds})
    result = compare_fusion(
        {{"early": EarlyFusionClassifier(modalities(), estimator=learner)}},
        X, y, groups="patient_id", cv=3, n_repeats=2, scoring="roc_auc",
        random_state=0, checkpoint={folder!r}, n_jobs={n_jobs},
    )
    result.predictions_.to_pickle({output!r})
    print(result.summary())
"""
LEARNER = """
    import time
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.linear_model import LogisticRegression

    class SlowLearner(ClassifierMixin, BaseEstimator):
        def __init__(self, path=None, seconds=0.0):
            self.path = path
            self.seconds = seconds

        def fit(self, X, y):
            time.sleep(self.seconds)
            self.model_ = LogisticRegression().fit(X, y)
            self.classes_ = self.model_.classes_
            with open(self.path, "a") as file:
                file.write("fit\\n")
            return self

        def predict_proba(self, X):
            return self.model_.predict_proba(X)

        def predict(self, X):
            return self.model_.predict(X)
"""


def start(tmp_path, name, *, n_jobs=1, seconds=0.1):
    helpers = Path(__file__).parents[2] / "helpers"
    (tmp_path / "slow_learner.py").write_text(textwrap.dedent(LEARNER))
    script = textwrap.dedent(SCRIPT).format(
        helpers=str(helpers),
        log=str(tmp_path / "fits.txt"),
        seconds=seconds,
        folder=str(tmp_path / "fits"),
        n_jobs=n_jobs,
        output=str(tmp_path / f"{name}.pkl"),
    )
    path = tmp_path / f"{name}.py"
    path.write_text(script)
    root = Path(skfusion.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(tmp_path)])}
    return subprocess.Popen(
        [sys.executable, str(path)],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, process, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the comparison ended before it was killed"
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_killed_comparison_goes_on(tmp_path, n_jobs):
    check_killed(tmp_path, n_jobs)


@pytest.mark.slow
def test_a_killed_comparison_goes_on_in_one_process(tmp_path):
    check_killed(tmp_path, 1)


def check_killed(tmp_path, n_jobs):
    folder, log = tmp_path / "fits", tmp_path / "fits.txt"

    def finished():
        return len(list(folder.glob("*.fit"))) if folder.exists() else 0

    first = start(tmp_path, "first", n_jobs=n_jobs)
    wait_for(lambda: finished() >= 5, first)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    time.sleep(0.1)
    n_finished, n_started = finished(), n_fits(log)
    assert 5 <= n_finished < 18
    assert not (tmp_path / "first.pkl").exists()
    second = start(tmp_path, "second", n_jobs=n_jobs, seconds=0.1)
    text, _ = second.communicate(timeout=110)
    assert second.returncode == 0
    assert n_fits(log) - n_started == 18 - n_finished  # no finished fit is repeated
    assert len(list(folder.glob("*.fit"))) == 18
    X, y = make_cohort(60, noise=0.5)
    given = EarlyFusionClassifier(modalities(), estimator=LogisticRegression())
    expected = compare(X, y, {"early": given}, cv=3, n_repeats=2)
    found = pd.read_pickle(tmp_path / "second.pkl")
    pd.testing.assert_frame_equal(found, expected.predictions_, check_exact=True)
    assert text.strip() == expected.summary().strip()
