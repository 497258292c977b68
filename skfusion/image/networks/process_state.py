"""Random state and number of threads of torch, which a whole process shares.

torch draws initial weights, dropout and the order of batches from one generator per
process. Results are only reproducible if no other thread draws from it meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

__all__ = [
    "ForkSafeLock",
    "drawn_in_float32",
    "exact_convolutions",
    "kept_random_state",
    "ordinary_modes",
    "seeded_torch",
    "torch_threads",
]


class ForkSafeLock:
    """Reentrant lock that another thread of the parent does not hold after a fork.

    A forked process has a copy of every lock, but not the thread that would release it.

    Examples
    --------
    >>> from skfusion.image.networks.process_state import ForkSafeLock
    >>> lock = ForkSafeLock()
    >>> with lock, lock:
    ...     print("held twice")
    held twice
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Replace the lock in a forked process, unless its only thread holds it."""
        if not self._lock._is_owned():  # type: ignore[attr-defined]
            self._lock = threading.RLock()


_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _renew_locks() -> None:
    for lock in list(_locks):
        lock.renew()


def _after_fork(function: Callable[[], None]) -> None:
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=function)


_after_fork(_renew_locks)

_random_lock = ForkSafeLock()


@contextlib.contextmanager
def kept_random_state() -> Iterator[None]:
    """Reserve the generators of torch, and restore their state afterwards.

    Other threads wait at the beginning of their own sections. Sections can be nested.
    A lock that is acquired within a section must not be held at its beginning.
    """
    # CUDA would be initialised to read a state that nothing has drawn from.
    is_used = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if is_used else []
    with _random_lock, torch.random.fork_rng(devices=devices):
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
def ordinary_modes() -> Iterator[None]:
    """Disable the modes of torch that a caller has entered, for this thread.

    Networks are trained with gradients, and neither inference mode, autocast nor a
    default device changes what they compute.

    Examples
    --------
    >>> import torch
    >>> from skfusion.image.networks.process_state import ordinary_modes
    >>> with torch.inference_mode(), ordinary_modes():
    ...     torch.ones(1, requires_grad=True).sum().requires_grad
    True
    """
    with contextlib.ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            modes.enter_context(torch.device("cpu"))
        yield


@dataclass
class _Exact:
    """Sections that need exact convolutions, and the setting outside of them."""

    lock: ForkSafeLock = field(default_factory=ForkSafeLock)
    n_sections: int = 0
    allow_tf32: bool = True


_exact = _Exact()


@contextlib.contextmanager
def exact_convolutions() -> Iterator[None]:
    """Disable TF32 in the convolutions of cuDNN, and restore the setting afterwards.

    The setting belongs to the process. It is restored when the last of several threads
    leaves such a section.
    """
    settings = torch.backends.cudnn
    with _exact.lock:
        if _exact.n_sections == 0:
            _exact.allow_tf32 = settings.allow_tf32
            settings.allow_tf32 = False
        _exact.n_sections += 1
    try:
        yield
    finally:
        with _exact.lock:
            _exact.n_sections -= 1
            if _exact.n_sections == 0:
                settings.allow_tf32 = _exact.allow_tf32


@dataclass
class _Threads:
    """Numbers of threads that sections have set, and the number outside of them."""

    lock: ForkSafeLock = field(default_factory=ForkSafeLock)
    set_numbers: list[int] = field(default_factory=list)
    outside: int = 1
    of_thread: threading.local = field(default_factory=threading.local)


_threads = _Threads()


def _forget_other_threads() -> None:
    """Keep the sections of the only thread that a forked process has."""
    _threads.set_numbers = list(getattr(_threads.of_thread, "set_numbers", ()))


_after_fork(_forget_other_threads)


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
    mine = vars(_threads.of_thread).setdefault("set_numbers", [])
    with _threads.lock:
        before = torch.get_num_threads()
        if not _threads.set_numbers:
            _threads.outside = before
        elif not mine and before in _threads.set_numbers:
            before = _threads.outside
        for numbers in (_threads.set_numbers, mine):
            numbers.append(n_threads)
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        with _threads.lock:
            for numbers in (_threads.set_numbers, mine):
                numbers.remove(n_threads)
            torch.set_num_threads(before)
