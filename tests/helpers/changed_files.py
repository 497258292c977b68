"""Files of models whose parts were changed, with digests that fit."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable

from skfusion.persistence.archive import archive_bytes

Parts = dict[str, bytes]


def parts_of(content: bytes) -> Parts:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts: Parts) -> bytes:
    """A file of changed parts whose digests fit, as a careful attacker makes it."""
    manifest = json.loads(parts["manifest.json"])
    for name in manifest["parts"]:
        if name in parts:
            digest = hashlib.sha256(parts[name]).hexdigest()
            manifest["parts"][name] = {"size": len(parts[name]), "sha256": digest}
    return archive_bytes({**parts, "manifest.json": json.dumps(manifest).encode()})


def with_graph(content: bytes, change: Callable[[Parts, dict], None]) -> bytes:
    """A file whose graph of objects was changed, with digests that fit."""
    parts = parts_of(content)
    inner = parts_of(parts["estimator.skops"])
    schema = json.loads(inner["schema.json"])
    change(inner, schema)
    inner["schema.json"] = json.dumps(schema).encode()
    parts["estimator.skops"] = archive_bytes(inner)
    return packed(parts)
