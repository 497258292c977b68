"""What makes a run of torch repeatable: its seed, its threads and its device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

__all__ = ["seeded_torch", "torch_threads"]


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


PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Precision:
    """In which precision a network is trained; it is asked in its own.

    Attributes
    ----------
    device : torch.device
        Where it is trained.
    dtype : torch.dtype or None
        What autocast computes in; None leaves everything as it is.
    """

    device: torch.device
    dtype: torch.dtype | None

    @classmethod
    def resolve(
        cls, precision: str, device: torch.device, *, is_light: bool
    ) -> Precision:
        """Return what a parameter means on a device.

        Parameters
        ----------
        precision : {"auto", "float32", "bfloat16", "float16"}
            ``"auto"`` is float32, but on CUDA bfloat16 where it has it, else float16.
        device : torch.device
            Where the network is trained.
        is_light : bool
            Whether the network is so small that ``"auto"`` saves nothing.
        """
        if precision == "auto" and device.type == "cuda" and not is_light:
            half = torch.cuda.is_bf16_supported(including_emulation=False)
            return cls(device, torch.bfloat16 if half else torch.float16)
        if precision in ("auto", "float32"):
            return cls(device, None)
        return cls(device, getattr(torch, precision))

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which a network is run."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler | None:
        """Return what keeps small gradients of float16 from vanishing, or None."""
        if self.dtype is not torch.float16:
            return None
        # torch begins at 65536 and throws away the dozen steps that overflow, which is
        # a large part of a short training.
        return torch.amp.GradScaler(self.device.type, init_scale=1024.0)
