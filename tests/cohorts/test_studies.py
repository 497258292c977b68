"""Whole studies: the future does not matter, and one model serves several sources."""

from __future__ import annotations

import gzip
import json
import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_files import as_bytes, dataset
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skfusion import EarlyFusionClassifier, EventStore, LateFusionClassifier, read_image
from skfusion.cohorts import link_images, link_report, make_cases, scan_images
from skfusion.ehr import EventWindows, LeakageAudit, domain_modalities, with_events

START = pd.Timestamp("2024-03-01 06:00")
N_PATIENTS = 24


def brightness(column):
    """Return the mean of each image, or of the images of a bag, NaN without one."""
    values = []
    for cell in np.asarray(column, dtype=object).ravel():
        paths = cell if isinstance(cell, list) else [cell]
        means = [read_image(path).array.mean() for path in paths if path is not None]
        values.append([np.mean(means) if means else np.nan])
    return np.array(values)


def write(path: Path, patient: int, time: pd.Timestamp, level: int) -> None:
    made = dataset(
        np.full((4, 4), level, dtype=np.uint16),
        PatientID=f"P{patient}",
        StudyInstanceUID=f"1.{patient}",
        SeriesInstanceUID=f"1.9{path.stem}",
        Modality="DX",
        AcquisitionDate=time.strftime("%Y%m%d"),
        AcquisitionTime=time.strftime("%H%M%S"),
    )
    path.write_bytes(as_bytes(made))


@pytest.mark.filterwarnings("ignore:link_images:skfusion.exceptions.LeakageWarning")
@pytest.mark.parametrize("select", ["last", "all"])
def test_the_future_changes_neither_links_nor_model(tmp_path, select):
    """All later images become noise, and half of them are lost."""
    rng = np.random.default_rng(0)
    cases = pd.DataFrame(
        {
            "patient": [f"P{i}" for i in range(N_PATIENTS)],
            "index_time": START
            + pd.to_timedelta(rng.integers(20, 60, N_PATIENTS), "h"),
            "age": rng.normal(60, 9, N_PATIENTS),
        }
    )
    y = np.arange(N_PATIENTS) % 2
    later = []
    for patient, index_time in enumerate(cases["index_time"]):
        # One image is acquired at the index time itself.
        for hours in (-30, -5, 0, 1, 12):
            path = tmp_path / f"{patient:02}{len(later):04}{hours + 50}.dcm"
            time = index_time + pd.Timedelta(hours, "h")
            write(path, patient, time, int(rng.integers(1, 900)))
            if hours >= 0:
                later.append((path, patient, time))

    def study():
        images = scan_images(tmp_path)
        linked = link_images(cases, images, "patient", select=select)
        modalities = [
            (
                "image",
                make_pipeline(FunctionTransformer(brightness), SimpleImputer()),
                ["image"],
            ),
            ("age", "passthrough", ["age"]),
        ]
        model = EarlyFusionClassifier(modalities, random_state=0).fit(linked, y)
        return linked, model.predict_proba(linked)

    table, probability = study()
    assert table["image"].notna().all()
    for number, (path, patient, time) in enumerate(later):
        if number % 2:
            os.remove(path)
        else:
            write(path, patient, time, int(rng.integers(1000, 4000)))
    falsified, other = study()
    pd.testing.assert_frame_equal(falsified, table)
    np.testing.assert_array_equal(other, probability)


CODES = ("DIAGNOSIS//ICD*", "PROCEDURE//ICD*")


def patients_of(folder: Path) -> dict[str, int]:
    """Return the id in MIMIC-IV of each Patient of its FHIR form."""
    with gzip.open(folder / "MimicPatient.ndjson.gz") as lines:
        found = map(json.loads, lines)
        return {one["id"]: int(one["identifier"][0]["value"]) for one in found}


def other_times(
    tables: EventStore, export: EventStore, ids: dict[str, int]
) -> set[int]:
    """Return patients of whom a code is available at another time as FHIR.

    The tables have dates of procedures, and midnight as the time of one discharge,
    which are the end of their day. The resources have midnight, which may be a time.
    """
    sides = []
    for store in (tables, export):
        events = store.to_frame()
        events = events[events["code"].str.match("(DIAGNOSIS|PROCEDURE)//ICD")]
        if store is export:
            events = events.assign(subject_id=events["subject_id"].map(ids))
        sides.append(
            Counter(
                zip(
                    events["subject_id"],
                    events["code"],
                    events["available_time"],
                    strict=True,
                )
            )
        )
    different = (sides[0] - sides[1]) + (sides[1] - sides[0])
    assert sum(sides[0].values()) == sum(sides[1].values()) > 5000
    subjects = {subject for subject, *_ in different}
    assert len(subjects) <= 14
    return subjects


