"""Transformer from columns of notes to embeddings of a pretrained encoder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skfusion._fitting.state import undone_on_failure
from skfusion._progress import progress
from skfusion._validation import check_number
from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.image.cells.bags import check_bag_pooling
from skfusion.store.embedding_store import (
    EmbeddingStore,
    missing_from,
    resolve_store,
)
from skfusion.store.rows import Rows
from skfusion.text.cells import NoteColumn, as_notes
from skfusion.text.encoders import TextEncoder, is_fixed, make_encoder

__all__ = ["TextEmbedder"]

_BATCHES_PER_LEASE = 4  # largest loss of work if a process is killed


class TextEmbedder(TransformerMixin, BaseEstimator):
    """Transformer from notes to embeddings of a pretrained encoder.

    Nothing is learned from the notes. An embedding only depends on its text and on the
    parameters. It is computed once and kept in a store, which is shared by clones,
    folds, candidates of a search and processes.

    Parameters
    ----------
    encoder : str, path or callable, default="wordllama"
        The encoder. The default averages the word vectors of WordLlama, whose weights
        are part of its package (extra ``text``), and needs neither torch nor a
        download. ``"hf:ORG/NAME"`` and folders are language models of Hugging Face
        (extras ``torch`` and ``hf``). ``"@REVISION"`` after the name selects a
        revision. A callable takes a list of n texts and returns an array (n, d).
    encoder_params : dict or None, default=None
        Further arguments of ``from_pretrained`` for a language model.
    window_size : int, default=256
        Number of tokens of the windows that a language model reads, including its
        special tokens. The embedding of a window is the mean of its tokens. The
        embedding of a text is the mean of its windows.
    stride : int, default=64
        Number of tokens that consecutive windows share.
    bag_pooling : {"mean", "max", "recent"}, default="mean"
        Pooling of the embeddings of a cell with several notes (a list). ``"recent"``
        takes pairs (text, time). The weight of a note halves with every
        `bag_half_life` before the last note of its cell.
    bag_half_life : str or timedelta, default="30D"
        Half-life of the weights for ``bag_pooling="recent"``.
    bag_count : bool, default=False
        Whether the number of notes in a cell is added as the feature ``"n_notes"``.
    batch_size : int, default=32
        Number of windows per forward pass, and of texts per call of a callable.
    device : str or torch.device, default="auto"
        Device of a language model. ``"auto"`` selects CUDA, then MPS, then the CPU.
    store : "default", path, EmbeddingStore or None, default="default"
        Store of the embeddings. None stores nothing.
    verbose : int, default=0
        If positive, show the progress on standard error.

    Attributes
    ----------
    n_features_out_ : int
        Length of an embedding.
    fingerprint_ : str
        Digest of encoder, weights, tokenizer and windows.
    n_features_in_ : int
        Always 1, the column of notes.
    feature_names_in_ : ndarray of shape (1,)
        Label of the column, if it is a string.

    See Also
    --------
    skfusion.ehr.EventNotes : Notes of a record before an index time.
    skfusion.EmbeddingStore : Store of embeddings.
    skfusion.ImageEmbedder : The same for images.

    Warns
    -----
    FallbackWarning
        In `fit`, if the embeddings of a callable cannot be stored.

    Notes
    -----
    The embedding of an absent note (None, NaN, a blank text, an empty list) is NaN.
    Long texts are not truncated.

    The store contains digests of texts, not the texts. A digest is not secret: whoever
    has a list of possible texts can compare their digests.

    A callable is identified by its attribute ``fingerprint`` (str), which must change
    with everything that its vectors depend on. Without this attribute, its code and
    the objects that it refers to are its identity, which needs torch. Its embeddings
    are not stored if this is not possible, or if it gives a text another vector beside
    other texts. `fit` calls it with two example texts.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion import TextEmbedder
    >>> def counts(texts):
    ...     words = ["fever", "cough"]
    ...     return np.array([[text.count(word) for word in words] for text in texts])
    >>> embedder = TextEmbedder(counts, store=None)
    >>> embedder.fit_transform(["fever and cough", None, ["cough", "no cough, fever"]])
    array([[1. , 1. ],
           [nan, nan],
           [0.5, 1. ]], dtype=float32)
    >>> embedder.get_feature_names_out()
    array(['emb0', 'emb1'], dtype=object)
    """

    __module__ = "skfusion.text"

    def __init__(
        self,
        encoder: str | os.PathLike[str] | Callable[[list[str]], Any] = "wordllama",
        *,
        encoder_params: Mapping[str, Any] | None = None,
        window_size: int = 256,
        stride: int = 64,
        bag_pooling: str = "mean",
        bag_half_life: Any = "30D",
        bag_count: bool = False,
        batch_size: int = 32,
        device: Any = "auto",
        store: str | os.PathLike[str] | EmbeddingStore | None = "default",
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.encoder_params = encoder_params
        self.window_size = window_size
        self.stride = stride
        self.bag_pooling = bag_pooling
        self.bag_half_life = bag_half_life
        self.bag_count = bag_count
        self.batch_size = batch_size
        self.device = device
        self.store = store
        self.verbose = verbose

    @undone_on_failure
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and the types of the cells, without embedding notes.

        Parameters
        ----------
        X : one column of n notes
            A Series, a list, or a frame or array with one column. A cell is a text, a
            list of texts or of pairs (text, time), or missing.
        y : ignored
            Not used, present for API consistency.

        Returns
        -------
        self
            The fitted embedder.

        Raises
        ------
        ValueError
            If a parameter is invalid, or `X` is not one column or contains no note.
        TypeError
            If a cell is neither text, a list nor missing.
        ImportError
            If the package of the encoder is not installed.
        """
        self._check_parameters()
        notes = as_notes(X)
        if not notes.presence.any():
            raise ValueError(
                f"TextEmbedder: all {notes.bags.n_rows} cells of {notes.place} are "
                "missing; expected at least one note. Check the column, or omit it."
            )
        encoder = self._build()
        if encoder.not_stored and resolve_store(self.store) is not None:
            warn_user(
                f"TextEmbedder: the embeddings are not stored, because the encoder "
                f"{encoder.name} {encoder.not_stored}. They are computed again in each "
                "fit and transform.",
                FallbackWarning,
            )
        self.n_features_in_ = 1
        if isinstance(notes.name, str):
            self.feature_names_in_ = np.array([notes.name], dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.n_features_out_ = encoder.n_features + bool(self.bag_count)
        self.fingerprint_ = encoder.fingerprint
        self._encoder_params = None if encoder.not_stored else self._describe()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed a column of notes.

        Parameters
        ----------
        X : one column of n notes
            As in `fit`.

        Returns
        -------
        ndarray of shape (n, n_features_out_), float32
            NaN in the rows without a note.

        Raises
        ------
        ValueError
            If the encoder has changed since `fit`, or if its output for a text is not
            finite.
        TypeError
            If a cell is neither text, a list nor missing.
        """
        check_is_fitted(self, "fingerprint_")
        notes = as_notes(X)
        vectors = notes.rows(self._key)
        if not self._read_stored(vectors):
            encoder = self._build()
            self._check_unchanged(encoder)
            self._compute(notes, encoder, vectors)
        width = self.n_features_out_ - bool(self.bag_count)
        bags, presence = notes.bags, notes.presence
        pooled = bags.pool(
            vectors.filled(lambda: (width,)),
            presence,
            self.bag_pooling,
            self.bag_half_life,
            owner="TextEmbedder",
            item="note",
        )
        if not self.bag_count:
            return pooled
        counts = bags.counts(presence)
        both = np.column_stack([pooled, np.where(counts > 0, counts, np.nan)])
        return both.astype(np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features of the embedding.

        Parameters
        ----------
        input_features : ignored
            Not used, present for API consistency.

        Returns
        -------
        ndarray of str objects
            ``"emb0"``, ``"emb1"`` ... With `bag_count`, ``"n_notes"`` is the last one.
        """
        check_is_fitted(self, "n_features_out_")
        counted = ["n_notes"] if self.bag_count else []
        n_values = self.n_features_out_ - len(counted)
        return np.array([f"emb{i}" for i in range(n_values)] + counted, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _build(self) -> TextEncoder:
        return make_encoder(
            self.encoder,
            encoder_params=self.encoder_params,
            window_size=self.window_size,
            stride=self.stride,
            batch_size=self.batch_size,
            device=self.device,
        )

    def _check_unchanged(self, encoder: TextEncoder) -> None:
        known = (encoder.fingerprint, *getattr(encoder, "fingerprints", ()))
        if encoder.not_stored or self.fingerprint_ in known:
            return
        raise ValueError(
            "TextEmbedder: the parameters or the weights of the encoder "
            f"{encoder.name} have changed since fit (got fingerprint "
            f"{encoder.fingerprint[:8]}, expected {self.fingerprint_[:8]}). Fit the "
            "embedder again, and all models trained on its embeddings."
        )

    def _read_stored(self, vectors: Rows) -> bool:
        """Read the vectors if all are stored and the encoder is the same.

        A prediction from stored vectors loads no encoder.
        """
        store = resolve_store(self.store)
        known = getattr(self, "_encoder_params", None)
        if store is None or known is None or known != self._describe():
            return False
        return vectors.read(store)

    def _compute(self, notes: NoteColumn, encoder: TextEncoder, vectors: Rows) -> None:
        """Fill the rows with vectors, each from the store or computed once."""
        store = None if encoder.not_stored else resolve_store(self.store)
        texts = {self._key(digest): text for digest, text in notes.digests.items()}
        place = "" if notes.name is None else f" of {notes.name!r}"
        chunk_size = _BATCHES_PER_LEASE * self.batch_size
        title = f"Embed notes{place}"
        with missing_from(
            store, texts, chunk_size=chunk_size, receive=vectors.receive
        ) as work:
            total = len(work.missing)
            with progress(
                total, verbose=self.verbose, title=title, unit="note"
            ) as advance:
                for chunk in work:
                    for start in range(0, len(chunk), self.batch_size):
                        some = chunk[start : start + self.batch_size]
                        found = encoder([texts[key] for key in some])
                        self._check_vectors(found, notes, encoder)
                        work.collect(dict(zip(some, found, strict=True)))
                        advance(len(some))

    def _check_vectors(
        self, vectors: np.ndarray, notes: NoteColumn, encoder: TextEncoder
    ) -> None:
        width = self.n_features_out_ - bool(self.bag_count)
        if vectors.shape[1] != width:
            raise ValueError(
                f"TextEmbedder: the encoder {encoder.name} returns vectors of length "
                f"{vectors.shape[1]}, but of length {width} in fit. Expected one "
                "length for all texts."
            )
        n_bad = int((~np.isfinite(vectors)).any(axis=1).sum())
        if n_bad:
            raise ValueError(
                f"TextEmbedder: the encoder {encoder.name} returns NaN or infinity for "
                f"{n_bad} of {len(vectors)} texts of {notes.place}. NaN would mean an "
                "absent note. Check the encoder."
            )

    def _key(self, digest: str) -> str:
        return f"{self.fingerprint_} text {digest}"

    def _describe(self) -> tuple[Any, ...] | None:
        """Return what decides the vectors of a named encoder, None for others."""
        if not is_fixed(self.encoder):
            return None
        params = sorted((self.encoder_params or {}).items())
        return (self.encoder, repr(params), self.window_size, self.stride)

    def _check_parameters(self) -> None:
        owner = "TextEmbedder"
        check_number(self.batch_size, "batch_size", owner, low=1, integer=True)
        check_number(self.window_size, "window_size", owner, low=3, integer=True)
        check_number(self.stride, "stride", owner, low=0, integer=True)
        if self.stride >= self.window_size:
            raise ValueError(
                f"{owner}: stride={self.stride} must be less than "
                f"window_size={self.window_size}. It is the number of tokens that "
                "consecutive windows share."
            )
        params: Any = self.encoder_params
        if params is not None and not isinstance(params, Mapping):
            raise TypeError(
                f"{owner}: encoder_params must be a dict or None, got "
                f"{type(params).__name__}."
            )
        check_bag_pooling(owner, self.bag_pooling, self.bag_half_life)
        resolve_store(self.store)
