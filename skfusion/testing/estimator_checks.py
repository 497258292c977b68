"""`check_fusion_estimator`: run the checks of the contract on an estimator."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import SkipTest

from sklearn.exceptions import EstimatorCheckFailedWarning, SkipTestWarning

from skfusion._validation import check_option
from skfusion.testing.checks import CHECKS
from skfusion.testing.cohorts import checked_cohort

__all__ = [
    "check_fusion_estimator",
    "fusion_checks_generator",
    "parametrize_with_fusion_checks",
]


class _Check:
    """A check as a callable with a name, as those of scikit-learn."""

    def __init__(self, function: Callable[[Any], None]) -> None:
        self.function = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__

    def __call__(self, estimator: Any) -> None:
        with warnings.catch_warnings():
            # Small cohorts with gaps are what estimators warn of.
            warnings.simplefilter("ignore")
            self.function(checked_cohort(estimator))

    def __repr__(self) -> str:
        return self.__name__


def fusion_checks_generator(
    estimator: Any,
) -> Iterator[tuple[Any, Callable[..., None]]]:
    """Generate the checks of the contract of the fusion estimators.

    Parameters
    ----------
    estimator : estimator
        An instance with a parameter `modalities`, a list of triples (name, transformer,
        columns).

    Yields
    ------
    estimator, check : tuple of estimator and callable
        ``check(estimator)`` raises an AssertionError if a promise is not kept, and
        `unittest.SkipTest` if the estimator does not offer what it checks.

    Examples
    --------
    >>> from skfusion import EarlyFusionClassifier
    >>> from skfusion.testing import fusion_checks_generator
    >>> estimator, check = next(fusion_checks_generator(EarlyFusionClassifier()))
    >>> callable(check)
    True
    """
    _check_instance(estimator)
    for function in CHECKS:
        yield estimator, _Check(function)


def check_fusion_estimator(
    estimator: Any,
    *,
    expected_failed_checks: Mapping[str, str] | None = None,
    on_skip: str | None = "warn",
    on_fail: str | None = "raise",
    callback: Callable[..., None] | None = None,
) -> list[dict[str, Any]]:
    """Check that an estimator keeps the contract of the fusion estimators.

    The checks fit clones of the estimator to a small cohort with two modalities, two
    rows a patient and, in some checks, absent modalities. They cover what
    `sklearn.utils.estimator_checks.check_estimator` does not know: patients on one side
    of every inner split, cross-fitting, absent modalities in `fit` and prediction,
    refits that fail, equal results in threads and processes, the model by hand, and
    metadata routing. Run both on an estimator of your own.

    Parameters
    ----------
    estimator : estimator
        An instance with a parameter `modalities`, a list of triples (name, transformer,
        columns). The checks replace its modalities. Choose settings that are quick to
        fit, such as few epochs.
    expected_failed_checks : mapping of str to str, default=None
        Name of a check -> the reason why it is expected to fail.
    on_skip : {"warn", None}, default="warn"
        Whether to warn of checks that do not apply to the estimator.
    on_fail : {"raise", "warn", None}, default="raise"
        Treatment of a check that fails. With "warn" or None, see the results.
    callback : callable, default=None
        Called after each check with the items of its result as keyword arguments. Not
        with ``on_fail="raise"``.

    Returns
    -------
    list of dict
        One per check, with the keys ``"estimator"``, ``"check_name"``, ``"exception"``,
        ``"status"`` ("passed", "failed", "xfail" or "skipped"), ``"expected_to_fail"``
        and ``"expected_to_fail_reason"``, as in scikit-learn.

    Raises
    ------
    AssertionError
        If a check fails and ``on_fail="raise"``. Any other exception of the estimator
        is raised as it is.
    TypeError
        If `estimator` is a class or has no parameter `modalities`.
    ValueError
        If an option is unknown, or a name in `expected_failed_checks` is that of no
        check.

    See Also
    --------
    parametrize_with_fusion_checks : The same as tests of pytest.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skfusion import EarlyFusionClassifier
    >>> from skfusion.testing import check_fusion_estimator
    >>> results = check_fusion_estimator(
    ...     EarlyFusionClassifier(estimator=LogisticRegression()), on_skip=None)
    >>> {result["status"] for result in results} == {"passed", "skipped"}
    True
    """
    owner = "check_fusion_estimator"
    check_option(on_skip, "on_skip", ("warn", None), owner)
    check_option(on_fail, "on_fail", ("raise", "warn", None), owner)
    if on_fail == "raise" and callback is not None:
        raise ValueError(f"{owner}: callback cannot be used with on_fail='raise'.")
    expected = _expected(expected_failed_checks, owner)
    results = []
    for _, check in fusion_checks_generator(estimator):
        result = _result_of(estimator, check, expected)
        _report(result, on_skip, on_fail)
        results.append(result)
        if callback is not None:
            callback(**result)
    return results


def parametrize_with_fusion_checks(
    estimators: Sequence[Any],
    *,
    expected_failed_checks: Callable[[Any], Mapping[str, str]] | None = None,
) -> Any:
    """Return a decorator of pytest that makes one test of each estimator and check.

    Parameters
    ----------
    estimators : list of estimators
        Instances, as in `check_fusion_estimator`.
    expected_failed_checks : callable, default=None
        Function of an estimator that returns a mapping of the name of a check to the
        reason why it is expected to fail. Such a test is marked as ``xfail``.

    Returns
    -------
    pytest.MarkDecorator
        For a test with the arguments `estimator` and `check`.

    Examples
    --------
    >>> from skfusion import LateFusionClassifier
    >>> from skfusion.testing import parametrize_with_fusion_checks
    >>> @parametrize_with_fusion_checks([LateFusionClassifier()])
    ... def test_my_estimators(estimator, check):
    ...     check(estimator)
    """
    import pytest

    cases = []
    for estimator in estimators:
        given = expected_failed_checks(estimator) if expected_failed_checks else None
        expected = _expected(given, "parametrize_with_fusion_checks")
        for _, check in fusion_checks_generator(estimator):
            name = repr(check)
            marks = (
                [pytest.mark.xfail(reason=expected[name])] if name in expected else []
            )
            label = f"{type(estimator).__name__}-{name}"
            cases.append(pytest.param(estimator, check, marks=marks, id=label))
    return pytest.mark.parametrize(("estimator", "check"), cases)


def _check_instance(estimator: Any) -> None:
    if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        raise TypeError(
            "check_fusion_estimator: estimator must be an instance of an estimator, "
            f"got {estimator!r}."
        )
    if "modalities" not in estimator.get_params(deep=False):
        raise TypeError(
            f"check_fusion_estimator: {type(estimator).__name__} has no parameter "
            "modalities. A fusion estimator takes a list of triples (name, "
            "transformer, columns)."
        )


def _expected(given: Mapping[str, str] | None, owner: str) -> dict[str, str]:
    names = [function.__name__ for function in CHECKS]
    for name in given or {}:
        if name not in names:
            raise ValueError(f"{owner}: got {name!r}, which is no check. Use {names}.")
    return dict(given or {})


def _result_of(
    estimator: Any, check: Callable[..., None], expected: Mapping[str, str]
) -> dict[str, Any]:
    name = repr(check)
    result = {
        "estimator": estimator,
        "check_name": name,
        "exception": None,
        "status": "passed",
        "expected_to_fail": name in expected,
        "expected_to_fail_reason": expected.get(name),
    }
    try:
        check(estimator)
    except SkipTest as skipped:
        result |= {"exception": skipped, "status": "skipped"}
    except Exception as error:
        status = "xfail" if name in expected else "failed"
        result |= {"exception": error, "status": status}
    return result


def _report(result: dict[str, Any], on_skip: str | None, on_fail: str | None) -> None:
    if result["status"] == "skipped" and on_skip == "warn":
        name = type(result["estimator"]).__name__
        warnings.warn(
            f"{result['check_name']} does not apply to {name}: {result['exception']}.",
            SkipTestWarning,
            stacklevel=3,
        )
    elif result["status"] == "failed" and on_fail == "raise":
        raise result["exception"]
    elif result["status"] in ("failed", "xfail") and on_fail == "warn":
        warnings.warn(EstimatorCheckFailedWarning(**result), stacklevel=3)
