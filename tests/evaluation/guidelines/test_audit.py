"""Planted leaks are found, and clean cohorts pass."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from audited_cohorts import N_AFFECTED, N_PATIENTS, N_ROWS, clean
from dicom_files import as_bytes, dataset
from planted_leaks import PLANTS
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, TabularEncoder
from skfusion.datasets import make_multimodal_cohort
from skfusion.ehr import EventStore, EventWindows
from skfusion.evaluation import audit_cohort


def of_check(audit, check, column=None):
    return [
        one
        for one in audit.findings
        if one.check == check and (column is None or column in one.columns)
    ]


@pytest.mark.parametrize("seed", range(10))
def test_a_clean_cohort_has_no_error(seed):
    cohort = clean(seed, prevalence=(0.1, 0.3, 0.5)[seed % 3])
    assert len(cohort.X) == N_ROWS
    assert cohort.X["patient_id"].nunique() == N_PATIENTS
    audit = audit_cohort(*cohort.audited, cv=5)
    assert audit.passed, str(audit)
    assert not audit.of_severity("warning"), str(audit)


@pytest.mark.parametrize("name", PLANTS)
@pytest.mark.long
def test_a_planted_leak_is_found(name):
    function, check, column, severity = PLANTS[name]
    cohort = clean(1, prevalence=0.5)
    before = audit_cohort(*cohort.audited, cv=5)
    assert not of_check(before, check)
    function(cohort, np.random.default_rng(3))
    audit = audit_cohort(*cohort.audited, **{"cv": 5, **cohort.options})
    (found,) = of_check(audit, check, column)
    assert found.severity == severity
    counted = {"patients across folds", "duplicate images", "similar images"}
    counted |= {"rows twice", "times after the index time", "rows seen by the model"}
    counted |= {"missing values tell the outcome", "value determines the outcome"}
    if check in counted:
        assert found.n_rows == str(N_AFFECTED)


# -- folds and patients ---------------------------------------------------------------


@pytest.mark.long
def test_folds_that_ignore_patients_are_found_with_every_form_of_cv():
    cohort = clean(2)
    X, y, _ = cohort.audited
    for cv in (KFold(5), list(KFold(5).split(X)), iter(KFold(5).split(X))):
        audit = audit_cohort(X, y, X["patient_id"], cv)
        assert of_check(audit, "patients across folds", "cv"), cv
    masks = [(np.arange(300) >= 60, np.arange(300) < 60)]
    assert of_check(audit_cohort(X, y, "patient_id", masks), "patients across folds")
    assert not of_check(audit_cohort(X, y, "patient_id", 5), "patients across folds")


def test_patients_that_nobody_names_are_found():
    X, y, _ = clean(2).audited
    alone = audit_cohort(X, y)
    (found,) = of_check(alone, "patients not given", "patient_id")
    assert found.severity == "warning"
    assert found.n_rows == "200"
    assert found.n_patients == "unknown"
    assert alone.n_patients is None
    assert "300 rows, patients unknown" in str(alone)
    X["ward"] = np.where((y == 1) & (np.arange(300) % 2 == 0), "x", "z")
    (pure,) = of_check(audit_cohort(X, y), "value determines the outcome", "ward")
    assert "patients" not in pure.found
    split = audit_cohort(X, y, cv=5)
    (found,) = of_check(split, "patients across folds", "patient_id")
    assert found.severity == "error"


def test_a_repeated_site_is_no_patient():
    X, y, _ = clean(2).audited
    X = X.drop(columns="patient_id").assign(hospital_id=np.arange(300) % 7)
    audit = audit_cohort(X, y)
    assert not of_check(audit, "patients not given")


def test_patients_come_from_the_estimator():
    X, y, _ = clean(3).audited
    labs = [("labs", SimpleImputer(), ["crp", "sodium"])]
    labs.append(("age", SimpleImputer(), ["age"]))
    model = EarlyFusionClassifier(labs, groups="patient_id")
    audit = audit_cohort(X, y, cv=KFold(4), modalities=model)
    assert of_check(audit, "patients across folds", "cv")


# -- rows twice -----------------------------------------------------------------------


def test_rows_of_a_few_categories_are_equal_by_chance():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "age": rng.integers(40, 80, 400),
            "sex": rng.choice(["f", "m"], 400),
            "smoker": rng.random(400) < 0.3,
        }
    )
    assert X.duplicated().sum() > 100
    audit = audit_cohort(X, rng.integers(0, 2, 400), groups=np.arange(400))
    assert not of_check(audit, "rows twice")


def test_rows_that_lack_all_laboratory_values_are_no_copies():
    rng = np.random.default_rng(1)
    X = pd.DataFrame(rng.normal(size=(400, 6))).rename(columns=lambda c: f"lab{c}")
    X.loc[rng.random(400) < 0.5] = np.nan
    X["age"] = rng.integers(40, 80, 400)
    assert X.duplicated().sum() > 50
    audit = audit_cohort(X, rng.integers(0, 2, 400), groups=np.arange(400))
    assert not of_check(audit, "rows twice")


def test_numbers_that_are_computed_of_whole_numbers_are_no_proof_of_copies():
    rng = np.random.default_rng(4)
    height, weight = rng.integers(150, 190, 400), rng.integers(50, 110, 400)
    X = pd.DataFrame({"bmi": weight / (height / 100) ** 2})
    X["sex"] = rng.choice(["f", "m"], 400)
    assert X.duplicated().sum() > 5
    assert not of_check(audit_cohort(X, np.arange(400) % 2), "rows twice")


@pytest.mark.parametrize("n_columns", [1, 2, 5])
def test_copies_are_found_in_a_few_columns_of_measurements(n_columns):
    rng = np.random.default_rng(2)
    X = pd.DataFrame(rng.normal(size=(300, n_columns))).rename(columns=str)
    X["sex"] = rng.choice(["f", "m"], 300)
    X.iloc[280:] = X.iloc[:20].to_numpy()
    y = rng.integers(0, 2, 300)
    (found,) = of_check(audit_cohort(X, y, np.arange(300)), "rows twice")
    assert (found.severity, found.n_rows) == ("error", "40")
    same = np.r_[np.arange(280), np.arange(20)]
    (found,) = of_check(audit_cohort(X, y, same), "rows twice")
    assert found.severity == "note"
    (found,) = of_check(audit_cohort(X, y), "rows twice")
    assert found.severity == "warning"
    (found,) = of_check(audit_cohort(X, y, cv=5), "rows twice")
    assert found.severity == "error"


def test_rows_of_rare_diagnoses_and_of_one_measurement_are_no_copies():
    rng = np.random.default_rng(5)
    codes = pd.DataFrame((rng.random((400, 300)) < 0.03).astype(int)).rename(
        columns=str
    )
    syndrome = rng.random(400) < 0.02
    codes.loc[syndrome] = 0
    codes.loc[syndrome, codes.columns[:8]] = 1
    codes.loc[rng.random(400) < 0.2] = 0
    assert codes.duplicated().sum() > 50
    audit = audit_cohort(codes, np.arange(400) % 2, np.arange(400))
    assert not of_check(audit, "rows twice")
    first = np.round(rng.normal(4, 1, (400, 3)), 1)
    first[rng.random((400, 3)) < 0.7] = np.nan
    statistics = ["min", "max", "mean", "median"]
    with warnings.catch_warnings():  # of rows without a value
        warnings.simplefilter("ignore", RuntimeWarning)
        X = pd.DataFrame(first).agg(statistics, axis=1).fillna(0.0)
    audit = audit_cohort(X, np.arange(400) % 2, np.arange(400))
    assert X.duplicated().sum() > 20
    assert not of_check(audit, "rows twice")


def test_rounded_values_of_two_columns_are_no_proof_of_copies():
    rng = np.random.default_rng(3)
    X = pd.DataFrame({"crp": rng.lognormal(1, 1, 500), "temp": rng.normal(37, 1, 500)})
    X = X.round(1)
    assert X.duplicated().sum() > 3
    assert not of_check(audit_cohort(X, np.arange(500) % 2), "rows twice")


# -- columns --------------------------------------------------------------------------


@pytest.mark.long
def test_only_the_columns_of_the_modalities_are_features():
    X, y, _ = clean(4, prevalence=0.5).audited
    X["discharge"] = y
    labs = [("labs", SimpleImputer(), ["crp", "sodium"])]
    audit = audit_cohort(X, y, "patient_id", modalities=labs)
    assert audit.passed
    forms = [
        "auto",
        {"labs": ["crp", "discharge"], "scan": "scan"},
        [("labs", SimpleImputer(), ["crp", "discharge"])],
        EarlyFusionClassifier([("labs", SimpleImputer(), ["discharge"])]),
        {"model": EarlyFusionClassifier([("x", SimpleImputer(), ["discharge"])])},
    ]
    for form in forms:
        found = audit_cohort(X, y, "patient_id", modalities=form)
        assert of_check(found, "column tells the outcome", "discharge"), form


def test_an_id_among_the_features_is_a_warning_by_its_name():
    X, y, _ = clean(4).audited
    X["visit_id"] = np.random.default_rng(0).integers(0, 50, 300)
    labs = [("labs", SimpleImputer(), ["crp", "visit_id"])]
    audit = audit_cohort(X, y, "patient_id", modalities=labs)
    assert [one.severity for one in of_check(audit, "identifier", "visit_id")] == [
        "warning"
    ]
    (note,) = of_check(audit_cohort(X, y, "patient_id"), "identifier", "visit_id")
    assert note.severity == "note"


@pytest.mark.parametrize(
    "encoder",
    [
        TfidfVectorizer(),
        make_pipeline(TfidfVectorizer(), TruncatedSVD(2)),
        TabularEncoder(text=["note"]),
    ],
    ids=["tfidf", "pipeline", "tabular"],
)
def test_text_that_is_encoded_as_text_is_no_identifier(encoder):
    rng = np.random.default_rng(0)
    words = rng.choice(["fever", "cough", "pain", "rash", "well", "ill"], (200, 6))
    X = pd.DataFrame({"note": [" ".join(row) for row in words]})
    y = np.arange(200) % 2
    columns = ["note"] if isinstance(encoder, TabularEncoder) else "note"
    audit = audit_cohort(
        X, y, groups=np.arange(200), modalities=[("notes", encoder, columns)]
    )
    assert not of_check(audit, "identifier", "note")
    as_category = [("notes", TabularEncoder(), ["note"])]
    audit = audit_cohort(X, y, groups=np.arange(200), modalities=as_category)
    assert of_check(audit, "identifier", "note")


def test_the_order_of_arguments_of_the_other_functions_is_refused():
    X = pd.DataFrame({"a": np.arange(40.0), "b": 1.0})
    modalities = [("x", StandardScaler(), ["a"]), ("z", StandardScaler(), ["b"])]
    with pytest.raises(TypeError, match="audit_cohort: X must be a table.* got list"):
        audit_cohort(modalities, X, np.arange(40) % 2)


def test_text_of_ids_is_an_identifier():
    X, y, _ = clean(4).audited
    X["sample"] = [f"S-{number:06x}" for number in np.arange(300) * 7919]
    (found,) = of_check(audit_cohort(X, y, "patient_id"), "identifier", "sample")
    assert found.severity == "warning"


def test_static_measurements_are_no_ids():
    X, y, _ = clean(5).audited
    patient = pd.factorize(X["patient_id"])[0]
    rng = np.random.default_rng(0)
    X["birth_weight"] = rng.integers(2000, 4500, N_PATIENTS)[patient]
    X["polygenic_score"] = rng.normal(size=N_PATIENTS)[patient]
    assert not of_check(audit_cohort(X, y, "patient_id"), "column is the patient")


def test_ages_of_a_few_patients_are_no_error():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(12), 10)
    X = pd.DataFrame({"age": rng.permutation(np.arange(30, 90))[:12][patient]})
    X["mrn"] = 100 + patient
    X["crp"] = rng.normal(size=120)
    audit = audit_cohort(X, rng.integers(0, 2, 120), patient)
    (found,) = of_check(audit, "column is the patient", "age")
    assert found.severity == "warning"
    modality = [("labs", SimpleImputer(), ["age", "mrn", "crp"])]
    audit = audit_cohort(X, rng.integers(0, 2, 120), patient, modalities=modality)
    (found,) = of_check(audit, "column is the patient", "mrn")
    assert found.severity == "error"


@pytest.mark.parametrize("labels", [("no", "yes"), (0, 1), (False, True)])
def test_any_coding_of_the_outcome(labels):
    X, y, _ = clean(6, prevalence=0.5).audited
    X["copy"] = np.where(y == 1, "x", "z")
    audit = audit_cohort(X, np.array(labels)[y], "patient_id")
    assert of_check(audit, "column tells the outcome", "copy")


@pytest.mark.parametrize("task", ["multiclass", "regression", "survival", "multilabel"])
def test_leaks_of_other_outcomes(task):
    cohort = make_multimodal_cohort(
        240, {"mri": 4, "ehr": 3}, task=task, rows_per_patient=2, random_state=0
    )
    X, y = cohort.data, cohort.target
    assert audit_cohort(X, y, "patient_id", cv=3).passed
    X = X.copy()
    if task == "multiclass":
        X["stage"] = np.array(["I", "II", "III"])[y]
    elif task == "regression":
        X["stage"] = 3 * y + 1
    elif task == "survival":
        X["stage"] = np.where(y["event"], 4.0, 1.0)
    else:
        X["stage"] = y[:, 1]
    found = audit_cohort(X, y, "patient_id", cv=3)
    assert of_check(found, "column tells the outcome", "stage")


def test_a_modality_whose_absence_tells_the_outcome():
    X, y, _ = clean(7, prevalence=0.3).audited
    labs = ["crp", "creatinine", "sodium"]
    X["sodium"] = X["sodium"].astype(float)
    X.loc[(y == 1) & (np.arange(300) % 3 > 0), labs] = np.nan
    parts = [("labs", SimpleImputer(), labs), ("age", SimpleImputer(), ["age"])]
    audit = audit_cohort(X, y, "patient_id", modalities=parts)
    found = [one.columns for one in of_check(audit, "missing values tell the outcome")]
    assert any("modality labs" in columns for columns in found)
    assert any("crp" in columns for columns in found)


def test_columns_that_are_missing_together_are_one_finding():
    X, y, _ = clean(8, prevalence=0.3).audited
    rows = (y == 1) & (np.arange(300) % 2 == 0)
    for place, column in enumerate(["a", "b", "c"]):
        X[column] = np.random.default_rng(place).normal(size=300)
        X.loc[rows, column] = np.nan
        X.loc[np.flatnonzero(y == 0)[: 2 * place], column] = np.nan
    (found,) = of_check(
        audit_cohort(X, y, "patient_id"), "missing values tell the outcome"
    )
    assert found.columns == ("a", "b", "c")


@pytest.mark.parametrize("word", ["unknown", "N/A", " Not recorded ", ""])
def test_words_for_a_missing_value_are_missing(word):
    X, y, _ = clean(8, prevalence=0.3).audited
    X["smoker"] = np.random.default_rng(0).choice(["yes", "no"], 300)
    X.loc[(y == 1) & (np.arange(300) % 2 == 0), "smoker"] = word
    X.loc[(y == 0) & (np.arange(300) % 9 == 0), "smoker"] = word
    audit = audit_cohort(X, y, "patient_id")
    assert of_check(audit, "missing values tell the outcome", "smoker")


@pytest.mark.parametrize("code", [-1, -999.0, "999"])
def test_numbers_for_a_missing_value_are_missing(code):
    X, y, _ = clean(8, prevalence=0.3).audited
    X["sodium"] = X["sodium"].astype(object)
    X.loc[(y == 1) & (np.arange(300) % 2 == 0), "sodium"] = code
    X.loc[(y == 0) & (np.arange(300) % 9 == 0), "sodium"] = code
    audit = audit_cohort(X, y, "patient_id")
    assert of_check(audit, "missing values tell the outcome", "sodium")


def test_numbers_written_as_text_are_numbers():
    X, y, _ = clean(8, prevalence=0.5).audited
    values = y + np.random.default_rng(0).normal(0, 0.1, 300)
    X["marker"] = [f"{'<' if one < 0.2 else ''}{one:.3f}" for one in values]
    assert of_check(
        audit_cohort(X, y, "patient_id"), "column tells the outcome", "marker"
    )


# -- images ---------------------------------------------------------------------------


def test_files_are_compared_by_content_and_missing_files_are_said(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    X, y, _ = clean(9).audited
    paths = []
    for row, pixels in enumerate(X["scan"]):
        path = tmp_path / f"{row}.png"
        image_module.fromarray(pixels).save(path)
        paths.append(str(path))
    first = X["patient_id"].drop_duplicates().index
    for one, other in zip(first[:10], first[10:20], strict=True):
        (tmp_path / f"{other}.png").write_bytes((tmp_path / f"{one}.png").read_bytes())
    (tmp_path / "299.png").unlink()
    X["scan"] = paths
    audit = audit_cohort(X, y, "patient_id", cv=5)
    (found,) = of_check(audit, "duplicate images", "scan")
    assert (found.severity, found.n_rows) == ("error", "20")
    assert of_check(audit, "images not read", "scan")
    by_file = audit_cohort(X, y, "patient_id", decode_images=False)
    assert of_check(by_file, "duplicate images", "scan")
    assert str(tmp_path) not in str(audit) + json.dumps(audit.to_dict())


def test_copies_within_a_patient_are_a_note_and_in_bags_are_found():
    X, y, _ = clean(9).audited
    twice = X["patient_id"].duplicated()
    for row in np.flatnonzero(twice)[:20]:
        other = X.index[X["patient_id"] == X["patient_id"].iloc[row]][0]
        X.at[row, "scan"] = X.at[other, "scan"]
    audit = audit_cohort(X, y, "patient_id", cv=5)
    assert [f.severity for f in of_check(audit, "duplicate images")] == ["note"]
    clean_checks = audit.checks.query("done and n_findings == 0")["check"].tolist()
    assert "similar images of scan" in clean_checks
    assert "duplicate images of scan" not in clean_checks
    X, y, _ = clean(9).audited
    X["scan"] = [[pixels, None] for pixels in X["scan"]]
    X.at[0, "scan"] = [X.at[0, "scan"][0], *X.at[1, "scan"]]
    for row in range(2, 21):
        X.at[row, "scan"] = [*X.at[row, "scan"], X.at[0, "scan"][0]]
    (found,) = of_check(audit_cohort(X, y, "patient_id"), "duplicate images")
    assert (found.severity, found.n_rows) == ("error", "21")


def test_images_without_structure_are_not_similar():
    X, y, _ = clean(9).audited
    X["scan"] = [np.full((20, 20 + row), row % 200, np.uint8) for row in range(300)]
    audit = audit_cohort(X, y, "patient_id")
    assert not of_check(audit, "similar images")


def test_the_size_of_an_image_can_tell_the_outcome():
    X, y, _ = clean(9, prevalence=0.5).audited
    rng = np.random.default_rng(0)
    size = np.where(rng.random(300) < 0.85, y, 1 - y)
    X["scan"] = [
        rng.integers(0, 255, (24, 24 + 8 * one), dtype=np.uint8) for one in size
    ]
    (found,) = of_check(audit_cohort(X, y, "patient_id"), "site tells the outcome")
    assert found.columns == ("scan (size of the image)",)


def test_the_scanner_in_the_header_of_an_image_can_tell_the_outcome():
    pytest.importorskip("pydicom")
    X, y, _ = clean(9, prevalence=0.5).audited
    rng = np.random.default_rng(0)
    makers = np.where(rng.random(300) < 0.85, y, 1 - y)
    X["scan"] = [
        as_bytes(
            dataset(
                rng.integers(0, 255, (16, 16), dtype=np.uint16),
                Manufacturer=("ACME", "Other")[maker],
            )
        )
        for maker in makers
    ]
    (found,) = of_check(audit_cohort(X, y, "patient_id"), "site tells the outcome")
    assert found.columns == ("scan (manufacturer of the image)",)
    assert "ACME" not in str(found)


def test_images_that_the_hash_does_not_separate_are_no_copies():
    X, y, _ = clean(9).audited
    rows, columns = np.mgrid[:32, :32]
    X["scan"] = [
        (((rows - 16) ** 2 + (columns - 16) ** 2 < 60 + one / 5) * 255).astype(np.uint8)
        + np.uint8(one % 2)
        for one in range(300)
    ]
    (found,) = of_check(audit_cohort(X, y, "patient_id"), "similar images")
    assert found.severity == "note"
    assert "no sign of a copy" in found.found


# -- events and models ----------------------------------------------------------------


class LatestValue(TransformerMixin, BaseEstimator):
    """Last value of a subject, whatever the index time is."""

    def __init__(self, events=None):
        self.events = events

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        events = self.events.of_subjects(X["subject_id"].unique())
        last = events.groupby("subject_id")["numeric_value"].last()
        return last.reindex(X["subject_id"]).to_numpy()[:, None]


def events_of(n):
    rng = np.random.default_rng(0)
    times = pd.Timestamp("2026-01-05") + pd.to_timedelta(np.tile([-48.0, 48.0], n), "h")
    return EventStore.from_frame(
        pd.DataFrame(
            {
                "subject_id": np.repeat(np.arange(n), 2),
                "time": times,
                "code": "LAB//crp",
                "numeric_value": rng.normal(size=2 * n),
            }
        )
    )


def test_events_after_the_index_time_are_found_in_a_modality():
    n = 60
    store = events_of(n)
    X = pd.DataFrame(
        {"subject_id": np.arange(n), "index_time": pd.Timestamp("2026-01-05")}
    )
    X["age"] = np.random.default_rng(1).integers(30, 80, n)
    y = np.arange(n) % 2
    keys = ["subject_id", "index_time"]
    age = ("age", StandardScaler(), ["age"])
    good = [("labs", EventWindows(store, windows=("30d",)), keys), age]
    audit = audit_cohort(X, y, np.arange(n), modalities=good)
    assert audit.passed, str(audit)
    assert "events after the index time of labs" in set(
        audit.checks.loc[audit.checks["done"], "check"]
    )
    bad = [("labs", LatestValue(store), keys), age]
    audit = audit_cohort(X, y, np.arange(n), modalities=bad)
    (found,) = of_check(audit, "events after the index time", "labs")
    assert found.severity == "error"
    given = audit_cohort(X, y, np.arange(n), events=store)
    assert given.passed


def test_a_model_that_saw_another_row_of_a_patient():
    X, y, _ = clean(10, prevalence=0.5).audited
    X["glucose"] = np.random.default_rng(0).normal(size=300)
    parts = [("a", StandardScaler(), ["glucose"]), ("b", StandardScaler(), ["sodium"])]
    last = X["patient_id"].duplicated().to_numpy()
    model = EarlyFusionClassifier(parts, random_state=0).fit(X[last], y[last])
    others = [(np.flatnonzero(last), np.flatnonzero(~last))]
    audit = audit_cohort(X, y, "patient_id", others, model=model)
    (found,) = of_check(audit, "rows seen by the model")
    assert (found.n_rows, found.n_patients) == ("100", "100")
    new = ~X["patient_id"].isin(X["patient_id"][last]).to_numpy()
    unseen = [(np.flatnonzero(last), np.flatnonzero(new))]
    assert not of_check(
        audit_cohort(X, y, "patient_id", unseen, model={"m": model}),
        "rows seen by the model",
    )


def test_a_frozen_encoder_that_saw_rows_of_the_cohort():
    X, y, _ = clean(10, prevalence=0.5).audited
    X["glucose"] = np.random.default_rng(0).normal(size=300)
    parts = [("a", StandardScaler(), ["glucose"]), ("b", StandardScaler(), ["age"])]
    fitted = EarlyFusionClassifier(parts, random_state=0)
    fitted.fit(X[:40].drop(columns="patient_id"), y[:40])
    deep = make_pipeline(FrozenEstimator(fitted), StandardScaler())
    deep = [("deep", deep, ["glucose", "age"]), ("crp", SimpleImputer(), ["crp"])]
    audit = audit_cohort(X, y, "patient_id", 5, modalities=deep)
    (found,) = of_check(audit, "rows seen by the model", "deep")
    assert (found.severity, found.n_rows) == ("error", "40")
    again = [("deep", clone(fitted), ["glucose", "age"]), deep[1]]
    audit = audit_cohort(X, y, "patient_id", 5, modalities=again)
    assert not of_check(audit, "rows seen by the model")


def test_a_model_that_is_not_fitted_is_not_checked():
    X, y, _ = clean(10).audited
    model = EarlyFusionClassifier([("a", StandardScaler(), ["age"])])
    checks = audit_cohort(X, y, "patient_id", model=model).checks.set_index("check")
    assert not checks.loc["rows seen by model", "done"]
    assert "not fitted" in checks.loc["rows seen by model", "reason"]


# -- what is printed ------------------------------------------------------------------


def test_no_small_count_and_no_cell_is_printed():
    cohort = clean(11, prevalence=0.5)
    X, y, _ = cohort.audited
    X.loc[:4, "last_visit"] = X.loc[:4, "index_time"] + pd.Timedelta(9, "D")
    X["secret"] = np.where(y == 1, "Mr Smith", "Mrs Miller")
    audit = audit_cohort(X, y, "patient_id", cv=5)
    (found,) = of_check(audit, "times after the index time")
    assert (found.n_rows, found.n_patients) == ("<10", "<10")
    texts = [str(audit), audit.to_markdown(), json.dumps(audit.to_dict())]
    texts.append(audit.to_frame().to_csv())
    for text in texts:
        assert "Smith" not in text
        assert "P0" not in text
        assert not re.search(r"(?<![\d.<=])[1-9] (rows|patients)", text)
    assert found.n_rows != "5"
    open_counts = audit_cohort(X, y, "patient_id", min_cell=1)
    (found,) = of_check(open_counts, "times after the index time")
    assert found.n_rows == "5"


def test_forms_of_the_result_agree():
    cohort = clean(12, prevalence=0.5)
    X, y, _ = cohort.audited
    X["copy|of y"] = y
    audit = audit_cohort(X, y, "patient_id", cv=5)
    frame = audit.to_frame()
    names = ["check", "severity", "columns", "n_rows", "n_patients", "found", "remedy"]
    assert list(frame.columns) == names
    assert len(frame) == len(audit.findings) == len(audit.to_dict()["findings"])
    assert frame["severity"].iloc[0] == "error"
    assert frame["columns"].tolist() == ["copy|of y"]
    assert list(audit_cohort(*clean(0).audited).to_frame().columns) == names
    assert not audit.passed
    assert "copy\\|of y" in audit.to_markdown()
    assert str(audit).startswith("CohortAudit: 1 error, 0 warnings, 0 notes (300 rows")
    assert "Not checked: rows seen by a model (no fitted model was given)." in str(
        audit
    )
    for form in (str(audit), audit.to_markdown()):
        (line,) = re.findall("Checked, nothing found: (.*)\\.", form)
        assert {"patients across folds", "rows twice"} <= set(line.split(", "))
        # the copy of the outcome is the finding of this check
        assert "single columns" not in line
    counts = audit.checks["n_findings"]
    assert counts.sum() == len(audit.findings)
    assert (
        json.loads(json.dumps(audit.to_dict()))["thresholds"]["missing_auroc"] == 0.65
    )
    assert "copy|of y" in audit._repr_html_()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"min_cell": 0}, ValueError, "min_cell"),
        ({"decode_images": "yes"}, ValueError, "decode_images"),
        ({"groups": "nobody"}, ValueError, "audit_cohort: .*nobody"),
        ({"cv": "five"}, TypeError, "audit_cohort: cv"),
        ({"sites": "nowhere"}, ValueError, "nowhere"),
        ({"index_time": "never"}, ValueError, "never"),
        ({"images": ["photo"]}, ValueError, "photo"),
        ({"events": object()}, ValueError, "subject_id"),
        ({"modalities": {"m": StandardScaler()}}, TypeError, "has no modalities"),
    ],
)
def test_errors_name_the_function_and_the_remedy(options, error, match):
    X, y, groups = clean(0).audited
    with pytest.raises(error, match=match):
        audit_cohort(X, y, **{"groups": groups, **options})


def test_the_outcome_is_checked():
    X, y, groups = clean(0).audited
    with pytest.raises(ValueError, match="audit_cohort: y contains one class only"):
        audit_cohort(X, np.zeros(300), groups)
    with pytest.raises(ValueError, match="audit_cohort: y has 299 entries"):
        audit_cohort(X, y[:-1], groups)
