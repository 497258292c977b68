"""
Which strategies did the reviewed studies use?
==============================================

The review by Huang et al. (2020) screened 985 publications and extracted 17. This is
their timeline, from the table of studies in the package.
"""

# %%
# Each study has its strategies, and facts with sources. The table says how sure it is
# that the review includes a study. Nothing in it was verified against the review.

import re

import matplotlib.pyplot as plt

from skfusion.datasets import REVIEWED_STUDIES

years = {}
for study in REVIEWED_STUDIES:
    year = re.search(r"20\d\d", study.title)
    if year is not None:
        years[study.key] = int(year[0])
dated = [study for study in REVIEWED_STUDIES if study.key in years]
dated.sort(key=lambda study: (years[study.key], study.strategies, study.key))
print(f"{len(dated)} of {len(REVIEWED_STUDIES)} studies are identified.")

# %%
# Most studies used early fusion, which is also the first attempt that the review
# recommends. One study compared joint with late fusion. The studies do not say
# which strategy is best, because their cohorts and scores differ.

marks = {"early": "C1s", "joint": "C0D", "late": "C2^"}
fig, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
for name, mark in marks.items():
    found = [
        (years[study.key] + 0.09 * (study.strategies.index(name)), row)
        for row, study in enumerate(dated)
        if name in study.strategies
    ]
    ax.plot(*zip(*found, strict=True), mark, label=f"{name} fusion ({len(found)})")
ax.set_yticks(range(len(dated)), [study.title.split(",")[0] for study in dated])
ax.set_xticks(sorted(set(years.values())))
ax.set_xlim(min(years.values()) - 0.5, max(years.values()) + 0.5)
ax.set_xlabel("year of publication")
ax.grid(axis="y", alpha=0.3)
ax.legend(loc="lower right", frameon=False)
ax.set_title("Most reviewed studies used early fusion")
plt.show()

# %%
# How to read the facts of a study: see :ref:`datasets`.
