"""Persistent cache shared by folds, searches and processes: `EmbeddingStore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.store.embedding_store import (
        EmbeddingStore as EmbeddingStore,
        StoreWarning as StoreWarning,
        default_store_path as default_store_path,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.store.embedding_store": [
            "EmbeddingStore",
            "StoreWarning",
            "default_store_path",
        ],
    },
)
