"""Class and patch tokens of vision transformers, without register tokens.

A transformer returns a class token, in some networks register or distillation tokens,
and one token per patch, in this order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skfusion.image.networks.layers import cut_at
from skfusion.image.networks.outputs import Entry

__all__ = ["TOKEN_POOLINGS", "TokenPooled", "n_prefix_tokens", "with_tokens"]


TOKEN_POOLINGS = ("cls", "cls+mean")
_MOST_PREFIX_TOKENS = 32
# Layers with all tokens, of transformers whose output is one vector, by an attribute
# that tells them: of open_clip and of torchvision.
_TOKEN_LAYERS = {"class_embedding": "ln_post", "class_token": "encoder"}
# Parts of timm networks after the tokens.
_HEADS = ("attn_pool", "head", "head_drop", "fc_norm")


class TokenPooled(nn.Module):
    """Network that returns the class token, alone or beside the mean of the patches.

    Parameters
    ----------
    body : torch.nn.Module
        Network from images to tokens (B, N, C).
    n_prefix : int
        Number of tokens before those of the patches. The class token is the first one.
    with_mean : bool
        Whether the mean of the patch tokens is appended.
    norm : torch.nn.Module or None, default=None
        Layer that the network applies to a pooled vector.
    """

    def __init__(
        self,
        body: nn.Module,
        n_prefix: int,
        *,
        with_mean: bool,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.norm = nn.Identity() if norm is None else norm
        self.n_prefix, self.with_mean = n_prefix, with_mean

    def forward(self, images: Tensor) -> Tensor:
        """Return one vector per image, of length C or 2 C."""
        tokens = self.body(images)
        first = self.norm(tokens[:, 0])
        if not self.with_mean:
            return first
        mean = self.norm(tokens[:, self.n_prefix :].mean(dim=1))
        return torch.cat([first, mean], dim=1)


class _Features(nn.Module):
    """Network that returns the tokens of a network of timm."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        network: Any = self.network
        return network.forward_features(images)


def with_tokens(
    module: nn.Module, output: Any, name: str, blank: Tensor
) -> tuple[nn.Module, nn.Module | None]:
    """Return the part of a network that computes its tokens.

    Parameters
    ----------
    module : torch.nn.Module
        The network. It may be changed.
    output : object
        Its output: tokens (B, N, C), the output of a Hugging Face network, or a vector
        per image of a network with tokens inside.
    name : str
        Name of the network, for messages.
    blank : Tensor of shape (1, C, H, W)
        Example input.

    Returns
    -------
    body : torch.nn.Module
        Network from images to tokens.
    norm : torch.nn.Module or None
        Layer that the network applies to a pooled vector.

    Raises
    ------
    ValueError
        If the network has no tokens.
    """
    if isinstance(output, Tensor) and output.ndim == 3:
        return module, None
    states = _entry(output, "last_hidden_state")
    if isinstance(states, Tensor) and states.ndim == 3:
        is_item = isinstance(output, Mapping)
        return Entry(module, "last_hidden_state", is_item=is_item).eval(), None
    owner: Any = getattr(module, "trunk", module)  # of timm within open_clip
    if callable(getattr(owner, "forward_features", None)):
        norm = getattr(owner, "fc_norm", None)
        for key in _HEADS:
            if isinstance(getattr(owner, key, None), nn.Module):
                setattr(owner, key, nn.Identity())  # it would be trained in vain
        return _Features(owner).eval(), norm
    for attribute, layer in _TOKEN_LAYERS.items():
        if hasattr(module, attribute) and hasattr(module, layer):
            return cut_at(module, layer, name, blank), None
    raise ValueError(
        f"The backbone {name} has no tokens to pool with pooling='cls' or 'cls+mean'. "
        "Choose a layer whose output is (images, tokens, features), or "
        "pooling='mean'."
    )


def _entry(output: Any, key: str) -> Any:
    if isinstance(output, Mapping):
        return output.get(key)
    return getattr(output, key, None)


def n_prefix_tokens(
    module: nn.Module, shape: tuple[int, ...], side: int, name: str
) -> int:
    """Return the number of tokens before those of the patches.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    shape : tuple of int
        Shape (B, N, C) of its tokens.
    side : int
        Height and width of its input in pixels.
    name : str
        Name of the network, for messages.

    Returns
    -------
    int
        At least 1, the class token.

    Raises
    ------
    ValueError
        If the output is no tokens, if none of them is a class token, or if the number
        of patches is not recognisable.
    """
    if len(shape) != 3:
        raise ValueError(
            f"The backbone {name} returns an output of shape {shape}; expected tokens "
            "(images, tokens, features) for pooling='cls' or 'cls+mean'. Use "
            "pooling='mean'."
        )
    n_prefix = _stated_prefix(module)
    if n_prefix is None:
        n_patches = _n_patches(module, side)
        if not n_patches:
            raise ValueError(
                f"The backbone {name} returns {shape[1]} tokens, and its first "
                "convolution does not cut the image into patches, so that its class "
                "token is not recognisable. Use pooling='mean', or wrap the network so "
                "that it returns one vector per image."
            )
        n_prefix = shape[1] - n_patches
    has_class = 0 < n_prefix - _n_registers(module) <= _MOST_PREFIX_TOKENS
    if not has_class or n_prefix >= shape[1]:
        raise ValueError(
            f"The backbone {name} has no class token: it returns {shape[1]} tokens for "
            f"{shape[1] - max(n_prefix, 0)} patches. Use pooling='mean'."
        )
    return n_prefix


def _stated_prefix(module: nn.Module) -> int | None:
    """Return what a network of timm states, 0 if it has no class token."""
    for part in module.modules():
        stated = getattr(part, "num_prefix_tokens", None)
        if isinstance(stated, int) and hasattr(part, "cls_token"):
            return stated if part.cls_token is not None else 0
    return None


def _n_registers(module: nn.Module) -> int:
    """Return the number of register tokens that a Hugging Face network states."""
    for part in module.modules():
        stated = getattr(getattr(part, "config", None), "num_register_tokens", None)
        if isinstance(stated, int):
            return stated
    return 0


def _n_patches(module: nn.Module, side: int) -> int:
    """Return the number of patches that the first convolution cuts an image into."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            height, width = part.kernel_size
            if part.stride == part.kernel_size and height > 1:
                return (side // height) * (side // width)
            break
    return 0
