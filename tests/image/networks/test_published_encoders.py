"""Preprocessing of eight published encoders, and a film of 16 bits through each.

Five configurations come from the registries that timm and open_clip install. Those of
RAD-DINO, MedSigLIP and BiomedCLIP are written down from their repositories. No weights
are run here: the network is a stand-in, the preprocessing is theirs.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from skfusion import read_image
from skfusion.image.networks._torchvision import prepare_torchvision
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.stated import stated_preprocessing

prepare_torchvision()
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5,) * 3, (0.5,) * 3)
#: From huggingface.co/microsoft/rad-dino: shorter edge to 518 pixels, centre crop. The
#: mean and standard deviation were not compared with the file. Not run here.
RAD_DINO = {
    "image_processor_type": "BitImageProcessor",
    **{"do_resize": True, "size": {"shortest_edge": 518}, "resample": 3},
    **{"do_center_crop": True, "crop_size": {"height": 518, "width": 518}},
    **{"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True},
    **{"image_mean": [0.5307] * 3, "image_std": [0.2583] * 3},
}
#: From huggingface.co/google/medsiglip-448, preprocessor_config.json. Not run here.
MEDSIGLIP = {
    "image_processor_type": "SiglipImageProcessor",
    **{"do_resize": True, "size": {"height": 448, "width": 448}, "resample": 3},
    **{"do_rescale": True, "rescale_factor": 0.00392156862, "do_normalize": True},
    **{"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
}
#: From huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224,
#: open_clip_config.json. Not run here.
BIOMEDCLIP = {"mean": CLIP[0], "std": CLIP[1]}


def package(name):
    return pytest.importorskip(name, reason=f"{name} is not installed")


def of_timm(name):
    timm = package("timm")
    config = timm.get_pretrained_cfg(name)
    options = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
    transform = timm.data.create_transform(**options, is_training=False)
    return {"pretrained_cfg": config}, transform


def of_open_clip(config, size=224):
    transform = package("open_clip").transform
    if isinstance(config, tuple):
        config = package("open_clip").get_pretrained_cfg(*config)
    merged = transform.merge_preprocess_dict(transform.PreprocessCfg(size=size), config)
    stated = transform.PreprocessCfg(**merged)
    pipeline = transform.image_transform_v2(stated, is_train=False)
    return {"preprocess_cfg": asdict(stated)}, pipeline


def of_transformers(settings):
    transformers = package("transformers")
    kind = getattr(transformers, settings["image_processor_type"])
    processor = kind(**{k: v for k, v in settings.items() if "type" not in k})

    def pipeline(image):
        return processor([image], return_tensors="pt")["pixel_values"][0]

    return {"preprocessing": processor}, pipeline


#: Source, and what is expected: input size, edge before the crop, statistics, mode.
PUBLISHED = {
    "DINOv2": (
        lambda: of_timm("vit_small_patch14_reg4_dinov2.lvd142m"),
        (518, None, IMAGENET, "crop"),
    ),
    "DINOv3": (
        lambda: of_timm("vit_small_patch16_dinov3.lvd1689m"),
        (256, None, IMAGENET, "crop"),
    ),
    "ViT augreg": (
        lambda: of_timm("vit_small_patch16_224.augreg_in21k"),
        (224, 248, HALF, "crop"),
    ),
    "SigLIP": (
        lambda: of_open_clip(("ViT-B-16-SigLIP", "webli")),
        (224, None, HALF, "squash"),
    ),
    "CLIP ViT-B/32": (
        lambda: of_open_clip(("ViT-B-32", "openai")),
        (224, None, CLIP, "crop"),
    ),
    "RAD-DINO": (
        lambda: of_transformers(RAD_DINO),
        (518, None, ((0.5307,) * 3, (0.2583,) * 3), "crop"),
    ),
    "MedSigLIP": (lambda: of_transformers(MEDSIGLIP), (448, None, HALF, "squash")),
    "BiomedCLIP": (lambda: of_open_clip(BIOMEDCLIP), (224, None, CLIP, "crop")),
}


class StandIn(nn.Module):
    """A network that has the preprocessing of another."""

    def __init__(self, **stated):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 14, stride=14)
        for name, value in stated.items():
            setattr(self, name, value)

    def forward(self, images):
        return self.conv(images).mean(dim=(2, 3))


def resolved(stated, **settings):
    return build_backbone(StandIn(**stated), **settings).preprocessing


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_preprocessing_of_published_encoders(name):
    source, (side, edge, statistics, mode) = PUBLISHED[name]
    stated, pipeline = source()
    found = resolved(stated)
    assert (found.input_size, found.resize_size) == (side, edge)
    assert (found.mean, found.std) == statistics
    assert (found.resize_mode, found.interpolation) == (mode, "bicubic")
    rng = np.random.default_rng(0)
    for shape in ((300, 421, 3), (611, 540)):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        expected = pipeline(Image.fromarray(pixels).convert("RGB"))
        small = found([read_image(pixels)])[0].expand(3, -1, -1)
        np.testing.assert_allclose(small, expected, rtol=0, atol=1e-5)


# -- a film of 16 bits -----------------------------------------------------------------


DEPTH = 40  # of a shadow on the film, in levels of 16 bits: a sixth of one of 8 bits


def film(with_shadow):
    """A film of 700 x 600 pixels that is brighter to the right."""
    x = np.linspace(20_000, 45_000, 600)[None]
    values = np.repeat(x, 700, axis=0) + np.linspace(0, 200, 700)[:, None]
    if with_shadow:
        values[300:400, 250:350] -= DEPTH
    return np.rint(values).astype(np.uint16)


def of_pillow(pixels):
    """What `Image.open(path).convert("RGB")` makes of such a file: 255 is the end."""
    return Image.fromarray(pixels).convert("RGB")


def of_bytes(pixels):
    """The film scaled to 8 bits."""
    low, high = np.percentile(pixels, (0.5, 99.5))
    levels = np.rint(255 * np.clip((pixels - low) / (high - low), 0, 1))
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB")


def n_levels(tensor):
    return len(np.unique(np.asarray(tensor[0], dtype=np.float32)))


def levels_and_shadow(inputs):
    """Count levels, and compare the shadow with the noise that rounding makes."""
    without, with_shadow = (np.asarray(part[0], np.float64) for part in inputs)
    difference = without - with_shadow
    return n_levels(inputs[0]), float((difference > 0).mean()), difference


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_film_keeps_its_levels_through_published_encoders(name):
    stated, pipeline = PUBLISHED[name][0]()
    ours = resolved(stated)
    films = [film(False), film(True)]
    kept = [ours([read_image(pixels)])[0] for pixels in films]
    clipped = [pipeline(of_pillow(pixels)) for pixels in films]
    rounded = [pipeline(of_bytes(pixels)) for pixels in films]
    side = ours.input_size
    assert n_levels(kept[0]) > 20 * side  # about as many as there are pixels
    assert n_levels(clipped[0]) == 1
    assert n_levels(rounded[0]) <= 256
    # The shadow covers 2.4 % of the film, and more of its centre.
    _, share, difference = levels_and_shadow(kept)
    _, of_clipped, _ = levels_and_shadow(clipped)
    _, of_rounded, _ = levels_and_shadow(rounded)
    assert 0.02 < share < 0.05
    assert of_clipped == 0
    assert of_rounded < 0.5 * share  # most pixels keep their level of 8 bits
    inside = difference[difference > 0.5 * difference.max()]
    depth = inside.mean() * ours.std[0]  # in [0, 1] of the scaled film
    low, high = np.percentile(films[0], (0.5, 99.5))
    assert depth == pytest.approx(DEPTH / (high - low), rel=0.1)


def test_a_film_embeds_otherwise_with_the_shadow():
    torch.manual_seed(0)
    stated, _ = of_open_clip(BIOMEDCLIP)
    backbone = build_backbone(StandIn(**stated))
    images = [read_image(film(shadow)) for shadow in (False, True)]
    with torch.inference_mode():
        values = backbone.module(backbone.preprocessing(images))
    assert not torch.equal(values[0], values[1])


# -- whole registries ------------------------------------------------------------------


def registered_by_timm(most_pixels):
    """One network for each way of preparing images in the registry of timm."""
    timm = package("timm")
    found = {}
    for name in timm.list_pretrained():
        config = timm.get_pretrained_cfg(name)
        options = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
        keys = ("input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")
        if max(options["input_size"]) <= most_pixels:
            found.setdefault(tuple(options[key] for key in keys), name)
    return found.values()


def registered_by_open_clip():
    open_clip = package("open_clip")
    found = {}
    for model, tag in open_clip.list_pretrained():
        size = open_clip.get_model_config(model)["vision_cfg"].get("image_size", 224)
        config = open_clip.get_pretrained_cfg(model, tag)
        keys = ("mean", "std", "interpolation", "resize_mode")
        found.setdefault(tuple(map(str, map(config.get, keys))), (config, size))
    return found.values()


@pytest.mark.slow
def test_every_way_of_preparing_images_in_the_registries():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (180, 251, 3), dtype=np.uint8)
    sources = [of_timm(name) for name in registered_by_timm(160)]
    sources += [of_open_clip(*given) for given in registered_by_open_clip()]
    assert len(sources) > 10
    for stated, pipeline in sources:
        found = resolved(stated)
        expected = pipeline(Image.fromarray(pixels))
        small = found([read_image(pixels)])[0]
        np.testing.assert_allclose(small, expected, rtol=0, atol=1e-5)


def processors_of_transformers():
    """Image processors of transformers with the settings of their class."""
    transformers = package("transformers")
    names = [name for name in dir(transformers) if "ImageProcessor" in name]
    for name in names:
        try:
            processor = getattr(transformers, name)()
        except Exception:  # bases, and classes with required settings
            continue
        if hasattr(processor, "image_mean"):
            yield processor


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_processor_of_transformers_is_misread_in_silence():
    """What a class does is understood, or refused, or a warning says that it is not."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (180, 251, 3), dtype=np.uint8)
    outcomes = dict.fromkeys(("equal", "warned", "refused"), 0)
    for processor in processors_of_transformers():
        module = StandIn(preprocessing=processor)
        try:
            found, notes = stated_preprocessing(module, None, None)
        except ValueError:
            outcomes["refused"] += 1
            continue
        if notes:
            outcomes["warned"] += 1
        elif found.input_size <= 256:
            expected = processor(images=[pixels], return_tensors="pt")["pixel_values"]
            small = found([read_image(pixels)])
            assert tuple(expected.shape) == tuple(small.shape), type(processor)
            difference = (torch.as_tensor(expected) - small).abs().mean()
            assert difference < 0.01, type(processor)
            outcomes["equal"] += 1
    assert min(outcomes.values()) > 5
