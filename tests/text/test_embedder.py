"""`TextEmbedder`: cells, bags, keys of the store, callables and parameters."""

from __future__ import annotations

import contextlib
import pickle
import sqlite3

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from skfusion import (
    EarlyFusionClassifier,
    EmbeddingStore,
    JointFusionClassifier,
    LateFusionClassifier,
    TextEmbedder,
)
from skfusion.ehr import EventNotes
from skfusion.exceptions import FallbackWarning

SECRET = "Patient Jane Roe has fever"
PROBES = 2  # example texts of `fit`


def counts_of(texts):
    return np.array([[len(text), text.count("fever")] for text in texts], dtype=float)


def hashed(texts):
    return HashingVectorizer(n_features=8).transform(texts)


def notes_and_outcome(n=40):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    words = np.array(["normal", "fever", "cough", "effusion"])
    texts = [
        " ".join([f"note {i}", *rng.choice(words[2 * k :], 4)]) for i, k in enumerate(y)
    ]
    X = pd.DataFrame({"note": texts, "age": rng.normal(size=n), "patient": range(n)})
    return X, y


# -- cells -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "missing", [None, np.nan, pd.NA, "", "  \n", [], [None], ["", " "]], ids=repr
)
def test_missing_notes_are_nan(encoder, missing):
    embedder = TextEmbedder(encoder, store=None, bag_count=True)
    found = embedder.fit_transform(pd.Series(["fever", missing], dtype=object))
    np.testing.assert_array_equal(found, [[1, 0, 0, 0, 1], [np.nan] * 5])
    assert found.dtype == np.float32


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_an_array_of_text_has_nulls(encoder, shape):
    notes = np.array(["fever", np.nan]).reshape(shape)  # with the text "nan"
    found = TextEmbedder(encoder, store=None).fit_transform(notes)
    np.testing.assert_array_equal(np.isnan(found[:, 0]), [False, True])


COLUMN = ["fever", "cough fever", "normal"]


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        np.array,
        lambda c: np.array(c, dtype=object)[:, None],
        pd.Series,
        lambda c: pd.Series(c, dtype="string"),
        lambda c: pd.Series(c, dtype="category"),
        lambda c: pd.DataFrame({"note": c}),
        lambda c: pl.Series("note", c),
        lambda c: pl.DataFrame({"note": c}),
        pa.array,
        lambda c: pa.table({"note": c}),
        lambda c: pd.Series([[part] for part in c]),
        lambda c: pl.Series("note", [[part] for part in c]),
        lambda c: pd.Series(list(np.array(c)[:, None])),
        lambda c: pa.table({"note": [[part] for part in c]}),
    ],
)
def test_columns_of_every_library_are_read(encoder, make):
    found = TextEmbedder(encoder, store=None).fit_transform(make(COLUMN))
    np.testing.assert_array_equal(found, [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("cell", [3, 2.5, b"fever", {"a": 1}, True, ["fever", 4]])
def test_cells_of_another_kind_are_refused(encoder, cell):
    column = pd.Series([SECRET, cell], name="note", dtype=object)
    with pytest.raises(TypeError, match=r"'note', row position 1 \(1 of 2") as error:
        TextEmbedder(encoder, store=None).fit(column)
    assert "Jane" not in str(error.value)
    assert encoder.given == []


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "got 2 columns"),
        (np.array([["x", "y"]]), "shape \\(1, 2\\)"),
        ([None, " "], "all 2 cells of X are missing"),
    ],
)
def test_what_is_no_column_of_notes_is_refused(encoder, X, message):
    with pytest.raises(ValueError, match=message):
        TextEmbedder(encoder, store=None).fit(X)


def test_a_single_text_is_refused(encoder):
    with pytest.raises(TypeError, match="in a list") as error:
        TextEmbedder(encoder, store=None).fit(SECRET)
    assert "Jane" not in str(error.value)


# -- several notes a cell --------------------------------------------------------------


@pytest.mark.parametrize(
    ("pooling", "expected"), [("mean", [0.5, 1.0]), ("max", [1.0, 2.0])]
)
def test_several_notes_are_pooled(encoder, pooling, expected):
    embedder = TextEmbedder(encoder, store=None, bag_pooling=pooling, bag_count=True)
    found = embedder.fit_transform([["fever", None, "cough cough"], "cough"])
    np.testing.assert_allclose(found[0, :2], expected)
    np.testing.assert_array_equal(found[:, -1], [2, 1])
    names = embedder.get_feature_names_out()
    assert list(names) == ["emb0", "emb1", "emb2", "emb3", "n_notes"]


