"""What makes a run of torch repeatable: its seed, its threads and its device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skfusion.image.networks.inference import resolve_device

__all__ = ["find_device", "seeded_torch", "torch_threads"]


@contextmanager
def seeded_torch(seed: int) -> Iterator[None]:
    """Seed torch, and restore the state of its generator afterwards.

    Parameters
    ----------
    seed : int
        Seed of initial weights, dropout and the order of the batches.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def torch_threads(n_threads: int) -> Iterator[None]:
    """Let torch use so many threads, and restore their number afterwards.

    The number decides in which order torch adds, and thus the last digits of what is
    trained: it must not depend on whether a fit runs in a worker process.

    Parameters
    ----------
    n_threads : int
        Number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def find_device(device: str | torch.device) -> torch.device:
    """Return the torch device to use: the one named, or the best that is there.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` is CUDA, then MPS, then the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If the device is unknown or not available.

    Examples
    --------
    >>> from skfusion.fusion.seeding import find_device
    >>> find_device("cpu")
    device(type='cpu')
    """
    if device == "auto" and not torch.cuda.is_available():
        device = "mps" if torch.backends.mps.is_available() else "cpu"
    return resolve_device(device)
