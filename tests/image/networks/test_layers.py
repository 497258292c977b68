"""Layers: which axis holds the channels, stages, and cuts that are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from skfusion import EmbeddingStore, ImageEmbedder
from skfusion.image import Preprocessing
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.freezing.cut import split_backbone
from skfusion.image.networks.layers import cut_at

GREY = Preprocessing(16, (0.5,) * 3, (0.5,) * 3)
IMAGES = list(np.random.default_rng(0).integers(0, 256, (4, 20, 20, 3), dtype=np.uint8))


class Shaped(nn.Module):
    """A convolution whose output is brought into a form."""

    preprocessing = GREY

    def __init__(self, form, channels=5, **attributes):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, channels, 4, stride=4)
        self.form = form
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, images):
        return self.form(self.conv(images))


FORMS = {
    "NCHW": lambda maps: maps,
    "NHWC": lambda maps: maps.permute(0, 2, 3, 1),
    "NLC": lambda maps: maps.flatten(2).transpose(1, 2),
    "NCL": lambda maps: maps.flatten(2),
}


@pytest.mark.parametrize("channels", [3, 4, 5, 16])  # 4 x 4 positions, 16 tokens
@pytest.mark.parametrize("form", FORMS)
def test_channels_are_found_whatever_their_axis(form, channels):
    net = Shaped(FORMS[form], channels).eval()
    backbone = build_backbone(net)
    images = torch.rand(2, 3, 16, 16)
    assert backbone.n_features == channels
    expected = net.conv(images).mean(dim=(2, 3))
    torch.testing.assert_close(backbone.module(images), expected)


class Fixed(Shaped):
    def forward(self, images):
        if images.shape[-1] != 16:
            raise AssertionError("for 16 pixels only")
        return super().forward(images)


def test_axes_that_cannot_be_told_apart_are_refused_or_stated():
    with pytest.raises(ValueError, match="axis of the channels is not recognisable"):
        build_backbone(Fixed(FORMS["NHWC"], 4))
    net = Fixed(FORMS["NHWC"], 4, output_fmt="NHWC").eval()
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(
        build_backbone(net).module(images), net.conv(images).mean(dim=(2, 3))
    )


def test_volumes_with_channels_last():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(3, 5, 2, stride=2)

        def forward(self, volumes):
            return self.conv(volumes).permute(0, 2, 3, 4, 1)

    net = Deep()
    net.preprocessing = {"size": 8, "mean": 0.5, "std": 0.5}
    assert build_backbone(net, depth=4).n_features == 5


@pytest.mark.long
def test_swin_has_channels_last():
    backbone = build_backbone("swin_t", weights=None, layer="norm", input_size=64)
    assert backbone.n_features == 768
    widths = [
        build_backbone("swin_t", weights=None, layer=f"block{i}", input_size=64)
        for i in (1, 2, 3, 4)
    ]
    assert [net.n_features for net in widths] == [96, 192, 384, 768]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["block1", "block2", "block3", "block4"])
def test_plain_transformers_have_no_stages(stage):
    with pytest.raises(ValueError, match=r"tokens of one.*encoder\.layers\.encoder_l"):
        build_backbone("vit_b_16", weights=None, layer=stage)


class Attention(nn.Module):
    """Returns its attention map (B, heads, N, N) of 16 tokens beside 4 x 4 maps."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Identity()
        self.project = nn.Conv2d(6, 6, 1)

    def forward(self, maps):
        tokens = maps.flatten(2).transpose(1, 2)
        weights = self.drop((tokens @ tokens.transpose(1, 2)).softmax(-1)[:, None])
        mixed = (weights[:, 0] @ tokens).transpose(1, 2)
        return self.project(mixed.unflatten(2, (4, 4)))


def test_attention_maps_are_no_stages():
    class Mixed(nn.Module):
        preprocessing = Preprocessing(64, (0.5,) * 3, (0.5,) * 3)

        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 4, stride=4)  # 16 x 16, as the attention
            self.down = nn.Conv2d(6, 6, 4, stride=4)
            self.attention = Attention()

        def forward(self, images):
            return self.attention(self.down(self.stem(images)))

    net = Mixed().eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        found = cut_at(net, "block1", "Mixed", images)(images)
        torch.testing.assert_close(found, net.stem(images))


# ---------------------------------------------------------------- replaced code


class Two(nn.Module):
    preprocessing = GREY

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 3)

    def forward(self, images):
        return self.second(self.first(images)).mean(dim=(2, 3))

    def doubled(self, images):
        return self.second(self.first(2 * images)).mean(dim=(2, 3))


def replace(net):
    net.forward = net.doubled


def hook_before(net):
    net.register_forward_pre_hook(lambda _m, inputs: (inputs[0] + 1,))


@pytest.mark.parametrize("change", [replace, hook_before])
def test_a_cut_that_loses_code_is_refused(change):
    net = Two()
    assert build_backbone(net, layer="first").n_features == 4
    change(net)
    with pytest.raises(ValueError, match="gives another output.*replaced forward or h"):
        build_backbone(net, layer="first")


