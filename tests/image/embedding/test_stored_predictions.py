"""A fitted model predicts from stored embeddings without torch or a network."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, ImageEmbedder, LateFusionClassifier
from skfusion.image.networks import backbones

PREDICT = """
import pickle, sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ImportError("torch is refused")
sys.meta_path.insert(0, Refused())
with open(sys.argv[1], "rb") as file:
    model, X, expected = pickle.load(file)
found = model.predict_proba(X)
assert (found == expected).all()
assert "torch" not in sys.modules
"""


@pytest.fixture
def cohort(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for i in range(12):
        paths.append(str(tmp_path / f"{i}.png"))
        pixels = rng.integers(0, 255, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    paths[3] = None
    X = pd.DataFrame({"scan": paths, "age": rng.normal(size=12)})
    return X, np.tile([0, 1], 6)


def embedder(tmp_path, **parameters):
    return ImageEmbedder(input_size=32, store=tmp_path / "store", **parameters)


@pytest.mark.parametrize("fusion", [EarlyFusionClassifier, LateFusionClassifier])
@pytest.mark.long
def test_a_new_process_needs_no_torch(tmp_path, cohort, fusion):
    X, y = cohort
    image = make_pipeline(embedder(tmp_path, bag_count=True), StandardScaler())
    model = fusion([("image", image, "scan"), ("ehr", StandardScaler(), ["age"])])
    expected = model.fit(X, y).predict_proba(X)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps((model, X, expected)))
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_network_is_built_for_an_image_that_is_not_stored(
    tmp_path, cohort, monkeypatch
):
    X, _ = cohort
    fitted = embedder(tmp_path).fit(X[["scan"]])
    first = fitted.transform(X[["scan"]][:6])
    built = []
    original = backbones.make_backbone

    def counted(*args, **kwargs):
        built.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(backbones, "make_backbone", counted)
    np.testing.assert_array_equal(fitted.transform(X[["scan"]][:6]), first)
    assert not built
    assert np.isnan(first[3]).all()
    rest = fitted.transform(X[["scan"]])
    assert built
    np.testing.assert_array_equal(rest[:6], first)
    alone = fitted.set_params(store=None).transform(X[["scan"]])
    np.testing.assert_array_equal(alone, rest)


def test_another_network_is_refused_also_if_all_images_are_stored(tmp_path, cohort):
    X, _ = cohort
    fitted = embedder(tmp_path).fit(X[["scan"]])
    fitted.transform(X[["scan"]])
    with pytest.raises(ValueError, match="have changed since fit"):
        fitted.set_params(input_size=48).transform(X[["scan"]])


def test_an_unreadable_file_warns_once(tmp_path, cohort):
    X, _ = cohort
    X.loc[5, "scan"] = str(tmp_path / "absent.png")
    fitted = embedder(tmp_path, on_error="missing").fit(X[["scan"]])
    for _ in range(2):  # computed, then stored
        with pytest.warns(UserWarning, match="1 of the 12 cells") as caught:
            values = fitted.transform(X[["scan"]])
        assert len(caught) == 1
        assert np.isnan(values[[3, 5]]).all()
