"""
Which rule of late fusion when?
===============================

Mean, Bayes, rank or stacking: how should the predictions of the modalities be combined?
"""

# %%
# Three situations. In the first, both members are calibrated and independent. In the
# second, one member is noise. In the third, one member gives scores on another scale.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import LateFusionClassifier
from skfusion.datasets import make_fusion_cohort


class Timid(ClassifierMixin, BaseEstimator):
    """Logistic regression whose probabilities lie in a narrow band."""

    def fit(self, X, y):
        """Fit the regression."""
        self.model_ = LogisticRegression(C=0.1).fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X):
        """Return probabilities between 0.45 and 0.55."""
        return 0.45 + 0.1 * self.model_.predict_proba(X)

    def predict(self, X):
        """Return the more probable class."""
        return self.model_.predict(X)


train = make_fusion_cohort(2000, random_state=0)
test = make_fusion_cohort(6000, random_state=1)
for cohort, seed in ((train, 2), (test, 3)):
    rng = np.random.default_rng(seed)
    for number in range(30):
        cohort.data[f"noise_{number}"] = rng.normal(size=len(cohort.data))
noise = [f"noise_{number}" for number in range(30)]
image = ("image", StandardScaler(), train.image_columns)
ehr = ("ehr", StandardScaler(), train.ehr_columns)
timid = ("image", make_pipeline(StandardScaler(), Timid()), train.image_columns)
situations = {
    "calibrated,\nindependent": [image, ehr],
    "one more member\nis noise": [image, ehr, ("noise", StandardScaler(), noise)],
    "one member\nis timid": [timid, ehr],
}
rules = ["mean", "bayes", "rank", "weighted", "stacking"]
auroc = {rule: [] for rule in rules}
for modalities in situations.values():
    for rule in rules:
        model = LateFusionClassifier(
            modalities,
            estimator=LogisticRegression(C=0.1),
            aggregation=rule,
            groups="patient_id",
            random_state=0,
        )
        model.fit(train.data, train.target)
        risk = model.predict_proba(test.data)[:, 1]
        auroc[rule].append(roc_auc_score(test.target, risk))

# %%
# Bayes is the best rule where its assumption holds, and suffers if a member is timid.
# Stacking and learned weights adapt to each situation. Ranks ignore the scales.

fig, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
places = np.arange(len(situations))
for number, (rule, mark) in enumerate(zip(rules, "o^sDv", strict=True)):
    ax.plot(places + (number - 2) * 0.12, auroc[rule], mark, label=rule)
ax.axhline(test.truth["joint"], color="black", linestyle="--", linewidth=1)
ax.set_xticks(places, list(situations))
ax.set(ylabel="AUROC on new patients", title="No rule is best everywhere")
ax.legend(frameon=False, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.22))
plt.show()
