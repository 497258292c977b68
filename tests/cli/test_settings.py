"""Settings of a command from a TOML file, which options override."""

from __future__ import annotations

import inspect

import pytest

from skfusion import compare_fusion
from skfusion.cli.parser import make_parser
from skfusion.cli.problems import ProblemsError
from skfusion.cli.settings import COMPARE_KEYS, read_settings

STUDY = """
table = "cohort.csv"
target = "sick"
groups = "patient_id"
cv = 3
n_repeats = "auto"
scoring = "roc_auc"
infinite = "as-missing"

[modalities.photo]
columns = "scan"
encoder = "ImageEmbedder"
params = {backbone = "resnet18", weights = "DEFAULT"}

[modalities.labs]
columns = ["crp", "age"]

[search.late]
estimator__model__C = [0.01, 1.0]
"""


def settings(tmp_path, text, *options):
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    command = ["compare", "--config", str(path), *options]
    return read_settings(make_parser().parse_args(command))


def test_the_keys_are_the_parameters_of_compare_fusion():
    parameters = set(inspect.signature(compare_fusion).parameters)
    assert parameters - {"modalities_or_estimators", "X", "y", "verbose"} == set(
        COMPARE_KEYS
    )


def test_a_file_alone_is_enough(tmp_path):
    found = settings(tmp_path, STUDY)
    assert found["table"] == str(tmp_path / "cohort.csv")  # beside the file
    assert found["scoring"] == ["roc_auc"]
    assert found["modalities"]["labs"] == {"columns": ["crp", "age"]}
    assert found["search"] == {"late": {"estimator__model__C": [0.01, 1.0]}}


def test_options_override_the_file(tmp_path):
    found = settings(
        tmp_path, STUDY, "other.csv", "--cv", "7", "--scoring", "brier", "roc_auc"
    )
    assert (found["table"], found["cv"]) == ("other.csv", 7)
    assert found["scoring"] == ["brier", "roc_auc"]
    assert found["groups"] == "patient_id"
    assert "modalities" in found
    assert "modalities" not in settings(tmp_path, STUDY, "--image", "scan")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("grops = 'id'", "grops: there is no such key. Did you mean 'groups'?"),
        ("cv = 'five'", "cv: expected a whole number, got str"),
        ("cv = true", "cv: expected a whole number, got bool"),
        ("quick = 1", "quick: expected true or false, got int"),
        ("infinite = 'drop'", "infinite: expected 'as-missing', got 'drop'"),
        ("text_numbers = 'x'", "expected 'parse' or 'as-missing', got 'x'"),
        ("[modalities.ehr]\ncolumn = 'age'", "column: there is no such key. Did you m"),
        ("[modalities.ehr]\ncolumns = []", "columns must be a name or a list"),
        ("[modalities.ehr]\ncolumns = 'a'\nencoder = 1", "encoder: expected text"),
        ("image = 'scan'\n[modalities.ehr]\ncolumns = 'a'", "not both"),
    ],
)
def test_keys_and_values_that_do_not_exist_are_listed(line, said, tmp_path):
    with pytest.raises(ProblemsError) as caught:
        settings(tmp_path, f"table = 'a.csv'\ntarget = 'b'\n{line}\nmargn = 1\n")
    assert said in str(caught.value)
    assert "the file study.toml, nothing was computed" in str(caught.value)
    if not line.startswith(("[", "image")):
        assert "margn: there is no such key. Did you mean 'margin'?" in str(
            caught.value
        )


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"study.toml is not TOML"):
        settings(tmp_path, "cv = ")
    path = tmp_path / "none.toml"
    command = make_parser().parse_args(["compare", "--config", str(path)])
    with pytest.raises(FileNotFoundError, match="none.toml' does not exist"):
        read_settings(command)
