"""Which join: a name, nested names or a factory in, a checked module out.

The modules are in `skfusion.fusion.joins`. To add one: write it there, and give it a
line in `OPTIONS` and one in `_named_join`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from skfusion._validation import did_you_mean
from skfusion.fusion import joins

__all__ = ["OPTIONS", "build_join", "check_fusion", "joined_names"]

# What `fusion_params` may hold. `replicate` concerns features that enter without an
# encoder, which only a concatenation can take.
OPTIONS: dict[str, tuple[str, ...]] = {
    "concat": ("replicate",),
    "sum": (),
    "gated": (),
    "low_rank": ("rank",),
    "film": ("conditioned", "bottleneck"),
    "attention": ("heads", "layers"),
}


def check_fusion(
    fusion: Any, params: Mapping[str, Any] | None, names: Sequence[str], owner: str
) -> None:
    """Check a user's choice of a join.

    Parameters
    ----------
    fusion : str, nested tuple of str or callable
        Name of a join, nested names of modalities (gradual fusion), or a factory.
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
        If `fusion` or `params` are of another kind.
    """
    if params is not None and not isinstance(params, Mapping):
        raise TypeError(
            f"{owner}: fusion_params must be a dict or None, got "
            f"{type(params).__name__}."
        )
    given = dict(params or {})
    if isinstance(fusion, str):
        if fusion not in OPTIONS:
            raise ValueError(
                f"{owner}: fusion={fusion!r} is unknown.{did_you_mean(fusion, OPTIONS)}"
                f" It must be one of {tuple(OPTIONS)}, nested tuples of modality "
                "names, or a callable (n_modalities, width) -> torch.nn.Module."
            )
        _check_options(fusion, given, names, owner)
    elif isinstance(fusion, (tuple, list)):
        if given:
            raise ValueError(
                f"{owner}: nested names in fusion take no fusion_params, got "
                f"{sorted(given)}."
            )
        _check_groups(fusion, names, owner)
    elif isinstance(fusion, nn.Module) or not callable(fusion):
        raise TypeError(
            f"{owner}: fusion must be a name, nested tuples of modality names, or a "
            "callable (n_modalities, width) -> torch.nn.Module that makes a new one, "
            f"got {type(fusion).__name__}."
        )


def build_join(
    fusion: Any,
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
    fusion : str, nested tuple of str or callable
        As `check_fusion` takes it.
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
    if fusion == "concat":
        return joins.Concatenation(list(widths.values()))
    if len(set(widths.values())) > 1:
        found = ", ".join(f"{name} has {width}" for name, width in widths.items())
        what = fusion if isinstance(fusion, str) else type(fusion).__name__
        raise ValueError(
            f"{owner}: fusion={what!r} joins representations of one width only, but "
            f"{found}. Use fusion='concat', or give every modality an encoder "
            "(encoders='all')."
        )
    width = next(iter(widths.values()))
    if isinstance(fusion, (tuple, list)):
        return joins.Gradual(_positions(fusion, names), width, dropout)
    if callable(fusion):
        join = fusion(len(names), width, **options)
        return _check_join(join, len(names), width, owner)
    if fusion == "film":
        options["conditioned"] = names.index(options.get("conditioned", conditioned))
    if fusion == "attention":
        options["dropout"] = dropout
        _check_heads(options.get("heads"), width, owner)
    return _named_join(fusion)(len(names), width, **options)


def joined_names(fusion: Any, widths: Mapping[str, int], n_features: int) -> list[str]:
    """Return the names of the joined features.

    Parameters
    ----------
    fusion : str, nested tuple of str or callable
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
    if fusion == "concat":
        return [f"{name}__h{i}" for name, width in widths.items() for i in range(width)]
    return [f"joined{i}" for i in range(n_features)]


def _named_join(fusion: str) -> Callable[..., nn.Module]:
    named: dict[str, Callable[..., nn.Module]] = {
        "sum": joins.Sum,
        "gated": joins.Gated,
        "low_rank": joins.LowRank,
        "film": joins.FeatureModulation,
        "attention": joins.Attention,
    }
    return named[fusion]


