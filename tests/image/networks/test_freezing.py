"""Splitting: the two parts are the whole, and only the right parameters are trained."""

import copy
import pickle

import pytest
import torch
from torch import nn

from skfusion.exceptions import FallbackWarning
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.freezing.cut import split_backbone
from skfusion.image.networks.freezing.parts import parameter_blocks, trainable_names

CASES = [
    (name, trainable)
    for name in ("efficientnet_lite0", "resnet18", "mobilenet_v3_small")
    for trainable in ("head", "last_block", 2, -1, "all")
] + [(name, "last_block") for name in ("densenet121", "vit_b_16", "swin_t", "alexnet")]


def network(name):
    weights = "DEFAULT" if name == "efficientnet_lite0" else None
    backbone = build_backbone(name, weights=weights)
    size = backbone.preprocessing.input_size
    torch.manual_seed(0)
    return backbone.module, torch.rand(2, 3, size, size)


def run(split, images):
    features = images if split.trunk is None else split.trunk(images)
    return split.tail(features)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "trainable"), CASES)
def test_tail_after_trunk_is_the_network_to_the_last_bit(name, trainable):
    module, images = network(name)
    if trainable == -1:  # all blocks but the first
        trainable = len(parameter_blocks(module)) - 1
    split = split_backbone(module, trainable)
    with torch.inference_mode():
        assert torch.equal(run(split, images), module(images))
        copied = pickle.loads(pickle.dumps(split.tail))
        features = images if split.trunk is None else split.trunk(images)
        assert torch.equal(copied(features), module(images))
    assert (split.trunk is None) == (trainable == "all")
    assert set(split.trainable) == trainable_names(module, trainable)
    in_tail = {n: p.requires_grad for n, p in split.tail.named_parameters()}
    assert {n for n, trained in in_tail.items() if trained} == set(split.trainable)
    assert {n for n, trained in in_tail.items() if not trained} == set(split.frozen)


@pytest.mark.parametrize(
    ("name", "n_blocks", "first", "last"),
    [
        ("efficientnet_lite0", 17, "stem.0.1", "blocks.15"),
        ("resnet18", 9, "conv1", "layer4.1"),
        ("densenet121", 5, "features.conv0", "features.denseblock4"),
        ("efficientnet_b0", 17, "features.0", "features.7.0"),
        ("vit_b_16", 13, "class_token", "encoder.layers.encoder_layer_11"),
        ("alexnet", 7, "features.0", "classifier.4"),
    ],
)
@pytest.mark.long
def test_blocks(name, n_blocks, first, last):
    module = build_backbone(name, weights=None).module
    blocks = parameter_blocks(module)
    assert len(blocks) == n_blocks
    assert blocks[0] == first
    assert blocks[-1] == last
    everything = {key for key, _ in module.named_parameters()}
    assert trainable_names(module, n_blocks) == everything
    sizes = [len(trainable_names(module, k)) for k in range(n_blocks + 1)]
    assert sizes == sorted(set(sizes))  # each block adds some


def test_the_last_block_takes_along_what_finishes_it():
    module = build_backbone().module
    names = trainable_names(module, "last_block")
    prefixes = {".".join(name.split(".")[:2]) for name in names}
    assert prefixes == {"blocks.15", "head.0", "head.1"}


def test_a_layer_of_a_backbone_can_be_split_too():
    module = build_backbone("resnet18", weights=None, layer="layer3").module
    split = split_backbone(module, 1)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(run(split, images), module(images))
    assert parameter_blocks(module)[-1] == "body.layer3.1"


def test_names_select_what_lies_below():
    module = build_backbone("resnet18", weights=None).module
    names = trainable_names(module, ["layer4.1.conv2", "conv1.weight"])
    assert names == {"layer4.1.conv2.weight", "conv1.weight"}
    assert trainable_names(module, []) == set()
    assert trainable_names(module, ["layer4"]) == trainable_names(module, 2)


def test_the_cut_lies_at_the_first_trainable_parameter():
    module, images = network("resnet18")
    late = split_backbone(module, ["layer4.1.bn2"])
    early = split_backbone(module, ["layer1.0.conv1", "layer4.1.bn2"])
    assert late.fingerprint_suffix != early.fingerprint_suffix
    assert len(late.frozen) < len(early.frozen)
    with torch.inference_mode():
        expected = module(images)
        for split in (late, early):
            assert torch.equal(run(split, images), expected)


def test_the_whole_network_as_trunk_has_the_key_of_its_embeddings():
    module, _ = network("resnet18")
    split = split_backbone(module, "head")
    assert split.trunk is module
    assert split.fingerprint_suffix == ""
    assert isinstance(split.tail, nn.Identity)
    suffixes = {split_backbone(module, k).fingerprint_suffix for k in (1, 2, 3)}
    assert len(suffixes) == 3
    assert "" not in suffixes


