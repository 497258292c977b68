"""The list of names that a file may contain without being asked for."""

from __future__ import annotations

import importlib
import inspect

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils import all_estimators

from skfusion.persistence.trusted_names import MOVED, TRUSTED

FACES = ("fusion", "image", "text", "ehr", "vectors", "feature_selection", "survival")
#: Anything that reads, writes, calls or connects when it is made or used.
DANGEROUS = (
    *("builtins.eval", "builtins.exec", "builtins.getattr", "builtins.open"),
    *("os.system", "posix.system", "subprocess.Popen", "operator.methodcaller"),
    *("skfusion.store.EmbeddingStore", "skfusion.ehr.EventStore"),
    *(
        "sklearn.tree._tree.Tree",
        "torch.load",
        "torch.jit._script.RecursiveScriptModule",
    ),
    *("torch.fx.graph_module.GraphModule", "joblib.memory.Memory", "numpy.load"),
)


def test_nothing_that_acts_is_trusted():
    assert not TRUSTED & set(DANGEROUS)
    modules = {name.rpartition(".")[0] for name in TRUSTED}
    assert not modules & {
        "os",
        "posix",
        "subprocess",
        "sys",
        "io",
        "importlib",
        "pickle",
    }
    assert len(TRUSTED) < 700


@pytest.mark.parametrize("face", FACES)
def test_every_public_estimator_is_trusted(face):
    module = importlib.import_module(f"skfusion.{face}")
    public = [getattr(module, name) for name in module.__all__]
    names = {
        f"{kind.__module__}.{kind.__name__}"
        for kind in public
        if inspect.isclass(kind) and issubclass(kind, BaseEstimator)
    }
    assert names
    assert names <= TRUSTED


def test_every_trusted_name_exists():
    missing = []
    for name in sorted(TRUSTED | set(MOVED.values())):
        module, _, attribute = name.rpartition(".")
        try:
            found = hasattr(importlib.import_module(module), attribute)
        except ImportError:
            found = not module.startswith("skfusion.")
        if not found:
            missing.append(name)
    # Another release of torch or scikit-learn may have moved a few of its own.
    assert [name for name in missing if name.startswith("skfusion.")] == []
    assert len(missing) < 0.05 * len(TRUSTED)


def test_own_states_of_scikit_learn_are_trusted():
    kinds = {
        f"{kind.__module__}.{kind.__name__}"
        for _, kind in all_estimators()
        if kind.__getstate__ is not BaseEstimator.__getstate__
    }
    assert kinds <= TRUSTED
