"""Joint fusion: the loss reaches every encoder, and nothing else moves."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from skorch.callbacks import Callback
from torch import nn

from skfusion import ImageEmbedder, JointFusionClassifier, JointFusionRegressor
from skfusion.fusion.joint.network import JointNetwork, ModalityEncoder
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)


class SmallNet(nn.Module):
    """Three blocks of convolution and batch norm."""

    preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            blocks = [self.block(3, 8), self.block(8, 8), self.block(8, 12)]
        self.blocks = nn.Sequential(*blocks)

    @staticmethod
    def block(n_in: int, n_out: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
        )

    def forward(self, images):
        return self.blocks(images).mean(dim=(2, 3))


@pytest.fixture
def build(make, cohort, store_path):
    def build(**parameters):
        embedder = ImageEmbedder(SmallNet(), input_size=32, store=store_path)
        modalities = [("cxr", embedder, "scan"), cohort.modalities[1]]
        settings = {"modalities": modalities, "max_epochs": 3, **parameters}
        return make(JointFusionClassifier, **settings)

    return build


def weights_before_and_after(model, cohort):
    """Return the image encoder's weights as they were and as they became."""
    model.fit(cohort.X, cohort.y)
    tail = model.network_.encoders["x_cxr"].backbone
    # the cut gives layers other names, so weights are told apart by their values
    original = {
        name: parameter.detach().clone()
        for name, parameter in SmallNet().named_parameters()
    }
    return original, dict(tail.named_parameters())


@pytest.mark.parametrize(
    ("trainable", "n_moved"),
    [("last_block", 3), (2, 6), ("all", 9), (["blocks.2.0"], 1)],
)
def test_every_trainable_weight_moves_and_no_frozen_one(
    build, cohort, trainable, n_moved
):
    model = build(trainable=trainable)
    original, fitted = weights_before_and_after(model, cohort)
    moved = {
        name
        for name, parameter in fitted.items()
        if not torch.equal(parameter, original[name])
    }
    trained = {name for name, parameter in fitted.items() if parameter.requires_grad}
    assert moved == trained
    assert len(moved) == n_moved


def test_the_ehr_encoder_and_the_head_move_too(build, cohort):
    short, longer = (
        build(max_epochs=n, validation_fraction=0.0).fit(cohort.X, cohort.y)
        for n in (1, 2)
    )
    before = dict(short.network_.named_parameters())
    for name, parameter in longer.network_.named_parameters():
        if parameter.requires_grad:
            assert not torch.equal(parameter, before[name]), name


def test_the_shared_backbone_is_never_trained(cohort, make):
    backbone = build_backbone(input_size=32)
    before = copy.deepcopy(backbone.module.state_dict())
    model = make(JointFusionClassifier, trainable="last_block", max_epochs=1)
    model.fit(cohort.X, cohort.y)
    assert build_backbone(input_size=32).module is backbone.module
    for name, tensor in backbone.module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(("trainable", "follow"), [("all", True), (2, False)])
def test_batch_norms_of_frozen_blocks_keep_their_statistics(
    build, cohort, trainable, follow
):
    model = build(trainable=trainable).fit(cohort.X, cohort.y)
    means = SmallNet().blocks[0][1].running_mean
    tail = dict(model.network_.encoders["x_cxr"].backbone.named_modules())
    if follow:
        assert not torch.equal(tail["blocks.0.1"].running_mean, means)
    else:
        assert "blocks.0.1" not in tail  # it is in the trunk


