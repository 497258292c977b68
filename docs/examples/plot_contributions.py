"""
What a prediction rests on
==========================

From the modalities to the features inside one, and to the regions of an image, in
pictures. The truth is known: the outcome shows in one corner of the image and in one of
the laboratory values.
"""

# %%
# A joint fusion learns from 160 cases, and 80 others are explained.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import shap
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

from skfusion import (
    ImageEmbedder,
    JointFusionClassifier,
    ModalityImportance,
    explain_features,
    explain_images,
)
from skfusion.fusion import TrainingSettings

rng = np.random.default_rng(0)
n_cases = 240
ill = rng.random(n_cases) < 0.5
scans = rng.normal(100, 20, (n_cases, 48, 64))
scans[:, :12, -16:] += (rng.normal(10, 10, n_cases) + 20 * ill)[:, None, None]
X = pd.DataFrame(
    {
        "scan": list(np.clip(scans, 0, 255).astype(np.uint8)),
        "crp": rng.normal(5, 2, n_cases) + 2 * ill,
        "sodium": rng.normal(140, 3, n_cases),
        "age": rng.normal(60, 10, n_cases),
    }
)
torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(3, 8, 5, stride=2, padding=2),
    nn.ReLU(),
    nn.Conv2d(8, 8, 3, padding=1),
    nn.ReLU(),
)
net.preprocessing = {"mean": 0.5, "std": 0.5}
model = JointFusionClassifier(
    [
        (
            "scan",
            ImageEmbedder(net, input_size=32, trainable="all", store=None),
            "scan",
        ),
        ("labs", StandardScaler(), ["crp", "sodium"]),
        ("history", StandardScaler(), ["age"]),
    ],
    training=TrainingSettings(encoder_lr_factor=1.0),
    lr=3e-3,
    max_epochs=18,
    random_state=0,
)
train, new = X[:160], X[160:].reset_index(drop=True)
model.fit(train, ill[:160])
print(f"accuracy on new cases: {model.score(new, ill[160:]):.2f}")

# %%
# What moves the predictions, and what helps on these cases.

importance = ModalityImportance(model, background=train)
explanation = importance.explain(new, ill[160:])
scores = importance.score(new, ill[160:])
figure, axes = plt.subplots(1, 2, figsize=(11, 2.6), sharey=True, layout="constrained")
explanation.plot("share", ax=axes[0])
scores.plot("bars", ax=axes[1])
plt.show()

# %%
# All cases: a mark is one patient, its place what the modality adds to the log-odds.

explanation.plot("beeswarm")
plt.show()

# %%
# Which modality speaks most, patient by patient.

explanation.plot("outcome")
plt.show()

# %%
# What modalities add together rather than apart.

explanation.plot("interactions")
plt.show()

# %%
# The patient to whose risk the scan adds most, step by step.

patient = int(np.argmax(explanation.values[:, 0]))
explanation.plot("waterfall", case=patient)
plt.show()

# %%
# Inside a modality: its features, by shap's own plot. They are compared with each
# other, never with those of another modality.

features = explain_features(model, new, modalities=["labs"], background=train)["labs"]
shap.plots.bar(features)

# %%
# Inside the image: where the model looked. Each map lies on the image as it was read.

saliency = explain_images(model, new[patient : patient + 1], method="occlusion")
saliency.plot()
plt.show()
