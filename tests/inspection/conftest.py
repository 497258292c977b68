"""Fixtures of the corner cohort."""

from __future__ import annotations

import pandas as pd
import pytest
from corner_images import SIZE, corner_cohort, small_net

from skfusion import ImageEmbedder


@pytest.fixture(scope="session")
def corner() -> pd.DataFrame:
    return corner_cohort(64, seed=0)


@pytest.fixture
def embedder() -> ImageEmbedder:
    return ImageEmbedder(
        small_net(), input_size=SIZE, trainable="last_block", store=None
    )
