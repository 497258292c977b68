from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from skfusion.datasets import load_pad_ufes_20

CLEAN = ["age", "region", "itch", "grew", "hurt", "changed", "bleed", "elevation"]


@pytest.fixture
def table() -> pd.DataFrame:
    diagnoses = ["ACK", "BCC", "MEL", "NEV", "SCC", "SEK"]
    n = len(diagnoses)
    frame = pd.DataFrame(
        {
            "patient_id": [f"PAT_{i // 2}" for i in range(n)],
            "lesion_id": range(n),
            "img_id": [f"photo_{i}.png" for i in range(n)],
            "age": [40, 50, None, 60, 70, 80],
            "region": "NOSE",
            "diagnostic": diagnoses,
            "fitspatrick": [None, 2, 3, None, 1, None],
            "biopsed": [False, True, True, False, True, False],
        }
    )
    for column in CLEAN[2:]:
        frame[column] = ["True", "False", "UNK", "True", "True", "False"]
    words = ["gender", "smoke", "drink", "pesticide", "background_father"]
    words += ["background_mother", "skin_cancer_history", "cancer_history"]
    words += ["has_piped_water", "has_sewage_system"]
    frame[[*words, "diameter_1", "diameter_2"]] = None
    return frame


def unpack(folder: Path, table: pd.DataFrame, nested: bool) -> None:
    """Write the official layout, flat or nested as the archives unpack."""
    for i, name in enumerate(table["img_id"]):
        part = f"imgs_part_{i % 3 + 1}"
        photos = folder / "images" / part / part if nested else folder / part
        photos.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"a photo")
    table.to_csv(folder / "metadata.csv", index=False)


@pytest.mark.parametrize("nested", [False, True])
def test_official_layout(tmp_path: Path, table: pd.DataFrame, nested: bool) -> None:
    unpack(tmp_path, table, nested)
    lesions = load_pad_ufes_20(tmp_path)
    assert list(lesions.data) == ["patient_id", "image", *CLEAN]
    assert lesions.ehr_columns == CLEAN
    assert lesions.target.tolist() == [0, 1, 1, 0, 1, 0]
    assert lesions.groups.tolist() == table["patient_id"].tolist()
    assert [Path(p).name for p in lesions.data["image"]] == table["img_id"].tolist()
    assert all(Path(p).is_file() for p in lesions.data["image"])
    assert lesions.data["itch"].tolist()[:3] == ["True", "False", "UNK"]
    assert lesions.data["age"].isna().tolist() == [False] * 2 + [True] + [False] * 3


def test_six_diagnoses(tmp_path: Path, table: pd.DataFrame) -> None:
    unpack(tmp_path, table, nested=False)
    lesions = load_pad_ufes_20(tmp_path, target="diagnostic")
    names = [lesions.target_names[code] for code in lesions.target]
    assert names == table["diagnostic"].tolist()
    with pytest.raises(
        ValueError, match="target must be one of .*'malignant', 'diagnostic'"
    ):
        load_pad_ufes_20(tmp_path, target="cancer")  # type: ignore[arg-type]


def test_leaky_columns_only_on_request(tmp_path: Path, table: pd.DataFrame) -> None:
    unpack(tmp_path, table, nested=False)
    lesions = load_pad_ufes_20(tmp_path, include_leaky=True)
    assert lesions.ehr_columns[:8] == CLEAN
    assert len(lesions.ehr_columns) == 8 + 14
    assert {"biopsed", "gender", "fitspatrick"} <= set(lesions.data)
    assert not {"diagnostic", "malignant", "lesion_id"} & set(lesions.data)


def test_a_missing_photo_is_none_and_counted(
    tmp_path: Path, table: pd.DataFrame
) -> None:
    unpack(tmp_path, table, nested=False)
    for photo in (tmp_path / "imgs_part_2").iterdir():
        photo.unlink()
    with pytest.warns(UserWarning, match=r"2 of 6 photos .* positions \[1, 4\]") as log:
        lesions = load_pad_ufes_20(tmp_path)
    assert "photo_1" not in str(log[0].message)
    assert log[0].filename == __file__
    absent = [cell is None for cell in lesions.data["image"]]
    assert absent == [False, True, False, False, True, False]


def test_no_photo_at_all(tmp_path: Path, table: pd.DataFrame) -> None:
    table.to_csv(tmp_path / "metadata.csv", index=False)
    with pytest.raises(ValueError, match="None of the 6 photos"):
        load_pad_ufes_20(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("diagnostic", "XYZ", r"not one of .* positions \[3\]"),
        ("diagnostic", None, r"'diagnostic' is empty in 1 rows.* \[3\]"),
        ("patient_id", None, r"'patient_id' is empty in 1 rows.* \[3\]"),
        ("age", "XYZ", r"'age' must be numeric.* in 1 rows.* \[3\]"),
    ],
)
def test_bad_cells_are_named_by_position_not_value(
    tmp_path: Path, table: pd.DataFrame, column: str, value: object, message: str
) -> None:
    table[column] = table[column].astype(object)
    table.loc[3, column] = value
    unpack(tmp_path, table, nested=False)
    with pytest.raises(ValueError, match=message) as error:
        load_pad_ufes_20(tmp_path)
    assert "XYZ" not in str(error.value)


def test_folders_without_the_data(
    tmp_path: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"neither metadata\.csv nor data\.csv"):
        load_pad_ufes_20(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        load_pad_ufes_20(tmp_path / "absent")
    (tmp_path / "metadata.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"lacks the columns \['patient_id'"):
        load_pad_ufes_20(tmp_path)
    monkeypatch.delenv("SKFUSION_DATA", raising=False)
    with pytest.raises(ValueError, match="SKFUSION_DATA"):
        load_pad_ufes_20()
    monkeypatch.setenv("SKFUSION_DATA", str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="'pad_ufes_20_subset'"):
        load_pad_ufes_20()


def test_the_environment_prefers_the_complete_data(
    tmp_path: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, rows in (("pad_ufes_20", 6), ("pad_ufes_20_subset", 3)):
        (tmp_path / name).mkdir()
        unpack(tmp_path / name, table[:rows], nested=True)
    monkeypatch.setenv("SKFUSION_DATA", str(tmp_path))
    assert len(load_pad_ufes_20().data) == 6


def test_the_real_subset(skfusion_data: Path) -> None:
    folder = skfusion_data / "pad_ufes_20_subset"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA has no folder pad_ufes_20_subset")
    lesions = load_pad_ufes_20(folder)
    assert lesions.data.shape == (842, 10)
    assert len(set(lesions.groups)) == 647
    assert lesions.target.sum() == 334
    assert not lesions.data.isna().any().any()
    recorded = pd.read_csv(folder / "data.csv")
    assert (lesions.target == recorded["malignant"]).all()
    six = load_pad_ufes_20(folder, target="diagnostic", include_leaky=True)
    names = [six.target_names[code] for code in six.target]
    assert names == recorded["diagnostic"].tolist()
    # the gaps do leak, which is why the columns are off: no cancer has any
    gaps = six.data["gender"].isna()
    assert gaps.mean() > 0.3
    assert lesions.target[gaps].sum() == 0
