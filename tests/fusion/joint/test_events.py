"""Events on a grid and images in one joint net."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

torch = pytest.importorskip("torch")

from skfusion import EventStore, ImageEmbedder, JointFusionClassifier  # noqa: E402
from skfusion.ehr import EventGrid  # noqa: E402
from skfusion.fusion import (  # noqa: E402
    GRUDEncoder,
    SequenceTransformer,
    TorchEncoder,
    TrainingSettings,
)

N_STEPS = 8


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path))


def trends(n, rng):
    """Return rows, events and whether a lab rises; its mean and last say nothing."""
    y = np.arange(n) % 2
    when = pd.Timestamp("2020-01-01")
    X = pd.DataFrame({"subject_id": np.arange(n), "index_time": when})
    hours = np.arange(1, 17)
    slope = np.where(y == 1, -1.0, 1.0)[:, None] * (hours - hours.mean()) / 5
    level = rng.normal(scale=3, size=(n, 1))
    value = level + slope + rng.normal(scale=0.3, size=(n, 16))
    events = pd.DataFrame(
        {
            "subject_id": np.repeat(np.arange(n), 16),
            "time": when - pd.to_timedelta(np.tile(hours, n), "h"),
            "code": "lactate",
            "numeric_value": value.ravel(),
        }
    )
    # half of the measurements were never taken; subject 0 has none
    kept = (rng.random(len(events)) < 0.5) & (events["subject_id"] > 0)
    return X, events[kept], y


def labs(events, kind, **parameters):
    store = EventStore.from_frame(events, date_only=None)
    grid = EventGrid(store, horizon="16h", step="2h", unknown_subject="empty")
    module = partial(kind, n_steps=N_STEPS, **parameters)
    encoder = TorchEncoder(module, random_state=0)
    return "labs", make_pipeline(grid, encoder), ["subject_id", "index_time"]


@pytest.mark.parametrize("kind", [GRUDEncoder, SequenceTransformer])
@pytest.mark.long
def test_a_trend_is_learned(kind):
    X, events, y = (part[1:] for part in trends(401, np.random.default_rng(0)))
    model = JointFusionClassifier(
        [labs(events, kind)],
        max_epochs=25,
        lr=5e-3,
        training=TrainingSettings(patience=25),
        random_state=0,
    )
    train = np.arange(400) < 300
    model.fit(X[train], y[train])
    score = roc_auc_score(y[~train], model.predict_proba(X[~train])[:, 1])
    assert score > 0.9


def test_events_and_images_train_together(store_path):
    rng = np.random.default_rng(0)
    X, events, y = trends(40, rng)
    X["scan"] = list((rng.random((40, 32, 32)) * 255).astype(np.uint8))
    image = ImageEmbedder(input_size=32, store=store_path)
    model = JointFusionClassifier(
        [("scan", image, "scan"), labs(events, GRUDEncoder)],
        max_epochs=2,
        random_state=0,
    ).fit(X, y)
    fresh = model.modalities_[1][1][-1].module_
    trained = model.network_.encoders["x_labs"].backbone
    for name, weights in fresh.named_parameters():
        assert not torch.equal(weights, trained.get_parameter(name)), name
    image_weights = list(model.network_.encoders["x_scan"].backbone.parameters())
    assert any(weights.requires_grad for weights in image_weights)
    # subject 0 has no event: a learned token stands for its record
    assert np.isfinite(model.predict_proba(X)).all()
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict_proba(X), model.predict_proba(X))
