"""Training and evaluation mode of every part of a network, in every step."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn
from torch.nn import functional

from skfusion import ImageEmbedder, JointFusionClassifier, JointFusionRegressor
from skfusion.exceptions import FallbackWarning
from skfusion.fusion import (
    GRUDEncoder,
    SequenceTransformer,
    TorchEncoder,
    TrainingSettings,
)
from skfusion.image import Preprocessing
from skfusion.image.networks.freezing.cut import split_backbone
from skfusion.image.networks.freezing.modes import enter_training
from skfusion.image.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD

SIZES = [10, 39, 40, 97, 240]


class Recorder(nn.Module):
    """Note the mode of every call with gradients, i.e. of the steps of a training."""

    seen: list[tuple[str, bool]] = []  # noqa: RUF012 - copies must share it

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.name = name

    def forward(self, x):
        if isinstance(x, torch.Tensor):  # not while torch.fx traces
            mode = (self.name, self.training, torch.is_grad_enabled())
            Recorder.seen.append(mode)
        return x


class Nested(nn.Module):
    """A user's module of modules, which leaves one of them in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), Recorder("in"))
        self.inner = nn.ModuleDict({"drop": nn.Dropout(0.5), "note": Recorder("deep")})
        self.inner.eval()
        self.last = nn.Linear(8, 4)

    def forward(self, x):
        hidden = self.inner["note"](self.inner["drop"](self.first(x)))
        return self.last(hidden)


def cohort(n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n_rows, 8)), columns=list("abcdefgh"))
    return X, np.arange(n_rows) % 2


def joint(encoder, fraction, *, kind=JointFusionClassifier, **parameters):
    return kind(
        [("net", encoder, list("abcdef")), ("ehr", StandardScaler(), ["g", "h"])],
        training=TrainingSettings(validation_fraction=fraction, patience=9),
        **{"max_epochs": 3, "batch_size": 16, "random_state": 0, **parameters},
    )


def seeded(make):
    torch.manual_seed(0)
    return make()


@pytest.fixture(autouse=True)
def _fresh():
    Recorder.seen = []


def modes_of_steps() -> list[tuple[str, bool]]:
    return [(name, mode) for name, mode, has_gradient in Recorder.seen if has_gradient]


@pytest.mark.parametrize("fraction", [0.0, 0.2])
@pytest.mark.parametrize("n_rows", SIZES)
@pytest.mark.filterwarnings("ignore:.*early stopping:UserWarning")
@pytest.mark.filterwarnings("ignore:.*validation:UserWarning")
def test_modes_of_a_module_in_every_epoch(n_rows, fraction):
    X, y = cohort(n_rows)
    model = joint(TorchEncoder(seeded(Nested)), fraction).fit(X, y)
    steps = modes_of_steps()
    # One call with gradients checks, before training, that they reach the weights.
    assert steps[:2] == [("in", False), ("deep", False)]
    assert len(steps) > 2
    assert all(mode for _, mode in steps[2:])
    assert all(has_gradient or not mode for _, mode, has_gradient in Recorder.seen)
    norm = model.network_.encoders["x_net"].backbone.first[1]
    if fraction == 0:
        assert norm.num_batches_tracked == (len(steps) - 2) / 2
    assert norm.num_batches_tracked > 0
    assert norm.running_mean.any()
    assert not any(part.training for part in model.network_.modules())


@pytest.mark.parametrize("fraction", [0.0, 0.2])
@pytest.mark.parametrize("kind", [JointFusionClassifier, JointFusionRegressor])
def test_dropout_of_a_module_has_an_effect(kind, fraction):
    X, y = cohort(97)

    def outputs(p):
        net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Dropout(p)))
        model = joint(TorchEncoder(net), fraction, kind=kind, dropout=0.0)
        return model.fit(X, y).transform(X)

    np.testing.assert_array_equal(outputs(0.95), outputs(0.95))
    assert np.abs(outputs(0.0) - outputs(0.95)).max() > 1e-3


