"""Networks of Hugging Face, of timm's hub names and of open_clip, online or offline.

Caches are asked before the network, and a hub that cannot be reached is noticed within
seconds. To add a source, add a function to `_SOURCES`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from torch import nn

from skfusion._dependencies import require
from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.image.networks._torchvision import prepare_torchvision
from skfusion.image.networks.sources.weights import (
    first_line,
    load_weights_file,
    reproducible_random,
)

__all__ = [
    "WEIGHTS_OF_TIMM",
    "cache_first",
    "cached_file",
    "is_hub_name",
    "load_from_hub",
    "why_offline",
    "with_revision",
]

TIMEOUT_S = 3.0  # in which a hub must accept a connection
HUB, LOCAL = "hf-hub:", "local-dir:"
WEIGHTS_OF_TIMM = ("model.safetensors", "pytorch_model.bin")
_WEIGHTS_OF_OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def is_hub_name(name: str) -> bool:
    """Return whether a name is one of `load_from_hub`.

    Examples
    --------
    >>> from skfusion.image.networks.sources.hubs import is_hub_name
    >>> is_hub_name("hf:microsoft/rad-dino"), is_hub_name("timm:resnet18")
    (True, False)
    """
    source, _, rest = name.partition(":")
    return source in ("hf", "open_clip") or (
        source == "timm" and rest.startswith((HUB, LOCAL))
    )


def load_from_hub(
    name: str,
    weights: str | os.PathLike[str] | None = "DEFAULT",
    params: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Load an image network by name, with the preprocessing that its source states.

    Parameters
    ----------
    name : str
        ``"hf:ORG/NAME"`` or ``"hf:FOLDER"`` of Hugging Face,
        ``"timm:hf-hub:ORG/NAME"``, ``"timm:local-dir:FOLDER"``,
        ``"open_clip:MODEL/TAG"``, ``"open_clip:hf-hub:ORG/NAME"`` or
        ``"open_clip:local-dir:FOLDER"``. ``"@REVISION"`` after the name of a repository
        selects a revision.
    weights : "DEFAULT", path or None, default="DEFAULT"
        The weights of the source, the file of a state dict, or None for random weights.
    params : mapping or None, default=None
        Further arguments of the source: of ``from_pretrained`` or ``create_model``.

    Returns
    -------
    torch.nn.Module
        The network, which states its preprocessing in an attribute as
        `skfusion.image.networks.stated.stated_preprocessing` reads it.

    Raises
    ------
    ImportError
        If the package is not installed.
    ValueError
        If the name is not understood, or the network is neither in the cache nor can be
        downloaded. The message says what to fetch and the name to use then.
    """
    prepare_torchvision()
    source, _, rest = name.partition(":")
    if not rest:
        raise ValueError(
            f"The backbone {name!r} has no name after the colon. Expected "
            "'hf:ORG/NAME', 'timm:hf-hub:ORG/NAME', 'open_clip:MODEL/TAG', or a folder."
        )
    with reproducible_random():
        module: nn.Module = _SOURCES[source](name, rest, weights, dict(params or {}))
    if weights is not None and weights != "DEFAULT":
        load_weights_file(module, weights, name)
    return module.eval()


# -- sources ---------------------------------------------------------------------------


def _hugging_face(name: str, rest: str, weights: Any, params: dict[str, Any]) -> Any:
    transformers = require("transformers", "hf")
    repository, revision = with_revision(rest)
    if revision:
        params = {"revision": revision, **params}
    keys = ("revision", "cache_dir", "token")
    where: dict[str, Any] = {key: params[key] for key in keys if key in params}

    folder = os.path.isdir(repository)
    is_known = folder or cached_file(repository, ("config.json",), revision)

    def build(**online: Any) -> Any:
        if online and not (is_known or "cache_dir" in params):
            raise OSError("not in the cache")
        if weights != "DEFAULT":
            config = transformers.AutoConfig.from_pretrained(
                repository, **params, **online
            )
            module = transformers.AutoModel.from_config(config)
        else:
            module = transformers.AutoModel.from_pretrained(
                repository, **params, **online
            )
        return module, _processor(transformers, repository, {**where, **online})

    module, processor = cache_first(name, repository, build, is_local=folder)
    module = _image_tower(module, name)
    if processor is not None:
        module.preprocessing = processor
    return module


def _processor(transformers: Any, repository: str, options: dict[str, Any]) -> Any:
    """Return the image processor of a repository, None if it has none."""
    try:
        return transformers.AutoImageProcessor.from_pretrained(repository, **options)
    except OSError:  # no such file
        return None
    except (ValueError, KeyError, ImportError) as error:
        warn_user(
            f"The image processor of {repository!r} cannot be loaded "
            f"({type(error).__name__}: {first_line(error)}).",
            FallbackWarning,
        )
        return None


