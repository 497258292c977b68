"""Embedding and transforming by parts: in this process, and on workers of Dask."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EmbeddingStore,
    EventStore,
    EventWindows,
    ImageEmbedder,
    LateFusionClassifier,
    TextEmbedder,
    compare_fusion,
)
from skfusion.distributed import embed, embed_part, transform
from skfusion.exceptions import DataWarning
from skfusion.image import ImageReadError


@pytest.fixture
def paths(tmp_path) -> list[str]:
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    found = []
    for i in range(20):
        found.append(str(folder / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, (24, 24), dtype=np.uint8)).save(found[-1])
    return found


@pytest.fixture
def store(tmp_path):
    with_arrays = EmbeddingStore(tmp_path / "store")
    yield with_arrays
    with_arrays.close()


def embedder(store, **params) -> ImageEmbedder:
    return ImageEmbedder(input_size=32, store=store, **params)


def test_all_is_in_the_store(paths, store):
    cells = [*paths, None, paths[0], [paths[1], paths[2]]]
    run = embed(embedder(store), cells, chunk_size=7)
    assert (run.n_cells, run.n_absent, run.n_unreadable) == (23, 1, 0)
    assert store.info()["computed"] == 20
    values = embedder(store).fit_transform(cells)
    assert store.info()["computed"] == 20
    alone = embedder(None).fit_transform(cells)
    np.testing.assert_allclose(values, alone, rtol=0, atol=1e-5)


def test_parts_without_any_image(paths, store):
    run = embed(embedder(store), [None] * 5 + paths[:2], chunk_size=2)
    assert (run.n_absent, store.info()["computed"]) == (5, 2)


def test_unreadable_images_are_counted(paths, store):
    Path(paths[3]).write_bytes(b"no image")
    Path(paths[9]).unlink()
    with pytest.warns(DataWarning, match="no image of 2 of the 20 cells") as caught:
        run = embed(embedder(store, on_error="missing"), [*paths, None], chunk_size=4)
    assert len(caught) == 1
    assert (run.n_unreadable, run.n_absent) == (2, 1)


def test_an_unreadable_image_names_its_part(paths, store):
    Path(paths[9]).write_bytes(b"no image")
    with pytest.raises(ImageReadError) as caught:
        embed(embedder(store), paths, chunk_size=4)
    assert "starts at 8" in caught.value.__notes__[0]
    assert store.info()["computed"] >= 8


@pytest.mark.parametrize("bad", [0, -1, 2.5, "4"])
def test_a_wrong_chunk_size(paths, store, bad):
    with pytest.raises((ValueError, TypeError), match="chunk_size"):
        embed(embedder(store), paths, chunk_size=bad)


def test_an_embedder_without_a_store(paths):
    with pytest.raises(ValueError, match=r"no store.*EmbeddingStore\(folder\)"):
        embed(embedder(None), paths)


def test_parts_can_be_pickled(paths, store):
    fitted = embedder(store).fit(paths)
    function, part = pickle.loads(pickle.dumps((embed_part, fitted)))
    assert function(part, paths[:3]).n_absent == 0


# ---------------------------------------------------------------- rows of a table


@pytest.mark.parametrize("n_parts", [1, 2, 5, 50])
@pytest.mark.parametrize("grouped", [False, True])
def test_rows_keep_their_order(n_parts, grouped):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=31), "b": list("xyz") * 10 + ["x"]})
    groups = rng.integers(0, 6, 31) if grouped else None
    scaler = StandardScaler().fit(X[["a"]])
    found = transform(scaler, X[["a"]], groups=groups, n_parts=n_parts)
    np.testing.assert_array_equal(found, scaler.transform(X[["a"]]))
    encoder = OneHotEncoder().fit(X[["b"]])
    matrix = transform(encoder, X[["b"]], groups=groups, n_parts=n_parts)
    assert sparse.issparse(matrix)
    assert (matrix != encoder.transform(X[["b"]])).nnz == 0
    frame = StandardScaler().set_output(transform="pandas").fit(X[["a"]])
    part = X[["a"]].iloc[::-1]
    pd.testing.assert_frame_equal(
        transform(frame, part, groups=groups, n_parts=n_parts), frame.transform(part)
    )


def test_groups_are_not_split():
    seen = []

    class Spy(StandardScaler):
        def transform(self, X, copy=None):
            seen.append(set(np.asarray(X)[:, 1]))
            return super().transform(X, copy)

    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(9), [30, 1, 1, 1, 5, 5, 2, 2, 3]))
    X = np.column_stack([rng.normal(size=50), groups])
    spy = Spy().fit(X)
    found = transform(spy, X, groups=groups, n_parts=4)
    assert 1 < len(seen) <= 4
    assert sum(map(len, seen)) == 9
    np.testing.assert_array_equal(found, StandardScaler().fit(X).transform(X))


def test_no_rows_and_missing_groups():
    X = np.arange(4.0).reshape(-1, 1)
    scaler = StandardScaler().fit(X)
    found = transform(scaler, X, groups=["a", None, "a", None], n_parts=2)
    np.testing.assert_array_equal(found, scaler.transform(X))
    for groups in ([1, 2, 3], np.ones((4, 1)), "column"):
        with pytest.raises(ValueError, match="one entry for each of 4 rows of X, got"):
            transform(scaler, X, groups=groups)


def test_tables_of_other_kinds():
    X = sparse.random(9, 3, 0.5, format="csr", random_state=0)
    scaler = MaxAbsScaler().fit(X)
    groups = list("abcabcabc")
    found = transform(scaler, X, groups=groups, n_parts=3)
    assert (found != scaler.transform(X)).nnz == 0
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": np.arange(9.0), "b": np.arange(9.0) ** 2})
    scaler = StandardScaler().set_output(transform="polars").fit(frame)
    found = transform(scaler, frame, groups=groups, n_parts=3)
    assert found.equals(scaler.transform(frame))


@pytest.mark.parametrize("chunk_size", [2, 50])
def test_notes_are_embedded_and_counted(store, chunk_size):
    def lengths(texts):
        return np.array([[len(text), 1] for text in texts])

    lengths.fingerprint = "lengths"
    notes = ["a", "b", " ", None, ["c", ""], [], [" "]]
    run = embed(TextEmbedder(lengths, store=store), notes, chunk_size=chunk_size)
    assert (run.n_cells, run.n_absent, run.n_unreadable) == (7, 4, 0)
    assert store.info()["entries"] == 3
    run = embed(TextEmbedder(lengths, store=store), np.array(["a", np.nan]))
    assert (run.n_absent, store.info()["entries"]) == (1, 3)


def test_windows_of_events_by_subject(tmp_path):
    rng = np.random.default_rng(0)
    n = 400
    frame = pd.DataFrame(
        {
            "subject_id": rng.integers(0, 20, n),
            "time": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(rng.integers(0, 500, n), "h"),
            "code": rng.choice(["lab//crp", "lab//hb", "drug//a"], n),
            "numeric_value": rng.normal(size=n),
        }
    )
    events = EventStore.from_frame(frame, tmp_path / "events")
    X = pd.DataFrame(
        {
            "subject_id": rng.integers(0, 20, 60),
            "index_time": pd.Timestamp("2020-01-15")
            + pd.to_timedelta(np.arange(60), "h"),
        }
    )
    windows = EventWindows(events, windows=["7d"]).fit(X)
    found = transform(windows, X, groups=X["subject_id"], n_parts=5)
    np.testing.assert_array_equal(found, windows.transform(X))


def test_warnings_of_parts_come_once():
    class Loud(StandardScaler):
        def transform(self, X, copy=None):
            warnings.warn("odd values", DataWarning, stacklevel=1)
            return super().transform(X, copy)

    X = np.arange(8.0).reshape(-1, 1)
    with pytest.warns(DataWarning, match=r"odd values \(in 4 of 4 parts\)") as caught:
        transform(Loud().fit(X), X, n_parts=4)
    assert len(caught) == 1


# ---------------------------------------------------------------- workers of Dask


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as found,
    ):
        yield found


def works_on_both(client) -> None:
    assert len(client.nthreads()) == 2


@pytest.mark.filterwarnings("ignore")  # of the cluster
@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.long
def test_dask_embeds_each_image_once(paths, tmp_path, client, segments):
    works_on_both(client)
    store = EmbeddingStore(tmp_path / "s", segments=segments)
    cells = [*paths, None, paths[0]]
    run = embed(embedder(store), cells, client, chunk_size=3)
    assert (run.n_cells, run.n_absent) == (22, 1)
    assert store.info()["entries"] == 20
    if not segments:
        assert store.info()["computed"] == 20
    values = embedder(store).fit_transform(cells)
    np.testing.assert_allclose(
        values, embedder(None).fit_transform(cells), rtol=0, atol=1e-5
    )


@pytest.mark.filterwarnings("ignore")
def test_dask_is_the_current_client(paths, store, client):
    Path(paths[9]).write_bytes(b"no image")
    with pytest.warns(DataWarning, match="no image of 1 of the 20 cells"):
        run = embed(embedder(store, on_error="missing"), paths, chunk_size=5)
    assert run.n_unreadable == 1
    X = np.arange(30.0).reshape(-1, 1)
    scaler = StandardScaler().fit(X)
    np.testing.assert_array_equal(transform(scaler, X), scaler.transform(X))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_searches_on_dask_embed_each_image_once(paths, tmp_path, client):
    import joblib
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_validate

    rng = np.random.default_rng(0)
    X = pd.DataFrame({"scan": paths * 2, "age": rng.normal(size=40)})
    y = np.arange(40) % 2
    store = EmbeddingStore(tmp_path / "s")
    modalities = [
        ("image", embedder(store), "scan"),
        ("ehr", StandardScaler(), ["age"]),
    ]
    learner = LogisticRegression(max_iter=2_000)
    early = EarlyFusionClassifier(modalities, estimator=learner, random_state=0)
    late = LateFusionClassifier(modalities, estimator=learner, random_state=0, n_jobs=2)
    here = GridSearchCV(early, {"estimator__C": [0.1, 1]}, cv=3).fit(X, y)
    computed = store.info()["computed"]
    assert computed == 20
    store.clear()
    with joblib.parallel_config("dask"):
        search = GridSearchCV(early, {"estimator__C": [0.1, 1]}, cv=3).fit(X, y)
        cross_validate(late, X, y, cv=3, n_jobs=2)
        result = compare_fusion(
            modalities,
            X,
            y,
            groups=range(40),
            cv=3,
            n_repeats=2,
            strategies=("single", "early"),
            scoring="roc_auc",
            random_state=0,
        )
    assert store.info()["computed"] == 2 * 20
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"]
    )
    assert len(result.scores_) == 3
