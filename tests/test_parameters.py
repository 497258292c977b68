"""Parameters are those of `get_params`, whoever wrote the estimator."""

from __future__ import annotations

import gc
import warnings
import weakref

import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from skfusion import EarlyFusionClassifier, ImageEmbedder, TabularEncoder
from skfusion._fitting.parameters import all_params, own_params


class Renamed(BaseEstimator):
    """A parameter is stored under another name."""

    def __init__(self, depth=3):
        self._depth = depth

    def get_params(self, deep=True):
        return {"depth": self._depth}


class Duck:
    """Not from scikit-learn."""

    def get_params(self, deep=True):
        return {"a": 1, **({"b__c": 2} if deep else {})}


class Flexible(LogisticRegression):
    """More parameters than those of the constructor."""

    def get_params(self, deep=True):
        return {**super().get_params(deep), "extra": 1}


LINEAR = LogisticRegression(C=3.0)
ESTIMATORS = [
    Renamed(4),
    Duck(),
    Flexible(),
    LINEAR,
    make_pipeline(StandardScaler(), LINEAR),
    make_pipeline(make_pipeline("passthrough"), None),
    ColumnTransformer([("a", StandardScaler(), [0]), ("b", "drop", [1])]),
    FeatureUnion([("a", StandardScaler())]),
    VotingClassifier([("a", LINEAR), ("b", "drop")]),
    GridSearchCV(make_pipeline(LINEAR), {"logisticregression__C": [1.0]}),
    FrozenEstimator(LINEAR),
    RBF(2.0) + WhiteKernel(),
    TabularEncoder(orders={"a": [1, 2]}),
    ImageEmbedder("resnet18"),
    EarlyFusionClassifier([("ehr", TabularEncoder(), ["age"])], estimator=LINEAR),
]


def check_params(estimator):
    for found, deep in ((own_params(estimator), False), (all_params(estimator), True)):
        wanted = estimator.get_params(deep=deep)
        assert list(found) == list(wanted)
        assert all(found[name] is wanted[name] for name in wanted)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_parameters_are_those_of_get_params(estimator):
    check_params(estimator)
    check_params(estimator)  # from the names that are kept


@pytest.mark.parametrize("package", ["xgboost", "lightgbm", "catboost", "skorch"])
def test_parameters_of_other_libraries(package):
    module = pytest.importorskip(package, reason=f"needs {package}")
    if package == "skorch":
        estimator = module.NeuralNetClassifier(object, callbacks=[])
    else:
        prefix = {"xgboost": "XGB", "lightgbm": "LGBM", "catboost": "CatBoost"}
        estimator = getattr(module, f"{prefix[package]}Classifier")(max_depth=2)
    for found, deep in ((own_params(estimator), False), (all_params(estimator), True)):
        wanted = estimator.get_params(deep=deep)
        # skorch makes its callbacks anew at each call.
        wanted = {name: wanted[name] for name in wanted if "callback" not in name}
        assert {name: found[name] for name in wanted} == wanted


def test_parameters_of_all_of_scikit_learn():
    kinds = [kind for _, kind in all_estimators()]
    warnings.simplefilter("ignore", FutureWarning)  # of deprecated estimators
    made = []
    for kind in kinds:
        try:
            made.append(kind())
        except TypeError:  # needs an argument
            continue
    for estimator in made:
        check_params(estimator)
    assert len(made) > 150


def test_a_changed_parameter_is_seen():
    estimator = LogisticRegression()
    assert own_params(estimator)["C"] == 1.0
    estimator.C = 5.0
    assert own_params(estimator)["C"] == 5.0


def test_classes_are_not_kept_alive():
    kind = type("Short", (BaseEstimator,), {})
    own_params(kind())
    found = weakref.ref(kind)
    del kind
    gc.collect()
    assert found() is None


def test_a_subclass_that_changes_the_parameters_of_a_fusion_is_asked():
    class Narrowed(EarlyFusionClassifier):
        def get_params(self, deep=True):
            params = super().get_params(deep=deep)
            return {**params, "random_state": 7}

    model = Narrowed([("ehr", TabularEncoder(), ["age"])])
    for _ in range(2):  # the first call of the parent remembers its parameters
        assert own_params(model)["random_state"] == 7
        assert model.get_params(deep=False)["random_state"] == 7
