"""Formats, separators and headers of table files."""

from __future__ import annotations

import gzip
import importlib.util
import io
import zipfile

import pandas as pd
import pytest

from skfusion.cli.tables import files
from skfusion.cli.tables.files import ReadOptions, read_raw

FRAME = pd.DataFrame({"age": [61, 48], "site": ["a", "b"]})


def read(path, **options):
    return read_raw(path, ReadOptions(**options))


def written(tmp_path, text, name="cohort.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# -- formats ----------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".feather"])
def test_formats_and_their_gzip_files(suffix, packed, tmp_path):
    buffer = io.BytesIO()
    if suffix == ".parquet":
        FRAME.to_parquet(buffer)
    elif suffix == ".feather":
        FRAME.to_feather(buffer)
    else:
        separator = "\t" if suffix == ".tsv" else ","
        buffer.write(FRAME.to_csv(index=False, sep=separator).encode())
    data = gzip.compress(buffer.getvalue()) if packed else buffer.getvalue()
    raw = read(written(tmp_path, data, f"cohort{suffix}{'.gz' * packed}"))
    assert raw.frame.astype(str).to_numpy().tolist() == [["61", "a"], ["48", "b"]]
    assert list(raw.frame.columns) == ["age", "site"]
    assert raw.notes == []
    assert raw.problems == []


def test_the_content_decides_the_format(tmp_path):
    path = tmp_path / "cohort.csv"
    FRAME.to_parquet(path)
    raw = read(path)
    assert raw.frame["age"].tolist() == [61, 48]
    assert raw.notes == ["Read as Parquet, which the content is."]


def test_columns_of_an_index_are_kept(tmp_path):
    path = tmp_path / "cohort.parquet"
    FRAME.set_index(pd.Index(["p1", "p2"], name="patient_id")).to_parquet(path)
    assert list(read(path).frame.columns) == ["patient_id", "age", "site"]


def test_repeated_names_in_a_file_with_types(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    columns = [arrow.array([1, 2]), arrow.array([3, 4])]
    path = tmp_path / "cohort.feather"
    write = pytest.importorskip("pyarrow.feather").write_feather
    write(arrow.Table.from_arrays(columns, names=["age", "age"]), str(path))
    assert read(path).problems[0].remedy == "--duplicate-columns number"
    raw = read(path, duplicate_columns="number")
    assert raw.frame["age_2"].tolist() == [3, 4]


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_without_pyarrow_the_pip_line_is_given(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"cohort{suffix}"
    getattr(FRAME, f"to_{suffix[1:]}")(path)

    def fail(module, extra):
        raise ImportError(f'pip install "skfusion[{extra}]"', name=module)

    monkeypatch.setattr(files, "require", fail)
    with pytest.raises(ImportError, match=r"pip install \"skfusion\[ehr\]\""):
        read(path)


def workbook(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return written(tmp_path, buffer.getvalue(), "cohort.xlsx")


def test_excel_without_its_package_names_two_ways_out(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "is_installed", lambda package: False)
    with pytest.raises(ImportError, match="pip install openpyxl. Or save.*CSV UTF-8"):
        read(workbook(tmp_path))


@pytest.mark.skipif(
    importlib.util.find_spec("openpyxl") is None, reason="openpyxl is not installed"
)
def test_excel_is_read_with_the_types_of_its_cells(tmp_path):
    path = tmp_path / "cohort.xlsx"
    frame = pd.DataFrame(
        {"age": [61, "> 89", None], "when": pd.to_datetime(["2024-05-01"] * 3)}
    )
    with pd.ExcelWriter(path) as writer:
        frame.to_excel(writer, sheet_name="Patienten", index=False)
        FRAME.to_excel(writer, sheet_name="old", index=False)
    raw = read(path)
    assert raw.notes[0] == "Read as Excel, sheet 'Patienten'."
    assert "1 other sheets are not read" in raw.notes[1]
    assert raw.frame["age"].tolist() == [61, "> 89", ""]
    assert read(path, sheet="old").frame["site"].tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=r"no sheet 'new'.*\['Patienten', 'old'\]"):
        read(path, sheet="new")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.xls", b"\xd0\xcf\x11\xe0....", "an old Excel file"),
        ("a.sas7bdat", b"....", "pandas.read_sas"),
        ("a.sav", b"....", "an SPSS file"),
        ("a.zip", b"PK\x03\x04....", "zip archive. Unpack it"),
        ("a.csv", b"PK\x03\x04....", "zip archive. Unpack it"),
        ("a.parquet", b"age,site\n1,a\n", "no .parquet file"),
        ("a.csv.gz", b"\x1f\x8b....", "damaged gzip file"),
        ("a.parquet", b"PAR1....", "cannot be read as a table"),
        ("a.csv", b"", "it is empty"),
        ("a.csv", b"age,site\n", "has a header but no rows"),
    ],
)
def test_other_files_are_refused_with_a_way_out(name, data, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        read(written(tmp_path, data, name))


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="is a folder, expected a table"):
        read(tmp_path)


# -- separators -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "note"),
    [
        ("age;site\n61;a\n48;b\n", "c.csv", "Fields are separated by semicolon."),
        ("age\tsite\n61\ta\n48\tb\n", "c.csv", "Fields are separated by tab."),
        ("age|site\n61|a\n48|b\n", "c.csv", "Fields are separated by vertical bar."),
        ("age,site\n61,a\n48,b\n", "c.tsv", "Fields are separated by comma."),
        ("sep=;\nage;site\n61;a\n48;b\n", "c.csv", "Fields are separated by semico"),
        ('age;site\n"61";"a"\r\n48;b\r\n', "c.csv", "Fields are separated by semico"),
    ],
)
def test_separators_are_recognised_and_named(text, name, note, tmp_path):
    raw = read(written(tmp_path, text, name))
    assert raw.frame.to_numpy().tolist() == [["61", "a"], ["48", "b"]]
    assert raw.notes[0].startswith(note)


