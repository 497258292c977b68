"""Weights of torchxrayvision: read from whole pickled networks, without their code."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from skfusion.image.networks._torchvision import prepare_torchvision
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.sources.pretrained import load_from_catalogue

prepare_torchvision()
ROOT = Path(__file__).parents[3]
DENSE, RESNET = "densenet121-res224-all", "resnet50-res512-all"
LABELS = ["Effusion", "Mass", "Nodule"]


class _DenseLayer(nn.Sequential):
    """A part of the stand-in for the package."""


class DenseNet(nn.Module):
    """A network as torchxrayvision has it, which refuses to load weights itself."""

    def __init__(self, weights=None, num_classes=18) -> None:
        super().__init__()
        assert weights is None, "the package would unpickle its download"
        layers = [("conv0", nn.Conv2d(1, 4, 3)), ("norm0", nn.BatchNorm2d(4))]
        self.features = nn.Sequential(OrderedDict(layers))
        self.features.add_module("block", _DenseLayer(nn.ReLU()))
        self.classifier = nn.Linear(4, num_classes)
        self.register_buffer("op_threshs", None)


class Trap:
    """An object whose unpickling makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A stand-in for torchxrayvision with files of weights in its cache."""
    found = types.ModuleType("torchxrayvision")
    urls = {name: {"labels": LABELS} for name in (DENSE, RESNET)}
    found.models = types.SimpleNamespace(
        model_urls=urls,
        DenseNet=DenseNet,
        _DenseLayer=_DenseLayer,
        get_weights=lambda name: str(tmp_path / f"{name}.pt"),
    )
    found.datasets = types.SimpleNamespace(default_pathologies=list(range(18)))
    monkeypatch.setitem(sys.modules, "torchxrayvision", found)
    return tmp_path


def trained():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = DenseNet(num_classes=len(LABELS))
        net.features.norm0.running_mean.normal_()
    # What the training left in the published networks.
    net.targets, net.pathologies = LABELS, np.array(LABELS)
    net.thresholds = np.array([0.1, np.nan, 0.3])
    return net.eval()


def built(weights="DEFAULT", name=DENSE):
    return load_from_catalogue(f"xrv:{name}", weights, (32, None), keep_final=True)[0]


def check_equal(module, net):
    images = torch.rand(2, 1, 32, 32)
    features = net.features(images).relu().mean(dim=(2, 3))
    with torch.inference_mode():
        torch.testing.assert_close(module.eval()(images), net.classifier(features))


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickled_network_gives_its_tensors(package, is_zip):
    net = trained()
    torch.save(net, package / f"{DENSE}.pt", _use_new_zipfile_serialization=is_zip)
    check_equal(built(), net)
    check_equal(built(package / f"{DENSE}.pt"), net)  # fetched by hand
    assert DenseNet not in torch.serialization.get_safe_globals()  # as before


def test_a_state_dict_gives_its_tensors(package):
    net = trained()
    torch.save(net.state_dict(), package / f"{DENSE}.pt")
    check_equal(built(), net)
    state = {k: v for k, v in net.state_dict().items() if "classifier" not in k}
    torch.save(state, package / "features.pt")
    load_from_catalogue(f"xrv:{DENSE}", package / "features.pt", (32, None))
    with pytest.raises(ValueError, match="2 missing: classifier"):
        built(package / "features.pt")


def hidden_in(net, place, trap):
    if place == "attribute":
        net.targets = [trap]
    elif place == "hook":
        net._state_dict_hooks[0] = trap
    elif place == "layer":
        net.features.block[0].trap = trap
    else:
        net = [net, trap]
    return net


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("place", ["attribute", "hook", "layer", "beside"])
def test_code_in_a_file_is_not_run(package, place, is_zip):
    made = package / "made"
    path = package / f"{DENSE}.pt"
    net = hidden_in(trained(), place, Trap(made))
    torch.save(net, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(ValueError, match="could execute code.*network.state_dict"):
        built()
    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists()  # the file is harmful otherwise


def test_classes_are_not_changed(package):
    """The state of an allowed class, instead of a layer, would replace its forward."""
    linear = b"\x80\x02ctorch.nn.modules.linear\nLinear\n"
    attack = linear + b"N}U\x07forwardNs\x86b."
    head = (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {})
    path = package / f"{DENSE}.pt"
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + attack)
    forward = nn.Linear.forward
    with pytest.raises(ValueError, match="could execute code") as told:
        built()
    assert "state of something else" in str(told.value.__cause__)
    assert nn.Linear.forward is forward


def test_an_endless_network_is_refused(package):
    net = trained()
    net._modules["features"] = net
    torch.save(net, package / f"{DENSE}.pt")
    with pytest.raises(ValueError, match="could execute code"):
        built()


def test_other_layers_and_files_are_refused(package):
    path = package / f"{DENSE}.pt"
    net = trained()
    net.features.add_module("gru", nn.GRU(2, 2))
    torch.save(net, path)
    with pytest.raises(ValueError, match="more than the layers of a network"):
        built()
    path.write_bytes(pickle.dumps(Trap(package / "made")))
    with pytest.raises(ValueError, match="more than the layers of a network"):
        built()
    assert not (package / "made").exists()
    with pytest.raises(ValueError, match="the file does not exist"):
        built(package / "absent.pt")


def test_the_residual_network_is_built_here(package):
    models = pytest.importorskip("torchvision.models")
    net = models.resnet50(num_classes=len(LABELS))
    net.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    torch.save(net.eval().state_dict(), package / f"{RESNET}.pt")
    images = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(built(name=RESNET).eval()(images), net(images))
    pooled = build_backbone(f"xrv:{RESNET}", weights=None, input_size=64)
    assert pooled.n_features == 2048
    assert len(pooled.preprocessing.mean) == 1


def test_a_download_that_fails_says_what_to_do(package, monkeypatch):
    def refused(name):
        raise OSError("no network")

    monkeypatch.setattr(sys.modules["torchxrayvision"].models, "get_weights", refused)
    with pytest.raises(ValueError, match="pass their path as weights="):
        built()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_architecture_of_the_package_itself(tmp_path):
    """A network of the package, saved as a whole as it saves its own."""
    pytest.importorskip("torchxrayvision", exc_type=ImportError)
    code = """
    import sys
    from skfusion.image.networks.sources.pretrained import load_from_catalogue
    from skfusion.image.networks._torchvision import prepare_torchvision
    prepare_torchvision()
    import torch, torchxrayvision as xrv
    torch.manual_seed(3)
    net = xrv.models.DenseNet(num_classes=18).eval()
    torch.save(net, sys.argv[1])
    module, _ = load_from_catalogue(
        "xrv:densenet121-res224-all", sys.argv[1], (64, None), keep_final=True
    )
    images = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        expected = net.classifier(net.features(images).relu().mean(dim=(2, 3)))
        torch.testing.assert_close(module.eval()(images), expected)
    print("equal")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "net.pt")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    assert done.stdout.endswith("equal\n"), done.stderr
