"""Boosters of XGBoost and LightGBM, in the formats that these packages define."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skfusion._dependencies import require
from skfusion.persistence.archive import ModelFileError
from skfusion.persistence.parts import PartSource
from skfusion.persistence.stand_ins import StandIn

if TYPE_CHECKING:
    from skfusion.persistence.lowering import Lowering

__all__ = ["LightGBMBooster", "XGBoostBooster", "lowered"]

FOLDER = "learners"


def lowered(part: Any, lowering: Lowering) -> StandIn | None:
    """Return the stand-in of a booster, None for any other object.

    Parameters
    ----------
    part : any
        A part of a model.
    lowering : Lowering
        The conversion that met it.
    """
    xgboost, lightgbm = sys.modules.get("xgboost"), sys.modules.get("lightgbm")
    if xgboost is not None and type(part) is xgboost.Booster:
        content = bytes(part.save_raw("ubj"))
        config = json.loads(part.save_config())["learner"]["generic_param"]
        threads = int(config.get("nthread", 0))
        name = lowering.sink.add(FOLDER, ".ubj", content)
        return XGBoostBooster(name, threads)
    if lightgbm is not None and type(part) is lightgbm.Booster:
        text = part.model_to_string(num_iteration=-1)
        name = lowering.sink.add(FOLDER, ".txt", text.encode())
        params = {k: v for k, v in part.params.items() if _is_plain(v)}
        return LightGBMBooster(
            name, params, part.best_iteration, lowering.lower(dict(part.best_score))
        )
    return None


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


@dataclass
class XGBoostBooster(StandIn):
    """A booster of XGBoost, in UBJSON."""

    part: Any
    threads: Any

    def restore(self, source: PartSource) -> Any:
        """Return the booster."""
        xgboost = require("xgboost", "xgboost")
        content = bytearray(source.part(self.part, FOLDER))
        if not isinstance(self.threads, int):
            raise ModelFileError("the file is refused: a number of threads is none.")
        booster = xgboost.Booster({"nthread": self.threads} if self.threads else None)
        try:
            booster.load_model(content)
        except xgboost.core.XGBoostError as error:
            raise ModelFileError(
                f"the file is refused: XGBoost cannot read {self.part!r}."
            ) from error
        return booster


@dataclass
class LightGBMBooster(StandIn):
    """A booster of LightGBM, as its text."""

    part: Any
    params: Any
    best_iteration: Any
    best_score: Any

    def restore(self, source: PartSource) -> Any:
        """Return the booster."""
        lightgbm = require("lightgbm", "oracles")
        text = source.part(self.part, FOLDER).decode()
        try:
            booster = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise ModelFileError(
                f"the file is refused: LightGBM cannot read {self.part!r}."
            ) from error
        booster.params = dict(self.params)
        booster.best_iteration = self.best_iteration
        booster.best_score = self.best_score
        return booster
