"""Encoders of Hugging Face, timm and open_clip: from folders, caches and offline."""

from __future__ import annotations

import json
import socket
import sys
import time

import numpy as np
import pytest
import torch

from skfusion import ImageEmbedder, JointFusionClassifier
from skfusion.image.networks._torchvision import prepare_torchvision
from skfusion.image.networks.backbones import build_backbone, make_backbone
from skfusion.image.networks.sources import hubs
from skfusion.image.networks.sources.hubs import is_hub_name, load_from_hub

prepare_torchvision()
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}


def package(name):
    return pytest.importorskip(name, reason=f"{name} is not installed")


@pytest.fixture
def no_hub(monkeypatch):
    """Refuse connections, and note the attempts."""
    tried = []

    def refused(address, *args, **kwargs):
        tried.append(address)
        raise OSError("no network")

    for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(hubs, "cached_file", lambda *args: "")
    monkeypatch.setattr(socket, "create_connection", refused)
    return tried


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf:microsoft/rad-dino", True),
        ("open_clip:ViT-B-32/openai", True),
        ("timm:hf-hub:a/b", True),
        ("timm:local-dir:x", True),
        ("timm:resnet18", False),
        ("resnet18", False),
        ("xrv:densenet121-res224-all", False),
    ],
)
def test_names(name, expected):
    assert is_hub_name(name) is expected


def test_parameters_are_for_hubs_and_timm():
    with pytest.raises(ValueError, match=r"backbone_params are for.*'resnet18'"):
        make_backbone("resnet18", weights=None, backbone_params={"a": 1})
    with pytest.raises(ValueError, match="has no name after the colon"):
        load_from_hub("hf:")


def test_parameters_of_timm_are_part_of_the_fingerprint():
    timm = package("timm")
    pooled, plain = (
        make_backbone("timm:test_vit", weights=None, backbone_params=params)
        for params in ({"global_pool": "avg", "fc_norm": False}, None)
    )
    assert pooled.fingerprint != plain.fingerprint
    assert pooled.preprocessing == plain.preprocessing
    net = timm.create_model("test_vit", num_classes=0, global_pool="avg", fc_norm=False)
    net.load_state_dict(pooled.module.state_dict())
    images = plain.preprocessing.example(2)
    with torch.inference_mode():
        torch.testing.assert_close(pooled.module(images), net.eval()(images))


def test_networks_of_one_size_are_built_for_another(tmp_path):
    timm = package("timm")
    name = "vit_tiny_patch16_224"
    small = make_backbone(f"timm:{name}", weights=None, input_size=64)
    assert small.preprocessing.input_size == 64
    assert small.preprocessing.resize_size == 71  # the share of the crop is kept
    assert small.module.pos_embed.shape[1] == 1 + 4**2
    by_module = build_backbone(
        timm.create_model(name, img_size=64, num_classes=0), input_size=64
    )
    assert by_module.preprocessing == small.preprocessing


@pytest.mark.parametrize("source", ["hf:a/b", "timm:hf-hub:a/b"])
def test_an_absent_encoder_is_told_at_once(no_hub, monkeypatch, source):
    package({"hf": "transformers", "timm": "timm"}[source.partition(":")[0]])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    start = time.monotonic()
    with pytest.raises(ValueError, match="hf download a/b --local-dir FOLDER") as told:
        load_from_hub(source)
    assert time.monotonic() - start < 20  # without retries
    assert "HF_HUB_OFFLINE is set" in str(told.value)
    assert not no_hub


