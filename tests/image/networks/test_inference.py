"""Inference: the fast network is the same function, and devices are checked."""

import pytest
import torch
from torch import nn

from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.folding import fold_batch_norms
from skfusion.image.networks.inference import Network, resolve_device


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
