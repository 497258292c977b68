"""Inference: a network in, the same function made fast out."""

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


# On a CPU more images per pass push each other out of the caches. Seen on one core, in
# ms per image: efficientnet_lite0 13 in passes of 4, 16 in passes of 8, 20 of 32;
# resnet18 25, 23 and 26 in passes of 4, 8 and 16.
_IMAGES_PER_CPU_PASS = 4
# by the number of axes of pixels and of the weights of convolutions
_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


class Network:
    """A network ready to run, from a batch of pixels to float32 arrays.

    On a CPU several batches are computed at once, each by one thread, rather than one
    batch by a team of threads that wait for each other in every layer. The number of
    threads is torch's own (``torch.get_num_threads()``: one in a joblib worker).

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode. It is copied, not changed.
    device : torch.device
        Where to run.
    batch_size : int
        Images per pass at most.
    precision : {"float32", "bfloat16"}, default="float32"
        Of the arithmetic; the result is float32.
    fold : bool, default=True
        Whether batch norms are folded into convolutions: faster, rounded differently.
        Without, every pass is filled up to `batch_size` images, since kernels for one
        or two images may round differently too.

    Attributes
    ----------
    batch_size : int
        Images per pass that suit the device.
    is_parallel : bool
        Whether several threads may call at once, each using one core.
    n_workers : int
        Number of passes to run at once.
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
        # Traced code keeps nothing between calls; other code might, and is then not
        # safe to call from several threads.
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
        """Run the network on pixels (B, 3[, D], H, W); any thread may call."""
        n_images, n_missing = len(pixels), self.batch_size - len(pixels)
        if self._fills_up and n_missing > 0:
            last = pixels[-1:].expand(n_missing, *pixels.shape[1:])
            pixels = torch.cat([pixels, last])
        with torch.inference_mode(), self._arithmetic():
            layout = _LAYOUTS.get(pixels.ndim, torch.preserve_format)
            batch = pixels.to(self._device, memory_format=layout)
            return self._module(batch)[:n_images].float().cpu().numpy()

    def _arithmetic(self) -> AbstractContextManager[object]:
        """Keep convolutions in float32, whose embeddings the store promises."""
        if self._precision == "bfloat16":
            return torch.autocast(self._device.type, torch.bfloat16)
        if self._device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def fast_layout(module: nn.Module) -> torch.memory_format:
    """Choose the layout in which the convolutions of a network are fastest.

    Parameters
    ----------
    module : torch.nn.Module
        A network for images or for volumes.

    Returns
    -------
    torch.memory_format
        Channels last; as it is where a network has weights of both kinds.

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
    """Fold each batch norm behind a convolution into the convolution's weights.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode. It is not changed.

    Returns
    -------
    torch.nn.Module or None
        A copy that computes the same up to rounding (relative errors of some 1e-6);
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
    except Exception:  # whatever the forward does with what is not a tensor
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
    """Return a copy of a module of which torch.fx made the code, else None."""
    return copy.deepcopy(module) if isinstance(module, fx.GraphModule) else None


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Resolve a device, or say what is wrong with it.

    Parameters
    ----------
    device : str or torch.device, default="auto"
        ``"auto"`` is CUDA where it is available, then MPS, else the CPU.

    Returns
    -------
    torch.device
        A device that is there.

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
_IMAGES_PER_PASS = 4  # as in torch: seen on one core, 54 images/s of resnet18, 51 by 8


def check_engine(owner: str, engine: Any, precision: Any) -> None:
    """Refuse an unknown engine or precision; `owner` is named in the message.

    Raises
    ------
    ValueError
        If `engine` or `precision` is unknown.
    ImportError
        If OpenVINO is asked for and not installed.
    """
    for name, value, allowed in (
        ("engine", engine, ENGINES),
        ("precision", precision, PRECISIONS),
    ):
        check_option(value, name, allowed, owner)
    if engine == "openvino":
        require("openvino", "openvino")


def engine_key(engine: str, precision: str) -> str:
    """Say what of the arithmetic is not the default, for keys in the store.

    Embeddings of another engine or precision are other embeddings.

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
    """Make a network ready to run.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.
    device : torch.device
        Where to run; OpenVINO runs on the processor only.
    batch_size : int
        Images per pass at most.
    engine : {"torch", "openvino"}, default="torch"
        What computes.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the arithmetic; ``"auto"`` is float32 everywhere, so that embeddings are the
        same on every machine.
    fold : bool, default=True
        As in `Network`. Without, torch computes, in float32.
    blank : Tensor of shape (1, C[, D], H, W) or None
        An image, for OpenVINO.
    key : str
        Identifies the network, for OpenVINO, which compiles it once per process.

    Returns
    -------
    Network or OpenVINONetwork

    Raises
    ------
    ValueError
        If OpenVINO is asked for another device, or cannot convert the network.
    """
    chosen = "bfloat16" if precision == "bfloat16" else "float32"
    if engine == "torch" or not fold:
        wanted = chosen if fold else "float32"
        return Network(module, device, batch_size, precision=wanted, fold=fold)
    if device.type != "cpu":
        raise ValueError(
            f"engine='openvino' runs on the processor, got device={str(device)!r}; "
            "use engine='torch' there."
        )
    assert blank is not None
    return OpenVINONetwork(module, blank, batch_size, chosen, key)


class OpenVINONetwork:
    """A network compiled by OpenVINO, called as `Network` is.

    OpenVINO would choose bfloat16 where the processor has it, and embeddings would
    differ between machines by up to a tenth; the precision is therefore always set.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode. It is not changed.
    blank : Tensor of shape (1, C[, D], H, W)
        An image.
    batch_size : int
        Images per pass at most.
    precision : {"float32", "bfloat16"}
        Of the arithmetic; the result is float32.
    key : str
        Identifies the network among those compiled before.
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
        """Run the network on pixels (B, C[, D], H, W); one thread at a time."""
        result = self._request.infer([pixels.contiguous().numpy()], share_inputs=True)
        return np.array(result[0], dtype=np.float32)


_compiled: OrderedDict[str, Any] = OrderedDict()
_compiled_lock = threading.Lock()


def _compile(module: nn.Module, blank: Tensor, precision: str, threads: int) -> Any:
    openvino = require("openvino", "openvino")
    try:
        with warnings.catch_warnings():  # torch's tracer warns of every Python number
            warnings.simplefilter("ignore")
            model = openvino.convert_model(module, example_input=blank)
    except Exception as error:  # whatever its tracer stumbles over
        raise ValueError(
            f"OpenVINO cannot convert the network ({type(error).__name__}); use "
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
