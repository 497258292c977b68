"""Each step gets the weights and patients it takes, and only rows that can be read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfusion import EarlyFusionClassifier
from skfusion._fitting.pipelines import fit_transform_steps, take_rows, transform_steps
from skfusion.blocks import ModalityBlocks
from skfusion.cohort import relative_weights
from skfusion.modality import Modality


class Witness(TransformerMixin, BaseEstimator):
    """Remembers what `fit` was given."""

    def fit(self, X, y=None, sample_weight=None, groups=None):
        self.seen_ = {"n": len(X), "y": y, "weight": sample_weight, "groups": groups}
        return self

    def transform(self, X):
        return X


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"])
    X.loc[5, ["a", "b"]] = np.nan
    return X, np.tile([0, 1], 20), rng.random(40), np.repeat(np.arange(20), 2)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_steps_of_a_pipeline_get_target_weights_and_patients(cohort, routing, nested):
    X, y, weights, groups = cohort
    inner = make_pipeline(StandardScaler(), Witness())
    steps = make_pipeline(FunctionTransformer(), inner) if nested else inner
    with sklearn.config_context(enable_metadata_routing=routing):
        model = EarlyFusionClassifier(
            [("ab", steps, ["a", "b"])],
            random_state=0,
        )
        kept = np.delete(np.arange(40), 5)
        model.fit(
            X.iloc[kept], y[kept], sample_weight=weights[kept], groups=groups[kept]
        )
    fitted = model.modalities_[0][1]
    witness = fitted[-1][-1] if nested else fitted[-1]
    scaler = fitted[-1][0] if nested else fitted[0]
    np.testing.assert_array_equal(witness.seen_["y"], y[kept])
    expected = relative_weights(weights[kept], "test")
    np.testing.assert_array_equal(witness.seen_["weight"], expected)
    np.testing.assert_array_equal(
        np.unique(witness.seen_["groups"], return_inverse=True)[1],
        np.unique(groups[kept], return_inverse=True)[1],
    )
    np.testing.assert_allclose(
        scaler.mean_, np.average(X.iloc[kept], axis=0, weights=weights[kept])
    )


def test_a_routed_part_gets_what_it_requested(cohort):
    X, y, weights, _ = cohort
    X = X.drop(index=5)
    weights, y = np.delete(weights, 5), np.delete(y, 5)
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        both = ColumnTransformer([("s", scaler, ["a", "b"])])
        fit_transform_steps(
            make_pipeline(both), X, y, {"sample_weight": weights, "groups": None}
        )
    mean = both.named_transformers_["s"].mean_
    np.testing.assert_allclose(mean, np.average(X, axis=0, weights=weights))


def unread(X):
    """Give NaN for rows that start with a big number, as an unreadable image does."""
    X = np.array(X, dtype=float)
    X[X[:, 0] > 1] = np.nan
    return X


def test_unreadable_rows_are_kept_from_the_steps_behind():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 3))
    witness = Witness()
    steps = make_pipeline(FunctionTransformer(unread), PCA(2), witness)
    rows = np.flatnonzero(X[:, 0] <= 1)
    assert len(rows) < 60
    groups = np.arange(60)
    found = fit_transform_steps(steps, X, groups, {"groups": groups})
    np.testing.assert_array_equal(witness.seen_["groups"], rows)
    expected = PCA(2).fit_transform(X[rows])
    np.testing.assert_allclose(np.abs(found[rows]), np.abs(expected))
    assert np.isnan(np.delete(found, rows, axis=0)).all()
    np.testing.assert_allclose(transform_steps(steps, X), found)
    nothing = transform_steps(steps, np.full((2, 3), 9.0), width=2)
    assert nothing.shape == (2, 2)
    assert np.isnan(nothing).all()
    with pytest.raises(ValueError, match="'pca' could read none of the 3 rows"):
        fit_transform_steps(steps, np.full((3, 3), 9.0), None, {})


def test_blocks_without_a_readable_row_keep_their_width():
    X = pd.DataFrame(np.random.default_rng(1).normal(size=(60, 3)), columns=list("abc"))
    steps = make_pipeline(FunctionTransformer(unread), PCA(2))
    blocks = ModalityBlocks([Modality("m", steps, ("a", "b", "c"))])
    blocks.fit_transform(X)
    found = blocks.transform(X.head(3) * 0 + 9)
    assert found.arrays["m"].shape == (3, 2)
    assert not found.presence.any()


def test_the_cache_of_a_pipeline_is_used(tmp_path):
    X = np.random.default_rng(0).normal(size=(20, 3))
    steps = make_pipeline(StandardScaler(), PCA(2), memory=str(tmp_path))
    first = fit_transform_steps(steps, X, None, {})
    n_files = len(list(tmp_path.rglob("output.pkl")))
    assert n_files == 2
    np.testing.assert_array_equal(fit_transform_steps(steps, X, None, {}), first)
    assert len(list(tmp_path.rglob("output.pkl"))) == n_files
    np.testing.assert_allclose(steps.transform(X), first)


def test_rows_are_taken_from_lists_and_frames():
    rows = np.array([2, 0])
    assert take_rows(["a", "b", "c"], rows) == ["c", "a"]
    assert take_rows(pd.Series(["a", "b", "c"]), rows).tolist() == ["c", "a"]
