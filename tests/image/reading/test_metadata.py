"""What headers tell a model, and what they never do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dicom_files import as_bytes, dataset, plane, write_series

from skfusion.image import read_metadata
from skfusion.image.reading.files import ImageReadError

PIXELS = np.zeros((4, 6), dtype=np.uint16)
TAGS = {
    "Modality": "DX",
    "PatientAge": "045Y",
    "PatientSex": "F",
    "PatientBirthDate": "19700131",
    "InstitutionName": "Doe Hospital",
    "ReferringPhysicianName": "Doe^John",
    "StudyDescription": "Doe for follow-up",
    "AccessionNumber": "Doe-99",
    "ViewPosition": "AP",
    "BodyPartExamined": "CHEST",
    "ImageLaterality": "U",
    "AcquisitionDate": "20260102",
    "AcquisitionTime": "030405.678",
    "ImagerPixelSpacing": [0.2, 0.1],
    "KVP": "120",
    "Manufacturer": "Maker",
    "ContrastBolusAgent": "IOHEXOL",
}


def test_one_row_that_names_nobody():
    frame = read_metadata(as_bytes(dataset(PIXELS, **TAGS)))
    assert frame.shape[0] == 1
    row = frame.iloc[0]
    expected = {
        "format": "DICOM",
        "modality": "DX",
        "view": "AP",
        "laterality": "U",
        "body_part": "CHEST",
        "sex": "F",
        "age": 45.0,
        "acquired": pd.Timestamp("2026-01-02 03:04:05"),
        "rows": 4,
        "columns": 6,
        "n_frames": 1,
        "spacing_y": 0.2,
        "spacing_x": 0.1,
        "kvp": 120,
        "bits_stored": 16,
        "manufacturer": "Maker",
        "contrast": True,
        "echo_time": None,
    }
    for name, value in expected.items():
        assert row[name] == value or (value is None and pd.isna(row[name])), name
    assert "Doe" not in frame.to_csv()
    assert "1970" not in frame.to_csv()


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of writing the file
@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("018M", 1.5),
        ("004W", 4 * 7 / 365.25),
        ("010D", 10 / 365.25),
        ("101Y", 90.0),  # ages above 89 identify
        ("45", None),
        ("", None),
        ("abcY", None),
    ],
)
def test_ages(text, years):
    age = read_metadata(as_bytes(dataset(PIXELS, PatientAge=text)))["age"][0]
    assert age == pytest.approx(years) if years is not None else np.isnan(age)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize(
    ("tags", "when"),
    [
        ({"AcquisitionDateTime": "20260102030405.12+0100"}, "2026-01-02 03:04:05"),
        ({"ContentDate": "20260102", "ContentTime": "0304"}, "2026-01-02 03:04"),
        ({"StudyDate": "20260102"}, "2026-01-02"),
        ({"StudyDate": "20269999"}, None),
        ({}, None),
    ],
)
def test_times(tags, when):
    found = read_metadata(as_bytes(dataset(PIXELS, **tags)))["acquired"][0]
    assert (when is None and pd.isna(found)) or found == pd.Timestamp(when)


def test_columns_of_images(tmp_path):
    write_series(tmp_path / "x", [plane(i, i) for i in range(3)], list("abc"))
    png = b"\x89PNG\r\n\x1a\n" + bytes(30)
    cells = pd.Series(
        [as_bytes(dataset(PIXELS)), None, tmp_path / "x", png], list("wxyz")
    )
    frame = read_metadata(cells)
    assert frame.index.tolist() == list("wxyz")
    assert frame["format"].tolist() == ["DICOM", None, "DICOM", "PNG"]
    assert frame["n_frames"].tolist()[2] == 3
    assert frame["age"].dtype == float
    assert str(frame["acquired"].dtype).startswith("datetime64")
    with pytest.raises(
        ImageReadError, match="At row position 1: .* looks like text"
    ) as e:
        read_metadata([png, b"Doe is no image"])
    assert e.value.row == 1
