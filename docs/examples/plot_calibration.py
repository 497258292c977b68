"""
Calibrate a fused prediction
============================

Why is an average of calibrated models too cautious, and what mends it?
"""

# %%
# Two models see different parts of the truth. When both say 0.8, the risk is higher
# than 0.8, because they agree for different reasons. Their mean is 0.8 nevertheless.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skfusion import LateFusionClassifier
from skfusion.datasets import make_fusion_cohort
from skfusion.evaluation import calibration_summary

train = make_fusion_cohort(4000, random_state=0)
test = make_fusion_cohort(8000, random_state=1)
modalities = [
    ("image", StandardScaler(), train.image_columns),
    ("ehr", StandardScaler(), train.ehr_columns),
]
models = {
    "mean of the members": {},
    "mean, final calibration": {"final_calibration": "sigmoid"},
    "bayes": {"aggregation": "bayes"},
}
risks = {}
for name, params in models.items():
    model = LateFusionClassifier(
        modalities, estimator=LogisticRegression(C=0.1), random_state=0, **params
    )
    model.fit(train.data, train.target, groups=train.groups)
    risks[name] = model.predict_proba(test.data)[:, 1]

# %%
# The slope is 1 if risks are neither too cautious (above 1) nor too extreme (below 1).

for name, risk in risks.items():
    slope = calibration_summary(test.target, risk).slope
    print(f"{name}: calibration slope {slope.estimate:.2f}")

# %%
# Each mark is a tenth of the patients.

fig, ax = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
ax.plot([0, 1], [0, 1], "--", color="black", linewidth=1)
for (name, risk), mark in zip(risks.items(), ["^-", "D-", "s-"], strict=True):
    parts = np.array_split(np.argsort(risk), 10)
    expected = [risk[part].mean() for part in parts]
    observed = [np.mean(np.asarray(test.target)[part]) for part in parts]
    ax.plot(expected, observed, mark, label=name)
ax.set(xlabel="predicted risk", ylabel="observed share", title="A mean is too cautious")
ax.legend(frameon=False)
plt.show()
