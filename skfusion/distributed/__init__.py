"""Embeddings and features over several processes or machines.

`embed` fills the store of an embedder, and `transform` applies a fitted transformer,
part by part. With a client of Dask the parts run on its workers, else in this process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.distributed.embedding import (
        EmbeddingRun as EmbeddingRun,
        embed as embed,
        embed_part as embed_part,
    )
    from skfusion.distributed.rows import transform as transform

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.distributed.embedding": ["EmbeddingRun", "embed", "embed_part"],
        "skfusion.distributed.rows": ["transform"],
    },
)
