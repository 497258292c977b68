"""Networks of other packages, layers by usual names, grey networks, safetensors."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
import torch
from torch import nn

from skfusion import ImageEmbedder, read_image
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.preprocessing import Preprocessing

RNG = np.random.default_rng(0)
GREY = read_image(RNG.integers(0, 256, (30, 40), dtype=np.uint8))
COLOUR = read_image(RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8))

logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)


@pytest.mark.filterwarnings("ignore")  # of the packages' own imports
@pytest.mark.parametrize(
    ("package", "name", "settings", "n_features"),
    [
        ("timm", "timm:resnet10t", {}, 512),
        ("torchxrayvision", "xrv:densenet121-res224-all", {}, 1024),
        ("monai.networks.nets", "monai:DenseNet121", {}, 1024),
        ("monai.networks.nets", "monai:DenseNet121", {"depth": 32}, 1024),
    ],
)
def test_networks_of_other_packages(package, name, settings, n_features):
    pytest.importorskip(package, exc_type=ImportError)
    first = build_backbone(name, weights=None, input_size=32, **settings)
    assert first.n_features == n_features
    second = build_backbone(name, weights=None, input_size=33, **settings)
    assert first.fingerprint != second.fingerprint
    with pytest.raises(ValueError, match="Unknown backbone"):
        build_backbone(f"{name}-nothing", weights=None)


@pytest.mark.filterwarnings("ignore")
def test_logits_of_torchxrayvision():
    pytest.importorskip("torchxrayvision", exc_type=ImportError)
    name = "xrv:densenet121-res224-all"
    net = build_backbone(name, weights=None, input_size=32, layer="logits")
    assert net.n_features == 18
    assert net.preprocessing([GREY]).shape == (1, 1, 32, 32)
    low, high = (
        net.preprocessing([read_image(np.full((4, 4), v, np.uint8))]) for v in (0, 255)
    )
    assert low.unique().tolist() == [-1024]
    assert high.unique().tolist() == [1024]


def test_an_absent_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install \"skfusion\[timm\]\""):
        build_backbone("timm:resnet18", weights=None)
    with pytest.raises(ValueError, match="volume='3d' needs a network for volumes"):
        build_backbone("timm:resnet18", weights=None, depth=4)


@pytest.mark.parametrize(
    ("name", "n_features"),
    [
        ("resnet18", [64, 128, 256, 512]),
        ("densenet121", [256, 512, 1024, 1024]),
        ("mobilenet_v3_small", [16, 24, 48, 576]),
        ("efficientnet_lite0", [24, 40, 112, 1280]),
    ],
)
@pytest.mark.long
def test_stages_by_their_usual_names(name, n_features):
    weights = "DEFAULT" if name == "efficientnet_lite0" else None
    for number, expected in enumerate(n_features, 1):
        net = build_backbone(
            name, weights=weights, layer=f"block{number}", input_size=64
        )
        assert net.n_features == expected


@pytest.mark.long
def test_stages_of_a_resnet_are_its_layers():
    nets = [
        build_backbone("resnet18", weights=None, layer=layer, input_size=64)
        for layer in ("block3", "layer3")
    ]
    pixels = nets[0].preprocessing([COLOUR])
    with torch.inference_mode():
        torch.testing.assert_close(nets[0].module(pixels), nets[1].module(pixels))


def test_a_network_without_such_a_stage():
    with pytest.raises(ValueError, match="no layer 'block4': none of its layers has"):
        build_backbone(nn.Sequential(nn.Conv2d(3, 2, 3)), layer="block4", input_size=64)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_logits_are_the_final_layer(name):
    weights = "DEFAULT" if name == "efficientnet_lite0" else None
    logits = build_backbone(name, weights=weights, layer="logits", input_size=64)
    pool = build_backbone(name, weights=weights, input_size=64)
    assert logits.n_features == 1000
    final = [part for part in logits.module.modules() if isinstance(part, nn.Linear)][
        -1
    ]
    pixels = pool.preprocessing([COLOUR])
    with torch.inference_mode():
        torch.testing.assert_close(
            logits.module(pixels), final(pool.module(pixels)), rtol=1e-4, atol=1e-5
        )


# ---------------------------------------------------------------- channels


def test_repeating_grey_is_summing_the_weights():
    """What a colour net makes of a grey image, with one channel of summed weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        colour = nn.Conv2d(3, 4, 3)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    repeated = colour(Preprocessing(16, mean, std)([GREY]))
    scaled = colour.weight / torch.tensor(std)[:, None, None]
    shift = (scaled * torch.tensor(mean)[:, None, None]).sum(dim=(1, 2, 3))
    raw = Preprocessing(16, (0.0,), (1.0,))([GREY])
    summed = nn.functional.conv2d(
        raw, scaled.sum(dim=1, keepdim=True), colour.bias - shift
    )
    torch.testing.assert_close(repeated, summed, rtol=1e-4, atol=1e-5)


def test_networks_with_one_channel():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3))
    net.preprocessing = Preprocessing(16, (0.5,), (0.5,))
    cells = [
        RNG.integers(0, 256, (20, 20), dtype=np.uint8),
        RNG.integers(0, 256, (20, 20, 3), dtype=np.uint8),
    ]
    cells.append(np.repeat(cells[0][:, :, None], 3, axis=2))
    rows = ImageEmbedder(net, input_size=16, store=None).fit_transform(cells)
    np.testing.assert_allclose(rows[0], rows[2], rtol=1e-5)
    assert not np.allclose(rows[0], rows[1])


# ---------------------------------------------------------------- safetensors


def test_weights_of_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Conv2d(3, 4, 3))
    net.preprocessing = Preprocessing(16, (0.5,) * 3, (0.5,) * 3)
    path = tmp_path / "net.safetensors"
    safetensors.save_file(net.state_dict(), path)
    fresh = nn.Sequential(nn.Conv2d(3, 4, 3))
    fresh.preprocessing = net.preprocessing
    loaded = build_backbone(fresh, weights=path, input_size=16)
    assert loaded.fingerprint == build_backbone(net, input_size=16).fingerprint
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="is not a state dict that loads without"):
        build_backbone(fresh, weights=path, input_size=17)
