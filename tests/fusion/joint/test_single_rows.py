"""A row is predicted alike alone and among others, at the cost of one row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skfusion import ImageEmbedder, JointFusionClassifier, TabularEncoder

#: Largest difference of a probability. The trained layers round each batch in their own
#: way.
BOUND = 1e-6


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(11, 3)), columns=["crp", "age", "bmi"])
    films = [rng.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(11)]
    X["film"] = pd.Series(films, dtype=object)
    X.loc[[2, 7], "film"] = None
    X.loc[9, ["crp", "age", "bmi"]] = np.nan
    return X


@pytest.fixture(scope="module")
def model(cohort):
    embedder = ImageEmbedder(
        "efficientnet_lite0",
        weights=None,
        input_size=32,
        trainable="last_block",
        store=None,
    )
    model = JointFusionClassifier(
        [
            ("film", embedder, "film"),
            ("ehr", TabularEncoder(), ["crp", "age", "bmi"]),
        ],
        max_epochs=2,
        random_state=0,
    )
    with pytest.warns(UserWarning, match="random"):
        return model.fit(cohort, np.arange(11) % 2)


@pytest.mark.filterwarnings("ignore:.*random:UserWarning")
def test_the_other_rows_do_not_change_a_prediction(model, cohort):
    together = model.predict_proba(cohort)
    part = model._inputs[0]
    features = part.encode(cohort)[0]
    groups = [[i] for i in range(11)] + [[3, 0], [10, 4, 8], [6, 5, 1, 3, 0]]
    for rows in groups:
        some = cohort.iloc[rows]
        difference = np.abs(model.predict_proba(some) - together[rows])
        assert difference.max() <= BOUND
        # The frozen layers give an image the same bits.
        assert np.array_equal(part.encode(some)[0], features[rows])


@pytest.mark.filterwarnings("ignore:.*random:UserWarning")
def test_no_encoder_runs_for_rows_that_lack_its_modality(model, cohort):
    together = model.predict_proba(cohort)
    runs = []
    encoders = model.network_.encoders
    hooks = [
        encoder.register_forward_hook(lambda *_, name=name: runs.append(name))
        for name, encoder in encoders.items()
    ]
    try:
        for rows, expected in [
            ([2, 7], ["x_ehr"]),
            ([9], ["x_film"]),
            ([9, 2], ["x_film", "x_ehr"]),
        ]:
            runs.clear()
            found = model.predict_proba(cohort.iloc[rows])
            assert runs == expected
            assert np.abs(found - together[rows]).max() <= BOUND
    finally:
        for hook in hooks:
            hook.remove()
