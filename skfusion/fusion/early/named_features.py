"""Names of the joined features for estimators whose parameters refer to them.

Estimators get the joined features as an array, which every learner accepts and which
needs no copy. An estimator whose parameters contain names of features, such as
``monotone_constraints={"ehr__age": 1}``, gets them as a DataFrame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn import get_config

from skfusion._dependencies import loaded
from skfusion._fitting.parameters import own_params
from skfusion.fusion.estimator_kinds import estimators_inside, last_step

__all__ = ["FeatureNames", "reads_names"]


# Parameters that refer to features by name or by position.
_OF_FEATURES = (
    "categorical_feature",  # LightGBM
    "categorical_features",
    "cat_features",  # CatBoost
    "interaction_constraints",
    "interaction_cst",
    "monotone_constraints",
    "monotonic_cst",
)
# Characters that a library does not allow in the names of features.
_FORBIDDEN = {"xgboost": r"[\[\]<]", "lightgbm": r'[\[\]{}",:]'}


class FeatureNames:
    """Names under which an estimator receives the joined features.

    Parameters
    ----------
    names : ndarray of str of shape (n_features,)
        Names of the joined features.
    estimator : estimator
        Unfitted estimator, whose library restricts the characters of names.

    Attributes
    ----------
    passed : ndarray of str of shape (n_features,)
        The names, with characters that the library forbids replaced by ``_``.

    Examples
    --------
    >>> import numpy as np
    >>> from xgboost import XGBClassifier
    >>> from skfusion.fusion.early.named_features import FeatureNames
    >>> trees = XGBClassifier(monotone_constraints={"ehr__hb[g/dl]": 1})
    >>> names = FeatureNames(np.array(["ehr__age", "ehr__hb[g/dl]"]), trees)
    >>> names.frame(np.ones((1, 2))).columns.tolist()
    ['ehr__age', 'ehr__hb_g/dl_']
    >>> names.translate(trees).monotone_constraints
    {'ehr__hb_g/dl_': 1}
    """

    def __init__(self, names: np.ndarray, estimator: Any) -> None:
        pattern = _forbidden_characters(estimator)
        taken: set[str] = {str(name) for name in names}
        self._renamed: dict[str, str] = {}
        passed = []
        for name in map(str, names):
            clean = re.sub(pattern, "_", name) if pattern else name
            while clean != name and clean in taken:  # another name became the same
                clean += "_"
            if clean != name:
                taken.add(clean)
                self._renamed[name] = clean
            passed.append(clean)
        self.passed = np.asarray(passed, dtype=object)

    def frame(self, joined: np.ndarray) -> pd.DataFrame:
        """Return joined features with their names, without a copy."""
        return pd.DataFrame(joined, columns=self.passed, copy=False)

    def translate(self, estimator: Any) -> Any:
        """Replace renamed features in the parameters of an estimator, in place."""
        if not self._renamed:
            return estimator
        last = last_step(estimator)
        changed = {
            name: _replaced(value, self._renamed)
            for name, value in own_params(last).items()
            if name in _OF_FEATURES
        }
        if changed:
            last.set_params(**changed)
        return estimator


def reads_names(estimator: Any, names: np.ndarray, fusion: Any) -> bool:
    """Return whether an estimator has to receive the names of the joined features.

    Parameters
    ----------
    estimator : estimator
        Unfitted estimator.
    names : ndarray of str of shape (n_features,)
        Names of the joined features.
    fusion : estimator
        The fusion estimator. If its output is set to be a DataFrame (`set_output`),
        its estimator gets one too, as in a `Pipeline`.

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from skfusion.fusion.early.named_features import reads_names
    >>> trees = HistGradientBoostingClassifier(monotonic_cst={"ehr__age": 1})
    >>> reads_names(trees, np.array(["ehr__age"]), None)
    True
    """
    configured = getattr(fusion, "_sklearn_output_config", {}).get("transform")
    if (configured or get_config()["transform_output"]) != "default":
        return True
    texts: set[str] = set()
    for nested in estimators_inside(estimator):
        if not hasattr(nested, "get_params"):
            continue
        for name, value in own_params(nested).items():
            found = list(_strings(value))
            if name in _OF_FEATURES and _refers_by_name(name, found):
                return True
            if None in found:
                return True
            texts.update(text for text in found if text is not None)
    return not texts.isdisjoint(names.tolist())


def _refers_by_name(parameter: str, found: list[str | None]) -> bool:
    if parameter == "monotone_constraints":  # also a text of positions: "(1,0,-1)"
        return any(text is not None and not text.startswith("(") for text in found)
    # "from_dtype" and "pairwise" are settings. "name:a,b" is LightGBM's form.
    settings = {"auto", "from_dtype", "pairwise", "no_interactions"}
    return any(
        text is not None and text not in settings and not text.startswith("[")
        for text in found
    )


def _strings(value: Any) -> Iterator[str | None]:
    """Yield the texts in a parameter, and None for a selection of named columns."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, loaded("sklearn.compose", "make_column_selector")):
        yield None
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(key)
            yield from _strings(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, (np.ndarray, pd.Index)) and value.dtype.kind in "OUT":
        for inner in value.ravel():
            yield from _strings(inner)


def _replaced(value: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return renamed.get(value, value)
    if isinstance(value, dict):
        return {_replaced(key, renamed): inner for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_replaced(inner, renamed) for inner in value)
    return value


def _forbidden_characters(estimator: Any) -> str:
    for kind in type(last_step(estimator)).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in _FORBIDDEN:
            return _FORBIDDEN[library]
    return ""
