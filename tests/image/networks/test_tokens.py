"""Class tokens and patch means, of networks whose tokens are taken apart by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from skfusion import ImageEmbedder, JointFusionClassifier
from skfusion.image import Preprocessing
from skfusion.image.networks._torchvision import prepare_torchvision
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.freezing.cut import split_backbone

prepare_torchvision()
HALF = (0.5, 0.5, 0.5)
SIZES = {
    **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 48, "image_size": 32, "patch_size": 8},
}
SMALL = {"depth": 2, "embed_dim": 32, "num_heads": 2, "num_classes": 0}


def package(name):
    return pytest.importorskip(name, reason=f"{name} is not installed")


def stated(module, side=32):
    torch.manual_seed(0)
    for parameter in module.parameters():  # tokens are zeros at first
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.5)
    module.preprocessing = Preprocessing(side, HALF, HALF)
    return module.eval()


def of_timm(name, **settings):
    timm = package("timm")
    torch.manual_seed(1)
    options = settings if "depths" in settings else SMALL | settings
    return lambda: stated(timm.create_model(name, pretrained=False, **options))


def of_transformers(kind, **settings):
    transformers = package("transformers")
    if not hasattr(transformers, f"{kind}Model"):
        pytest.skip(f"this transformers has no {kind}Model")
    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}Config")(**SIZES | settings)
    return lambda: stated(getattr(transformers, f"{kind}Model")(config))


def hidden(module, images):
    return module(images).last_hidden_state


def features(module, images):
    return module.forward_features(images)


CASES = {
    "timm": (lambda: of_timm("vit_tiny_patch16_224", img_size=32), features, 1),
    "timm with registers": (
        lambda: of_timm("vit_small_patch14_reg4_dinov2", img_size=28),
        features,
        5,
    ),
    "DINOv3 of timm": (
        lambda: of_timm("vit_small_patch16_dinov3", img_size=32),
        features,
        5,
    ),
    "distilled": (
        lambda: of_timm("deit_tiny_distilled_patch16_224", img_size=32),
        features,
        2,
    ),
    "ViT": (lambda: of_transformers("ViT"), hidden, 1),
    "DeiT": (lambda: of_transformers("DeiT"), hidden, 2),
    "DINOv2": (lambda: of_transformers("Dinov2"), hidden, 1),
    "DINOv2 with registers": (
        lambda: of_transformers("Dinov2WithRegisters", num_register_tokens=3),
        hidden,
        4,
    ),
    "DINOv3": (
        lambda: of_transformers("DINOv3ViT", num_register_tokens=4),
        hidden,
        5,
    ),
    "CLIP": (lambda: of_transformers("CLIPVision"), hidden, 1),
}


@pytest.mark.parametrize(("make", "tokens_of", "n_prefix"), CASES.values(), ids=CASES)
def test_tokens_of_published_families(make, tokens_of, n_prefix):
    net = make()()
    side = 28 if getattr(net, "num_reg_tokens", 0) else 32
    net.preprocessing = Preprocessing(side, HALF, HALF)
    images = net.preprocessing.example(2)
    with torch.inference_mode():
        tokens = tokens_of(net, images)
        first, mean = tokens[:, 0], tokens[:, n_prefix:].mean(dim=1)
        for pooling, expected in (
            ("cls", first),
            ("cls+mean", torch.cat([first, mean], dim=1)),
        ):
            backbone = build_backbone(net, pooling=pooling)
            torch.testing.assert_close(backbone.module(images), expected)
            assert backbone.n_features == expected.shape[1]
            assert not backbone.not_stored
    assert n_prefix == 1 or not torch.allclose(mean, tokens[:, 1:].mean(dim=1))


def test_the_norm_after_the_pooling_is_applied():
    net = of_timm("beit_base_patch16_224", img_size=32)()
    images = net.preprocessing.example(2)
    with torch.inference_mode():
        expected = net.fc_norm(net.forward_features(images)[:, 0])
        found = build_backbone(net, pooling="cls").module(images)
    torch.testing.assert_close(found, expected)


def test_tokens_of_open_clip():
    open_clip = package("open_clip")
    torch.manual_seed(0)
    net = stated(
        open_clip.transformer.VisionTransformer(
            **{"image_size": 32, "patch_size": 8, "width": 32, "layers": 2},
            **{"heads": 2, "mlp_ratio": 2.0, "output_dim": 16},
        )
    )
    images = net.preprocessing.example(2)
    seen = []
    net.ln_post.register_forward_hook(lambda part, args, output: seen.append(output))
    with torch.inference_mode():
        net(images)
    net.ln_post._forward_hooks.clear()
    backbone = build_backbone(net, pooling="cls+mean")
    tokens = seen[0]
    expected = torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)
    with torch.inference_mode():
        torch.testing.assert_close(backbone.module(images), expected)


def test_tokens_of_torchvision():
    models = pytest.importorskip("torchvision.models")
    net = stated(models.VisionTransformer(32, 8, 2, 2, 32, 64))
    net.heads = nn.Identity()
    images = net.preprocessing.example(2)
    pooled, backbone = (build_backbone(net, pooling=p) for p in ("mean", "cls"))
    with torch.inference_mode():
        torch.testing.assert_close(backbone.module(images), pooled.module(images))
    assert backbone.fingerprint != pooled.fingerprint


class Answer(SimpleNamespace):
    """An output that is an object without items."""


class Patches(nn.Module):
    preprocessing = Preprocessing(32, HALF, HALF)

    def __init__(self, make, n_prefix=1):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 8, stride=8)
        self.prefix = nn.Parameter(torch.randn(n_prefix, 6))
        self.make = make

    def forward(self, images):
        patches = self.conv(images).flatten(2).transpose(1, 2)
        prefix = self.prefix.expand(len(images), *self.prefix.shape)
        return self.make(torch.cat([prefix, patches], dim=1))


@pytest.mark.parametrize("n_prefix", [1, 3])
def test_tokens_of_any_network_that_cuts_patches(n_prefix):
    net = Patches(lambda tokens: tokens, n_prefix).eval()
    backbone = build_backbone(net, pooling="cls+mean")
    images = net.preprocessing.example(2)
    tokens = net(images)
    expected = torch.cat([tokens[:, 0], tokens[:, n_prefix:].mean(dim=1)], dim=1)
    torch.testing.assert_close(backbone.module(images), expected)


def test_outputs_that_are_objects():
    net = Patches(lambda t: Answer(last_hidden_state=t, pooler_output=2 * t[:, 0]))
    images = net.preprocessing.example(2)
    answer = net(images)
    for pooling, expected in (
        ("mean", answer.pooler_output),
        ("cls", answer.last_hidden_state[:, 0]),
    ):
        found = build_backbone(net, pooling=pooling).module(images)
        torch.testing.assert_close(found, expected)


class Queries(nn.Module):
    """A few tokens that are no patches."""

    preprocessing = Preprocessing(32, HALF, HALF)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 48, 3, padding=1)

    def forward(self, images):
        return self.conv(images).mean(dim=(2, 3)).reshape(-1, 8, 6)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Patches(lambda t: t, 0), "has no class token: it returns 16 tokens for 16"),
        (Patches(lambda t: t[:, :5]), "has no class token"),
        (Patches(lambda t: t[:, 0]), "has no tokens to pool"),
        (Queries(), "does not cut the image into patches"),
        (Patches(lambda t: t[..., None]), "has no tokens to pool"),
    ],
)
@pytest.mark.parametrize("pooling", ["cls", "cls+mean"])
def test_networks_without_a_class_token_are_refused(net, message, pooling):
    with pytest.raises(ValueError, match=message):
        build_backbone(net, pooling=pooling)


def test_networks_of_timm_without_a_class_token_are_refused():
    sizes = {"depths": (1, 1), "num_heads": (1, 2), "embed_dim": 24}
    swin = of_timm("swin_tiny_patch4_window7_224", img_size=32, window_size=4, **sizes)
    for net in (
        of_timm("vit_base_patch16_siglip_224", img_size=32)(),
        of_timm("vit_medium_patch16_reg4_gap_256", img_size=32)(),
        swin(),
    ):
        with pytest.raises(ValueError, match="no class token|expected tokens"):
            build_backbone(net, pooling="cls")


def test_an_unknown_pooling_lists_the_known_ones():
    with pytest.raises(ValueError, match="'cls', 'cls\\+mean'"):
        build_backbone("resnet18", weights=None, pooling="token")
    with pytest.raises(ValueError, match="has no tokens to pool"):
        build_backbone("resnet18", weights=None, input_size=32, pooling="cls")


# -- joint fusion ----------------------------------------------------------------------


TRAINED = {
    "timm": lambda: of_timm("vit_small_patch14_reg4_dinov2", img_size=28)(),
    "transformers": lambda: of_transformers("Dinov2WithRegisters")(),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("source", TRAINED)
def test_the_last_block_is_trained_below_the_class_token(source, dtype, tmp_path):
    net = TRAINED[source]().to(dtype)
    net.preprocessing = Preprocessing(28 if source == "timm" else 32, HALF, HALF)
    backbone = build_backbone(net, pooling="cls+mean")
    images = backbone.preprocessing.example(2)
    split = split_backbone(backbone.module, "last_block", images)
    assert split.trunk is not None
    assert split.trainable
    assert not any(".0." in name for name in split.trainable)  # of two blocks
    with torch.inference_mode():
        torch.testing.assert_close(
            split.tail(split.trunk(images)), backbone.module(images)
        )
    rng = np.random.default_rng(0)
    cells = np.empty(16, dtype=object)
    cells[:] = list(rng.integers(0, 255, (16, 30, 40), dtype=np.uint8))
    X = pd.DataFrame({"scan": cells, "age": rng.normal(size=16)})
    embedder = ImageEmbedder(
        net, pooling="cls+mean", trainable="last_block", store=tmp_path
    )
    model = JointFusionClassifier(
        [("image", embedder, "scan"), ("ehr", "passthrough", ["age"])],
        max_epochs=1,
        random_state=0,
    ).fit(X, np.tile([0, 1], 8))
    trained = dict(model.network_.encoders["x_image"].backbone.named_parameters())
    before = dict(split.tail.named_parameters())
    moved = {
        name
        for name, p in trained.items()
        if name in before and not torch.equal(p.cpu(), before[name])
    }
    assert moved
    assert moved <= set(split.trainable)
