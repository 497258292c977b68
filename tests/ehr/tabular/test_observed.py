"""ObservedScaler, against scikit-learn on dense data and against the question asked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from scipy import stats
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion.ehr import ObservedScaler
from skfusion.ehr.tabular.missing_indicators import (
    association,
    select_informative_indicators,
)


@pytest.fixture
def measured():
    """200 rows of 6 columns with a third of gaps, and the same as a sparse matrix."""
    rng = np.random.default_rng(0)
    X = rng.normal(5, 2, (200, 6)).round()
    X[rng.random(X.shape) < 0.3] = np.nan
    X[:, 5] = rng.normal(size=200)  # no gap
    rows, columns = np.nonzero(~np.isnan(X))
    cells = (X[rows, columns], (rows, columns))
    return X, scipy.sparse.csr_array(cells, shape=X.shape)


def test_it_is_mean_imputation_with_indicators_in_other_words(measured):
    X, _ = measured
    values = StandardScaler().fit_transform(X)  # scikit-learn's ignores NaN, too
    expected = SimpleImputer(strategy="constant", fill_value=0).fit_transform(values)
    seen = ~MissingIndicator().fit_transform(X)
    result = ObservedScaler().fit_transform(X)
    np.testing.assert_allclose(result, np.hstack([expected, seen]), atol=1e-12)


def test_sparse_and_dense_agree_and_measured_zeros_are_no_gaps(measured):
    X, sparse = measured
    assert (X == 0).any()
    scaler = ObservedScaler().fit(sparse)
    result = scaler.transform(sparse)
    assert result.format == "csr"
    np.testing.assert_array_equal(result.toarray(), ObservedScaler().fit_transform(X))
    # an unstored cell is absent; a stored zero is a value far below the mean
    zero = scipy.sparse.csr_array(([0.0], ([0], [0])), shape=(1, 6))
    assert scaler.transform(zero)[0, 0] == pytest.approx(
        -scaler.mean_[0] / scaler.scale_[0]
    )
    assert scaler.transform(zero)[0, 6] == 1


def test_every_kind_of_sparse_matrix(measured):
    X, sparse = measured
    scaler = ObservedScaler().fit(X)
    expected = scaler.transform(X)
    rows, columns = np.nonzero(np.ones_like(X))
    with_nan = scipy.sparse.coo_matrix((X.ravel(), (rows, columns)))
    for kind in (sparse, sparse.tocsc(), sparse.tocoo(), with_nan):
        before = kind.copy()
        np.testing.assert_array_equal(scaler.transform(kind).toarray(), expected)
        np.testing.assert_array_equal(before.data, kind.data)  # nothing was written


def test_nothing_is_learned_from_new_rows(measured):
    X, _ = measured
    scaler = ObservedScaler().fit(X[:150])
    before = scaler.transform(X[150:])
    changed = scaler.transform(np.vstack([X[150:], X[:1] + 1e6]))
    np.testing.assert_array_equal(changed[:-1], before)


def test_columns_with_the_same_gaps_share_an_indicator():
    gap = np.nan
    X = pd.DataFrame(
        {
            "crp__mean": [1.0, gap, 2.0],
            "crp__max": [3.0, gap, 5.0],
            "age": [1.0, 2.0, 3.0],
            "bnp__mean": [gap, 1.0, 2.0],
            "never": [gap, gap, gap],
        }
    )
    scaler = ObservedScaler().fit(X)
    assert list(scaler.get_feature_names_out()[5:]) == [
        "crp__mean_observed",
        "bnp__mean_observed",
    ]
    result = scaler.transform(X)
    assert result[:, 5:].tolist() == [[1, 0], [0, 1], [1, 1]]
    assert not result[:, 4].any()


def test_selective_indicators_are_those_that_go_with_the_target():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 500)
    X = rng.normal(size=(500, 30))
    X[rng.random(X.shape) < 0.5] = np.nan
    X[(y == 1) & (rng.random(500) < 0.6), 3] = np.nan
    scaler = ObservedScaler(indicators="selective").fit(X, y)
    assert 3 in scaler.indicated_
    assert len(scaler.indicated_) <= 3
    sparse = scipy.sparse.csr_array(np.nan_to_num(X))
    chosen = ObservedScaler(indicators="selective").fit(sparse, y).indicated_
    assert chosen.tolist() == scaler.indicated_.tolist()
    assert len(ObservedScaler(indicators=None).fit(X).indicated_) == 0
    with pytest.raises(ValueError, match="selective .* got y=None. Pass y"):
        ObservedScaler(indicators="selective").fit(X)
    with pytest.raises(ValueError, match="indicators must be"):
        ObservedScaler(indicators="few").fit(X)


def test_the_tests_of_association_are_scipys():
    rng = np.random.default_rng(0)
    flags = (rng.random((80, 4)) < 0.4).astype(float)
    classes = rng.choice(["a", "b", "c"], 80)
    expected = [
        stats.chi2_contingency(pd.crosstab(flag, classes), correction=False).pvalue
        for flag in flags.T
    ]
    np.testing.assert_allclose(association(flags, classes), expected)
    numbers = rng.normal(size=80) + flags[:, 0]
    expected = [stats.pearsonr(flag, numbers).pvalue for flag in flags.T]
    np.testing.assert_allclose(association(flags, numbers), expected)
    assert association(flags, np.zeros(80)).tolist() == [1, 1, 1, 1]


def test_targets_of_several_columns_or_fields():
    rng = np.random.default_rng(0)
    flags = rng.random((300, 5)) < 0.5
    times = np.zeros(300, dtype=[("event", bool), ("time", float)])
    times["event"] = rng.random(300) < 0.5
    times["time"] = rng.exponential(size=300) + 2 * flags[:, 2]
    assert select_informative_indicators(flags, times, "x").tolist() == [0, 0, 1, 0, 0]
    labels = np.column_stack([times["event"], flags[:, 4]]).astype(int)
    assert select_informative_indicators(flags, labels, "x").tolist() == [0, 0, 0, 0, 1]


def test_float32_stays_float32(measured):
    X, sparse = measured
    assert ObservedScaler().fit_transform(X.astype(np.float32)).dtype == np.float32
    assert ObservedScaler().fit_transform(sparse.astype(np.float32)).dtype == np.float32


def test_linear_models_gain_where_absence_is_informative():
    """Two thirds of the labs are missing, the sicker the rarer."""
    rng = np.random.default_rng(0)
    severity = rng.normal(size=2000)
    y = severity + rng.normal(size=2000) > 1
    X = severity[:, None] * 0.4 + rng.normal(size=(2000, 10)) + 5
    X[rng.random(X.shape) > 1 / (1 + np.exp(0.9 - 1.2 * severity[:, None]))] = np.nan
    scores = {
        name: cross_val_score(
            make_pipeline(step, StandardScaler(), LogisticRegression()),
            X,
            y,
            scoring="roc_auc",
        ).mean()
        for name, step in (
            ("median", SimpleImputer(strategy="median")),
            ("observed", ObservedScaler()),
            ("selective", ObservedScaler(indicators="selective")),
        )
    }
    assert scores["observed"] > scores["median"] + 0.05
    assert scores["selective"] > scores["median"] + 0.05


def test_a_column_that_was_never_observed_says_nothing():
    train = np.array([[np.nan, 1.0], [np.nan, 3.0]])
    new = np.array([[7.0, 3.0], [np.nan, 1.0]])
    scaler = ObservedScaler().fit(train)
    assert scaler.transform(new)[:, 0].tolist() == [0.0, 0.0]
    sparse = ObservedScaler().fit(scipy.sparse.csr_array([[0, 1.0], [0, 3.0]]))
    found = sparse.transform(scipy.sparse.csr_array(new[:1])).toarray()
    assert found[0, 0] == 0
