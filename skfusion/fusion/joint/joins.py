"""How joint fusion joins representations: pure torch, one module per join.

Goes in: representations (B, M, D) and presence (B, M). Comes out: one vector (B, J) per
row, with J in `n_features`. A learned token already stands where a modality is absent,
so a join that makes no use of the presence is free to ignore it.
B is the batch size, M the number of modalities, D the width of a representation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skfusion._validation import check_option, did_you_mean

__all__ = [
    "Attention",
    "Concatenation",
    "FeatureModulation",
    "Gated",
    "Gradual",
    "LowRank",
    "OPTIONS",
    "Sum",
    "build_join",
    "check_join",
    "joined_names",
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


# What `join_params` may hold. `replicate` concerns features that enter without an
# encoder, which only a concatenation can take.
OPTIONS: dict[str, tuple[str, ...]] = {
    "concat": ("replicate",),
    "sum": (),
    "gated": (),
    "low_rank": ("rank",),
    "film": ("conditioned", "bottleneck"),
    "attention": ("heads", "layers"),
}


def check_join(
    join: Any, params: Mapping[str, Any] | None, names: Sequence[str], owner: str
) -> None:
    """Check a user's choice of a join.

    Parameters
    ----------
    join : str, nested tuple of str or callable
        Name of a join, nested names of modalities (gradual join), or a factory.
    params : mapping or None
        Options of the join.
    names : sequence of str
        Names of the modalities.
    owner : str
        Name of the estimator, for the messages.

    Raises
    ------
    ValueError
        If there is no such join or option, an option has no such value, or the nested
        names are not the modalities, each once.
    TypeError
        If `join` or `params` are of another kind.
    """
    if params is not None and not isinstance(params, Mapping):
        raise TypeError(
            f"{owner}: join_params must be a dict or None, got {type(params).__name__}."
        )
    given = dict(params or {})
    if isinstance(join, str):
        also = (
            "nested tuples of modality names, or a callable (n_modalities, width) -> "
            "torch.nn.Module"
        )
        check_option(join, "join", OPTIONS, owner, also=also)
        _check_options(join, given, names, owner)
    elif isinstance(join, (tuple, list)):
        if given:
            raise ValueError(
                f"{owner}: nested names in join take no join_params, got "
                f"{sorted(given)}."
            )
        _check_groups(join, names, owner)
    elif isinstance(join, nn.Module) or not callable(join):
        raise TypeError(
            f"{owner}: join must be a name, nested tuples of modality names, or a "
            "callable (n_modalities, width) -> torch.nn.Module that makes a new one, "
            f"got {type(join).__name__}."
        )


def build_join(
    join: Any,
    params: Mapping[str, Any] | None,
    widths: Mapping[str, int],
    *,
    dropout: float,
    conditioned: str,
    owner: str,
) -> nn.Module:
    """Make the join that a checked choice asks for.

    Parameters
    ----------
    join : str, nested tuple of str or callable
        As `check_join` takes it.
    params : mapping or None
        Options of the join.
    widths : mapping of str to int
        Width of each modality's representation, in their order.
    dropout : float
        Dropout of joins that have layers of their own.
    conditioned : str
        The modality that FiLM modulates where the options name none.
    owner : str
        Name of the estimator, for the messages.

    Returns
    -------
    torch.nn.Module
        Its attribute ``n_features`` is the width of what it returns.

    Raises
    ------
    ValueError
        If the widths differ and the join does not bear that, or a factory's module
        does not return finite numbers of shape (B, J) that carry a gradient.
    """
    options = dict(params or {})
    names = list(widths)
    if join == "concat":
        return Concatenation(list(widths.values()))
    if len(set(widths.values())) > 1:
        found = ", ".join(f"{name} has {width}" for name, width in widths.items())
        what = join if isinstance(join, str) else type(join).__name__
        raise ValueError(
            f"{owner}: join={what!r} joins representations of one width only, but "
            f"{found}. Use join='concat', or give every modality an encoder "
            "(encoders='all')."
        )
    width = next(iter(widths.values()))
    if isinstance(join, (tuple, list)):
        return Gradual(_positions(join, names), width, dropout)
    if callable(join):
        module = join(len(names), width, **options)
        return _check_join(module, len(names), width, owner)
    if join == "film":
        options["conditioned"] = names.index(options.get("conditioned", conditioned))
    if join == "attention":
        options["dropout"] = dropout
        _check_heads(options.get("heads"), width, owner)
    return _named_join(join)(len(names), width, **options)


def joined_names(join: Any, widths: Mapping[str, int], n_features: int) -> list[str]:
    """Return the names of the joined features.

    Parameters
    ----------
    join : str, nested tuple of str or callable
        The join.
    widths : mapping of str to int
        Width of each modality's representation.
    n_features : int
        Number of joined features.

    Returns
    -------
    list of str
        ``modality__h0`` ... for a concatenation, else ``joined0`` ...
    """
    if join == "concat":
        return [f"{name}__h{i}" for name, width in widths.items() for i in range(width)]
    return [f"joined{i}" for i in range(n_features)]


def _named_join(join: str) -> Callable[..., nn.Module]:
    named: dict[str, Callable[..., nn.Module]] = {
        "sum": Sum,
        "gated": Gated,
        "low_rank": LowRank,
        "film": FeatureModulation,
        "attention": Attention,
    }
    return named[join]


def _check_options(
    join: str, given: dict[str, Any], names: Sequence[str], owner: str
) -> None:
    known = OPTIONS[join]
    for option, value in given.items():
        if option not in known:
            raise ValueError(
                f"{owner}: join={join!r} has no option {option!r} in "
                f"join_params.{did_you_mean(option, known)} It knows "
                f"{', '.join(known) or 'none'}."
            )
        if option == "conditioned":
            if value not in names:
                raise ValueError(
                    f"{owner}: join_params['conditioned']={value!r} is no modality."
                    f"{did_you_mean(value, names)} They are {list(names)}."
                )
        elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"{owner}: join_params[{option!r}] must be a whole number of 1 or "
                f"more, got {value!r}."
            )


def _check_heads(heads: int | None, width: int, owner: str) -> None:
    if heads is not None and width % heads:
        raise ValueError(
            f"{owner}: join_params['heads']={heads} does not divide the width "
            f"{width} of a representation (hidden_dims[0])."
        )


def _check_groups(join: Any, names: Sequence[str], owner: str) -> None:
    found = list(_leaves(join, owner, outermost=True))
    for name in found:
        if name not in names:
            raise ValueError(
                f"{owner}: join names {name!r}, which is no modality."
                f"{did_you_mean(name, names)} They are {list(names)}."
            )
    twice = sorted({name for name in found if found.count(name) > 1})
    omitted = [name for name in names if name not in found]
    if twice or omitted:
        raise ValueError(
            f"{owner}: join must name every modality exactly once, but it omits "
            f"{omitted or 'none'} and names {twice or 'none'} more than once."
        )


def _leaves(join: Any, owner: str, *, outermost: bool = False) -> Iterator[str]:
    if not outermost and len(join) < 2:
        raise ValueError(
            f"{owner}: an inner group of join holds {len(join)} member(s), so that "
            "nothing meets in it. Write the modality's name itself."
        )
    for member in join:
        if isinstance(member, str):
            yield member
        elif isinstance(member, (tuple, list)):
            yield from _leaves(member, owner)
        else:
            raise TypeError(
                f"{owner}: nested join holds names of modalities and tuples of them, "
                f"got {type(member).__name__}."
            )


def _positions(join: Any, names: list[str]) -> tuple[Any, ...]:
    return tuple(
        names.index(member) if isinstance(member, str) else _positions(member, names)
        for member in join
    )


def _check_join(module: Any, n_modalities: int, width: int, owner: str) -> nn.Module:
    """Ask a user's join with two made-up rows; set its `n_features`."""
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"{owner}: the callable given as join must return a torch.nn.Module, it "
            f"returned {type(module).__name__}."
        )
    probe = torch.linspace(-1, 1, 2 * n_modalities * width)
    probe = probe.reshape(2, n_modalities, width).requires_grad_()
    joined = module(probe, torch.ones(2, n_modalities, dtype=torch.bool))
    shape = tuple(getattr(joined, "shape", ()))
    if not isinstance(joined, torch.Tensor) or len(shape) != 2 or shape[0] != 2:
        raise ValueError(
            f"{owner}: the join given as join must return one vector per row, (B, J) "
            f"for representations (B, {n_modalities}, {width}); for 2 rows it returned "
            f"{shape or type(joined).__name__}."
        )
    if not bool(torch.isfinite(joined).all()):
        raise ValueError(
            f"{owner}: the join given as join returned numbers that are not finite."
        )
    if not joined.requires_grad:
        raise ValueError(
            f"{owner}: what the join given as join returned carries no gradient, so "
            "the loss could not reach the encoders. Does it detach, or run under "
            "torch.no_grad()?"
        )
    module.n_features = shape[1]
    return module
