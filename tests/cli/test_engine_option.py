"""The engine of embeddings on the command line: chosen, given, and said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from skfusion import EmbeddingStore
from skfusion.cli.cohort import read_cohort
from skfusion.cli.compare import embed
from skfusion.cli.parser import make_parser
from skfusion.cli.problems import ProblemsError
from skfusion.cli.settings import read_settings
from skfusion.image import Preprocessing
from skfusion.image.embedding import engine_choice
from skfusion.image.embedding.engine_choice import EngineChoice
from skfusion.image.networks import inference

FILE = """
table = "cohort.csv"
target = "sick"
independent_rows = true
engine = "{engine}"
[modalities.eye]
columns = "scan"
encoder = "ImageEmbedder"
params = {{ input_size = 32 {params} }}
[modalities.ehr]
columns = ["age"]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A table of eight images, with an empty cache."""
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for i in range(8):
        pixels = rng.integers(0, 256, (20, 20), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    frame = {"scan": [f"{i}.png" for i in range(8)], "age": range(40, 48)}
    sick = {"sick": [0, 1] * 4}
    pd.DataFrame(frame | sick).to_csv(tmp_path / "cohort.csv", index=False)
    return tmp_path


def cohort_of(folder, *options, engine="auto", params=""):
    place = folder / "study.toml"
    place.write_text(FILE.format(engine=engine, params=params), encoding="utf-8")
    words = ["compare", "--config", str(place), *options]
    return read_cohort(read_settings(make_parser().parse_args(words)))


def test_openvino_is_chosen_said_and_kept_apart(folder, monkeypatch, capsys):
    openvino = pytest.importorskip("openvino")
    monkeypatch.setattr(engine_choice, "FEWEST_IMAGES", 4)
    monkeypatch.setattr(engine_choice.platform, "machine", lambda: "x86_64")
    cohort = cohort_of(folder)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1))
    net.append(torch.nn.Flatten())
    net.preprocessing = Preprocessing(32, mean=(0.5,) * 3, std=(0.5,) * 3)
    cohort.modalities[0][1].set_params(backbone=net.eval())
    n_known = len(inference._compiled)
    embed(cohort)
    assert len(inference._compiled) == n_known + 1  # compiled once, to choose
    said = " ".join(capsys.readouterr().err.split())
    version = openvino.__version__.partition("-")[0]
    assert f"eye: OpenVINO {version} computes the embeddings" in said
    assert "to a relative difference of" in said
    assert "--engine torch" in said
    model = cohort.modalities[0][1]
    assert model.engine == "openvino"
    assert EmbeddingStore().info()["entries"] == 8
    # Each fold finds what was stored, and computes nothing.
    before = EmbeddingStore().info()["computed"]
    model.fit_transform(cohort.X["scan"])
    assert EmbeddingStore().info()["computed"] == before


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (EngineChoice("torch", "it computed those in the store"), ""),
        (
            EngineChoice("torch", "OpenVINO failed: no", is_fallback=True),
            "eye: torch computes the embeddings, because OpenVINO failed: no",
        ),
    ],
)
def test_a_fallback_is_said_and_the_usual_is_not(
    folder, monkeypatch, capsys, choice, said
):
    monkeypatch.setattr(engine_choice, "choose_engine", lambda *given: choice)
    cohort = cohort_of(folder)
    capsys.readouterr()
    embed(cohort)
    assert capsys.readouterr().err.strip() == said
    assert cohort.modalities[0][1].engine == "torch"


@pytest.mark.parametrize(
    ("options", "engine", "params", "expected"),
    [
        ([], "auto", "", None),
        ([], "auto", ', engine = "auto"', None),
        ([], "torch", "", "torch"),
        ([], "auto", ', engine = "torch"', "torch"),
        (["--engine", "torch"], "openvino", ', engine = "openvino"', "torch"),
        (["--engine", "auto"], "openvino", ', engine = "openvino"', None),
    ],
)
def test_a_given_engine_is_not_chosen(
    folder, monkeypatch, options, engine, params, expected
):
    monkeypatch.setattr(
        engine_choice,
        "choose_engine",
        lambda *given: EngineChoice("torch", "it was asked"),
    )
    cohort = cohort_of(folder, *options, engine=engine, params=params)
    name, model, _ = cohort.modalities[0]
    assert (name in cohort.engine_is_given) == (expected is not None)
    assert model.engine == (expected or "torch")


def test_an_unknown_engine_in_a_file_is_listed(folder):
    with pytest.raises(ProblemsError, match="engine: expected 'auto' or 'torch' or"):
        cohort_of(folder, engine="onnx")
    cohort = cohort_of(folder, params=', engine = "onnx"')
    problems = " ".join(problem.text for problem in cohort.findings.problems)
    assert "engine must be one of" in problems
