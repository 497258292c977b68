"""Language models of Hugging Face: from folders, in windows, offline."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from skfusion import EmbeddingStore, TextEmbedder
from skfusion.image.networks._torchvision import prepare_torchvision
from skfusion.image.networks.sources import hubs

prepare_torchvision()
transformers = pytest.importorskip("transformers", reason="no transformers")
tokenizers = pytest.importorskip("tokenizers", reason="no tokenizers")

WORDS = ["no", "acute", "findings", "fever", "cough", "for", "two", "days", ".", ","]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
LONG = " ".join(np.random.default_rng(0).choice(WORDS, 700))
TEXTS = ["Fever for two days.", "no acute findings", LONG, " ".join(["cough"] * 254)]


def save_bert(folder, seed=0, **settings):
    """Save a BERT with random weights and a tokenizer of a few words."""
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]")
    )
    backend.normalizer = tokenizers.normalizers.BertNormalizer()
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    backend.post_processor = tokenizers.processors.BertProcessing(
        ("[SEP]", 3), ("[CLS]", 2)
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        **{**SIZES, "max_position_embeddings": 300} | settings,
    )
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def folder(tmp_path):
    return save_bert(tmp_path / "bert")


def by_hand(folder, text, window, stride):
    """Mean over windows of the mean over tokens, one window at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    n = window - 2
    starts = [0]
    while starts[-1] + n < len(ids):
        starts.append(starts[-1] + n - stride)
    means = []
    for start in starts:
        part = [2, *ids[start : start + n], 3]
        with torch.inference_mode():
            found = model(torch.tensor([part])).last_hidden_state[0]
        means.append(found.mean(dim=0).numpy())
    return np.mean(means, axis=0), len(starts)


@pytest.mark.parametrize(("window", "stride"), [(256, 64), (32, 0), (20, 10)])
def test_long_texts_are_read_in_windows(folder, window, stride):
    embedder = TextEmbedder(
        f"hf:{folder}", window_size=window, stride=stride, batch_size=3, store=None
    )
    found = embedder.fit_transform(TEXTS)
    expected = [by_hand(folder, text, window, stride) for text in TEXTS]
    np.testing.assert_allclose(found, [vector for vector, _ in expected], atol=1e-5)
    assert expected[2][1] > 3
    assert expected[3][1] == 1 or window < 256
    assert embedder.n_features_out_ == 16


def test_a_fresh_process_gives_the_same_vectors(folder):
    code = (
        "import sys; from skfusion import TextEmbedder\n"
        "found = TextEmbedder(sys.argv[1], store=None).fit_transform(['two days'])\n"
        "print(*found[0])"
    )
    command = [sys.executable, "-c", code, folder]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = TextEmbedder(folder, store=None).fit_transform(["two days"])
    np.testing.assert_allclose(np.array(out.split(), float), found[0], atol=1e-5)


def test_a_folder_needs_no_prefix(folder):
    a = TextEmbedder(folder, store=None).fit(TEXTS)
    b = TextEmbedder(f"hf:{folder}", store=None).fit(TEXTS)
    assert a.fingerprint_ == b.fingerprint_


def test_the_same_files_elsewhere_have_the_same_keys(folder, tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    first = TextEmbedder(folder, store=store).fit(TEXTS)
    expected = first.transform(TEXTS)
    copy = shutil.copytree(folder, tmp_path / "copy")
    second = pickle.loads(pickle.dumps(first)).set_params(encoder=os.fspath(copy))
    np.testing.assert_array_equal(second.fit(TEXTS).transform(TEXTS), expected)
    assert store.info()["computed"] == len(TEXTS)


@pytest.mark.parametrize("change", ["weights", "vocabulary", "window"])
def test_another_model_has_other_keys(folder, tmp_path, change):
    embedder = TextEmbedder(folder, store=tmp_path / "store").fit(TEXTS)
    before = embedder.transform(TEXTS)
    if change == "weights":
        save_bert(folder, seed=1)
    elif change == "vocabulary":
        path = f"{folder}/tokenizer.json"
        with open(path, encoding="utf-8") as file:
            content = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(content.replace('"fever"', '"fevers"'))
    else:
        embedder.set_params(window_size=100)
    with pytest.raises(ValueError, match="have changed since fit"):
        embedder.transform(TEXTS)
    assert np.abs(embedder.fit_transform(TEXTS) - before).max() > 1e-4


def test_windows_must_fit_the_network(folder):
    with pytest.raises(ValueError, match="more than the 300 tokens"):
        TextEmbedder(folder, window_size=301, store=None).fit(TEXTS)
    with pytest.raises(ValueError, match="less than the 8 tokens of text"):
        TextEmbedder(folder, window_size=10, stride=8, store=None).fit(TEXTS)


def test_a_generative_model_without_padding_is_an_encoder(tmp_path):
    folder = save_bert(tmp_path / "bert")
    config = transformers.GPT2Config(vocab_size=15, n_embd=16, n_layer=1, n_head=2)
    transformers.GPT2Model(config).save_pretrained(folder)
    found = TextEmbedder(folder, store=None).fit_transform(TEXTS)
    assert found.shape == (4, 16)
    assert np.isfinite(found).all()


def test_a_network_of_images_is_refused(tmp_path):
    folder = save_bert(tmp_path / "bert")
    vit = {"image_size": 32, "patch_size": 8, **SIZES}
    config = transformers.ViTConfig(**vit)
    transformers.ViTModel(config).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"not texts|cannot be loaded"):
        TextEmbedder(folder, store=None).fit(TEXTS)


def test_offline_the_error_says_what_to_fetch(monkeypatch):
    def refused(*args, **kwargs):
        raise OSError("no network")

    for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(hubs.socket, "create_connection", refused)
    with pytest.raises(ValueError, match="hf download org/clinical-bert") as error:
        TextEmbedder("hf:org/clinical-bert", store=None).fit(TEXTS)
    assert "encoder='hf:FOLDER'" in str(error.value)
    assert "backbone" not in str(error.value)
    assert hubs.socket is socket


def test_an_empty_name_is_refused():
    with pytest.raises(ValueError, match="no name after the colon"):
        TextEmbedder("hf:", store=None).fit(TEXTS)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be loaded from its folder"):
        TextEmbedder(str(tmp_path), store=None).fit(TEXTS)