def _check_options(
    fusion: str, given: dict[str, Any], names: Sequence[str], owner: str
) -> None:
    known = OPTIONS[fusion]
    for option, value in given.items():
        if option not in known:
            raise ValueError(
                f"{owner}: fusion={fusion!r} has no option {option!r} in "
                f"fusion_params.{did_you_mean(option, known)} It knows "
                f"{', '.join(known) or 'none'}."
            )
        if option == "conditioned":
            if value not in names:
                raise ValueError(
                    f"{owner}: fusion_params['conditioned']={value!r} is no modality."
                    f"{did_you_mean(value, names)} They are {list(names)}."
                )
        elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"{owner}: fusion_params[{option!r}] must be a whole number of 1 or "
                f"more, got {value!r}."
            )


def _check_heads(heads: int | None, width: int, owner: str) -> None:
    if heads is not None and width % heads:
        raise ValueError(
            f"{owner}: fusion_params['heads']={heads} does not divide the width "
            f"{width} of a representation (hidden_dims[0])."
        )


def _check_groups(fusion: Any, names: Sequence[str], owner: str) -> None:
    found = list(_leaves(fusion, owner, outermost=True))
    for name in found:
        if name not in names:
            raise ValueError(
                f"{owner}: fusion names {name!r}, which is no modality."
                f"{did_you_mean(name, names)} They are {list(names)}."
            )
    twice = sorted({name for name in found if found.count(name) > 1})
    omitted = [name for name in names if name not in found]
    if twice or omitted:
        raise ValueError(
            f"{owner}: fusion must name every modality exactly once, but it omits "
            f"{omitted or 'none'} and names {twice or 'none'} more than once."
        )


def _leaves(fusion: Any, owner: str, *, outermost: bool = False) -> Iterator[str]:
    if not outermost and len(fusion) < 2:
        raise ValueError(
            f"{owner}: an inner group of fusion holds {len(fusion)} member(s), so that "
            "nothing meets in it. Write the modality's name itself."
        )
    for member in fusion:
        if isinstance(member, str):
            yield member
        elif isinstance(member, (tuple, list)):
            yield from _leaves(member, owner)
        else:
            raise TypeError(
                f"{owner}: nested fusion holds names of modalities and tuples of them, "
                f"found {type(member).__name__}."
            )


def _positions(fusion: Any, names: list[str]) -> tuple[Any, ...]:
    return tuple(
        names.index(member) if isinstance(member, str) else _positions(member, names)
        for member in fusion
    )


def _check_join(join: Any, n_modalities: int, width: int, owner: str) -> nn.Module:
    """Ask a user's join with two made-up rows; set its `n_features`."""
    if not isinstance(join, nn.Module):
        raise TypeError(
            f"{owner}: the callable given as fusion must return a torch.nn.Module, it "
            f"returned {type(join).__name__}."
        )
    probe = torch.linspace(-1, 1, 2 * n_modalities * width)
    probe = probe.reshape(2, n_modalities, width).requires_grad_()
    joined = join(probe, torch.ones(2, n_modalities, dtype=torch.bool))
    shape = tuple(getattr(joined, "shape", ()))
    if not isinstance(joined, torch.Tensor) or len(shape) != 2 or shape[0] != 2:
        raise ValueError(
            f"{owner}: the join given as fusion must return one vector per row, (B, J) "
            f"for representations (B, {n_modalities}, {width}); for 2 rows it returned "
            f"{shape or type(joined).__name__}."
        )
    if not bool(torch.isfinite(joined).all()):
        raise ValueError(
            f"{owner}: the join given as fusion returned numbers that are not finite."
        )
    if not joined.requires_grad:
        raise ValueError(
            f"{owner}: what the join given as fusion returned carries no gradient, so "
            "the loss could not reach the encoders. Does it detach, or run under "
            "torch.no_grad()?"
        )
    join.n_features = shape[1]
    return join
