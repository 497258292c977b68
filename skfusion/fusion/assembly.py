"""Puts a joint net together: inputs and choices in, an untrained network out.

Which modality has an encoder, how representations are joined, which heads there are.
Read next: `skfusion.fusion.networks`, which holds the parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skfusion.fusion.join_choice import build_join, did_you_mean
from skfusion.fusion.networks import DirectEncoder, JointNetwork, ModalityEncoder
from skfusion.fusion.rows import NetInputs
from skfusion.fusion.training import outputs_of

__all__ = ["Architecture", "build_network", "with_encoder"]


@dataclass(frozen=True)
class Architecture:
    """The parameters of a joint estimator that shape its network."""

    owner: str
    fusion: Any
    fusion_params: Mapping[str, Any] | None
    encoders: Any
    hidden_dims: Sequence[int]
    dropout: float
    modality_dropout: float
    auxiliary_loss: float
    auxiliary_target_weight: float

    def __post_init__(self) -> None:
        """Refuse what makes no sense, whatever the cohort."""
        widths = self.hidden_dims
        if not len(widths) or any(int(width) < 1 for width in widths):
            raise ValueError(
                f"{self.owner}: hidden_dims must be one or more positive numbers "
                "(width of a representation, then of the head's layers), got "
                f"{widths!r}."
            )
        for name in ("dropout", "modality_dropout"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(
                    f"{self.owner}: {name} must be at least 0 and below 1, got "
                    f"{value!r}."
                )
        for name in ("auxiliary_loss", "auxiliary_target_weight"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(
                    f"{self.owner}: {name} must be a number of 0 or more, got "
                    f"{value!r}."
                )

    @classmethod
    def of(cls, model: Any) -> Architecture:
        """Collect the parameters of an estimator."""
        names = [field.name for field in fields(cls) if field.name != "owner"]
        chosen = {name: getattr(model, name) for name in names}
        return cls(owner=type(model).__name__, **chosen)


def with_encoder(encoders: Any, parts: Sequence[Any], owner: str) -> set[str]:
    """Return the names of the modalities that have a trained encoder.

    Parameters
    ----------
    encoders : {"all", "networks"} or list of str
        The user's choice.
    parts : sequence of BlockInput, ImageInput and the like
        One per modality; some bring a network of their own.
    owner : str
        Name of the estimator, for the messages.

    Returns
    -------
    set of str

    Raises
    ------
    ValueError
        If the choice is unknown, names no modality, leaves one without the network
        that it brings, or leaves the loss no encoder to reach.
    """
    names = [part.modality.name for part in parts]
    networks = {p.modality.name for p in parts if p.brings_network}
    if isinstance(encoders, str):
        if encoders not in ("all", "networks"):
            raise ValueError(
                f"{owner}: encoders must be 'all', 'networks' or a list of modality "
                f"names, got {encoders!r}."
            )
        chosen = set(names) if encoders == "all" else networks
    else:
        chosen = set(encoders)
        unknown = sorted(chosen - set(names), key=str)
        if unknown:
            raise ValueError(
                f"{owner}: encoders names {unknown[0]!r}, which is no modality."
                f"{did_you_mean(unknown[0], names)} They are {names}."
            )
        if networks - chosen:
            raise ValueError(
                f"{owner}: modality {min(networks - chosen)!r} brings a network, which "
                "is its encoder; name it in encoders too."
            )
    if not chosen:
        raise ValueError(
            f"{owner}: with encoders={encoders!r} no modality has an encoder, so there "
            "is nothing that the loss could train: that is early fusion. Use "
            "EarlyFusionClassifier, encoders='all', or name the modalities to encode."
        )
    return chosen


def build_network(
    parts: Sequence[Any],
    inputs: NetInputs,
    architecture: Architecture,
    n_outputs: int,
    n_auxiliary: int,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
) -> JointNetwork:
    """Make an untrained network whose encoders are calibrated to the training rows.

    Parameters
    ----------
    parts : sequence of BlockInput, ImageInput and the like
        One per modality, fitted.
    inputs : NetInputs
        The training rows.
    architecture : Architecture
        The user's choices.
    n_outputs : int
        Number of classes, labels or numbers.
    n_auxiliary : int
        Number of outputs for an auxiliary target; 0 for none.
    dtype : torch.dtype
        Precision of the inputs, and then of all weights.
    device : torch.device or str, default="cpu"
        Where to compute what encoders give for the training rows.

    Returns
    -------
    JointNetwork
        On the CPU.

    Raises
    ------
    ValueError
        If the representations cannot be joined, or what an encoder returns carries no
        gradient although it has weights to train.
    """
    chosen = with_encoder(architecture.encoders, parts, architecture.owner)
    params = architecture.fusion_params or {}
    encoders: dict[str, ModalityEncoder | DirectEncoder] = {}
    for j, part in enumerate(parts):
        name = part.modality.name
        encoder: ModalityEncoder | DirectEncoder
        if name in chosen:
            encoder = ModalityEncoder(
                part.n_features,
                architecture.hidden_dims[0],
                architecture.dropout,
                part.new_tail().to(dtype),
                follows_data=part.follows_data,
            )
        else:
            encoder = DirectEncoder(part.n_features, params.get("replicate", 1))
        rows = NetInputs(
            {"x": inputs.arrays[name]}, np.ones((len(inputs), 1), dtype=bool)
        ).rows(np.flatnonzero(inputs.presence[:, j]))
        tail = encoder.backbone.eval()
        features = outputs_of(tail, _run_tail, rows, device)
        encoder.standardize.calibrate(torch.from_numpy(features))
        _check_gradient(tail, rows, part, architecture.owner)
        encoders[name] = encoder
    join = build_join(
        architecture.fusion,
        architecture.fusion_params,
        {name: encoder.width for name, encoder in encoders.items()},
        dropout=architecture.dropout,
        conditioned=_conditioned(parts),
        owner=architecture.owner,
    )
    network = JointNetwork(
        encoders,
        architecture.hidden_dims,
        n_outputs,
        architecture.dropout,
        architecture.modality_dropout,
        join=join,
        modality_heads=architecture.auxiliary_loss > 0,
        n_auxiliary=n_auxiliary,
    )
    return network.to(dtype)


def _conditioned(parts: Sequence[Any]) -> str:
    """Return the modality that FiLM modulates: the first with a network, or first."""
    own = [part for part in parts if part.brings_network]
    return str((own or list(parts))[0].modality.name)


def _check_gradient(tail: nn.Module, rows: NetInputs, part: Any, owner: str) -> None:
    trained = [weights for weights in tail.parameters() if weights.requires_grad]
    if not trained:
        return
    with torch.enable_grad():
        two = np.arange(min(2, len(rows)))
        features = tail(rows.fetch(two)[0]["x"])
        reached = features.requires_grad and any(
            slope is not None
            for slope in torch.autograd.grad(features.sum(), trained, allow_unused=True)
        )
    if not reached:
        raise ValueError(
            f"{owner}: {part.modality.label} has {len(trained)} weight tensor(s) to "
            "train, but what its encoder returns carries no gradient to any of them, "
            "so the loss cannot reach them. Does it detach its output, leave torch "
            "for numpy, or run under torch.no_grad()?"
        )


def _run_tail(tail: nn.Module, batch: dict[str, Tensor], _: Tensor) -> Tensor:
    return tail(batch["x"])