def test_two_fits_with_one_seed_are_identical_and_leave_torch_alone(build, cohort):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first, second = (build(trainable=2).fit(cohort.X, cohort.y) for _ in range(2))
    for name, tensor in first.network_.state_dict().items():
        assert torch.equal(tensor, second.network_.state_dict()[name]), name
    other = build(trainable=2, random_state=1).fit(cohort.X, cohort.y)
    assert not torch.equal(first.network_.tokens[0], other.network_.tokens[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_same_network_in_a_worker_process_as_here(build, cohort):
    here, there = (
        cross_val_predict(
            build(trainable=2),
            cohort.X,
            cohort.y,
            cv=StratifiedGroupKFold(2),
            groups=cohort.groups,
            method="predict_proba",
            n_jobs=n_jobs,
        )
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(here, there)


def test_the_frozen_trunk_runs_once_per_image(build, cohort, tmp_path):
    from skfusion.store.embedding_store import EmbeddingStore

    embedder = ImageEmbedder(SmallNet(), input_size=32, store=tmp_path / "store")
    modalities = [("cxr", embedder, "scan"), cohort.modalities[1]]
    store = EmbeddingStore(tmp_path / "store")
    build(modalities=modalities, trainable="last_block").fit(cohort.X, cohort.y)
    assert store.info()["computed"] == len(cohort.y)
    again = build(modalities=modalities, trainable="last_block", lr=1e-2)
    again.fit(cohort.X, cohort.y).predict(cohort.X)
    assert store.info()["computed"] == len(cohort.y)


def test_a_net_that_cannot_be_cut_gives_the_same_as_the_cut_one(
    build, cohort, store_path
):
    class Opaque(nn.Module):
        """The same net behind a branch that tracing cannot follow."""

        preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)

        def __init__(self) -> None:
            super().__init__()
            self.net = SmallNet()

        def forward(self, images):
            if images.sum() > 1e30:
                return self.net(images) * 2
            return self.net(images)

    fused = []
    for backbone in (SmallNet(), Opaque()):
        embedder = ImageEmbedder(backbone, input_size=32, store=store_path)
        modalities = [("cxr", embedder, "scan"), cohort.modalities[1]]
        model = build(modalities=modalities, trainable="last_block")
        fused.append(model.fit(cohort.X, cohort.y).predict_proba(cohort.X))
    np.testing.assert_allclose(*fused, atol=1e-5)


def test_early_stopping_keeps_the_best_epoch(make, cohort):
    model = make(
        JointFusionClassifier, max_epochs=60, patience=3, lr=0.05, random_state=3
    ).fit(cohort.X, cohort.y)
    losses = [epoch["valid_loss"] for epoch in model.history_]
    assert model.n_epochs_ == len(losses) < 60
    assert int(np.argmin(losses)) == len(losses) - 1 - 3


def test_callbacks_of_skorch_are_called(build, cohort):
    class Counter(Callback):
        n_epochs = 0

        def on_epoch_end(self, net, **kwargs):
            Counter.n_epochs += 1

    build(callbacks=[("counter", Counter())]).fit(cohort.X, cohort.y)
    assert Counter.n_epochs == 3


def test_regression_does_not_depend_on_the_unit_of_the_target():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5))
    y = X @ [1.0, -2.0, 0.0, 0.5, 0.0]
    metres = JointFusionRegressor(random_state=0).fit(X, y)
    inches = JointFusionRegressor(random_state=0).fit(X, 39.37 * y + 1000)
    np.testing.assert_allclose(
        inches.predict(X), 39.37 * metres.predict(X) + 1000, rtol=1e-6
    )
    assert metres.score(X, y) > 0.9


def network(n_modalities=3, modality_dropout=0.0):
    torch.manual_seed(0)
    encoders = {f"m{i}": ModalityEncoder(2, 4, 0.0) for i in range(n_modalities)}
    return JointNetwork(encoders, (4, 5), 2, 0.0, modality_dropout).double()


def test_an_absent_modality_cannot_influence_the_output():
    net = network().eval()
    present = torch.tensor([[True, False, True]])
    inputs = {f"m{i}": torch.randn(1, 2, dtype=torch.float64) for i in range(3)}
    expected = net(inputs, present)
    inputs["m1"] = inputs["m1"] + 100
    assert torch.equal(net(inputs, present), expected)
    inputs["m0"] = inputs["m0"] + 1
    assert not torch.equal(net(inputs, present), expected)


def test_modality_dropout_hides_its_share_and_leaves_one():
    net = network(modality_dropout=0.5)
    present = torch.ones(20_000, 3, dtype=torch.bool)
    present[:, 2] = False
    hidden = net._hide_some(present)
    assert not hidden[:, 2].any()
    assert hidden.any(dim=1).all()
    # both hidden (chance 1/4) brings one back: 1/2 + 1/8 of each stay
    share = hidden[:, :2].double().mean().item()
    assert share == pytest.approx(0.625, abs=0.01)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"join": "add"}, "join must be one of"),
        ({"hidden_dims": ()}, "hidden_dims must be one or more positive"),
        ({"hidden_dims": (0,)}, "hidden_dims must be one or more positive"),
        ({"dropout": 1.0}, "dropout must be a number of 0 or more and below 1"),
        ({"modality_dropout": -0.1}, "modality_dropout must be a number of 0"),
        ({"max_epochs": 0}, "max_epochs must be an integer of 1 or more"),
        ({"trainable": "some"}, "trainable='some' is unknown"),
        ({"trainable": ["blocks.7"]}, "no parameter has the name 'blocks.7'"),
    ],
)
def test_settings_that_make_no_sense(build, cohort, parameters, words):
    with pytest.raises(ValueError, match=words):
        build(**parameters).fit(cohort.X, cohort.y)


def test_one_patient_is_too_few_to_stop_early(build, cohort):
    X = cohort.X.assign(patient_id="P0")
    with pytest.raises(ValueError, match="belong to one patient"):
        build().fit(X, cohort.y)
