"""Predictions of a saved model over HTTP: ``uvicorn service:app``."""

from __future__ import annotations

import base64
import os
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field, create_model

import skfusion

MODEL = os.environ["SKFUSION_MODEL"]
TYPES = {
    "number": float,
    "boolean": bool,
    "vector": list[float],
    "event key": int | str,
}

description = skfusion.inspect_model(MODEL)
model = skfusion.load(MODEL)
images = [entry["name"] for entry in description.columns if entry["kind"] == "image"]
# A column may have any name, and a field of pydantic may not.
fields: dict[str, Any] = {
    f"column_{i}": (
        TYPES.get(entry["kind"], str) | None,
        Field(default=None, alias=str(entry["name"]), description=entry["kind"]),
    )
    for i, entry in enumerate(description.columns)
}
Case: Any = create_model("Case", __config__=ConfigDict(extra="forbid"), **fields)
app = FastAPI(title=description.kind, version=description.sha256[:12])


class Answer(BaseModel):
    """Prediction for a case, and the modalities that it lacks."""

    probabilities: dict[str, float]
    absent: list[str]


@app.post("/predict")
def predict(case: Case) -> Answer:
    """Predict one case. FastAPI runs this in threads, which share the model."""
    row = case.model_dump(by_alias=True)
    try:
        for name in images:  # never a path, which would read files of the server
            if row[name] is not None:
                row[name] = base64.b64decode(row[name], validate=True)
        table = description.to_frame([row])
        shares = model.predict_proba(table)[0]
        there = model.presence(table).iloc[0]
    except (ValueError, TypeError) as error:
        raise HTTPException(422, str(error)) from error
    labels = map(str, model.classes_.tolist())
    probabilities = dict(zip(labels, map(float, shares), strict=True))
    return Answer(probabilities=probabilities, absent=list(there.index[~there]))
