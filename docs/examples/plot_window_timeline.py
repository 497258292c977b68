"""
What did the window see?
========================

Which events of a patient may a prediction use, and which does it use?
"""

# %%
# Three patients have laboratory values. A value becomes available when it is reported,
# some hours after the sample.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skfusion import EventStore, EventWindows

rng = np.random.default_rng(1)
index_time = pd.Timestamp("2026-03-10 12:00")
hours = np.sort(rng.uniform(-150, 30, 27))
events = pd.DataFrame(
    {
        "subject_id": rng.integers(1, 4, 27),
        "time": index_time + pd.to_timedelta(hours, "h"),
        "code": "LAB//crp",
        "numeric_value": rng.uniform(2, 90, 27).round(),
    }
)
delay = pd.to_timedelta(rng.uniform(1, 12, 27), "h")
events["available_time"] = events["time"] + delay
cases = pd.DataFrame({"subject_id": [1, 2, 3], "index_time": index_time})

# %%
# The window of three days ends before the index time, and takes what was available
# then.

store = EventStore.from_frame(events)
windows = EventWindows(
    store, windows=("3d",), aggs=("count", "last"), totals=(), min_subjects=1
)
features = windows.set_output(transform="pandas").fit_transform(cases)
print(features.to_string())

# %%
# A sample taken before the index time and reported after it is not used.

start = index_time - pd.Timedelta(days=3)
kinds = {
    "used": (events["time"] >= start) & (events["available_time"] < index_time),
    "before the window": events["time"] < start,
    "taken before, reported after": (events["time"] < index_time)
    & (events["available_time"] >= index_time),
    "after the index time": events["time"] >= index_time,
}
styles = [("o", "C1"), ("o", "lightgrey"), ("X", "C0"), ("x", "grey")]
fig, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
ax.axvspan(start, index_time, color="C1", alpha=0.1)
ax.axvline(index_time, color="black", linewidth=1)
for (name, mask), (marker, colour) in zip(kinds.items(), styles, strict=True):
    part = events[mask]
    ax.scatter(part["time"], part["subject_id"], marker=marker, c=colour, label=name)
    for row in part.itertuples():
        ax.plot(
            [row.time, row.available_time],
            [row.subject_id + 0.12] * 2,
            color=colour,
            linewidth=1,
        )
ax.set(
    yticks=[1, 2, 3],
    ylabel="patient",
    ylim=(0.5, 3.6),
    title="Samples, and the time until their report",
)
ax.tick_params(axis="x", rotation=30)
fig.legend(frameon=False, ncols=2, loc="outside lower center")
plt.show()
for number, count in features["LAB//crp__3d__count"].items():
    used = int((kinds["used"] & (events["subject_id"] == number + 1)).sum())
    assert used == count
