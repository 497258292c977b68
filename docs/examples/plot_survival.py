"""
When, not whether
=================

What does a fused survival model say about one patient?
"""

# %%
# The outcome is a time, and for some patients only a time without an event (censoring).

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import StandardScaler

from skfusion.datasets import make_fusion_cohort
from skfusion.survival import LateFusionSurvival

rng = np.random.default_rng(0)
cohort = make_fusion_cohort(1200, task="regression", random_state=0)
severity = np.asarray(cohort.target)
event_time = rng.exponential(5 * np.exp(-severity))
censoring = rng.uniform(2, 12, len(severity))
y = np.zeros(len(severity), dtype=[("event", bool), ("years", float)])
y["event"] = event_time <= censoring
y["years"] = np.minimum(event_time, censoring)
modalities = [
    ("image", StandardScaler(), cohort.image_columns),
    ("ehr", StandardScaler(), cohort.ehr_columns),
]
model = LateFusionSurvival(modalities, groups="patient_id", random_state=0)
model.fit(cohort.data[:900], y[:900])
new = cohort.data[900:].reset_index(drop=True)
print(f"concordance on new patients: {model.score(new, y[900:]):.2f}")

# %%
# Three patients: of low, middle and high risk. The marks show what happened.

times = np.linspace(0, 10, 60)
curves = model.predict_survival_function(new, times=times)
order = np.argsort(model.predict(new))
fig, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
for share, mark, name in ((0.1, "o", "low"), (0.5, "s", "middle"), (0.9, "^", "high")):
    row = order[round(share * len(order))]
    (line,) = ax.plot(times, curves[row], label=f"{name} risk")
    years = min(y["years"][900 + row], 10)
    level = np.interp(years, times, curves[row])
    filled = line.get_color() if y["event"][900 + row] else "white"
    ax.plot(years, level, mark, color=line.get_color(), markerfacecolor=filled)
ax.set(
    xlabel="years",
    ylabel="probability of no event so far",
    ylim=(0, 1.02),
    title="Filled: event. Open: censored",
)
ax.legend(frameon=False)
plt.show()
