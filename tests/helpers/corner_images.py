"""Cohorts whose image tells the outcome in one corner, and nets that train fast."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from skfusion.image.networks.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)

SIZE = 32


def small_net(seed: int = 0) -> nn.Module:
    """A net of two convolutions whose output is a map of 8 channels."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
    )
    net.preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)
    return net


def corner_cohort(n_cases: int, seed: int, size: int = SIZE) -> pd.DataFrame:
    """Noise; a bright square in the upper right corner where the outcome is 1."""
    rng = np.random.default_rng(seed)
    outcome = np.arange(n_cases) % 2
    images = rng.normal(100, 20, (n_cases, size, size))
    images[outcome == 1, : size // 4, -size // 4 :] += 100
    return pd.DataFrame(
        {
            "scan": list(np.clip(images, 0, 255).astype(np.uint8)),
            "age": rng.normal(60, 10, n_cases),
            "crp": rng.normal(5, 2, n_cases) + 0.3 * outcome,
            "outcome": outcome,
        }
    )
