"""Columns of vectors: as a matrix, as a modality, and in every kind of table."""

from __future__ import annotations

import io
import pickle
import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    VectorColumns,
)
from skfusion.fusion import TorchEncoder
from skfusion.modality import (
    Modality,
    find_column_roles,
    infer_modality_columns,
    presence_mask,
)

N, D = 60, 6
RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(N, D)).astype(np.float32)
Y = (MATRIX[:, 0] + 0.3 * RNG.normal(size=N) > 0).astype(int)
FRAME = pd.DataFrame({"age": RNG.normal(60, 9, N), "emb": list(MATRIX)})
WIDE = pd.DataFrame(MATRIX, columns=[f"emb_{i}" for i in range(D)])
WIDE.insert(0, "age", FRAME["age"])


def early(transformer, columns):
    return EarlyFusionClassifier(
        [("emb", transformer, columns), ("ehr", StandardScaler(), ["age"])],
        estimator=LogisticRegression(),
    )


def late(transformer, columns):
    return LateFusionClassifier(
        [("emb", transformer, columns), ("ehr", StandardScaler(), ["age"])]
    )


def joint(transformer, columns):
    return JointFusionClassifier(
        [("emb", transformer, columns), ("ehr", StandardScaler(), ["age"])],
        max_epochs=3,
        random_state=0,
    )


STRATEGIES = {"early": early, "late": late, "joint": joint}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "transformer", ["passthrough", StandardScaler(), PCA(2, random_state=0)], ids=str
)
def test_a_column_of_vectors_equals_its_columns(strategy, transformer):
    new = STRATEGIES[strategy]
    names = list(WIDE.columns[1:])
    expected = new(transformer, names).fit(WIDE, Y).predict_proba(WIDE)
    for columns in ("emb", ["emb"]):
        model = new(transformer, columns).fit(FRAME, Y)
        found = model.predict_proba(FRAME)
        # The memory layout of a frame's columns changes the rounding of PCA.
        rounding = 1e-5 if isinstance(transformer, PCA) else 0
        np.testing.assert_allclose(found, expected, rtol=rounding)


def test_networks_and_learners_take_vectors():
    encoder = TorchEncoder(random_state=0)
    names = list(WIDE.columns[1:])
    for given in (encoder, make_pipeline(StandardScaler(), encoder)):
        expected = joint(given, names).fit(WIDE, Y).predict_proba(WIDE)
        found = joint(given, "emb").fit(FRAME, Y).predict_proba(FRAME)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    learner = LogisticRegression()
    expected = late(learner, names).fit(WIDE, Y).predict_proba(WIDE)
    found = late(learner, "emb").fit(FRAME, Y).predict_proba(FRAME)
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # another memory layout


