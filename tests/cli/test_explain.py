"""The command that measures the importance of the modalities."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from skfusion import ModalityImportance
from skfusion.cli.main import main

N = 120


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A signal in the first modality, noise in the second one."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    patient = np.arange(N) // 2
    sick = np.repeat(rng.integers(0, 2, N // 2), 2)
    frame = pd.DataFrame(
        {
            "patient_id": [f"MRN-{p}" for p in patient],
            "signal": sick + rng.normal(0, 0.7, N),
            "noise": rng.normal(size=N),
            "sick": sick,
        }
    )
    frame.to_csv(folder / "cohort.csv", index=False)
    text = """
table = "cohort.csv"
target = "sick"
groups = "patient_id"
[modalities.first]
columns = ["signal"]
[modalities.second]
columns = ["noise"]
"""
    (folder / "study.toml").write_text(text)
    return folder


def explained(study, capsys, *options):
    results = study / "result.json"
    command = ["explain", "--config", str(study / "study.toml"), "--json", str(results)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main([*command, "--strategy", "late", *options])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "MRN-" not in out + err + results.read_text()
    return out, json.loads(results.read_text())


def test_models_of_folds_and_their_range(study, capsys):
    out, found = explained(study, capsys, "--cv", "3")
    assert "3 models, each explained on the cases that it was not fitted on" in out
    told = [line for line in out.splitlines() if line.startswith("Note: In ")]
    assert all(" of 3 models: " in line for line in told)
    assert bool(told) == any(model["pitfalls"] for model in found["models"])
    assert "have pitfalls" not in out
    assert len(found["models"]) == 3
    assert sum(model["n_cases"] for model in found["models"]) == N
    assert {model["cases"] for model in found["models"]} == {"new rows"}
    rows = {(row["measure"], row["modality"]): row for row in found["over_models"]}
    shares = [
        {row["modality"]: row["reliance_share"] for row in model["measures"]}
        for model in found["models"]
    ]
    first = rows["reliance", "first"]
    assert first["mean"] == pytest.approx(np.mean([s["first"] for s in shares]))
    assert first["lowest"] == pytest.approx(min(s["first"] for s in shares))
    assert first["highest"] == pytest.approx(max(s["first"] for s in shares))
    assert first["mean"] > 0.7
    assert rows["performance", "first"]["mean"] > 0.2


@pytest.mark.long
def test_one_test_set_gives_the_whole_report(study, capsys):
    out, found = explained(study, capsys, "--test", "0.4", "--refit")
    assert "The model relies on first" in out
    (model,) = found["models"]
    assert model["n_patients"] == 24
    assert "retrain_estimate" in model["measures"][0]
    assert set(model["sentences"]) == {"first", "second"}


def test_what_is_explained_was_not_trained_on(study, capsys, monkeypatch):
    seen = []
    usual = ModalityImportance.report

    def watch(self, X, y, **options):
        seen.append((set(self.background["patient_id"]), set(X["patient_id"])))
        return usual(self, X, y, **options)

    monkeypatch.setattr(ModalityImportance, "report", watch)
    explained(study, capsys, "--cv", "2")
    assert len(seen) == 2
    for trained, shown in seen:
        assert trained & shown == set()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--refit"], "--refit needs one test set"),
        (["--cv", "99"], "99 folds"),
        (["--scoring", "roc_auk"], "--scoring 'roc_auk' is neither"),
        (["--groups", "patientid"], "Did you mean 'patient_id'?"),
    ],
)
def test_wrong_settings_are_refused(options, said, study, capsys):
    assert main(["explain", "--config", str(study / "study.toml"), *options]) == 2
    assert said in capsys.readouterr().err
