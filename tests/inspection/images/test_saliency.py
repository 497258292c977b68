"""Saliency against hand computations, brute force and a signal in a known place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from corner_images import SIZE, corner_cohort, small_net
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from skfusion import (
    EarlyFusionClassifier,
    ImageEmbedder,
    JointFusionClassifier,
    JointFusionRegressor,
    LateFusionClassifier,
)
from skfusion.fusion import TrainingSettings
from skfusion.image.networks.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)
from skfusion.inspection.images.saliency import explain_images
from skfusion.survival import JointFusionSurvival

GRADIENTS = ("grad_cam", "integrated_gradients")
METHODS = (*GRADIENTS, "occlusion")
QUICK = {"max_epochs": 3, "random_state": 0}


def modalities(embedder):
    return [("scan", embedder, "scan"), ("ehr", StandardScaler(), ["age", "crp"])]


@pytest.fixture(scope="module")
def trained():
    """A joint net that has learned the corner."""
    data = corner_cohort(64, seed=0)
    embedder = ImageEmbedder(small_net(), input_size=SIZE, trainable="all", store=None)
    model = JointFusionClassifier(
        modalities(embedder),
        max_epochs=15,
        lr=3e-3,
        training=TrainingSettings(encoder_lr_factor=1.0),
        random_state=0,
    )
    return model.fit(data, data["outcome"])


@pytest.fixture(scope="module")
def new() -> pd.DataFrame:
    return corner_cohort(6, seed=9)


def share_in_corner(values: np.ndarray) -> np.ndarray:
    positive = np.clip(values, 0, None)
    corner = positive[:, : SIZE // 4, -SIZE // 4 :]
    return corner.sum(axis=(1, 2)) / positive.sum(axis=(1, 2))


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_a_joint_net_lie_on_the_signal(trained, new, method):
    assert trained.score(new, new["outcome"]) == 1.0
    found = explain_images(trained, new, method=method)
    with_signal = new["outcome"].to_numpy() == 1
    # a sixteenth of the image; a map that knows nothing would put 0.06 there
    assert share_in_corner(found.values[with_signal]).min() > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_embedder_and_model_lie_on_the_signal(new, method):
    class Bright(nn.Module):
        """How much of the image is brighter than noise ever is."""

        preprocessing = Preprocessing(SIZE, IMAGENET_MEAN, IMAGENET_STD)

        def forward(self, x):
            return torch.relu(x.mean(dim=1, keepdim=True) - 1.4)

    data = corner_cohort(64, seed=0)
    embedder = ImageEmbedder(
        Bright(), input_size=SIZE, trainable="last_block", store=None
    )
    plain = make_pipeline(embedder, StandardScaler(), LogisticRegression())
    models = [
        LateFusionClassifier(modalities(embedder), random_state=0),
        EarlyFusionClassifier(
            modalities(embedder),
            estimator=make_pipeline(StandardScaler(), LogisticRegression()),
        ),
    ]
    found = [
        explain_images(m.fit(data, data["outcome"]), new, method=method) for m in models
    ]
    plain.fit(data["scan"], data["outcome"])
    found.append(explain_images(plain, new["scan"], method=method))
    for saliency in found:
        assert share_in_corner(saliency.values[1::2]).min() > 0.7


def scores_of(model, X, **options):
    """What the saliency explains, turned back into a probability."""
    return expit(
        explain_images(model, X, method="occlusion", window=SIZE, **options).scores
    )


@pytest.mark.long
def test_scores_are_the_log_odds_of_the_prediction(embedder, corner, new):
    X, y = corner, corner["outcome"]
    joint = JointFusionClassifier(modalities(embedder), **QUICK).fit(X, y)
    assert scores_of(joint, new) == pytest.approx(joint.predict_proba(new)[:, 1])
    assert scores_of(joint, new, target=0) == pytest.approx(
        joint.predict_proba(new)[:, 0]
    )
    early = EarlyFusionClassifier(modalities(embedder), random_state=0).fit(X, y)
    assert scores_of(early, new) == pytest.approx(early.predict_proba(new)[:, 1])
    late = LateFusionClassifier(modalities(embedder)).fit(X, y)
    member = late.encode_modalities(new)["scan"]
    assert scores_of(late, new) == pytest.approx(member[:, 1])
    search = GridSearchCV(joint, {"dropout": [0.0]}, cv=2).fit(X, y)
    assert scores_of(search, new) == pytest.approx(search.predict_proba(new)[:, 1])


@pytest.mark.long
def test_scores_of_several_classes_are_centred_log_probabilities(embedder, corner, new):
    y = np.array(["a", "b", "c", "b"])[np.arange(64) % 4]
    joint = JointFusionClassifier(modalities(embedder), **QUICK).fit(corner, y)
    late = LateFusionClassifier(modalities(embedder)).fit(corner, y)
    for model, proba in [
        (joint, joint.predict_proba(new)),
        (late, late.encode_modalities(new)["scan"]),
    ]:
        logs = np.log(proba)
        expected = logs - logs.mean(axis=1, keepdims=True)
        found = explain_images(model, new)  # linear, so that Grad-CAM is allowed
        assert found.targets == list(model.classes_[proba.argmax(axis=1)])
        assert found.scores == pytest.approx(expected.max(axis=1), abs=1e-5)
        found = explain_images(model, new, target="b")
        assert found.scores == pytest.approx(expected[:, 1], abs=1e-5)
        assert found.output == "centred log-probability"
        title = found.plot().axes_[0, 1].get_title().replace("\n", " ")
        assert "centred log-probability of b: " in title


SCALES = {"hazard": "negative mean time to the event", "cox": "log hazard"}


@pytest.mark.long
def test_scores_of_numbers_and_times_are_the_predictions(embedder, corner, new):
    number = JointFusionRegressor(modalities(embedder), **QUICK)
    number.fit(corner, 100 + 10 * corner["crp"])
    found = explain_images(number, new)
    assert found.scores == pytest.approx(number.predict(new), rel=1e-5)
    assert found.output == "prediction (unit of y)"
    times = np.array(
        [(True, t) for t in corner["age"]], dtype=[("event", bool), ("time", float)]
    )
    for loss in ("hazard", "cox"):
        model = JointFusionSurvival(modalities(embedder), loss=loss, **QUICK)
        found = explain_images(model.fit(corner, times), new)
        assert found.scores == pytest.approx(model.predict(new), rel=1e-4)
        assert found.output == SCALES[loss]
    ridge = make_pipeline(embedder, Ridge()).fit(corner["scan"], corner["crp"])
    found = explain_images(ridge, new["scan"])
    assert found.scores == pytest.approx(ridge.predict(new["scan"]), rel=1e-5)
    assert found.output == "prediction (unit of y)"


@pytest.mark.long
def test_scores_are_named_by_what_they_are(embedder, corner, new):
    y = corner["outcome"]
    margin = make_pipeline(embedder, LinearSVC()).fit(corner["scan"], y)
    found = explain_images(margin, new["scan"])
    expected = margin.decision_function(new["scan"])
    assert found.scores == pytest.approx(expected, rel=1e-4)
    assert found.output == "decision function"
    inside = EarlyFusionClassifier(modalities(embedder), estimator=LinearSVC())
    found = explain_images(inside.fit(corner, y), new, method="occlusion", window=SIZE)
    assert found.output == "decision function"
    late = LateFusionClassifier(modalities(embedder)).fit(corner, y)
    assert explain_images(late, new).output == "log-odds"


@pytest.mark.parametrize("trainable", ["all", "last_block", "head"])
@pytest.mark.slow
def test_integrated_gradients_add_up(embedder, corner, new, trainable):
    embedder.set_params(trainable=trainable)
    model = JointFusionClassifier(modalities(embedder), **QUICK)
    model.fit(corner, corner["outcome"])

    def error(n_steps: int) -> float:
        found = explain_images(
            model, new, method="integrated_gradients", n_steps=n_steps
        )
        difference = found.scores - found.base_scores
        wrong = found.values.sum(axis=(1, 2)) - difference
        return np.abs(wrong).max() / np.abs(difference).max()

    assert error(400) < 0.01
    with pytest.warns(UserWarning, match=r"of 6 maps .* Raise n_steps=5"):
        assert error(5) > 0.1


@pytest.mark.long
def test_occlusion_is_brute_force(trained, new):
    window, stride = 8, 4
    found = explain_images(
        trained,
        new.iloc[1:2],
        method="occlusion",
        window=window,
        stride=stride,
        baseline=0.25,
    )

    def score(pixels: np.ndarray) -> float:
        case = new.iloc[1:2].copy()
        case["scan"] = [pixels.astype(np.float32)]
        encoded = trained.encode_modalities(case)
        with torch.no_grad():
            outputs = trained.network_.decide(
                [torch.from_numpy(part) for part in encoded.values()],
                torch.ones(1, 2, dtype=torch.bool),
            )
        return (outputs[0, 1] - outputs[0, 0]).item()

    image = new["scan"].iloc[1] / 255
    full = score(image)
    total, times = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))
    for top in range(0, SIZE - window + 1, stride):
        for left in range(0, SIZE - window + 1, stride):
            covered = image.copy()
            place = np.s_[top : top + window, left : left + window]
            covered[place] = 0.25
            total[place] += full - score(covered)
            times[place] += 1
    assert found.values[0] == pytest.approx(total / times, abs=1e-3)
    assert found.scores[0] == pytest.approx(full, rel=1e-5)


def test_grad_cam_is_the_weighted_sum_of_feature_maps(embedder, corner, new):
    # behind mean pooling and a linear model, the mean gradient of map k is w_k / n
    model = make_pipeline(embedder, LogisticRegression())
    model.fit(corner["scan"], corner["outcome"])
    found = explain_images(model, new["scan"])
    backbone = embedder.build()
    pixels = torch.stack(
        [torch.from_numpy(scan / 255).float().expand(3, -1, -1) for scan in new["scan"]]
    )
    with torch.no_grad():
        maps = backbone.module.body(backbone.preprocessing.normalise(pixels)).numpy()
    weights = model[-1].coef_[0] / maps[0, 0].size
    expected = np.maximum(np.einsum("k,nkhw->nhw", weights, maps), 0)
    fine = nn.functional.interpolate(
        torch.from_numpy(expected)[:, None], (SIZE, SIZE), mode="bilinear"
    )
    # the weights are found again by moving each feature, in float64
    assert found.values == pytest.approx(fine[:, 0].numpy(), rel=1e-4, abs=1e-7)


@pytest.mark.long
def test_grad_cam_weighs_the_layer_that_is_named(embedder, corner, new):
    model = make_pipeline(embedder, LogisticRegression())
    model.fit(corner["scan"], corner["outcome"])
    last = explain_images(model, new["scan"])
    same = explain_images(model, new["scan"], layer="3")
    first = explain_images(model, new["scan"], layer="1")
    assert np.array_equal(last.values, same.values)
    assert not np.allclose(last.values, first.values)
    with pytest.raises(ValueError, match="has no layer 'conv9'"):
        explain_images(model, new["scan"], layer="conv9")


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small"])
@pytest.mark.filterwarnings("ignore:.*are random:UserWarning")
@pytest.mark.long
def test_grad_cam_finds_the_last_map_of_known_networks(name):
    embedder = ImageEmbedder(name, weights=None, input_size=64, store=None)
    rng = np.random.default_rng(0)
    scans = pd.Series(list(rng.integers(0, 255, (6, 64, 64), dtype=np.uint8)))
    model = make_pipeline(embedder, StandardScaler(), LogisticRegression())
    model.fit(scans, [0, 1] * 3)
    found = explain_images(model, scans[:1], target=0)
    assert found.values.max() > 0
    # 64 pixels / 32: a map of 2 x 2 stretched over the image has flat borders
    assert np.ptp(found.values[0, :16, :16]) == 0


def test_maps_lie_on_the_image_as_it_is_read(embedder, corner):
    model = make_pipeline(embedder, LogisticRegression())
    model.fit(corner["scan"], corner["outcome"])
    wide = np.zeros((40, 100), dtype=np.uint8)
    wide[:, 75:] = 255
    found = explain_images(model, [wide], method="occlusion", window=8, stride=8)
    on_image = found.map_on_image(0)
    assert found.images[0].shape == on_image.shape == (40, 100)
    changed = np.abs(on_image).sum(axis=0)
    assert np.abs(on_image).max() == pytest.approx(np.abs(found.values).max(), rel=1e-6)
    assert (
        np.argmax(changed) // 25 == np.argmax(np.abs(found.values[0]).sum(axis=0)) // 8
    )


def test_rows_without_image_are_left_out(trained, new):
    X = new.copy()
    X["scan"] = X["scan"].astype(object)
    X.loc[[0, 3], "scan"] = None
    found = explain_images(trained, X)
    assert found.rows.tolist() == [1, 2, 4, 5]
    everything = explain_images(trained, new)
    assert found.values == pytest.approx(everything.values[[1, 2, 4, 5]], abs=1e-5)
    X["scan"] = None
    with pytest.raises(ValueError, match="absent in all 6 rows"):
        explain_images(trained, X)


@pytest.mark.long
def test_models_without_gradient_are_for_occlusion(embedder, corner, new):
    forest = RandomForestClassifier(20, random_state=0)
    model = EarlyFusionClassifier(modalities(embedder), estimator=forest)
    model.fit(corner, corner["outcome"])
    for method in GRADIENTS:
        with pytest.raises(ValueError, match="Use method='occlusion'"):
            explain_images(model, new[:1], method=method)
    assert np.isfinite(explain_images(model, new[:1], method="occlusion").values).all()


def test_explaining_leaves_the_model_as_it_was(trained, new):
    before = {k: v.clone() for k, v in trained.network_.state_dict().items()}
    slopes = [p.grad for p in trained.network_.parameters()]
    first = explain_images(trained, new[:2], method="integrated_gradients")
    second = explain_images(trained, new[:2], method="integrated_gradients")
    assert np.array_equal(first.values, second.values)
    assert all(
        torch.equal(v, before[k]) for k, v in trained.network_.state_dict().items()
    )
    hooks = [part._forward_hooks for part in trained.network_.modules()]
    assert not any(hooks)
    now = [p.grad for p in trained.network_.parameters()]
    assert all(after is slope for after, slope in zip(now, slopes, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "gradcam"}, "method must be one of"),
        ({"baseline": "white"}, "baseline must be one of"),
        ({"n_steps": 0}, "n_steps must be an integer of 1 or more"),
        ({"window": 4, "stride": 6}, "never be covered"),
        ({"method": "occlusion", "window": 99}, "wider than the 32 pixels"),
        ({"target": 7}, "target=7 is not one of the outputs"),
        ({"modality": "ehr"}, "modality='ehr'"),
    ],
)
def test_bad_parameters_are_named(trained, new, options, message):
    with pytest.raises(ValueError, match=message):
        explain_images(trained, new, **options)


def test_models_that_see_no_image_are_named(corner, new):
    table = [("ehr", StandardScaler(), ["age", "crp"])]
    model = LateFusionClassifier(table).fit(corner, corner["outcome"])
    with pytest.raises(ValueError, match="has none"):
        explain_images(model, new)
    plain = LogisticRegression().fit(corner[["age", "crp"]], corner["outcome"])
    with pytest.raises(TypeError, match="got LogisticRegression"):
        explain_images(plain, new)
    with pytest.raises(TypeError, match="begins with an ImageEmbedder"):
        explain_images(
            make_pipeline(StandardScaler(), plain).fit(
                corner[["age", "crp"]], corner["outcome"]
            ),
            new,
        )
