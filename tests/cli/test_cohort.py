"""Tables that nobody cleaned: every problem in one list, then one command that runs."""

from __future__ import annotations

import re
import shlex
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skfusion import ImageEmbedder
from skfusion.cli.main import main
from skfusion.evaluation import load_comparison

N = 60


def write_images(folder, n=N):
    (folder / "img").mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        bright = 100 * is_sick(i)
        pixels = (rng.integers(0, 120, (24, 24)) + bright).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"img/{i}.png")


def is_sick(i):
    return int(i % 4 in (0, 3))


def messy_rows():
    """The rows of a table as three people kept it."""
    rng = np.random.default_rng(1)
    crp = {5: "inf", 6: "-Infinity", 7: '"12,5"', 8: "n/a", 10: "unknown"}
    yield "patient_id,scan,age,crp,sex,städte,outcome,age"
    for i in range(N):
        age = "> 89" if i in (3, 9) else str(50 + 10 * is_sick(i) + rng.integers(9))
        yield ",".join(
            [
                f"MRN-{i // 2}",
                f"img/lost{i}.png" if i in (11, 12, 13) else f"img/{i}.png",
                age,
                crp.get(i, f"{10 * rng.gamma(2):.1f}"),
                "fm"[i % 2],
                ["Köln", "Bonn"][i % 2],
                "" if i == 20 else str(is_sick(i)),
                str(int(rng.integers(99))),
            ]
        )


@pytest.fixture
def messy(tmp_path):
    write_images(tmp_path)
    (tmp_path / "img/14.png").write_text("no image")
    lines = [
        line.encode("cp1252" if number in (1, 3, 5) else "utf-8")
        for number, line in enumerate(messy_rows())
    ]
    (tmp_path / "messy.csv").write_bytes(b"\n".join(lines))
    return tmp_path / "messy.csv"


@pytest.fixture
def no_embedding(monkeypatch):
    def fail(self, X):
        raise AssertionError("an image was embedded")

    monkeypatch.setattr(ImageEmbedder, "transform", fail)
    monkeypatch.setattr(ImageEmbedder, "fit_transform", fail)