@pytest.mark.parametrize(
    "make",
    [
        lambda p: GRUDEncoder(36, n_steps=6, width=8, dropout=p),
        lambda p: SequenceTransformer(36, n_steps=6, width=8, dropout=p),
    ],
    ids=["GRUDEncoder", "SequenceTransformer"],
)
def test_dropout_of_sequence_encoders_has_an_effect(make):
    rng = np.random.default_rng(0)
    X = rng.random((40, 38))
    cells = X[:, :36].reshape(40, 6, 3, 2)
    cells[:, :, 1] = cells[:, :, 1] < 0.5  # the indicators of the grid
    X = pd.DataFrame(X)
    y = np.arange(40) % 2

    def outputs(p):
        net = seeded(lambda: make(p))
        model = JointFusionClassifier(
            [
                ("grid", TorchEncoder(net), list(range(36))),
                ("ehr", StandardScaler(), [36, 37]),
            ],
            max_epochs=2,
            dropout=0.0,
            training=TrainingSettings(validation_fraction=0.0),
            random_state=0,
        )
        return model.fit(X, y).transform(X)

    assert np.abs(outputs(0.0) - outputs(0.9)).max() > 1e-4


class Halves(nn.Module):
    """Two blocks of a linear layer, a batch norm, dropout and a note."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("first", "second"):
            block = nn.Sequential(
                nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), Recorder(name)
            )
            self.add_module(name, block)

    def forward(self, x):
        return self.second(self.first(x))


@pytest.mark.parametrize(
    ("trainable", "frozen_by_hand", "trained"),
    [
        ("all", (), {"first", "second"}),
        (["second"], (), {"second"}),
        (["first"], (), {"first"}),
        ("head", (), set()),
        ("all", ("first",), {"second"}),
        ("all", ("first", "second"), set()),
        (["first"], ("first", "second"), {"first"}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*do not require gradients:UserWarning")
def test_frozen_parts_of_a_module_stay_in_evaluation_mode(
    trainable, frozen_by_hand, trained
):
    X, y = cohort(60)
    net = seeded(Halves)
    for name in frozen_by_hand:
        net.get_submodule(name).requires_grad_(False)
    model = joint(TorchEncoder(net, trainable=trainable), 0.2).fit(X, y)
    steps = modes_of_steps()
    n_checks = 2 if trained else 0
    assert {name for name, mode in steps if mode} == trained
    for name, mode in steps[n_checks:]:
        assert mode == (name in trained)
    fitted = model.network_.encoders["x_net"].backbone
    for name in ("first", "second"):
        norm = fitted.get_submodule(name)[1]
        assert (norm.num_batches_tracked > 0) == (name in trained)
        moved = not torch.equal(norm.weight, net.get_submodule(name)[1].weight)
        assert moved == (name in trained)


def test_parts_that_are_unfrozen_later_change_their_mode():
    X, y = cohort(64)
    net = seeded(Halves)
    model = joint(TorchEncoder(net), 0.0, max_epochs=4)
    model.set_params(training__unfreeze_every=2, training__validation_fraction=0.0)
    model.fit(X, y)
    steps = modes_of_steps()[2:]
    first = [mode for name, mode in steps if name == "first"]
    n_batches = len(first) // 4
    assert first == [False] * 2 * n_batches + [True] * 2 * n_batches
    assert all(mode for name, mode in steps if name == "second")


class Disturb(Callback):
    """Leave the network in evaluation mode in the middle of an epoch."""

    def on_batch_end(self, net, training, **kwargs):
        if training:
            net.module_.encoders["x_net"].backbone.second.eval()


def test_a_callback_cannot_leave_a_part_in_evaluation_mode():
    X, y = cohort(64)
    model = joint(TorchEncoder(seeded(Halves)), 0.0)
    model.set_params(training__callbacks=[("disturb", Disturb())])
    model.fit(X, y)
    assert all(mode for _, mode in modes_of_steps()[2:])


def test_rows_without_the_modality_do_not_enter_batch_statistics():
    """The values that stand for absent rows are zeros, here far from the data."""
    X, y = cohort(60)
    X[list("abcdef")] += 50.0
    X.loc[::3, list("abcdef")] = np.nan
    net = nn.Sequential(nn.BatchNorm1d(6, momentum=None), nn.Linear(6, 4))
    encoder = TorchEncoder(net, standardize=False)
    model = joint(encoder, 0.0, batch_size=12).fit(X, y)
    norm = model.network_.encoders["x_net"].backbone[0]
    means = X[list("abcdef")].mean().to_numpy()
    np.testing.assert_allclose(norm.running_mean.numpy(), means, atol=0.5)
    assert np.isfinite(model.predict_proba(X)).all()


def test_batches_with_one_or_no_row_of_the_modality():
    X, y = cohort(40)
    X.loc[4:, list("abcdef")] = np.nan
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)))
    model = joint(TorchEncoder(net), 0.0, batch_size=4).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()


def test_a_training_under_no_grad():
    X, y = cohort(40)
    plain = joint(TorchEncoder(seeded(Halves)), 0.2).fit(X, y)
    with torch.no_grad():
        inside = joint(TorchEncoder(seeded(Halves)), 0.2).fit(X, y)
    np.testing.assert_array_equal(plain.predict_proba(X), inside.predict_proba(X))


# -- images ------------------------------------------------------------------------


class Block(nn.Module):
    """A convolution, a batch norm, dropout by a function and a note of the mode."""

    def __init__(self, n_in: int, name: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.note = Recorder(name)

    def forward(self, x):
        hidden = self.note(self.norm(self.conv(x)))
        return functional.dropout(hidden, 0.5, self.training)


class Images(nn.Module):
    """Three blocks and the mean over positions."""

    preprocessing = Preprocessing(16, IMAGENET_MEAN, IMAGENET_STD)

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = Block(3, "one"), Block(4, "two")
        self.three = Block(4, "three")

    def forward(self, x):
        return self.three(self.two(self.one(x))).mean(dim=(2, 3))


def images(n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 255, (n_rows, 16, 16, 3), dtype=np.uint8))
    return pd.DataFrame({"scan": pictures, "age": rng.normal(size=n_rows)}), (
        np.arange(n_rows) % 2
    )


def joint_of_images(embedder, fraction=0.2, **parameters):
    return JointFusionClassifier(
        [("scan", embedder, "scan"), ("ehr", StandardScaler(), ["age"])],
        training=TrainingSettings(validation_fraction=fraction, patience=9),
        **{"max_epochs": 3, "batch_size": 8, "random_state": 0, **parameters},
    )


@pytest.mark.parametrize("fraction", [0.0, 0.2])
@pytest.mark.parametrize(
    ("trainable", "trained"),
    [
        ("all", {"one", "two", "three"}),
        ("last_block", {"three"}),
        (["two"], {"two"}),
        ("head", set()),
    ],
)
def test_modes_of_the_parts_of_an_image_network(trainable, trained, fraction):
    X, y = images(41)
    net = seeded(Images)
    embedder = ImageEmbedder(net, trainable=trainable, store=None)
    model = joint_of_images(embedder, fraction).fit(X, y)
    n_checks = len({name for name, *_ in modes_of_steps()})
    steps = modes_of_steps()[n_checks:]
    assert {name for name, mode in steps if mode} == trained
    assert all(mode == (name in trained) for name, mode in steps)
    tail = model.network_.encoders["x_scan"].backbone
    norms = {
        name: part
        for name, part in tail.named_modules()
        if isinstance(part, nn.BatchNorm2d)
    }
    for name, norm in norms.items():
        is_trained = name.partition(".")[0] in trained
        assert (norm.num_batches_tracked > 0) == is_trained
    assert {name.partition(".")[0] for name in norms} >= trained
    assert not any(part.training for part in model.network_.modules())


def test_functional_dropout_of_the_trained_part_has_an_effect():
    X, y = images(32)

    class Still(Block):
        def forward(self, x):
            return self.note(self.norm(self.conv(x)))

    dropping, still = seeded(Images), seeded(Images)
    still.three.__class__ = Still
    first, second = (
        joint_of_images(
            ImageEmbedder(net, trainable=["three"], store=None), dropout=0.0
        )
        .fit(X, y)
        .transform(X)
        for net in (dropping, still)
    )
    assert np.abs(first - second).max() > 1e-4


class AtTheRoot(Images):
    """Dropout between the trained blocks, in code of the network itself."""

    def forward(self, x):
        hidden = self.two(self.one(x))
        hidden = functional.dropout(hidden, 0.5, self.training)
        return self.three(hidden).mean(dim=(2, 3))


def test_a_network_that_asks_for_its_mode_after_the_cut_is_replayed():
    net = seeded(AtTheRoot).eval()
    assert split_backbone(net, ["three"]).trunk is not None  # before the cut
    with pytest.warns(FallbackWarning, match="asks for its mode after the cut"):
        split = split_backbone(net, ["two", "three"])
    assert split.trunk is None  # without images to compare the parts
    images = torch.rand(3, 3, 16, 16)
    split = split_backbone(net, ["two", "three"], images)
    features = split.trunk(images)
    assert torch.equal(split.tail(features), net(images))
    split.tail.train()
    assert not torch.equal(split.tail(features), split.tail(features))


def test_batch_norms_with_published_weights_keep_their_statistics():
    X, y = images(16)
    embedder = ImageEmbedder(input_size=32, trainable="last_block", store=None)
    model = joint_of_images(embedder, 0.0, max_epochs=1).fit(X, y)
    tail = model.network_.encoders["x_scan"].backbone
    norms = [part for part in tail.modules() if isinstance(part, nn.BatchNorm2d)]
    original = {
        name: buffer
        for name, buffer in embedder.build().module.named_buffers()
        if name.endswith("running_mean")
    }
    assert norms
    for norm in norms:
        assert any(torch.equal(norm.running_mean, mean) for mean in original.values())


def test_batch_norms_of_untrained_networks_follow_the_data():
    X, y = images(16)
    embedder = ImageEmbedder("resnet18", weights=None, input_size=32, store=None)
    model = joint_of_images(embedder, 0.0, max_epochs=1).fit(X, y)
    tail = model.network_.encoders["x_scan"].backbone
    norms = [part for part in tail.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == 20
    assert all(norm.num_batches_tracked == 2 for norm in norms)


# -- the rule ----------------------------------------------------------------------


def test_layers_without_parameters_belong_to_the_parts_beside_them():
    net = nn.Sequential(
        nn.Dropout(), nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2), nn.Dropout()
    )

    def modes(frozen):
        net.requires_grad_(True)
        net[frozen].requires_grad_(False)
        enter_training(net, keep_statistics=False)
        return [part.training for part in net]

    assert modes(1) == [False, False, True, True, True]
    assert modes(3) == [True, True, True, False, False]
    net.requires_grad_(False)
    enter_training(net, keep_statistics=False)
    assert not any(part.training for part in net)


class Classifier(nn.Module):
    """A frozen body, dropout and a trained head, as in many published classifiers."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 8))
        self.body.requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.dropout(self.body(x)))


@pytest.mark.parametrize("fraction", [0.0, 0.2])
@pytest.mark.filterwarnings("ignore:.*stay frozen:UserWarning")
@pytest.mark.filterwarnings("ignore:.*do not require gradients:UserWarning")
def test_dropout_between_a_frozen_body_and_a_trained_head_has_an_effect(fraction):
    X, y = cohort(60)
    outputs = [
        joint(TorchEncoder(seeded(lambda p=p: Classifier(p))), fraction)
        .fit(X, y)
        .predict_proba(X)
        for p in (0.0, 0.9)
    ]
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-4
    net = Classifier(0.5)
    enter_training(net, keep_statistics=False)
    assert (net.body[1].training, net.dropout.training) == (False, True)


def test_frozen_recurrent_layers_let_gradients_through_on_a_gpu():
    """cuDNN has gradients of recurrent layers in training mode only."""
    net = nn.ModuleList([nn.Linear(2, 2), nn.GRU(2, 2), nn.GRU(2, 2, 2, dropout=0.5)])
    net[1:].requires_grad_(False)
    enter_training(net, keep_statistics=False)
    assert [part.training for part in net] == [True, True, False]
