"""Numeric vectors in the cells of a table, such as embeddings that exist already.

`VectorColumns` turns columns of vectors into a matrix, and `read_embeddings` reads
vectors by id from a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.vectors.columns import VectorColumns as VectorColumns
    from skfusion.vectors.reading import read_embeddings as read_embeddings

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.vectors.columns": ["VectorColumns"],
        "skfusion.vectors.reading": ["read_embeddings"],
    },
)
