"""Embedding of image columns with pretrained networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.image.embedding.embedder import ImageEmbedder as ImageEmbedder
    from skfusion.image.embedding.encode import encode_cells as encode_cells

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.image.embedding.embedder": ["ImageEmbedder"],
        "skfusion.image.embedding.encode": ["encode_cells"],
    },
)
