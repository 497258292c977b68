"""The default encoder: WordLlama from its wheel, without a network."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skfusion import TextEmbedder
from skfusion._dependencies import is_installed
from skfusion.text import word_vectors
from skfusion.text.word_vectors import WordVectors

installed = pytest.mark.skipif(
    not (is_installed("wordllama") and is_installed("tokenizers")),
    reason="wordllama is not installed",
)
TEXTS = ["Pneumonia of the left lung.", "sepsis " * 700, "naïve ☃ 心", "."]

CLOSED = """
import socket, sys

def refuse(*args, **kwargs):
    raise OSError("the network is closed")

socket.create_connection = socket.socket.connect = socket.getaddrinfo = refuse
from skfusion import TextEmbedder
found = TextEmbedder(store=None).fit_transform(["No effusion.", None])
print(found.shape, found[0].any())
print({"torch", "transformers", "requests", "wordllama"} & set(sys.modules))
"""


@installed
def test_it_runs_with_sockets_closed_and_without_torch():
    out = subprocess.run(
        [sys.executable, "-c", CLOSED], capture_output=True, text=True, check=True
    ).stdout
    assert out.splitlines() == ["(2, 256) True", "set()"]


@installed
def test_vectors_are_those_of_the_package():
    pytest.importorskip("pydantic")
    pytest.importorskip("toml")
    handlers, level = list(logging.root.handlers), logging.root.level
    try:
        import wordllama

        folder = Path(wordllama.__file__).parent
        theirs = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    finally:  # its import configures the logging of the process
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    ours = TextEmbedder(store=None).fit(TEXTS).transform(TEXTS)
    np.testing.assert_allclose(ours, theirs.embed(TEXTS), atol=1e-6)


@installed
def test_similar_words_are_near():
    found = TextEmbedder(store=None).fit_transform(
        ["heart attack", "myocardial infarction", "broken finger"]
    )
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    near, far = found[0] @ found[1], found[0] @ found[2]
    assert near > far + 0.1


@installed
def test_the_fingerprint_is_that_of_the_files(tmp_path):
    encoder = WordVectors()
    before = encoder.fingerprint
    copies = []
    for path in encoder._files:
        copies.append(tmp_path / path.name)
        copies[-1].write_bytes(path.read_bytes())
    encoder._files = tuple(copies)
    assert encoder.fingerprint == before
    with open(copies[0], "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    assert encoder.fingerprint != before


def test_an_absent_package_is_named(monkeypatch):
    monkeypatch.setattr(word_vectors.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(ImportError, match=r"skfusion\[text\]"):
        TextEmbedder(store=None).fit(["fever"])


def test_a_wheel_without_weights_is_named(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(word_vectors.importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(ImportError, match=r"l2_supercat_256\.safetensors"):
        TextEmbedder(store=None).fit(["fever"])
