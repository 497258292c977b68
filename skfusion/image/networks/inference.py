"""Optimized batched inference with torch or OpenVINO."""

from __future__ import annotations

import copy
import threading
import warnings
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from skfusion._dependencies import require
from skfusion._validation import check_option

__all__ = [
    "ENGINES",
    "Network",
    "OpenVINONetwork",
    "PRECISIONS",
    "check_engine",
    "engine_key",
    "fast_layout",
    "fold_batch_norms",
    "make_network",
    "resolve_device",
]


# On a CPU, larger batches exceed the caches. Measured on one core, in ms per image:
# efficientnet_lite0 13, 16 and 20 in batches of 4, 8 and 32, resnet18 25, 23 and 26 in
# batches of 4, 8 and 16.
_IMAGES_PER_CPU_PASS = 4
# Memory format by the number of axes of the pixels and of the convolution weights.
_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


class Network:
    """Network for inference that maps a batch of pixels to float32 arrays.

    On a CPU, several batches run in parallel with one thread each. This avoids that
    the threads of one batch wait for each other in every layer. The number of threads
    is ``torch.get_num_threads()``, which is 1 in a joblib worker.

    Parameters
    ----------
    module : torch.nn.Module
        Network in evaluation mode. It is copied, not changed.
    device : torch.device
        Device to run on.
    batch_size : int
        Maximum number of images per batch.
    precision : {"float32", "bfloat16"}, default="float32"
        Precision of the arithmetic. The result is float32.
    fold : bool, default=True
        Whether to fold batch norms into convolutions, which is faster but rounds
        differently. With False, every batch is padded to `batch_size` images, because
        kernels for one or two images can round differently.

    Attributes
    ----------
    batch_size : int
        Number of images per batch that suits the device.
    is_parallel : bool
        Whether several threads may call the network in parallel, one core each.
    n_workers : int
        Number of batches to run in parallel.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        batch_size: int,
        *,
        precision: str = "float32",
        fold: bool = True,
    ) -> None:
        folded = fold_batch_norms(module) if fold else _traced(module)
        is_cpu = device.type == "cpu"
        # Traced code has no state between calls. Other code may have state and is
        # then not thread-safe.
        self.is_parallel = is_cpu and folded is not None
        self.n_workers = torch.get_num_threads() if self.is_parallel else 1
        self.batch_size = (
            min(batch_size, _IMAGES_PER_CPU_PASS) if is_cpu else batch_size
        )
        self._fills_up = not fold
        self._precision = precision
        self._device = device
        self._module = folded if folded is not None else copy.deepcopy(module)
        self._layout = fast_layout(self._module)
        cast(Any, self._module).to(device, memory_format=self._layout)

    def __call__(self, pixels: Tensor) -> np.ndarray:
        """Run the network on pixels (B, 3[, D], H, W), in any thread."""
        n_images, n_missing = len(pixels), self.batch_size - len(pixels)
        if self._fills_up and n_missing > 0:
            last = pixels[-1:].expand(n_missing, *pixels.shape[1:])
            pixels = torch.cat([pixels, last])
        with torch.inference_mode(), self._arithmetic():
            layout = _LAYOUTS.get(pixels.ndim, torch.preserve_format)
            batch = pixels.to(self._device, memory_format=layout)
            return self._module(batch)[:n_images].float().cpu().numpy()

    def _arithmetic(self) -> AbstractContextManager[object]:
        """Disable TF32 in convolutions, so that stored embeddings are float32."""
        if self._precision == "bfloat16":
            return torch.autocast(self._device.type, torch.bfloat16)
        if self._device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def fast_layout(module: nn.Module) -> torch.memory_format:
    """Return the memory format in which the convolutions of a network are fastest.

    Parameters
    ----------
    module : torch.nn.Module
        A network for images or for volumes.

    Returns
    -------
    torch.memory_format
        Channels last. ``torch.preserve_format`` if the network has both 2-D and 3-D
        convolutions.

    Examples
    --------
    >>> from torch import nn
    >>> from skfusion.image.networks.inference import fast_layout
    >>> fast_layout(nn.Conv3d(3, 8, 3))
    torch.channels_last_3d
    """
    kinds = {p.dim() for p in module.parameters()} & set(_LAYOUTS)
    return _LAYOUTS[kinds.pop()] if len(kinds) == 1 else torch.preserve_format


def fold_batch_norms(module: nn.Module) -> nn.Module | None:
    """Fold each batch norm after a convolution into the weights of the convolution.

    Parameters
    ----------
    module : torch.nn.Module
        Network in evaluation mode. It is not changed.

    Returns
    -------
    torch.nn.Module or None
        A copy with the same output up to rounding (relative errors of about 1e-6), or
        None if the module cannot be traced.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skfusion.image.networks.inference import fold_batch_norms
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    >>> [type(part).__name__ for part in fold_batch_norms(net).children()]
    ['Conv2d']
    """
    module = copy.deepcopy(module)
    try:
        graph = fx.Tracer().trace(module)
    except Exception:  # the forward may raise any exception on proxies
        return None
    folded = fx.GraphModule(module, graph)
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    parts = dict(folded.named_modules())
    for node in list(graph.nodes):
        if node.op != "call_module" or not node.args:
            continue
        before = node.args[0]
        if (
            type(parts[str(node.target)]) is nn.BatchNorm2d
            and isinstance(before, fx.Node)
            and before.op == "call_module"
            and type(parts[str(before.target)]) is nn.Conv2d
            and len(before.users) == 1
            and calls.count(str(before.target)) == 1
        ):
            conv = cast(nn.Conv2d, parts[str(before.target)])
            norm = cast(nn.BatchNorm2d, parts[str(node.target)])
            parent, _, name = str(before.target).rpartition(".")
            setattr(folded.get_submodule(parent), name, fuse_conv_bn_eval(conv, norm))
            node.replace_all_uses_with(before)
            graph.erase_node(node)
    folded.delete_all_unused_submodules()
    folded.recompile()
    return folded.eval()


def _traced(module: nn.Module) -> nn.Module | None:
    """Return a copy of a module traced by torch.fx, or None if tracing fails."""
    return copy.deepcopy(module) if isinstance(module, fx.GraphModule) else None


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Resolve a device name and check that the device is available.

    Parameters
    ----------
    device : str or torch.device, default="auto"
        ``"auto"`` is CUDA if available, then MPS, else the CPU.

    Returns
    -------
    torch.device
        An available device.

    Raises
    ------
    ValueError
        If the device is unknown or not available.

    Examples
    --------
    >>> from skfusion.image.networks.inference import resolve_device
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} is not available here ({str(error).splitlines()[0]}). "
            "Expected 'auto', 'cpu', or an accelerator that this torch supports."
        ) from error
    return resolved


ENGINES = ("torch", "openvino")
PRECISIONS = ("auto", "float32", "bfloat16")
_CACHE_SIZE = 4  # compiled networks per process
_IMAGES_PER_PASS = 4  # resnet18 on one core: 54 images/s, 51 in batches of 8


def check_engine(owner: str, engine: Any, precision: Any) -> None:
    """Check the engine and precision, with the estimator name `owner` in messages.

    Raises
    ------
    ValueError
        If `engine` or `precision` is unknown.
    ImportError
        If OpenVINO is requested but not installed.
    """
    for name, value, allowed in (
        ("engine", engine, ENGINES),
        ("precision", precision, PRECISIONS),
    ):
        check_option(value, name, allowed, owner)
    if engine == "openvino":
        require("openvino", "openvino")


def engine_key(engine: str, precision: str) -> str:
    """Return the non-default engine and precision as a part of store keys.

    Embeddings of different engines or precisions are stored under different keys.

    Examples
    --------
    >>> from skfusion.image.networks.inference import engine_key
    >>> engine_key("torch", "auto"), engine_key("torch", "bfloat16")
    ('', ' torch bfloat16')
    """
    precision = "float32" if precision == "auto" else precision
    is_default = (engine, precision) == ("torch", "float32")
    return "" if is_default else f" {engine} {precision}"


def make_network(
    module: nn.Module,
    device: torch.device,
    batch_size: int,
    *,
    engine: str = "torch",
    precision: str = "auto",
    fold: bool = True,
    blank: Tensor | None = None,
    key: str = "",
) -> Network | OpenVINONetwork:
    """Prepare a network for inference with torch or OpenVINO.

    Parameters
    ----------
    module : torch.nn.Module
        Network in evaluation mode.
    device : torch.device
        Device to run on. OpenVINO runs on the CPU only.
    batch_size : int
        Maximum number of images per batch.
    engine : {"torch", "openvino"}, default="torch"
        Inference engine.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the arithmetic. ``"auto"`` is float32 everywhere, so that
        embeddings are the same on every machine.
    fold : bool, default=True
        As in `Network`. With False, torch is used in float32.
    blank : Tensor of shape (1, C[, D], H, W) or None
        Example input for OpenVINO.
    key : str
        Identifier of the network for OpenVINO, which compiles it once per process.

    Returns
    -------
    Network or OpenVINONetwork

    Raises
    ------
    ValueError
        If OpenVINO is requested on another device, or cannot convert the network.
    """
    chosen = "bfloat16" if precision == "bfloat16" else "float32"
    if engine == "torch" or not fold:
        wanted = chosen if fold else "float32"
        return Network(module, device, batch_size, precision=wanted, fold=fold)
    if device.type != "cpu":
        raise ValueError(
            f"engine='openvino' runs on the CPU only, got device={str(device)!r}. "
            "Use engine='torch' for this device."
        )
    assert blank is not None
    return OpenVINONetwork(module, blank, batch_size, chosen, key)


class OpenVINONetwork:
    """Network compiled by OpenVINO, with the interface of `Network`.

    By default, OpenVINO uses bfloat16 on CPUs that support it. Embeddings would then
    differ between machines by up to a tenth, so the precision is always set.

    Parameters
    ----------
    module : torch.nn.Module
        Network in evaluation mode. It is not changed.
    blank : Tensor of shape (1, C[, D], H, W)
        Example input.
    batch_size : int
        Maximum number of images per batch.
    precision : {"float32", "bfloat16"}
        Precision of the arithmetic. The result is float32.
    key : str
        Identifier of the network in the cache of compiled networks.
    """

    is_parallel = False
    n_workers = 1

    def __init__(
        self,
        module: nn.Module,
        blank: Tensor,
        batch_size: int,
        precision: str,
        key: str,
    ) -> None:
        self.batch_size = min(batch_size, _IMAGES_PER_PASS)
        threads = torch.get_num_threads()  # 1 in a joblib worker
        name = f"{key} {tuple(blank.shape)} {precision} {threads}"
        with _compiled_lock:
            if name not in _compiled:
                _compiled[name] = _compile(module, blank, precision, threads)
                if len(_compiled) > _CACHE_SIZE:
                    _compiled.popitem(last=False)
            _compiled.move_to_end(name)
            self._request = _compiled[name].create_infer_request()

    def __call__(self, pixels: Tensor) -> np.ndarray:
        """Run the network on pixels (B, C[, D], H, W), in one thread at a time."""
        result = self._request.infer([pixels.contiguous().numpy()], share_inputs=True)
        return np.array(result[0], dtype=np.float32)


_compiled: OrderedDict[str, Any] = OrderedDict()
_compiled_lock = threading.Lock()


def _compile(module: nn.Module, blank: Tensor, precision: str, threads: int) -> Any:
    openvino = require("openvino", "openvino")
    try:
        with warnings.catch_warnings():  # torch's tracer warns about Python numbers
            warnings.simplefilter("ignore")
            model = openvino.convert_model(module, example_input=blank)
    except Exception as error:  # the tracer can raise any exception
        raise ValueError(
            f"OpenVINO cannot convert the network ({type(error).__name__}). Use "
            "engine='torch'."
        ) from error
    model.reshape([-1, *blank.shape[1:]])
    hint = "f32" if precision == "float32" else "bf16"
    options = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return openvino.Core().compile_model(model, "CPU", options)