def hook_after(net):
    net.register_forward_hook(lambda _m, _i, output: output * 2)


def test_a_network_that_changes_its_images_is_not_split():
    net = Two().eval()
    hook_before(net)
    images = torch.rand(2, 3, 16, 16)
    with pytest.warns(UserWarning, match="Two is not cut into a frozen trunk"):
        split = split_backbone(net, ["second"], images)
    assert split.trunk is None
    assert split.fingerprint_suffix == ""
    torch.testing.assert_close(split.tail(images), net(images))
    assert split.trainable == ("second.weight", "second.bias")


@pytest.mark.parametrize("change", [replace, hook_after])
def test_code_that_a_trace_loses_is_replayed(change):
    net = Two().eval()
    change(net)
    images = torch.rand(2, 3, 16, 16)
    split = split_backbone(net, ["second"], images)
    other = torch.rand(3, 3, 16, 16)
    features = split.trunk(other)
    torch.testing.assert_close(split.tail(features), net(other))
    split.tail(features).sum().backward()
    trained = dict(split.tail.named_parameters())
    assert all(trained[name].grad.abs().sum() > 0 for name in split.trainable)


def test_parts_that_give_another_output_are_not_used():
    class Sized(Two):
        """A trace keeps the answer to the question of its first call."""

        def forward(self, images):
            scale = 3.0 if torch.fx._symbolic_trace.is_fx_tracing() else 1.0
            return super().forward(images) * scale

    net = Sized().eval()
    images = torch.rand(2, 3, 16, 16)
    split = split_backbone(net, ["second"], images)  # replayed, not traced
    assert split.fingerprint_suffix == ":until the call of second"
    torch.testing.assert_close(split.tail(split.trunk(images)), net(images))


# ---------------------------------------------------------------- outputs


class ModelOutput(dict):
    """The outputs of Hugging Face are mappings with these two properties."""

    def to_tuple(self):
        return tuple(self.values())


class Returning(nn.Module):
    preprocessing = GREY

    def __init__(self, make):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, stride=4)
        self.make = make

    def forward(self, images):
        maps = self.conv(images)
        tokens = maps.flatten(2).transpose(1, 2)
        return self.make(maps, tokens)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda maps, t: ModelOutput(last_hidden_state=t, pooler_output=t[:, 0]),
            "cls",
        ),
        (lambda maps, t: ModelOutput(last_hidden_state=t, pooler_output=None), "mean"),
        (lambda maps, t: ModelOutput(last_hidden_state=t, image_embeds=t[:, 0]), "cls"),
        (lambda maps, t: ModelOutput(last_hidden_state=maps), "mean"),
    ],
)
def test_outputs_of_hugging_face(make, expected):
    net = Returning(make).eval()
    backbone = build_backbone(net)
    images = torch.rand(2, 3, 16, 16)
    maps = net.conv(images)
    wanted = maps[:, :, 0, 0] if expected == "cls" else maps.mean(dim=(2, 3))
    torch.testing.assert_close(backbone.module(images), wanted)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda maps, t: (maps, t), "tuple"),
        (lambda maps, t: {"pooler_output": t[:, 0]}, "dict"),
        (lambda maps, t: ModelOutput(logits=t[:, 0]), "ModelOutput"),
    ],
)
def test_other_containers_are_refused(make, name):
    with pytest.raises(ValueError, match=f"returns {name}"):
        build_backbone(Returning(make))


def test_an_output_that_loses_the_axis_of_the_images():
    with pytest.raises(ValueError, match="one row per image.*squeeze"):
        build_backbone(Returning(lambda maps, t: maps.mean(dim=(2, 3)).squeeze()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_of_other_precisions_are_run_in_float32(dtype):
    net = Shaped(FORMS["NCHW"]).to(dtype)
    backbone = build_backbone(net)
    assert {p.dtype for p in backbone.module.parameters()} == {torch.float32}
    assert {p.dtype for p in net.parameters()} == {dtype}


# ---------------------------------------------------------------- not finite


class Broken(nn.Module):
    """NaN or infinity for bright images."""

    preprocessing = Preprocessing(16, (0.0,) * 3, (1.0,) * 3)

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, images):
        means = images.mean(dim=(2, 3))
        return torch.where(means > 0.9, self.value, means)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_without_a_finite_output_is_told_from_an_absent_image(
    tmp_path, value
):
    dark, bright = (np.full((9, 9), v, dtype=np.uint8) for v in (10, 255))
    cells = [dark, None, bright, bright]
    store = EmbeddingStore(tmp_path)
    embedder = ImageEmbedder(Broken(value), store=store).fit(cells)
    with pytest.raises(ValueError, match=r"for 2 of the 4 images.*positions 2, 3"):
        embedder.transform(cells)
    embedder.set_params(on_error="missing")
    with pytest.warns(UserWarning, match="NaN or infinity for 2 of the 4.*not stored"):
        rows = embedder.transform(cells)
    assert np.isfinite(rows).all(axis=1).tolist() == [True, False, False, False]
    assert np.isnan(rows[1:]).all()
    assert store.info()["entries"] == 1
