"""Optimized batched inference with torch or OpenVINO."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skfusion._dependencies import require
from skfusion.image.networks.description import describe_module, may_write_state
from skfusion.image.networks.folding import fold_batch_norms, name_of
from skfusion.image.networks.outputs import relative_difference, run
from skfusion.image.networks.process_state import (
    ForkSafeLock,
    exact_convolutions,
    ordinary_modes,
)
from skfusion.image.networks.tracing import loses_root_code

__all__ = [
    "Network",
    "OpenVINONetwork",
    "fast_layout",
    "lay_out",
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
    is ``torch.get_num_threads()``, which is 1 in a joblib worker. A network that may
    write to itself or to globals while it runs is called by one thread at a time.

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
        differently. With False, an image has the same bits in every batch: smaller
        batches are filled up to `batch_size` images, unless the kernels of this
        processor were found to round them equally.
    example : torch.Tensor of shape (B, C[, D], H, W) or None, default=None
        Example input. Without it, batch norms are not folded.

    Attributes
    ----------
    batch_size : int
        Number of images per batch that suits the device.
    is_parallel : bool
        Whether several threads may call the network in parallel, one core each.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        batch_size: int,
        *,
        precision: str = "float32",
        fold: bool = True,
        example: Tensor | None = None,
    ) -> None:
        if fold and example is not None:
            place = next((p.device for p in module.parameters()), example.device)
            self._module = fold_batch_norms(module, example.to(place))
        else:
            self._module = copy.deepcopy(module)
        is_cpu = device.type == "cpu"
        has_state = _has_state(self._module, example)
        self._one_by_one = ForkSafeLock() if has_state else nullcontext()
        self.is_parallel = is_cpu and not has_state
        self.batch_size = (
            min(batch_size, _IMAGES_PER_CPU_PASS) if is_cpu else batch_size
        )
        self._fills_up = not fold
        #: Whether small batches have the bits of full ones, by shape and threads.
        self._has_bits_of_full: dict[tuple[Any, ...], bool] = {}
        self._precision = precision
        self._device = device
        self._module.to(device)
        lay_out(self._module)

    @property
    def n_workers(self) -> int:
        """Number of batches to run in parallel."""
        return torch.get_num_threads() if self.is_parallel else 1

    def __call__(self, pixels: Tensor) -> np.ndarray:
        """Run the network on pixels (B, 3[, D], H, W), in any thread."""
        if not self._fills_up or len(pixels) >= self.batch_size:
            return self._run(pixels)
        # The choice of a kernel, and so its rounding, follows from shape and threads.
        case = (tuple(pixels.shape), torch.get_num_threads())
        if case not in self._has_bits_of_full and self.is_parallel:
            outputs, is_equal = self._compared(pixels)
            self._has_bits_of_full[case] = is_equal
            if is_equal:
                return outputs
        if self._has_bits_of_full.get(case, False):
            return self._run(pixels)
        return self._run(self._filled_up(pixels, pixels[-1:]))[: len(pixels)]

    def _compared(self, pixels: Tensor) -> tuple[np.ndarray, bool]:
        """Return the outputs, and whether the same images give equal bits alone.

        The images are filled up with noise, because blank images would be equal with
        every kernel.
        """
        n_images = len(pixels)
        draw = torch.Generator().manual_seed(0)
        noise = torch.randn(
            (self.batch_size - n_images, *pixels.shape[1:]), generator=draw
        )
        images = self._filled_up(pixels, noise.to(pixels))
        full, alone = self._run(images), self._run(images[-n_images:])
        return full[:n_images], full[-n_images:].tobytes() == alone.tobytes()

    def _filled_up(self, pixels: Tensor, others: Tensor) -> Tensor:
        n_missing = self.batch_size - len(pixels)
        return torch.cat([pixels, others.expand(n_missing, *pixels.shape[1:])])

    def _run(self, pixels: Tensor) -> np.ndarray:
        layout = _LAYOUTS.get(pixels.ndim, torch.preserve_format)
        with (
            ordinary_modes(),
            self._one_by_one,
            torch.inference_mode(),
            self._arithmetic(),
        ):
            batch = pixels.to(self._device, memory_format=layout)
            return self._module(batch).float().cpu().numpy()

    def _arithmetic(self) -> AbstractContextManager[object]:
        """Disable TF32 in convolutions, so that stored embeddings are float32."""
        if self._precision == "bfloat16":
            return torch.autocast(self._device.type, torch.bfloat16)
        return exact_convolutions() if self._device.type == "cuda" else nullcontext()


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


def lay_out(module: nn.Module) -> None:
    """Change the weights of a network to its fastest memory format, in place.

    Other tensors, such as buffers of another number of axes, keep their format.

    Parameters
    ----------
    module : torch.nn.Module
        A network for images or for volumes.
    """
    layout = fast_layout(module)
    for tensor in (*module.parameters(), *module.buffers()):
        if _LAYOUTS.get(tensor.dim()) == layout:
            # `contiguous` would leave the strides of 1 x 1 kernels, and the kernels
            # of other layouts round differently.
            tensor.data = tensor.data.to(memory_format=layout)


def _has_state(module: nn.Module, example: Tensor | None) -> bool:
    """Return whether a call may change the network, or anything that it refers to."""
    if may_write_state(module):
        return True
    known = ("torch", "torchvision", "skfusion")
    kinds = {type(part).__module__.partition(".")[0] for part in module.modules()}
    has_own_code = any(loses_root_code(part) for part in module.modules())
    if kinds <= set(known) and not has_own_code:
        return False
    if example is None:
        return True
    place = next((p.device for p in module.parameters()), example.device)
    before = describe_module(module)
    run(module, example.to(place))
    return bool(before.changes(describe_module(module)))


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


_CACHE_SIZE = 4  # prepared networks per process, and as many that are compiled
# Largest relative difference between a compiled network and the original one.
_COMPILED_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.5}
_IMAGES_PER_PASS = 4  # resnet18 on one core: 54 images/s, 51 in batches of 8


def make_network(
    module: nn.Module,
    device: torch.device,
    batch_size: int,
    *,
    engine: str = "torch",
    precision: str = "auto",
    fold: bool = True,
    example: Callable[[], Tensor] | None = None,
    key: Hashable = "",
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
    example : callable or None, default=None
        Function that returns an example input (B, C[, D], H, W), with which an
        optimized network is compared with `module`. It is called only if the network
        is prepared.
    key : hashable, default=""
        Identifier of the function that `module` computes, and of the example. Prepared
        networks are kept and shared by threads. The empty string prepares the network
        anew.

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
        return _prepared(module, device, batch_size, wanted, fold, example, key)
    if device.type != "cpu":
        raise ValueError(
            f"engine='openvino' runs on the CPU only, got device={str(device)!r}. "
            "Use engine='torch' for this device."
        )
    assert example is not None
    return OpenVINONetwork(module, example(), batch_size, chosen, str(key))


_networks: OrderedDict[tuple[Any, ...], Network] = OrderedDict()
_networks_lock = ForkSafeLock()


def _prepared(
    module: nn.Module,
    device: torch.device,
    batch_size: int,
    precision: str,
    fold: bool,
    example: Callable[[], Tensor] | None,
    key: Hashable,
) -> Network:
    """Return a prepared network, which is built once per process."""
    name = (key, device, batch_size, precision, fold)
    with _networks_lock:
        network = _networks.get(name) if key else None
        if network is None:
            network = Network(
                module,
                device,
                batch_size,
                precision=precision,
                fold=fold,
                example=None if example is None else example(),
            )
        if key:
            _networks[name] = network
            _networks.move_to_end(name)
            while len(_networks) > _CACHE_SIZE:
                _networks.popitem(last=False)
        return network


class OpenVINONetwork:
    """Network compiled by OpenVINO, with the interface of `Network`.

    By default, OpenVINO uses bfloat16 on CPUs that support it. Embeddings would then
    differ between machines by up to a tenth, so the precision is always set.

    Parameters
    ----------
    module : torch.nn.Module
        Network in evaluation mode. It is not changed.
    example : Tensor of shape (B, C[, D], H, W)
        Example input, with which the network is traced and compared.
    batch_size : int
        Maximum number of images per batch.
    precision : {"float32", "bfloat16"}
        Precision of the arithmetic. The result is float32.
    key : str
        Identifier of the network in the cache of compiled networks. The empty string
        compiles it anew.

    Attributes
    ----------
    batch_size : int
        Number of images per batch that suits the device.
    difference : float
        Greatest relative difference of the outputs for the example from those of torch.

    Raises
    ------
    ValueError
        If OpenVINO cannot convert the network, or its output differs.
    """

    is_parallel = False
    n_workers = 1

    def __init__(
        self,
        module: nn.Module,
        example: Tensor,
        batch_size: int,
        precision: str,
        key: str,
    ) -> None:
        self.batch_size = min(batch_size, _IMAGES_PER_PASS)
        threads = torch.get_num_threads()  # 1 in a joblib worker
        name = f"{key} {tuple(example.shape)} {precision} {threads}"
        with _compiled_lock:
            known = _compiled.get(name) if key else None
            if known is None:
                known = _compile(module, example, precision, threads)
            if key:
                _compiled[name] = known
                _compiled.move_to_end(name)
                if len(_compiled) > _CACHE_SIZE:
                    _compiled.popitem(last=False)
            compiled, self.difference = known
            self._request = compiled.create_infer_request()

    def __call__(self, pixels: Tensor) -> np.ndarray:
        """Run the network on pixels (B, C[, D], H, W), in one thread at a time."""
        result = self._request.infer([pixels.contiguous().numpy()], share_inputs=True)
        return np.array(result[0], dtype=np.float32)


# Compiled networks, each with its difference from the original one.
_compiled: OrderedDict[str, tuple[Any, float]] = OrderedDict()
_compiled_lock = ForkSafeLock()


def _compile(
    module: nn.Module, example: Tensor, precision: str, threads: int
) -> tuple[Any, float]:
    """Compile a network, and compare it with the original one on its example."""
    openvino = require("openvino", "openvino")
    try:
        with warnings.catch_warnings():  # torch's tracer warns about Python numbers
            warnings.simplefilter("ignore")
            model = openvino.convert_model(module, example_input=example)
    except Exception as error:  # the tracer can raise any exception
        raise ValueError(
            f"OpenVINO cannot convert the network ({type(error).__name__}). Use "
            "engine='torch'."
        ) from error
    model.reshape([-1, *example.shape[1:]])
    hint = "f32" if precision == "float32" else "bf16"
    options = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(model, "CPU", options)
    # Other images than the traced ones as well, for which a forward may branch.
    both = [example, -example.flip(-1)]
    outputs = [np.array(compiled([images.contiguous().numpy()])[0]) for images in both]
    difference = max(
        relative_difference(torch.from_numpy(found), run(module, images))
        for found, images in zip(outputs, both, strict=True)
    )
    if difference > _COMPILED_TOLERANCE[precision]:
        raise ValueError(
            f"The network {name_of(module)} gives another output when it is compiled "
            f"by OpenVINO (relative difference {difference:.1e}). Use engine='torch'."
        )
    return compiled, difference
