"""Files of models without pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.persistence.archive import ModelFileError as ModelFileError
    from skfusion.persistence.manifest import ModelDescription as ModelDescription
    from skfusion.persistence.model_file import (
        inspect_model as inspect_model,
        load as load,
        save as save,
    )
    from skfusion.persistence.object_graph import (
        UntrustedTypesError as UntrustedTypesError,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.persistence.archive": ["ModelFileError"],
        "skfusion.persistence.manifest": ["ModelDescription"],
        "skfusion.persistence.model_file": ["inspect_model", "load", "save"],
        "skfusion.persistence.object_graph": ["UntrustedTypesError"],
    },
)
