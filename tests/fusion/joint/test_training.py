"""How joint nets are trained: caching, precision, schedules, callbacks, devices."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EpochScoring,
    LoadInitState,
    LRScheduler,
)
from torch import nn
from torch.optim.lr_scheduler import StepLR

from skfusion import EmbeddingStore, ImageEmbedder, JointFusionClassifier
from skfusion.exceptions import FallbackWarning
from skfusion.fusion import TorchEncoder, TrainingSettings
from skfusion.fusion.torch_runtime import Precision
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)


class Opaque(nn.Module):
    """A net that no trace can follow and whose first layer is called twice.

    It can be cut neither in its graph nor at the call of a module.
    """

    preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images):
        if self.net.conv1(images).sum() > 1e30:
            return self.net(images) * 2
        return self.net(images)


class Chain(nn.Sequential):
    """Four blocks of a convolution and a batch norm, then the mean over positions."""

    preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(
                *(
                    nn.Sequential(
                        nn.Conv2d(n_in, 6, 3, stride=2, padding=1),
                        nn.BatchNorm2d(6),
                        nn.ReLU(),
                    )
                    for n_in in (3, 6, 6, 6)
                ),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )


@pytest.fixture
def build(make, cohort, store_path):
    def build(net=None, **parameters):
        net = Chain() if net is None else net
        embedder = ImageEmbedder(net, input_size=32, store=store_path)
        modalities = [("cxr", embedder, "scan"), cohort.modalities[1]]
        settings = {"modalities": modalities, "max_epochs": 3, **parameters}
        return make(JointFusionClassifier, **settings)

    return build


def same_weights(first, second) -> bool:
    pairs = zip(
        first.network_.state_dict().values(),
        second.network_.state_dict().values(),
        strict=True,
    )
    return all(torch.equal(a, b) for a, b in pairs)


def moved(model, net) -> list[str]:
    """Names of the weights of the image encoder that training has changed."""
    trained = dict(model.network_.encoders["x_cxr"].backbone.named_parameters())
    return [
        name
        for name, weight in net.named_parameters()
        if name in trained and not torch.equal(weight, trained[name])
    ]


class Recorder(Callback):
    """Note what happens in every epoch, where the test can see it."""

    seen: list = []  # noqa: RUF012

    def __init__(self, look):
        self.look = look

    def on_train_begin(self, net, **kwargs):
        Recorder.seen = []

    def on_epoch_end(self, net, **kwargs):
        Recorder.seen.append(self.look(net))


def learning_rates(net) -> list[float]:
    return [group["lr"] for group in net.optimizer_.param_groups]


# -- the frozen trunk --------------------------------------------------------------


@pytest.mark.long
def test_a_cached_trunk_gives_the_weights_of_the_uncached_run_to_the_last_bit(
    build, cohort
):
    """The uncached net is the same one where tracing finds no cut."""
    net = copy.deepcopy(build_backbone("resnet18", weights=None, input_size=32).module)
    net.preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)
    cached = build(copy.deepcopy(net), trainable=["layer4"], max_epochs=2)
    uncached = build(Opaque(net), trainable=["net.layer4"], max_epochs=2)
    cached.fit(cohort.X, cohort.y)
    with pytest.warns(FallbackWarning, match="Opaque is not cut"):
        uncached.fit(cohort.X, cohort.y)
    whole = uncached.network_.state_dict()
    n_trained = 0
    for name, weights in cached.network_.state_dict().items():
        same = name.replace(".backbone.", ".backbone.net.")
        assert torch.equal(weights, whole[same if same in whole else name]), name
        n_trained += "layer4" in name and "weight" in name
    assert n_trained == 10  # 5 convolutions, 5 norms
    assert (
        "encoders.x_cxr.backbone.layer1.0.conv1.weight"
        not in cached.network_.state_dict()
    )
    assert "encoders.x_cxr.backbone.net.layer1.0.conv1.weight" in whole
    assert [e["train_loss"] for e in cached.history_] == [
        e["train_loss"] for e in uncached.history_
    ]


def test_whole_networks_are_trained_from_pixels_on_disk(build, cohort, monkeypatch):
    """Every image is read once per fit, whatever the number of epochs."""
    from skfusion.image.cells import volumes

    n_read = []
    read_image = volumes.read_bytes_image
    monkeypatch.setattr(
        volumes,
        "read_bytes_image",
        lambda *a, **k: n_read.append(1) or read_image(*a, **k),
    )
    net = Chain()
    model = build(net, trainable="all").fit(cohort.X, cohort.y)
    assert len(n_read) == 48
    assert len(moved(model, net)) == 16
    assert model.predict_proba(cohort.X).shape == (48, 2)


# -- learning rates ----------------------------------------------------------------


def test_learning_rates_fall_with_the_distance_from_the_output(build, cohort):
    model = build(
        trainable=3,
        lr=1e-2,
        encoder_lr_factor=0.5,
        encoder_lr_decay=0.1,
        callbacks=[("look", Recorder(learning_rates))],
    ).fit(cohort.X, cohort.y)
    # each rate has one group with weight decay, and one without
    np.testing.assert_allclose(Recorder.seen[0][::2], [5e-3, 5e-4, 5e-5, 1e-2])
    assert Recorder.seen[0][::2] == Recorder.seen[0][1::2]
    names = model.network_.encoders["x_cxr"].backbone
    assert len(list(names.parameters())) == 12


def test_a_decay_of_zero_trains_the_last_block_only(build, cohort):
    net = Chain()
    model = build(net, trainable=3, encoder_lr_decay=0.0).fit(cohort.X, cohort.y)
    assert moved(model, net) == [f"3.{name}" for name in NAMES]


NAMES = ("0.weight", "0.bias", "1.weight", "1.bias")


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("cosine", [1.0, (1 + np.cos(np.pi / 3)) / 2, (1 + np.cos(2 * np.pi / 3)) / 2]),
        (LRScheduler(policy=StepLR, step_size=1, gamma=0.5), [1.0, 0.5, 0.25]),
        (None, [1.0, 1.0, 1.0]),
    ],
)
def test_schedules(build, cohort, scheduler, expected):
    look = Recorder(lambda net: net.optimizer_.param_groups[-1]["lr"])
    # the user's callbacks are called before the rate is changed
    model = build(scheduler=scheduler, lr=0.01, callbacks=[("look", look)])
    model.fit(cohort.X, cohort.y)
    np.testing.assert_allclose(Recorder.seen, 0.01 * np.array(expected), rtol=1e-6)


def test_a_plateau_lowers_the_rate_before_training_stops(build, cohort):
    model = build(
        scheduler="plateau", lr=0.2, patience=6, max_epochs=40, trainable="head"
    ).fit(cohort.X, cohort.y)
    rates = [epoch["event_lr"] for epoch in model.history_]
    assert rates[0] == 0.2
    assert min(rates) <= 0.021


def test_blocks_are_unfrozen_one_by_one_from_the_last(build, cohort):
    def trained(net):
        found = {
            name.split(".backbone.")[1].partition(".")[0]
            for name, weight in net.module_.named_parameters()
            if ".backbone." in name and weight.requires_grad
        }
        return sorted(found)

    net = Chain()
    settings = {"trainable": 3, "max_epochs": 5, "validation_fraction": 0.0}
    model = build(
        net, unfreeze_every=2, callbacks=[("look", Recorder(trained))], **settings
    ).fit(cohort.X, cohort.y)
    assert Recorder.seen == [["3"], ["3"], ["2", "3"], ["2", "3"], ["1", "2", "3"]]
    assert len(moved(model, net)) == 12
    assert all(
        weight.requires_grad
        for weight in model.network_.encoders["x_cxr"].backbone.parameters()
    )
    short = build(net, unfreeze_every=5, **settings)
    with pytest.warns(FallbackWarning, match="train 1 of the 3 blocks.*to 11 or more"):
        short.fit(cohort.X, cohort.y)
    assert moved(short, net) == [f"3.{name}" for name in NAMES]


# -- steps -------------------------------------------------------------------------


def test_gradients_are_clipped(build, cohort):
    class Norms(Callback):
        norms: list = []  # noqa: RUF012

        def on_batch_end(self, net, training=None, **kwargs):
            if training:
                grads = [p.grad for p in net.module_.parameters() if p.grad is not None]
                total = torch.norm(torch.stack([g.norm() for g in grads])).item()
                Norms.norms.append(total)

    build(gradient_clip=0.01, callbacks=[("norms", Norms())]).fit(cohort.X, cohort.y)
    clipped, Norms.norms = Norms.norms, []
    np.testing.assert_allclose(clipped, 0.01, rtol=1e-4)
    build(callbacks=[("norms", Norms())]).fit(cohort.X, cohort.y)
    assert min(Norms.norms) > 0.01


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_trains_the_same_net_less_exactly(build, cohort, precision):
    exact = build(trainable=2).fit(cohort.X, cohort.y)
    rough = build(trainable=2, precision=precision).fit(cohort.X, cohort.y)
    assert not same_weights(exact, rough)
    assert {p.dtype for p in rough.network_.parameters()} == {torch.float32}
    np.testing.assert_allclose(
        rough.predict_proba(cohort.X), exact.predict_proba(cohort.X), atol=0.05
    )


def test_precision_of_numbers_alone(cohort):
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = (X[:, 0] > 0).astype(int)
    exact = JointFusionClassifier(max_epochs=2, random_state=0).fit(X, y)
    assert exact.network_.head[1].weight.dtype == torch.float64
    rough = JointFusionClassifier(
        max_epochs=2, random_state=0, training=TrainingSettings(precision="bfloat16")
    ).fit(X, y)
    assert rough.network_.head[1].weight.dtype == torch.float32
    np.testing.assert_allclose(
        rough.predict_proba(X), exact.predict_proba(X), atol=0.05
    )


def test_automatic_precision_is_exact_on_the_cpu():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert Precision.resolve("auto", cpu, is_light=False).dtype is None
    assert Precision.resolve("auto", cuda, is_light=True).dtype is None
    assert Precision.resolve("bfloat16", cpu, is_light=True).dtype is torch.bfloat16


def test_an_unknown_device_is_refused_before_anything_is_fitted(build, cohort):
    model = build(device="quantum")
    with pytest.raises(ValueError, match="device='quantum' is not available here"):
        model.fit(cohort.X, cohort.y)
    assert not hasattr(model, "modalities_")


# -- callbacks ---------------------------------------------------------------------


class Raises(Callback):
    """Raise in the second epoch."""

    def __init__(self, error):
        self.error = error

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise self.error


class Interrupted(Callback):
    """Raise what a Ctrl-C does, between two batches."""

    def on_train_begin(self, net, **kwargs):
        def infer(*args, **kwargs):
            raise KeyboardInterrupt

        net.infer = infer


@pytest.mark.parametrize(
    ("callback", "kind"),
    [(Raises(RuntimeError), RuntimeError), (Interrupted(), KeyboardInterrupt)],
)
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(build, cohort, callback, kind):
    model = build(callbacks=[("fails", callback)])
    before = sorted(vars(model))
    with pytest.raises(kind):
        model.fit(cohort.X, cohort.y)
    assert sorted(vars(model)) == before
    model.set_params(training__callbacks=None).fit(cohort.X, cohort.y)
    proba = model.predict_proba(cohort.X)
    model.set_params(training__callbacks=[("fails", callback)], hidden_dims=(8,))
    with pytest.raises(kind):
        model.fit(cohort.X.iloc[:40], 1 - cohort.y[:40])
    np.testing.assert_array_equal(model.predict_proba(cohort.X), proba)


def test_a_callback_stops_training_as_in_skorch(build, cohort):
    model = build(callbacks=[("stop", Raises(KeyboardInterrupt))], max_epochs=5)
    model.fit(cohort.X, cohort.y)
    assert model.n_epochs_ == 2
    assert model.predict(cohort.X).shape == (48,)


def test_every_fit_begins_with_fresh_callbacks(build, cohort):
    class Counter(Callback):
        def __init__(self):
            self.n_epochs = 0

        def on_epoch_end(self, net, **kwargs):
            self.n_epochs += 1

    counter = Counter()
    model = build(callbacks=[("counter", counter)])
    for _ in range(2):
        model.fit(cohort.X, cohort.y)
        assert dict(model.callbacks_)["counter"].n_epochs == 3
    assert counter.n_epochs == 0


def test_checkpoints_and_scores_of_skorch(build, cohort, tmp_path):
    folder = tmp_path / "checkpoints"
    model = build(
        callbacks=[
            ("accuracy", EpochScoring(accuracy, name="valid_accuracy")),
            ("checkpoint", Checkpoint(dirname=folder, monitor="valid_loss_best")),
        ]
    ).fit(cohort.X, cohort.y)
    saved = torch.load(folder / "params.pt", weights_only=True)
    for name, weights in model.network_.state_dict().items():
        assert torch.equal(saved[name], weights), name
    assert 0 <= model.history_[-1]["valid_accuracy"] <= 1
    pickle.loads(pickle.dumps(model)).predict(cohort.X)


def test_training_goes_on_from_a_checkpoint(build, cohort, tmp_path):
    folder = tmp_path / "checkpoints"
    whole = {"validation_fraction": 0.0, "lr": 1e-2}
    saved = Checkpoint(dirname=folder, monitor="train_loss_best", load_best=True)
    first = build(callbacks=[saved], **whole).fit(cohort.X, cohort.y)
    best = min(first.history_, key=lambda epoch: epoch["train_loss"])
    assert best["event_cp"]
    begin = LoadInitState(Checkpoint(dirname=folder))
    look = Recorder(lambda net: net.history[-1, "train_loss"])
    more = build(callbacks=[begin, look], **whole).fit(cohort.X, cohort.y)
    assert len(Recorder.seen) == 3
    assert Recorder.seen[0] < first.history_[0]["train_loss"]
    assert more.n_epochs_ == 6
    weights = LoadInitState(Checkpoint(dirname=folder, f_optimizer=None))
    unchanged = build(callbacks=[weights], **{**whole, "lr": 0.0}, max_epochs=1)
    assert same_weights(unchanged.fit(cohort.X, cohort.y), first)


def accuracy(net, dataset, y=None):
    net.module_.eval()
    batch, y = dataset.__getitems__(list(range(len(dataset))))
    with torch.inference_mode():
        decided = net.infer(batch).fused.argmax(dim=1)
    return (decided == y).double().mean().item()


@pytest.mark.parametrize(
    ("parameters", "kind", "words"),
    [
        ({"precision": "half"}, ValueError, "precision must be one of"),
        ({"gradient_clip": 0}, ValueError, "gradient_clip must be a number above 0"),
        ({"unfreeze_every": 0}, ValueError, "unfreeze_every must be an integer of 1"),
        ({"encoder_lr_decay": -1}, ValueError, "encoder_lr_decay must be a number of"),
        ({"lr": "fast"}, ValueError, "lr must be a number of 0 or more, got 'fast'"),
        ({"scheduler": "steps"}, ValueError, "scheduler must be None, one of"),
        ({"scheduler": StepLR}, ValueError, "Wrap a scheduler of torch: LRScheduler"),
        ({"callbacks": Raises(ValueError)}, TypeError, "callbacks must be a list of"),
        ({"callbacks": [("a", 3)]}, TypeError, "got .'a', 3.. Derive its class"),
        (
            {"augmentation": "strong"},
            ValueError,
            "augmentation must be None, 'default'",
        ),
        ({"augmentation": nn.Dropout}, ValueError, "augmentation must be None"),
    ],
)
def test_settings_that_make_no_sense(build, cohort, parameters, kind, words):
    model = build(**parameters)
    with pytest.raises(kind, match=words):
        model.fit(cohort.X, cohort.y)


def test_callbacks_that_cannot_be_copied_say_what_to_do(build, cohort, tmp_path):
    class Log(Callback):
        def __init__(self, file):
            self.file = file

    with (
        open(tmp_path / "log", "w") as file,
        pytest.raises(TypeError, match="Open files and connections in the callback"),
    ):
        build(callbacks=[("log", Log(file))]).fit(cohort.X, cohort.y)


# -- augmentation ------------------------------------------------------------------


def test_augmented_training_changes_images_in_training_only(build, cohort):
    n_calls = []

    def darken(image):
        n_calls.append(1)
        assert image.shape == (3, 32, 32)
        assert image.min() >= 0
        assert image.max() <= 1
        return image * 0.9

    model = build(augmentation=darken, trainable=1, patience=3)
    model.fit(cohort.X, cohort.y)
    n_fitted = 48 - 8
    assert len(n_calls) == 3 * n_fitted
    model.predict(cohort.X)
    assert len(n_calls) == 3 * n_fitted


@pytest.mark.slow
def test_no_change_gives_the_weights_of_no_augmentation(build, cohort):
    """Trunk in every step and trunk from the store are the same network."""
    net = copy.deepcopy(build_backbone("resnet18", weights=None, input_size=32).module)
    net.preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)
    settings = {"trainable": ["layer4"], "max_epochs": 2}
    plain = build(copy.deepcopy(net), **settings)
    changed = build(copy.deepcopy(net), augmentation=lambda image: image, **settings)
    assert same_weights(plain.fit(cohort.X, cohort.y), changed.fit(cohort.X, cohort.y))


@pytest.mark.parametrize("trainable", ["last_block", "all"])
@pytest.mark.long
def test_augmentation_is_seeded_and_bears_absent_images(build, cohort, trainable):
    X = cohort.X.copy()
    X["scan"] = X["scan"].where(np.arange(48) % 5 > 0, None)
    first, again, other = (
        build(augmentation=kind, trainable=trainable).fit(X, cohort.y)
        for kind in ("default", "default", None)
    )
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_transforms_of_torchvision_augment(build, cohort):
    from torchvision.transforms import v2

    steps = v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.2, 0.2)])
    plain, changed = (
        build(augmentation=kind, trainable=1).fit(cohort.X, cohort.y)
        for kind in (None, steps)
    )
    assert not same_weights(plain, changed)


def test_an_augmentation_that_changes_the_shape_is_refused(build, cohort):
    model = build(augmentation=lambda image: image[:, :20])
    with pytest.raises(ValueError, match=r"of shape \(3, 32, 32\) into \(3, 20, 32\)"):
        model.fit(cohort.X, cohort.y)


@pytest.mark.long
def test_predictions_are_averaged_over_views(build, cohort):
    """Of the image as it is and of the changed ones, whatever rows are around it."""
    X = cohort.X.copy()
    X["scan"] = X["scan"].where(np.arange(48) % 5 > 0, None)
    model = build(augmentation="default", trainable="last_block").fit(X, cohort.y)
    plain = model.predict_proba(X)
    model.set_params(training__test_time_views=3)
    views = model.predict_proba(X)
    np.testing.assert_array_equal(views, model.predict_proba(X))
    np.testing.assert_allclose(
        views[10:14], model.predict_proba(X.iloc[10:14]), rtol=1e-4
    )
    here = X["scan"].notna().to_numpy()
    assert not np.allclose(views[here], plain[here], rtol=1e-3)
    np.testing.assert_allclose(views[~here], plain[~here], rtol=1e-5)
    model.set_params(training__augmentation=lambda image: image)
    np.testing.assert_allclose(model.predict_proba(X), plain, rtol=1e-3)


@pytest.mark.parametrize(
    ("views", "match"), [(-1, "an integer of 0 or more"), (2, "needs an augmentation")]
)
def test_views_are_checked(build, cohort, views, match):
    with pytest.raises(ValueError, match=f"test_time_views.*{match}"):
        build(test_time_views=views).fit(cohort.X, cohort.y)


def test_numbers_beside_images_are_encoded_by_modules(build, cohort, store_path):
    embedder = ImageEmbedder(Chain(), input_size=32, store=store_path)
    modalities = [
        ("cxr", embedder, "scan"),
        ("ehr", TorchEncoder(random_state=0), ["age"]),
    ]
    model = build(modalities=modalities).fit(cohort.X, cohort.y)
    assert {p.dtype for p in model.network_.parameters()} == {torch.float32}
    rates = build(
        modalities=modalities,
        trainable="last_block",
        lr=1e-2,
        encoder_lr_factor=0.5,
        callbacks=[("look", Recorder(learning_rates))],
    )
    rates.fit(cohort.X, cohort.y)
    np.testing.assert_allclose(Recorder.seen[0][::2], [5e-3, 1e-2, 1e-2, 1e-2])


def test_a_network_without_a_key_is_trained_without_the_store(build, cohort, tmp_path):
    """Its trunk changes with every call: nothing of it may be kept."""

    class Dropping(Chain):
        def forward(self, images):
            dropped = nn.functional.dropout(images, 0.1, training=True)
            return super().forward(dropped)

    store = EmbeddingStore(tmp_path / "store")
    embedder = ImageEmbedder(Dropping(), input_size=32, store=store)
    model = JointFusionClassifier(
        [("cxr", embedder, "scan"), cohort.modalities[1]], max_epochs=1, random_state=0
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(cohort.X, cohort.y).predict(cohort.X)
    messages = " ".join(str(warning.message) for warning in caught)
    assert "not reproducible" in messages
    assert "not stored" in messages
    assert store.info()["entries"] == 0