class Stacked(TransformerMixin, BaseEstimator):
    """A transformer of the user that reads the cells."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return np.stack(list(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def test_a_transformer_that_reads_cells_gets_them():
    expected = early("passthrough", "emb").fit(FRAME, Y).predict_proba(FRAME)
    found = early(Stacked(), "emb").fit(FRAME, Y).predict_proba(FRAME)
    np.testing.assert_array_equal(found, expected)


def tables():
    """The same cohort in every kind of table, float32 kept."""
    lists = pa.array([row.tolist() for row in MATRIX], pa.list_(pa.float32()))
    fixed = lists.cast(pa.list_(pa.float32(), D))
    buffer = io.BytesIO()
    FRAME.to_parquet(buffer)
    as_pandas = {
        kind: pd.DataFrame({"age": FRAME["age"]}).assign(
            emb=pd.Series(values, dtype=pd.ArrowDtype(values.type))
        )
        for kind, values in {"arrow lists": lists, "arrow fixed": fixed}.items()
    }
    return {
        **as_pandas,
        "parquet": pd.read_parquet(io.BytesIO(buffer.getvalue())),
        "parquet, arrow": pd.read_parquet(
            io.BytesIO(buffer.getvalue()), dtype_backend="pyarrow"
        ),
        "parquet, polars": pl.read_parquet(io.BytesIO(buffer.getvalue())),
        "polars array": pl.DataFrame(
            {"age": FRAME["age"].to_numpy(), "emb": MATRIX},
            schema_overrides={"emb": pl.Array(pl.Float32, D)},
        ),
        "pyarrow": pa.table({"age": FRAME["age"], "emb": fixed}),
        "tensors": FRAME.assign(emb=[torch.from_numpy(row) for row in MATRIX]),
        "tuples": FRAME.assign(emb=[tuple(map(float, row)) for row in MATRIX]),
        "index": FRAME.set_index(np.arange(N)[::-1]),
    }


@pytest.mark.parametrize("kind", tables())
def test_every_table(kind):
    table = tables()[kind]
    model = early("passthrough", "emb").fit(FRAME, Y)
    expected = model.predict_proba(FRAME)
    np.testing.assert_array_equal(model.predict_proba(table), expected)
    again = early("passthrough", "emb").fit(table, Y)
    if kind != "tuples":  # Python's floats have 64 bits
        np.testing.assert_array_equal(again.predict_proba(FRAME), expected)
    assert model.training_rows(table).all()
    assert again.presence(table)["emb"].all()
    auto = EarlyFusionClassifier(estimator=LogisticRegression()).fit(table, Y)
    assert [name for name, _, _ in auto.modalities_] == ["emb", "ehr"]
    if kind.startswith(("parquet, p", "polars", "pyarrow")):
        return
    assert VectorColumns().fit_transform(table[["emb"]]).shape == (N, D)


@pytest.mark.parametrize("container", [pl.DataFrame, pa.table])
def test_tables_of_other_packages_alone(container):
    table = container({"emb": [[0.5, 1.0], None, [2.0, None]]})
    values = VectorColumns().fit_transform(table)
    np.testing.assert_array_equal(values, [[0.5, 1], [np.nan] * 2, [2, np.nan]])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_embeddings_in_a_file_give_the_same_model(strategy, tmp_path):
    images = [RNG.integers(0, 255, (20, 20), np.uint8) for _ in range(16)]
    images[3] = None
    y = np.tile([0, 1], 8)
    embedder = ImageEmbedder(input_size=32, store=None, trainable="head")
    X = pd.DataFrame({"cxr": images, "age": RNG.normal(size=16)})
    embedded = X[["age"]].assign(cxr=list(embedder.fit_transform(X["cxr"])))
    embedded.to_parquet(tmp_path / "cohort.parquet")
    stored = pd.read_parquet(tmp_path / "cohort.parquet")

    def new(transformer):
        triples = [("cxr", transformer, "cxr"), ("ehr", StandardScaler(), ["age"])]
        if strategy == "early":
            return EarlyFusionClassifier(triples, estimator=LogisticRegression())
        if strategy == "late":
            return LateFusionClassifier(triples, cv=2)
        return JointFusionClassifier(triples, max_epochs=3, random_state=0)

    first = new(embedder).fit(X, y)
    second = new(VectorColumns()).fit(stored, y)
    np.testing.assert_array_equal(second.presence(stored), first.presence(X))
    np.testing.assert_array_equal(second.predict_proba(stored), first.predict_proba(X))
    if strategy != "joint":
        third = new("passthrough").fit(stored, y)
        np.testing.assert_array_equal(
            third.predict_proba(stored), first.predict_proba(X)
        )


def test_searches_and_workers():
    model = early(PCA(random_state=0), "emb")
    grid = {"emb__n_components": [1, 3]}
    search = GridSearchCV(model, grid, cv=3, n_jobs=2).fit(FRAME, Y)
    wide = early(PCA(random_state=0), list(WIDE.columns[1:]))
    expected = GridSearchCV(wide, grid, cv=3).fit(WIDE, Y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )
    copy = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(copy.predict(FRAME), search.predict(FRAME))


# --------------------------------------------------------------- absent and wrong


MISSING = [None, np.nan, [], [None, None], np.full(D, np.nan, np.float32), pd.NA]


@pytest.mark.parametrize("cell", MISSING, ids=repr)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_missing_vectors_are_absent(strategy, cell):
    X = FRAME.copy()
    X["emb"] = pd.Series([cell, *MATRIX[1:]], dtype=object)
    where = presence_mask([Modality("emb", VectorColumns(), ("emb",))], X)[:, 0]
    assert where.tolist() == [False] + [True] * (N - 1)
    model = STRATEGIES[strategy](VectorColumns(), "emb").fit(X, Y)
    np.testing.assert_array_equal(model.presence(X)["emb"], where)
    assert np.isfinite(model.predict_proba(X)).all()
    wide = WIDE.copy()
    wide.iloc[0, 1:] = np.nan
    if strategy == "early":
        expected = early("passthrough", list(WIDE.columns[1:])).fit(wide, Y)
        np.testing.assert_array_equal(
            model.predict_proba(X), expected.predict_proba(wide)
        )


def test_unequal_vectors_are_refused_with_their_place():
    X = FRAME.copy()
    X.at[7, "emb"] = MATRIX[7, :4]
    X.at[9, "emb"] = MATRIX[9, :4]
    X.at[2, "emb"] = None
    said = r"2 of 59 cells of column 'emb' .* than 6: 4 \(2 cells\), .* position 7\."
    for strategy in STRATEGIES.values():
        with pytest.raises(ValueError, match=said):
            strategy("passthrough", "emb").fit(X, Y)
    with pytest.raises(ValueError, match=said):
        EarlyFusionClassifier(estimator=LogisticRegression()).fit(X, Y)
    model = early("passthrough", "emb").fit(FRAME, Y)
    with pytest.raises(ValueError, match=r"In modality 'emb'.* position 7\."):
        model.predict(X)


@pytest.mark.parametrize(
    "cell", ["[0.5, 1.0]", 3.0, {"a": 1}, ["a"] * D, [1j] * D, [[1.0], [1.0, 2.0]]]
)
def test_cells_that_are_no_vectors_are_refused(cell):
    X = FRAME.copy()
    X.at[2, "emb"] = None
    X["emb"] = pd.Series([*X["emb"][:4], cell, *X["emb"][5:]], dtype=object)
    said = r"in 1 of 59 cells of column 'emb', first at row position 4: expected vec"
    with pytest.raises(TypeError, match=said) as caught:
        early("passthrough", "emb").fit(X, Y)
    assert "0.5" not in str(caught.value)
    assert ("CSV" in str(caught.value)) == isinstance(cell, str)


def test_vectors_of_integers_are_passed_through():
    X = pd.DataFrame({"emb": [[1, 2], [3, 4], None], "age": [1.0, 2.0, 3.0]})
    values = VectorColumns().fit_transform(X)
    np.testing.assert_array_equal(values, [[1, 2, 1], [3, 4, 2], [np.nan, np.nan, 3]])


def test_names_never_clash():
    X = pd.DataFrame({"a": [[1.0, 2.0]], "a_1": [3.0]})
    with pytest.raises(ValueError, match="another column has such a name"):
        VectorColumns().fit(X)
    names = VectorColumns().fit(X.rename(columns={"a_1": "b"})).get_feature_names_out()
    assert names.tolist() == ["a_0", "a_1", "b"]


def test_a_column_of_text_is_refused():
    X = pd.DataFrame({"emb": [[0.5], [1.0]], "sex": ["f", "m"]})
    with pytest.raises(ValueError, match="column 'sex' is not numeric"):
        VectorColumns().fit(X)


# --------------------------------------------------------------------------- auto


def test_auto_gives_vectors_a_modality():
    X = FRAME.assign(sex=np.where(Y, "f", "m"), cxr="a.png")
    kinds = infer_modality_columns(X, aside=(), estimator_name="test")
    assert kinds["emb"] == ("vector", ["emb"])
    assert kinds["cxr"] == ("image", ["cxr"])
    assert kinds["ehr"] == ("ehr", ["age", "sex"])
    huge = FRAME.assign(emb=list(2**20 * MATRIX))
    for new in (EarlyFusionClassifier, LateFusionClassifier, JointFusionClassifier):
        more = {"max_epochs": 3} if new is JointFusionClassifier else {}
        model = new(random_state=0, **more).fit(huge, Y)
        assert [name for name, _, _ in model.modalities_] == ["emb", "ehr"]
        plain = new(random_state=0, **more).fit(FRAME, Y)
        np.testing.assert_allclose(
            model.predict_proba(huge), plain.predict_proba(FRAME), rtol=1e-4
        )


@pytest.mark.parametrize(
    ("cells", "role"),
    [
        ([[4019, 2724], [25000, 4019]], "ehr"),
        ([np.array([4019, 2724]), np.array([25000, 4019])], "ehr"),
        ([[4019.0], [4019.0, 2724.0]], "ehr"),
        ([["I10"], ["E11"]], "ehr"),
        ([np.zeros((4, 4)), np.zeros((4, 4))], "images"),
        ([[0.5, 1.0], None], "vectors"),
        ([[0.5, None], [1.0, 2.0]], "vectors"),
        ([np.zeros(8), np.ones(8)], "vectors"),
        ([np.zeros(8, np.float16), np.full(8, np.nan)], "vectors"),
        ([torch.zeros(3), torch.ones(3)], "vectors"),
    ],
)
def test_the_role_of_a_column(cells, role):
    roles = find_column_roles(pd.DataFrame({"x": pd.Series(cells, dtype=object)}))
    assert getattr(roles, role) == ["x"]


def test_wide_vectors_are_fast():
    matrix = RNG.normal(size=(4000, 1024)).astype(np.float32)
    X = pd.DataFrame({"emb": list(matrix), "age": RNG.normal(size=4000)})
    y = np.arange(4000) % 2
    start = time.perf_counter()
    model = early("passthrough", "emb")
    model.set_params(estimator=LogisticRegression(max_iter=1, tol=1e9)).fit(X, y)
    vectors = time.perf_counter() - start
    wide = pd.DataFrame(matrix, columns=[f"e{i}" for i in range(1024)])
    wide["age"] = X["age"]
    start = time.perf_counter()
    model = early("passthrough", list(wide.columns[:-1]))
    model.set_params(estimator=LogisticRegression(max_iter=1, tol=1e9)).fit(wide, y)
    columns = time.perf_counter() - start
    assert vectors < 2 * columns + 1
