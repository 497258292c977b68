"""Attribution maps of a single image, computed with captum.

`module` maps pixels (B, 3, size, size) to scores (B, n_outputs). Its attribute `roots`
lists the submodules that process the image. The shape of a map is (size, size).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from skfusion._dependencies import require

__all__ = ["grad_cam", "integrated_gradients", "occlusion"]


def grad_cam(
    module: nn.Module, pixels: Tensor, output: int, layer: str | None
) -> np.ndarray:
    """Compute Grad-CAM: positive evidence in gradient-weighted feature channels.

    `layer` is the name of the layer of the feature map. None selects the last feature
    map.
    """
    captum = require("captum.attr", "explain")
    if layer is None:
        part, is_input = _last_map(module, pixels)
    else:
        part, is_input = _named_layer(module, layer), False
    coarse = captum.LayerGradCam(module, part).attribute(
        pixels.clone().requires_grad_(),  # frozen weights do not require a gradient
        target=output,
        attribute_to_layer_input=is_input,
        relu_attributions=True,
    )
    if coarse.ndim != 4:
        raise ValueError(
            f"explain_images: layer={layer!r} does not return a feature map (images, "
            "channels, height, width). Choose a layer before the pooling."
        )
    fine = interpolate(coarse, pixels.shape[2:], mode="bilinear")
    return fine[0, 0].detach().numpy()


def integrated_gradients(
    module: nn.Module,
    pixels: Tensor,
    empty: Tensor,
    output: int,
    n_steps: int,
    batch_size: int,
) -> np.ndarray:
    """Integrate the gradient from `empty` to `pixels`, summed over the channels."""
    captum = require("captum.attr", "explain")
    found = captum.IntegratedGradients(module).attribute(
        pixels.clone().requires_grad_(),
        baselines=empty,
        target=output,
        n_steps=n_steps,
        internal_batch_size=batch_size,
    )
    return found[0].sum(dim=0).detach().numpy()


def occlusion(
    module: nn.Module,
    pixels: Tensor,
    empty: Tensor,
    output: int,
    window: int,
    stride: int,
    batch_size: int,
) -> np.ndarray:
    """Compute the mean decrease of the score when squares are replaced by `empty`."""
    captum = require("captum.attr", "explain")
    n_channels, size = pixels.shape[1], pixels.shape[-1]
    if window > size:
        raise ValueError(
            f"explain_images: window={window} is wider than the {size} pixels of the "
            "network's input. Use a smaller window."
        )
    with torch.no_grad():
        found = captum.Occlusion(module).attribute(
            pixels,
            sliding_window_shapes=(n_channels, window, window),
            strides=(n_channels, stride, stride),
            baselines=empty,
            target=output,
            perturbations_per_eval=batch_size,
        )
    return found[0, 0].numpy()  # all channels contain the same values


def _named_layer(module: Any, layer: str) -> nn.Module:
    for root in module.roots:
        for name, part in root.named_modules():
            if name == layer or name.endswith(f".{layer}"):
                return part
    names = [name for root in module.roots for name, _ in root.named_modules() if name]
    raise ValueError(
        f"explain_images: the backbone has no layer {layer!r}. The last of its "
        f"{len(names)} layers are {names[-5:]}."
    )


def _last_map(module: Any, pixels: Tensor) -> tuple[nn.Module, bool]:
    """Return the module of the last feature map, and whether the map is its input.

    Inputs of pooling layers are considered as well as outputs of convolutions. Modules
    that run more than once are skipped, because their feature map is ambiguous.
    """
    seen: list[tuple[nn.Module, bool]] = []
    calls: dict[nn.Module, int] = {}

    def before(part: nn.Module, args: Any) -> None:
        calls[part] = calls.get(part, 0) + 1
        if args and _is_map(args[0]) and args[0].shape[1:] != pixels.shape[1:]:
            seen.append((part, True))

    def after(part: nn.Module, args: Any, result: Any) -> None:
        if _is_map(result):
            seen.append((part, False))

    parts = {part for root in module.roots for part in root.modules()}
    hooks = [part.register_forward_pre_hook(before) for part in parts]
    hooks += [part.register_forward_hook(after) for part in parts]
    try:
        with torch.no_grad():
            module(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    once = [(part, is_input) for part, is_input in seen if calls[part] == 1]
    if not once:
        raise ValueError(
            "explain_images: Grad-CAM needs a feature map (images, channels, height, "
            "width), but the backbone has none. Use method='occlusion'."
        )
    return once[-1]


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value[0, 0].numel() > 1
