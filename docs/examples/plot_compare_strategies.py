"""
Early, late and joint fusion against a known optimum
====================================================

When does it matter how two modalities are fused? In this synthetic cohort the answer
is known in closed form. It is the best AUROC that any model can reach from one
modality, from two separate predictions (late fusion) and from all features at once
(early and joint fusion).
"""

# %%
# Two cohorts: given the outcome, the modalities are independent in the first one and
# share a nuisance in the second, something that moves both and says nothing about the
# outcome.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    JointFusionClassifier,
    LateFusionClassifier,
    compare_fusion,
)
from skfusion.datasets import make_fusion_cohort

cohorts = {
    "independent": make_fusion_cohort(4000, correlation=0.0, random_state=0),
    "shared nuisance": make_fusion_cohort(4000, correlation=0.73, random_state=0),
}

# %%
# One list of modalities serves every strategy. Late fusion stacks: its meta-model
# learns from predictions on patients that the members have not seen.


def strategies(cohort):
    modalities = {
        "image": ("image", StandardScaler(), cohort.image_columns),
        "ehr": ("ehr", StandardScaler(), cohort.ehr_columns),
    }
    both = list(modalities.values())
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    settings = {"groups": cohort.group_column, "random_state": 0}
    single = {
        name: EarlyFusionClassifier([modality], estimator=linear, **settings)
        for name, modality in modalities.items()
    }
    return single | {
        "late": LateFusionClassifier(both, aggregation="stacking", **settings),
        "early": EarlyFusionClassifier(both, estimator=linear, **settings),
        "joint": JointFusionClassifier(both, max_epochs=10, lr=1e-3, **settings),
    }


# %%
# Every model meets the same five folds, which keep a patient on one side. The models
# of one modality are the baselines, in the learner of early fusion. One repetition is
# enough for a picture of the scores. A claim that fusion helps needs more of them, and
# each modality alone in every learner, which are the defaults.

results = {
    name: compare_fusion(
        strategies(cohort),
        cohort.data,
        cohort.target,
        groups=cohort.group_column,
        cv=5,
        scoring="roc_auc",
        baselines=["image", "ehr"],
        quick=True,
        random_state=0,
    )
    for name, cohort in cohorts.items()
}
results["shared nuisance"].scores_.round(3)

# %%
# The bars are what was reached, with 95 % intervals. The black lines are what can be
# reached. Where the modalities are independent, nothing is lost by predicting from each
# one first. Where they share a nuisance, only a model that sees both modalities'
# features can subtract it, and late fusion stops at its own, lower optimum.

optimum_of = {"early": "joint"}  # both see all features

fig, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
for ax, (name, cohort) in zip(axes, cohorts.items(), strict=True):
    scores = results[name].scores_.set_index("strategy")
    names = list(strategies(cohort))
    scores = scores.loc[names]
    place = np.arange(len(names))
    error = [scores.estimate - scores.low, scores.high - scores.estimate]
    ax.bar(place, scores.estimate, yerr=error, color="C0", alpha=0.6, capsize=4)
    best = [cohort.truth[optimum_of.get(n, n)] for n in names]
    ax.hlines(best, place - 0.45, place + 0.45, color="black", label="optimum")
    ax.set(title=name, xticks=place, xticklabels=names, ylim=(0.5, 1))
axes[0].set_ylabel("AUROC")
axes[0].legend(loc="upper left")
plt.show()
