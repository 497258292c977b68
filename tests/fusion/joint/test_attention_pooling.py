"""Bags whose pooling is trained: which vector decides, and how it is read."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    VectorColumns,
    explain_images,
)
from skfusion.fusion import TrainingSettings
from skfusion.fusion.joint.bags import BagBatch, GatedAttention

SHIFT, N_VECTORS, D = 3.0, 8, 32


def bags_with_one_shifted_vector(n, seed, noise):
    """Bags of 8 vectors of unit variance, one shifted in one direction in positives."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(n, N_VECTORS, D))
    if noise == "signs":
        x = np.sign(x)
    where = rng.integers(0, N_VECTORS, n)
    x[np.arange(n), where, 5] += SHIFT * y
    return pd.DataFrame({"tiles": list(x.astype(np.float32))}), y, where, x[:, :, 5]


def trained(pooling, X, y, **more):
    model = JointFusionClassifier(
        [("tiles", VectorColumns(bag_pooling=pooling), "tiles")],
        lr=0.01,
        max_epochs=60,
        dropout=0.0,
        batch_size=64,
        random_state=0,
        **more,
    )
    return model.fit(X, y)


def area(model, X, y):
    return roc_auc_score(y, model.predict_proba(X)[:, 1])


# The best possible AUROC and share are 1 with signs. With normal noise they are .930
# and .918, by the likelihood ratio.
@pytest.mark.parametrize(
    ("noise", "least_area", "least_share"),
    [("signs", 0.95, 0.9), ("normal", 0.9, 0.82)],
)
@pytest.mark.long
def test_one_vector_of_eight_decides(noise, least_area, least_share):
    X, y, _, _ = bags_with_one_shifted_vector(1000, 0, noise)
    new, outcome, where, along = bags_with_one_shifted_vector(2000, 1, noise)
    if noise == "normal":
        best = np.log(np.exp(SHIFT * along).sum(axis=1))
        assert 0.91 < roc_auc_score(outcome, best) < 0.95
    decay = 3.0 if noise == "normal" else 0.01
    model = trained("attention", X, y, training=TrainingSettings(weight_decay=decay))
    assert area(trained("mean", X, y), new, outcome) < 0.8
    assert area(model, new, outcome) >= least_area
    weights = np.stack(model.attention_weights(new)["tiles"])
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    largest = weights.argmax(axis=1) == where
    assert largest[outcome == 1].mean() >= least_share


def uneven(n=40, seed=0):
    """Bags of unlike size, some of them absent, with an EHR column."""
    rng = np.random.default_rng(seed)
    cells = [list(rng.normal(size=(1 + i % 4, 3))) for i in range(n)]
    cells[0], cells[1], cells[2] = None, [], [None, *rng.normal(size=(2, 3)), None]
    cells[3] = rng.normal(size=3)  # one vector is a bag of one
    return pd.DataFrame(
        {"tiles": pd.Series(cells, dtype=object), "age": rng.normal(size=n)}
    )


def beside_ehr(**more):
    triples = [
        ("tiles", VectorColumns(bag_pooling="attention"), ["tiles"]),
        ("ehr", StandardScaler(), ["age"]),
    ]
    return JointFusionClassifier(triples, max_epochs=4, random_state=0, **more)


@pytest.mark.parametrize("join", ["concat", "gated", "film", "attention"])
def test_bags_of_unlike_size(join):
    X, y = uneven(), np.arange(40) % 2
    model = beside_ehr(join=join, batch_size=7).fit(X, y, np.linspace(1, 2, 40))
    assert model.presence(X)["tiles"].tolist() == [False, False] + [True] * 38
    P = model.predict_proba(X)
    assert np.isfinite(P).all()
    alone = np.vstack([model.predict_proba(X.iloc[[i]]) for i in range(2, 12)])
    np.testing.assert_allclose(alone, P[2:12], rtol=1e-6)
    turned = X.assign(tiles=[c if c is None else list(c)[::-1] for c in X["tiles"]])
    turned.at[3, "tiles"] = X.at[3, "tiles"]
    np.testing.assert_allclose(model.predict_proba(turned), P, rtol=1e-6)
    again = clone(model).fit(X, y, np.linspace(1, 2, 40))
    np.testing.assert_array_equal(again.predict_proba(X), P)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_proba(X), P)
    network = model.network_.encoders["x_tiles"].attention
    assert all(part.isfinite().all() for part in network.parameters())


def test_weights_follow_the_vectors_of_a_cell():
    X, y = uneven(), np.arange(40) % 2
    weights = beside_ehr().fit(X, y).attention_weights(X)["tiles"]
    sizes = [0, 0, 4, 1, *(1 + i % 4 for i in range(4, 40))]
    assert [len(of_row) for of_row in weights] == sizes
    assert np.isnan(weights[2]).tolist() == [True, False, False, True]
    assert weights[3] == 1
    np.testing.assert_allclose([np.nansum(w) for w in weights[2:]], 1, rtol=1e-6)


def test_attention_is_trained_with_networks_only():
    X, y = uneven(), np.arange(40) % 2
    short = beside_ehr(encoders="networks").fit(X, y)
    longer = clone(short).set_params(max_epochs=30, training=None).fit(X, y)
    first, second = (
        m.network_.encoders["x_tiles"].attention.score.weight for m in (short, longer)
    )
    assert not torch.equal(first, second)


