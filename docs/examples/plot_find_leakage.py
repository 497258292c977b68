"""
Find leakage before a reviewer does
===================================

Do features know something that the prediction could not have known?
"""

# %%
# Two ways to compute the last value of a patient: with and without a look at the index
# time.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skfusion import EventStore, EventWindows
from skfusion.ehr import LeakageAudit

rng = np.random.default_rng(0)
n = 900
index_time = pd.Timestamp("2026-03-10")
events = pd.DataFrame(
    {
        "subject_id": rng.integers(0, 60, n),
        "time": index_time + pd.to_timedelta(rng.uniform(-240, 72, n), "h"),
        "code": "LAB//crp",
        "numeric_value": rng.lognormal(2, 1, n),
    }
)
cases = pd.DataFrame({"subject_id": range(60), "index_time": index_time})
store = EventStore.from_frame(events)


def careless(store, cases):
    """Take the last value of each patient, whenever it was measured."""
    last = store.to_frame().groupby("subject_id")[["numeric_value"]].last()
    return last.reindex(cases["subject_id"]).reset_index(drop=True)


careful = EventWindows(store, windows=("10d",), aggs=("last",), totals=())

# %%
# The audit deletes, changes and adds events after the index time, and computes the
# features again. Nothing may change.

audit = LeakageAudit(random_state=0)
print(audit.run(careless, cases, events=store))
print(audit.run(careful, cases))

# %%
# The picture behind it. Right of the line, no value may move.

values = careless(store, cases)["numeric_value"]
features = careful.fit_transform(cases)[:, 0]
last = events.sort_values("time").groupby("subject_id")["time"].last()
hours = (last.reindex(cases["subject_id"]) - index_time).dt.total_seconds() / 3600
fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
ax.axvline(0, color="black", linewidth=1)
differs = ~np.isclose(values, features)
ax.scatter(hours[~differs], values[~differs], label="same value", marker="o", c="C1")
ax.scatter(
    hours[differs], values[differs], label="value of the future", marker="x", c="C0"
)
ax.set(
    yscale="log",
    xlabel="last value of the patient (hours from the index time)",
    ylabel="value used by the careless feature",
    title=f"{differs.sum()} of 60 patients are described by their future",
)
ax.legend(frameon=False)
plt.show()
