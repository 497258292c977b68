"""Images that were acquired at or after the index time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dicom_files import as_bytes, dataset

from skfusion.evaluation import audit_cohort

N = 30
INDEX = pd.Timestamp("2024-03-02 12:00")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Radiographs of the days and hours before the index time, and four after it."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = []
    for i in range(N):
        time = INDEX + pd.Timedelta(i - N + 4, "h")  # the first late one is at noon
        made = dataset(
            rng.integers(0, 4000, (8, 8), dtype=np.uint16),
            AcquisitionDate=time.strftime("%Y%m%d"),
            AcquisitionTime=time.strftime("%H%M%S"),
        )
        paths.append(str(folder / f"{i}.dcm"))
        (folder / f"{i}.dcm").write_bytes(as_bytes(made))
    return paths


def audited(cells, index_time=INDEX, **how):
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"index_time": [index_time] * N, "age": rng.normal(60, 9, N)})
    X["image"] = pd.Series(cells, dtype=object)
    return audit_cohort(X, np.arange(N) % 2, groups=np.arange(N), **how)


def late(audit):
    return [f for f in audit.findings if f.check == "images after the index time"]


@pytest.mark.parametrize("decode", [True, False])
def test_images_of_the_future_are_found_by_their_header(images, decode):
    (found,) = late(audited(images, decode_images=decode))
    assert found.severity == "error"
    assert found.columns == ("image",)
    assert found.n_rows == "<10"
    assert late(audited(images, INDEX + pd.Timedelta("1D"))) == []


def test_images_of_the_future_are_found_by_the_times_of_their_bags(images):
    day = pd.Timedelta("1D")
    bags = [
        [(path, INDEX - day), (path, INDEX + i * day)] for i, path in enumerate(images)
    ]
    (found,) = late(audited(bags))
    assert found.n_rows == "30"
    bags = [[(path, INDEX - day)] for path in images]
    assert late(audited(bags)) == []  # the time of a bag is that of the user


@pytest.mark.parametrize("column", ["image", "chest film"])
@pytest.mark.parametrize("how", ["none", "columns", "estimators"])
def test_times_of_linked_images_without_a_header(column, how):
    """Those of PNG files are in a column that no modality uses."""
    hours = pd.to_timedelta(np.arange(N) - N + 4, "h")  # four at or after the index
    X = pd.DataFrame({"index_time": [INDEX] * N, "age": np.arange(N) % 7.0})
    pixels = np.random.default_rng(0).integers(0, 255, (N, 8, 8), dtype=np.uint8)
    X[column] = pd.Series(list(pixels), dtype=object)
    X[f"{column}_time"] = INDEX + hours
    X.at[N - 1, column] = None  # its time is of no image
    modalities = {
        "none": None,
        "columns": {"record": ["age"], "film": [column]},
        "estimators": [
            ("record", "passthrough", ["age"]),
            ("film", "passthrough", [column]),
        ],
    }[how]
    told = {"groups": np.arange(N), "modalities": modalities, "min_cell": 1}
    (found,) = late(audit_cohort(X, np.arange(N) % 2, **told))
    assert (found.columns, found.n_rows) == ((column,), "3")
    before = X.assign(**{f"{column}_time": INDEX - pd.Timedelta("1us")})
    assert late(audit_cohort(before, np.arange(N) % 2, **told)) == []
    without = audit_cohort(
        X.drop(columns=f"{column}_time"), np.arange(N) % 2, **told
    ).checks.set_index("check")
    told_why = without.loc[f"times of images of {column}", "reason"]
    assert f"keep the column '{column}_time'" in told_why


def test_a_linked_time_counts_beside_the_header(images):
    def of(times):
        rng = np.random.default_rng(1)
        X = pd.DataFrame({"index_time": [INDEX + pd.Timedelta("1D")] * N})
        X["age"], X["image"] = rng.normal(60, 9, N), images
        X["image_time"] = times
        return late(audit_cohort(X, np.arange(N) % 2, groups=np.arange(N)))

    assert of(INDEX) == of("unknown") == of(pd.NaT) == []
    texts = [(INDEX + pd.Timedelta("2D")).isoformat()] * (N - 1) + ["unknown"]
    assert of(texts)[0].n_rows == ">20"


def test_what_cannot_be_compared_is_told(images):
    audit = audited(images, INDEX.tz_localize("UTC"))
    checks = audit.checks.set_index("check").loc["times of images of image"]
    assert not checks["done"]
    assert "time zone" in checks["reason"]
    audit = audited([np.zeros((4, 4), dtype=np.uint8)] * N, images=["image"])
    checks = audit.checks.set_index("check").loc["times of images of image"]
    assert "no time of an image" in checks["reason"]