def test_incomplete_vectors_and_wrong_lengths():
    X, y = uneven(), np.arange(40) % 2
    X.at[5, "tiles"] = [[np.nan, 1.0, 2.0], [0.5, None, 1.0]]
    model = beside_ehr().fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    X.at[6, "tiles"] = [[1.0, 2.0]]
    with pytest.raises(ValueError, match=r"'tiles'.* length than 3.* row position 6\."):
        model.predict(X)
    X.at[6, "tiles"] = [[1.0, np.inf, 2.0]]
    with pytest.raises(ValueError, match=r"infinite in 1 of"):
        model.predict(X)


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_early_and_late_fusion_refuse_it(kind):
    X, y = uneven()[2:], np.arange(38) % 2
    images = [[np.full((9, 9), i, np.uint8)] * 2 for i in range(38)]
    for name, part in {
        "tiles": VectorColumns(bag_pooling="attention"),
        "cxr": ImageEmbedder(bag_pooling="attention", input_size=32, store=None),
    }.items():
        with pytest.raises(ValueError, match="trained in joint fusion only"):
            kind([(name, part, name)], estimator=LogisticRegression()).fit(
                X.assign(cxr=images), y
            )


def test_models_without_attention_have_no_weights():
    X, y = uneven(), np.arange(40) % 2
    model = beside_ehr().set_params(tiles="drop").fit(X, y)
    with pytest.raises(ValueError, match="no modality pools its bags by attention"):
        model.attention_weights(X)


def test_mean_and_max_of_bags():
    cells = pd.DataFrame({"x": [[[1.0, 4.0], [3.0, 2.0]], [[5.0, 6.0], None], None]})
    found = {
        how: VectorColumns(bag_pooling=how).fit_transform(cells).tolist()[:2]
        for how in ("mean", "max")
    }
    assert found == {"mean": [[2, 3], [5, 6]], "max": [[3, 4], [5, 6]]}


# ------------------------------------------------------------------------- images


def picture(rng, level):
    return np.clip(rng.normal(level, 9, (24, 24)), 0, 255).astype(np.uint8)


def image_bags():
    rng = np.random.default_rng(0)
    cells = [[picture(rng, 90), picture(rng, 160)] for _ in range(10)]
    cells += [picture(rng, 90), None, [None, picture(rng, 90)]]
    X = pd.DataFrame(
        {"cxr": pd.Series(cells, dtype=object), "age": rng.normal(size=13)}
    )
    return X, np.arange(13) % 2


@pytest.mark.parametrize("trainable", ["head", "last_block"])
@pytest.mark.long
def test_images_of_a_row_are_weighted(trainable):
    X, y = image_bags()
    embedder = ImageEmbedder(
        "resnet18",
        weights=None,
        input_size=32,
        store=None,
        trainable=trainable,
        bag_pooling="attention",
    )
    triples = [("cxr", embedder, "cxr"), ("ehr", StandardScaler(), ["age"])]
    model = JointFusionClassifier(triples, max_epochs=2, random_state=0)
    with pytest.warns(UserWarning, match="random"):
        model.fit(X, y)
    weights = model.attention_weights(X)["cxr"]
    assert [len(of_row) for of_row in weights] == [2] * 10 + [1, 1, 2]
    assert np.isnan(weights[11]).all()
    assert np.isnan(weights[12]).tolist() == [True, False]
    np.testing.assert_allclose([w.sum() for w in weights[:11]], 1, rtol=1e-5)
    P = model.predict_proba(X)
    assert np.isfinite(P).all()
    turned = X.assign(cxr=[c[::-1] if isinstance(c, list) else c for c in X["cxr"]])
    np.testing.assert_allclose(model.predict_proba(turned), P, rtol=1e-4)
    with pytest.raises(TypeError, match="pools several images by attention"):
        explain_images(model, X, modality="cxr")


def test_attention_needs_a_frozen_trunk():
    X, y = (part[:10] for part in image_bags())
    embedder = ImageEmbedder(
        "resnet18",
        weights=None,
        input_size=32,
        store=None,
        trainable="all",
        bag_pooling="attention",
    )
    model = JointFusionClassifier([("cxr", embedder, "cxr")], max_epochs=1)
    with pytest.raises(ValueError, match="all of its layers are trained"):
        model.fit(X, y)
    model.set_params(
        cxr=ImageEmbedder(input_size=32, store=None, bag_pooling="attention"),
        training=TrainingSettings(augmentation="default"),
    )
    with pytest.raises(ValueError, match="augmented images are run in each epoch"):
        model.fit(X, y)


# -------------------------------------------------------------------------- parts


def test_gated_attention_equals_its_formula():
    torch.manual_seed(0)
    attention = GatedAttention(3, 4)
    values = torch.randn(5, 3)
    bags = BagBatch(values, torch.tensor([2, 0, 3]))
    pooled = attention(values, bags.mask())
    start = 0
    for row, count in enumerate([2, 0, 3]):
        part = values[start : start + count]
        start += count
        score = (
            torch.tanh(attention.content(part)) * torch.sigmoid(attention.gate(part))
        ) @ attention.score.weight[0]
        expected = (torch.softmax(score, 0)[:, None] * part).sum(0)
        torch.testing.assert_close(pooled[row], expected)
    pooled.sum().backward()
    assert all(part.grad.isfinite().all() for part in attention.parameters())
