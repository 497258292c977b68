"""Networks of torch as classes, attributes and safetensors, without pickle.

A module is its class, found by name, and its attributes. Nothing of the class is
called to make it again. A part that only exists as generated code, such as the
trainable tail of a named backbone, is cut from that backbone again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from skfusion.image.networks.backbones import (
    Backbone,
    backbone_with_weights,
)
from skfusion.image.networks.inference import resolve_device
from skfusion.image.networks.outputs import run
from skfusion.image.networks.sources.hubs import is_hub_name
from skfusion.persistence.archive import ModelFileError
from skfusion.persistence.parts import PartSource
from skfusion.persistence.stand_ins import StandIn

if TYPE_CHECKING:
    from skfusion.persistence.lowering import Lowering

__all__ = [
    "CarriedWeights",
    "Network",
    "NetworkTensor",
    "TorchValue",
    "TrainedTail",
    "carried_weights",
    "device_here",
    "lowered",
]

FOLDER = "weights"
#: Attributes of a module that hold functions, by what they are.
_HOOKS = tuple(name for name in vars(nn.Module()) if name.endswith("hooks"))


def lowered(part: Any, lowering: Lowering) -> StandIn | None:
    """Return the stand-in of a network or tensor, None for any other object.

    Parameters
    ----------
    part : any
        A part of a model.
    lowering : Lowering
        The conversion that met it.
    """
    if isinstance(part, nn.Module):
        return _lowered_module(part, lowering)
    if isinstance(part, torch.Tensor):
        with _TensorFile(lowering) as file:
            return file.add(part)
    if isinstance(part, torch.dtype | torch.device | torch.memory_format):
        return TorchValue(type(part).__name__, str(part).removeprefix("torch."))
    if isinstance(getattr(part, "network_", None), nn.Module):
        _keep_tails(part, lowering)
    return None


class _TensorFile:
    """The tensors of the outermost module that is being written."""

    def __init__(self, lowering: Lowering) -> None:
        self._lowering = lowering
        self._is_outermost = lowering.sink.tensors is None

    def __enter__(self) -> _TensorFile:
        if self._is_outermost:
            sink = self._lowering.sink
            sink.tensors = (sink.new_name(FOLDER, ".safetensors"), {})
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if not self._is_outermost:
            return
        sink = self._lowering.sink
        assert sink.tensors is not None
        name, tensors = sink.tensors
        sink.tensors = None
        if error is not None:
            return
        if tensors:
            sink.parts[name] = safetensors.torch.save(tensors)
        else:
            del sink.parts[name]

    def add(self, tensor: torch.Tensor) -> NetworkTensor:
        """Write a tensor with the order of its axes in memory."""
        is_plain = tensor.layout == torch.strided and not tensor.is_quantized
        if not is_plain or tensor.is_complex() or tensor.device.type == "meta":
            raise self._lowering.error(
                f"a tensor of {tensor.layout} and {tensor.dtype} has no form in "
                "safetensors"
            )
        assert self._lowering.sink.tensors is not None
        part, tensors = self._lowering.sink.tensors
        values = tensor.detach().cpu()
        strides = values.stride()
        order = sorted(range(values.ndim), key=lambda axis: -strides[axis])
        ordered = values.permute(order).contiguous()
        # A fitted model often has the same weights again in its parameters.
        content = ordered.reshape(-1).view(torch.uint8).numpy().tobytes()
        about = (tuple(ordered.shape), str(ordered.dtype))
        digest = (*about, hashlib.sha256(content).digest())
        known = self._lowering.sink.known_tensors
        if digest not in known:
            key = f"{len(tensors):05d}"
            tensors[key] = ordered.clone()
            known[digest] = (part, key)
        is_parameter = isinstance(tensor, nn.Parameter)
        return NetworkTensor(*known[digest], order, tensor.requires_grad, is_parameter)


def _lowered_module(part: nn.Module, lowering: Lowering) -> StandIn:
    kind = type(part)
    if isinstance(part, torch.jit.ScriptModule | torch.fx.GraphModule) or hasattr(
        part, "_orig_mod"
    ):
        raise lowering.error(
            f"a {kind.__name__} is compiled or generated code. Pass the module that "
            "it was made from"
        )
    attributes = {}
    for name, value in vars(part).items():
        if name not in _HOOKS:
            attributes[name] = value
        elif value:
            raise lowering.error(
                f"a {kind.__name__} has hooks ({name}), which are code. Remove them, "
                "or put what they do into its forward"
            )
    with _TensorFile(lowering):
        return Network(lowering.lower(kind), lowering.attributes(attributes))


def _keep_tails(model: Any, lowering: Lowering) -> None:
    """Let the trained tails of backbones be cut from the backbones again."""
    encoders = getattr(model.network_, "encoders", {})
    for part in getattr(model, "_inputs", ()):
        if not hasattr(part, "new_tail") or not hasattr(part, "parts"):
            continue
        tail = encoders[f"x_{part.modality.name}"].backbone
        tensors = dict(tail.named_parameters()) | dict(tail.named_buffers())
        with lowering.at("._inputs"), _TensorFile(lowering) as file:
            state = {name: file.add(tensor) for name, tensor in tensors.items()}
            made = TrainedTail(lowering.lower(part), state, tail.training)
        lowering.remember(tail, made)


@dataclass
class NetworkTensor(StandIn):
    """A tensor or parameter, in a part of safetensors."""

    part: Any
    key: Any
    order: Any
    requires_grad: Any
    is_parameter: Any

    def restore(self, source: PartSource) -> torch.Tensor:
        """Return the tensor, laid out in memory as it was."""
        if self.part not in source.opened:
            try:
                found = safetensors.torch.load(source.part(self.part, FOLDER))
            except SafetensorError as error:
                raise ModelFileError(
                    f"the file is refused: {self.part!r} is no safetensors."
                ) from error
            source.opened[self.part] = found
        stored = source.opened[self.part][self.key]
        back = sorted(range(stored.ndim), key=lambda i: self.order[i])
        tensor = stored.clone().permute(back)
        if self.is_parameter:
            return nn.Parameter(tensor, requires_grad=bool(self.requires_grad))
        return tensor.requires_grad_(bool(self.requires_grad))


@dataclass
class TorchValue(StandIn):
    """A dtype, device or memory format of torch, by its name."""

    kind: Any
    name: Any

    def restore(self, source: PartSource) -> Any:
        """Return the value. A device that is not there becomes the CPU."""
        if self.kind == "device":
            return torch.device(device_here(str(self.name), source))
        value = getattr(torch, str(self.name), None)
        if not isinstance(value, torch.dtype | torch.memory_format):
            raise ModelFileError("the file is refused: a value of torch is unknown.")
        return value


def device_here(name: str, source: PartSource) -> str:
    """Return the name of a device, or that of the CPU if this machine lacks it.

    Parameters
    ----------
    name : str
        A device of torch, such as ``"cuda:0"``.
    source : PartSource
        It notes the devices that are absent.
    """
    try:
        resolve_device(name)
    except ValueError:
        source.absent_devices.add(name)
        return "cpu"
    return name


@dataclass
class Network(StandIn):
    """A module of torch, by its class and attributes."""

    kind: Any
    attributes: Any

    def restore(self, source: PartSource) -> nn.Module:
        """Return the module, made without calling its constructor."""
        if not (isinstance(self.kind, type) and issubclass(self.kind, nn.Module)):
            raise ModelFileError("the file is refused: a class of a module is none.")
        made = self.kind.__new__(self.kind)
        state = vars(nn.Module()) | dict(self.attributes)
        made.__setstate__(state)
        return made


@dataclass
class TrainedTail(StandIn):
    """The trained tail of a backbone, which is cut from the backbone again."""

    needs_more_than_the_file: ClassVar[bool] = True

    input: Any
    state: Any
    training: Any

    def restore(self, source: PartSource) -> nn.Module:
        """Return the tail with its trained weights."""
        tail: nn.Module = self.input.new_tail()
        own = dict(tail.named_parameters()) | dict(tail.named_buffers())
        if set(own) != set(self.state):
            raise ModelFileError(
                "the trained part of a backbone has other layers than the backbone "
                "that is installed here. Install the versions that the model was "
                "saved with."
            )
        with torch.no_grad():
            for name, tensor in own.items():
                stored = self.state[name]
                if stored.shape != tensor.shape:
                    raise ModelFileError(
                        "the trained part of a backbone has another shape than the "
                        "backbone that is installed here."
                    )
                tensor.data = tensor.data.to(stored.dtype)
                tensor.copy_(stored)
        return tail.train(bool(self.training))


# -- weights of named backbones --------------------------------------------------------


def carried_weights(embedder: Any, lowering: Lowering) -> CarriedWeights | None:
    """Return the weights of a fitted embedder with a named backbone, if they are saved.

    Parameters
    ----------
    embedder : ImageEmbedder
        The embedder.
    lowering : Lowering
        The conversion that met it.
    """
    is_named = isinstance(embedder.backbone, str)
    if not is_named or not hasattr(embedder, "fingerprint_"):
        return None
    kept = getattr(embedder, "_carried", None)
    in_a_file = kept is not None or not embedder.weights_are_named
    is_wanted = lowering.sink.embed_weights or in_a_file
    lowering.sink.tell(
        "encoders",
        {
            "kind": "image",
            "name": embedder.backbone,
            "fingerprint": embedder.fingerprint_,
            "embedded": bool(is_wanted),
        },
    )
    if not is_wanted:
        return None
    if is_hub_name(embedder.backbone):
        raise lowering.error(
            f"the weights of {embedder.backbone!r} cannot be embedded, because its "
            "layers are defined in a folder or a hub. Save with embed_weights=False "
            "and install the encoder where the model is loaded"
        )
    backbone = embedder.build_fitted()
    options = _options_of(embedder)
    rebuilt = backbone_with_weights(
        embedder.backbone, backbone.module.state_dict(), backbone, **options
    )
    # Published weights may set options that random ones do not.
    images = backbone.preprocessing.example(2)
    if not torch.equal(run(rebuilt.module, images), run(backbone.module, images)):
        raise lowering.error(
            f"the weights of {embedder.backbone!r} cannot be embedded, because they "
            "also set options of the network. Save with embed_weights=False"
        )
    with _TensorFile(lowering) as file:
        tensors = backbone.module.state_dict()
        state = {name: file.add(tensor) for name, tensor in tensors.items()}
    described = lowering.lower(replace(backbone, module=nn.Identity()))
    return CarriedWeights(embedder.backbone, options, state, described)


def _options_of(embedder: Any) -> dict[str, Any]:
    depth = embedder.n_slices if embedder.volume == "3d" else None
    return {
        "layer": embedder.layer,
        "pooling": embedder.pooling,
        "input_size": embedder.input_size,
        "depth": depth,
    }


@dataclass
class CarriedWeights(StandIn):
    """Weights of a named backbone, for a machine that does not have them."""

    needs_more_than_the_file: ClassVar[bool] = True

    name: Any
    options: Any
    state: Any
    described: Any

    def restore(self, source: PartSource) -> Backbone:
        """Return the backbone, whose fingerprint is compared."""
        if not isinstance(self.described, Backbone):
            raise ModelFileError("the file is refused: a backbone is none.")
        made = backbone_with_weights(
            self.name, self.state, self.described, **self.options
        )
        if made.fingerprint != self.described.fingerprint:
            raise ModelFileError(
                f"the weights in the file are not those of the backbone {self.name!r} "
                "that the model was trained with (their fingerprints differ)."
            )
        return made
