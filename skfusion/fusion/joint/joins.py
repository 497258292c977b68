"""Torch modules that join the representations of modalities in joint fusion.

A join takes representations (B, M, D) and the presence (B, M). It returns one vector
(B, J) per row, with J in its attribute `n_features`. Here B is the batch size, M the
number of modalities and D the width of a representation. Learned tokens have replaced
absent modalities before the join, so that a join can ignore the presence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skfusion._validation import check_number, check_option, did_you_mean

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
    "without_modalities",
]


class Concatenation(nn.Module):
    """Concatenation of representations, the only join that allows unequal widths.

    Parameters
    ----------
    widths : sequence of int
        Width of the representation of each modality.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.n_features = sum(widths)

    def forward(self, representations: Sequence[Tensor], present: Tensor) -> Tensor:
        """Return (B, sum of widths) for M tensors (B, D_m)."""
        return torch.cat(tuple(representations), dim=1)


class Sum(nn.Module):
    """Sum of the representations.

    For an absent modality its token is added. The token starts at 0, so that training
    starts from the sum over the present modalities.

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
    r"""Gated multimodal unit, with gates computed from all modalities.

    The hidden features [1]_ are :math:`h_m = \tanh(W_m x_m)`. The gates are
    :math:`z = \sigma(U [x_1, ..., x_M])`. Two modalities share one gate,
    :math:`z h_1 + (1 - z) h_2`. Any other number of modalities has one gate each,
    :math:`\sum_m z_m h_m`. Both forms are those of the publication. There are no
    biases.

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
    r"""Low-rank tensor fusion of the products of features across modalities.

    The output [1]_ is :math:`h = b + \sum_r \prod_m W_m^{(r)} [x_m; 1]`. It equals the
    outer product of all :math:`[x_m; 1]`, contracted with a weight tensor of that rank,
    but the outer product is never computed. With two modalities this is a bilinear
    join.

    The weights of the constants start at 1 and the bias at minus the rank. Every factor
    then starts near 1, so that the product of many modalities neither vanishes nor
    explodes. A token of 0 leaves the product of the other modalities unchanged.

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
    r"""Feature-wise scaling and shift of one modality, predicted from the others.

    The output is :math:`(1 + \gamma) x_c + \beta`. A small network with a bottleneck
    computes :math:`\gamma` and :math:`\beta` from the other modalities. This is FiLM
    [1]_ with the auxiliary network of DAFT [2]_. Both modulate feature maps inside a
    CNN. Here the pooled representation is modulated, so that any modality can be
    chosen.

    Parameters
    ----------
    n_modalities : int
        Number of modalities M. A single modality is returned unchanged.
    width : int
        Width D of a representation.
    conditioned : int, default=0
        Position of the modality that is modulated.
    bottleneck : int or None, default=None
        Width of the bottleneck. None is half of D.

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
    """Transformer layers over one token per modality, followed by their mean.

    Each modality has a learned type embedding. The learned token of an absent modality
    is not masked, because the absence of a modality can be informative.

    Parameters
    ----------
    n_modalities : int
        Number of modalities M.
    width : int
        Width D of a representation.
    dropout : float, default=0.0
        Dropout inside the layers.
    heads : int or None, default=None
        Number of attention heads, a divisor of D. None is the largest divisor of D
        among 4, 2 and 1.
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
    """Gradual join of nested groups of modalities, inner groups first.

    The members of a group are concatenated and passed through one layer of width D. The
    members of the outermost level are only concatenated, because the head follows.

    Parameters
    ----------
    groups : nested tuple of int
        Positions of the modalities, e.g. ``((0, 1), (2, 3), 4)``.
    width : int
        Width D of a representation and of the result of a group.
    dropout : float, default=0.0
        Dropout before the layer of each group.
    """

    def __init__(self, groups: Any, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.groups = groups
        self.n_features = len(groups) * width
        # one entry per member: a network for a group, an identity for a modality
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
    """Group of modalities that is joined by one layer."""

    def __init__(self, groups: Any, width: int, dropout: float) -> None:
        super().__init__()
        self.members = Gradual(groups, width, dropout)
        self.meet = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(self.members.n_features, width), nn.ReLU()
        )

    def forward(self, representations: Tensor, present: Tensor) -> Tensor:
        """Return (B, D) for representations (B, M, D)."""
        return self.meet(self.members(representations, present))


# Options of `join_params` by join. `replicate` applies to features without an encoder,
# which only a concatenation supports.
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
    """Check the parameters `join` and `join_params`.

    Parameters
    ----------
    join : str, nested tuple of str or callable
        Name of a join, nested names of modalities (gradual join), or a factory.
    params : mapping or None
        Options of the join.
    names : sequence of str
        Names of the modalities.
    owner : str
        Name of the estimator, used in error messages.

    Raises
    ------
    ValueError
        If a join, an option or its value is unknown, or the nested names do not contain
        each modality exactly once.
    TypeError
        If `join` or `params` is of another type.
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
            "callable (n_modalities, width) -> torch.nn.Module that returns a new "
            f"module, got {type(join).__name__}."
        )


