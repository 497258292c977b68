"""The public checks of the contract: our estimators pass, broken ones do not."""

from __future__ import annotations

import inspect
import subprocess
import sys
import warnings

import pytest
from broken_fusions import BROKEN, SimpleFusion
from sklearn.exceptions import EstimatorCheckFailedWarning, SkipTestWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    JointFusionClassifier,
    JointFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
)
from skfusion.survival import (
    EarlyFusionSurvival,
    JointFusionSurvival,
    LateFusionSurvival,
    XGBoostSurvival,
)
from skfusion.testing import (
    check_fusion_estimator,
    fusion_checks_generator,
    parametrize_with_fusion_checks,
)
from skfusion.testing.checks import CHECKS

QUICK = [
    EarlyFusionClassifier(estimator=LogisticRegression()),
    EarlyFusionRegressor(estimator=Ridge()),
    LateFusionClassifier(aggregation="stacking", cv=3),
    LateFusionSurvival(estimator=XGBoostSurvival(n_estimators=10)),
    JointFusionClassifier(max_epochs=2),
]
OTHERS = [
    EarlyFusionSurvival(estimator=XGBoostSurvival(n_estimators=10)),
    LateFusionRegressor(),
    EarlyFusionClassifier(),
    EarlyFusionRegressor(),
    EarlyFusionClassifier(join="gated", join_params={"n_units": 2, "max_iter": 20}),
    EarlyFusionClassifier(balance="replicate"),
    LateFusionClassifier(),
    LateFusionClassifier(aggregation="vote"),
    LateFusionClassifier(aggregation="rank"),
    LateFusionClassifier(weights="auto"),
    LateFusionRegressor(aggregation="stacking"),
    JointFusionRegressor(max_epochs=2),
    JointFusionSurvival(max_epochs=2),
]


@parametrize_with_fusion_checks(QUICK)
def test_fusion_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_fusion_checks(OTHERS)
def test_fusion_check_of_other_settings(estimator, check):
    check(estimator)


@parametrize_with_fusion_checks([SimpleFusion()])
def test_an_estimator_on_scikit_learn_alone_passes(estimator, check):
    if check.__name__ == "check_encoded_modalities":
        pytest.skip("it does not offer encode_modalities")
    check(estimator)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in BROKEN for name in sorted(BROKEN[kind])]
)
def test_a_defect_fails_its_check(kind, name):
    (check,) = [c for _, c in fusion_checks_generator(kind()) if c.__name__ == name]
    with pytest.raises(Exception, match=r".") as caught:
        check(kind())
    assert not isinstance(caught.value, NameError | SyntaxError)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BROKEN)
def test_a_defect_fails_no_other_check(kind):
    results = check_fusion_estimator(kind(), on_skip=None, on_fail=None)
    failed = {r["check_name"] for r in results if r["status"] == "failed"}
    assert failed == BROKEN[kind]


def test_every_check_finds_a_defect():
    found = set().union(*BROKEN.values())
    # The others are about what `SimpleFusion` does not offer, or about names.
    assert {check.__name__ for check in CHECKS} - found == {
        "check_encoded_modalities",
        "check_feature_names",
        "check_missing_column",
        "check_modalities_are_parameters",
        "check_presence",
    }
    assert len(BROKEN) >= 12


@pytest.mark.long
def test_results_have_the_form_of_scikit_learn():
    broken = next(kind for kind, names in BROKEN.items() if "check_classes" in names)
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        with pytest.warns(EstimatorCheckFailedWarning, match="check_classes"):
            results = check_fusion_estimator(
                broken(), on_fail="warn", callback=lambda **result: seen.append(result)
            )
    assert seen == results
    assert [result["check_name"] for result in results] == [c.__name__ for c in CHECKS]
    by_name = {result["check_name"]: result for result in results}
    assert by_name["check_classes"]["status"] == "failed"
    assert isinstance(by_name["check_classes"]["exception"], AssertionError)
    assert by_name["check_encoded_modalities"]["status"] == "skipped"
    expected = {"check_classes": "labels as they come"}
    results = check_fusion_estimator(
        broken(), expected_failed_checks=expected, on_skip=None
    )
    by_name = {result["check_name"]: result for result in results}
    assert by_name["check_classes"]["status"] == "xfail"
    assert by_name["check_classes"]["expected_to_fail_reason"] == "labels as they come"
    with pytest.raises(AssertionError, match="classes_ must be sorted"):
        check_fusion_estimator(broken(), on_skip=None)


@pytest.mark.long
def test_skips_are_told():
    with pytest.warns(SkipTestWarning, match="does not apply to SimpleFusion"):
        check_fusion_estimator(SimpleFusion())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((EarlyFusionClassifier,), TypeError, "must be an instance"),
        ((StandardScaler(),), TypeError, "StandardScaler has no parameter modalities"),
        ((None,), TypeError, "must be an instance"),
    ],
)
def test_what_is_no_fusion_estimator_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        check_fusion_estimator(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_fail": "stop"}, "on_fail"),
        ({"on_skip": "raise"}, "on_skip"),
        ({"expected_failed_checks": {"check_x": "?"}}, "'check_x', which is no check"),
        ({"callback": print}, "callback cannot be used"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        check_fusion_estimator(EarlyFusionClassifier(), **options)


@pytest.mark.slow
def test_the_checks_need_neither_torch_nor_pytest():
    code = (
        "import sys\n"
        # A None in sys.modules for torch would break scipy.
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'pytest'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from skfusion import EarlyFusionClassifier\n"
        "from skfusion.testing import check_fusion_estimator\n"
        "model = EarlyFusionClassifier(estimator=LogisticRegression())\n"
        "expected = {'check_same_result_in_processes': 'workers import torch'}\n"
        "results = check_fusion_estimator(model, on_skip=None,"
        " expected_failed_checks=expected)\n"
        "assert {r['status'] for r in results} <= {'passed', 'skipped', 'xfail'}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_check_says_what_it_promises():
    for check in CHECKS:
        assert inspect.getdoc(check).startswith("Check that ")
