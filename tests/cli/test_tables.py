"""Cohort files: found images, clear errors, one purpose a column."""

from __future__ import annotations

import pytest

from skfusion.cli.tables import check_columns, read_cohort, resolve_paths


def read_scans(path):
    X = read_cohort(path)
    check_columns(X, {"--image": ["scan"]})
    return resolve_paths(X["scan"], path.parent)


def test_paths_are_relative_to_the_table(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    for name in ("images/a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    table = tmp_path / "cohort.csv"
    absolute = tmp_path / "b.png"
    table.write_text(f"scan,age\nimages/a.png,1\n,2\n{absolute},3\n")
    monkeypatch.chdir(tmp_path / "images")
    X = read_cohort("../cohort.csv")
    paths = resolve_paths(X["scan"], "..")
    assert paths.tolist() == [
        str(tmp_path / "images" / "a.png"),
        None,
        str(absolute),
    ]
    assert X["age"].tolist() == [1, 2, 3]


def test_tab_separated(tmp_path):
    (tmp_path / "cohort.tsv").write_text("age\tsex\n1\tf\n")
    assert read_cohort(tmp_path / "cohort.tsv").columns.tolist() == ["age", "sex"]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "file .* does not exist"),
        ("", ValueError, "cannot be read as a table"),
        ("scan,age\n", ValueError, "header but no rows"),
        ("a,b\n1,2\n1,2,3\n", ValueError, "cannot be read as a table"),
        (
            "image,age\n1,2\n",
            ValueError,
            "names the column 'scan'.*has the columns image, age$",
        ),
        (
            "scan,age\nsecret.png,1\n,2\n",
            FileNotFoundError,
            r"'scan': the files of 1 of 2 cells do not exist, first at row "
            r"position\(s\) \[0\]",
        ),
    ],
)
def test_refusals(content, error, message, tmp_path):
    path = tmp_path / "cohort.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=message) as caught:
        read_scans(path)
    assert "secret" not in str(caught.value)


def test_a_column_has_one_purpose(tmp_path):
    (tmp_path / "cohort.csv").write_text("a,b\n1,2\n")
    X = read_cohort(tmp_path / "cohort.csv")
    check_columns(X, {"--target": ["a"], "--ehr": ["b"]})
    with pytest.raises(ValueError, match="'a' is named by --target and by --ehr"):
        check_columns(X, {"--target": ["a"], "--ehr": ["b", "a"]})
