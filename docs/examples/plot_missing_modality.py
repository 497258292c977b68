"""
Predicting when the image is missing
====================================

A scan is not there for every patient. Here the image of three patients in ten is absent
when the models are fitted, and of more and more when they are used.
"""

# %%
# A modality is absent in a row where all its cells are null. Nothing has to be imputed
# or dropped by hand.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    JointFusionClassifier,
    LateFusionClassifier,
)
from skfusion.datasets import make_fusion_cohort

train = make_fusion_cohort(3000, missing_rate={"image": 0.3}, random_state=0)
test = make_fusion_cohort(4000, random_state=1)
modalities = [
    ("image", StandardScaler(), train.image_columns),
    ("ehr", StandardScaler(), train.ehr_columns),
]
models = {
    "early": EarlyFusionClassifier(
        modalities, estimator=LogisticRegression(C=0.01), random_state=0
    ),
    "late": LateFusionClassifier(modalities, aggregation="weighted", random_state=0),
    "joint": JointFusionClassifier(
        modalities, max_epochs=10, lr=1e-3, groups="patient_id", random_state=0
    ),
}
for model in models.values():
    model.fit(train.data, train.target, groups=train.groups)
models["late"].presence(train.data).mean()

# %%
# Each strategy treats an absent modality in its own way. Early fusion has a presence
# flag beside an imputed block, late fusion uses the members that are there, and joint
# fusion learns a token. The first patients lose their image, then more of them.

shares = np.linspace(0, 1, 6)
auroc = {name: [] for name in models}
for share in shares:
    X = test.data.copy()
    X.loc[: round(share * len(X)) - 1, test.image_columns] = np.nan
    for name, model in models.items():
        scores = model.predict_proba(X)[:, 1]
        auroc[name].append(roc_auc_score(test.target, scores))

# %%
# With every image there the models are near the optimum of both modalities (upper
# line), with none near that of the EHR alone (lower line). In between it counts that a
# risk with an image and a risk without one lie on one scale.

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for (name, values), mark in zip(auroc.items(), ("C1s-", "C2^--", "C0D:"), strict=True):
    ax.plot(100 * shares, values, mark, label=name)
for modality, text in {"joint": "optimum of both", "ehr": "optimum of the EHR"}.items():
    ax.axhline(test.truth[modality], color="black", linewidth=1, linestyle="--")
    ax.text(1, test.truth[modality] + 0.004, text, fontsize="small")
ax.set(xlabel="images missing (%)", ylabel="AUROC on new patients")
ax.legend()
plt.show()
