"""Make torchvision importable where its compiled operators cannot load."""

from __future__ import annotations

import importlib
import re
import sys

import torch

__all__ = ["prepare_torchvision"]


# The operators that torchvision's Python code names at import, compiled or not.
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_MISSING_OPERATOR = re.compile(rf"torchvision::({'|'.join(_SCHEMAS)}) does not exist")
# torch forgets a schema when the Library object that defined it is collected.
_libraries: list[torch.library.Library] = []


def prepare_torchvision() -> bool:
    """Import torchvision, and register missing operator schemas if that fails.

    A torchvision that was built for another torch (a CUDA build beside a CPU-only
    torch is the usual pair) cannot load its compiled operators. Its import then
    fails with ``operator torchvision::nms does not exist``, although only the
    detection operators are unavailable: models, transforms and feature extraction
    are plain Python. Declaring the two schemas is enough for the import. Calling
    one of the missing operators still fails, with torch's own message.

    Nothing is registered unless the import failed in exactly that way: a schema that
    is declared before torchvision declares it itself aborts the process. An import
    that fails for another reason is left alone; it fails again, with its own message,
    where torchvision is used.

    Returns
    -------
    bool
        True when this call registered at least one schema.

    Examples
    --------
    >>> from skfusion.image.networks._torchvision import prepare_torchvision
    >>> registered = prepare_torchvision()
    >>> prepare_torchvision()  # the second call finds nothing to do
    False
    """
    if "torchvision" in sys.modules:
        return False
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if not _MISSING_OPERATOR.search(str(error)):
            return False
    except (ImportError, OSError):  # absent, or what it needs is
        return False
    else:
        return False
    # FRAGMENT, not DEF: somebody else may own, or later define, the namespace.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _libraries.append(library)
    # The failed import left some submodules behind, half of them never executed.
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    importlib.import_module("torchvision")
    return True
