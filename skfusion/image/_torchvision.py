"""Make torchvision importable where its compiled operators cannot load.

In: the installed torch and torchvision; out: an import of torchvision that works.
Read next: `skfusion.image.backbones`, which calls this before it needs torchvision.
"""

from __future__ import annotations

import importlib.util
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

__all__ = ["prepare_torchvision"]

# The operators that torchvision describes to torch at import, compiled or not.
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# torch forgets a schema when the Library object that defined it is collected.
_libraries: list[torch.library.Library] = []


def prepare_torchvision() -> bool:
    """Register the operator schemas that torchvision's import needs, if it must.

    A torchvision that was built for another torch (a CUDA build beside a CPU-only
    torch is the usual pair) cannot load its compiled operators. Its import then
    fails with ``operator torchvision::nms does not exist``, although only the
    detection operators are out of reach: models, transforms and feature extraction
    are plain Python. Declaring the two schemas is enough for the import. Calling
    one of the missing operators still fails, with torch's own message.

    Nothing is registered when torchvision is not installed, when its operators load,
    or when the schemas are there already; a second call does nothing.

    Returns
    -------
    bool
        True when this call registered at least one schema.

    Examples
    --------
    >>> from skfusion.image._torchvision import prepare_torchvision
    >>> registered = prepare_torchvision()
    >>> prepare_torchvision()  # the second call finds nothing to do
    False
    """
    if all(_is_registered(name) for name in _SCHEMAS) or _load_compiled_operators():
        return False
    missing = [name for name in _SCHEMAS if not _is_registered(name)]
    # FRAGMENT, not DEF: somebody else may own, or later define, the namespace.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in missing:
        library.define(_SCHEMAS[name])
    _libraries.append(library)
    return bool(missing)


def _is_registered(name: str) -> bool:
    return hasattr(torch.ops.torchvision, name)


def _load_compiled_operators() -> bool:
    """Load torchvision's operators without importing it; True when none is wanting."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.submodule_search_locations is None:
        return True
    candidates = (
        Path(folder) / f"_C{suffix}"
        for folder in spec.submodule_search_locations
        for suffix in EXTENSION_SUFFIXES
    )
    library = next((path for path in candidates if path.is_file()), None)
    if library is None:  # a build without compiled operators
        return False
    try:
        torch.ops.load_library(library)
    except OSError:
        return False
    return all(_is_registered(name) for name in _SCHEMAS)