def test_recent_notes_weigh_more(encoder):
    times = pd.to_datetime(["2024-01-01", "2024-01-11"])
    cell = list(zip(["fever", "cough"], times, strict=True))
    embedder = TextEmbedder(
        encoder, store=None, bag_pooling="recent", bag_half_life="10D"
    )
    found = embedder.fit_transform([cell, "fever"])
    np.testing.assert_allclose(found[0, :2], [1 / 3, 2 / 3], rtol=1e-6)
    with pytest.raises(ValueError, match=r"TextEmbedder: .* every note, got 2 notes"):
        embedder.transform([["fever", "cough"]])
    # The same instants in other time zones, and some without any.
    zones = [times[0].tz_localize("UTC"), times[1].tz_localize("UTC")]
    zones[0] = zones[0].tz_convert("Asia/Tokyo")
    cell = list(zip(["fever", "cough"], zones, strict=True))
    np.testing.assert_array_equal(embedder.transform([cell, "fever"]), found)
    cell[0] = ("fever", times[0])
    with pytest.raises(ValueError, match="TextEmbedder: got a time zone in 1 of 2"):
        embedder.transform([cell])


# -- the store -------------------------------------------------------------------------


def test_each_note_is_embedded_once_in_a_search(encoder, tmp_path):
    X, y = notes_and_outcome()
    X["note"] = [[text, "common note"] for text in X["note"]]
    note = ("note", TextEmbedder(encoder, store=tmp_path), "note")
    model = EarlyFusionClassifier(
        [note, ("age", StandardScaler(), ["age"])], estimator=LogisticRegression()
    )
    search = GridSearchCV(model, {"estimator__C": [0.1, 1, 10]}, cv=4).fit(X, y)
    search.predict(X)
    pickle.loads(pickle.dumps(search)).predict(X)
    texts = [text for text in encoder.given if text.startswith(("note", "common"))]
    assert sorted(texts) == sorted({"common note", *(c[0] for c in X["note"])})


def test_another_process_does_not_embed_again(tmp_path):
    X, _ = notes_and_outcome()
    first = TextEmbedder(counts_of, store=tmp_path).fit(X["note"])
    expected = first.transform(X["note"])
    store = EmbeddingStore(tmp_path)
    assert store.info()["computed"] == len(X)
    with joblib.parallel_config("loky"):
        found = joblib.Parallel(2)(
            joblib.delayed(clone(first).fit_transform)(X["note"]) for _ in range(2)
        )
    assert store.info()["computed"] == len(X)
    for values in found:
        np.testing.assert_array_equal(values, expected)


def test_the_store_contains_no_text(encoder, tmp_path):
    TextEmbedder(encoder, store=tmp_path).fit_transform([SECRET])
    EmbeddingStore(tmp_path).close()
    content = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert len(content) > 1000
    assert b"Jane" not in content
    (file,) = tmp_path.glob("*.sqlite*") or [None]
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_other_encoders_and_texts_have_other_keys(tmp_path):
    def shifted(texts):
        return counts_of(texts) + 1

    store = EmbeddingStore(tmp_path)
    plain = TextEmbedder(counts_of, store=store).fit_transform(["fever", "fever "])
    other = TextEmbedder(shifted, store=store).fit_transform(["fever", "fever "])
    np.testing.assert_array_equal(plain[:, 0], [5, 6])
    np.testing.assert_array_equal(other, plain + 1)
    assert store.info()["entries"] == 4


def test_texts_that_are_no_unicode_are_embedded(encoder, tmp_path):
    broken = b"fever \xff".decode("utf-8", "surrogateescape")
    found = TextEmbedder(encoder, store=tmp_path).fit_transform([broken])
    assert found[0, 0] == 1


# -- callables -------------------------------------------------------------------------


def test_fit_embeds_no_note(encoder):
    TextEmbedder(encoder, store=None).fit([SECRET])
    assert SECRET not in encoder.given


def test_a_changed_function_is_noticed(tmp_path):
    gain = {"value": 1.0}

    def encode(texts):
        return counts_of(texts) * gain["value"]

    embedder = TextEmbedder(encode, store=tmp_path).fit(["fever"])
    before = embedder.transform(["fever"])
    gain["value"] = 3.0
    with pytest.raises(ValueError, match="have changed since fit"):
        embedder.transform(["fever"])
    np.testing.assert_array_equal(embedder.fit_transform(["fever"]), 3 * before)


def test_fitted_vectorisers_are_encoders(tmp_path):
    texts = ["fever and cough", "no cough"]
    for make in (CountVectorizer(), HashingVectorizer(n_features=8)):
        vectoriser = make.fit(texts)
        embedder = TextEmbedder(vectoriser.transform, store=tmp_path)
        found = embedder.fit_transform(texts)
        np.testing.assert_allclose(found, vectoriser.transform(texts).toarray())
    assert EmbeddingStore(tmp_path).info()["entries"] == 4


def learned_anew(texts):
    counts = CountVectorizer(vocabulary=["fever", "findings"]).transform(texts)
    return counts.toarray() - counts.toarray().mean(axis=0)


