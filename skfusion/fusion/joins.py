"""How joint fusion joins representations: pure torch, one module per join.

Goes in: representations (B, M, D) and presence (B, M). Comes out: one vector (B, J) per
row, with J in `n_features`. A learned token already stands where a modality is absent,
so a join that makes no use of the presence is free to ignore it.
B is the batch size, M the number of modalities, D the width of a representation.
Read next: `skfusion.fusion.join_choice`, which picks and checks one by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "Attention",
    "Concatenation",
    "FeatureModulation",
    "Gated",
    "Gradual",
    "LowRank",
    "Sum",
]


class Concatenation(nn.Module):
    """Representations side by side; the only join that bears unequal widths.

    Parameters
    ----------
    widths : sequence of int
        Width of each modality's representation.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.n_features = sum(widths)

    def forward(self, representations: Sequence[Tensor], present: Tensor) -> Tensor:
        """Return (B, sum of widths) for M tensors (B, D_m)."""
        return torch.cat(tuple(representations), dim=1)


class Sum(nn.Module):
    """Sum of the representations.

    The token of an absent modality is added in its place. It starts at 0, so that
    training starts from the sum over the present modalities.

    Parameters
    ----------
    n_modalities : int
        Number of modalities M.
    width : int
        Width D of a representation.
    """

    def __init__(self, n_modalities: int, width: int) -> None:
        super().__init__()
        self.n_features = width

    def forward(self, representations: Tensor, present: Tensor) -> Tensor:
        """Return (B, D) for representations (B, M, D)."""
        return representations.sum(dim=1)


class Gated(nn.Module):
    r"""Gated multimodal unit: each modality is let through as far as all say [1]_.

    With :math:`h_m = \tanh(W_m x_m)` and gates from all modalities together, two
    modalities share one gate, :math:`z h_1 + (1 - z) h_2`; with another number each
    has its own, :math:`\sum_m z_m h_m`. Both forms are the published ones;
    :math:`z = \sigma(U [x_1, ..., x_M])`. There are no biases.

    Parameters
    ----------
    n_modalities : int
        Number of modalities M.
    width : int
        Width D of a representation.

    References
    ----------
    .. [1] Arevalo J et al. (2017). Gated multimodal units for information fusion.
       arXiv:1702.01992, equations of section 3.1 and figure 2.
    """

    def __init__(self, n_modalities: int, width: int) -> None:
        super().__init__()
        self.n_features = width
        self.transforms = nn.ModuleList(
            nn.Linear(width, width, bias=False) for _ in range(n_modalities)
        )
        self.n_gates = 1 if n_modalities == 2 else n_modalities
        self.gates = nn.Linear(n_modalities * width, self.n_gates * width, bias=False)

    def forward(self, representations: Tensor, present: Tensor) -> Tensor:
        """Return (B, D) for representations (B, M, D)."""
        n_rows, _, width = representations.shape
        parts = [
            torch.tanh(transform(representations[:, m]))
            for m, transform in enumerate(self.transforms)
        ]
        hidden = torch.stack(parts, dim=1)  # (B, M, D)
        gates = torch.sigmoid(self.gates(representations.flatten(1)))
        gates = gates.reshape(n_rows, self.n_gates, width)  # (B, 1 or M, D)
        if hidden.shape[1] == 2:
            gates = torch.cat([gates, 1 - gates], dim=1)  # (B, 2, D)
        return (gates * hidden).sum(dim=1)


class LowRank(nn.Module):
    r"""Low-rank tensor fusion: every product of features across modalities [1]_.

    :math:`h = b + \sum_r \prod_m W_m^{(r)} [x_m; 1]`, which equals the outer product of
    all :math:`[x_m; 1]` contracted with a weight tensor of that rank, without ever
    making it. With two modalities this is a bilinear join.

    The weights of the constants start at 1 and the bias at minus the rank: every factor
    starts near 1, so that the product of many modalities neither vanishes nor
    explodes, and a token of 0 leaves the others' product as it is.

    Parameters
    ----------
    n_modalities : int
        Number of modalities M.
    width : int
        Width D of a representation and of the joined vector.
    rank : int, default=4
        Rank R of the weight tensor.

    References
    ----------
    .. [1] Liu Z et al. (2018). Efficient low-rank multimodal fusion with
       modality-specific factors. ACL 2018, equation 6.
    """

    def __init__(self, n_modalities: int, width: int, rank: int = 4) -> None:
        super().__init__()
        self.n_features = width
        factors = torch.randn(n_modalities, rank, width + 1, width)
        factors = factors / (width * n_modalities) ** 0.5
        factors[:, :, -1] = 1.0
        self.factors = nn.Parameter(factors)  # (M, R, D + 1, D)
        self.bias = nn.Parameter(torch.full((width,), -float(rank)))

    def forward(self, representations: Tensor, present: Tensor) -> Tensor:
        """Return (B, D) for representations (B, M, D)."""
        ones = torch.ones_like(representations[:, :, :1])
        extended = torch.cat([representations, ones], dim=2)  # (B, M, D + 1)
        factors = torch.einsum("bmi,mrio->bmro", extended, self.factors)
        return factors.prod(dim=1).sum(dim=1) + self.bias


