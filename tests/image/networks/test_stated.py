"""Preprocessing of modules: what is stated is taken, a guess is a warning."""

from __future__ import annotations

import warnings
from dataclasses import replace
from enum import Enum
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import skfusion.image
from skfusion import ImageEmbedder, read_image
from skfusion.image import Preprocessing, VolumePreprocessing
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD

GREY = read_image(np.arange(64, dtype=np.uint8).reshape(8, 8))
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def net(channels=3, **attributes):
    module = nn.Sequential(nn.Conv2d(channels, 4, 3))
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def stated(preprocessing, channels=3, **settings):
    backbone = build_backbone(net(channels, preprocessing=preprocessing), **settings)
    return backbone.preprocessing


def processor(**settings):
    """An image processor of Hugging Face, by its attributes."""
    return SimpleNamespace(
        **{
            "image_mean": list(MEAN),
            "image_std": list(STD),
            "size": {"height": 20, "width": 20},
            "resample": 3,
            "do_normalize": True,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            **settings,
        }
    )


class Mode(Enum):
    BICUBIC = "bicubic"


class Resize:
    def __init__(self, size, interpolation=Mode.BICUBIC):
        self.size, self.interpolation = size, interpolation


class CenterCrop:
    def __init__(self, size):
        self.size = size


class Normalize:
    def __init__(self, mean, std):
        self.mean, self.std = mean, std


class ToTensor:
    pass


class ToDtype:
    def __init__(self, scale):
        self.scale = scale


class RandomCrop(CenterCrop):
    pass


class Compose:
    def __init__(self, *transforms):
        self.transforms = list(transforms)


