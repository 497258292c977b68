"""The graph of objects in a model file: written by skops, checked before it is read.

skops decides by names whether it makes an object. This module also decides what a name
may be used for: lists are lists and arrays are arrays of numpy, and all other classes
are made without calling them.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from skfusion._dependencies import require
from skfusion.persistence.archive import (
    Archive,
    Limits,
    ModelFileError,
    archive_bytes,
    check_members,
)
from skfusion.persistence.trusted_names import MOVED, TRUSTED

__all__ = [
    "UntrustedTypesError",
    "checked",
    "current_name",
    "dump",
    "load",
    "untrusted_names",
    "used_names",
]

SCHEMA = "schema.json"
WHAT = "estimator.skops of the file"
#: Protocols of skops before this one are read by older, weaker code.
_OLDEST_PROTOCOL = 2
#: Names that a kind of node may have. The others make objects by name only.
_NATURAL = {
    "BytearrayNode": {"builtins.bytearray"},
    "BytesNode": {"builtins.bytes"},
    "ConstructorFromReduceNode": {
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "decimal.Decimal",
        "zoneinfo.ZoneInfo",
    },
    "DictNode": {
        "builtins.dict",
        "collections.OrderedDict",
        "sklearn.utils._bunch.Bunch",
    },
    "JsonNode": {"builtins.str"},
    "ListNode": {"builtins.list"},
    "NdArrayNode": {
        "numpy.ndarray",
        *(f"numpy.{kind.__name__}" for kind in np.sctypeDict.values()),
    },
    "PartialNode": {"functools.partial"},
    "RandomGeneratorNode": {"numpy.random._generator.Generator"},
    "RandomStateNode": {"numpy.random.mtrand.RandomState"},
    "SetNode": {"builtins.set"},
    "SliceNode": {"builtins.slice"},
    "TupleNode": {"builtins.tuple"},
}
#: Kinds of nodes that skops looks up by their number if they occur again.
_SHARED = ("DictNode", "ListNode", "NdArrayNode", "ObjectNode", "TupleNode")
_BY_NAME = ("FunctionNode", "LossNode", "ObjectNode", "TreeNode", "TypeNode")
_REASONS = {
    "sklearn.tree._tree.Tree": "scikit-learn follows the indices in a tree without "
    "checking them",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": "scikit-learn "
    "follows the indices in a tree without checking them",
}


class UntrustedTypesError(ModelFileError):
    """A file names classes or functions that are not trusted.

    Attributes
    ----------
    names : list of str
        The names, which are the value of `trusted` that accepts them.

    Examples
    --------
    >>> from skfusion.persistence import UntrustedTypesError
    >>> UntrustedTypesError(["clinic.Net"]).names
    ['clinic.Net']
    """

    __module__ = "skfusion.persistence"

    def __init__(self, names: Sequence[str]) -> None:
        self.names = sorted(names)
        notes = "".join(
            f" {name}: {_REASONS[name]}." for name in self.names if name in _REASONS
        )
        super().__init__(
            f"the file names {len(self.names)} classes or functions that skfusion does "
            f"not trust: {', '.join(self.names)}.{notes} Nothing was loaded. If you "
            f"know them and where the file comes from, pass trusted={self.names}."
        )


def dump(graph: Any, limits: Limits) -> bytes:
    """Return the graph of objects as skops writes it, in one form only.

    Parameters
    ----------
    graph : any
        A model without anything that skops cannot hold.
    limits : Limits
        Largest number of the parts.

    Returns
    -------
    bytes
        The same for the same model, whatever the identities of its objects.

    Raises
    ------
    ModelFileError
        If it has more parts.
    """
    io_ = require("skops.io", "persistence")
    with zipfile.ZipFile(io.BytesIO(io_.dumps(graph))) as archive:
        schema = json.loads(archive.read(SCHEMA))
        numbers: dict[Any, int] = {}
        files: dict[str, str] = {}
        for node in _nodes(schema):
            if "__id__" in node:
                is_known = node["__id__"] in numbers
                node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
                if is_known and node["__loader__"] in _SHARED:
                    # skops writes a shared object again wherever it occurs.
                    _keep_only_name(node)
                    continue
            if "file" in node:
                suffix = node["file"].rpartition(".")[2]
                name = f"{len(files):06d}.{suffix}"
                node["file"] = files.setdefault(node["file"], name)
        check_members(len(files) + 1, limits)
        parts = {new: archive.read(old) for old, new in files.items()}
    text = json.dumps(schema, separators=(",", ":"))
    return archive_bytes({SCHEMA: text.encode(), **parts})


def _keep_only_name(node: dict[str, Any]) -> None:
    for key in [key for key in node if not key.startswith("__")]:
        del node[key]


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the dicts of a schema that describe an object."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if "__loader__" in node:
                yield node
            waiting.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            waiting.extend(reversed(node))


def load(content: bytes, limits: Limits, trusted: Sequence[Any] = ()) -> Any:
    """Make the objects of a graph, after all checks.

    Parameters
    ----------
    content : bytes
        What `dump` returned.
    limits : Limits
        Largest number and size of the parts.
    trusted : sequence of str or type, default=()
        What is trusted in addition.

    Returns
    -------
    any
        The model with its stand-ins.

    Raises
    ------
    UntrustedTypesError
        If a name is not trusted. Nothing was made.
    ModelFileError
        If the content is not as `dump` writes it.
    """
    content = checked(content, limits)
    io_ = require("skops.io", "persistence")
    names = [_name_of(one) for one in trusted]
    try:
        unknown = untrusted_names(content, names)
        if unknown:
            raise UntrustedTypesError(unknown)
        return io_.loads(content, trusted=[*TRUSTED, *names])
    except ModelFileError:
        raise
    except (ImportError, AttributeError) as error:
        raise ModelFileError(
            f"the file needs something that is not installed here or has another "
            f"name: {error}. inspect_model shows with which versions it was saved."
        ) from error
    except (RecursionError, MemoryError) as error:
        raise ModelFileError(
            f"{WHAT} is refused: it is nested too deeply or too large."
        ) from error
    except Exception as error:
        raise ModelFileError(
            f"{WHAT} is refused: {type(error).__name__} while its objects were made."
        ) from error


def _name_of(one: Any) -> str:
    if isinstance(one, str):
        return one
    if isinstance(one, type) or callable(one):
        return f"{one.__module__}.{one.__name__}"
    raise TypeError(
        "load: trusted must be a list of qualified names or classes, got an entry of "
        f"type {type(one).__name__}."
    )


def untrusted_names(content: bytes, trusted: Sequence[str] = ()) -> list[str]:
    """Return the names in a checked graph that are not trusted.

    Parameters
    ----------
    content : bytes
        What `dump` returned.
    trusted : sequence of str, default=()
        Names that are trusted in addition.
    """
    io_ = require("skops.io", "persistence")
    found = set(io_.get_untrusted_types(data=content))
    return sorted(found - TRUSTED - set(trusted))


def used_names(content: bytes, limits: Limits) -> list[str]:
    """Return the classes and functions that a checked graph names."""
    with Archive(content, limits, what=WHAT) as archive:
        schema = json.loads(archive.read(SCHEMA))
    nodes = (node for node in _nodes(schema) if node["__loader__"] in _BY_NAME)
    return sorted({f"{node['__module__']}.{node['__class__']}" for node in nodes})


# -- checks ---------------------------------------------------------------------------


def current_name(name: str) -> str:
    """Return the name that a class has in this version."""
    return MOVED.get(name, name)


def checked(content: bytes, limits: Limits) -> bytes:
    """Check a graph, and return it with the names of this version.

    Parameters
    ----------
    content : bytes
        What `dump` returned.
    limits : Limits
        Largest number and size of the parts.

    Raises
    ------
    ModelFileError
        If the content is not as `dump` writes it.
    """
    with Archive(content, limits, what=WHAT) as archive:
        try:
            schema = json.loads(archive.read(SCHEMA))
        except (ValueError, RecursionError) as error:
            raise ModelFileError(f"{WHAT} is refused: it is no JSON.") from error
        protocol = schema.get("protocol") if isinstance(schema, dict) else None
        if type(protocol) is not int or protocol < _OLDEST_PROTOCOL:
            raise ModelFileError(
                f"{WHAT} is refused: it has protocol {protocol!r} of skops, expected "
                f"{_OLDEST_PROTOCOL} or newer."
            )
        has_moved = False
        for node in _nodes(schema):
            has_moved |= _renamed(node)
            _check_node(node, archive)
        parts = {name: archive.read(name) for name in archive.names if name != SCHEMA}
    for name, part in parts.items():
        if name.endswith(".npy"):
            _check_array(name, part)
    if not has_moved:
        return content
    return archive_bytes({SCHEMA: json.dumps(schema).encode(), **parts})


def _renamed(node: dict[str, Any]) -> bool:
    """Give a node the name that its class has now, and return whether it changed."""
    old = f"{node.get('__module__')}.{node.get('__class__')}"
    name = current_name(old)
    if name == old:
        return False
    node["__module__"], _, node["__class__"] = name.rpartition(".")
    return True


def _check_node(node: dict[str, Any], archive: Archive) -> None:
    loader, module, kind = (node.get(f"__{k}__") for k in ("loader", "module", "class"))
    name = f"{module}.{kind}"
    is_text = all(isinstance(part, str) for part in (loader, module, kind))
    if not is_text or not re.fullmatch(r"[\w.]+", name):
        raise ModelFileError(f"{WHAT} is refused: {name!r} is no name of a class.")
    natural = _NATURAL.get(str(loader))
    if natural is None and loader not in _BY_NAME:
        raise ModelFileError(
            f"{WHAT} is refused: it has a {loader}, which skfusion.save does not write."
        )
    if natural is not None and name not in natural:
        raise ModelFileError(
            f"{WHAT} is refused: a {loader} would call {name}, expected "
            f"{', '.join(sorted(natural))}."
        )
    if "file" in node and node["file"] not in archive.names:
        raise ModelFileError(f"{WHAT} is refused: an array is missing in it.")


def _check_array(name: str, part: bytes) -> None:
    """Check that an array declares as many bytes as it has, and contains no pickle."""
    stream = io.BytesIO(part)
    try:
        version = np.lib.format.read_magic(stream)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = reader(stream)
    except (ValueError, KeyError) as error:
        raise ModelFileError(
            f"{WHAT} is refused: the array {name!r} has no header."
        ) from error
    if dtype.hasobject:
        raise ModelFileError(
            f"{WHAT} is refused: the array {name!r} contains pickled objects."
        )
    declared, real = prod(shape) * dtype.itemsize, len(part) - stream.tell()
    if declared != real or min(shape, default=0) < 0:
        raise ModelFileError(
            f"{WHAT} is refused: the array {name!r} declares {declared:,} bytes and "
            f"has {real:,}."
        )