def test_training_the_tail_leaves_the_network_alone():
    module, images = network("efficientnet_lite0")
    before = copy.deepcopy(module.state_dict())
    split = split_backbone(module, 2)
    tail_before = copy.deepcopy(dict(split.tail.named_parameters()))
    optimizer = torch.optim.SGD(
        [p for p in split.tail.parameters() if p.requires_grad], lr=0.1
    )
    split.tail.train()
    with torch.no_grad():
        features = split.trunk(images)
    split.tail(features).square().sum().backward()
    optimizer.step()
    for name, parameter in split.tail.named_parameters():
        assert not torch.equal(parameter, tail_before[name]), name
    after = module.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert not any(p.requires_grad for p in module.parameters())


def test_batch_norms_of_the_tail_obey_its_mode():
    module, images = network("resnet18")
    tail = split_backbone(module, 1).tail
    norms = [part for part in tail.modules() if isinstance(part, nn.BatchNorm2d)]
    features = torch.rand(2, 512, 7, 7)
    still = [norm.running_mean.clone() for norm in norms]
    tail(features)
    assert all(
        torch.equal(n.running_mean, m) for n, m in zip(norms, still, strict=True)
    )
    tail.train()
    tail(features)
    assert not any(
        torch.equal(n.running_mean, m) for n, m in zip(norms, still, strict=True)
    )


class Branching(nn.Module):
    """Its path depends on the values, which a trace cannot follow."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 3)

    def forward(self, images):
        features = self.first(images)
        if features.mean() > 0:
            features = -features
        return self.second(features).mean(dim=(2, 3))


def test_without_images_a_network_that_cannot_be_traced_is_all_tail():
    module = Branching().eval()
    images = torch.rand(2, 3, 9, 9)
    with pytest.warns(FallbackWarning, match="cannot trace its code"):
        split = split_backbone(module, "last_block")
    assert split.trunk is None
    assert torch.equal(split.tail(images), module(images))
    assert split.trainable == ("second.weight", "second.bias")
    assert split.frozen == ("first.weight", "first.bias")


class Skipping(nn.Module):
    """The images are needed again at the end: no single value can be cut."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.second = nn.Conv2d(3, 3, 1)
        self.register_buffer("offset", torch.tensor(2.0))

    def forward(self, images):
        return (self.second(self.first(images)) + images).mean(dim=(2, 3))


class Constant(Skipping):
    def forward(self, images):
        features = self.first(images) + torch.ones(1)
        parts = torch.chunk(features * self.offset, 3, dim=1)
        size = images.size(0)
        joined = torch.cat([parts[0], parts[1], parts[2]], dim=1) + self.offset
        return self.second(joined).mean(dim=(2, 3)).reshape(size, -1)


@pytest.mark.parametrize("kind", [Skipping, Constant])
def test_what_is_needed_on_both_sides_is_not_cut(kind):
    module = kind().eval()
    images = torch.rand(2, 3, 8, 8)
    with pytest.warns(FallbackWarning, match="no single tensor"):
        split = split_backbone(module, ["second"])
    assert split.trunk is None
    assert torch.equal(run(split, images), module(images))
    assert split.frozen == ("first.weight", "first.bias")


class Tupled(Skipping):
    def forward(self, images):
        parts = torch.chunk(self.first(images) * self.offset, 3, dim=1)
        turned = [parts[2], parts[1], parts[0]]
        joined = torch.cat(turned, dim=1) + torch.ones(1) + self.offset
        return self.second(joined).mean(dim=(2, 3))


def test_the_trunk_gives_one_tensor_and_constants_are_kept_on_both_sides():
    module = Tupled().eval()
    attributes = set(vars(module))
    images = torch.rand(2, 3, 8, 8)
    split = split_backbone(module, ["second"])
    assert split.trunk(images).shape == images.shape
    assert torch.equal(run(split, images), module(images))
    assert set(vars(module)) == attributes  # tracing left nothing behind


def test_a_network_in_training_mode_is_not_touched():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))
    images = torch.rand(4, 3, 9, 9)
    split = split_backbone(module, 1)
    assert module.training
    assert all(p.requires_grad for p in module.parameters())
    assert torch.equal(run(split, images), copy.deepcopy(module).eval()(images))
    assert not split_backbone(module, "head").trunk.training


@pytest.mark.parametrize(
    ("trainable", "kind", "message"),
    [
        ("layer4", ValueError, "'last_block'.*a list even for one name.*layer4.1"),
        (10, ValueError, "has 9 blocks.*conv1.*layer4.1"),
        (-1, ValueError, "number from 0 to 9"),
        (["layer9"], ValueError, "'layer9'.*Blocks|'layer9'.*layer4.1"),
        (["layer4", "lay"], ValueError, "'lay'"),
        ([4], TypeError, "got int"),
        (True, TypeError, "got bool"),
        (None, TypeError, "got NoneType"),
        (1.5, TypeError, "got float"),
    ],
)
def test_bad_choices_name_the_valid_ones(trainable, kind, message):
    module = build_backbone("resnet18", weights=None).module
    with pytest.raises(kind, match=message):
        split_backbone(module, trainable)