PRESET = SimpleNamespace(
    crop_size=[20], resize_size=[22], mean=MEAN, std=STD, interpolation=Mode.BICUBIC
)
OPEN_CLIP = {
    "size": (20, 20),
    "mode": "RGB",
    "mean": MEAN,
    "std": STD,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
TIMM = {
    "url": "",
    "architecture": "net",
    "input_size": (3, 20, 20),
    "mean": MEAN,
    "std": STD,
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "num_classes": 1000,
}
PILLOW = {"resampler": "pillow", "clip": False}
HF = {"clip": False, "crop_rounding": "down"}
CROPPED = {"resize_mode": "crop", **PILLOW}


def expected(**settings):
    return Preprocessing(20, MEAN, STD, "bicubic", **settings)


EXPECTED = expected()
EXPECTED_OF_TIMM = expected(resize_size=22, **CROPPED)
FORMS = {
    "skfusion": (EXPECTED, EXPECTED),
    "processor": (processor(), expected(resampler="pillow", **HF)),
    "processor of torch": (processor(backend="torchvision"), expected(**HF)),
    "processor with attributes": (
        processor(size=SimpleNamespace(height=20, width=20)),
        expected(resampler="pillow", **HF),
    ),
    "processor that crops": (
        processor(
            size={"shortest_edge": 24},
            crop_size={"height": 20, "width": 20},
            do_center_crop=True,
        ),
        expected(resize_mode="crop", resize_size=24, resampler="pillow", **HF),
    ),
    "processor that squashes and crops": (
        processor(
            size={"height": 24, "width": 24},
            crop_size={"height": 20, "width": 20},
            do_center_crop=True,
        ),
        expected(resize_size=24, resampler="pillow", **HF),
    ),
    "processor of ConvNeXT": (
        processor(size={"shortest_edge": 20}, crop_pct=0.875),
        expected(resize_mode="crop", resize_size=22, resampler="pillow", **HF),
    ),
    "processor in a processor": (
        SimpleNamespace(image_processor=processor()),
        expected(resampler="pillow", **HF),
    ),
    "settings of a processor": (vars(processor()), expected(**HF)),
    "settings of DINOv3": (
        vars(processor(image_processor_type="DINOv3ViTImageProcessorFast")),
        expected(rescale_first=True, **HF),
    ),
    "processor without rescaling": (
        processor(
            do_rescale=False,
            image_mean=[255 * m for m in MEAN],
            image_std=[255 * s for s in STD],
        ),
        expected(resampler="pillow", **HF),
    ),
    "dict": (
        {"size": 20, "mean": MEAN, "std": STD, "interpolation": "bicubic"},
        EXPECTED,
    ),
    "dict with other names": (
        {
            "image_size": [20, 20],
            "image_mean": MEAN,
            "image_std": STD,
            "resample": 3,
        },
        EXPECTED,
    ),
    "open_clip": (OPEN_CLIP, expected(**CROPPED)),
    "open_clip that squashes": (
        OPEN_CLIP | {"resize_mode": "squash", "interpolation": "random"},
        expected(**PILLOW),
    ),
    "open_clip that pads": (
        OPEN_CLIP | {"resize_mode": "longest", "fill_color": 51},
        expected(resize_mode="pad", fill=(0.2,), **PILLOW),
    ),
    "timm": (TIMM, EXPECTED_OF_TIMM),
    "timm that squashes": (
        TIMM | {"crop_mode": "squash", "crop_pct": 1.0},
        expected(**PILLOW),
    ),
    "timm that pads": (
        TIMM | {"crop_mode": "border", "mean": (0.2, 0.4, 0.6)},
        Preprocessing(
            20,
            (0.2, 0.4, 0.6),
            STD,
            "bicubic",
            resize_mode="pad",
            resize_size=22,
            fill=(0.2, 0.4, 0.6),
            **PILLOW,
        ),
    ),
    "preset": (PRESET, EXPECTED_OF_TIMM),
    "transform": (
        Compose(Resize(22), CenterCrop(20), ToTensor(), Normalize(MEAN, STD)),
        EXPECTED_OF_TIMM,
    ),
    "transform of tensors": (
        Compose(ToTensor(), Resize([22]), CenterCrop(20), Normalize(MEAN, STD)),
        expected(resize_mode="crop", resize_size=22, clip=False, rescale_first=True),
    ),
    "transform v2": (
        Compose(Resize([20, 20]), ToDtype(True), Normalize(MEAN, STD)),
        expected(**PILLOW),
    ),
}


@pytest.mark.parametrize(("form", "wanted"), FORMS.values(), ids=FORMS)
def test_statements_of_all_packages(form, wanted):
    found = stated(form)
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-6)
    np.testing.assert_allclose(found.std, wanted.std, rtol=1e-6)
    assert replace(found, mean=wanted.mean, std=wanted.std) == wanted
    larger = stated(form, input_size=40)
    assert larger.input_size == 40
    if wanted.resize_size is not None:
        assert larger.resize_size in (44, 45, 48)


@pytest.mark.parametrize("mode", ["squash", "crop", "pad"])
@pytest.mark.long
def test_the_way_of_resizing_can_be_chosen(mode):
    for form, wanted in FORMS.values():
        found = stated(form, resize=mode)
        assert (found.resize_mode, found.resize_size) == (mode, None)
        assert (found.resampler, found.clip) == (wanted.resampler, wanted.clip)
    named = build_backbone("resnet18", weights=None, input_size=32, resize=mode)
    assert named.preprocessing.resize_mode == mode
    with pytest.raises(ValueError, match="resize must be one of"):
        build_backbone("resnet18", weights=None, resize="stretch")


def test_volumes_are_resized_as_a_whole():
    options = {"weights": None, "input_size": 32, "depth": 8}
    assert build_backbone("r3d_18", resize="squash", **options).preprocessing.depth == 8
    with pytest.raises(ValueError, match="resize='crop' is for images; volumes"):
        build_backbone("r3d_18", resize="crop", **options)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (processor(size={"shortest_edge": 20}), "resizes the shorter edge and does"),
        (Compose(Resize(20), Normalize(MEAN, STD)), "resizes the shorter edge and"),
        (processor(do_resize=False), "states do_resize=False"),
    ],
)
def test_what_cannot_be_kept_is_a_warning(form, message):
    with pytest.warns(UserWarning, match=message):
        assert stated(form).input_size == 20


