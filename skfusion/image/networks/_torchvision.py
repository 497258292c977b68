"""Import of torchvision when its compiled operators cannot be loaded."""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

import torch

__all__ = ["new_instance", "prepare_torchvision"]


# Operators that torchvision's Python code references at import.
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_MISSING_OPERATOR = re.compile(rf"torchvision::({'|'.join(_SCHEMAS)}) does not exist")
# torch removes a schema when the Library object that defined it is garbage collected.
_libraries: list[torch.library.Library] = []


def prepare_torchvision() -> bool:
    """Import torchvision, and register missing operator schemas if that fails.

    A torchvision that was built for another torch cannot load its compiled operators.
    Usually this is a CUDA build of torchvision with a CPU-only torch. Its import then
    fails with ``operator torchvision::nms does not exist``, although only the
    detection operators are unavailable. Models, transforms and feature extraction
    are plain Python, so declaring the two schemas is sufficient for the import.
    Calling one of the missing operators still fails, with torch's own message.

    Schemas are registered only if the import failed with this error, because a schema
    that is declared before torchvision declares it aborts the process. An import that
    fails for another reason is ignored here and fails again where torchvision is used.

    Returns
    -------
    bool
        True when this call registered at least one schema.

    Examples
    --------
    >>> from skfusion.image.networks._torchvision import prepare_torchvision
    >>> registered = prepare_torchvision()
    >>> prepare_torchvision()  # no effect in the second call
    False
    """
    if "torchvision" in sys.modules:
        return False
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if not _MISSING_OPERATOR.search(str(error)):
            return False
    except (ImportError, OSError):  # torchvision or one of its dependencies is missing
        return False
    else:
        return False
    # FRAGMENT instead of DEF, because other code may define the namespace.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _libraries.append(library)
    # The failed import left partially executed submodules in sys.modules.
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    importlib.import_module("torchvision")
    return True


def new_instance(kind: type) -> Any:
    """Return an instance without attributes, after torchvision was prepared.

    A pickle names this function before the attributes of an object, among which may be
    a module of torchvision.

    Parameters
    ----------
    kind : type
        The class.
    """
    prepare_torchvision()
    return object.__new__(kind)
