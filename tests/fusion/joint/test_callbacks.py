"""scikit-learn's own callbacks follow a joint fit, epoch by epoch."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
from sklearn.metrics import log_loss

import skfusion.fusion.joint
from skfusion import JointFusionClassifier, JointFusionRegressor
from skfusion.survival import JointFusionSurvival

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")


class Record:
    """Note every task; stop after a given epoch."""

    def __init__(self, stop_after=None, look=None):
        self.stop_after = stop_after
        self.look = look
        self.begun, self.ended, self.seen = [], [], []

    def setup(self, estimator, context):
        self.begun.append("setup")

    def teardown(self, estimator, context):
        self.ended.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.begun.append((context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.ended.append((context.task_name, context.task_id))
        if self.look and context.task_name == "epoch":
            self.seen.append(self.look(fitted_estimator, X, y))
        return context.task_name == "epoch" and context.task_id == self.stop_after


def data():
    X = np.random.default_rng(0).normal(size=(120, 4))
    return X, (X[:, 0] > 0).astype(int)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (JointFusionClassifier, lambda X: (X[:, 0] > 0).astype(int)),
        (JointFusionRegressor, lambda X: X[:, 0]),
        (
            JointFusionSurvival,
            lambda X: np.array(
                [(True, time) for time in np.exp(X[:, 0])],
                dtype=[("event", bool), ("time", float)],
            ),
        ),
    ],
)
def test_a_fit_and_its_epochs_are_reported(kind, target):
    X, _ = data()
    record = Record(look=lambda m, X, y: m.predict(X))
    model = kind(max_epochs=3, random_state=0).set_callbacks(record)
    model.fit(X, target(X))
    epochs = [("epoch", i) for i in range(3)]
    assert record.begun == ["setup", ("fit", 0), *epochs]
    assert record.ended == [*epochs, ("fit", 0), "teardown"]
    plain = kind(max_epochs=3, random_state=0).fit(X, target(X))
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    assert len(record.seen) == 3
    assert np.isfinite(record.seen).all()


def test_a_callback_can_ask_the_net_of_an_epoch_and_stop_training():
    X, y = data()
    record = Record(2, lambda m, X, y: log_loss(y, m.predict_proba(X)))
    model = JointFusionClassifier(max_epochs=20, random_state=0).set_callbacks(record)
    model.fit(X, y)
    assert model.n_epochs_ == 3
    assert record.seen[2] < record.seen[1] < record.seen[0]
    assert record.seen[2] == pytest.approx(log_loss(y, model.predict_proba(X)))


def test_a_failing_callback_leaves_the_estimator_as_it_was():
    def fail(*args):
        raise RuntimeError("no space left")

    X, y = data()
    record = Record(look=fail)
    model = JointFusionClassifier(max_epochs=2, random_state=0).set_callbacks(record)
    before = sorted(vars(model))
    with pytest.raises(RuntimeError, match="no space left"):
        model.fit(X, y)
    assert record.ended[-1] == "teardown"
    assert sorted(vars(model)) == before
    proba = model.set_callbacks().fit(X, y).predict_proba(X)
    before = sorted(vars(model.set_callbacks(record)))
    with pytest.raises(RuntimeError, match="no space left"):
        model.fit(X, 1 - y)
    assert sorted(vars(model)) == before
    np.testing.assert_array_equal(model.predict_proba(X), proba)
    np.testing.assert_array_equal(
        model.set_callbacks().fit(X, y).predict_proba(X), proba
    )


def test_scores_of_the_epochs_by_scikit_learns_own_monitor():
    X, y = data()
    monitor = callback.ScoringMonitor(scoring="roc_auc")
    model = JointFusionClassifier(max_epochs=3, random_state=0).set_callbacks(monitor)
    model.fit(X, y)
    scores = [
        entry["roc_auc"]
        for entry in monitor.get_logs().data
        if entry["task_name"] == "epoch"
    ]
    assert len(scores) == 3
    assert scores[0] < scores[2]


def test_without_scikit_learns_callbacks_nothing_else_is_lost(monkeypatch):
    X, y = data()
    expected = JointFusionClassifier(max_epochs=2, random_state=0).fit(X, y)
    assert hasattr(expected, "set_callbacks")
    # import joint fusion once more, as before scikit-learn 1.9
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    for name in ("callbacks", "base", "estimators"):
        monkeypatch.delitem(sys.modules, f"skfusion.fusion.joint.{name}")
        monkeypatch.setattr(skfusion.fusion.joint, name, None)
    anew = importlib.import_module(
        "skfusion.fusion.joint.estimators"
    ).JointFusionClassifier
    assert anew is not JointFusionClassifier
    model = anew(max_epochs=2, random_state=0)
    assert not hasattr(model, "set_callbacks")
    np.testing.assert_array_equal(
        model.fit(X, y).predict_proba(X), expected.predict_proba(X)
    )
