"""Grids of events between EventGrid, TorchEncoder and the modules that read them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from skfusion import EarlyFusionClassifier, EventStore, JointFusionClassifier
from skfusion.ehr import EventGrid, ObservedScaler
from skfusion.exceptions import DataWarning
from skfusion.fusion import GRUDEncoder, SequenceTransformer, TorchEncoder
from skfusion.fusion.joint.grids import is_event_grid, takes_grid

ENCODERS = [GRUDEncoder, SequenceTransformer]
COLUMNS = ["subject_id", "index_time"]
N_STEPS = 6

pytestmark = pytest.mark.filterwarnings("ignore:.*are random:UserWarning")


class Convolution(nn.Module):
    """Module of a user over the steps, which keeps what it was given."""

    seen: list = []

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.layer = nn.Conv1d(n_features // N_STEPS, 4, 3, padding=1)

    def forward(self, x):
        Convolution.seen.append(x.detach().numpy().copy())
        return self.layer(x.reshape(len(x), N_STEPS, -1).mT).amax(dim=2)


class Declared(nn.Module):
    """Module of a user that says what it takes."""

    takes_grid = True

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_features, 4)

    def forward(self, x):
        Convolution.seen.append(x.detach().numpy().copy())
        return self.layer(x)


@pytest.fixture(autouse=True)
def forget():
    Convolution.seen.clear()


def always_measured(n):
    """Return grids of one code that is measured in each step, and the sign of its mean.

    The times since are 0, so that they do not follow from the indicators.
    """
    rng = np.random.default_rng(0)
    value = rng.normal(size=(n, N_STEPS, 1))
    grid = np.stack([value, np.ones_like(value), np.zeros_like(value)], axis=2)
    X = pd.DataFrame(grid.reshape(n, -1)).add_prefix("g")
    return X, (value.mean(axis=(1, 2)) > 0).astype(int)


def ward(n=60, share=0.6, n_codes=2):
    """Return rows, a store of their measurements, and an outcome."""
    rng = np.random.default_rng(1)
    when = pd.Timestamp("2020-01-01")
    X = pd.DataFrame({"subject_id": np.arange(n), "index_time": when})
    cells = np.argwhere(rng.random((n, 12, n_codes)) < share)
    events = pd.DataFrame(
        {
            "subject_id": cells[:, 0],
            "time": when - pd.to_timedelta(cells[:, 1] + 1, "h"),
            "code": [f"lab{code}" for code in cells[:, 2]],
            "numeric_value": rng.normal(50, 9, len(cells)),
        }
    )
    store = EventStore.from_frame(events, date_only=None)
    return X, store, np.arange(n) % 2


def grid_of(store, step="2h"):
    return EventGrid(store, horizon="12h", step=step, unknown_subject="empty")


def joint(transformer, columns=COLUMNS, **parameters):
    modalities = [("labs", transformer, columns)]
    return JointFusionClassifier(
        modalities, **{"max_epochs": 1, "random_state": 0, **parameters}
    )


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_code_that_is_always_measured_is_learned_by_default(kind):
    X, y = always_measured(500)
    encoder = TorchEncoder(partial(kind, n_steps=N_STEPS))
    model = joint(encoder, list(X), max_epochs=10, lr=5e-3).fit(X[:350], y[:350])
    assert roc_auc_score(y[350:], model.predict_proba(X[350:])[:, 1]) > 0.95


WRAPPED = {
    "nested partial": partial(partial(GRUDEncoder, n_steps=N_STEPS), width=8),
    "function": lambda n: SequenceTransformer(n, n_steps=N_STEPS, width=8),
    "inside another module": lambda n: nn.Sequential(
        GRUDEncoder(n, n_steps=N_STEPS, width=8), nn.Linear(8, 3)
    ),
    "module": GRUDEncoder(N_STEPS * 3 * 2, n_steps=N_STEPS, width=8),
    "of the user, declared": Declared,
    "of the user, not declared": Convolution,
}


@pytest.mark.parametrize("module", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("output", ["default", "pandas"])
def test_a_grid_reaches_every_module_as_it_is(module, output):
    X, store, _ = ward()
    grid = grid_of(store).set_output(transform=output)
    steps = make_pipeline(grid, TorchEncoder(module)).fit(X)
    expected = grid_of(store).fit_transform(X)
    assert not steps[-1].standardized_
    np.testing.assert_array_equal(steps[-1].scales_, 1.0)
    prepared = steps[-1].prepare(steps[0].transform(X))
    np.testing.assert_allclose(prepared, expected, rtol=1e-6)


@pytest.mark.parametrize("module", [Convolution, Declared])
def test_indicators_stay_0_and_1_in_training_and_prediction(module):
    X, store, y = ward()
    model = joint(make_pipeline(grid_of(store), TorchEncoder(module))).fit(X, y)
    in_training = len(Convolution.seen)
    model.predict_proba(X)
    assert 0 < in_training < len(Convolution.seen)
    for batch in Convolution.seen:
        observed = batch.reshape(len(batch), N_STEPS, 3, -1)[:, :, 1]
        assert set(np.unique(observed)) <= {0.0, 1.0}


def test_a_module_that_declares_a_grid_need_not_get_one_of_event_grid():
    X, _ = always_measured(20)
    assert not is_event_grid(X.to_numpy())
    encoder = TorchEncoder(Declared).fit(X)
    np.testing.assert_allclose(encoder.prepare(X), X, rtol=1e-6)
    assert TorchEncoder(Convolution).fit(X).standardized_


def test_what_a_module_declares_precedes_its_submodules():
    class Scaled(nn.Sequential):
        takes_grid = False

    inner = GRUDEncoder(18, n_steps=6)
    assert takes_grid(inner)
    assert takes_grid(nn.Sequential(nn.Identity(), inner))
    assert not takes_grid(Scaled(inner))
    assert not takes_grid(nn.Linear(18, 2))


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_grid_module_refuses_standardized_columns(kind):
    X, store, y = ward()
    encoder = TorchEncoder(partial(kind, n_steps=N_STEPS), standardize=True)
    message = f"got standardize=True with the module {kind.__name__}, which takes"
    with pytest.raises(ValueError, match=message):
        joint(make_pipeline(grid_of(store), encoder)).fit(X, y)


def test_standardizing_a_grid_for_a_module_of_the_user_warns():
    X, store, _ = ward()
    grid = grid_of(store).fit_transform(X)
    encoder = TorchEncoder(Convolution, standardize=True)
    with pytest.warns(DataWarning, match="scales the 36 columns of a grid"):
        encoder.fit(grid)
    assert encoder.standardized_


SCALED = {
    "standardised": StandardScaler(),
    "observed values standardised": ObservedScaler(),
    "another order of the axes": FunctionTransformer(
        lambda grid: (
            grid.reshape(len(grid), N_STEPS, -1).swapaxes(1, 2).reshape(len(grid), -1)
        )
    ),
    "times since shifted": FunctionTransformer(
        lambda grid: grid - np.tile(np.repeat([0.0, 0.0, 0.5], 2), N_STEPS)
    ),
}


@pytest.mark.parametrize("between", SCALED.values(), ids=SCALED)
@pytest.mark.parametrize("kind", ENCODERS)
def test_a_changed_grid_is_refused_before_training(kind, between):
    X, store, y = ward()
    encoder = TorchEncoder(partial(kind, n_steps=N_STEPS, width=8))
    steps = make_pipeline(grid_of(store), between, encoder)
    words = f"{kind.__name__}: got (indicators|negative times).*expected the grid of"
    with pytest.raises(ValueError, match=words):
        joint(steps).fit(X, y)
    with pytest.raises(ValueError, match=words):
        EarlyFusionClassifier([("labs", steps, COLUMNS)]).fit(X, y)


@pytest.mark.parametrize("kind", ENCODERS)
def test_another_number_of_steps_is_refused(kind):
    X, store, y = ward()
    encoder = TorchEncoder(partial(kind, n_steps=N_STEPS // 2, width=8))
    with pytest.raises(ValueError, match="3 steps with value, indicator.*set n_steps"):
        joint(make_pipeline(grid_of(store), encoder)).fit(X, y)


def test_a_changed_grid_is_refused_at_predict():
    X, store, y = ward()
    grid = pd.DataFrame(grid_of(store).fit_transform(X)).add_prefix("g")
    encoder = TorchEncoder(partial(GRUDEncoder, n_steps=N_STEPS, width=8))
    model = joint(encoder, list(grid)).fit(grid, y)
    assert np.isfinite(model.predict_proba(grid)).all()
    with pytest.raises(ValueError, match="neither 0 nor 1 in 60 of 60 rows"):
        model.predict_proba(0.5 * grid)


def test_prediction_uses_the_standardisation_of_the_fit():
    X, store, _ = ward()
    grid = grid_of(store).fit_transform(X)
    encoder = TorchEncoder(partial(GRUDEncoder, n_steps=N_STEPS), random_state=0)
    before = encoder.fit(grid).transform(grid)
    encoder.set_params(standardize=True)
    np.testing.assert_array_equal(encoder.transform(grid), before)


@pytest.mark.parametrize("step", ["1h", "2h", "4h", "6h"])
@pytest.mark.parametrize("n_codes", [1, 3])
def test_the_output_of_event_grid_is_recognised_and_nothing_else(step, n_codes):
    X, store, _ = ward(share=0.3, n_codes=n_codes)
    grid = grid_of(store, step).fit_transform(X)
    assert is_event_grid(grid)
    assert is_event_grid(grid.astype(np.float64)[::-1])
    changed = grid.copy()
    changed[-1, -1] += 0.01
    assert not is_event_grid(changed)
    assert not is_event_grid(StandardScaler().fit_transform(grid))
    assert not is_event_grid(np.full_like(grid, np.nan))
    flags = (np.random.default_rng(0).random(grid.shape) < 0.5).astype(float)
    assert not is_event_grid(flags)


def test_an_unknown_standardisation_is_refused():
    with pytest.raises(ValueError, match="standardize must be one of"):
        TorchEncoder(standardize="yes").fit(np.eye(3))