@pytest.mark.parametrize("key", ["pretrained_cfg", "default_cfg", "preprocess_cfg"])
def test_the_configuration_of_a_network_is_its_statement(key):
    form = "open_clip" if key == "preprocess_cfg" else "timm"
    config, wanted = FORMS[form]
    assert build_backbone(net(**{key: config})).preprocessing == wanted
    as_object = SimpleNamespace(**config)
    assert build_backbone(net(**{key: as_object})).preprocessing == wanted
    both = net(**{key: config, "preprocessing": Preprocessing(24, (0.5,) * 3, STD)})
    assert build_backbone(both).preprocessing.input_size == 24


def test_classes_of_torchvision():
    pytest.importorskip("torchvision")
    from torchvision.transforms import InterpolationMode, v2
    from torchvision.transforms._presets import ImageClassification

    bicubic = InterpolationMode.BICUBIC
    preset = ImageClassification(
        crop_size=20, resize_size=22, mean=MEAN, std=STD, interpolation=bicubic
    )
    steps = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((20, 20), interpolation=bicubic),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    # both are modules themselves
    for form, wanted in ((preset, EXPECTED_OF_TIMM), (steps, expected(clip=False))):
        module = nn.Conv2d(3, 4, 3)
        module.preprocessing = form
        assert build_backbone(module).preprocessing == wanted
    # nn.Sequential takes it as one of its layers
    with pytest.raises(ValueError, match="normalise the images twice"):
        stated(preset)


@pytest.mark.parametrize(
    ("form", "kind", "message"),
    [
        (lambda image: image, TypeError, "got function.*|must be.*got function"),
        (torch.sigmoid, TypeError, "must be a Preprocessing.*got builtin"),
        (nn.ReLU(), TypeError, "got ReLU"),
        (20, TypeError, "got int"),
        ({"mean": MEAN, "std": STD, "sizes": 3}, ValueError, "unknown keys sizes"),
        ({"size": 20, "std": STD}, ValueError, "has no mean"),
        ({"mean": "a", "std": STD}, ValueError, "states mean of type str"),
        ({"mean": (124, 116, 104), "std": (58, 57, 57)}, ValueError, r"in \[0, 1\]"),
        ({"mean": MEAN, "std": (0.5, 0.0, 0.5)}, ValueError, "positive"),
        ({"mean": MEAN, "std": STD, "interpolation": "sinc"}, ValueError, "'sinc'"),
        ({"mean": MEAN, "std": STD, "size": "big"}, ValueError, "size of type str"),
        (TIMM | {"input_size": (3, 20, 24)}, ValueError, "20 x 24 pixels.*input_size"),
        (processor(do_flip_channel_order=True), ValueError, "do_flip_channel_order"),
        (processor(rescale_offset=True), ValueError, "rescale_offset"),
        (Compose(RandomCrop(20), Normalize(MEAN, STD)), ValueError, "step RandomCrop"),
        (Compose(ToDtype(False), Normalize(MEAN, STD)), ValueError, "step ToDtype"),
        (Compose(*[Normalize(MEAN, STD)] * 2), ValueError, "2 steps Normalize"),
        (Compose(*[Resize(20)] * 2), ValueError, "2 steps Resize"),
        (Compose(CenterCrop(20), Resize(20)), ValueError, "crops before it resizes"),
        (Compose(CenterCrop(20)), ValueError, "crops and does not resize"),
        (
            processor(size={"shortest_edge": 20, "longest_edge": 40}),
            ValueError,
            "limits the longer edge.*resize='squash'",
        ),
        (processor(do_pad=True), ValueError, "pads the image at the right"),
        (OPEN_CLIP | {"resize_mode": "any"}, ValueError, "resize_mode='any'"),
        (TIMM | {"crop_mode": "any"}, ValueError, "crop_mode='any'"),
    ],
)
def test_what_is_not_understood_is_refused(form, kind, message):
    with pytest.raises(kind, match=message):
        stated(form)