def test_a_hub_that_cannot_be_reached(no_hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid:8080")
    assert hubs.why_offline() == "hub.invalid cannot be reached (OSError)"
    assert no_hub == [("hub.invalid", 8080)]
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    assert hubs.why_offline() == "the proxy proxy.invalid cannot be reached (OSError)"
    assert no_hub[1:] == [("proxy.invalid", 3128)]
    monkeypatch.setenv("no_proxy", "hub.invalid")
    assert hubs.why_offline() == "hub.invalid cannot be reached (OSError)"


def test_restricted_access_is_told():
    class GatedRepoError(Exception):
        pass

    reason = hubs._why_refused(GatedRepoError("401"), "org/name")
    assert "accept the terms at https://huggingface.co/org/name" in reason


def saved_vit(folder, *, with_processor=True):
    transformers = package("transformers")
    torch.manual_seed(1)
    model = transformers.ViTModel(transformers.ViTConfig(**SIZES)).eval()
    model.save_pretrained(folder)
    if with_processor:
        settings = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": 32, "width": 32},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.4, 0.5, 0.6],
            "image_std": [0.2, 0.2, 0.3],
            "resample": 2,
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return model


def test_a_folder_of_hugging_face(tmp_path):
    model = saved_vit(tmp_path)
    backbone = build_backbone(f"hf:{tmp_path}")
    assert backbone.name == f"hf:{tmp_path}"
    assert not backbone.not_stored
    stated = backbone.preprocessing
    assert (stated.input_size, stated.mean) == (32, (0.4, 0.5, 0.6))
    images = stated.example(3)
    with torch.inference_mode():
        expected = model(images).pooler_output
        torch.testing.assert_close(backbone.module(images), expected)
    again = build_backbone(f"hf:{tmp_path}")
    assert again.fingerprint == backbone.fingerprint
    random = build_backbone(f"hf:{tmp_path}", weights=None)
    assert random.fingerprint != backbone.fingerprint


def test_the_pipeline_of_the_library_on_square_images(tmp_path):
    model = saved_vit(tmp_path)
    transformers = sys.modules["transformers"]
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (32, 32, 3), dtype=np.uint8) for _ in range(3)]
    inputs = processor(images, return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs).pooler_output.numpy()
    embedder = ImageEmbedder(f"hf:{tmp_path}", store=tmp_path / "store")
    cells = np.empty(3, dtype=object)
    cells[:] = images
    found = embedder.fit_transform(cells)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_two_towers_give_image_features(tmp_path):
    transformers = package("transformers")
    torch.manual_seed(0)
    text = {**SIZES, "vocab_size": 50, "max_position_embeddings": 8}
    config = transformers.CLIPConfig(
        text_config=text, vision_config=SIZES, projection_dim=24
    )
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="does not state its preprocessing"):
        backbone = build_backbone(f"hf:{tmp_path}")
    assert backbone.n_features == 24
    images = backbone.preprocessing.example(2)
    with torch.inference_mode():
        expected = model.get_image_features(pixel_values=images)
        expected = getattr(expected, "pooler_output", expected)
        torch.testing.assert_close(backbone.module(images), expected)
        states = model.vision_model(pixel_values=images).last_hidden_state
    with pytest.warns(UserWarning, match="does not state its preprocessing"):
        tokens = build_backbone(f"hf:{tmp_path}", pooling="cls")
    with torch.inference_mode():
        torch.testing.assert_close(tokens.module(images), states[:, 0])


def test_a_text_encoder_is_refused(tmp_path):
    transformers = package("transformers")
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=20
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="takes 'input_ids', not images"):
        load_from_hub(f"hf:{tmp_path}")


def test_a_damaged_folder_is_told(tmp_path):
    package("transformers")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be loaded from its folder"):
        load_from_hub(f"hf:{tmp_path}")