def problems_of(capsys, *command):
    """Run a command that must be refused; return its problems and the options."""
    assert main([str(part) for part in command]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    for secret in ("MRN-", "lost1", "> 89", "12,5", "Köln"):
        assert secret not in err.replace("such as", "")
    found = re.findall(r"^ *\d+\. (.*)$", err, flags=re.MULTILINE)
    remedies = re.findall(r"^Run the same command with: (.*)$", err, re.MULTILINE)
    n = re.search(r"error: (\d+) problem", err)
    assert n
    assert int(n[1]) == len(found)
    return found, remedies[0] if remedies else ""


EXPECTED = (
    "names of columns occur more than once: 'age' (2 times)",
    "column 'outcome': the outcome is missing in 1 of 60 rows",
    "column 'patient_id': looks like the id of a patient and repeats, 30 values in 60",
    "column 'scan': the files of 3 of 60 cells do not exist",
    "column 'scan': the files of 1 of 60 cells are no images",
    "column 'age': 2 of 60 cells are text among numbers (2 with a comparator",
    "column 'crp': 2 of 59 cells are infinite",
    "column 'crp': 2 of 59 cells are text among numbers (1 with a decimal comma, 1 w",
    "column 'städte': 3 of 60 cells are in another encoding",
)


@pytest.mark.long
def test_all_problems_in_one_list_and_then_one_command_that_runs(
    messy, no_embedding, monkeypatch, capsys
):
    report, results = messy.with_name("report.html"), messy.with_name("report.json")
    command = ["compare", messy, "--image", "scan", "--target", "outcome"]
    command += ["--html", report, "--json", results, "--strategies", "late"]
    command += ["--cv", "2", "--repeats", "1", "--n-jobs", "1"]
    command += ["--save", messy.with_name("result.zip")]
    found, remedies = problems_of(capsys, *command)
    assert len(found) == len(EXPECTED)
    for expected, line in zip(EXPECTED, found, strict=True):
        assert line.startswith(expected)
    assert not report.exists()

    monkeypatch.undo()
    settled = [str(part) for part in command] + shlex.split(remedies)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a small cohort
        assert main(settled) == 0, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert "59 rows of 30 patients" in out
    assert "scan is absent in 4 of 59 rows" in out
    for done in (
        "rows without an outcome were left out",
        "files of 'scan' that do not exist count as absent",
        "infinite cells of 'crp' count as missing",
        "cells of 'städte' in another encoding were decoded again",
    ):
        assert done in out
    assert "MRN-" not in out + err + report.read_text(encoding="utf-8")
    assert "59" in results.read_text(encoding="utf-8")
    saved = load_comparison(messy.with_name("result.zip"))
    assert len(saved.predictions_) == 59
    # What the audit warns of was said before the run, and is kept with the results.
    summary, _, warned = saved.summary().partition("Warning: ")
    assert len(summary) > 200
    assert summary.strip() in out
    assert "Leave it out if it is the outcome" in warned


# -- further kinds ----------------------------------------------------------------


def table(tmp_path, columns, name="cohort.csv"):
    write_images(tmp_path)
    frame = pd.DataFrame(
        {"scan": [f"img/{i}.png" for i in range(N)], "age": np.arange(N) % 37}
        | {"sick": [is_sick(i) for i in range(N)]}
        | columns
    )
    path = tmp_path / name
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return path


def checked(capsys, path, *options):
    base = ["compare", path, "--image", "scan", "--target", "sick", "--cv", "2"]
    return problems_of(capsys, *base, *options)


def among(values, odd):
    """Values with others in the last rows."""
    values = [str(value) for value in values]
    return [*values[: N - len(odd)], *odd]


CASES = {
    "dates": (
        {"seen": [f"2024-05-{1 + i % 28:02d}" for i in range(N)]},
        "column 'seen': contains dates",
        "--drop seen",
    ),
    "mixed types": (
        {"ward": ["A", "B", "3", "C"] * (N // 4)},
        "column 'ward': mixed types, 15 of 60 cells are numbers",
        "--categories ward",
    ),
    "stages": (
        {"T": ["1", "2", "3", "X"] * (N // 4)},
        "column 'T': 15 of 60 cells are text among numbers (15 words)",
        "--text-numbers parse",
    ),
    "negative ages": (
        {"age_at_scan": [-1, *range(20, 19 + N)]},
        "TabularEncoder: got negative ages in column 'age_at_scan'",
        "--drop age_at_scan",
    ),
    "beyond floats": (
        {"dose": among(range(N), ["1e400"])},
        "column 'dose': 1 of 60 cells are infinite or beyond 1e150",
        "--infinite as-missing",
    ),
    "study": (
        {"study": [f"S{i // 2}" for i in range(N)]},
        "column 'study': looks like the id of a patient and repeats",
        "--groups study",
    ),
    "encoded twice": (
        {"city": ["KÃ¶ln", "Bonn"] * (N // 2)},
        "column 'city': 30 of 60 cells are in another encoding",
        "--encoding mixed",
    ),
    "blank in a name": (
        {"date of birth": ["1950-01-01"] * N},
        "column 'date of birth': contains dates",
        "--drop 'date of birth'",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_problem_names_the_option_that_settles_it(
    case, tmp_path, no_embedding, capsys
):
    columns, expected, remedy = CASES[case]
    (found,), remedies = checked(capsys, table(tmp_path, columns))
    assert found.startswith(expected)
    assert remedies == remedy


def test_a_file_with_types_is_checked_too(tmp_path, no_embedding, capsys):
    columns = {
        "crp": [np.inf, -np.inf, *range(N - 2)],
        "age_text": among(range(N), ["> 89", "n/a"]),
        "when": pd.to_datetime(["2024-05-01"] * N),
        "bmi": [str(20 + i % 9) for i in range(N)],
    }
    found, remedies = checked(capsys, table(tmp_path, columns, "cohort.parquet"))
    for name in ("crp", "age_text", "when", "bmi"):
        assert sum(f"column {name!r}:" in line for line in found) == 1
    assert "1 with a comparator such as < or >, 58 plain numbers stored" in found[1]
    assert remedies == "--infinite as-missing --text-numbers parse --drop when"


OUTCOMES = {
    "one class": (["1"] * N, "has 1 different value in 60 rows", ""),
    "no class": (
        [""] * N,
        "has 0 different values",
        "--missing-outcome drop, after correcting 2",
    ),
    "case": (
        ["Yes", "no", "yes", "no"] * (N // 4),
        "1 of 3 classes of the outcome differ",
        "--outcome-case merge, after correcting 2",  # and --positive
    ),
    "case and missing": (
        ["Yes", "no", "yes", ""] * (N // 4),
        "1 of 3 classes of the outcome differ",
        "--outcome-case merge --missing-outcome drop, after correcting 3",
    ),
    "words": (
        among([i % 2 for i in range(N)], ["unclear"] * 3),
        "3 of 60 cells are text among numbers (3 words)",
        "--text-numbers parse --missing-outcome drop",
    ),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_outcomes_that_cannot_be_used(case, tmp_path, no_embedding, capsys):
    outcome, expected, remedy = OUTCOMES[case]
    found, remedies = checked(capsys, table(tmp_path, {"sick": outcome}))
    assert any(expected in line for line in found)
    assert remedies == remedy


def test_the_positive_class_is_asked_for_by_its_option(tmp_path, no_embedding, capsys):
    path = table(tmp_path, {"sick": ["yes", "no"] * (N // 2)})
    (found,), _ = checked(capsys, path)
    assert "Pass --positive" in found
    assert "pos_label" not in found


def test_columns_and_settings_that_do_not_exist_are_all_listed(
    tmp_path, no_embedding, capsys
):
    path = table(tmp_path, {"crp": among(range(N), ["inf"])})
    found, _ = problems_of(
        capsys,
        *("compare", path, "--image", "scna", "--target", "sick", "--groups", "pid"),
        *("--ehr", "age", "cpr", "crp"),
    )
    assert "'scna', which is not in the table. Did you mean 'scan'?" in found[1]
    assert "'pid', which is not in the table" in found[0]
    assert "Did you mean 'crp'?" in found[2]
    assert "cells are infinite" in found[3]


def test_ids_that_are_missing(tmp_path, no_embedding, capsys):
    ids = ["", "", *(f"P{i // 2}" for i in range(N - 2))]
    path = table(tmp_path, {"patient_id": ids})
    (found,), remedies = checked(capsys, path, "--groups", "patient_id")
    assert "the id (--groups) is missing in 2 of 60 rows" in found
    assert remedies == "--missing-groups drop"


def test_ids_that_differ_in_capital_letters(tmp_path, no_embedding, capsys):
    """One patient would be two, one on each side of a split."""
    ids = [f"{'pP'[i % 2]}{i // 2}" for i in range(N)]
    path = table(tmp_path, {"patient_id": ids})
    (found,), remedies = checked(capsys, path, "--groups", "patient_id")
    assert "30 of 60 ids (--groups) differ from another one in capital" in found
    assert remedies == "--id-case merge"
    merged = ("--groups", "patient_id", "--id-case", "merge", "--cv", "40")
    (found,), _ = checked(capsys, path, *merged)
    assert "40 folds need" in found


def test_what_no_option_settles_is_said(tmp_path, no_embedding, capsys):
    path = table(tmp_path, {"crp": among(range(N), ["inf"])})
    found, remedies = checked(capsys, path, "--scoring", "roc_auk")
    assert len(found) == 2
    assert remedies == "--infinite as-missing, after correcting 2"


def test_numbers_of_rows_and_columns_without_a_name_are_no_features(
    tmp_path, no_embedding, capsys
):
    path = table(
        tmp_path, {"crp": among(range(N), ["inf"]), "row": np.arange(1, N + 1)}
    )
    frame = pd.read_csv(path)
    frame.to_csv(path)  # with its index, as people forget
    main(["compare", str(path), "--image", "scan", "--target", "sick"])
    err = capsys.readouterr().err
    assert "EHR columns: age, crp\n" in err
    assert "Excluded as numbers of the rows: row" in err
    assert "Excluded because they have no name: Unnamed: 0" in err


def test_an_export_of_excel(tmp_path, no_embedding, capsys):
    """Semicolons, decimal commas and Windows-1252, as Excel writes in Germany."""
    write_images(tmp_path)
    rows = ["scan;größe;crp;sick"]
    rows += [f"img/{i}.png;1{i};{i},5;{is_sick(i)}" for i in range(10, N)]
    path = tmp_path / "export.csv"
    path.write_bytes("\r\n".join(rows).encode("cp1252"))
    (found,), _ = checked(capsys, path, "--scoring", "roc_auk")
    assert "roc_auk" in found
    main(["compare", str(path), "--image", "scan", "--target", "sick", "--cv", "99"])
    err = capsys.readouterr().err
    assert "Read as Windows-1252" in err
    assert "Fields are separated by semicolon." in err
    assert "Numbers have a decimal comma." in err
    assert "EHR columns: größe, crp" in err


def test_dates_with_an_index_time_are_features(tmp_path, no_embedding, capsys):
    days = [f"{1 + i % 28:02d}/05/2024" for i in range(N)]
    path = table(tmp_path, {"seen": days, "asked": ["2024-06-01"] * N})
    found, _ = checked(capsys, path, "--index-time", "asked", "--cv", "99")
    assert all("99 folds" in line for line in found)
    ambiguous = [f"{1 + i % 12:02d}/05/2024" for i in range(N)]
    path.unlink()
    frame = pd.DataFrame({"scan": [f"img/{i}.png" for i in range(N)], "age": range(N)})
    frame = frame.assign(seen=ambiguous, asked="2024-06-01", sick=frame["age"] % 2)
    frame.to_csv(path, index=False)
    (found,), remedies = checked(capsys, path, "--index-time", "asked", "--drop", "age")
    assert "day and month of its dates may be exchanged" in found
    assert remedies == "--dates day-first"


# -- a TOML file ------------------------------------------------------------------


MODALITIES = """
table = "cohort.csv"
target = "sick"
strategies = ["single", "late"]
cv = 2
n_repeats = 1
scoring = ["roc_auc"]
n_jobs = 1

[modalities.photo]
columns = "scan"
params = {{input_size = 32}}

[modalities.labs]
columns = ["age", "crp"]
encoder = "{encoder}"
{params}
"""


def with_config(tmp_path, encoder, params=""):
    rng = np.random.default_rng(0)
    table(tmp_path, {"crp": [f"{v:.2f}" for v in rng.gamma(2, size=N)]})
    text = MODALITIES.format(encoder=encoder, params=params)
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    return ["compare", "--config", str(tmp_path / "study.toml")]


@pytest.mark.parametrize(
    ("encoder", "params"),
    [
        ("TabularEncoder", 'params = {impute = "mean"}'),
        ("sklearn.preprocessing.StandardScaler", ""),
        ("passthrough", ""),
    ],
)
@pytest.mark.long
def test_modalities_of_a_file(encoder, params, tmp_path, capsys):
    command = with_config(tmp_path, encoder, params)
    report = str(tmp_path / "report.html")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([*command, "--html", report]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "photo alone" in out
    assert "labs alone" in out


@pytest.mark.parametrize(
    ("encoder", "params", "said"),
    [
        ("TabularEncodr", "", "Did you mean 'TabularEncoder'?"),
        ("sklearn.nothing.Scaler", "", "cannot be used"),
        ("TabularEncoder", "params = {imputes = 1}", "Did you mean 'impute'?"),
        ("TabularEncoder", 'params = {impute = "zero"}', "impute must be"),
        ("ImageEmbedder", "", "no image is left"),
    ],
)
def test_encoders_that_cannot_be_used(
    encoder, params, said, tmp_path, no_embedding, capsys
):
    found, _ = problems_of(capsys, *with_config(tmp_path, encoder, params))
    assert any(said in line for line in found), found
