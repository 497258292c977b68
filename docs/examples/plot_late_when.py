"""
When late fusion is enough
==========================

Does it matter which strategy is used? It depends on whether the modalities share a
nuisance, such as the severity of another disease that shows in the image and in the
record.
"""

# %%
# The cohort has a known optimum. With a correlation of 0 the modalities are independent
# given the outcome. With a higher correlation, the record helps to read the image.

import matplotlib.pyplot as plt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, LateFusionClassifier
from skfusion.datasets import make_fusion_cohort

correlations = [0.0, 0.3, 0.6, 0.9]
found = {"early": [], "late": [], "optimum": []}
for correlation in correlations:
    train = make_fusion_cohort(3000, correlation=correlation, random_state=0)
    test = make_fusion_cohort(5000, correlation=correlation, random_state=1)
    modalities = [
        ("image", StandardScaler(), train.image_columns),
        ("ehr", StandardScaler(), train.ehr_columns),
    ]
    learner = LogisticRegression(C=0.1)
    models = {
        "early": EarlyFusionClassifier(modalities, estimator=learner, random_state=0),
        "late": LateFusionClassifier(
            modalities, estimator=learner, aggregation="bayes", random_state=0
        ),
    }
    for name, model in models.items():
        model.fit(train.data, train.target, groups=train.groups)
        scores = model.predict_proba(test.data)[:, 1]
        found[name].append(roc_auc_score(test.target, scores))
    found["optimum"].append(test.truth["joint"])

# %%
# Late fusion is at the optimum where the modalities are independent. It falls behind
# where one modality explains what disturbs the other.

fig, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
ax.plot(correlations, found["optimum"], "--", color="black", label="optimum")
ax.plot(correlations, found["early"], "C1s-", label="early fusion")
ax.plot(correlations, found["late"], "C2^-", label="late fusion")
ax.set(
    xlabel="correlation of image and record, given the outcome",
    ylabel="AUROC on new patients",
    title="Late fusion cannot use what two modalities share",
)
ax.legend(frameon=False)
plt.show()
