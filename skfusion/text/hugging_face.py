"""Language models of Hugging Face as encoders of texts of any length."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skfusion._dependencies import require
from skfusion.image.networks._torchvision import prepare_torchvision
from skfusion.image.networks.inference import resolve_device
from skfusion.image.networks.outputs import codes_of
from skfusion.image.networks.process_state import ForkSafeLock
from skfusion.image.networks.sources.hubs import (
    cache_first,
    cached_file,
    with_revision,
)
from skfusion.image.networks.sources.weights import reproducible_random

__all__ = ["HuggingFaceEncoder"]

_VERSION = "mean of tokens and windows 1"
_EXAMPLE = ("No acute findings.", "Shortness of breath for two days, cough.")
_SHARED = ("revision", "cache_dir", "token", "trust_remote_code")
_CACHE_SIZE = 2  # language models are large
_UNLIMITED = 10**9  # tokenizers state 1e30 if they know no limit


@dataclass(frozen=True)
class _Loaded:
    """Network and tokenizer, and the digest of both."""

    network: nn.Module
    tokenizer: Any
    digest: str


_loaded: OrderedDict[Any, _Loaded] = OrderedDict()
_lock = ForkSafeLock()


class HuggingFaceEncoder:
    """Encoder of texts by a language model.

    A text is cut into windows of tokens. The vector of a window is the mean of its
    tokens, and the vector of a text is the mean of its windows.

    Parameters
    ----------
    name : str
        ``"hf:ORG/NAME"``, ``"hf:ORG/NAME@REVISION"`` or ``"hf:FOLDER"``.
    params : mapping
        Further arguments of ``AutoModel.from_pretrained``.
    window_size, stride : int
        Length of a window, and number of tokens that consecutive windows share.
    batch_size : int
        Number of windows per forward pass.
    device : str or torch.device
        Device of the network.

    Attributes
    ----------
    name, n_features, fingerprint, not_stored : any
        As in `skfusion.text.encoders.TextEncoder`.

    Raises
    ------
    ImportError
        If transformers is not installed.
    ValueError
        If the network is neither in the cache nor can be downloaded, takes no text, or
        windows do not fit it.
    """

    not_stored = ""

    def __init__(
        self,
        name: str,
        *,
        params: Mapping[str, Any],
        window_size: int,
        stride: int,
        batch_size: int,
        device: Any,
    ) -> None:
        self.name = name
        self.window_size, self.stride = window_size, stride
        self.batch_size = batch_size
        self.device = resolve_device(device)
        loaded = _load(name, dict(params))
        self._network, self._tokenizer = loaded.network, loaded.tokenizer
        self._check_windows()
        output = self._embed(list(_EXAMPLE), torch.device("cpu"))
        self.n_features = output.shape[1]
        # The code of an installed package may change with its release. Rounding
        # differs between machines, so that one output can have several codes.
        codes = itertools.product(*codes_of(torch.from_numpy(output)))
        text = f"{_VERSION} {loaded.digest} {window_size} {stride}"
        self.fingerprints = tuple(
            hashlib.sha256(f"{text} {code}".encode()).hexdigest() for code in codes
        )
        self.fingerprint = self.fingerprints[0]

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Return the vectors of some texts, float32 of shape (n, n_features)."""
        return self._embed(texts, self.device)

    def _embed(self, texts: list[str], device: torch.device) -> np.ndarray:
        windows = self._windows(texts)
        owner = np.asarray(windows.pop("overflow_to_sample_mapping"))
        lengths = np.array([len(ids) for ids in windows["input_ids"]])
        order = np.argsort(lengths, kind="stable")  # little padding in each batch
        means: Tensor | None = None
        with _lock:
            network = self._network.to(device)
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                batch = {key: [part[i] for i in rows] for key, part in windows.items()}
                padded = self._tokenizer.pad(batch, return_tensors="pt").to(device)
                found = _mean_of_tokens(network, padded).cpu()
                if means is None:
                    means = torch.zeros(len(order), found.shape[1])
                means[torch.from_numpy(rows)] = found
        assert means is not None
        totals = torch.zeros(len(texts), means.shape[1])
        totals.index_add_(0, torch.from_numpy(owner), means)
        numbers = np.bincount(owner, minlength=len(texts))[:, None]
        return (totals / torch.from_numpy(numbers)).numpy().astype(np.float32)

    def _windows(self, texts: list[str]) -> dict[str, Any]:
        # A text of one window is not padded here, but in its batch.
        found = self._tokenizer(
            texts,
            truncation=True,
            max_length=self.window_size,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_attention_mask=True,
        )
        return dict(found)

    def _check_windows(self) -> None:
        config: Any = self._network.config
        limits = (
            getattr(config, "max_position_embeddings", None),
            self._tokenizer.model_max_length,
        )
        known = [limit for limit in limits if limit and 0 < limit < _UNLIMITED]
        if known and self.window_size > min(known):
            raise ValueError(
                f"TextEmbedder: window_size={self.window_size} is more than the "
                f"{min(known)} tokens that the encoder {self.name!r} takes. Use a "
                "smaller window."
            )
        n_special = self._tokenizer.num_special_tokens_to_add()
        if self.stride >= self.window_size - n_special:
            raise ValueError(
                f"TextEmbedder: stride={self.stride} must be less than the "
                f"{self.window_size - n_special} tokens of text in a window "
                f"(window_size={self.window_size} with {n_special} special tokens)."
            )


