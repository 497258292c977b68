"""Several images in a cell: each is encoded once, and the row is their pool."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from skfusion import (
    EarlyFusionClassifier,
    EmbeddingStore,
    ImageEmbedder,
    JointFusionClassifier,
    TabularEncoder,
)
from skfusion.image import Preprocessing
from skfusion.image.cells.bags import unpack
from skfusion.image.reading.files import ImageReadError

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (20, 24), dtype=np.uint8) for _ in range(5)]
A, B, C, D, E = IMAGES


class Flat(nn.Module):
    """Two numbers an image."""

    preprocessing = Preprocessing(224, (0.5,) * 3, (0.5,) * 3)

    def forward(self, x):
        return torch.stack([x.mean(dim=(1, 2, 3)), x[:, 0, 3, 3]], dim=1)


def embedder(**settings):
    return ImageEmbedder(Flat(), **{"input_size": 16, "store": None, **settings})


def column(*cells):
    return pd.Series(list(cells), name="views")


ROWS = column(A, [B, C], (D,), [], None, [E, None, A])
SINGLE = embedder().fit_transform(IMAGES)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_rows_are_pools_of_their_images(pooling):
    pool = np.mean if pooling == "mean" else np.max
    found = embedder(bag_pooling=pooling).fit_transform(ROWS)
    expected = [SINGLE[[0]], SINGLE[[1, 2]], SINGLE[[3]], None, None, SINGLE[[4, 0]]]
    for row, images in zip(found, expected, strict=True):
        if images is None:
            assert np.isnan(row).all()
        else:
            np.testing.assert_allclose(row, pool(images, axis=0), rtol=1e-6)


def test_the_count_is_a_feature():
    fitted = embedder(bag_count=True).fit(ROWS)
    found = fitted.transform(ROWS)
    assert fitted.get_feature_names_out().tolist() == ["emb0", "emb1", "n_images"]
    np.testing.assert_array_equal(found[:, 2], [1, 2, 1, np.nan, np.nan, 2])
    assert found.dtype == np.float32
    assert found.shape[1] == fitted.n_features_out_
    frame = fitted.set_output(transform="pandas").transform(ROWS)
    assert list(frame.columns) == ["emb0", "emb1", "n_images"]


def test_recent_images_weigh_more():
    days = pd.to_datetime(["2026-01-01", "2026-01-31", "2026-03-02"])
    cell = list(zip([A, B, C], days, strict=True))
    found = embedder(bag_pooling="recent", bag_half_life="30D").fit_transform(
        column(cell, D, [(E, None)])
    )
    expected = np.average(SINGLE[:3], axis=0, weights=[0.25, 0.5, 1.0])
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    np.testing.assert_allclose(found[1:], SINGLE[3:], rtol=1e-6)
    plain = embedder().fit_transform(column(cell))
    np.testing.assert_allclose(plain[0], SINGLE[:3].mean(axis=0), rtol=1e-5)
    with pytest.raises(
        ValueError, match="needs the time of every image, got 2 images without"
    ):
        embedder(bag_pooling="recent").fit_transform(column(A, [B, C]))


def test_every_image_is_kept_by_itself(tmp_path):
    store = EmbeddingStore(tmp_path)
    model = embedder(store=store)
    model.fit_transform(ROWS)
    assert store.info()["entries"] == 5  # A is in two rows
    before = store.info()["computed"]
    model.transform(column([A, B, C, D, E]))
    assert store.info()["computed"] == before


def test_messages_name_the_row_of_the_table():
    bad = column(A, [B, b"no image"], [C, b"nor this"])
    with pytest.raises(ImageReadError, match="column 'views', row position 1"):
        embedder().fit(column(A)).transform(bad)
    with pytest.warns(
        UserWarning, match=r"2 of the 5 images of column 'views'.*row positions 1, 2"
    ):
        found = embedder(on_error="missing").fit_transform(bad)
    np.testing.assert_allclose(found, SINGLE[:3], rtol=1e-6)


def test_unpack():
    bags = unpack([A, np.array(["x.png", "y.png"], dtype=object), [("z.png", None)]])
    assert bags.rows.tolist() == [0, 1, 1, 2]
    assert bags.n_rows == 3


@pytest.mark.parametrize("n_rows", [0, 1, 4])
def test_a_column_of_paths_is_unpacked_like_other_cells(n_rows):
    paths = [f"{i}.png" for i in range(n_rows)]
    fast, slow = unpack(paths), unpack([[path] for path in paths])
    assert fast.images == slow.images == paths
    assert fast.times == slow.times
    assert fast.n_rows == slow.n_rows == n_rows
    for name in ("rows", "places", "sizes"):
        found, wanted = getattr(fast, name), getattr(slow, name)
        assert found.dtype == wanted.dtype
        assert found.tolist() == wanted.tolist()
    assert unpack([*paths, ""]).images == [*paths, None]  # an empty text is missing


def cohort() -> tuple[pd.DataFrame, np.ndarray]:
    n = 12
    images = RNG.integers(0, 256, (2 * n, 20, 20), dtype=np.uint8)
    cells = [
        [images[2 * i], images[2 * i + 1]] if i % 2 else images[i] for i in range(n)
    ]
    y = np.arange(n) % 2
    return pd.DataFrame({"views": cells, "age": RNG.normal(60, 9, n)}), y


def modalities(trainable="auto"):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 2, 3))
    net.preprocessing = Preprocessing(16, (0.5,) * 3, (0.5,) * 3)
    embedder = ImageEmbedder(net, input_size=16, trainable=trainable, store=None)
    return [
        ("image", embedder, "views"),
        ("ehr", TabularEncoder(), ["age"]),
    ]


def test_bags_inside_fusion():
    X, y = cohort()
    X.at[3, "views"] = []
    X.at[5, "views"] = [None, None]
    model = EarlyFusionClassifier(modalities(), estimator=LogisticRegression())
    assert model.fit(X, y).predict(X).shape == y.shape
    presence = model.presence(X)["image"]
    assert presence.sum() == len(X) - 2
    assert not presence[3]


def test_bags_inside_joint_fusion():
    X, y = cohort()
    options = {"max_epochs": 1, "random_state": 0, "device": "cpu"}
    model = JointFusionClassifier(modalities(trainable="head"), **options).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    with pytest.raises(ValueError, match="several images at row position 1"):
        JointFusionClassifier(modalities(trainable="all"), **options).fit(X, y)
