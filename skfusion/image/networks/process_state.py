"""Random state and number of threads of torch, which a whole process shares.

torch draws initial weights, dropout and the order of batches from one generator per
process. Results are only reproducible if no other thread draws from it meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import torch

__all__ = [
    "drawn_in_float32",
    "exact_convolutions",
    "kept_random_state",
    "seeded_torch",
    "torch_threads",
]


class _Shared:
    """Lock of the generator, and the numbers of threads that sections have set."""

    def __init__(self) -> None:
        self.random = threading.RLock()
        self.threads = threading.Lock()
        self.set_numbers: list[int] = []
        self.number_outside = 0
        self.of_thread = threading.local()
        self.exact = threading.Lock()
        self.n_exact = 0
        self.may_round = True


_shared = _Shared()


def _renew() -> None:
    """Replace locks that other threads of the parent process may hold."""
    global _shared
    _shared = _Shared()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew)


@contextlib.contextmanager
def kept_random_state() -> Iterator[None]:
    """Reserve the generators of torch, and restore their state afterwards.

    Other threads wait at the beginning of their own sections. Sections can be nested.
    A lock that is acquired within a section must not be held at its beginning.
    """
    # CUDA would be initialised to read a state that nothing has drawn from.
    is_used = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if is_used else []
    with _shared.random, torch.random.fork_rng(devices=devices):
        yield


@contextlib.contextmanager
def seeded_torch(seed: int) -> Iterator[None]:
    """Seed torch for one section, and restore the state of its generators afterwards.

    Sections of several threads run one after another, so that the numbers drawn in a
    section do not depend on other threads.

    Parameters
    ----------
    seed : int
        Seed of the initial weights, the dropout and the order of the batches.

    Examples
    --------
    >>> import torch
    >>> from skfusion.image.networks.process_state import seeded_torch
    >>> def draw():
    ...     with seeded_torch(0):
    ...         return torch.rand(1).item()
    >>> draw() == draw()
    True
    """
    with kept_random_state():
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)
        if torch.backends.mps.is_available():
            torch.mps.manual_seed(seed)
        yield


@contextlib.contextmanager
def drawn_in_float32() -> Iterator[None]:
    """Create weights in float32, whatever default type another program has set.

    Weights that are drawn in another type are other weights. The default type belongs
    to the process, so this is used within `seeded_torch`.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def exact_convolutions() -> Iterator[None]:
    """Disable TF32 in the convolutions of cuDNN, and restore the setting afterwards.

    The setting belongs to the process. It is restored when the last of several threads
    leaves such a section.
    """
    shared, settings = _shared, torch.backends.cudnn
    with shared.exact:
        if shared.n_exact == 0:
            shared.may_round = settings.allow_tf32
            settings.allow_tf32 = False
        shared.n_exact += 1
    try:
        yield
    finally:
        with shared.exact:
            shared.n_exact -= 1
            if shared.n_exact == 0:
                settings.allow_tf32 = shared.may_round


@contextlib.contextmanager
def torch_threads(n_threads: int) -> Iterator[None]:
    """Set the number of threads of torch and restore it afterwards.

    The number of threads determines the order of summation, and therefore the last
    digits of the trained weights. It must not depend on whether a fit runs in a worker
    process.

    Parameters
    ----------
    n_threads : int
        Number of threads.
    """
    # The number belongs to a thread, and a new thread takes the number that any thread
    # has set last. A thread that begins while others are in such a section starts with
    # their number and must not keep it.
    shared, mine = _shared, _shared.of_thread
    depth = getattr(mine, "depth", 0)
    with shared.threads:
        before = torch.get_num_threads()
        if not shared.set_numbers:
            shared.number_outside = before
        elif depth == 0 and before in shared.set_numbers:
            before = shared.number_outside
        shared.set_numbers.append(n_threads)
        torch.set_num_threads(n_threads)
    mine.depth = depth + 1
    try:
        yield
    finally:
        mine.depth = depth
        with shared.threads:
            shared.set_numbers.remove(n_threads)
            torch.set_num_threads(before)
