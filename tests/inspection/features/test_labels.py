"""Features of events are shown with the names of their codes."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from skfusion import (
    EarlyFusionClassifier,
    EventStore,
    LateFusionClassifier,
    TabularEncoder,
    explain_features,
)
from skfusion.ehr import domain_modalities, prepare_modalities, with_events

pytest.importorskip("shap")

N = 40
X = pd.DataFrame(
    {
        "subject_id": np.arange(N),
        "index_time": pd.Timestamp("2024-01-10 12:00"),
        "age": np.arange(N, dtype=float),
    }
)
y = np.arange(N) % 2
SHOWN = "Anion Gap (LAB//MIMIC//50868) mean 1d"
PLAIN = "LAB//MIMIC//50868__1d__mean"


@pytest.fixture
def store(tmp_path) -> EventStore:
    values = np.random.default_rng(0).normal(size=2 * N)
    frame = pd.DataFrame(
        {
            "subject_id": np.tile(np.arange(N), 2),
            "time": pd.Timestamp("2024-01-10 06:10"),
            "code": np.repeat(["LAB//MIMIC//50868", "LAB//MIMIC//1"], N),
            "numeric_value": values,
        }
    )
    names = {"LAB//MIMIC//50868": "Anion Gap"}
    return EventStore.from_frame(frame, tmp_path / "store", labels=names)


def triples(store, **settings):
    options = {"windows": ("1d",), "aggs": ("mean", "count"), "totals": ()}
    domains = {"labs": ("LAB//*",)}
    return [
        *domain_modalities(store, domains=domains, **(options | settings)),
        ("ehr", TabularEncoder(), ["age"]),
    ]


def fitted(strategy, made):
    learner = LogisticRegression(max_iter=1000)
    return strategy(made, estimator=learner, random_state=0).fit(X, y)


@pytest.mark.parametrize("strategy", [EarlyFusionClassifier, LateFusionClassifier])
def test_names_of_the_store_are_shown(store, strategy):
    model = fitted(strategy, triples(store))
    found = explain_features(model, X)
    assert SHOWN in found["labs"].feature_names
    assert "LAB//MIMIC//1__1d__mean" in found["labs"].feature_names
    assert found["ehr"].feature_names == ["age"]
    plain = explain_features(model, X, labels=None)
    assert PLAIN in plain["labs"].feature_names
    np.testing.assert_array_equal(found["labs"].values, plain["labs"].values)
    np.testing.assert_array_equal(found["labs"].data, plain["labs"].data)
    assert [len(e.feature_names) for e in found.values()] == [
        len(e.feature_names) for e in plain.values()
    ]


@pytest.mark.parametrize("kind", [dict, pd.Series])
def test_given_names_are_shown_instead(store, kind):
    model = fitted(EarlyFusionClassifier, triples(store))
    own = kind({"LAB//MIMIC//1": "One", "age": "Age in years"})
    found = explain_features(model, X, labels=own)
    assert "One (LAB//MIMIC//1) mean 1d" in found["labs"].feature_names
    assert PLAIN in found["labs"].feature_names
    assert found["ehr"].feature_names == ["Age in years (age)"]


def test_names_of_prepared_features_of_a_path_and_of_other_events(store, tmp_path):
    prepared = prepare_modalities(triples(store), X)
    model = fitted(EarlyFusionClassifier, prepared)
    assert SHOWN in explain_features(model, X)["labs"].feature_names
    path = triples(store)
    path[0][1].set_params(events=str(store.path))
    model = fitted(EarlyFusionClassifier, path)
    assert SHOWN in explain_features(model, X)["labs"].feature_names
    other = EventStore.from_frame(
        store.to_frame(), labels={"LAB//MIMIC//50868": "Elsewhere"}
    )
    found = explain_features(with_events(model, other), X)["labs"]
    assert "Elsewhere (LAB//MIMIC//50868) mean 1d" in found.feature_names


def test_columns_of_a_table_take_given_names(store):
    table = pd.DataFrame({PLAIN: np.arange(N, dtype=float), "age": X["age"]})
    model = LogisticRegression(max_iter=1000).fit(table, y)
    columns = {"labs": [PLAIN], "ehr": ["age"]}
    assert explain_features(model, table, modalities=columns)["labs"].feature_names == [
        PLAIN
    ]
    found = explain_features(model, table, modalities=columns, labels=store.labels)
    assert found["labs"].feature_names == [SHOWN]


@pytest.mark.parametrize("labels", ["yes", ["Anion Gap"], 3])
def test_what_cannot_be_names(store, labels):
    model = fitted(EarlyFusionClassifier, triples(store))
    with pytest.raises(TypeError, match="explain_features: labels must be a mapping"):
        explain_features(model, X, labels=labels)


def test_shap_draws_the_names(store):
    plt = pytest.importorskip("matplotlib.pyplot")
    shap = pytest.importorskip("shap")
    model = fitted(EarlyFusionClassifier, triples(store))
    shap.plots.bar(explain_features(model, X)["labs"], show=False)
    texts = {text.get_text() for text in plt.gca().get_yticklabels()}
    plt.close("all")
    assert any("Anion Gap" in text for text in texts)


def test_names_of_events_that_are_gone(store, tmp_path):
    from skfusion.ehr.naming import find_labels

    made = triples(store)
    assert find_labels("auto", made[0][1], "x") == {"LAB//MIMIC//50868": "Anion Gap"}
    shutil.rmtree(store.path)
    assert find_labels("auto", made[0][1], "x") == {}