def test_a_size_that_is_not_square_can_be_replaced():
    form = TIMM | {"input_size": (3, 20, 24)}
    assert stated(form, input_size=24).input_size == 24


def test_a_guess_is_a_warning_with_the_remedy():
    with pytest.warns(UserWarning, match="does not state its preprocessing") as caught:
        found = build_backbone(net()).preprocessing
    assert found == Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)
    assert "module.preprocessing = skfusion.image.Preprocessing(" in str(caught[0])
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"grey pixels in \[-1, 1\]"):
        assert build_backbone(net(1)).preprocessing.mean == (0.5,)
    volumes = nn.Conv3d(3, 2, 3)
    with pytest.warns(UserWarning, match=r"Kinetics.*VolumePreprocessing\("):
        assert build_backbone(volumes, depth=4, input_size=8).n_features == 2


def test_an_embedder_warns_once_in_fit():
    images = [np.zeros((9, 9), dtype=np.uint8)]
    with pytest.warns(UserWarning, match="is a guess|are a guess") as caught:
        embedder = ImageEmbedder(net(), input_size=16, store=None).fit(images)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    embedder.transform(images)


def test_a_named_network_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_backbone("resnet18", weights=None, input_size=32)


def test_the_size_of_a_configuration_of_hugging_face_is_used():
    with pytest.warns(UserWarning, match="an input of 30 pixels"):
        found = build_backbone(net(config=SimpleNamespace(image_size=30)))
    assert found.preprocessing.input_size == 30


def test_a_wrapper_takes_the_statement_of_what_it_wraps_with_a_warning():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net(pretrained_cfg=TIMM)

        def forward(self, images):
            return self.inner(images).mean(dim=(2, 3))

    with pytest.warns(UserWarning, match="taken from its submodule 'inner'"):
        assert build_backbone(Wrapper()).preprocessing == EXPECTED_OF_TIMM


def test_channels_of_statement_and_network():
    with pytest.warns(UserWarning, match="states three channels"):
        grey = stated({"size": 20, "mean": MEAN, "std": STD}, channels=1)
    np.testing.assert_allclose((*grey.mean, *grey.std), (0.2, 0.5))
    assert stated({"size": 20, "mean": 0.5, "std": 0.2}).mean == (0.5,) * 3


def test_interpolations_without_an_equivalent_are_named():
    with pytest.warns(UserWarning, match="'lanczos', which is replaced with 'bicubic'"):
        assert stated(processor(resample=1)).interpolation == "bicubic"


def test_volumes():
    module = nn.Conv3d(3, 2, 3)
    module.preprocessing = {"size": 8, "mean": MEAN, "std": STD}
    found = build_backbone(module, depth=4).preprocessing
    assert found == VolumePreprocessing(8, 4, MEAN, STD)
    module.preprocessing = Preprocessing(8, MEAN, STD)
    with pytest.raises(TypeError, match="is used for volumes"):
        build_backbone(module, depth=4)
    with pytest.raises(TypeError, match="is used for images"):
        stated(found)


def test_networks_of_torchxrayvision_get_their_range():
    kind = type("DenseNet", (nn.Sequential,), {"__module__": "torchxrayvision.models"})
    found = build_backbone(kind(nn.Conv2d(1, 4, 3))).preprocessing
    assert found == Preprocessing(224, (0.5,), (1 / 2048,))
    assert found([GREY]).min() >= -1024
    large = kind(nn.Conv2d(1, 4, 3))
    large.weights = "resnet50-res512-all"
    assert build_backbone(large).preprocessing.input_size == 512


@pytest.mark.filterwarnings("ignore")
def test_networks_of_the_packages_themselves():
    timm = pytest.importorskip("timm")
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    by_name = build_backbone("timm:vit_tiny_patch16_224", weights=None)
    assert build_backbone(vit).preprocessing == by_name.preprocessing


def test_preprocessings_are_public():
    assert {"Preprocessing", "VolumePreprocessing"} <= set(skfusion.image.__all__)
