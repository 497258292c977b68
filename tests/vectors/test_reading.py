"""Vectors by id, from files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skfusion import read_embeddings

IDS = ["a", "b", "c"]
MATRIX = np.arange(12, dtype=np.float32).reshape(3, 4)


def write(kind, path):
    if kind == "npz":
        np.savez(path, ids=IDS, embeddings=MATRIX)
    elif kind == "npz by id":
        np.savez(path, **dict(zip(IDS, MATRIX, strict=True)))
    elif kind == "wide":
        pd.DataFrame(MATRIX).add_prefix("e").assign(name=IDS).to_parquet(path)
    elif kind == "column":
        pd.DataFrame({"name": IDS, "emb": list(MATRIX)}).to_parquet(path)
    elif kind == "index":
        frame = pd.DataFrame({"emb": list(MATRIX)}, index=pd.Index(IDS, name="name"))
        frame.to_parquet(path)


@pytest.mark.parametrize("kind", ["npz", "npz by id", "wide", "column", "index"])
def test_every_arrangement(kind, tmp_path):
    path = tmp_path / ("x.npz" if kind.startswith("npz") else "x.parquet")
    write(kind, path)
    found = read_embeddings(path)
    assert found.index.tolist() == IDS
    assert list(found.columns) == ["embedding"]
    stacked = np.stack(found["embedding"])
    np.testing.assert_array_equal(stacked, MATRIX)
    assert stacked.dtype == np.float32
    cases = pd.DataFrame({"image": ["c", "x", "a"]}).join(found, on="image")
    assert cases["embedding"].isna().tolist() == [False, True, False]


def test_named_ids(tmp_path):
    np.savez(tmp_path / "x.npz", n=[4, 5, 6], ids=[1, 2, 3], emb=MATRIX)
    assert read_embeddings(tmp_path / "x.npz", "ids").index.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"Name the array of ids with ids="):
        read_embeddings(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="no array 'id'"):
        read_embeddings(tmp_path / "x.npz", "id")
    table = pd.DataFrame({"n": [1, 2, 3], "emb": list(MATRIX)})
    table.to_parquet(tmp_path / "x.parquet")
    found = read_embeddings(tmp_path / "x.parquet", "n")
    assert found.index.name == "n"
    with pytest.raises(ValueError, match=r"Name it with ids="):
        read_embeddings(tmp_path / "x.parquet")


def test_objects_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    np.savez(tmp_path / "x.npz", ids=np.array(["a"]), v=np.array([Trap()], object))
    with pytest.raises(ValueError, match="Python objects, which are not read"):
        read_embeddings(tmp_path / "x.npz")
    assert not (tmp_path / "opened").exists()


def test_wrong_files(tmp_path):
    np.savez(tmp_path / "twice.npz", ids=["a", "a", "b"], embeddings=MATRIX)
    with pytest.raises(ValueError, match="1 occur more than once"):
        read_embeddings(tmp_path / "twice.npz")
    np.savez(tmp_path / "short.npz", ids=["a", "b"], embeddings=MATRIX)
    with pytest.raises(ValueError, match="one id for each row"):
        read_embeddings(tmp_path / "short.npz")
    np.savez(tmp_path / "uneven.npz", a=np.ones(3), b=np.ones(3), c=np.ones(2))
    with pytest.raises(ValueError, match=r"1 of 3 cells .* another length than 3"):
        read_embeddings(tmp_path / "uneven.npz")
    (tmp_path / "x.csv").write_text("a,1")
    with pytest.raises(ValueError, match="suffix '.csv'"):
        read_embeddings(tmp_path / "x.csv")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_embeddings(tmp_path / "none.npz")