class FeatureModulation(nn.Module):
    r"""One modality, scaled and shifted feature by feature as the others say.

    :math:`(1 + \gamma) x_c + \beta`, where a small network with a bottleneck makes
    :math:`\gamma` and :math:`\beta` from the other modalities: FiLM [1]_ with the
    auxiliary network of DAFT [2]_. Both modulate feature maps inside a CNN; here the
    pooled representation at its end is modulated, so that any modality can be.

    Parameters
    ----------
    n_modalities : int
        Number of modalities M; with 1 there is nothing to modulate by.
    width : int
        Width D of a representation.
    conditioned : int, default=0
        Position of the modality that is modulated.
    bottleneck : int or None, default=None
        Width of the bottleneck; None is half of D.

    References
    ----------
    .. [1] Perez E et al. (2018). FiLM: visual reasoning with a general conditioning
       layer. AAAI 2018.
    .. [2] Poelsterl S et al. (2021). Combining 3D image and tabular data via the
       dynamic affine feature map transform. MICCAI 2021.
    """

    def __init__(
        self,
        n_modalities: int,
        width: int,
        conditioned: int = 0,
        bottleneck: int | None = None,
    ) -> None:
        super().__init__()
        self.n_features = width
        self.conditioned = conditioned
        self.others = [m for m in range(n_modalities) if m != conditioned]
        narrow = bottleneck or max(1, width // 2)
        if self.others:
            self.modulate = nn.Sequential(
                nn.Linear(len(self.others) * width, narrow),
                nn.ReLU(),
                nn.Linear(narrow, 2 * width),
            )

    def forward(self, representations: Tensor, present: Tensor) -> Tensor:
        """Return (B, D) for representations (B, M, D)."""
        subject = representations[:, self.conditioned]
        if not self.others:
            return subject
        context = representations[:, self.others].flatten(1)  # (B, (M - 1) D)
        scale, shift = self.modulate(context).chunk(2, dim=1)  # (B, D) each
        return (1 + scale) * subject + shift


class Attention(nn.Module):
    """Transformer layers over one token per modality, then the mean over them.

    Each modality has a learned type embedding. The learned token of an absent modality
    takes part like any other and is not masked: that a scan was never ordered can say
    something about the patient.

    Parameters
    ----------
    n_modalities : int
        Number of modalities M.
    width : int
        Width D of a representation.
    dropout : float, default=0.0
        Dropout inside the layers.
    heads : int or None, default=None
        Attention heads, a divisor of D; None is the largest of 4, 2 and 1 that is.
    layers : int, default=1
        Number of transformer layers.
    """

    def __init__(
        self,
        n_modalities: int,
        width: int,
        dropout: float = 0.0,
        heads: int | None = None,
        layers: int = 1,
    ) -> None:
        super().__init__()
        if heads is None:
            heads = next(n for n in (4, 2, 1) if width % n == 0)
        self.n_features = width
        self.types = nn.Parameter(0.02 * torch.randn(n_modalities, width))
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width,
                    heads,
                    dim_feedforward=2 * width,
                    dropout=dropout,
                    activation="gelu",
                    batch_first=True,
                    norm_first=True,
                )
                for _ in range(layers)
            )
        )

    def forward(self, representations: Tensor, present: Tensor) -> Tensor:
        """Return (B, D) for representations (B, M, D)."""
        tokens = self.layers(representations + self.types)  # (B, M, D)
        return tokens.mean(dim=1)


class Gradual(nn.Module):
    """Modalities meet group by group: inner groups first, then their results.

    A group's members are concatenated and go through one layer of width D. What stands
    at the outermost level is concatenated and left to the head.

    Parameters
    ----------
    groups : nested tuple of int
        Positions of the modalities, e.g. ``((0, 1), (2, 3), 4)``.
    width : int
        Width D of a representation and of every group's result.
    dropout : float, default=0.0
        Dropout before each group's layer.
    """

    def __init__(self, groups: Any, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.groups = groups
        self.n_features = len(groups) * width
        # one entry per member: a network for an inner group, nothing for a modality
        self.members = nn.ModuleList(
            _Group(group, width, dropout) if isinstance(group, tuple) else nn.Identity()
            for group in groups
        )

    def forward(self, representations: Tensor, present: Tensor) -> Tensor:
        """Return (B, number of outermost members * D) for (B, M, D)."""
        results = [
            member(representations, present)
            if isinstance(group, tuple)
            else representations[:, group]
            for group, member in zip(self.groups, self.members, strict=True)
        ]
        return torch.cat(results, dim=1)


class _Group(nn.Module):
    """Members of one group, joined by one layer."""

    def __init__(self, groups: Any, width: int, dropout: float) -> None:
        super().__init__()
        self.members = Gradual(groups, width, dropout)
        self.meet = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(self.members.n_features, width), nn.ReLU()
        )

    def forward(self, representations: Tensor, present: Tensor) -> Tensor:
        """Return (B, D) for representations (B, M, D)."""
        return self.meet(self.members(representations, present))
