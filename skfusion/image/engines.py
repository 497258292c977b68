"""What runs a network: torch, or OpenVINO, which is faster on Intel and AMD processors.

Read next: `skfusion.image.encoding`.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skfusion._dependencies import require
from skfusion.image.inference import Network

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "OpenVINONetwork",
    "check_engine",
    "engine_key",
    "make_network",
]

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
        if value not in allowed:
            raise ValueError(
                f"{owner}: {name} must be one of {allowed}, found {value!r}."
            )
    if engine == "openvino":
        require("openvino", "openvino")


def engine_key(engine: str, precision: str) -> str:
    """Say what of the arithmetic is not the default, for keys in the store.

    Embeddings of another engine or precision are other embeddings.

    Examples
    --------
    >>> from skfusion.image.engines import engine_key
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
            f"engine='openvino' runs on the processor, found device={str(device)!r}; "
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