class _ImageTower(nn.Module):
    """Image features of a network of images and texts."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Any) -> Any:
        network: Any = self.network
        found = network.get_image_features(pixel_values=images)
        return getattr(found, "pooler_output", found)

    def forward_features(self, images: Any) -> Any:
        """Return the tokens of the images."""
        network: Any = self.network
        return network.vision_model(pixel_values=images).last_hidden_state


def _image_tower(module: Any, name: str) -> nn.Module:
    """Return the part of a network that embeds images."""
    if hasattr(module, "get_image_features"):
        for part in ("text_model", "text_projection"):
            if hasattr(module, part):  # it would only take memory
                setattr(module, part, nn.Identity())
        return _ImageTower(module)
    if getattr(module, "main_input_name", "pixel_values") != "pixel_values":
        raise ValueError(
            f"The backbone {name!r} takes {module.main_input_name!r}, not images. Use "
            "the name of an image encoder."
        )
    network: nn.Module = module
    return network


def _timm(name: str, rest: str, weights: Any, params: dict[str, Any]) -> Any:
    timm = require("timm", "timm")
    is_pretrained = weights == "DEFAULT"
    options = {"num_classes": 0, **params}
    is_local = rest.startswith(LOCAL)
    repository, wanted = "", rest
    if is_local:
        wanted = f"{LOCAL}{_existing(rest.removeprefix(LOCAL), name)}"
    else:
        repository, revision = with_revision(rest.removeprefix(HUB))
        snapshot = _snapshot(repository, revision, WEIGHTS_OF_TIMM)
        wanted = rest if snapshot is None else f"{LOCAL}{snapshot}"

    def build(**online: Any) -> Any:
        if online and not wanted.startswith(LOCAL):
            raise OSError("not in the cache")
        return timm.create_model(wanted, pretrained=is_pretrained, **options)

    return cache_first(name, repository, build, is_local=is_local)


def _open_clip(name: str, rest: str, weights: Any, params: dict[str, Any]) -> Any:
    open_clip = require("open_clip", "open_clip")
    repository, wanted, tag = "", rest, None
    is_pretrained = weights == "DEFAULT"
    if rest.startswith(LOCAL):
        wanted = f"{LOCAL}{_existing(rest.removeprefix(LOCAL), name)}"
    elif rest.startswith(HUB):
        repository, revision = with_revision(rest.removeprefix(HUB))
        snapshot = _snapshot(repository, revision, _WEIGHTS_OF_OPEN_CLIP)
        if revision and snapshot is None:
            reason = "open_clip downloads the newest revision only"
            raise _absent(name, repository, reason, "backbone")
        wanted = rest if snapshot is None else f"{LOCAL}{snapshot}"
    else:
        wanted, _, tag = rest.partition("/")
        _check_open_clip(open_clip, name, wanted, tag)
        repository = open_clip.get_pretrained_cfg(wanted, tag).get("hf_hub", "")
        repository = repository.strip("/")
        if not is_pretrained:
            tag = None
        elif repository:
            tag = cached_file(repository, _WEIGHTS_OF_OPEN_CLIP) or tag

    def build(**online: Any) -> Any:
        is_cached = wanted.startswith(LOCAL) or (
            not wanted.startswith(HUB) and (tag is None or os.path.isfile(str(tag)))
        )
        if online and not is_cached:
            raise OSError("not in the cache")
        # Without `load_weights=False`, a folder or repository gives its weights always.
        return open_clip.create_model(
            wanted, pretrained=tag, load_weights=is_pretrained, **params
        )

    model = cache_first(
        name, repository or wanted, build, is_local=wanted.startswith(LOCAL)
    )
    return model.visual


def _check_open_clip(open_clip: Any, name: str, wanted: str, tag: str) -> None:
    known = open_clip.list_models()
    if wanted not in known:
        raise ValueError(
            f"Unknown backbone {name!r}; open_clip has {len(known)} models, e.g. "
            f"{', '.join(known[:3])}. Expected 'open_clip:MODEL/TAG'."
        )
    tags = open_clip.list_pretrained_tags_by_model(wanted)
    if tag not in tags:
        raise ValueError(
            f"The backbone {name!r} needs one of the weights of {wanted}: "
            f"{', '.join(tags)}. Expected 'open_clip:{wanted}/TAG'."
        )


_SOURCES: dict[str, Callable[[str, str, Any, dict[str, Any]], Any]] = {
    "hf": _hugging_face,
    "timm": _timm,
    "open_clip": _open_clip,
}


# -- caches and the network ------------------------------------------------------------


def with_revision(rest: str) -> tuple[str, str]:
    """Split ``ORG/NAME@REVISION``. A folder keeps its name."""
    if os.path.isdir(rest):
        return rest, ""
    repository, _, revision = rest.partition("@")
    return repository, revision


def _existing(folder: str, name: str) -> str:
    if os.path.isdir(folder):
        return folder
    raise ValueError(
        f"The backbone {name!r} names a folder that does not exist. Relative paths are "
        "looked up from the working directory."
    )


def cached_file(repository: str, names: tuple[str, ...], revision: str = "") -> str:
    """Return the path of the first of some files in the hub's cache, or nothing."""
    hub = require("huggingface_hub", "hf")
    for filename in names:
        found = hub.try_to_load_from_cache(
            repository, filename, revision=revision or None
        )
        if isinstance(found, str):
            return found
    return ""


