"""Networks of many families are cut: the parts give the output of the whole network."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from skfusion.exceptions import FallbackWarning
from skfusion.image.networks._torchvision import prepare_torchvision
from skfusion.image.networks.freezing.cut import split_backbone
from skfusion.image.networks.freezing.parts import parameter_blocks, trainable_names


class Attending(nn.Module):
    """A block of a transformer with optional arguments, as in timm."""

    def __init__(self, width=8):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x, mask=None, angles=None, is_causal=False):
        y = self.mix(self.norm(x))
        if mask is not None:
            y = y + mask
        if angles is not None:
            y = y * angles[0] + angles[1]
        return x + functional.dropout(self.out(y), 0.2, self.training)


class Embedding(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)

    def forward(self, images):
        return self.patches(images).flatten(2).transpose(1, 2)


class Angles(nn.Module):
    """Rotary positions: the same for all images, needed by every block."""

    def forward(self, images):
        n = (images.shape[-1] // 4) ** 2
        steps = torch.arange(n, device=images.device, dtype=images.dtype)
        return torch.cos(steps)[:, None], torch.sin(steps)[:, None]


class Encoder(nn.Module):
    """A list of blocks below a module that is not a container, as in Hugging Face."""

    def __init__(self, depth=3):
        super().__init__()
        self.layer = nn.ModuleList(Attending() for _ in range(depth))

    def forward(self, x, angles):
        for block in self.layer:
            x = block(x, angles=angles)
        return {"tokens": x}


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = Embedding()
        self.angles = Angles()
        self.encoder = Encoder()
        self.norm = nn.LayerNorm(8)

    def forward(self, images, mask=None, is_causal=False):
        angles = self.angles(images)
        x = self.encoder(self.embeddings(images), angles)["tokens"]
        return self.norm(x).mean(dim=1)


class Untraceable(Transformer):
    """Checks its input and asks for its mode, which no trace can follow."""

    def forward(self, images, mask=None, is_causal=False):
        if images.mean().isnan():
            raise ValueError("not a number")
        if images.dtype != self.embeddings.patches.weight.dtype:
            images = images.to(self.embeddings.patches.weight.dtype)
        x = super().forward(images)
        return functional.dropout(x, 0.1, self.training)


class Remembering(Untraceable):
    """The first features are needed again at the end: no cut holds."""

    def forward(self, images, mask=None, is_causal=False):
        first = self.embeddings(images)
        if first.mean().isnan():
            raise ValueError("not a number")
        x = self.encoder(first, self.angles(images))["tokens"]
        return self.norm(x + first).mean(dim=1)


class LearningFromImages(Untraceable):
    """Reads the images in training mode only."""

    def forward(self, images, mask=None, is_causal=False):
        x = super().forward(images)
        return x + images.mean(dim=(1, 2, 3))[:, None] if self.training else x


class LearningFromFeatures(Untraceable):
    """Reads the first features in training mode only."""

    def forward(self, images, mask=None, is_causal=False):
        first = self.embeddings(images)
        if first.shape != first.shape or images.mean().isnan():
            raise ValueError("not a number")
        x = self.encoder(first, self.angles(images))["tokens"]
        x = self.norm(x).mean(dim=1)
        return x + first.mean(dim=1) if self.training else x


def seeded(kind):
    torch.manual_seed(0)
    return kind().eval()


def assert_same_parts(module, images, trainable="last_block"):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = split_backbone(module, trainable, images[:2])
    assert split.trunk is not None
    parts = [*split.trunk.modules(), *split.tail.modules()]
    assert not any(part.training for part in parts)
    with torch.inference_mode():
        expected = module(images)
        features = split.trunk(images)
        copied = pickle.loads(pickle.dumps(split.tail))
        for tail in (split.tail, copied, copy.deepcopy(split.tail)):
            torch.testing.assert_close(tail(features), expected, rtol=1e-5, atol=1e-6)
    assert set(split.trainable) == trainable_names(module, trainable)
    return split


@pytest.mark.parametrize("kind", [Transformer, Untraceable])
@pytest.mark.parametrize("trainable", ["last_block", 2, ["norm"]])
def test_a_transformer_is_cut_before_its_first_trained_block(kind, trainable):
    module = seeded(kind)
    images = torch.rand(5, 3, 16, 16)
    split = assert_same_parts(module, images, trainable)
    assert split.trunk(images).shape == (5, 16, 8)
    trained = [p for p in split.tail.parameters() if p.requires_grad]
    n_trained = sum(p.numel() for p in trained)
    names = trainable_names(module, trainable)
    expected = sum(p.numel() for n, p in module.named_parameters() if n in names)
    assert n_trained == expected


def test_the_last_block_of_a_list_in_a_module_is_one_block():
    blocks = parameter_blocks(seeded(Transformer))
    assert blocks[-3:] == ["encoder.layer.0", "encoder.layer.1", "encoder.layer.2"]


@pytest.mark.parametrize("kind", [Transformer, Untraceable])
def test_steps_of_the_tail_are_steps_of_the_network(kind):
    module = seeded(kind)
    images, target = torch.rand(6, 3, 16, 16), torch.rand(6, 8)
    split = assert_same_parts(module, images)
    whole = copy.deepcopy(module)
    with torch.no_grad():
        features = split.trunk(images)
    for network, given in ((whole, images), (split.tail, features)):
        named = dict(network.named_parameters())
        trained = [named[name] for name in split.trainable]
        optimizer = torch.optim.SGD(trained, lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (network(given) - target).square().mean().backward()
            optimizer.step()
    expected, found = (
        dict(whole.named_parameters()),
        dict(split.tail.named_parameters()),
    )
    for name in split.trainable:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-7)
        assert not torch.equal(found[name], dict(module.named_parameters())[name])


def test_code_after_a_replayed_cut_follows_the_mode():
    split = assert_same_parts(seeded(Untraceable), torch.rand(3, 3, 16, 16))
    features = torch.rand(3, 16, 8)
    split.tail.train()
    assert not torch.equal(split.tail(features), split.tail(features))
    split.tail.eval()
    assert torch.equal(split.tail(features), split.tail(features))


@pytest.mark.parametrize(
    "kind", [Remembering, LearningFromImages, LearningFromFeatures]
)
def test_a_network_that_cannot_be_cut_says_what_it_costs(kind):
    module = seeded(kind)
    images = torch.rand(3, 3, 16, 16)
    with pytest.warns(FallbackWarning, match=r"frozen part, \d+% of the parameters"):
        split = split_backbone(module, "last_block", images)
    assert split.trunk is None
    assert torch.equal(split.tail(images), module(images))


TIMM = [
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "vit_base_patch16_siglip_224",
    "swin_tiny_patch4_window7_224",
    "convnext_atto",
    "eva02_tiny_patch14_224",
    "samvit_base_patch16_224",
    "hiera_tiny_224",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_families_of_timm_are_cut(name):
    prepare_torchvision()
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    module = timm.create_model(name, pretrained=False, num_classes=0).eval()
    size = module.default_cfg["input_size"]
    split = assert_same_parts(module, torch.rand(3, *size))
    trained = sum(p.numel() for p in split.tail.parameters() if p.requires_grad)
    assert trained < 0.5 * sum(p.numel() for p in module.parameters())


def configurations(transformers):
    sizes = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": 32,
        "patch_size": 8,
    }
    wide = {**sizes, "intermediate_size": 96}
    return {
        "ViTModel": transformers.ViTConfig(**wide),
        "DeiTModel": transformers.DeiTConfig(**wide),
        "BeitModel": transformers.BeitConfig(**wide),
        "CLIPVisionModel": transformers.CLIPVisionConfig(**wide),
        "SiglipVisionModel": transformers.SiglipVisionConfig(**wide),
        "Dinov2Model": transformers.Dinov2Config(**sizes),
        "Dinov2WithRegistersModel": transformers.Dinov2WithRegistersConfig(**sizes),
        "DINOv3ViTModel": transformers.DINOv3ViTConfig(**wide),
        "SwinModel": transformers.SwinConfig(
            image_size=32,
            patch_size=4,
            window_size=4,
            embed_dim=12,
            depths=[1, 2],
            num_heads=[1, 2],
        ),
    }


class Pooled(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, images):
        return self.body(images).pooler_output


@pytest.mark.slow
def test_families_of_hugging_face_are_cut():
    prepare_torchvision()
    transformers = pytest.importorskip("transformers")
    for name, configuration in configurations(transformers).items():
        torch.manual_seed(0)
        module = Pooled(getattr(transformers, name)(configuration)).eval()
        blocks = parameter_blocks(module)
        assert len(blocks) > 2, name
        assert_same_parts(module, torch.rand(5, 3, 32, 32))
