"""Write the files of format 1 that every later version must load.

Run it for a new format only: ``python tests/helpers/golden_models.py 1``. The files of
older formats stay as they are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[1] / "persistence" / "golden"
MODALITIES = [("lab", "passthrough", [0, 1]), ("ecg", "passthrough", [2, 3])]


def cases(n: int = 24) -> np.ndarray:
    """Numbers that every platform computes alike, with gaps."""
    X = (np.arange(4.0 * n).reshape(n, 4) * 37 % 101) / 8
    X[::5, :2] = np.nan
    return X


def fitted() -> dict[str, Any]:
    """The models, by name."""
    from sklearn.preprocessing import StandardScaler
    from xgboost import XGBClassifier

    from skfusion import (
        EarlyFusionClassifier,
        JointFusionClassifier,
        LateFusionClassifier,
    )
    from skfusion.fusion import TrainingSettings

    X, y = cases(), np.tile(["no", "yes"], 12)
    trees = XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1)
    settings = TrainingSettings(validation_fraction=0)
    return {
        "early": EarlyFusionClassifier(MODALITIES, estimator=trees).fit(X, y),
        "late": LateFusionClassifier(MODALITIES, aggregation="stacking", cv=2).fit(
            X, y
        ),
        "joint": JointFusionClassifier(
            [(name, StandardScaler(), columns) for name, _, columns in MODALITIES],
            hidden_dims=(4,),
            max_epochs=2,
            training=settings,
            random_state=0,
        ).fit(X, y),
    }


def write(version: int) -> None:
    """Write the files and their predictions."""
    import skfusion

    FOLDER.mkdir(exist_ok=True)
    expected = {}
    for name, model in fitted().items():
        skfusion.save(model, FOLDER / f"format_{version}_{name}.skfusion")
        expected[name] = model.predict_proba(cases()).tolist()
    text = json.dumps(expected, indent=0)
    (FOLDER / f"format_{version}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(int(sys.argv[1]))
