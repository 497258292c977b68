"""Loaders in fresh processes, without a network: from caches, or an answer at once.

A fresh process shows that each loader imports its library behind the repair of
torchvision, and that the cache of the hub is asked before the hub.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from skfusion.image.networks.backbones import build_backbone

ROOT = Path(__file__).parents[3]
CLOSED = """
import socket, sys, time
def refused(*args, **kwargs):
    raise OSError("no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
slept = []  # the clients of the hub retry for 46 s, between which they sleep
time.sleep = slept.append
"""


def in_fresh_process(tmp_path, code, **environment):
    kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT"):
        kept.pop(key, None)
    homes = {"HF_HOME": tmp_path / "hf", "HOME": tmp_path, "TORCH_HOME": tmp_path}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CLOSED + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
        env=kept
        | {key: str(path) for key, path in homes.items()}
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def installed(name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")


ABSENT = {
    "transformers": {"hf:org/absent": "hf download org/absent --local-dir FOLDER"},
    "timm": {
        "timm:hf-hub:org/absent": "hf download org/absent --local-dir FOLDER",
        "timm:resnet18": "pass their path as weights=",
        "timm:vit_small_patch14_dinov2.lvd142m": "pass their path as weights=",
    },
    "open_clip": {
        "open_clip:hf-hub:org/absent": "hf download org/absent",
        "open_clip:ViT-B-32/openai": "hf download timm/vit_base_patch32",
    },
    "torchxrayvision": {"xrv:densenet121-res224-all": "pass their path as weights="},
    "torchvision": {"resnet18": "Download it elsewhere"},
}


@pytest.mark.slow
@pytest.mark.parametrize("package", ABSENT)
def test_what_is_absent_is_told_at_once_in_a_fresh_process(tmp_path, package):
    installed(package)
    code = f"""
    from skfusion import ImageEmbedder
    import numpy as np
    for name, remedy in {ABSENT[package]!r}.items():
        embedder = ImageEmbedder(name, store=None)
        try:
            embedder.fit([np.zeros((9, 9), dtype=np.uint8)])
        except ValueError as error:
            assert remedy in str(error), error
            print(name, sum(slept))
    """
    lines = in_fresh_process(tmp_path, code).splitlines()
    told = dict(line.split() for line in lines if " " in line)
    assert {name: float(told[name]) for name in ABSENT[package]} == dict.fromkeys(
        ABSENT[package], 0.0
    )


@pytest.mark.slow
def test_an_absent_language_model_is_told_at_once_in_a_fresh_process(tmp_path):
    installed("transformers")
    code = """
    from skfusion import TextEmbedder
    try:
        TextEmbedder("hf:org/absent", store=None).fit(["a note"])
    except ValueError as error:
        print(sum(slept), error)
    """
    told = in_fresh_process(tmp_path, code)
    assert told.startswith("0 ")
    assert "hf download org/absent" in told


@pytest.mark.parametrize("source", ["hf:", "timm:hf-hub:", "open_clip:hf-hub:"])
def test_a_switch_of_the_hub_is_named_and_asked_first(monkeypatch, source):
    installed({"hf": "transformers"}.get(source[:2], source.partition(":")[0]))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("retries"))
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        build_backbone(f"{source}org/absent")


CACHED = """
import json, pathlib, torch
from skfusion.image.networks.backbones import build_backbone

def snapshot(repository):
    folder = pathlib.Path("hf/hub/models--" + repository.replace("/", "--"))
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")
    found = folder / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    found.mkdir(parents=True)
    return found

def loaded(name):
    backbone = build_backbone(name, pooling="mean")
    return backbone.module(backbone.preprocessing.example(2)), backbone
"""
SAVED = {
    "transformers": """
        from skfusion.image.networks._torchvision import prepare_torchvision
        prepare_torchvision()
        import transformers
        config = transformers.ViTConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=48, image_size=32, patch_size=8,
        )
        net = transformers.ViTModel(config).eval()
        folder = snapshot("org/net")
        net.save_pretrained(folder)
        size = {"height": 32, "width": 32}
        transformers.ViTImageProcessor(size=size).save_pretrained(folder)
        found, backbone = loaded("hf:org/net")
        expected = net(backbone.preprocessing.example(2)).pooler_output
        torch.testing.assert_close(found, expected)
        """,
    "timm": """
        from skfusion.image.networks._torchvision import prepare_torchvision
        prepare_torchvision()
        import timm
        net = timm.create_model("test_vit", pretrained=False, num_classes=0).eval()
        folder = snapshot("org/net")
        config = {"architecture": "test_vit", "num_classes": 0, "pretrained_cfg": {
            k: v for k, v in net.pretrained_cfg.items() if "url" not in k}}
        (folder / "config.json").write_text(json.dumps(config))
        torch.save(net.state_dict(), folder / "pytorch_model.bin")
        found, backbone = loaded("timm:hf-hub:org/net")
        torch.testing.assert_close(found, net(backbone.preprocessing.example(2)))
        # by a name of its registry
        net = timm.create_model("test_vit", pretrained=False).eval()
        folder = snapshot(timm.get_pretrained_cfg("test_vit").hf_hub_id)
        torch.save(net.state_dict(), folder / "pytorch_model.bin")
        found, backbone = loaded("timm:test_vit")
        images = backbone.preprocessing.example(2)
        expected = net.forward_head(net.forward_features(images), pre_logits=True)
        torch.testing.assert_close(found, expected)
        """,
    "open_clip": """
        from skfusion.image.networks._torchvision import prepare_torchvision
        prepare_torchvision()
        import open_clip
        config = {"embed_dim": 16, "vision_cfg": {
            "image_size": 32, "layers": 1, "width": 32, "patch_size": 8,
            "head_width": 16}, "text_cfg": {"context_length": 8, "vocab_size": 64,
            "width": 16, "heads": 2, "layers": 1}}
        net = open_clip.CLIP(**config).eval()
        folder = snapshot("org/net")
        text = json.dumps({"model_cfg": config, "preprocess_cfg": {}})
        (folder / "open_clip_config.json").write_text(text)
        torch.save(net.state_dict(), folder / "open_clip_pytorch_model.bin")
        found, backbone = loaded("open_clip:hf-hub:org/net")
        expected = net.encode_image(backbone.preprocessing.example(2))
        torch.testing.assert_close(found, expected)
        """,
}


@pytest.mark.slow
@pytest.mark.parametrize("source", SAVED)
def test_the_cache_of_the_hub_is_enough_in_a_fresh_process(tmp_path, source):
    installed(source)
    code = CACHED + "with torch.inference_mode():" + SAVED[source] + 'print("equal")'
    assert in_fresh_process(tmp_path, code).endswith("equal\n")
