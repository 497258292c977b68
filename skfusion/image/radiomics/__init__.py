"""Radiomics features of image columns: `RadiomicsEncoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.image.radiomics.encoder import RadiomicsEncoder as RadiomicsEncoder

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.image.radiomics.encoder": ["RadiomicsEncoder"],
    },
)
