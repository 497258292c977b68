"""Leaks of 20 rows that are planted in a clean cohort of 300 rows."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from audited_cohorts import N_AFFECTED, Cohort, few
from PIL import Image
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from skfusion import LateFusionClassifier

PLANTS = {}


def plant(check: str, column: str, severity: str):
    """Register a plant with the check, the column and the severity that find it."""

    def register(function):
        PLANTS[function.__name__] = (function, check, column, severity)
        return function

    return register


def pairs_of_patients(cohort: Cohort, rng: np.random.Generator):
    """Return ten pairs of rows of different patients, 20 rows in all."""
    first = cohort.X["patient_id"].drop_duplicates().index.to_numpy()
    chosen = rng.permutation(first)[:N_AFFECTED]
    return chosen[: N_AFFECTED // 2], chosen[N_AFFECTED // 2 :]


@plant("patients across folds", "cv", "error")
def patients_in_both_parts(cohort, rng):
    folds = list(GroupKFold(5).split(cohort.X, cohort.y, cohort.X["patient_id"]))
    ids = cohort.X["patient_id"]
    train, test = folds[0]
    repeated = ids[train][ids[train].duplicated()].index.to_numpy()[:N_AFFECTED]
    folds[0] = (np.setdiff1d(train, repeated), np.union1d(test, repeated))
    folds[1:] = [
        (np.setdiff1d(train, repeated), np.setdiff1d(test, repeated))
        for train, test in folds[1:]
    ]
    cohort.options["cv"] = folds


@plant("duplicate images", "scan", "error")
def images_of_other_patients(cohort, rng):
    for one, other in zip(*pairs_of_patients(cohort, rng), strict=True):
        cohort.X.at[other, "scan"] = cohort.X.at[one, "scan"].copy()


@plant("duplicate images", "scan", "error")
def images_saved_again_in_another_format(cohort, rng):
    def saved(pixels, kind):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        return file.getvalue()

    first, second = pairs_of_patients(cohort, rng)
    files = [saved(pixels, "PNG") for pixels in cohort.X["scan"]]
    for one, other in zip(first, second, strict=True):
        files[other] = saved(cohort.X.at[one, "scan"], "BMP")
    cohort.X["scan"] = files


@plant("similar images", "scan", "note")
def images_that_were_recoded(cohort, rng):
    for one, other in zip(*pairs_of_patients(cohort, rng), strict=True):
        pixels = cohort.X.at[one, "scan"] * 0.9 + rng.normal(0, 1, (24, 24))
        cohort.X.at[other, "scan"] = pixels.clip(0, 255).astype(np.uint8)


@plant("rows twice", "all features", "error")
def rows_of_other_patients(cohort, rng):
    features = ["age", "sex", "crp", "creatinine", "sodium", "diagnosis", "scanner"]
    first, second = pairs_of_patients(cohort, rng)
    cohort.X.loc[first, "crp"] = np.round(rng.lognormal(1.5, 0.8, len(first)), 1)
    features += ["last_visit"]
    cohort.X.loc[second, features] = cohort.X.loc[first, features].to_numpy()


@plant("times after the index time", "last_visit", "error")
def dates_after_the_index_time(cohort, rng):
    rows = few(cohort.y >= 0, rng)
    later = cohort.X.loc[rows, "index_time"] + pd.Timedelta(30, "D")
    cohort.X.loc[rows, "last_visit"] = later


@plant("times after the index time", "last_visit", "error")
def dates_after_the_index_time_as_text(cohort, rng):
    dates_after_the_index_time(cohort, rng)
    for column in ("last_visit", "index_time"):
        cohort.X[column] = cohort.X[column].dt.strftime("%Y-%m-%d")


@plant("column is the patient", "chart", "error")
def number_of_the_patient(cohort, rng):
    numbers = pd.factorize(cohort.X["patient_id"])[0]
    cohort.X["chart"] = rng.permutation(10_000)[numbers]


@plant("column is the patient", "chart", "warning")
def number_of_the_patient_with_errors(cohort, rng):
    number_of_the_patient(cohort, rng)
    rows = few(cohort.y >= 0, rng)
    cohort.X.loc[rows, "chart"] = 20_000 + np.arange(len(rows))


@plant("identifier", "sample", "warning")
def number_of_the_row(cohort, rng):
    cohort.X["sample"] = 7_000 + rng.permutation(len(cohort.X))


@plant("missing values tell the outcome", "crp", "warning")
def missing_in_cases(cohort, rng):
    cohort.X["crp"] = cohort.X["crp"].fillna(5.0)
    cohort.X.loc[few(cohort.y == 1, rng), "crp"] = np.nan


@plant("missing values tell the outcome", "scan", "warning")
def missing_images_of_cases(cohort, rng):
    for row in few(cohort.y == 1, rng):
        cohort.X.at[row, "scan"] = None


@plant("column tells the outcome", "code", "warning")
def outcome_with_errors(cohort, rng):
    code = np.where(cohort.y == 1, "F20", "Z00")
    rows = few(cohort.y >= 0, rng)
    cohort.X["code"] = pd.Series(code)
    cohort.X.loc[rows, "code"] = np.where(cohort.y[rows] == 1, "Z00", "F20")


@plant("column tells the outcome", "troponin", "error")
def number_of_the_outcome(cohort, rng):
    cohort.X["troponin"] = cohort.y + rng.normal(0, 0.2, len(cohort.y))


@plant("column tells the outcome", "balance", "error")
def number_that_is_extreme_in_cases(cohort, rng):
    signs = rng.choice([-1.0, 1.0], len(cohort.y))
    cohort.X["balance"] = (0.5 + 2 * cohort.y) * signs + rng.normal(
        0, 0.3, len(cohort.y)
    )


@plant("value determines the outcome", "ward", "warning")
def category_of_cases_only(cohort, rng):
    cohort.X["ward"] = rng.choice(["a", "b"], len(cohort.y))
    cohort.X.loc[few(cohort.y == 1, rng), "ward"] = "hospice"


@plant("value determines the outcome", "scanner", "warning")
def scanner_of_cases_only(cohort, rng):
    cohort.X.loc[few(cohort.y == 1, rng), "scanner"] = "trial"


@plant("order tells the outcome", "order of the rows", "warning")
def cases_appended_at_the_end(cohort, rng):
    last = few(cohort.y == 1, rng)
    order = np.concatenate([np.setdiff1d(np.arange(len(cohort.y)), last), last])
    cohort.X = cohort.X.iloc[order].reset_index(drop=True)
    cohort.y = cohort.y[order]


@plant("order tells the outcome", "patient_id", "warning")
def cases_enrolled_last(cohort, rng):
    rows = few((cohort.y == 1), rng)
    ids = cohort.X["patient_id"]
    late = {old: f"P{5000 + n}" for n, old in enumerate(ids.iloc[rows].unique())}
    cohort.X["patient_id"] = ids.replace(late)


@plant("rows seen by the model", "model", "error")
def rows_of_the_source_of_an_encoder(cohort, rng):
    rows = np.sort(few(cohort.y >= 0, rng))
    rows = np.union1d(rows, np.flatnonzero(cohort.y == 1)[:2])[:N_AFFECTED]
    cohort.X["glucose"] = rng.normal(size=len(cohort.y))
    parts = [
        ("labs", StandardScaler(), ["glucose", "age"]),
        ("more", StandardScaler(), ["sodium"]),
    ]
    model = LateFusionClassifier(parts, random_state=0)
    y = np.tile([0, 1], len(rows))[: len(rows)]
    cohort.options["model"] = model.fit(cohort.X.iloc[rows], y)
