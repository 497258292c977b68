"""
How many patients are enough?
=============================

Would a larger cohort help, and which strategy needs more patients?
"""

# %%
# Each model is fitted on growing parts of a cohort, and scored on 5,000 new patients.
# Five cohorts show how much of a difference is chance.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, LateFusionClassifier
from skfusion.datasets import make_fusion_cohort

sizes = [100, 200, 400, 800, 1600]
test = make_fusion_cohort(5000, correlation=0.6, random_state=99)
learner = LogisticRegression(C=0.1)
auroc = {"early fusion": [], "late fusion": [], "EHR alone": []}
for seed in range(5):
    train = make_fusion_cohort(sizes[-1], correlation=0.6, random_state=seed)
    image = ("image", StandardScaler(), train.image_columns)
    ehr = ("ehr", StandardScaler(), train.ehr_columns)
    models = {
        "early fusion": EarlyFusionClassifier([image, ehr], estimator=learner),
        "late fusion": LateFusionClassifier([image, ehr], estimator=learner),
        "EHR alone": EarlyFusionClassifier([ehr], estimator=learner),
    }
    for name, model in models.items():
        model.set_params(random_state=0, groups="patient_id")
        for size in sizes:
            model.fit(train.data[:size], train.target[:size])
            scores = model.predict_proba(test.data)[:, 1]
            auroc[name].append(roc_auc_score(test.target, scores))

# %%
# With 100 patients, the bands of early and late fusion overlap. From 800 on they do
# not: there are enough patients to learn what the modalities share.
# ``result.learning_curve`` of a comparison draws this curve for your cohort.

fig, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
for (name, values), mark in zip(auroc.items(), ["C1s-", "C2^-", "C3o-"], strict=True):
    values = np.reshape(values, (5, len(sizes)))
    (line,) = ax.plot(sizes, values.mean(axis=0), mark, label=name)
    low, high = values.min(axis=0), values.max(axis=0)
    ax.fill_between(sizes, low, high, alpha=0.15, color=line.get_color())
ax.axhline(test.truth["joint"], color="black", linestyle="--", linewidth=1)
ax.set(
    xscale="log",
    xlabel="patients in training",
    ylabel="AUROC on new patients",
    title="Bands: five cohorts. Dashed: optimum",
)
ax.set_xticks(sizes, sizes)
ax.legend(frameon=False)
plt.show()