@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore")
def test_a_model_of_tables_predicts_for_the_same_patients_as_fhir(
    skfusion_data, tmp_path
):
    ehr = skfusion_data / "ehr"
    tables = EventStore.from_mimic(ehr / "mimic4_demo", tmp_path / "tables")
    # The tables of the emergency department are not part of the demo of MIMIC-IV.
    files = [
        path
        for path in (ehr / "mimic4_demo_fhir").iterdir()
        if path.name.startswith("Mimic") and "ED." not in path.name
    ]
    export = EventStore.from_fhir(
        files, tmp_path / "export", time_zone="America/New_York"
    )
    cases = make_cases(tables, after="24h", outcome=["died", "stay"], horizon="7d")
    same = make_cases(export, after="24h", outcome=["died", "stay"], horizon="7d")
    ids = patients_of(ehr / "mimic4_demo_fhir")
    same["original"] = same["subject_id"].map(ids)
    joined = cases.merge(
        same, left_on=["subject_id", "index_time"], right_on=["original", "index_time"]
    )
    assert len(joined) == len(cases) == len(same) == 245
    assert (joined["outcome_x"] == joined["outcome_y"]).all()
    joined = joined[~joined["original"].isin(other_times(tables, export, ids))]
    assert joined["original"].nunique() > 60
    X = joined[["subject_id_x", "index_time"]]
    X = X.set_axis(["subject_id", "index_time"], axis=1)
    others = joined[["subject_id_y", "index_time"]].set_axis(X.columns, axis=1)
    for strategy in (EarlyFusionClassifier, LateFusionClassifier):
        record = [
            (
                name,
                EventWindows(
                    tables,
                    include=(pattern,),
                    windows=(None,),
                    aggs=("present", "count"),
                    max_codes=60,
                ),
                ["subject_id", "index_time"],
            )
            for name, pattern in zip(("diagnoses", "procedures"), CODES, strict=True)
        ]
        model = strategy(record, groups="subject_id", random_state=0)
        model.fit(X, joined["outcome_x"])
        known = model.predict_proba(X)
        found = with_events(model, export).predict_proba(others)
        np.testing.assert_allclose(found, known, rtol=0, atol=1e-6)
        assert len(np.unique(known.round(6), axis=0)) > 20


@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", ["tables", "fhir"])
def test_the_story_of_a_record_takes_fifteen_lines(source, skfusion_data, tmp_path):
    folder = skfusion_data / "ehr"
    if source == "tables":
        store = EventStore.from_mimic(folder / "mimic4_demo", tmp_path / "s")
    else:
        zone = "America/New_York"
        store = EventStore.from_fhir(
            folder / "mimic4_demo_fhir", tmp_path / "s", time_zone=zone
        )
    cases = make_cases(
        store, after="24h", at_least="24h", outcome=["died", "stay"], horizon="7d"
    )
    X, y = cases[["subject_id", "index_time"]], cases["outcome"]
    record = domain_modalities(store, windows=("1d", "365d"), max_codes=10)
    model = EarlyFusionClassifier(record, groups="subject_id", random_state=0)
    cv = StratifiedGroupKFold(2)
    scores = cross_val_score(
        model, X, y, groups=X["subject_id"], cv=cv, scoring="roc_auc"
    )
    assert np.isfinite(scores).all()
    model.fit(X, y)
    assert LeakageAudit(n_rows=20, random_state=0).run(model, X, y).passed
    assert with_events(model, store).predict_proba(X.head(1)).shape == (1, 2)


@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore")
def test_real_series_are_linked_embedded_and_compared(skfusion_data):
    pytest.importorskip("torch")
    from skfusion import ImageEmbedder, compare_fusion

    images = scan_images(skfusion_data / "images" / "dicom_series")
    # Most of the files are of two studies. The CT states no date.
    images = images[images["instances"] > 1].reset_index(drop=True)
    images["patient"] = range(3)
    images["available"] = START - pd.to_timedelta([3, 2, 1], "h")
    images["acquired"] = pd.NaT
    rng = np.random.default_rng(0)
    cases = pd.DataFrame(
        {
            "patient": np.arange(36) % 4,
            "index_time": START,
            "age": rng.normal(60, 9, 36),
        }
    )
    cases.loc[cases["patient"] == 2, "index_time"] -= pd.Timedelta("90min")
    linked = link_images(cases, images, on="patient")
    report = link_report(linked)
    assert report.cases["linked"] == 18
    assert report.cases["too_late"] == report.cases["no_image"] == 9
    y = (np.arange(36) // 4) % 2
    fused = [
        ("image", ImageEmbedder(), ["image"]),
        ("age", "passthrough", ["age"]),
    ]
    model = EarlyFusionClassifier(fused, random_state=0)
    groups = np.arange(36) // 2
    result = compare_fusion(
        {"early": model}, linked, y, groups=groups, cv=2, quick=True, random_state=0
    )
    assert "early" in result.summary()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vectors = ImageEmbedder().fit_transform(linked[["image"]].iloc[:4])
    assert np.isfinite(np.asarray(vectors)[:2]).all()