def _snapshot(repository: str, revision: str, weights: tuple[str, ...]) -> str | None:
    """Return the folder of the cache with a repository's settings and weights."""
    found = cached_file(repository, weights, revision)
    folder = Path(found).parent if found else None
    settings = ("config.json", "open_clip_config.json")
    if folder is None or not any((folder / key).is_file() for key in settings):
        return None
    return str(folder)


def cache_first(
    name: str,
    repository: str,
    build: Callable[..., Any],
    *,
    is_local: bool = False,
    parameter: str = "backbone",
) -> Any:
    """Build from the cache, then from the network if it can be reached.

    Parameters
    ----------
    name : str
        Value of the parameter of the user, for messages.
    repository : str
        Name of the repository, or a folder.
    build : callable
        Function that is called with ``local_files_only=True`` first.
    is_local : bool, default=False
        Whether `repository` is a folder, so that nothing can be downloaded.
    parameter : str, default="backbone"
        Name of the parameter of the user, for messages.

    Returns
    -------
    object
        What `build` returns.

    Raises
    ------
    ValueError
        If neither succeeds. The message says what to fetch and the name to use then.
    """
    try:
        return build(local_files_only=True)
    except Exception as error:  # each library has its own
        if is_local:
            raise ValueError(
                f"The {parameter} {name!r} cannot be loaded from its folder "
                f"({type(error).__name__}: {first_line(error)})."
            ) from error
        first = error
    reason = why_offline()
    if reason:
        raise _absent(name, repository, reason, parameter) from first
    try:
        return build()
    except Exception as error:  # each client has its own
        reason = _why_refused(error, repository)
        raise _absent(name, repository, reason, parameter) from error


def why_offline() -> str:
    """Return why nothing can be downloaded from the hub, or an empty string.

    The clients of the hub would retry for most of a minute.
    """
    for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(key, "").lower() in ("1", "true", "yes", "on"):
            return f"{key} is set"
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    host = endpoint.hostname or "huggingface.co"
    proxies = getproxies()
    proxy = proxies.get(endpoint.scheme) or proxies.get("all")
    what, at = host, endpoint
    if proxy and not proxy_bypass(host):
        at = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        what = f"the proxy {at.hostname}"
    port = at.port or (443 if at.scheme == "https" else 80)
    try:
        socket.create_connection((at.hostname or host, port), TIMEOUT_S).close()
    except OSError as error:
        return f"{what} cannot be reached ({type(error).__name__})"
    return ""


def _why_refused(error: Exception, repository: str) -> str:
    chain = [error, error.__cause__, error.__context__]
    kinds = " ".join(type(link).__name__ for link in chain if link is not None)
    if "Gated" in kinds or "gated" in str(error):
        return (
            f"access is restricted: accept the terms at https://huggingface.co/"
            f"{repository} and log in with `hf auth login`"
        )
    if "RepositoryNotFound" in kinds:
        return "no such repository, or it is private"
    return f"{type(error).__name__}: {first_line(error)}"


def _absent(name: str, repository: str, reason: str, parameter: str) -> ValueError:
    """Return the error that says what to fetch, where to put it and how to name it."""
    source = name.partition(":")[0]
    folder = {"hf": "hf:FOLDER"}.get(source, f"{source}:{LOCAL}FOLDER")
    return ValueError(
        f"The {parameter} {name!r} is not in the cache of Hugging Face and cannot be "
        f"downloaded ({reason}). On a machine with access, run `hf download "
        f"{repository} --local-dir FOLDER`, copy the folder here, and use "
        f"{parameter}={folder!r}. The environment variable HF_HOME selects another "
        "cache."
    )
