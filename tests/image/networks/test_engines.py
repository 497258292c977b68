"""OpenVINO and bfloat16 beside float32 in torch; their vectors are kept apart."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skfusion import EmbeddingStore, ImageEmbedder
from skfusion.image.networks.engines import engine_key
from skfusion.image.networks.inference import (
    OpenVINONetwork,
    make_network,
    resolve_device,
)

# The speed and the precision of a network do not depend on its weights.
pytestmark = pytest.mark.filterwarnings("ignore:.*are random:UserWarning")

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (70, 60, 3), dtype=np.uint8) for _ in range(6)]


def embedder(**settings):
    return ImageEmbedder(
        "resnet18", weights=None, **{"input_size": 64, "store": None, **settings}
    )


def relative_error(found, expected):
    return np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)


@pytest.fixture(scope="module")
def expected():
    return embedder().fit_transform(IMAGES)


@pytest.mark.long
def test_openvino_agrees_with_torch(expected):
    pytest.importorskip("openvino")
    found = embedder(engine="openvino").fit_transform(IMAGES)
    assert relative_error(found, expected).max() < 1e-4


def test_openvino_gives_an_image_the_same_vector_everywhere():
    pytest.importorskip("openvino")
    model = embedder(engine="openvino").fit(IMAGES)
    together = model.transform(IMAGES * 6)
    for row, image in enumerate(IMAGES):
        np.testing.assert_allclose(
            model.transform([image])[0], together[row], rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(
        clone(model).fit_transform(IMAGES), together[:6], rtol=1e-4
    )


def test_bfloat16_is_near_and_is_not_float32(expected):
    found = embedder(precision="bfloat16").fit_transform(IMAGES)
    error = relative_error(found, expected)
    assert found.dtype == np.float32
    assert error.min() > 1e-5
    assert error.max() < 0.1


def test_engines_never_mix_in_the_store(tmp_path, expected):
    store = EmbeddingStore(tmp_path)
    settings = [{}, {"precision": "bfloat16"}]
    try:
        import openvino  # noqa: F401
    except ImportError:
        pass
    else:
        settings += [{"engine": "openvino"}]
    for number, setting in enumerate(settings, 1):
        embedder(store=store, **setting).fit_transform(IMAGES)
        assert store.info()["computed"] == number * len(IMAGES)
    explicit = embedder(store=store, precision="float32").fit_transform(IMAGES)
    assert store.info()["computed"] == len(settings) * len(IMAGES)
    np.testing.assert_array_equal(explicit, expected)


def test_the_key_says_engine_and_precision():
    keys = {
        engine_key(engine, precision)
        for engine in ("torch", "openvino")
        for precision in ("float32", "bfloat16")
    }
    assert len(keys) == 4
    assert engine_key("openvino", "auto") == engine_key("openvino", "float32")


def test_bad_settings():
    with pytest.raises(ValueError, match="ImageEmbedder: engine must be one of"):
        embedder(engine="onnx").fit(IMAGES)
    with pytest.raises(ValueError, match="precision must be one of"):
        embedder(precision="float16").fit(IMAGES)
    with pytest.raises(ValueError, match="runs on the CPU only"):
        make_network(torch.nn.ReLU(), torch.device("meta"), 4, engine="openvino")


def test_without_openvino_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"skfusion\[openvino\]"):
        embedder(engine="openvino").fit(IMAGES)


def test_a_network_that_openvino_cannot_convert():
    pytest.importorskip("openvino")

    class Odd(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("no")

    with pytest.raises(ValueError, match="cannot convert the network"):
        OpenVINONetwork(Odd(), torch.zeros(1, 3, 8, 8), 4, "float32", "odd")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected_type"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_device_is_chosen(monkeypatch, cuda, mps, expected_type):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto").type == expected_type


@pytest.mark.slow
def test_another_process_gives_the_same_vector(tmp_path, expected):
    np.save(tmp_path / "image.npy", IMAGES[0])
    script = (
        "import sys, numpy as np\n"
        "from skfusion import ImageEmbedder\n"
        "model = ImageEmbedder('resnet18', weights=None, input_size=64, store=None)\n"
        "rows = model.fit_transform([np.load(sys.argv[1] + '/image.npy')])\n"
        "np.save(sys.argv[1] + '/rows.npy', rows)\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True)
    np.testing.assert_allclose(
        np.load(tmp_path / "rows.npy")[0], expected[0], rtol=1e-4
    )


@pytest.mark.long
def test_a_network_that_openvino_compiles_to_another_function_is_refused():
    """Its trace keeps the branch of the example."""
    pytest.importorskip("openvino")

    class Branching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 4, 3)

        def forward(self, images):
            features = self.layer(images)
            return features if images.mean() > 0 else 3 * features

    example = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="Branching gives another output when it is"):
        OpenVINONetwork(Branching(), example, 4, "float32", "")
