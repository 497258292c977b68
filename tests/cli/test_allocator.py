"""The allocator of the process of a command, which a library would not change."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from skfusion.cli.main import SETTINGS, keep_freed_memory, main

# A new array of 256 MB, twice, and how many pages the second one took from the system.
SCRIPT = """
import resource, sys
from skfusion.cli.main import keep_freed_memory
if sys.argv[1] == "kept":
    print(keep_freed_memory())
faults = []
for _ in range(2):
    block = bytearray(2**28)
    block = None
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[1] - faults[0])
"""

has_glibc = pytest.mark.skipif(
    not (sys.platform == "linux" and hasattr(os, "confstr")),
    reason="the allocator of glibc is set only",
)


@pytest.fixture
def usual(monkeypatch):
    """Environment without settings of the allocator."""
    for name in list(os.environ):
        if name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")):
            monkeypatch.delenv(name)


def run(how, **environment):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, how],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()


@has_glibc
def test_a_second_array_needs_no_pages_of_the_system(usual):
    page = os.sysconf("SC_PAGE_SIZE")
    if page > 2**14:
        pytest.skip("pages are so large that their faults are few")
    changed, kept = run("kept")
    if changed == "False":
        pytest.skip("this C library has no mallopt")
    (returned,) = run("returned")
    assert int(kept) < 2000 < int(returned)


@has_glibc
def test_processes_that_are_started_get_the_settings(usual):
    if run("kept")[0] == "False":
        pytest.skip("this C library has no mallopt")
    (inherited,) = run("returned", **{k: str(v) for k, (_, v) in SETTINGS.items()})
    assert int(inherited) < 2000


@pytest.mark.parametrize(
    "own",
    [
        {"MALLOC_TRIM_THRESHOLD_": "1000"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=9"},
        {"LD_PRELOAD": "libjemalloc.so"},
    ],
)
def test_the_settings_of_the_user_are_kept(own):
    environment = {"HOME": "/", **own}
    assert not keep_freed_memory(environment)
    assert environment == {"HOME": "/", **own}


def test_another_c_library_is_left_alone(monkeypatch):
    class Library:
        """A C library without `mallopt`."""

    monkeypatch.setattr("skfusion.cli.main.ctypes.CDLL", lambda name: Library())
    environment = {"HOME": "/"}
    assert not keep_freed_memory(environment)
    assert environment == {"HOME": "/"}


def test_a_process_that_calls_the_command_is_not_changed(monkeypatch, capsys):
    monkeypatch.setattr(
        "skfusion.cli.main.keep_freed_memory", lambda: pytest.fail("changed")
    )
    assert main(["cache", "prune", "--max-size", "1GB", "--path", "no/such"]) == 2
    called = []
    monkeypatch.setattr(
        "skfusion.cli.main.keep_freed_memory", lambda: called.append(True)
    )
    words = ["skfusion", "cache", "prune", "--max-size", "1GB", "--path", "no/such"]
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 2
    assert called == [True]
