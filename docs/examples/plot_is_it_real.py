"""
Is my gain real?
================

One number says that fusion is better. When may you believe it?
"""

# %%
# Two cohorts of the same kind, in which fusion is better: one of 150 and one of 1,500
# patients.

import warnings

import matplotlib.pyplot as plt
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skfusion import compare_fusion
from skfusion.datasets import make_fusion_cohort

results = {}
for n in (150, 1500):
    cohort = make_fusion_cohort(n, correlation=0.5, random_state=3)
    learner = LogisticRegression(C=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results[n] = compare_fusion(
            [
                ("image", StandardScaler(), cohort.image_columns),
                ("ehr", StandardScaler(), cohort.ehr_columns),
            ],
            cohort.data,
            cohort.target,
            groups="patient_id",
            strategies=("single", "late"),
            cv=5,
            n_repeats=3,
            scoring="roc_auc",
            random_state=0,
        )

# %%
# The estimate of the gain is about the same. Its interval is not.

for n, result in results.items():
    print(f"{n} patients. {result.verdict_.headline}. {result.verdict_.details}")
    result.plot.differences()
    plt.show()