def saved_timm(folder):
    timm = package("timm")
    torch.manual_seed(1)
    name = "test_vit"
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    config = {
        "architecture": name,
        "num_classes": 0,
        "pretrained_cfg": {
            **{k: v for k, v in model.pretrained_cfg.items() if "url" not in k},
            "mean": [0.1, 0.2, 0.3],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bilinear",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return model


def test_a_folder_of_timm(tmp_path):
    model = saved_timm(tmp_path)
    backbone = build_backbone(f"timm:local-dir:{tmp_path}")
    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3)
    assert backbone.preprocessing.interpolation == "bilinear"
    images = backbone.preprocessing.example(2)
    with torch.inference_mode():
        torch.testing.assert_close(backbone.module(images), model(images))
    with pytest.raises(ValueError, match="folder that does not exist"):
        load_from_hub("timm:local-dir:absent")


def test_a_repository_in_the_cache_needs_no_network(tmp_path, no_hub, monkeypatch):
    model = saved_timm(tmp_path)
    path = str(tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(hubs, "cached_file", lambda *args: path)
    module = load_from_hub("timm:hf-hub:org/name@main")
    images = torch.rand(2, *model.pretrained_cfg["input_size"])
    with torch.inference_mode():
        torch.testing.assert_close(module(images), model(images))
    assert not no_hub


def saved_open_clip(folder):
    open_clip = package("open_clip")
    torch.manual_seed(1)
    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    config = {
        "embed_dim": 16,
        "vision_cfg": {**vision, "head_width": 16},
        "text_cfg": text,
    }
    model = open_clip.CLIP(**config).eval()
    stated = {"mean": [0.1, 0.2, 0.3], "std": [0.5] * 3, "interpolation": "bilinear"}
    settings = {"model_cfg": config, "preprocess_cfg": stated}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return model


def test_a_folder_of_open_clip(tmp_path):
    model = saved_open_clip(tmp_path)
    backbone = build_backbone(f"open_clip:local-dir:{tmp_path}")
    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3)
    images = backbone.preprocessing.example(2)
    with torch.inference_mode():
        expected = model.encode_image(images)
        torch.testing.assert_close(backbone.module(images), expected)
    random = build_backbone(f"open_clip:local-dir:{tmp_path}", weights=None)
    assert random.fingerprint != backbone.fingerprint
    again = load_from_hub(f"open_clip:local-dir:{tmp_path}", weights=None)
    with torch.inference_mode():
        torch.testing.assert_close(again(images), random.module(images))


def test_random_weights_of_each_source_are_not_those_of_the_folder(tmp_path):
    for source, save in (("hf:", saved_vit), ("timm:local-dir:", saved_timm)):
        folder = tmp_path / source.partition(":")[0]
        folder.mkdir()
        save(folder)
        trained, random = (
            load_from_hub(f"{source}{folder}", weights).state_dict()
            for weights in ("DEFAULT", None)
        )
        assert trained.keys() == random.keys()
        assert any(not torch.equal(trained[key], random[key]) for key in trained)


def test_open_clip_has_no_old_revisions(no_hub):
    package("open_clip")
    with pytest.raises(ValueError, match="newest revision only.*hf download a/b"):
        load_from_hub("open_clip:hf-hub:a/b@old")


def test_open_clip_names_its_weights():
    package("open_clip")
    with pytest.raises(ValueError, match="open_clip has"):
        load_from_hub("open_clip:nothing/openai")
    with pytest.raises(ValueError, match="needs one of the weights of ViT-B-32"):
        load_from_hub("open_clip:ViT-B-32/nothing")


@pytest.mark.slow
def test_joint_fusion_trains_the_last_block_of_an_encoder(tmp_path):
    saved_vit(tmp_path)
    rng = np.random.default_rng(0)
    cells = np.empty(40, dtype=object)
    cells[:] = list(rng.integers(0, 255, (40, 32, 32), dtype=np.uint8))
    import pandas as pd

    X = pd.DataFrame({"scan": cells, "age": rng.normal(size=40)})
    y = np.tile([0, 1], 20)
    embedder = ImageEmbedder(f"hf:{tmp_path}", store=tmp_path / "store")
    model = JointFusionClassifier(
        [("image", embedder, "scan"), ("ehr", "passthrough", ["age"])],
        max_epochs=2,
        random_state=0,
    ).fit(X, y)
    tail = model.network_.encoders["x_image"].backbone
    trained = {name for name, p in tail.named_parameters() if p.requires_grad}
    assert trained
    assert all(
        ".1." in name or "layernorm" in name or "pooler" in name for name in trained
    )
    assert model.predict_proba(X).shape == (40, 2)
