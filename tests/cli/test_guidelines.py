"""The commands that search a table for leakage and advise on strategies."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from skfusion.cli.main import main

N = 160

STUDY = """
table = "cohort.csv"
target = "sick"
[modalities.first]
columns = ["signal"]
[modalities.second]
columns = ["noise"]
"""


def study(tmp_path, **columns):
    rng = np.random.default_rng(0)
    patient = np.arange(N) // 2
    sick = np.repeat(rng.integers(0, 2, N // 2), 2)
    frame = pd.DataFrame(
        {
            "patient_id": [f"MRN-{p}" for p in rng.permutation(N // 2)[patient]],
            "signal": sick + rng.normal(0, 0.7, N),
            "noise": rng.normal(size=N),
            "sick": sick,
            "after": sick * 3 + 1,
        }
    ).assign(**columns)
    frame.to_csv(tmp_path / "cohort.csv", index=False)
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    return str(tmp_path / "study.toml")


def run(tmp_path, capsys, command, config, *options):
    results = tmp_path / "result.json"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main([command, "--config", config, "--json", str(results), *options])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "MRN-" not in out + err + results.read_text()
    return out, json.loads(results.read_text())


def test_audit_searches_columns_that_are_in_no_modality(tmp_path, capsys):
    config = study(tmp_path, signal=lambda frame: frame["sick"] * 2.0)
    out, found = run(tmp_path, capsys, "audit", config, "--groups", "patient_id")
    assert not found["passed"]
    errors = [one for one in found["findings"] if one["severity"] == "error"]
    assert ["signal"] in [one["columns"] for one in errors]
    assert "ERROR: column tells the outcome [signal]" in out
    assert found["n_columns"] == 4  # with those of no modality


def test_audit_names_ids_that_repeat_instead_of_asking_for_them(tmp_path, capsys):
    out, found = run(tmp_path, capsys, "audit", study(tmp_path))
    assert any("patient_id" in one["columns"] for one in found["findings"])
    with_groups = ("--groups", "patient_id", "--cv", "3")
    _, found = run(tmp_path, capsys, "audit", study(tmp_path), *with_groups)
    done = {check["check"]: check["done"] for check in found["checks"]}
    assert done["patients across folds"]


def test_advise_describes_and_orders(tmp_path, capsys):
    config = study(tmp_path)
    out, found = run(tmp_path, capsys, "advise", config, "--groups", "patient_id")
    assert "Order of attempts, not a ranking" in out
    assert found["advice"]["order"][0]["strategy"] == "single"
    assert {"summary", "modalities"} <= set(found["description"])


@pytest.mark.parametrize("command", ["audit", "advise"])
def test_problems_are_listed_first(command, tmp_path, capsys):
    noise = ["inf", *range(N - 1)]
    config = study(tmp_path, noise=noise, sick=["", *([0, 1] * N)[1:N]])
    assert main([command, "--config", config]) == 2
    err = capsys.readouterr().err
    assert "--infinite as-missing" in err
    assert "--missing-outcome drop" in err
    assert ("--groups patient_id" in err) == (command == "advise")


def test_advise_needs_two_modalities(tmp_path, capsys):
    config = study(tmp_path)
    command = ["advise", "--config", config, "--ehr", "signal", "noise"]
    assert main([*command, "--groups", "patient_id"]) == 2
    assert "one modality only ('ehr'), expected two" in capsys.readouterr().err


def test_compare_says_what_leaks_and_so_does_its_result(tmp_path, capsys):
    config = study(tmp_path, noise=lambda frame: frame["sick"] * 2.0 + 1)
    options = ["--groups", "patient_id", "--html", str(tmp_path / "report.html")]
    options += ["--strategies", "late", "--cv", "2", "--repeats", "1", "--n-jobs", "1"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["compare", "--config", config, *options]) == 0
    out, err = capsys.readouterr()
    assert "warning: column tells the outcome, noise: This column alone" in err
    assert "see skfusion audit" in err
    caveat = "An audit of the cohort found leakage: column tells the outcome (noise)"
    assert caveat in out
    assert caveat in (tmp_path / "report.html").read_text(encoding="utf-8")
