"""The engine that a command chooses for a column of images."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from skfusion import ImageEmbedder
from skfusion.image.embedding import engine_choice
from skfusion.image.embedding.engine_choice import choose_engine

# The choice of an engine does not depend on the weights.
pytestmark = pytest.mark.filterwarnings("ignore:.*are random:UserWarning")

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(8)]


def embedder(store, **settings):
    params = {"weights": None, "input_size": 32, "store": store, **settings}
    return ImageEmbedder("resnet18", **params)


@pytest.fixture
def few(monkeypatch):
    """Images that are many enough, on a processor that was measured."""
    monkeypatch.setattr(engine_choice, "FEWEST_IMAGES", 4)
    monkeypatch.setattr(engine_choice.platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(engine_choice, "is_installed", lambda name: True)


@pytest.fixture
def compiled(few, monkeypatch):
    """The networks that were compiled; the choice is told, but nothing is compiled."""
    found = []

    def compile_one(embedder, backbone):
        found.append(backbone.name)
        return engine_choice.EngineChoice("openvino", "", 1e-6)

    monkeypatch.setattr(engine_choice, "_compiled", compile_one)
    return found


def test_many_images_are_computed_by_openvino(few, tmp_path):
    pytest.importorskip("openvino")
    model = embedder(tmp_path)
    choice = choose_engine(model, [*IMAGES, None])
    assert choice.engine == "openvino"
    assert 0 < choice.difference < 1e-4
    assert model.engine == "torch"  # not changed
    torch_rows = embedder(None).fit_transform(IMAGES)
    rows = embedder(tmp_path, engine=choice.engine).fit_transform(IMAGES)
    assert np.abs(rows - torch_rows).max() < 1e-4 * np.abs(torch_rows).max()
    # The store has them now, and they are not compiled to be found.
    again = choose_engine(model, IMAGES)
    assert (again.engine, again.difference) == ("openvino", None)


def test_the_engine_of_most_stored_embeddings_is_chosen_again(compiled, tmp_path):
    model = embedder(tmp_path)
    model.fit_transform(IMAGES[:4])
    assert choose_engine(model, IMAGES).engine == "torch"
    # One in eight is stored: the others pay for the compiled network.
    one = embedder(tmp_path / "one")
    one.fit_transform(IMAGES[:1])
    assert not compiled
    assert choose_engine(one, IMAGES).engine == "openvino"
    assert compiled == ["resnet18"]
    # All are stored but three, which do not.
    assert choose_engine(one, IMAGES[:4]).engine == "torch"


def test_cells_of_several_images_and_absent_ones_are_counted(compiled, tmp_path):
    model = embedder(tmp_path)
    bags = pd.Series([IMAGES[:3], None, [IMAGES[3], None], np.nan, ""])
    assert choose_engine(model, bags).engine == "openvino"
    few_images = pd.Series([IMAGES[:3], None, *[np.nan] * 9])
    assert choose_engine(model, few_images).engine == "torch"


@pytest.mark.parametrize("reason", ["machine", "package", "precision", "store", "own"])
def test_openvino_is_not_considered(compiled, tmp_path, monkeypatch, reason):
    model = embedder(tmp_path)
    if reason == "machine":
        monkeypatch.setattr(engine_choice.platform, "machine", lambda: "arm64")
    if reason == "package":
        monkeypatch.setattr(engine_choice, "is_installed", lambda name: False)
    if reason == "precision":
        model.set_params(precision="bfloat16")
    if reason == "store":
        model.set_params(store=None)
    if reason == "own":

        class Noise(torch.nn.Module):
            def forward(self, images):
                return images.mean(dim=(2, 3)) + torch.rand(())

        model.set_params(backbone=Noise().eval(), weights="DEFAULT")
    choice = choose_engine(model, IMAGES)
    assert choice.engine == "torch"
    assert choice.reason
    assert not choice.is_fallback
    assert not compiled


def test_another_device_is_not_left_for_openvino(compiled, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    choice = choose_engine(embedder(tmp_path), IMAGES)
    assert (choice.engine, choice.reason) == ("torch", "the device is cuda")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("it cannot be converted"), "it cannot be converted"),
        (ImportError("no library"), "no library"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_torch_is_used_where_openvino_fails(few, tmp_path, monkeypatch, error, said):
    def fail(*given, **named):
        raise error

    monkeypatch.setattr("skfusion.image.networks.inference.make_network", fail)
    choice = choose_engine(embedder(tmp_path), IMAGES)
    assert (choice.engine, choice.is_fallback) == ("torch", True)
    assert choice.reason.endswith(said)


def test_a_network_that_openvino_changes_is_left_to_torch(few, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(engine_choice, "LARGEST_DIFFERENCE", 1e-12)
    choice = choose_engine(embedder(tmp_path), IMAGES)
    assert (choice.engine, choice.is_fallback) == ("torch", True)
    assert choice.difference > 1e-12
    assert "differ by" in choice.reason