class Changing:
    n_calls = 0

    def __call__(self, texts):
        self.n_calls += 1
        return counts_of(texts)


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (learned_anew, "another vector beside other texts"),
        (Changing(), "changes when it is called"),
    ],
)
def test_what_cannot_be_stored_is_said_and_computed(encoder, reason, tmp_path):
    embedder = TextEmbedder(encoder, store=tmp_path)
    with pytest.warns(FallbackWarning, match=f"not stored.*{reason}"):
        embedder.fit(["fever", "cough"])
    found = embedder.transform(["fever", "cough"])
    np.testing.assert_allclose(found, encoder(["fever", "cough"]))
    assert EmbeddingStore(tmp_path).info()["entries"] == 0


@pytest.mark.parametrize(
    ("encode", "error", "message"),
    [
        (lambda texts: np.zeros(len(texts)), ValueError, r"shape \(2,\) for 2 texts"),
        (lambda texts: np.zeros((1, 3)), ValueError, r"shape \(1, 3\) for 2 texts"),
        (lambda texts: texts, TypeError, "returns list"),
        (lambda texts: np.full((len(texts), 2), np.nan), ValueError, "NaN or infinity"),
        (lambda t: CountVectorizer().fit_transform(t), ValueError, "must be fitted"),
    ],
)
def test_results_of_another_kind_are_refused(encode, error, message):
    with pytest.raises(error, match=message):
        TextEmbedder(encode, store=None).fit(["fever"])


def test_a_vector_that_is_not_finite_is_refused(tmp_path):
    def encode(texts):
        return np.array([[1.0, np.inf if "Jane" in text else 0] for text in texts])

    embedder = TextEmbedder(encode, store=tmp_path).fit([SECRET])
    with pytest.raises(ValueError, match="for 1 of 2 texts of X") as error:
        embedder.transform([SECRET, "fever"])
    assert "Jane" not in str(error.value)


# -- parameters ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"encoder": "wordlama"}, ValueError, "Did you mean 'wordllama'"),
        ({"encoder": 3}, TypeError, "got int"),
        ({"encoder": CountVectorizer}, TypeError, "got type"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"window_size": 2.5}, (TypeError, ValueError), "window_size"),
        ({"window_size": 64, "stride": 64}, ValueError, "must be less than"),
        ({"bag_pooling": "sum"}, ValueError, "bag_pooling"),
        ({"bag_pooling": "recent", "bag_half_life": "0D"}, ValueError, "half_life"),
        ({"encoder_params": {"revision": "x"}}, ValueError, "1 entries"),
        ({"encoder_params": ["x"]}, TypeError, "got list"),
        ({"store": 3}, TypeError, "store"),
    ],
)
def test_parameters_are_checked_in_fit(parameters, error, message):
    embedder = TextEmbedder(**{"encoder": counts_of, **parameters})
    with pytest.raises(error, match=message):
        embedder.fit(["fever"])


def test_it_is_a_scikit_learn_transformer(tmp_path):
    frame = pd.DataFrame({"note": ["fever", None]}, index=["a", "b"])
    embedder = TextEmbedder(counts_of, store=tmp_path).set_output(transform="pandas")
    found = embedder.fit_transform(frame)
    assert list(found.columns) == ["emb0", "emb1"]
    assert list(found.index) == ["a", "b"]
    assert embedder.n_features_in_ == 1
    assert list(embedder.feature_names_in_) == ["note"]
    assert not hasattr(embedder.fit(["fever"]), "feature_names_in_")
    copy = pickle.loads(pickle.dumps(embedder))
    pd.testing.assert_frame_equal(copy.transform(frame), found)
    assert clone(embedder).get_params() == embedder.get_params()


CHECKS = (
    *("check_estimator_cloneable", "check_estimator_repr"),
    *("check_get_params_invariance", "check_set_params"),
    *("check_no_attributes_set_in_init", "check_parameters_default_constructible"),
    "check_valid_tag_types",
)


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("kind", [TextEmbedder, EventNotes])
def test_checks_of_scikit_learn_that_need_no_table(kind, name):
    check = getattr(estimator_checks, name)
    check(kind.__name__, kind())


# -- fusion ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda m: EarlyFusionClassifier(m, estimator=LogisticRegression()),
        lambda m: LateFusionClassifier(m, estimator=LogisticRegression()),
        lambda m: JointFusionClassifier(m, max_epochs=80, lr=0.02, random_state=0),
    ],
    ids=["early", "late", "joint"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_notes_are_a_modality(encoder, make, tmp_path):
    X, y = notes_and_outcome(60)
    X.loc[::10, "note"] = None
    note = make_pipeline(TextEmbedder(encoder, store=tmp_path), StandardScaler())
    model = make([("note", note, "note"), ("age", StandardScaler(), ["age"])])
    scores = cross_val_predict(model, X, y, cv=3)
    assert np.mean(scores == y) > 0.85
    fitted = clone(model).fit(X, y)
    assert fitted.predict_proba(X.assign(note=None).head(2)).shape == (2, 2)
    given = [text for text in encoder.given if text.startswith("note")]
    assert len(given) == len(set(given)) == 54
