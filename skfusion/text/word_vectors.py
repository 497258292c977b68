"""Mean of the word vectors of WordLlama, from the files of its wheel.

Only the two files with the vectors and the tokenizer are read. The package itself is
never imported: its `load` can download, and its import configures the logging of the
process.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from skfusion._dependencies import require

__all__ = ["WordVectors"]

_VERSION = "mean of word vectors 1"
_FILES = (
    "weights/l2_supercat_256.safetensors",
    "tokenizers/l2_supercat_tokenizer_config.json",
)
_TENSOR = "embedding.weight"
N_FEATURES = 256
_TEXTS_AT_ONCE = 256


class WordVectors:
    """Encoder that averages the word vectors of a text.

    The vector of a text does not depend on other texts.

    Raises
    ------
    ImportError
        If WordLlama is not installed, or its wheel does not contain the files.
    """

    name = "wordllama"
    n_features = N_FEATURES
    not_stored = ""

    def __init__(self) -> None:
        self._files = _files()

    @property
    def fingerprint(self) -> str:
        """Return the digest of the files."""
        stamps = [os.stat(path) for path in self._files]
        return _digest(self._files, tuple((s.st_mtime_ns, s.st_size) for s in stamps))

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Return the vectors of some texts, float32 of shape (n, 256)."""
        vectors, tokenizer = _loaded(self._files, self.fingerprint)
        found = np.zeros((len(texts), N_FEATURES), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            part = texts[start : start + _TEXTS_AT_ONCE]
            encoded = tokenizer.encode_batch(part, add_special_tokens=False)
            for row, tokens in enumerate(encoded, start):
                if tokens.ids:  # a text of unknown characters may have none
                    known = np.minimum(tokens.ids, len(vectors) - 1)
                    found[row] = vectors[known].mean(axis=0, dtype=np.float32)
        return found


def _files() -> tuple[Path, ...]:
    spec = importlib.util.find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        require("wordllama", "text")  # raises the error that names the extra
    assert spec is not None
    folder = Path((spec.submodule_search_locations or [""])[0])
    files = tuple(folder / name for name in _FILES)
    absent = [str(file.name) for file in files if not file.is_file()]
    if absent:
        raise ImportError(
            f"The installed package wordllama does not contain {', '.join(absent)}. "
            'Install a wheel that does: pip install "skfusion[text]"'
        )
    return files


@lru_cache(maxsize=2)
def _digest(files: tuple[Path, ...], stamps: tuple[tuple[int, int], ...]) -> str:
    digest = hashlib.sha256(_VERSION.encode())
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _loaded(files: tuple[Path, ...], fingerprint: str) -> tuple[np.ndarray, Any]:
    safetensors = require("safetensors", "text")
    tokenizers = require("tokenizers", "text")
    weights, settings = files
    with safetensors.safe_open(weights, framework="np") as file:
        vectors = file.get_tensor(_TENSOR).astype(np.float32)
    tokenizer = tokenizers.Tokenizer.from_file(str(settings))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return vectors, tokenizer
