"""Embeddings written to a file or an array of the user."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skfusion import EmbeddingStore, ImageEmbedder
from skfusion.exceptions import DataWarning
from skfusion.image import ImageReadError
from skfusion.image.embedding import output


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (10, 20, 20), dtype=np.uint8))
    return [*images[:4], None, *images[4:], images[0], [images[1], images[2]]]


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(output, "ROWS", 3)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("bag_count", [False, True])
def test_a_file_and_an_array(cells, tmp_path, small_parts, stored, bag_count):
    store = EmbeddingStore(tmp_path / "s") if stored else None
    embedder = ImageEmbedder(input_size=32, store=store, bag_count=bag_count)
    expected = embedder.fit(cells).transform(cells)
    path = tmp_path / "vectors.npy"
    for out in (path, str(path), np.empty_like(expected)):
        found = embedder.transform(cells, out=out)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        if isinstance(out, np.ndarray):
            assert found is out
    np.testing.assert_array_equal(np.load(path), found)


def test_no_cells(cells, tmp_path):
    embedder = ImageEmbedder(input_size=32, store=None).fit(cells)
    found = embedder.transform([], out=tmp_path / "none.npy")
    assert found.shape == np.load(tmp_path / "none.npy").shape == (0, 1280)


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.empty((2, 1280), np.float32), ValueError),
        (np.empty((13, 1280), np.float64), ValueError),
        ([1, 2], TypeError),
    ],
)
def test_a_wrong_output(cells, out, error):
    embedder = ImageEmbedder(input_size=32, store=None).fit(cells)
    with pytest.raises(error, match="out must be"):
        embedder.transform(cells, out=out)


def test_unreadable_images(cells, tmp_path, small_parts):
    column = pd.Series(cells, name="film", dtype=object)
    column[5], column[8] = b"no image", str(tmp_path / "none.png")
    embedder = ImageEmbedder(input_size=32, store=None, on_error="missing")
    embedder.fit(cells)
    with pytest.warns(DataWarning, match="2 of the 13 cells of column 'film'") as seen:
        found = embedder.transform(column, out=tmp_path / "v.npy")
    assert len(seen) == 1
    assert np.flatnonzero(np.isnan(found).all(axis=1)).tolist() == [4, 5, 8]
    with pytest.raises(ImageReadError, match=r"row position 5\b"):
        embedder.set_params(on_error="raise").transform(column, out=tmp_path / "v.npy")


def test_a_bag_with_an_unreadable_image_is_told(cells, tmp_path, small_parts):
    column = [*cells[:4], [cells[0], b"no image"]]
    embedder = ImageEmbedder(input_size=32, store=None, on_error="missing").fit(cells)
    with pytest.warns(DataWarning, match="1 of the 3 images"):
        embedder.transform(column, out=tmp_path / "v.npy")


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from skfusion import EmbeddingStore, ImageEmbedder
from skfusion.image.embedding import lookup as module

folder, n = Path(sys.argv[1]), 60_000
store = EmbeddingStore(folder / "s", segments=True)
embedder = ImageEmbedder(input_size=32, store=store)
embedder.fit([np.zeros((32, 32), np.uint8)])
cells = [np.full((2, 2), i % 251, np.uint8) for i in range(251)]
embedder.transform(cells)
cells = [cells[i % 251] for i in range(n)]
def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
before = anonymous()
found = embedder.transform(cells, out=folder / "v.npy")
assert found.shape == (n, 1280)
assert np.array_equal(found[251], found[0])
print(anonymous() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.slow
def test_a_file_needs_little_memory(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 250  # MB; the matrix has 307


def test_no_image_is_replaced(cells, tmp_path):
    """Also by another name, or if it is one of several images of a row."""
    film = tmp_path / "film.npy"
    np.save(film, cells[0])
    (tmp_path / "soft.npy").symlink_to(film)
    (tmp_path / "hard.npy").hardlink_to(film)
    before = film.read_bytes()
    embedder = ImageEmbedder(input_size=32, store=None).fit([film])
    for column in ([None, str(film)], [None, [cells[1], film]]):
        for name in ("film.npy", "soft.npy", "hard.npy"):
            with pytest.raises(ValueError, match="out is the file of .* position 1"):
                embedder.transform(column, out=tmp_path / name)
    assert film.read_bytes() == before
