"""Blocks of unlike width: scaled or replicated until they weigh alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, EarlyFusionRegressor
from skfusion.blocks import Blocks
from skfusion.fusion.early.block_scaling import Balance


@pytest.fixture
def blocks():
    rng = np.random.default_rng(0)
    wide = rng.normal(scale=[1, 2, 3, 4, 5, 6, 7], size=(100, 7)).astype(np.float32)
    narrow = rng.normal(scale=[0.1, 0.2], size=(100, 2))
    wide[::9, 0] = np.nan
    narrow[::4] = np.nan
    here = np.column_stack([np.ones(100, dtype=bool), np.arange(100) % 4 > 0])
    return Blocks(
        {"wide": wide, "narrow": narrow, "none": np.ones((100, 1))},
        np.column_stack([here, np.ones(100, dtype=bool)]),
    )


NAMES = {"wide": [f"w{i}" for i in range(7)], "narrow": ["age", "bmi"], "none": ["k"]}


def test_scaling_gives_every_block_the_largest_total_variance(blocks):
    balanced = Balance("scale").fit(blocks, NAMES).apply(blocks)
    totals = [np.nanvar(block, axis=0).sum() for block in balanced.arrays.values()]
    expected = np.nanvar(blocks.arrays["wide"], axis=0).sum()
    np.testing.assert_allclose(totals, [expected, expected, 0], rtol=1e-5)
    np.testing.assert_array_equal(balanced.arrays["wide"], blocks.arrays["wide"])
    assert balanced.arrays["wide"].dtype == np.float32
    for name, block in blocks.arrays.items():
        np.testing.assert_array_equal(np.isnan(balanced.arrays[name]), np.isnan(block))


def test_variances_are_weighted(blocks):
    weight = np.arange(100) % 3.0
    times = np.repeat(np.arange(100), weight.astype(int))
    repeated = Blocks(
        {n: b[times] for n, b in blocks.arrays.items()}, blocks.presence[times]
    )
    factors = Balance("scale").fit(blocks, NAMES, weight).factors_
    assert factors == pytest.approx(Balance("scale").fit(repeated, NAMES).factors_)


def test_replication_copies_narrow_blocks_whole(blocks):
    balance = Balance("replicate").fit(blocks, NAMES)
    balanced = balance.apply(blocks)
    narrow, alone = blocks.arrays["narrow"], balanced.arrays["narrow"]
    assert balance.copies_ == {"wide": 1, "narrow": 4, "none": 7}
    np.testing.assert_array_equal(alone, np.hstack([narrow] * 4))
    names = balance.feature_names_
    assert names["narrow"].tolist()[:4] == ["age", "bmi", "age__copy2", "bmi__copy2"]
    assert [len(set(names[n])) for n in names] == [7, 8, 7]


def test_a_ridge_model_cannot_tell_copies_from_a_factor():
    """Standardised blocks of 8 and 2: four copies are a factor of two."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 10)))
    y = X.to_numpy() @ rng.normal(size=10)
    modalities = [
        ("image", StandardScaler(), list(range(8))),
        ("ehr", StandardScaler(), [8, 9]),
    ]
    found = {
        balance: EarlyFusionRegressor(
            modalities, estimator=Ridge(alpha=50), balance=balance
        )
        .fit(X, y)
        .predict(X)
        for balance in ("scale", "replicate", None)
    }
    np.testing.assert_allclose(found["scale"], found["replicate"])
    assert not np.allclose(found["scale"], found[None], atol=0.1)


@pytest.mark.parametrize("balance", ["scale", "replicate"])
def test_absences_flags_and_names_survive(balance):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 5)), columns=list("abcde"))
    y = rng.integers(0, 2, 60)
    X.loc[:9, ["d", "e"]] = np.nan
    model = EarlyFusionClassifier(
        [("wide", StandardScaler(), list("abc")), ("narrow", StandardScaler(), ["d"])],
        balance=balance,
        random_state=0,
    ).fit(X, y)
    joined = model.transform(X)
    names = list(model.get_feature_names_out())
    assert len(set(names)) == len(names) == joined.shape[1]
    columns = [i for i, name in enumerate(names) if name.startswith("narrow__d")]
    assert len(columns) == (3 if balance == "replicate" else 1)
    assert np.isnan(joined[:10][:, columns]).all()
    np.testing.assert_array_equal(
        joined[:, names.index("narrow__present")], np.arange(60) >= 10
    )
    # what `encode_modalities` gives comes before the balance
    encoded = model.encode_modalities(X)
    assert encoded["narrow"].shape == (60, 1)
    np.testing.assert_array_equal(
        model.predict_encoded(encoded), model.predict_proba(X)
    )


def test_an_unknown_balance_is_refused():
    model = EarlyFusionClassifier(balance="replicated")
    with pytest.raises(ValueError, match="balance must be one of"):
        model.fit([[1.0], [2.0]], [0, 1])
