"""Text: from a cell with notes to an embedding.

Importing this package loads neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.store.embedding_store import EmbeddingStore as EmbeddingStore
    from skfusion.text.embedder import TextEmbedder as TextEmbedder

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.store.embedding_store": ["EmbeddingStore"],
        "skfusion.text.embedder": ["TextEmbedder"],
    },
)
