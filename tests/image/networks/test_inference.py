"""Inference: the fast network is the same function, and devices are checked."""

import threading

import joblib
import numpy as np
import pytest
import torch
from torch import nn

from skfusion import ImageEmbedder, read_image
from skfusion.image import Preprocessing
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.folding import fold_batch_norms
from skfusion.image.networks.inference import Network, resolve_device
from skfusion.image.networks.tracing import trace


def relative_error(found, expected):
    return float((found - expected).norm() / expected.norm())


def stirred(name):
    """A network whose batch norms do something, as after training."""
    module = build_backbone(name, weights=None, input_size=96).module
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.2, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.2, 0.2)
    return module


@pytest.mark.parametrize(
    ("name", "n_left"),
    [("efficientnet_lite0", 0), ("resnet18", 0), ("mobilenet_v3_small", 0)],
)
def test_folding_changes_the_last_digits_at_most(name, n_left):
    module = stirred(name)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    folded = fold_batch_norms(module, torch.rand(1, 3, 96, 96))
    norms = [part for part in folded.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == n_left
    images = torch.rand(3, 3, 96, 96)
    with torch.inference_mode():
        assert relative_error(folded(images), module(images)) < 1e-5
    after = module.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


class Shared(nn.Module):
    """One convolution used twice, and one whose output is needed without the norm."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.other = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        nn.init.constant_(self.norm.running_mean, 0.5)

    def forward(self, images):
        twice = self.conv(self.norm(self.conv(images)))
        plain = self.other(twice)
        return plain + self.norm(plain)


def test_only_what_may_be_folded_is():
    module = Shared().eval()
    images = torch.rand(2, 3, 5, 5)
    torch.testing.assert_close(fold_batch_norms(module, images)(images), module(images))


class Branching(nn.Module):
    def forward(self, images):
        return images if images.mean() > 0 else -images


def test_a_network_without_state_runs_in_parallel():
    module = Branching().eval()
    images = -torch.rand(2, 3, 4, 4)
    network = Network(module, torch.device("cpu"), 8, example=images)
    assert network.is_parallel
    assert (network(images) == -images.numpy()).all()


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta-physics"])
def test_devices_that_are_not_there(device):
    with pytest.raises(ValueError, match=f"device='{device}' is not available"):
        resolve_device(device)


# ---------------------------------------------------------------- the same function


class Vector(nn.Module):
    preprocessing = Preprocessing(24, (0.5,) * 3, (0.5,) * 3)

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 4, 7, stride=4)
        self.norm = nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.running_mean, 0.3)

    def forward(self, images):
        return self.norm(self.conv(images)).mean(dim=(2, 3))

    def forward_features(self, images):
        return self.norm(self.conv(images)).amax(dim=(2, 3))


def replaced(net):
    net.forward = net.forward_features


def hooked(net):
    net.register_forward_hook(lambda _m, _i, output: output * 3)


def hooked_before(net):
    net.register_forward_pre_hook(lambda _m, inputs: (inputs[0] * 2,))


def hooked_inside(net):
    net.conv.register_forward_hook(lambda _m, _i, output: output.abs())


def hooked_norm(net):
    net.norm.register_forward_pre_hook(lambda _m, inputs: (inputs[0] + 1,))


def hooked_with_keywords(net):
    def add(_module, args, keywords, output):
        return output + 1

    net.norm.register_forward_hook(add, with_kwargs=True)


def replaced_inside(net):
    net.conv.forward = lambda images: images[:, [0, 1, 2, 0], ::4, ::4]


@pytest.mark.parametrize(
    "change",
    [
        replaced,
        hooked,
        hooked_before,
        hooked_inside,
        hooked_norm,
        hooked_with_keywords,
        replaced_inside,
    ],
)
def test_code_of_the_user_is_run(change):
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    net = Vector().eval()
    plain = ImageEmbedder(net, store=None).fit_transform([image])
    change(net)
    found = ImageEmbedder(net, store=None).fit_transform([image])
    with torch.no_grad():
        expected = net(net.preprocessing([read_image(image)])).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(found - plain).max() > 1e-2


class Weighted(nn.Module):
    """The norm's input is also used where only the values tell: in numpy."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        nn.init.constant_(self.norm.running_mean, 0.5)

    def forward(self, images):
        features = self.conv(images)
        strength = float(np.asarray(memoryview(self.peek(features))).mean())
        return self.norm(features) + strength

    def peek(self, features):
        with torch._C.DisableTorchFunction():
            return features.numpy()


def test_an_optimisation_that_changes_the_output_is_dropped_with_a_warning():
    module, images = Weighted().eval(), torch.rand(2, 3, 5, 5)
    with pytest.warns(UserWarning, match="batch norms of the network Weighted are not"):
        folded = fold_batch_norms(module, images)
    with torch.inference_mode():
        assert torch.equal(folded(images), module(images))


class InPlace(Shared):
    def forward(self, images):
        features = self.conv(images)
        features.relu_()
        return self.norm(features)


class Viewed(Shared):
    def forward(self, images):
        features = self.conv(images)
        return self.norm(features) + features.mT


@pytest.mark.parametrize("kind", [InPlace, Viewed])
def test_values_that_are_used_in_between_are_kept(kind):
    module, images = kind().eval(), torch.rand(2, 3, 5, 5)
    with torch.inference_mode():
        folded = fold_batch_norms(module, images)
        torch.testing.assert_close(folded(images), module(images))


@pytest.mark.filterwarnings("ignore:.*are random:UserWarning")
@pytest.mark.long
def test_networks_are_prepared_once_per_process(monkeypatch):
    from skfusion.image.networks import inference

    images = list(np.random.default_rng(5).integers(0, 256, (3, 9, 9), dtype=np.uint8))
    calls = []
    fold = inference.fold_batch_norms
    monkeypatch.setattr(
        inference, "fold_batch_norms", lambda *a: calls.append(1) or fold(*a)
    )
    embedder = ImageEmbedder("resnet18", weights=None, input_size=33, store=None)
    expected = embedder.fit_transform(images)
    run = joblib.Parallel(n_jobs=8, backend="threading")
    for found in run(joblib.delayed(embedder.transform)(images) for _ in range(40)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert len(calls) == 1


def test_tracing_in_one_thread_leaves_the_others_alone():
    """torch.fx patches modules for the whole process while it traces."""
    other = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(20)]).eval()
    image = torch.rand(1, 3, 4, 4)
    net = build_backbone("resnet18", weights=None, input_size=32).module
    expected, cut = other(image), trace(net)
    failures = []

    def call():
        try:
            for _ in range(150):
                assert torch.equal(other(image), expected)
        except Exception as error:
            failures.append(error)

    def cut_again():
        try:
            for _ in range(6):
                assert str(trace(net)) == str(cut)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=f) for f in [call, cut_again] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_weights_of_any_number_of_axes_are_laid_out():
    """A 5-D tensor among 2-D convolutions has no such memory format."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.register_buffer("table", torch.zeros(1, 2, 3, 4, 5))

        def forward(self, images):
            return self.conv(images)

    net = Odd()
    net.preprocessing = Preprocessing(9, (0.5,) * 3, (0.5,) * 3)
    assert build_backbone(net).n_features == 4


# ---------------------------------------------------------------- the size of a batch


class Counting(nn.Module):
    """A network that counts the images of each run, and rounds as `rounds` says."""

    def __init__(self, module, rounds):
        super().__init__()
        self.module, self.rounds = module, rounds
        self.sizes = []

    def forward(self, images):
        self.sizes.append(len(images))
        return self.module(images) * self.rounds(len(images))


def counted(module, rounds=lambda n_images: 1.0):
    network = Network(Counting(module, rounds), torch.device("cpu"), 32, fold=False)
    network.is_parallel = True  # its only state is the count
    return network, network._module.sizes


@pytest.mark.parametrize("n_images", [1, 2, 3])
def test_small_batches_with_the_bits_of_full_ones_are_not_filled_up(n_images):
    images = torch.rand(4, 3, 64, 64)
    network, sizes = counted(stirred("efficientnet_lite0"))
    full = network(images)
    for _ in range(3):
        assert np.array_equal(network(images[:n_images]), full[:n_images])
        assert np.array_equal(network(images[-n_images:]), full[-n_images:])
    tried, later = sizes[1:3], sizes[3:]
    assert tried == [4, n_images]
    assert set(later) in ({n_images}, {4})  # as this processor rounds
    with torch.inference_mode():  # in the layout of `Network`
        alone = network._module.module(
            images[:n_images].to(memory_format=torch.channels_last)
        )
    assert (later[0] == n_images) == np.array_equal(alone.numpy(), full[:n_images])


def test_small_batches_that_round_differently_are_filled_up():
    images = torch.rand(4, 3, 16, 16)
    network, sizes = counted(
        nn.Conv2d(3, 5, 3), lambda n_images: 1.0 if n_images != 1 else 1 + 2**-22
    )
    full = network(images)
    for _ in range(3):
        assert np.array_equal(network(images[:1]), full[:1])
        assert np.array_equal(network(images[2:]), full[2:])
    assert sizes[-2:] == [4, 2]


def test_blank_images_do_not_decide_how_a_batch_is_run():
    network, sizes = counted(
        nn.Conv2d(3, 5, 3, bias=False), lambda n_images: 1 + n_images * 2.0**-20
    )
    for _ in range(3):
        assert not network(torch.zeros(1, 3, 8, 8)).any()
    assert sizes[-1] == 4


def test_networks_with_state_are_not_run_to_compare():
    class Stateful(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("n_runs", torch.zeros(()))

        def forward(self, images):
            self.n_runs += 1
            return images.mean((1, 2, 3)) + self.n_runs

    network = Network(Stateful().eval(), torch.device("cpu"), 4, fold=False)
    first = torch.ones(1, 3, 2, 2)
    assert [float(network(first)[0]) for _ in range(3)] == [2, 3, 4]