def without_modalities(
    join: Any, params: Mapping[str, Any] | None, dropped: Collection[str]
) -> tuple[Any, Mapping[str, Any] | None]:
    """Return `join` and `join_params` without the names of dropped modalities.

    An inner group of which one member is left is replaced by this member.

    Parameters
    ----------
    join, params : any
        Parameters of the estimator, not yet checked.
    dropped : collection of str
        Names of the dropped modalities.

    Returns
    -------
    join, params

    Examples
    --------
    >>> from skfusion.fusion.joint.joins import without_modalities
    >>> without_modalities((("ct", "cxr"), ("labs", "vitals")), None, {"cxr"})
    (('ct', ('labs', 'vitals')), None)
    """
    if isinstance(params, Mapping) and params.get("conditioned") in dropped:
        params = {key: params[key] for key in params if key != "conditioned"}
    if dropped and isinstance(join, (tuple, list)):
        join = tuple(_left(join, dropped))
    return join, params


def _left(group: Any, dropped: Collection[str]) -> Iterator[Any]:
    for member in group:
        if isinstance(member, (tuple, list)):
            inner = tuple(_left(member, dropped))
            # A group that the user gave with one member is an error.
            if len(inner) == 1 and len(member) > 1:
                yield inner[0]
            elif inner:
                yield inner
        elif not (isinstance(member, str) and member in dropped):
            yield member


def build_join(
    join: Any,
    params: Mapping[str, Any] | None,
    widths: Mapping[str, int],
    *,
    dropout: float,
    conditioned: str,
    owner: str,
) -> nn.Module:
    """Create the join that the checked parameters describe.

    Parameters
    ----------
    join : str, nested tuple of str or callable
        Value accepted by `check_join`.
    params : mapping or None
        Options of the join.
    widths : mapping of str to int
        Width of the representation of each modality, in order.
    dropout : float
        Dropout of joins with layers.
    conditioned : str
        Name of the modality that FiLM modulates if the options do not define it.
    owner : str
        Name of the estimator, used in error messages.

    Returns
    -------
    torch.nn.Module
        Its attribute ``n_features`` is the width of its output.

    Raises
    ------
    ValueError
        If the join requires equal widths and they differ, or the output of a custom
        join is not finite, not of shape (B, J) or without a gradient.
    """
    options = dict(params or {})
    names = list(widths)
    if join == "concat":
        return Concatenation(list(widths.values()))
    if len(set(widths.values())) > 1:
        found = ", ".join(f"{name} has {width}" for name, width in widths.items())
        what = join if isinstance(join, str) else type(join).__name__
        raise ValueError(
            f"{owner}: join={what!r} requires representations of equal width, but "
            f"{found}. Use join='concat', or give every modality an encoder "
            "(encoders='all', or the names of all if one is 'passthrough')."
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
        Width of the representation of each modality.
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
                    f"{owner}: join_params['conditioned']={value!r} is not a modality."
                    f"{did_you_mean(value, names)} The modalities are {list(names)}."
                )
        else:
            place = f"join_params[{option!r}]"
            check_number(value, place, owner, low=1, integer=True)


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
                f"{owner}: join contains {name!r}, which is not a modality."
                f"{did_you_mean(name, names)} The modalities are {list(names)}."
            )
    twice = sorted({name for name in found if found.count(name) > 1})
    omitted = [name for name in names if name not in found]
    if twice or omitted:
        raise ValueError(
            f"{owner}: join must contain every modality exactly once, but it omits "
            f"{omitted or 'none'} and contains {twice or 'none'} more than once."
        )


def _leaves(join: Any, owner: str, *, outermost: bool = False) -> Iterator[str]:
    if not outermost and len(join) < 2:
        raise ValueError(
            f"{owner}: an inner group of join must contain 2 or more members, got "
            f"{len(join)}. Replace the group by the name of the modality."
        )
    for member in join:
        if isinstance(member, str):
            yield member
        elif isinstance(member, (tuple, list)):
            yield from _leaves(member, owner)
        else:
            raise TypeError(
                f"{owner}: nested join must contain modality names and tuples of them, "
                f"got {type(member).__name__}."
            )


def _positions(join: Any, names: list[str]) -> tuple[Any, ...]:
    return tuple(
        names.index(member) if isinstance(member, str) else _positions(member, names)
        for member in join
    )


def _check_join(module: Any, n_modalities: int, width: int, owner: str) -> nn.Module:
    """Check a custom join with two synthetic rows and set its `n_features`."""
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"{owner}: the callable given as join must return a torch.nn.Module, got "
            f"{type(module).__name__}."
        )
    probe = torch.linspace(-1, 1, 2 * n_modalities * width)
    probe = probe.reshape(2, n_modalities, width).requires_grad_()
    joined = module(probe, torch.ones(2, n_modalities, dtype=torch.bool))
    shape = tuple(getattr(joined, "shape", ()))
    if not isinstance(joined, torch.Tensor) or len(shape) != 2 or shape[0] != 2:
        raise ValueError(
            f"{owner}: the module created by join must return one vector per row, "
            f"(B, J) for representations (B, {n_modalities}, {width}), got "
            f"{shape or type(joined).__name__} for 2 rows."
        )
    if not bool(torch.isfinite(joined).all()):
        raise ValueError(
            f"{owner}: the module created by join returned values that are not finite."
        )
    if not joined.requires_grad:
        raise ValueError(
            f"{owner}: the output of the module created by join carries no gradient, "
            "so the loss cannot reach the encoders. Check that the module does not "
            "detach its output or run under torch.no_grad()."
        )
    module.n_features = shape[1]
    return module
