"""Images to read, and processes that share a store."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import skfusion

# What every process of these tests runs first: arguments are a folder for signals and
# the folder of the store. `log` writes keys down where all processes write them.
PREAMBLE = """
import os, sys, time
from pathlib import Path
import numpy as np
from skfusion.store.embedding_store import EmbeddingStore
signals, folder = Path(sys.argv[1]), sys.argv[2]
def log(keys):
    with open(signals / "log", "a") as file:
        file.write("".join(f"{key}\\n" for key in keys))
def arrays(keys):
    return {key: np.full((2, 2), float(key)) for key in keys}
def wait_for(name):
    while not (signals / name).exists():
        time.sleep(0.01)
"""


class Recorder:
    """A compute function that remembers what it was asked for."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked: list[str] = []
        self.calls: list[int] = []
        self.seconds = seconds

    def __call__(self, keys: list[str]) -> dict[str, np.ndarray]:
        self.asked += keys
        self.calls.append(len(keys))
        time.sleep(self.seconds)
        return {key: np.full((2, 2), float(key)) for key in keys}


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture
def launch() -> Iterator[Callable[..., subprocess.Popen]]:
    """Start Python processes; those that still run at the end of a test are killed."""
    processes = []
    root = str(Path(skfusion.__file__).parents[1])

    def start(script: str, signals: Path, folder: Path) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + textwrap.dedent(script), signals, folder],
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=60)


@pytest.fixture
def finish() -> Callable[[subprocess.Popen], str]:
    """Wait for a process that must end well; gives what it printed."""

    def wait(process: subprocess.Popen) -> str:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out

    return wait
