"""Damages of the files in a folder, as by disks, backups, tools and hands."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["contents", "damage"]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a folder."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def flip(data: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(rng.integers(1, 4)):
        if data:
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return data


def truncate(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(len(data)))] if data else data


def grow(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data + rng.bytes(int(rng.integers(1, 64)))


def zero(data: bytearray, rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(len(data))) if data else 0
    stop = min(len(data), start + int(rng.integers(1, 4096)))
    data[start:stop] = bytes(stop - start)
    return data


def rearrange(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Exchange two blocks of eight bytes, as if two patients were exchanged."""
    if len(data) < 32:
        return data[::-1]
    one, other = 8 * rng.choice(len(data) // 8, 2, replace=False)
    data[one : one + 8], data[other : other + 8] = (
        data[other : other + 8],
        data[one : one + 8],
    )
    return data


def reverse_words(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Reverse the lists in a JSON text, which keeps its length."""
    try:
        found = json.loads(bytes(data))
    except ValueError:
        return data[::-1]
    for value in [found, *found.values()] if isinstance(found, dict) else []:
        for name, inner in value.items() if isinstance(value, dict) else []:
            if isinstance(inner, list):
                value[name] = inner[::-1]
    return bytearray(json.dumps(found).encode())


def empty(data: bytearray, rng: np.random.Generator) -> bytearray:
    small = [b"", b"{}", b"[]", b"null", b"1e999", b"\xff\xfe\0", b"[" * 10_000, b"{"]
    return bytearray(small[int(rng.integers(len(small)))])


EDITS: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    *(flip, flip, truncate, grow, zero, rearrange, rearrange, reverse_words, empty),
)


def replace(path: Path, source: Path, rng: np.random.Generator) -> None:
    """Replace the content of a file or the file itself by another one."""
    if not source.exists():
        return
    if rng.random() < 0.5:
        path.unlink()
    copy = shutil.copy2 if rng.random() < 0.5 else shutil.copyfile  # With its times.
    copy(source, path)


def damage(folder: Path, others: list[Path], rng: np.random.Generator) -> str:
    """Damage one or two files of a folder, with or without a trace in their times.

    Parameters
    ----------
    folder : Path
        The folder.
    others : list of Path
        Folders with files that may take the place of those of `folder`, such as an
        earlier state or the folder of other data.
    rng : Generator
        The source of random choices.

    Returns
    -------
    str
        What was done, for messages.
    """
    names = sorted(p.name for p in folder.iterdir())
    done = []
    for _ in range(1 + (rng.random() < 0.2)):
        name = names[int(rng.integers(len(names)))]
        path = folder / name
        if not path.is_file():
            continue
        state = path.stat()
        other = folder / names[int(rng.integers(len(names)))]
        kind = int(rng.integers(len(EDITS) + 4))
        if kind < len(EDITS):
            path.write_bytes(EDITS[kind](bytearray(path.read_bytes()), rng))
            done.append(f"{EDITS[kind].__name__} {name}")
        elif kind == len(EDITS):
            path.unlink()
            if rng.random() < 0.3:
                path.mkdir()
            done.append(f"delete {name}")
        elif kind == len(EDITS) + 1 and other.is_file():
            one, two = path.read_bytes(), other.read_bytes()
            path.write_bytes(two), other.write_bytes(one)
            done.append(f"swap {name} and {other.name}")
        else:
            source = others[int(rng.integers(len(others)))] / name
            replace(path, source, rng)
            done.append(f"{name} of {source.parent.name}")
        if rng.random() < 0.6 and path.is_file():
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
            done.append("with its time kept")
    return ", ".join(done)
