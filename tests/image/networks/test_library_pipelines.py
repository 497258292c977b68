"""Embeddings are those of the libraries' own pipelines, from files to vectors.

Small networks with random weights are saved by transformers, timm and open_clip, and
loaded by name. The expected vectors come from the processor and the model of the
library. Images of 16 bits are given to it as floats, because its own reading of them
clips or rounds to 8 bits.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from skfusion import ImageEmbedder, read_image
from skfusion.image.networks._torchvision import prepare_torchvision
from skfusion.image.networks.backbones import build_backbone

prepare_torchvision()
TOLERANCE = 1e-5
SHAPES = ((40, 40), (41, 64), (67, 45), (20, 29))
SIZES = {
    **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 48, "image_size": 32, "patch_size": 8},
}


def package(name):
    return pytest.importorskip(name, reason=f"{name} is not installed")


def pictures(kind):
    """Noise in a square, a wide, a high and a small image."""
    rng = np.random.default_rng(0)
    if kind == "16 bits":
        return [rng.integers(0, 65536, shape).astype(np.uint16) for shape in SHAPES]
    channels = (3,) if kind == "colour" else ()
    return [
        rng.integers(0, 256, (*shape, *channels), dtype=np.uint8) for shape in SHAPES
    ]


def embedded(name, images, **settings):
    cells = np.empty(len(images), dtype=object)
    cells[:] = images
    return ImageEmbedder(name, store=None, **settings).fit_transform(cells)


def check(name, kind, expected_of):
    """Compare with the pipeline of a library, given as function of a picture."""
    images = pictures(kind)
    found = embedded(name, images)
    with torch.inference_mode():
        expected = [expected_of(one).numpy().reshape(-1) for one in map(given, images)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    assert np.ptp(found, axis=0).max() > 1e-3  # they tell images apart


def given(image):
    """A picture as the library takes it: of Pillow, or floats (3, H, W)."""
    if image.dtype == np.uint8:
        return Image.fromarray(image).convert("RGB")
    return torch.from_numpy(read_image(image).array)[None].repeat(3, 1, 1)


# -- transformers ----------------------------------------------------------------------


SQUARE, CROP = {"height": 32, "width": 32}, {"do_center_crop": True}
PROCESSORS = {
    "squash": ("ViTImageProcessor", {"size": SQUARE, "resample": 2}),
    "margin": (
        "BitImageProcessor",
        {"size": {"shortest_edge": 37}, "crop_size": SQUARE, "resample": 3, **CROP},
    ),
    "crop": (
        "CLIPImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_size": SQUARE, **CROP},
    ),
    "SigLIP": ("SiglipImageProcessor", {"size": SQUARE}),
    "squash and crop": (
        "DeiTImageProcessor",
        {"size": {"height": 40, "width": 40}, "crop_size": SQUARE, **CROP},
    ),
    "ConvNeXT": (
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_pct": 0.875},
    ),
    "DINOv3": ("DINOv3ViTImageProcessor", {"size": SQUARE, "resample": 3}),
}


def saved_vit(folder, kind, settings):
    transformers = package("transformers")
    torch.manual_seed(1)
    model = transformers.ViTModel(transformers.ViTConfig(**SIZES)).eval()
    model.save_pretrained(folder)
    if not any(hasattr(transformers, kind + end) for end in ("", "Fast")):
        pytest.skip(f"this transformers has no {kind}")
    text = json.dumps({"image_processor_type": kind, **settings})
    (folder / "preprocessor_config.json").write_text(text)
    return model, transformers.AutoImageProcessor.from_pretrained(folder)


@pytest.mark.parametrize("kind", ["grey", "colour", "16 bits"])
@pytest.mark.parametrize(("name", "settings"), PROCESSORS.values(), ids=PROCESSORS)
def test_processors_of_transformers(tmp_path, name, settings, kind):
    model, processor = saved_vit(tmp_path, name, settings)

    def expected(image):
        options = {} if isinstance(image, Image.Image) else {"do_rescale": False}
        return model(**processor([image], return_tensors="pt", **options)).pooler_output

    check(f"hf:{tmp_path}", kind, expected)


@pytest.mark.parametrize("name", ["ViTImageProcessorPil", "CLIPImageProcessorPil"])
def test_processors_that_use_pillow(tmp_path, name):
    transformers = package("transformers")
    if not hasattr(transformers, name):
        pytest.skip("this transformers names its processors otherwise")
    settings = PROCESSORS["crop" if name.startswith("CLIP") else "squash"][1]
    model, _ = saved_vit(tmp_path, name.removesuffix("Pil"), settings)
    processor = getattr(transformers, name)(**settings)
    model.preprocessing = processor

    def expected(image):
        return model(**processor([image], return_tensors="pt")).pooler_output

    check(model, "colour", expected)


def test_a_class_with_steps_of_its_own_is_noticed(tmp_path):
    saved_vit(
        tmp_path,
        "LevitImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_size": SQUARE, **CROP},
    )
    with pytest.warns(UserWarning, match="Levit.*does more than its settings say"):
        build_backbone(f"hf:{tmp_path}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a choice is no guess
        chosen = build_backbone(f"hf:{tmp_path}", resize="pad")
    assert chosen.preprocessing.resize_mode == "pad"


# -- timm ------------------------------------------------------------------------------


def saved_timm(folder, **settings):
    timm = package("timm")
    torch.manual_seed(1)
    model = timm.create_model("test_vit", pretrained=False, num_classes=0)
    config = {
        **{k: v for k, v in model.pretrained_cfg.items() if "url" not in k},
        **{"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.2], "interpolation": "bicubic"},
        **settings,
    }
    text = {"architecture": "test_vit", "num_classes": 0, "pretrained_cfg": config}
    (folder / "config.json").write_text(json.dumps(text))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    options = timm.data.resolve_model_data_config(loaded)
    return loaded, timm.data.create_transform(**options, is_training=False)


@pytest.mark.parametrize("kind", ["grey", "colour", "16 bits"])
@pytest.mark.parametrize(
    ("mode", "share"), [("center", 0.9), ("center", 1.0), ("squash", 0.875)]
)
def test_transforms_of_timm(tmp_path, mode, share, kind):
    model, transform = saved_timm(tmp_path, crop_mode=mode, crop_pct=share)
    check(
        f"timm:local-dir:{tmp_path}", kind, lambda image: model(transform(image)[None])
    )


@pytest.mark.parametrize("kind", ["grey", "colour"])
@pytest.mark.parametrize("share", [0.9, 1.0])
def test_borders_of_timm_have_the_mean_colour(tmp_path, share, kind):
    # Its borders of floats are on the scale of bytes.
    model, transform = saved_timm(tmp_path, crop_mode="border", crop_pct=share)
    check(
        f"timm:local-dir:{tmp_path}", kind, lambda image: model(transform(image)[None])
    )


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_networks_of_timm_within_transformers(tmp_path, kind):
    transformers = package("transformers")
    if not hasattr(transformers, "TimmWrapperModel"):
        pytest.skip("this transformers does not wrap timm")
    safetensors = pytest.importorskip("safetensors.torch")
    saved_timm(tmp_path, crop_pct=0.9)
    weights = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    path = tmp_path / "model.safetensors"
    safetensors.save_file(weights, path, metadata={"format": "pt"})
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)

    def expected(image):
        return model(**processor([image], return_tensors="pt")).pooler_output

    check(f"hf:{tmp_path}", kind, expected)


# -- open_clip -------------------------------------------------------------------------


def saved_open_clip(folder, **settings):
    open_clip = package("open_clip")
    torch.manual_seed(1)
    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    config = {
        "embed_dim": 16,
        "vision_cfg": {**vision, "head_width": 16},
        "text_cfg": text,
    }
    stated = {"mean": [0.1, 0.2, 0.3], "std": [0.5] * 3, **settings}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": stated})
    (folder / "open_clip_config.json").write_text(text)
    weights = open_clip.CLIP(**config).state_dict()
    torch.save(weights, folder / "open_clip_pytorch_model.bin")
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    return model.eval(), transform


@pytest.mark.parametrize("kind", ["grey", "colour", "16 bits"])
@pytest.mark.parametrize(
    ("mode", "interpolation"),
    [
        *(("shortest", "bicubic"), ("squash", "bilinear"), ("squash", "random")),
        ("longest", "bicubic"),
    ],
)
def test_transforms_of_open_clip(tmp_path, mode, interpolation, kind):
    model, transform = saved_open_clip(
        tmp_path, resize_mode=mode, interpolation=interpolation
    )
    if mode == "longest" and kind == "16 bits":
        pytest.skip("its resizing to the longer edge takes images of Pillow only")
    check(
        f"open_clip:local-dir:{tmp_path}",
        kind,
        lambda image: model.encode_image(transform(image)[None]),
    )


def test_borders_of_open_clip_have_their_colour(tmp_path):
    settings = {"interpolation": "bicubic", "fill_color": 100}
    model, transform = saved_open_clip(tmp_path, resize_mode="longest", **settings)
    check(
        f"open_clip:local-dir:{tmp_path}",
        "colour",
        lambda image: model.encode_image(transform(image)[None]),
    )


# -- half precision --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_computed_in_float32(tmp_path, dtype):
    """The arithmetic is float32 on weights that have been rounded once."""
    model, processor = saved_vit(tmp_path, *PROCESSORS["squash"])
    model.to(dtype).save_pretrained(tmp_path)
    exact = model.float()

    def expected(image):
        return exact(**processor([image], return_tensors="pt")).pooler_output

    check(f"hf:{tmp_path}", "grey", expected)
    asked = build_backbone(f"hf:{tmp_path}", backbone_params={"dtype": torch.float16})
    assert {p.dtype for p in asked.module.parameters()} == {torch.float32}
