"""Reproducible computation with torch: seed, threads and precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from skfusion.image.networks.process_state import (
    drawn_in_float32,
    ordinary_modes,
    seeded_torch,
    torch_threads,
)

__all__ = [
    "PRECISIONS",
    "Precision",
    "drawn_in_float32",
    "ordinary_modes",
    "seeded_torch",
    "torch_threads",
]


PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Precision:
    """Floating-point precision in which a network is trained.

    Predictions use the precision of the weights.

    Attributes
    ----------
    device : torch.device
        Device of the training.
    dtype : torch.dtype or None
        Data type of autocast. None disables autocast.
    """

    device: torch.device
    dtype: torch.dtype | None

    @classmethod
    def resolve(
        cls, precision: str, device: torch.device, *, is_light: bool
    ) -> Precision:
        """Return the precision that the parameter `precision` selects on a device.

        Parameters
        ----------
        precision : {"auto", "float32", "bfloat16", "float16"}
            ``"auto"`` is float32 on a CPU. On CUDA it is bfloat16 if the device
            supports it, else float16.
        device : torch.device
            Device of the training.
        is_light : bool
            Whether the network is so small that a lower precision saves no time.
            ``"auto"`` is then float32.
        """
        if precision == "auto" and device.type == "cuda" and not is_light:
            half = torch.cuda.is_bf16_supported(including_emulation=False)
            return cls(device, torch.bfloat16 if half else torch.float16)
        if precision in ("auto", "float32"):
            return cls(device, None)
        return cls(device, getattr(torch, precision))

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context manager in which a network is run."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler | None:
        """Return a gradient scaler for float16, and None for other types."""
        if self.dtype is not torch.float16:
            return None
        # The default scale of torch, 65536, skips about a dozen steps that overflow.
        # These are a large part of a short training.
        return torch.amp.GradScaler(self.device.type, init_scale=1024.0)
