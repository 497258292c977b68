"""The objects of a model file with their stand-ins replaced by what they stand for."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator

from skfusion.persistence.archive import ModelFileError
from skfusion.persistence.parts import PartSource
from skfusion.persistence.stand_ins import StandIn

__all__ = ["Restoring"]

_ATOMS = (type(None), bool, int, float, str, bytes, bytearray, slice, type)


class Restoring:
    """Replacement of the stand-ins in a graph of objects, in place.

    Parameters
    ----------
    source : PartSource
        The parts of the file.
    """

    def __init__(self, source: PartSource) -> None:
        self.source = source
        self._made: dict[int, Any] = {}
        self._alive: list[Any] = []

    def restore(self, part: Any) -> Any:
        """Return an object without stand-ins.

        Parameters
        ----------
        part : any
            What skops made.
        """
        if isinstance(part, _ATOMS):
            return part
        key = id(part)
        if key not in self._made:
            self._alive.append(part)
            self._made[key] = part  # for an object that refers to itself
            self._made[key] = self._restored(part)
        return self._made[key]

    def _restored(self, part: Any) -> Any:
        if isinstance(part, dict):
            for name, value in part.items():
                part[name] = self.restore(value)
        elif isinstance(part, list):
            part[:] = [self.restore(value) for value in part]
        elif isinstance(part, tuple):
            made = [self.restore(value) for value in part]
            if any(new is not old for new, old in zip(made, part, strict=True)):
                return getattr(type(part), "_make", tuple)(made)
        elif isinstance(part, set):
            return {self.restore(value) for value in part}
        else:
            attributes = getattr(part, "__dict__", {})
            for name, value in list(attributes.items()):
                attributes[name] = self.restore(value)
            self._choose_device(part, attributes)
        return self._made_of(part) if isinstance(part, StandIn) else part

    def _choose_device(self, part: Any, attributes: dict[str, Any]) -> None:
        """Let an estimator of skfusion run where its device does not exist."""
        device = attributes.get("device")
        if not isinstance(device, str) or device in ("auto", "cpu"):
            return
        is_ours = type(part).__module__.partition(".")[0] == "skfusion"
        if is_ours and isinstance(part, BaseEstimator):
            from skfusion.persistence.networks import device_here

            attributes["device"] = device_here(device, self.source)

    def _made_of(self, part: StandIn) -> Any:
        """Return what a stand-in stands for, or refuse the file."""
        try:
            return part.restore(self.source)
        except (ModelFileError, ImportError, OSError):
            raise
        except Exception as error:  # a file may contain anything
            if part.needs_more_than_the_file and isinstance(error, ValueError):
                raise ModelFileError(
                    f"the model cannot be put together here: {error}"
                ) from error
            raise ModelFileError(
                f"the file is refused: {type(error).__name__} while a "
                f"{type(part).__name__} was made again. It was damaged or changed."
            ) from error
