"""Images: from a cell of a table to an embedding.

Importing this package loads neither torch nor Pillow nor pydicom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.image.embedding.embedder import ImageEmbedder as ImageEmbedder
    from skfusion.image.networks.preprocessing import (
        Preprocessing as Preprocessing,
        VolumePreprocessing as VolumePreprocessing,
    )
    from skfusion.image.radiomics.encoder import RadiomicsEncoder as RadiomicsEncoder
    from skfusion.image.reading.files import ImageReadError as ImageReadError
    from skfusion.image.reading.metadata import read_metadata as read_metadata
    from skfusion.image.reading.read import (
        MedicalImage as MedicalImage,
        read_image as read_image,
    )
    from skfusion.store.embedding_store import EmbeddingStore as EmbeddingStore

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.image.embedding.embedder": ["ImageEmbedder"],
        "skfusion.image.networks.preprocessing": [
            "Preprocessing",
            "VolumePreprocessing",
        ],
        "skfusion.image.radiomics.encoder": ["RadiomicsEncoder"],
        "skfusion.image.reading.files": ["ImageReadError"],
        "skfusion.image.reading.metadata": ["read_metadata"],
        "skfusion.image.reading.read": ["MedicalImage", "read_image"],
        "skfusion.store.embedding_store": ["EmbeddingStore"],
    },
    submodules=["embedding", "networks", "radiomics", "reading"],
)
