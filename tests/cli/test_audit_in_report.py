"""What the audit of the command compare finds is also in its report."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("jinja2", reason="the extra report is not installed")

from skfusion.cli.main import main  # noqa: E402

N = 80


def test_warnings_of_the_audit_begin_the_report(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    sick = (np.arange(N) >= N // 2).astype(int)
    pd.DataFrame(
        {
            "patient": [f"MRN-2024-{i:03d}" for i in range(N)],
            "crp": rng.normal(size=N) + sick,
            "age": rng.integers(30, 90, N),
            "sick": sick,
        }
    ).to_csv("cases.csv", index=False)
    (tmp_path / "study.toml").write_text(
        """
        table = "cases.csv"
        target = "sick"
        groups = "patient"
        cv = 2
        n_repeats = 1
        n_jobs = 1
        strategies = ["single", "late"]
        scoring = ["roc_auc"]
        modalities = {lab = {columns = ["crp"]}, who = {columns = ["age"]}}
        """
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main(["compare", "--config", "study.toml", "--json", "found.json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "warning: order tells the outcome, order of the rows: The number of a" in err
    assert "order tells the outcome, patient: The last number in each id has" in err
    starts = [line for line in err.splitlines() if "fits at most" in line]
    assert starts == [
        "2 fits at most. --resume FOLDER keeps finished ones, so that an interrupted "
        "run goes on."
    ]
    page = (tmp_path / "skfusion_report.html").read_text(encoding="utf-8")
    notes = json.loads((tmp_path / "found.json").read_text())["notes"]
    told = [note for note in notes if "order tells the outcome" in note]
    assert len(told) == 2
    for note in told:
        assert "Do not split by the order of the rows" in note
        assert "Shuffle" not in note
    assert page.count("order tells the outcome, ") >= 2
