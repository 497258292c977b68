"""The networks of joint fusion: pure torch, no scikit-learn and no tables.

One encoder per modality, a learned token where a modality is absent, a join, a head.
B is the batch size, M the number of modalities, D the width of a representation.
Read next: `skfusion.fusion.training`, which fits them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = ["JointNetwork", "ModalityEncoder"]

# AUROC on 842 skin photos with 8 clinical columns, frozen backbone, 5 folds of whole
# patients: 0.885 unscaled, 0.904 at 128, 0.904 at 32, 0.906 at 8.
BALANCED_WIDTH = 32


class Standardize(nn.Module):
    """Shift and scale features by fixed numbers; start as the identity.

    Features are standardised. A block of more than 32 features is then scaled down to
    the total variance of 32, so that an embedding of a thousand columns does not
    drown twenty clinical ones: the optimiser moves every weight by the same amount,
    whatever it multiplies.

    Parameters
    ----------
    n_features : int
        Number of features.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def calibrate(self, x: Tensor) -> None:
        """Take mean and standard deviation from features of shape (B, n_features)."""
        spread = x.std(dim=0, unbiased=False)
        self.shift = x.mean(dim=0)
        # A constant feature says nothing; dividing by its spread would blow up noise.
        scale = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
        self.scale = scale * max(1.0, x.shape[1] / BALANCED_WIDTH) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, shifted and scaled."""
        return (x - self.shift) / self.scale


class ModalityEncoder(nn.Module):
    """Turn one modality into a representation of fixed width.

    Parameters
    ----------
    n_features : int
        Number of features, or of outputs of the backbone.
    width : int
        Width D of the representation.
    dropout : float
        Share of the features that is dropped in training, before the projection.
    backbone : torch.nn.Module or None, default=None
        What comes first, e.g. the trainable tail of a CNN; its output is (B,
        n_features). Its batch norms keep their running statistics: a clinical cohort
        is too small to estimate them again in batches of 32.
    """

    def __init__(
        self,
        n_features: int,
        width: int,
        dropout: float,
        backbone: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone = nn.Identity() if backbone is None else backbone
        self.standardize = Standardize(n_features)
        self.project = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(n_features, width), nn.ReLU()
        )

    def train(self, mode: bool = True) -> ModalityEncoder:
        """Set the mode of everything but the backbone's batch norms."""
        super().train(mode)
        for part in self.backbone.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the representation (B, D) of features or backbone inputs."""
        features = self.backbone(x)  # (B, n_features)
        return self.project(self.standardize(features))  # (B, D)


class JointNetwork(nn.Module):
    """Encoders, learned tokens for the absent, concatenation, head.

    Parameters
    ----------
    encoders : mapping of str to ModalityEncoder
        One per modality, in the order of the columns of `present`.
    hidden_dims : sequence of int
        Widths: of every representation first, then of the head's hidden layers.
    n_outputs : int
        Number of classes, or 1 for a regression.
    dropout : float
        Dropout before each layer of the head.
    modality_dropout : float
        Share of the present modalities that is hidden in training, so that the network
        learns to do without; one modality always stays.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        hidden_dims: Sequence[int],
        n_outputs: int,
        dropout: float,
        modality_dropout: float,
    ) -> None:
        super().__init__()
        width = hidden_dims[0]
        # "x_" because a module's name may not clash with nn.Module's attributes
        self.encoders = nn.ModuleDict({f"x_{k}": e for k, e in encoders.items()})
        self.tokens = nn.Parameter(torch.zeros(len(encoders), width))
        self.modality_dropout = modality_dropout
        layers: list[nn.Module] = []
        n_inputs = width * len(encoders)
        for n_hidden in hidden_dims[1:]:
            layers += [nn.Dropout(dropout), nn.Linear(n_inputs, n_hidden), nn.ReLU()]
            n_inputs = n_hidden
        self.head = nn.Sequential(
            *layers, nn.Dropout(dropout), nn.Linear(n_inputs, n_outputs)
        )

    def represent(self, inputs: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return the representations (B, M, D), tokens where a modality is absent."""
        encoded = [encoder(inputs[name[2:]]) for name, encoder in self.encoders.items()]
        stacked = torch.stack(encoded, dim=1)  # (B, M, D)
        return torch.where(present[:, :, None], stacked, self.tokens)

    def join(self, representations: Tensor) -> Tensor:
        """Return the outputs (B, n_outputs) for representations (B, M, D)."""
        return self.head(representations.flatten(start_dim=1))

    def forward(self, inputs: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return the outputs (B, n_outputs): log-odds of classes, or a number."""
        if self.training and self.modality_dropout > 0:
            present = self._hide_some(present)
        return self.join(self.represent(inputs, present))

    def _hide_some(self, present: Tensor) -> Tensor:
        chance = torch.rand(present.shape, device=present.device)
        kept = present & (chance >= self.modality_dropout)
        # where all were hidden, the present one with the greatest chance comes back
        last = torch.where(present, chance, -torch.ones_like(chance)).argmax(dim=1)
        empty = ~kept.any(dim=1) & present.any(dim=1)
        kept[empty, last[empty]] = True
        return kept
