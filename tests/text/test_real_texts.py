"""Texts of a real record: titles of diagnoses and names of medications."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, EventStore, EventWindows, TextEmbedder
from skfusion._dependencies import is_installed
from skfusion.ehr import EventNotes
from skfusion.evaluation import estimate_aurocs

CASE = ["subject_id", "index_time"]


def ngrams(texts):
    vectoriser = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), n_features=512
    )
    return vectoriser.transform(texts)


@pytest.fixture(scope="module")
def stays(skfusion_data):
    folder = skfusion_data / "ehr" / "mimic4_demo" / "hosp"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA has no folder ehr/mimic4_demo")
    return {
        name: pd.read_csv(folder / f"{name}.csv.gz", dtype={"icd_code": str})
        for name in ("admissions", "diagnoses_icd", "d_icd_diagnoses", "prescriptions")
    }


@pytest.fixture(scope="module")
def events(stays):
    """Titles of diagnoses at discharge, and medications at their start."""
    titles = (
        stays["diagnoses_icd"]
        .merge(stays["d_icd_diagnoses"], on=["icd_code", "icd_version"])
        .merge(stays["admissions"][["hadm_id", "dischtime"]], on="hadm_id")
    )
    titles = pd.DataFrame(
        {
            "subject_id": titles["subject_id"],
            "time": pd.to_datetime(titles["dischtime"]),
            "code": "NOTE//diagnosis",
            "text_value": titles["long_title"],
        }
    )
    given = stays["prescriptions"].dropna(subset=["starttime", "drug"])
    drugs = pd.DataFrame(
        {
            "subject_id": given["subject_id"],
            "time": pd.to_datetime(given["starttime"]),
            "code": "NOTE//medication",
            "text_value": given["drug"].str.strip(),
        }
    )
    return pd.concat([titles, drugs]).dropna(subset=["text_value"])


@pytest.fixture(scope="module")
def cohort(stays):
    """Stays at 24 hours after admission, and whether diabetes is coded at their end."""
    found = stays["admissions"]
    start, end = (pd.to_datetime(found[key]) for key in ("admittime", "dischtime"))
    codes = stays["diagnoses_icd"]
    diabetes = codes[codes["icd_code"].str.match("E1[01]|250")]["hadm_id"]
    X = pd.DataFrame(
        {
            "subject_id": found["subject_id"],
            "index_time": start + pd.Timedelta("24h"),
            "outcome": found["hadm_id"].isin(diabetes).astype(int),
        }
    )
    X = X[end - start > pd.Timedelta("24h")].reset_index(drop=True)
    return X[CASE], X["outcome"].to_numpy()


@pytest.mark.data
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:.*drugs absent in \\d of")  # stays without a text
@pytest.mark.parametrize("encoder", ["wordllama", ngrams])
def test_real_texts_are_a_modality(encoder, events, cohort, tmp_path):
    if encoder == "wordllama" and not is_installed("wordllama"):
        pytest.skip("wordllama is not installed")
    X, y = cohort
    store = EventStore.from_frame(events, date_only=None)
    quiet = {"unknown_subject": "empty", "shared_subjects": "ignore"}
    notes = EventNotes(store, max_notes=50, **quiet)
    lists = notes.fit_transform(X)[:, 0]
    number = pd.Series([len(row) for row in lists])
    assert (number > 0).mean() > 0.9
    times = EventNotes(store, max_notes=None, with_times=True, **quiet)
    for moment, row in zip(X["index_time"], times.fit_transform(X)[:, 0], strict=True):
        assert all(time < moment for _, time in row)
    drugs = EventNotes(store, include=["NOTE//medication"], max_notes=50, **quiet)
    embedder = TextEmbedder(encoder, store=tmp_path)
    counts = EventWindows(store, windows=("1d", None), aggs=("count",), **quiet)
    model = EarlyFusionClassifier(
        [
            ("drugs", make_pipeline(drugs, embedder, StandardScaler()), CASE),
            ("counts", make_pipeline(counts, StandardScaler()), CASE),
        ],
        estimator=LogisticRegression(C=0.001, max_iter=2000),
        groups="subject_id",
    )
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(
        model, X, y, cv=folds, groups=X["subject_id"], method="predict_proba"
    )[:, 1]
    found = estimate_aurocs(y, [scores], X["subject_id"])
    assert found.values[0] > 0.75
    texts = {text for row in lists for text in row}
    assert len(texts) > 500
    again = TextEmbedder(encoder, store=tmp_path).fit_transform(lists)
    assert np.isfinite(again[number.to_numpy() > 0]).all()
