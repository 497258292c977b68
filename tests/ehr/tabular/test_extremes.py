"""Numbers near the limits of floats give finite features or an error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skfusion import TabularEncoder
from skfusion.ehr import ObservedScaler

LIMIT = float(np.finfo(np.float64).max)


def table(values, dtype=None):
    return pd.DataFrame(
        {"crp": pd.Series(values * 5, dtype=dtype), "ward": list("xyz") * 5}
    )


@pytest.mark.parametrize(
    ("values", "first"),
    [
        ([1.0, 1.7e308, None], 1),
        ([1.7e308, 1.7e308, None], 0),
        ([1e308, -1e308, 1e308], 0),  # The sum overflows.
        ([2.0, 1e200, 3.0], 1),  # The square overflows.
        ([3, 1, 10**400], 2),
        ([1.0, LIMIT, -LIMIT], 1),
    ],
)
def test_numbers_whose_squares_are_infinite_are_refused(values, first):
    dtype = object if any(isinstance(v, int) for v in values) else None
    with pytest.raises(
        ValueError, match=rf"(infinity|numbers beyond) .*'crp'.*position {first}"
    ):
        TabularEncoder().fit(table(values, dtype))
    encoder = TabularEncoder().fit(table([1.0, 2.0, 4.0]))
    with pytest.raises(ValueError, match=rf"column 'crp'.*position {first}"):
        encoder.transform(table(values, dtype))


@pytest.mark.parametrize(
    "values", [[1e149, -1e149, 1.0], [5e-324, 0.0, 1e-310], [3e38, -3e38, None]]
)
def test_large_and_small_numbers_are_scaled(values):
    assert np.isfinite(TabularEncoder().fit_transform(table(values))).all()


def test_vectors_of_extreme_numbers_are_refused():
    X = pd.DataFrame({"emb": [[1.0, 2.0], [1e200, 0.5], [0.1, 0.2]] * 4})
    with pytest.raises(ValueError, match="beyond .* vectors of column 'emb' in 4"):
        TabularEncoder().fit(X)


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64, object])
def test_complex_numbers_are_refused_with_their_column(dtype):
    X = pd.DataFrame({"phase": pd.Series([1 + 2j, 3 + 0j] * 5, dtype=dtype)})
    with pytest.raises((TypeError, ValueError), match="column 'phase'"):
        TabularEncoder().fit(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_scaler_of_observed_values_refuses_them_too(dtype):
    limit = float(np.finfo(dtype).max)
    X = np.array([[limit, 1.0], [-limit, 2.0], [np.nan, 3.0]], dtype=dtype)
    if dtype == np.float32:
        assert np.isfinite(ObservedScaler().fit_transform(X)).all()
        return
    with pytest.raises(ValueError, match="X contains 2 numbers beyond 1e"):
        ObservedScaler().fit(X)