def _mean_of_tokens(network: nn.Module, batch: Any) -> Tensor:
    with torch.inference_mode():
        found = network(**batch)
    tokens = getattr(found, "last_hidden_state", None)
    if tokens is None:
        tokens = found[0]
    mask = batch["attention_mask"].unsqueeze(-1).to(tokens.dtype)
    return (tokens * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _load(name: str, params: dict[str, Any]) -> _Loaded:
    """Load a network and its tokenizer, once per process."""
    key = (name, repr(sorted(params.items())), _stamps(name))
    with _lock:
        if key in _loaded:
            _loaded.move_to_end(key)
            return _loaded[key]
    # Weights that the files lack are drawn. This section begins before the lock is
    # acquired, because another thread may wait for the lock in such a section.
    with reproducible_random(), _lock:
        if key not in _loaded:
            _loaded[key] = _read(name, params)
        while len(_loaded) > _CACHE_SIZE:
            _loaded.popitem(last=False)
        return _loaded[key]


def _stamps(name: str) -> tuple[Any, ...]:
    """Return the sizes and times of the files of a folder."""
    folder = Path(name.partition(":")[2])
    if not folder.is_dir():
        return ()
    found = sorted((path.name, path.stat()) for path in folder.iterdir())
    return tuple((file, s.st_mtime_ns, s.st_size) for file, s in found)


def _read(name: str, params: dict[str, Any]) -> _Loaded:
    prepare_torchvision()  # which transformers imports
    transformers = require("transformers", "hf")
    repository, revision = with_revision(name.partition(":")[2])
    if not repository:
        raise ValueError(
            f"The encoder {name!r} has no name after the colon. Expected "
            "'hf:ORG/NAME' or 'hf:FOLDER'."
        )
    if revision:
        params = {"revision": revision, **params}
    shared = {key: params[key] for key in _SHARED if key in params}
    is_folder = os.path.isdir(repository)
    is_known = is_folder or "cache_dir" in params
    is_known = is_known or bool(cached_file(repository, ("config.json",), revision))

    def build(**online: Any) -> tuple[Any, Any]:
        if online and not is_known:
            raise OSError("not in the cache")
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            repository, **shared, **online
        )
        model = transformers.AutoModel.from_pretrained(repository, **params, **online)
        return model, tokenizer

    model, tokenizer = cache_first(
        name, repository, build, is_local=is_folder, parameter="encoder"
    )
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"The encoder {name!r} has no fast tokenizer (got "
            f"{type(tokenizer).__name__}), which cuts texts into windows. Save one as "
            "tokenizer.json in its folder."
        )
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    if tokenizer.pad_token is None:  # generative models have none
        tokenizer.pad_token = tokenizer.eos_token
    network = _text_part(model, name)
    network.float().eval().requires_grad_(False)
    kind = f"{type(network).__module__}.{type(network).__qualname__}"
    digest.update(kind.encode())
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy().tobytes())
    return _Loaded(network, tokenizer, digest.hexdigest())


def _text_part(model: Any, name: str) -> nn.Module:
    """Return the part of a network that encodes texts."""
    if getattr(model.config, "is_encoder_decoder", False):
        encoder: nn.Module = model.get_encoder()
        return encoder
    if hasattr(model, "text_model"):  # a network of images and texts
        text: nn.Module = model.text_model
        return text
    if getattr(model, "main_input_name", "input_ids") != "input_ids":
        raise ValueError(
            f"The encoder {name!r} takes {model.main_input_name!r}, not texts. Use the "
            "name of a language model."
        )
    network: nn.Module = model
    return network
