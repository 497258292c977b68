"""One rule in one place, and one meaning for each name of a parameter."""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path

import pytest

from skfusion import exceptions, fusion, survival

ROOT = Path(__file__).parents[1]
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "skfusion").rglob("*.py"))
}
STRATEGIES = ("Early", "Late", "Joint")
ESTIMATORS = [
    getattr(survival if kind == "Survival" else fusion, f"{strategy}Fusion{kind}")
    for strategy in STRATEGIES
    for kind in ("Classifier", "Regressor", "Survival")
]
# Their texts name what differs between the tasks or strategies.
DIFFERENT = {
    "aggregation",
    "calibration",
    "class_weight",
    "cv",
    "estimator",
    "final_estimator",
    "join",
    "join_params",
    "loss",
    "loss_params",
    "missing",
    "modalities",
    "n_jobs",
    "random_state",
    "verbose",
    "weights",
}


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        (r"must be one of", {"_validation.py"}),
        (r"get_close_matches\(", {"_validation.py"}),
        # the range of a parameter
        (r"if not -?[\d.]+ <=? [\w.]+ <=? (-?[\d.]+|np\.inf):", set()),
        (r"from tqdm import", {"_progress.py"}),
        (r"import \([^)]*StratifiedGroupKFold", {"_fitting/patient_folds.py"}),
        # Warnings are attributed to the code of the user.
        (r"warnings\.warn\(", {"exceptions.py", "testing/estimator_checks.py"}),
        (r"\.addHandler\(|\.setLevel\(|basicConfig\(", set()),
        (r"is_available\(\) else", {"image/networks/inference.py"}),
    ],
)
def test_a_rule_is_in_one_place(pattern, files):
    found = {
        name.removeprefix("skfusion/")
        for name, text in SOURCES.items()
        if re.search(pattern, re.sub(r'""".*?"""', "", text, flags=re.S))
    }
    assert found == files


# Advice on use, numerical trouble and what other libraries define.
OTHER_CATEGORIES = {
    "ConvergenceWarning",
    "RuntimeWarning",
    "StoreWarning",
    "UserWarning",
}
# Warnings that are issued again, with the category of the first time.
FORWARDED = {"category", "kind", "warning.category"}
ADVICE = {
    "ehr/windows/output.py",
    "fusion/base.py",
    "image/networks/sources/pretrained.py",
    "inspection/images/saliency.py",
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_warning_has_a_category(name):
    place = {"warn_user": 1, "warn_of_modality": 2}
    for call in ast.walk(ast.parse(SOURCES[name])):
        if not isinstance(call, ast.Call) or ast.unparse(call.func) not in place:
            continue
        given = [ast.unparse(argument) for argument in call.args]
        category = given[place[ast.unparse(call.func)] :]
        assert category[0] in {
            *exceptions.__all__,
            *OTHER_CATEGORIES,
            *FORWARDED,
        }, f"line {call.lineno}"
        if category[0] == "UserWarning":
            assert name.removeprefix("skfusion/") in ADVICE


def texts_of(kind: type) -> dict[str, str]:
    """The text of each parameter in the docstring of a class."""
    doc = inspect.getdoc(kind)
    section = doc.partition("Parameters\n----------\n")[2]
    section = re.split(r"\n\n\w[\w ]*\n-+\n", section)[0]
    parts = re.split(r"^(\w+) : ", section, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_every_parameter_is_documented_in_the_order_of_the_signature(kind):
    parameters = list(inspect.signature(kind).parameters)
    assert list(texts_of(kind)) == parameters
    assert len(parameters) <= 22


def test_a_parameter_has_the_same_text_wherever_it_means_the_same():
    texts: dict[str, set[str]] = defaultdict(set)
    for kind in ESTIMATORS:
        for name, text in texts_of(kind).items():
            # the numbers of references differ between the estimators
            texts[name].add(re.sub(r"\s*\[\d\]_", "", text).strip())
    several = {name for name, versions in texts.items() if len(versions) > 1}
    assert several - DIFFERENT == set()


@pytest.mark.parametrize(
    ("kind", "name", "successor"),
    [
        (fusion.JointFusionClassifier, "fusion", "join"),
        (fusion.JointFusionRegressor, "fusion_params", "join_params"),
        (fusion.JointFusionClassifier, "trainable", r"ImageEmbedder\(trainable"),
        (survival.JointFusionSurvival, "patience", r"TrainingSettings\(patience"),
        (fusion.JointFusionClassifier, "callbacks", r"TrainingSettings\(callbacks"),
        (fusion.EarlyFusionClassifier, "modality_dropout", "absence_copies"),
        (survival.EarlyFusionSurvival, "modality_dropout", "absence_copies"),
    ],
)
def test_a_former_name_of_a_parameter_names_its_successor(kind, name, successor):
    with pytest.raises(TypeError, match=f"argument '{name}'. Use .*{successor}"):
        kind([], **{name: 1})