def test_decimal_commas_do_not_hide_the_semicolon(tmp_path):
    raw = read(written(tmp_path, "crp;bmi\n12,5;21,3\n3,0;24,9\n"))
    assert raw.frame.to_numpy().tolist() == [["12,5", "21,3"], ["3,0", "24,9"]]


def test_one_column_has_no_separator(tmp_path):
    assert read(written(tmp_path, "age\n61\n48\n")).frame.shape == (2, 1)


# -- headers and lines ------------------------------------------------------------


def test_repeated_names_are_a_problem_until_they_get_numbers(tmp_path):
    path = written(tmp_path, "age,age,age_2,age\n1,2,3,4\n")
    (problem,) = read(path).problems
    assert "'age' (3 times)" in problem.text
    assert problem.remedy == "--duplicate-columns number"
    raw = read(path, duplicate_columns="number")
    assert raw.problems == []
    assert raw.frame.columns.is_unique
    assert set(raw.frame.columns) == {"age", "age_2", "age_3", "age_4"}
    assert raw.frame.iloc[0].tolist() == list("1234")


def test_long_lines_are_a_problem_until_they_are_skipped(tmp_path):
    path = written(tmp_path, "age,note\n61,a\n48,b,c\n50,d,,\n")
    (problem,) = read(path).problems
    assert problem.text.startswith("1 of 3 lines have more fields than the header (2)")
    raw = read(path, bad_lines="skip")
    assert raw.problems == []
    assert raw.frame["age"].tolist() == ["61", "50"]
    assert "1 lines with too many fields are left out." in raw.notes


def test_columns_without_a_name_and_trailing_separators(tmp_path):
    raw = read(written(tmp_path, ",age,,,\n0,61,x,,\n1,48,y,,\n,,,,\n"))
    assert list(raw.frame.columns) == ["Unnamed: 0", "age", "Unnamed: 2"]
    assert raw.nameless == ["Unnamed: 0", "Unnamed: 2"]
    assert len(raw.frame) == 2
    assert raw.problems == []
    raw = read(written(tmp_path, "Unnamed: 0,age\n0,61\n1,48\n"))
    assert raw.nameless == ["Unnamed: 0"]


def test_row_names_of_r_are_no_shift(tmp_path):
    raw = read(written(tmp_path, '"age","sex"\n"1",61,"f"\n"2",48,"m"\n'))
    assert raw.frame["age"].tolist() == ["61", "48"]
    assert raw.frame["sex"].tolist() == ["f", "m"]
    assert raw.nameless == ["Unnamed: 0"]
    assert "row name" in raw.notes[0]


def test_short_lines_and_lines_without_content_are_counted(tmp_path):
    raw = read(written(tmp_path, "age,sex,site\n61,f,a\n48\n,,\n50,m,b\n"))
    assert raw.frame.to_numpy().tolist()[1] == ["48", "", ""]
    assert len(raw.frame) == 3
    assert "1 lines end early. Their last cells are missing." in raw.notes
    assert "1 lines without content are left out." in raw.notes


def test_an_open_quotation_mark_is_noticed(tmp_path):
    lines = "".join(f'{i},"ok"\n' for i in range(6))
    raw = read(written(tmp_path, f'age,note\n60,"open\n{lines}'))
    assert "quotation mark is not closed" in " ".join(raw.notes)


def test_a_title_above_the_header_is_no_header(tmp_path):
    path = written(tmp_path, "Export of 2024\n\nage;sex\n61;f\n48;m\n")
    (problem,) = read(path).problems
    assert "it has 1 fields, but 3 of 3 lines have more" in problem.text
    assert "--skip-lines N" in problem.other
    raw = read(path, skip_lines=1)
    assert raw.problems == []
    assert raw.frame["age"].tolist() == ["61", "48"]
